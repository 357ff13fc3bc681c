"""Record this host as JSON Lines, to rank it elsewhere or later."""

from __future__ import annotations

import argparse
import gzip
import importlib
import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

from oomrules import files
from oomrules.attributes import ATTRIBUTES, Provider
from oomrules.commands.parts import selection, shared
from oomrules.dbus.gather import EVERYTHING
from oomrules.errors import Failure, reason
from oomrules.fields import FIELDS
from oomrules.plain import quoted
from oomrules.processes import recorded
from oomrules.processes.cgroups import FIGURES, LIMITS, LiveScope, enclosing
from oomrules.processes.facts import CONTAINER_FACTS
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import (
    HOST_MEMORY,
    HOST_SHARES,
    NO_LIMIT,
    UNREAD,
    Process,
)
from oomrules.processes.values import container_of, known, of_group, place_of
from oomrules.program.program import make
from oomrules.terminal import count, is_terminal, progress, say

# What is read of the host for these is recorded, too.
_OF_HOST = frozenset(
    name
    for name, attribute in ATTRIBUTES.items()
    if attribute.provider is Provider.HOST or name == "totalpages"
)
_GROUPS = ("cgroup", "memory_cgroup")
_PATIENCE = 0.5  # seconds before a person is shown the progress
# Bytes of a key of --redact.
_KEY, _LARGEST_KEY = 32, 65536

