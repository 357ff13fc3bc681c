"""The runtimes of Kubernetes, containerd and CRI-O, asked through ``crictl``."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from typing import Any

from oomrules.child_lines import Child
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

# Where root's programs are, whatever the environment says.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What Kubernetes itself calls the container that holds a pod's namespaces.
_SANDBOX = "POD"
_ADVICE = "see `crictl ps`, and its configuration in /etc/crictl.yaml"


def containers(deadline: float, path: str = PATH) -> dict[str, Said]:
    """Return what the runtime of Kubernetes says of each container, by id.

    Args:
        deadline: by ``time.monotonic``.
        path: directories that may have ``crictl``.

    Raises:
        Unanswered: it says nothing.
    """
    found_at = program(path)
    if found_at is None:
        raise Unanswered("there is no crictl", "install cri-tools, which asks it")
    found: dict[str, Said] = {}
    for pod in objects(_asked(found_at, "pods", deadline).get("items")):
        said = of_pod(_labels(pod), table(pod, "annotations"))
        found[str(pod.get("id"))] = {"name": _SANDBOX, **known(said)}
    for one in objects(_asked(found_at, "ps", deadline).get("containers")):
        found[str(one.get("id"))] = _container(one, found.get(str(one.get("podSandboxId")), {}))
    return found


def program(path: str = PATH) -> str | None:
    """Return the path of ``crictl``; None if it is not installed."""
    return shutil.which("crictl", path=path)


def _labels(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the labels of a pod, or the same from its metadata where it has none."""
    metadata = table(pod, "metadata")
    named = {f"io.kubernetes.pod.{key}": metadata.get(key) for key in ("name", "namespace")}
    return {**named, **table(pod, "labels")}


def _container(one: dict[str, Any], pod: Said) -> Said:
    labels, told = table(one, "labels"), table(one, "image")
    said = {
        "name": container_name(labels) or name(table(one, "metadata").get("name")),
        # What was asked for; the other is often the sum of its contents.
        "image": image(told.get("userSpecifiedImage")) or image(told.get("image")),
    }
    return {**pod, **known(of_pod(labels, {})), **known(said)}


def _asked(command: str, what: str, deadline: float) -> Any:
    return parsed(b"\n".join(_lines(command, what, deadline)), dict, _ADVICE)


def _lines(command: str, what: str, deadline: float) -> Iterator[bytes]:
    left = max(1, int(deadline - time.monotonic()))
    # Go would start a thread for each processor.
    words = ["env", "GOMAXPROCS=1", command, f"--timeout={left}s", what, "--output=json"]
    try:
        child = Child(words, b"")
        yield from child.lines(deadline, MOST_SAID)
    except OSError as error:
        raise Unanswered(f"crictl cannot be started: {error.strerror}", _ADVICE) from error
    if time.monotonic() >= deadline:
        raise Unanswered("crictl gave no answer in time", _ADVICE)
