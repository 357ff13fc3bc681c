"""The cache: one directory per layer of the guest, named after a hash of all that went in.

Layers are never changed once they are there. They are made under a temporary name and renamed,
so that an interrupted run leaves nothing that a later one could take for whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.vm.host import NoGuest


def folder() -> Path:
    """The cache folder, made if need be: OOMRULES_VM_CACHE, else .vm at the checkout's top."""
    named = os.environ.get("OOMRULES_VM_CACHE")
    path = Path(named) if named else Path(__file__).resolve().parents[2] / ".vm"
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / ".gitignore").write_text("*\n")
    except OSError as error:
        raise NoGuest(f"the cache folder {path} cannot be made: {error.strerror}") from error
    return path


def layer(
    kind: str, inputs: Iterable[str | bytes], make: Callable[[Path], None], keep: int = 2
) -> Path:
    """The layer's directory; `make` fills it when it is not there yet.

    A layer that builds on another has that one's `identity` among its inputs. Of a kind, so
    many are kept as were last used: one to go back to, or as many as tests use side by side.

    Raises:
        NoGuest: it cannot be made.
    """
    digest = hashlib.sha256()
    for part in inputs:
        data = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(data) + data)
    top = folder()
    path = top / f"{kind}-{digest.hexdigest()[:16]}"
    # By kind, since one layer may ask for another while it is made, and so that what has nothing to
    # do with it is made at the same time.
    with (top / f"lock-{kind}").open("w") as lock:
        # Two runs at once: the second waits and finds the work done.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (path / "identity").exists():
            os.utime(path)  # in use: _prune goes by this
            return path
        for left_over in top.glob(f".new-{kind}-*"):  # of a run that was killed
            shutil.rmtree(left_over)
        scratch = Path(tempfile.mkdtemp(prefix=f".new-{kind}-", dir=top))
        try:
            make(scratch)
            (scratch / "identity").write_text(uuid.uuid4().hex)
            scratch.chmod(0o755)
            shutil.rmtree(path, ignore_errors=True)  # what somebody has damaged
            scratch.rename(path)
        except OSError as error:
            raise NoGuest(f"making the guest's {kind} failed: {error}") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        _prune(top, kind, keep)
    return path


def identity(path: Path) -> str:
    """Names this very layer: made again from the same inputs, its disk has other blocks."""
    return (path / "identity").read_text()


def _prune(top: Path, kind: str, keep: int) -> None:
    layers = sorted(top.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime)
    for old in layers[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