EXITS = {0: "the recording is written"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``snapshot``."""
    parser.add_argument(
        "-o",
        "--output",
        type=shared.named("-o"),
        metavar="FILE",
        help="the file to write; else standard output",
    )
    shared.add_value(
        parser,
        "--to",
        "DIR",
        "write HOST@TIME.jsonl.zst into a directory, which `oomrules fleet` reads",
    )
    shared.add_flag(
        parser,
        "--redact",
        "replace names, command lines and users, so that the rules still judge every process alike",
    )
    shared.add_value(
        parser,
        "--redact-key",
        "FILE",
        "with --redact: the secret that replacements are made with; with the same one a name has "
        "the same replacement on all hosts; else one for this recording alone, which is not kept",
    )
    shared.add_rules(parser)


def run(options: argparse.Namespace) -> int:
    """Record the host.

    Raises:
        Failure: it cannot be written.
    """
    if options.to and options.output:
        raise Failure("--to and --output exclude each other", "leave one of them out")
    if options.to and not os.path.isdir(options.to):
        if os.path.lexists(options.to):
            raise Failure(f"{options.to} is no directory", "name one, or --output for a file")
        raise Failure(
            f"there is no directory {options.to}",
            f"make it: `mkdir -p -m 700 -- {quoted(options.to)}`",
        )
    key = _key(options)
    program = None if key is None else shared.program(options)
    lines, source = taken()
    host = socket.gethostname()
    if key is not None and program is not None:
        from oomrules.fleet import pseudonyms, redaction

        lines = redaction.redacted(lines, program, key)
        host = pseudonyms.Pseudonyms(key).name(host)
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    if options.to:
        data, ending = packed(text.encode())
        path = os.path.join(options.to, file_name(host, time.time()) + ending)
        files.replace(path, data, 0o600)
        say(f"{count(len(lines), 'line')} written to {path}", sys.stderr)
    elif options.output and options.output != "-":
        # Command lines may hold what others must not read.
        files.replace(options.output, text.encode(), 0o600)
        say(f"{count(len(lines), 'line')} written to {options.output}", sys.stderr)
    else:
        sys.stdout.write(text)
    shared.print_notes(selection.notes(source))
    return 0


def _key(options: argparse.Namespace) -> bytes | None:
    """Return the key of the names that replace others; None if none are to be replaced.

    Raises:
        Failure: the options contradict one another, or the key cannot be read or is short.
    """
    if not options.redact:
        if options.redact_key or options.rules:
            one = "--redact-key" if options.redact_key else "--rules"
            raise Failure(f"{one} is about --redact", "add --redact, or leave it out")
        return None
    if not options.redact_key:
        return os.urandom(_KEY)
    return _read_key(options.redact_key)


def _read_key(path: str) -> bytes:
    """Read a key that nobody else can read.

    Raises:
        Failure: it cannot be read, is short, or others can read it.
    """
    try:
        descriptor = files.open_regular(path)
        status = os.fstat(descriptor)
        key = files.read_opened(descriptor, path, _LARGEST_KEY)
    except OSError as error:
        hint = _new_key(path) if isinstance(error, FileNotFoundError) else None
        raise Failure(f"cannot read {path}: {reason(error)}", hint) from error
    if len(key) < _KEY:
        raise Failure(
            f"the key in {path} has {count(len(key), 'byte')}, and could be guessed",
            f"{_new_key(f'{path}.key')}, and name that",
        )
    if status.st_uid not in (0, os.geteuid()):
        raise Failure(
            f"the key in {path} is a file of uid {status.st_uid}, who can look names up with it",
            f"copy it: `(umask 077; cat -- {quoted(path)} > FILE)`, and name that",
        )
    if status.st_mode & 0o077:
        # What is no key of ours may be a file that others have to read.
        ours = len(key) == _KEY
        alone = f"make it yours alone: `chmod 600 -- {quoted(path)}`"
        raise Failure(
            f"others can read the key in {path}, and look names up with it",
            alone if ours else f"{_new_key(f'{path}.key')}, and name that",
        )
    return key


def _new_key(path: str) -> str:
    """Return how to make a key in a file that is not there; one that is there is not touched."""
    return f"make one: `(umask 077; set -C; head -c {_KEY} /dev/urandom > {quoted(path)})`"


def file_name(host: str, now: float) -> str:
    """Return the name of a recording without its ending: of one host they sort by time.

    A name of a host has nothing in it that means something in a path, or to ``oomrules fleet``.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", host)[:64].lstrip(".") or "host"
    return f"{plain}@{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}"


def packed(text: bytes) -> tuple[bytes, str]:
    """Return a text packed by zstd, or by gzip where Python has no zstd, and the file's ending."""
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError:
        # A host that is recorded need not have more than the standard library.
        return gzip.compress(text, mtime=0), ".jsonl.gz"
    return zstandard.ZstdCompressor(write_checksum=True).compress(text), ".jsonl.zst"


def taken() -> tuple[list[dict[str, Any]], ProcSource]:
    """Return the lines of a snapshot of this host, and what it was read from."""
    # No rule is asked, so everything is read; of the host only what is asked for.
    nothing = make((), {})._replace(attributes=_OF_HOST)
    source = selection.live(nothing, EVERYTHING, "auto", sys.maxsize)
    return list(_lines(source)), source


def _lines(source: ProcSource) -> Iterator[dict[str, Any]]:
    """Return every line; the processes are read first, since the host names their users."""
    processes, present = [], []
    for process in _with_progress(source):
        line = _process(process, source)
        if process.state != "X":  # Else it vanished while it was read.
            processes.append(line)
            present.append(process)
    selection.show_names(present, source, groups_too=True)
    users = {str(process.uid): known("user", process, source) for process in present}
    groups = {str(process.gid): known("group", process, source) for process in present}
    cgroups = {process[key] for process in processes for key in _GROUPS if process.get(key)}
    host = source.host
    described = {
        "kind": "host",
        "schema": recorded.SCHEMA,
        "time": host.time,
        "kernel": host.kernel,
        "page_size": host.page_size,
        "clock_ticks": host.clock_ticks,
        "uptime": host.uptime,
        "mem_total": host.mem_total,
        "swap_total": host.swap_total,
        "hidden": source.look_for_hidden().processes,
        "users": {number: name for number, name in users.items() if name is not None},
        "groups": {number: name for number, name in groups.items() if name is not None},
    }
    optional = {"unit_root": host.unit_root, "notes": selection.notes(source)}
    keys = (*HOST_MEMORY, *HOST_SHARES, "swappiness")
    figures = {key: getattr(host, key) for key in keys}
    # What takes two looks is unknown, and what this kernel does not tell.
    described |= {key: value for key, value in figures.items() if value is not None}
    yield described | {name: value for name, value in optional.items() if value}
    for cgroup in sorted({group for path in cgroups for group in enclosing(path)}):
        scope = source.scope(cgroup)
        if scope is not None:
            yield _scope(cgroup, scope, source)
    yield from processes


def _with_progress(source: ProcSource) -> Iterator[Process]:
    processes = sorted(source.by_pid.values(), key=lambda process: process.pid)
    begin = shown = time.monotonic()
    showing = is_terminal(sys.stderr)
    for number, process in enumerate(processes, 1):
        yield process
        now = time.monotonic()
        if showing and now - begin > _PATIENCE and now - shown > 0.1:
            shown = now
            progress(f"recording process {number} of {len(processes)}")
    if shown != begin:
        progress("")


def _scope(cgroup: str, scope: LiveScope, source: ProcSource) -> dict[str, Any]:
    where = place_of(cgroup, source)
    unit = (where.unit or None) if where.path == cgroup else None
    figures = {key: scope.get(key) for key in FIGURES}
    asked = (*EVERYTHING.properties, "session") if unit else ()
    facts = {name: fact for name in asked if (fact := source.fact(where, name)) is not None}
    optional = {
        "session": facts.pop("session", None),
        # Only groups of v1 have one of their own.
        "swappiness": scope.get("swappiness"),
        "unreadable": [key for key in LIMITS if figures[key] is None] or None,
    }
    # Where there is no limit, it is null.
    figures |= {key: None for key in LIMITS if figures[key] == NO_LIMIT}
    figures["processes"] = of_group(cgroup, "processes", source)
    line = {"kind": "scope", "cgroup": cgroup, "unit": unit, **figures, "properties": facts}
    return line | {name: value for name, value in optional.items() if value is not None}


def _process(process: Process, source: ProcSource) -> dict[str, Any]:
    names = [name for name, field in FIELDS.items() if not field.optional]
    if process.memory_cgroup is not UNREAD and process.memory_cgroup != process.cgroup:
        names.append("memory_cgroup")
    values = {}
    for name in names:
        value = getattr(process, name)
        values[name] = source.read(process, name) if value is UNREAD else value
    line = {**recorded.process_line(values), **_container(process, source)}
    if process.pid in source.own_pids:
        line["self"] = True
    return line


def _container(process: Process, source: ProcSource) -> dict[str, dict[str, Any]]:
    """Return what is known of the container and the pod of a process; empty outside of them."""
    place = container_of(process, source)
    if place is None:
        return {}
    facts = {name: source.container_fact(process, place.id, name) for name in CONTAINER_FACTS}
    said = {name: fact for name, fact in facts.items() if fact is not None}
    return recorded.container_lines(place.id, place.runtime, place.pod, place.qos, said)
