"""The links into ``/etc/oomrules.d``: written, recorded, and taken back.

The record stands beside the links, since ``/run`` ends with the boot. It is written before the
links are, so whatever happens in between, it names each link that may be there. Nothing is
replaced: a link is made where nothing has its name, and removed only if it still leads to where the
record says.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from oomrules import files, state_directory
from oomrules.errors import Failure, reason
from oomrules.language import rulefiles
from oomrules.plain import quoted
from oomrules.roots import Root
from oomrules.setup.presets import NAME, Preset, stems

DIRECTORY = rulefiles.DIRECTORIES[0]
# Names that begin with a dot are no rule files.
RECORD = ".init.json"
SCHEMA = "oomrules.init-record/1"

# A directory that is made, until the record is in it.
_NEW = ".oomrules.d.init"
# What a killed process left of the record (``files.replace``).
_LEFT = re.compile(r"\.init\.json\.[0-9a-f]{16}\.[0-9]+\.new")
_MODE = 0o755
_LARGEST = 64 << 10
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Record(NamedTuple):
    """What was written.

    Attributes:
        links: the target of each link, by its name.
        made: whether the directory was made as well.
        service: the service that was enabled; empty if none was.
        whole: whether all links were made, and nothing ended that half-way.
    """

    links: Mapping[str, str] = MappingProxyType({})
    made: bool = False
    service: str = ""
    whole: bool = True

    @property
    def begun(self) -> tuple[str, ...]:
        """The targets of links that are still to be made, since something ended it half-way."""
        return () if self.whole else tuple(self.links.values())


class State(NamedTuple):
    """How a preset stands in the directory of links.

    Attributes:
        preset: which.
        there: the name by which it is in force; empty if it is not.
        why: why its link cannot be made, though it is not in force; empty if it can.
    """

    preset: Preset
    there: str = ""
    why: str = ""

    @property
    def pending(self) -> bool:
        """Whether its link is still to be made."""
        return not self.there and not self.why


class Undone(NamedTuple):
    """What came of taking links back.

    Attributes:
        removed: names of links that were removed.
        left: sentences on those that were changed since, and were left.
        directory: whether the directory was removed, too.
        service: the service that had been enabled; empty if none was.
    """

    removed: list[str]
    left: list[str]
    directory: bool
    service: str


class Links:
    """The links of one system.

    Args:
        tree: the system.
    """

    def __init__(self, tree: Root) -> None:
        above, name = os.path.split(tree.path / DIRECTORY[1:])
        # No link on the way leads out of the root; the directory itself must be none.
        with suppress(OSError):
            above = str(tree.real(above))
        self.path = Path(above, name)
        self._tree = tree

    # --- looking -----------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return the names of the rule files there; none if there is no such directory."""
        try:
            names = os.listdir(self.path)
        except OSError:
            return []
        return sorted(
            name for name in names if name.endswith(rulefiles.SUFFIX) and not name.startswith(".")
        )

    def presets(self) -> dict[str, str]:
        """Return the shipped presets that are linked, each with the name of its link."""
        found, shipped = dict[str, str](), stems()
        for name in self.names():
            try:
                target = os.readlink(self.path / name)
            except OSError:
                continue  # a file
            path = Path(os.path.normpath(os.path.join(DIRECTORY, target)))
            if path.parent.name == rulefiles.PRESETS and path.stem in shipped:
                found.setdefault(path.stem, name)
        return found

    def state(self, preset: Preset) -> State:
        """Return how a preset stands."""
        linked = self.presets().get(preset.stem)
        if linked:
            return State(preset, there=linked)
        try:
            status = os.lstat(self.path / preset.link)
        except OSError:
            return State(preset)
        what = "a link to something else" if stat.S_ISLNK(status.st_mode) else "a file of its own"
        return State(preset, why=f"{self.path / preset.link} is there already, and is {what}")

    def record(self) -> Record:
        """Return what was written before.

        Raises:
            Failure: the record is there, and cannot be used.
        """
        data = self._recorded()
        if data is None:
            return Record()
        if not _is_record(data):
            raise Failure(
                f"{self.path / RECORD} is damaged, so it does not say what was written",
                f"see what is in {self.path}, and remove the record: "
                f"`rm {quoted(str(self.path / RECORD))}`",
            )
        return Record(**{name: data[name] for name in Record._fields})

    def _recorded(self) -> Any:
        path = str(self.path / RECORD)
        try:
            descriptor = os.open(path, _READ)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Failure(f"cannot read {path}: {reason(error)}", "run it as root") from error
        status = os.fstat(descriptor)
        ours = status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022
        if not ours or not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise Failure(
                f"{path} could have been changed by others, so it is not believed",
                f"see what is in {self.path}, and remove the record: `rm {quoted(path)}`",
            )
        try:
            return json.loads(files.read_opened(descriptor, path, _LARGEST))
        except (OSError, ValueError, RecursionError):
            return ()

    def refusal(self) -> str:
        """Return why nothing is written into the directory, whoever asks; empty if it can be."""
        try:
            status = os.lstat(self.path)
        except FileNotFoundError:
            return ""
        except OSError as error:
            return f"{self.path} cannot be looked at: {reason(error)}"
        if stat.S_ISLNK(status.st_mode):
            return f"{self.path} is a symbolic link"
        if not stat.S_ISDIR(status.st_mode):
            return f"{self.path} is no directory"
        if self._tree.whole and status.st_uid not in (0, os.geteuid()):
            return f"{self.path} belongs to user id {status.st_uid}"
        if status.st_mode & stat.S_IWOTH:
            return f"{self.path} is writable by every user"
        if status.st_mode & stat.S_IWGRP and status.st_gid != 0:
            return f"{self.path} is writable by group {status.st_gid}"
        # The owner of another system's tree is whoever unpacked it.
        return state_directory.ancestor_of_others(str(self.path)) if self._tree.whole else ""

    def allowed(self) -> bool:
        """Return whether this user may write there."""
        place = self.path
        while not os.path.lexists(place) and place != place.parent:
            place = place.parent
        return os.access(place, os.W_OK | os.X_OK)

    # --- writing -----------------------------------------------------------------------

    def write(self, presets: Sequence[Preset]) -> None:
        """Make the links of presets, and record them.

        Raises:
            Failure: they could not be made; then none of them was.
        """
        self._refuse()
        with _sentence(f"cannot write into {self.path}", "; nothing was changed"):
            before = self._prepared(presets)
            made: list[str] = []
            try:
                for preset in presets:
                    os.symlink(preset.target, self.path / preset.link)
                    made.append(preset.link)
                _settle(self.path)
                self._save(self.record()._replace(whole=True))
            except (OSError, Failure):
                for name in made:
                    with suppress(OSError):
                        os.unlink(self.path / name)
                with suppress(OSError, Failure):
                    self._restore(before)
                raise

    def note_service(self, name: str) -> None:
        """Record that a service was enabled, or with an empty name that none is.

        Raises:
            Failure: the record cannot be written.
        """
        self._save(self.record()._replace(service=name))

    def _refuse(self) -> None:
        why = self.refusal()
        if why:
            raise Failure(
                f"nothing is written, because {why}, and who can change it could change which "
                "processes the kernel kills",
                f"make it a directory of root's: `chown root:root {quoted(str(self.path))} && "
                f"chmod 755 {quoted(str(self.path))}`",
            )

    def _prepared(self, presets: Sequence[Preset]) -> Record | None:
        """Write the record with the links that are going to be made; return the one before it."""
        new = {preset.link: preset.target for preset in presets}
        if os.path.lexists(self.path):
            self.tidy()
            before = self.record()
            there = os.path.lexists(self.path / RECORD)
            # Of those that were never made, or were removed since, nothing is to be taken back.
            old = {
                name: target
                for name, target in before.links.items()
                if os.path.lexists(self.path / name)
            }
            self._save(before._replace(links={**old, **new}, whole=False))
            return before if there else None
        # The directory appears with the record in it, so no moment is without one.
        beside = self.path.parent / _NEW
        self.clear(beside)
        os.mkdir(beside, _MODE)
        try:
            # Whatever the umask: every user may read the rules.
            os.chmod(beside, _MODE)
            _put(beside, Record(links=new, made=True, whole=False))
            os.rename(beside, self.path)
        except BaseException:
            self.clear(beside)
            raise
        return None

    def _restore(self, before: Record | None) -> None:
        if before is not None:
            self._save(before)
            return
        made = self.record().made
        os.unlink(self.path / RECORD)
        if made:
            os.rmdir(self.path)

    def _save(self, record: Record) -> None:
        _put(self.path, record)

    def tidy(self) -> None:
        """Remove what a killed process left of a record."""
        with suppress(OSError):
            for name in os.listdir(self.path):
                if _LEFT.fullmatch(name):
                    os.unlink(self.path / name)
        self.clear(self.path.parent / _NEW)

    @staticmethod
    def clear(beside: Path) -> None:
        """Remove the directory that a killed process did not finish, if it is one."""
        with suppress(OSError):
            for name in os.listdir(beside):
                if name == RECORD or _LEFT.fullmatch(name):
                    os.unlink(beside / name)
            os.rmdir(beside)

    # --- taking back -------------------------------------------------------------------

    def undo(self, dry: bool = False) -> Undone:
        """Remove the links that the record names, the record, and the directory if it was made.

        Args:
            dry: whether only to look at what would be removed.

        Raises:
            Failure: they could not all be removed; the record is there until they are.
        """
        record = self.record()
        undone = Undone(removed=[], left=[], directory=False, service=record.service)
        if not os.path.lexists(self.path / RECORD):
            if not dry and not self.refusal():
                self.tidy()
            return undone
        self._refuse()
        with _sentence(f"cannot take back what is in {self.path}", ""):
            for name, target in sorted(record.links.items()):
                why = self._changed(name, target)
                if why is None:
                    if not dry:
                        os.unlink(self.path / name)
                    undone.removed.append(name)
                elif why:
                    undone.left.append(f"{self.path / name} is left: {why}")
            if not dry:
                _settle(self.path)
                self.tidy()
                os.unlink(self.path / RECORD)
            return undone._replace(directory=record.made and self._remove(undone, dry))

    def _changed(self, name: str, target: str) -> str | None:
        """Return why a link is not removed, empty if it is gone; None if it is to be removed."""
        path = self.path / name
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return ""
        if not stat.S_ISLNK(status.st_mode):
            return "it is no link any more"
        now = os.readlink(path)
        return None if now == target else f"it leads to {now} now"

    def _remove(self, undone: Undone, dry: bool) -> bool:
        if dry:
            return set(os.listdir(self.path)) <= {RECORD, *undone.removed}
        try:
            os.rmdir(self.path)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False  # an administrator has put files there
            raise
        return True


