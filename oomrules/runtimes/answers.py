"""Answers of runtimes: what of them is taken over, and how much.

A runtime says what whoever starts containers has told it, so types and sizes are looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

# Bytes of one answer: a container takes 1 to 3 KiB in it.
MOST_SAID = 4 << 20

# Bytes of a name and of the name of an image; a longer one is unknown, since its beginning would
# be another name. A name of Kubernetes has 253 characters at most (RFC 1123).
_MOST_NAME, _MOST_IMAGE = 256, 512

# Wider than any priority (int32 in the API of Kubernetes).
_MOST_PRIORITY = 2**31

# What an annotation of a pod may say, since no runtime is told the priority.
PRIORITY = "oomrules/priority"
_POD, _NAMESPACE, _CONTAINER = (
    f"io.kubernetes.{name}" for name in ("pod.name", "pod.namespace", "container.name")
)

# What is known of one container, by ``facts.CONTAINER_FACTS``.
Said = dict[str, Any]


class Unanswered(Exception):
    """A runtime gave no answer: why, as the words behind its name, and what to do about it."""

    def __init__(self, why: str, advice: str) -> None:
        super().__init__(why)
        self.why, self.advice = why, advice


def parsed(data: bytes, wanted: type, advice: str) -> Any:
    """Return JSON of a type; raise Unanswered if it is something else, with ``advice``."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unanswered("its answer is no JSON", advice) from error
    if type(found) is not wanted:
        raise Unanswered("its answer has another form", advice)
    return found


def objects(given: Any) -> Iterator[dict[str, Any]]:
    """Yield those members of a list that are objects."""
    yield from (one for one in given if isinstance(one, dict)) if isinstance(given, list) else ()


def table(given: Any, key: str) -> dict[str, Any]:
    """Return an object in an object; an empty one if it is not there."""
    value = given.get(key) if isinstance(given, dict) else None
    return value if isinstance(value, dict) else {}


def name(given: Any, most: int = _MOST_NAME) -> str | None:
    """Return a name; None if it is no text, or longer than ``most`` bytes."""
    try:
        return given if isinstance(given, str) and 0 < len(given.encode()) <= most else None
    except UnicodeEncodeError:
        return None


def image(given: Any) -> str | None:
    """Return the name of an image; None if it has none."""
    return name(given, _MOST_IMAGE)


def of_pod(labels: dict[str, Any], annotations: dict[str, Any]) -> Said:
    """Return what the labels of Kubernetes say of a container and its pod."""
    priority: int | None = None
    written = annotations.get(PRIORITY)
    if isinstance(written, str) and len(written) <= 11:
        try:
            priority = int(written)
        except ValueError:
            pass
    fits = priority is not None and abs(priority) < _MOST_PRIORITY
    return {
        "pod_name": name(labels.get(_POD)),
        "pod_namespace": name(labels.get(_NAMESPACE)),
        "pod_priority": priority if fits else None,
    }


def container_name(labels: dict[str, Any]) -> str | None:
    """Return what Kubernetes calls a container; None if it is not one of Kubernetes."""
    return name(labels.get(_CONTAINER)) if labels.get(_POD) else None


def known(said: Said) -> Said:
    """Return what is known: that which is not None."""
    return {key: value for key, value in said.items() if value is not None}
