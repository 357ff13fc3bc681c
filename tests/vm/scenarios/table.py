"""The scenarios: who is there, what the rules say, and whom they want killed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Actor:
    """A process of a scenario, in a unit of its name.

    Attributes:
        does: what actor.c is told.
        unit: properties of the unit. Actors are the user `build`'s unless these say otherwise.
    """

    name: str
    does: str
    unit: tuple[str, ...] = ("User=build",)

    @property
    def processes(self) -> int:
        """How many report that they are there."""
        return 1 + int(self.does.partition("fork=")[2].split(" ")[0] or 0)


@dataclass(frozen=True)
class Scenario:
    """One way to run out of memory.

    Attributes:
        title: what happens, in a few words.
        rules: beside the shipped ones.
        victims: who the rules want killed first: names of actors.
        most: how many may be killed in all; more than that is a second kill too many.
        uncovered: by way, why it cannot do what the rules say.
        first: how many of the list are written; 0: all of it, or as many as is usual.
        prepare: a script before anything, once the actors are there.
        meanwhile: a script once the list is in force, before the memory runs out. The command
            that put it in force is in EMIT.
    """

    title: str
    rules: str
    actors: tuple[Actor, ...]
    victims: tuple[str, ...]
    most: int = 1
    uncovered: dict[str, str] = field(default_factory=dict)
    first: int = 0
    prepare: str = ""
    meanwhile: str = ""


MODULE = "module"
ADJUST = "oom_score_adj"
MEMCG = {MODULE: "a control group's OOM does not pass the notifier chain"}

# Emits without end, as fast as it can.
REPEAT = "systemd-run --quiet --unit=repeat sh -c 'while :; do $EMIT; done'"

DATABASE = Actor("database", "hold=240")
HOG = Actor("hog", "hold=60 grow=600")

SCENARIOS = (
    Scenario(
        "a big innocent database and a small guilty hog",
        'kill last comm "database"\nkill first comm "hog"\n',
        (DATABASE, HOG),
        ("hog",),
    ),
    Scenario(
        "the same by points alone: the hog has reserved more than it uses, as 2.6.10 counts",
        "",
        (DATABASE, Actor("hog", "hold=60 reserve=400 grow=600")),
        ("hog",),
    ),
    Scenario(
        "niced build jobs beside an editor that grows",
        "prefer niced by 8\n",
        (
            Actor("editor", "hold=120 grow=600"),
            *(Actor(f"cc{n}", "hold=50", ("User=build", "Nice=10")) for n in (1, 2, 3)),
        ),
        ("cc1", "cc2", "cc3"),
    ),
    Scenario(
        "a fork bomb of many small processes, and a big process that has no part in it",
        'kill first unit "bomb.service"\n',
        (DATABASE, Actor("bomb", "hold=4 fork=24 grow=80")),
        ("bomb",),
        most=25,
    ),
    Scenario(
        "root with RAWIO is the biggest",
        "",
        (Actor("raw", "hold=230", ("User=root",)), Actor("worker", "hold=80 grow=600")),
        ("worker",),
    ),
    Scenario(
        "the victim has RAWIO and obeys SIGTERM",
        'kill first comm "raw"\n',
        (Actor("raw", "hold=80", ("User=root",)), Actor("database", "hold=220 grow=600")),
        ("raw",),
    ),
    Scenario(
        "the victim has RAWIO and ignores SIGTERM",
        'kill first comm "raw"\n',
        (Actor("raw", "hold=80 deaf=1", ("User=root",)), Actor("database", "hold=220 grow=600")),
        ("raw",),
    ),
    Scenario(
        "a process that is never killed is the biggest, and grows",
        'never kill comm "precious"\n',
        (Actor("precious", "hold=150 grow=600"), Actor("worker", "hold=80")),
        ("worker",),
    ),
    Scenario(
        "a service at its memory limit",
        'in limited.slice: kill first comm "guilty"\n',
        (
            Actor("innocent", "hold=70 grow=60", ("User=build", "Slice=limited.slice")),
            Actor("guilty", "hold=30", ("User=build", "Slice=limited.slice")),
            DATABASE,
        ),
        ("guilty",),
        uncovered=MEMCG,
        prepare="systemctl set-property --runtime limited.slice MemoryMax=130M MemorySwapMax=0",
    ),
    Scenario(
        "a limit within a limit",
        'in outer.slice: kill first comm "guilty"\n',
        (
            Actor("innocent", "hold=85 grow=60", ("User=build", "Slice=outer-inner.slice")),
            Actor("guilty", "hold=30", ("User=build", "Slice=outer-inner.slice")),
            Actor("beside", "hold=60", ("User=build", "Slice=outer.slice")),
        ),
        ("guilty",),
        uncovered=MEMCG,
        prepare="systemctl set-property --runtime outer.slice MemoryMax=300M MemorySwapMax=0; "
        "systemctl set-property --runtime outer-inner.slice MemoryMax=130M MemorySwapMax=0",
    ),
    Scenario(
        "all listed processes are gone before it happens: the kernel's own choice",
        'kill first comm "worker"\n',
        (Actor("worker", "hold=20"), Actor("grower", "hold=100 grow=600")),
        ("grower",),
        first=1,
        meanwhile="systemctl kill --signal=KILL worker.service; sleep 1",
    ),
    Scenario(
        "two processes share the memory",
        'kill first comm "shared"\n',
        (Actor("shared", "hold=80 share=1"), Actor("database", "hold=280 grow=600")),
        ("shared", "shared-twin"),
        most=2,
    ),
    Scenario(
        "the list is written again and again meanwhile",
        'kill first comm "hog"\nkill last comm "database"\n',
        (DATABASE, Actor("hog", "hold=60 grow=600")),
        ("hog",),
        meanwhile=REPEAT,
    ),
    Scenario(
        "a unit whose memory.oom.group is set",
        'kill first unit "group.service"\n',
        (
            Actor("group", "hold=30 fork=2", ("User=build", "OOMPolicy=kill")),
            Actor("database", "hold=260 grow=600"),
        ),
        ("group",),
        most=3,
    ),
    Scenario(
        "the second process grows by more than any distance, and the list is not written again",
        'kill first comm "small"\n',
        (Actor("small", "hold=20"), Actor("database", "hold=60 grow=600")),
        ("small",),
        uncovered={
            ADJUST: "the list is written once here; the service writes it again as sizes change, "
            "at most once a second"
        },
    ),
)