def _put(directory: Path, record: Record) -> None:
    data = {"schema": SCHEMA, **record._asdict(), "links": dict(record.links)}
    files.replace(str(directory / RECORD), json.dumps(data, indent=1).encode() + b"\n")


def _settle(directory: Path) -> None:
    """Have the names in a directory on the disk."""
    with files.opened(str(directory), os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        os.fsync(descriptor)


@contextmanager
def _sentence(what: str, end: str) -> Iterator[None]:
    """Say in one sentence what the system refused."""
    try:
        yield
    except OSError as error:
        hint = {
            errno.EROFS: "the file system is mounted read-only; remount it, or link the presets "
            "where it is made",
            errno.ENOENT: "is that the root of a system? It has no /etc",
            errno.ENOSPC: "make room there, and run it again",
            errno.EDQUOT: "make room there, and run it again",
            errno.EEXIST: "another process has made it meanwhile; run it again",
        }.get(error.errno or 0, "run it as root")
        raise Failure(f"{what}: {reason(error)}{end}", hint) from error


def _is_record(data: Any) -> bool:
    """Return whether this is a record whose names are those of links that are written here."""
    return (
        isinstance(data, dict)
        and data.get("schema") == SCHEMA
        and isinstance(data.get("made"), bool)
        and isinstance(data.get("whole"), bool)
        and data.get("service") in ("", *SERVICES)
        and isinstance(data.get("links"), dict)
        and all(
            NAME.fullmatch(name) and isinstance(target, str)
            for name, target in data["links"].items()
        )
    )


# The services that may be enabled, and disabled when that is taken back.
SERVICES = ("oomrules.service",)
