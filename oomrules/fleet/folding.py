"""The answers of all hosts, folded into a few figures as they come, each with a witness.

What is kept grows with the kinds of findings, and with the bad recordings that are named; not with
the hosts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from oomrules.fleet.questions import Answer

DIFFERENCES = ("first", "protected", "nobody", "order")
# Bad recordings that are named; the others are counted.
_NAMED = 20
# First victims that are told apart. A fleet whose hosts can choose their names stays below a bound.
_MOST_GROUPS = 100_000
OTHERS = "(others)"


@dataclass
class Group:
    """First victims that are alike.

    Attributes:
        hosts: on how many hosts.
        held: bytes that they hold in all.
        witness: the host that is first by name.
        pid: of the victim there.
    """

    hosts: int = 0
    held: int = 0
    witness: str = ""
    pid: int = 0


@dataclass
class Fold(ABC):
    """What is known so far.

    Attributes:
        hosts: recordings that were judged.
        bad: recordings that were not.
        named_bad: the messages of the first of them.
        counts: hosts by the kind of finding.
        witnesses: for each kind the answer of the host that is first by name.
    """

    hosts: int = 0
    bad: int = 0
    named_bad: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    witnesses: dict[str, Answer] = field(default_factory=dict)

    def add(self, answer: Answer) -> None:
        """Take one more answer."""
        if "error" in answer:
            self.bad += 1
            if len(self.named_bad) < _NAMED:
                self.named_bad.append(answer["error"])
            return
        self.hosts += 1
        for kind in self.found(answer):
            self.counts[kind] = self.counts.get(kind, 0) + 1
            known = self.witnesses.get(kind)
            # Whatever the order in which hosts are ready, the witness is the same.
            if known is None or answer["host"] < known["host"]:
                self.witnesses[kind] = answer

    @abstractmethod
    def found(self, answer: Answer) -> Iterable[str]:
        """Return the kinds of finding that an answer is."""

    def findings(self) -> dict[str, int]:
        """Return how many there are of each kind of finding."""
        return {**self.counts, "bad": self.bad}


@dataclass
class Victims(Fold):
    """The first victims of all hosts, by ``program``, ``unit`` or ``user``."""

    by: str = "program"
    groups: dict[str, Group] = field(default_factory=dict)

    def found(self, answer: Answer) -> Iterable[str]:
        """Return that nobody is there; a first victim goes to its group."""
        first = answer["first"]
        if first is None:
            return ("nobody",)
        name = first[self.by]
        key = "?" if name is None else name
        if key not in self.groups and len(self.groups) >= _MOST_GROUPS:
            key = OTHERS
        group = self.groups.setdefault(key, Group())
        group.hosts += 1
        group.held += first["held"]
        if not group.witness or answer["host"] < group.witness:
            group.witness, group.pid = answer["host"], first["pid"]
        return ()

    def ordered(self) -> list[tuple[str, Group]]:
        """Return the groups, the one of most hosts first."""
        return sorted(self.groups.items(), key=lambda item: (-item[1].hosts, item[0]))


@dataclass
class Differences(Fold):
    """What a change of rules means over all hosts."""

    def found(self, answer: Answer) -> Iterable[str]:
        """Return in which ways the host differs."""
        kinds: list[str] = answer["kinds"]
        return kinds


@dataclass
class Checked(Fold):
    """Rules that are about nobody, and hosts where little could be freed.

    Attributes:
        rules: the text of each rule by its place.
        least: the share of what processes hold that has to be in candidates.
    """

    rules: Mapping[str, str] = field(default_factory=dict)
    least: float = 0.0
    about: dict[str, int] = field(default_factory=dict)

    def found(self, answer: Answer) -> Iterable[str]:
        """Return whether too little could be freed; the rules are counted."""
        for place in answer["about"]:
            if place in self.rules:
                self.about[place] = self.about.get(place, 0) + 1
        if not answer["candidates"]:
            yield "nobody"
        if answer["free"] < self.least * answer["held"]:
            yield "share"

    def unused(self) -> dict[str, str]:
        """Return the rules that are about nobody on any host, by place."""
        return {place: text for place, text in self.rules.items() if place not in self.about}

    def findings(self) -> dict[str, int]:
        """Return how many there are of each kind of finding."""
        return {**super().findings(), "unused": len(self.unused()) if self.hosts else 0}


@dataclass
class Tested(Fold):
    """On how many hosts each expectation fails, and on how many it is about nobody."""

    expectations: int = 0
    idle: dict[int, int] = field(default_factory=dict)

    def found(self, answer: Answer) -> Iterable[str]:
        """Return the numbers of the expectations that fail here."""
        for number in answer["idle"]:
            self.idle[number] = self.idle.get(number, 0) + 1
        numbers: dict[str, Any] = answer["wrong"]
        return numbers.keys()

    def unused(self) -> list[int]:
        """Return the expectations that are about nobody on any host."""
        every = range(self.expectations if self.hosts else 0)
        return [number for number in every if self.idle.get(number) == self.hosts]

    def findings(self) -> dict[str, int]:
        """Return how many there are of each kind of finding."""
        failed = sum(self.counts.values())
        return {"failed": failed, "unused": len(self.unused()), "bad": self.bad}
