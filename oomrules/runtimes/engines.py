"""Docker and Podman: lists of the containers that run, from their sockets and Podman's own file."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from oomrules import files
from oomrules.errors import reason
from oomrules.runtimes import sockets
from oomrules.runtimes.answers import (
    MOST_SAID,
    Said,
    Unanswered,
    container_name,
    image,
    known,
    name,
    objects,
    of_pod,
    parsed,
    table,
)

DOCKER = "/run/docker.sock"
PODMAN = "/run/podman/podman.sock"

# The first version of Podman's own interface that today's Podman still answers to.
_PODMAN_LIST = "/v4.0.0/libpod/containers/json"

# containers-storage.conf(5): the files, the last one first, and what is usual.
_STORAGE_CONF = ("/etc/containers/storage.conf", "/usr/share/containers/storage.conf")
_STORAGE = {"graphroot": "/var/lib/containers/storage", "runroot": "/run/containers/storage"}


def docker(path: str, deadline: float) -> dict[str, Said]:
    """Return what Docker says of each container, by id.

    Args:
        path: of its socket.
        deadline: by ``time.monotonic``.

    Raises:
        Unanswered: it says nothing.
    """
    advice = "see `systemctl status docker`"
    listed = parsed(sockets.get(path, "/containers/json", deadline, advice), list, advice)
    return dict(_docker(listed))


def _docker(listed: Any) -> Iterator[tuple[str, Said]]:
    for one in objects(listed):
        labels = table(one, "Labels")
        names = one.get("Names")
        # A name with a second slash is what another container calls this one (--link).
        own = [
            given[1:] if given.startswith("/") else given
            for given in (names if isinstance(names, list) else [])
            if isinstance(given, str) and "/" not in given[1:]
        ]
        yield (
            str(one.get("Id")),
            known(
                {
                    "runtime": "docker",
                    "name": container_name(labels) or name(own[0] if own else None),
                    "image": image(one.get("Image")),
                    **of_pod(labels, labels),
                }
            ),
        )


def podman(path: str, deadline: float) -> dict[str, Said]:
    """Return what Podman's service says of each container, by id; see ``docker``."""
    advice = "see `systemctl status podman.socket`"
    listed = parsed(sockets.get(path, _PODMAN_LIST, deadline, advice), list, advice)
    return dict(_podman(listed))


def _podman(listed: Any) -> Iterator[tuple[str, Said]]:
    for one in objects(listed):
        names = one.get("Names")
        said = {
            "runtime": "podman",
            "name": name(names[0] if isinstance(names, list) and names else None),
            "image": image(one.get("Image")),
            "pod_name": name(one.get("PodName")),
        }
        yield str(one.get("Id")), known(said)


def storage(directories: list[str]) -> dict[str, Said]:
    """Return what Podman has written of each container into its storage, by id.

    Reading it starts no process and waits for no lock, and works while no service of Podman runs.

    Args:
        directories: as ``storage_directories`` returns them.

    Raises:
        Unanswered: there is no such file, or it cannot be read.
    """
    advice = "see `podman ps`"
    found: dict[str, Said] = {}
    # One folder for each driver, as overlay-containers; the second file is of containers that are
    # not to outlive the boot.
    paths = [
        path
        for directory in directories
        for kind in ("containers.json", "volatile-containers.json")
        for path in sorted(Path(directory).glob(f"*-containers/{kind}"))
    ]
    if not paths:
        # A directory of root's looks empty to others.
        advice = advice if os.geteuid() == 0 else "run this as root"
        raise Unanswered(f"there is no list of containers below {directories[0]}", advice)
    for path in paths:
        try:
            if os.lstat(path).st_uid not in (0, os.geteuid()):
                raise Unanswered(f"{path} is not root's", advice)
            listed = parsed(files.read(str(path), MOST_SAID, follow=False), list, advice)
        except OSError as error:
            raise Unanswered(f"{path}: {reason(error)}", "run this as root") from error
        found.update(_stored(listed))
    return found


def _stored(listed: Any) -> Iterator[tuple[str, Said]]:
    for one in objects(listed):
        names = one.get("names")
        try:
            more = json.loads(one.get("metadata") or "{}")
        except (TypeError, ValueError, RecursionError):
            more = {}
        more = more if isinstance(more, dict) else {}
        said = {
            "runtime": "podman",
            "name": name(names[0] if isinstance(names, list) and names else None),
            "image": image(more.get("image-name")),
        }
        yield str(one.get("id")), known(said)


def storage_directories(files_: tuple[str, ...] = _STORAGE_CONF) -> list[str]:
    """Return where root's containers are stored, as it is configured."""
    for path in files_:
        try:
            said = table(tomllib.loads(files.read(path, 1 << 20).decode()), "storage")
        except (OSError, ValueError, RecursionError):
            continue
        return [
            given if isinstance(given := said.get(key), str) and given else usual
            for key, usual in _STORAGE.items()
        ]
    return list(_STORAGE.values())


def is_socket(path: str) -> bool:
    """Return whether there is a socket."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
