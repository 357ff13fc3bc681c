"""The drop-in that lets a service call the hook."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from oomrules.dbus.gather import booted_with_systemd
from oomrules.errors import Failure, reason
from oomrules.roots import Root
from oomrules.terminal import say

NAME = "50-oomrules.conf"

# Where units are (systemd.unit(5)).
_FOLDERS = (
    "etc/systemd/system",
    "run/systemd/system",
    "run/systemd/generator",
    "run/systemd/generator.late",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)

# "-": a failing hook never keeps the unit from starting. "+": with full rights, whatever
# sandbox the service itself has.
_TEXT = """\
# Made by `oomrules hook --install {service}`; `oomrules hook --remove {service}` removes it.
# It keeps the list of OOM candidates true as this service comes and goes.
[Service]
ExecStartPost=-+{command} hook %n
ExecStopPost=-+{command} hook %n
"""


def install(service: str, root: Path) -> int:
    """Write the drop-in and let systemd read it.

    Raises:
        Failure: it is no service, or the file cannot be written.
    """
    path = _path(service, root)
    command = shutil.which("oomrules") or str(Path(sys.argv[0]).resolve())
    try:
        Root(root).make(path.parent)
    except OSError as error:
        raise Failure(f"cannot make {path.parent}: {reason(error)}", "run it as root") from error
    Root(root).replace(path, _TEXT.format(service=service, command=command).encode())
    say(f"{path} written")
    _reload(root)
    if not _exists(service, root):
        say(
            f"note: there is no {service} here; the hook waits for one. If the name is wrong: "
            f"`oomrules hook --remove {shlex.quote(service)}`, and "
            "`systemctl list-unit-files --type=service` lists the services",
            sys.stderr,
        )
    return 0


def _exists(service: str, root: Path) -> bool:
    """Return whether there is such a service; an instance of a template counts as one."""
    if root == Path("/") and booted_with_systemd():
        asked = subprocess.run(  # noqa: S603
            ["systemctl", "show", "--property=LoadState", "--value", "--", service],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode == 0:
            return asked.stdout.strip() != "not-found"
    head, at, _ = service.removesuffix(".service").partition("@")
    names = (service, f"{head}@.service") if at else (service,)
    return any(os.path.lexists(root / folder / name) for folder in _FOLDERS for name in names)


def remove(service: str, root: Path) -> int:
    """Remove the drop-in and let systemd know.

    Raises:
        Failure: there is none, or it cannot be removed.
    """
    path = _path(service, root)
    try:
        Root(root).remove(path)
    except FileNotFoundError as error:
        raise Failure(f"{service} has no hook: there is no {path}") from error
    except OSError as error:
        raise Failure(f"cannot remove {path}: {reason(error)}", "run it as root") from error
    try:
        Root(root).remove(path.parent)
    except OSError:
        pass  # Other drop-ins are there.
    say(f"{path} removed")
    _reload(root)
    return 0


def _path(service: str, root: Path) -> Path:
    if not service.endswith(".service") or "/" in service:
        raise Failure(
            f"{service} is not the name of a service",
            f"only services can call a hook; write the full name, as in `{service}.service`"
            if "." not in service and "/" not in service
            else "only services can call a hook; write a name such as nginx.service",
        )
    return root / "etc/systemd/system" / f"{service}.d" / NAME


def _reload(root: Path) -> None:
    if root != Path("/") or not booted_with_systemd():
        return
    done = subprocess.run(
        ["systemctl", "daemon-reload"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Failure(
            f"systemd did not take it: {done.stderr.strip()}", "run `systemctl daemon-reload`"
        )
