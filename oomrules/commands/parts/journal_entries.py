"""Entries of the journal that oomrules wrote, for the commands that read them."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any

from oomrules.errors import Failure

SERVICE = "oomrules.service"

# The longest line of the journal that is read, in bytes. An entry about a kill has less than a
# tenth; one with facts has more, since JSON of JSON has a backslash for each quote.
LONGEST, LONGEST_WITH_FACTS = 64 * 1024, 512 * 1024


def asked(ids: Iterable[str], since: str = "", *more: str) -> list[str]:
    """Return the command that prints entries with one of some ids, which root sent.

    Args:
        since: as journalctl takes it.
        more: what else journalctl is told.
    """
    command = ["journalctl", "--output=json", "--no-pager", "--quiet"]
    command += [f"--since={since}"] if since else []
    # Several values of one field are alternatives.
    return [*command, *more, *(f"MESSAGE_ID={one}" for one in ids), "_UID=0"]


def entries(command: list[str], longest: int = LONGEST) -> Iterator[dict[str, Any]]:
    """Read entries of the journal; what is no entry, or too long for one, is left out."""
    with tempfile.TemporaryFile() as errors:
        try:
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)  # noqa: S603
        except FileNotFoundError as error:
            raise Failure(
                "there is no journalctl on this host", "the history is kept in systemd's journal"
            ) from error
        with child:
            assert child.stdout is not None
            yield from _objects(child.stdout, longest)
        errors.seek(0)
        why = errors.read(longest).decode("utf-8", "replace").strip()
    if child.returncode and why:
        raise Failure(f"journalctl: {why}", "run it as root, or as a member of systemd-journal")


def _objects(stream: IO[bytes], longest: int) -> Iterator[dict[str, Any]]:
    """Return the objects in the lines of a stream; a line that is too long is never whole."""
    begins = True
    while line := stream.readline(longest):
        if begins and (line.endswith(b"\n") or len(line) < longest):
            try:
                data = json.loads(line)
            except (ValueError, RecursionError):
                data = None
            if isinstance(data, dict):
                yield data
        begins = line.endswith(b"\n")


def is_ours(entry: dict[str, Any]) -> bool:
    """Return whether the service wrote an entry, or the hook of the unit that it is about.

    Any process can send an entry with our id, and a container's root has the uid 0 too. The
    sender is what journald says: only journald writes fields whose names begin with an underscore
    (systemd.journal-fields(7)).
    """
    sender = text(entry, "_SYSTEMD_UNIT")
    return sender != "" and sender in (SERVICE, text(entry, "OOMRULES_UNIT"))


def text(entry: dict[str, Any], name: str) -> str:
    """Return a field; one that is there twice, or is no text at all, counts as empty."""
    value = entry.get(name)
    if isinstance(value, str):
        return value
    # The journal gives a value that is no printable text as a list of bytes.
    if isinstance(value, list) and all(type(byte) is int and 0 <= byte < 256 for byte in value):
        return bytes(value).decode("utf-8", "backslashreplace")
    return ""


def whole(entry: dict[str, Any], name: str) -> int | None:
    """Return a field that is a whole number; None if it is none."""
    found = text(entry, name)
    return int(found) if re.fullmatch("[0-9]{1,100}", found) else None


def seconds(entry: dict[str, Any], name: str) -> float | None:
    """Return a field that is a number of seconds; None if it is none."""
    found = text(entry, name)
    return float(found) if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", found) else None
