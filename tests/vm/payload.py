"""What of the checkout goes into the guest."""

from __future__ import annotations

import importlib.util
import io
import marshal
import stat
import struct
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests.vm.host import NoGuest


def payload(checkout: Path) -> bytes:
    """A tar to be unpacked at the guest's root: what `make install` puts on a host.

    The same files give the same bytes, because a saved state of the guest is named after them.

    Raises:
        NoGuest: `make install` failed.
    """
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["make", "--no-print-directory", "install", f"DESTDIR={folder}"],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise NoGuest(f"make install failed: {done.stderr.strip()}")
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for path in sorted(Path(folder).rglob("*")):
                name = str(path.relative_to(folder))
                if path.is_file():
                    _add(tar, name, path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
                elif not any(path.iterdir()):
                    member = tarfile.TarInfo(name)
                    member.type, member.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(member)
    return buffer.getvalue()


def compiled(tar: bytes) -> bytes:
    """The same tar, with the bytecode of its Python modules.

    The guest has this machine's distribution, and so, most likely, this very Python; any other
    does not look at files with this one's tag and compiles for itself, which takes it longer.
    """
    buffer = io.BytesIO(tar)
    with (
        tarfile.open(fileobj=io.BytesIO(tar)) as source,
        tarfile.open(fileobj=buffer, mode="a") as target,
    ):
        for member in source:
            file = source.extractfile(member)
            if file is None or not member.name.endswith(".py"):
                continue
            code = compile(file.read(), f"/{member.name}", "exec", dont_inherit=True)
            flags, mtime = 0, int(member.mtime)
            head = importlib.util.MAGIC_NUMBER + struct.pack("<III", flags, mtime, member.size)
            name = importlib.util.cache_from_source(member.name)
            _add(target, name, head + marshal.dumps(code), 0o644)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    member.mode = mode
    tar.addfile(member, io.BytesIO(data))
