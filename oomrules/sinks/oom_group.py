"""memory.oom.group: the kernel kills a unit as a whole where the rules say so.

Once the kernel has chosen a victim, it kills all processes of the outermost control group around it
that has a 1 in this file, up to the group that has run out of memory (mem_cgroup_get_oom_group(),
mm/memcontrol.c). It spares those with an oom_score_adj of -1000 and no others
(oom_kill_memcg_member(), mm/oom_kill.c). So a group is armed only while no process inside is
protected, or each that is has this value.

The record of what was there before is saved before the first write. A group is known by its path
and its inode: a new unit of the same name is another one.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable

from oomrules import files, state_directory
from oomrules.clock import boot
from oomrules.errors import Failure, reason
from oomrules.files import opened, read_small
from oomrules.lean import Any, NamedTuple
from oomrules.plain import printable, some
from oomrules.processes.cgroups import Hierarchy, as_bytes
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import Process
from oomrules.ranking.groups import Together
from oomrules.ranking.ranker import Ranking
from oomrules.ranking.verdict import Verdict

SCHEMA = "oomrules.groups/1"

_FILE = "memory.oom.group"
# What a file of a control group says that has been removed: before it is opened, and after.
_GONE = (errno.ENOENT, errno.ENODEV)
_UNKILLABLE = "-1000"

# Users make units as they like. So many groups are armed; those beyond it are killed one by one.
_MOST = 1000
_LARGEST = 16 << 20
_LONGEST = 4096


class Entry(NamedTuple):
    """A control group that was armed.

    Attributes:
        path: of the group.
        inode: of its directory.
        left: whether something else has changed the file since. Then it keeps that value.
    """

    path: str
    inode: int
    left: bool = False


class Armed(NamedTuple):
    """What came of arming.

    Attributes:
        paths: of the control groups that the kernel kills as a whole.
        said: why others are not, each in a sentence.
    """

    paths: tuple[str, ...]
    said: tuple[str, ...]


def arm(ranking: Ranking, source: ProcSource, path: str) -> Armed:
    """Arm the groups of a ranking, and give back those that are none any more.

    The caller holds the lock of the state directory.

    Args:
        path: of the record.

    Raises:
        Failure: the record cannot be read or written; nothing has been changed then.
    """
    known = load(path)
    listed = set(ranking.pids)
    wanted, said = [], []
    for found in ranking.together().values():
        if listed.isdisjoint(process.pid for process in found.group.members):
            continue
        why = _obstacle(found, source.root)
        if why:
            said.append(why)
        else:
            wanted.append(found.group.unit.place.path)
    arming = _Arming(known, source.hierarchy)
    arming.prepare(wanted[:_MOST])
    ahead = dict(arming.entries)
    if ahead != known:
        save(path, ahead)
    arming.write()
    if arming.entries != ahead:
        save(path, arming.entries)
    return Armed(tuple(arming.armed), (*said, *arming.said))


def _obstacle(found: Together, root: str) -> str:
    """Return why a group is not armed, as a sentence; empty if nothing is in the way."""
    name = printable(found.group.unit.place.unit)
    if found.unplaced:
        return (
            f"{name} is killed one process at a time, not at once: a protected process may be "
            "inside, since its unit is unknown"
        )
    killable = [(one, verdict) for one, verdict in found.protected if not _is_spared(root, one.pid)]
    if not killable:
        return ""
    return (
        f"{name} is killed one process at a time, not at once: the kernel would take "
        f"{some([_called(one, verdict) for one, verdict in killable])}"
    )


def _called(process: Process, verdict: Verdict) -> str:
    why = verdict.rule.place if verdict.rule else verdict.reason
    return f"{printable(process.comm or '?')} ({process.pid}), protected: {printable(why)}"


def _is_spared(root: str, pid: int) -> bool:
    """Return whether the kernel spares a process of a group, as it is now."""
    try:
        return read_small(f"{root}/{pid}/oom_score_adj").decode("ascii").strip() == _UNKILLABLE
    except (FileNotFoundError, ProcessLookupError):
        # It has ended.
        return True
    except (OSError, ValueError):
        return False


class _Arming:
    """One run: first the record is made, then the files are written."""

    def __init__(self, known: dict[str, Entry], hierarchy: Hierarchy) -> None:
        self._hierarchy = hierarchy
        self.entries = dict(known)
        self._new: list[str] = []
        self._over: list[Entry] = []
        self.armed: list[str] = []
        self.given: list[str] = []
        self.said: list[str] = []

    def prepare(self, wanted: Iterable[str]) -> None:
        """Look at the groups that are wanted, and at those that were; write nothing."""
        wanted = dict.fromkeys(wanted)
        missing = []
        for path in wanted:
            state = _state(self._hierarchy, path)
            if state is None:
                missing.append(path)
                continue
            inode, value = state
            entry = self.entries.get(path)
            if entry is None or entry.inode != inode:
                self.entries.pop(path, None)
                # With a 1 of its own (OOMPolicy=kill) there is nothing to do or to give back.
                if value == 0:
                    self.entries[path] = Entry(path, inode)
                    self._new.append(path)
                    continue
            elif value == 0:
                self.entries[path] = entry._replace(left=True)
                continue
            self.armed.append(path)
        self._over = [entry for path, entry in self.entries.items() if path not in wanted]
        if missing:
            self.said.append(
                f"{some(list(map(_name, missing)))}: killed one process at a time, not at once, "
                f"since there is no {_FILE} (it takes control groups of version 2 with the memory "
                "controller)"
            )
        changed = [path for path in wanted if path in self.entries and self.entries[path].left]
        if changed:
            self.said.append(
                f"{some(list(map(_name, changed)))}: killed one process at a time, not at once, "
                f"since {_FILE} was set back to 0 by another program, which is left as it is"
            )

    def write(self) -> None:
        """Write the files."""
        for path in self._new:
            why = _write(self._hierarchy, self.entries[path], 0, 1)
            if why is None:
                self.armed.append(path)
                continue
            del self.entries[path]
            if why:
                self.said.append(f"{_name(path)} cannot be killed at once: {_FILE}: {why}")
        for entry in self._over:
            if self.give_back(entry):
                del self.entries[entry.path]

    def give_back(self, entry: Entry) -> bool:
        """Give a group its value back; return whether its entry is done with."""
        if entry.left:
            return True
        why = _write(self._hierarchy, entry, 1, 0)
        if why is None:
            self.given.append(entry.path)
        elif why:
            self.said.append(f"{_FILE} of {_name(entry.path)} is still 1: {why}")
        return not why


def release(path: str, hierarchy: Hierarchy | None = None) -> list[str]:
    """Give every group its value back; return the paths of those for which that was done.

    A group whose file something else has changed keeps that value.

    Raises:
        Failure: the record cannot be read or written, or a value not be given back.
    """
    known = load(path)
    arming = _Arming(known, hierarchy or Hierarchy())
    save(path, {one: entry for one, entry in known.items() if not arming.give_back(entry)})
    if arming.said:
        raise Failure(
            f"not given back: {some(arming.said)}",
            "run `oomrules release` again as root; the record is kept",
        )
    return arming.given


def _name(path: str) -> str:
    return printable(path.rpartition("/")[2] or path)


# --- the files ---------------------------------------------------------------------------


def _directory(hierarchy: Hierarchy, path: str) -> int | None:
    """Open the directory of a control group of v2; None if there is none."""
    tree = hierarchy.unified
    directory = tree.directory(path) if tree else None
    if directory is None:
        return None
    try:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(as_bytes(directory), flags)
    except OSError:
        return None


def _state(hierarchy: Hierarchy, path: str) -> tuple[int, int] | None:
    """Return the inode of a control group and what is in its file; None without the file."""
    directory = _directory(hierarchy, path)
    if directory is None:
        return None
    try:
        return os.fstat(directory).st_ino, int(read_small(_FILE, directory))
    except (OSError, ValueError):
        return None
    finally:
        os.close(directory)


def _write(hierarchy: Hierarchy, entry: Entry, before: int, value: int) -> str | None:
    """Write the file of a group if it is still that group, with the value that it had.

    Returns:
        None if it was written, an empty text if the group is gone or something else has changed its
        value, else why it could not be written.
    """
    directory = _directory(hierarchy, entry.path)
    if directory is None:
        return ""
    try:
        if os.fstat(directory).st_ino != entry.inode or int(read_small(_FILE, directory)) != before:
            return ""
        with opened(_FILE, os.O_WRONLY | os.O_NOFOLLOW, directory=directory) as descriptor:
            os.write(descriptor, b"%d\n" % value)
    except ValueError as error:
        return str(error)
    except OSError as error:
        return "" if error.errno in _GONE else reason(error)
    finally:
        os.close(directory)
    return None


# --- the record --------------------------------------------------------------------------


def load(path: str) -> dict[str, Entry]:
    """Read the record of this boot, by path; an empty one if there is none.

    Raises:
        Failure: there is a record that cannot be read.
    """
    try:
        data = json.loads(files.read(path, _LARGEST, follow=False))
        if data["schema"] != SCHEMA:
            raise ValueError
        # Those groups ended with the boot.
        entries = [_entry(one) for one in data["groups"]] if data["boot"] == boot() else []
    except FileNotFoundError:
        return {}
    except PermissionError as error:
        raise Failure(f"cannot read {path}: {reason(error)}", "run it as root") from error
    except (OSError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise Failure(
            f"{path} is no record of oomrules, so {_FILE} cannot be given back",
            "look at it; if you remove it, the values that are in force count as the originals",
        ) from error
    return {entry.path: entry for entry in entries}


def _entry(data: Any) -> Entry:
    path, inode, left = data["path"], data["inode"], data["left"]
    if not isinstance(path, str) or not path.startswith("/") or len(path) > _LONGEST:
        raise ValueError
    if ".." in path.split("/") or type(inode) is not int or type(left) is not bool:
        raise ValueError
    return Entry(path=path, inode=inode, left=left)


def save(path: str, entries: dict[str, Entry]) -> None:
    """Replace the record; an empty one is removed.

    Raises:
        Failure: it cannot be written.
    """
    if not entries:
        files.remove(path)
        return
    groups = [entry._asdict() for entry in entries.values()]
    data = {"schema": SCHEMA, "boot": boot(), "groups": groups}
    files.replace(path, json.dumps(data).encode(), state_directory.FILE_MODE)
