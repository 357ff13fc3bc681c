"""How this machine gets at its registries, to be carried into another root.

Nothing here knows a registry. Proxies, certificates, names of hosts and what pip and apt are told
are taken from where these tools themselves have them.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.vm.host import command
from tests.vm.image import apt_options

_ENVIRONMENT = re.compile(
    r"(http|https|ftp|all|no)_proxy|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL)_CA_BUNDLE", re.IGNORECASE
)
# Read where they are used, so a link is followed.
_FILES = ["/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt"]
_OWN_CERTIFICATES = Path("/usr/local/share/ca-certificates")


@dataclass(frozen=True)
class Registries:
    """What a root needs to reach the registries as this machine does.

    Attributes:
        files: absolute path to content.
        environment: variables.
        binds: absolute paths of this machine that pip's configuration points at.
    """

    files: dict[str, bytes]
    environment: dict[str, str]
    binds: list[str]


def of_this_machine() -> Registries:
    """Look at how this machine reaches its registries."""
    files = {path: Path(path).read_bytes() for path in _FILES if os.path.exists(path)}
    for path in sorted(_OWN_CERTIFICATES.glob("*.crt")):
        files[str(path)] = path.read_bytes()
    # Debian 12's apt asks once unless told.
    options = 'Acquire::Retries "3";\n' + "".join(f"{line};\n" for line in apt_options())
    files["/etc/apt/apt.conf.d/99this-machine"] = options.encode()
    settings = pip_settings(command([sys.executable, "-m", "pip", "config", "list"]))
    lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
    files["/etc/pip.conf"] = f"[global]\n{lines}".encode()
    return Registries(
        files=files,
        environment={name: text for name, text in os.environ.items() if _ENVIRONMENT.match(name)},
        binds=[path for path in local_paths(settings) if path not in files],
    )


def pip_settings(listed: str) -> dict[str, str]:
    """The settings in force for every command, from what ``pip config list`` prints.

    Of a name that is set in several places the last counts, as for pip: the environment's are
    told first, and are the strongest.
    """
    found: dict[str, str] = {}
    strongest: dict[str, str] = {}
    for line in listed.splitlines():
        key, _, text = line.partition("=")
        place, _, name = key.rpartition(".")
        if place in ("global", ":env:"):
            value = str(ast.literal_eval(text)).replace("\n", "\n  ")
            (strongest if place == ":env:" else found)[name] = value
    return found | strongest


def local_paths(settings: dict[str, str]) -> Iterator[str]:
    """The files and folders of this machine that pip's settings name."""
    for value in settings.values():
        for word in value.split():
            path = word.removeprefix("file://").rstrip("/")
            # The pages of an index of files are links to what lies beside them.
            place = os.path.dirname(path) if word.startswith("file://") else path
            if place.startswith("/") and place != "/" and os.path.exists(place):
                yield place
