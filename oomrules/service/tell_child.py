"""The child that tells people what the guard did: a running ``oomrules tell``."""

from __future__ import annotations

import json

from oomrules.lean import Any
from oomrules.service.child import Child

SCHEMA = "oomrules.told/1"

# What it may say in all.
_LARGEST = 64 << 10


class TellChild(Child):
    """A running ``oomrules tell``, in a process group of its own.

    Args:
        path: what it may import from.
        request: what it is to do, as plain data (``commands.tell``).
        deadline: when it has to be done, in seconds of the caller's clock.

    Raises:
        Failure: it cannot be started.
    """

    def __init__(self, path: list[str], request: dict[str, Any], deadline: float) -> None:
        said = json.dumps({"schema": SCHEMA, **request}).encode()
        super().__init__(path, ["tell"], deadline, request=said, group=True)

    def finish(self) -> dict[str, Any]:
        """End it, collect it, and return what it says; empty if it says nothing that counts."""
        try:
            status = self.end()
            said = self._said()
        finally:
            self.close()
        return {**said, "late": True} if status is None else said

    def _said(self) -> dict[str, Any]:
        try:
            data = json.loads(self.read(_LARGEST))
        except (OSError, ValueError, RecursionError):
            return {}
        return data if isinstance(data, dict) and data.get("schema") == SCHEMA else {}
