"""Write the hosts that the requests' tests describe as snapshots.

    python -m tests.requests.snapshots

Then `oomrules rank --snapshot tests/requests/NAME.jsonl --rules tests/requests/NAME.oom` shows what
the rules make of the host.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from oomrules.processes import ordinary, recorded
from oomrules.testing import described

HERE = Path(__file__).parent


def snapshot(test: Path) -> tuple[str, dict[str, int]]:
    """Return the snapshot of the host in a test file, and the pids by the names in it."""
    written: list[Mapping[str, Any]] = []

    def keep(
        name: str, host: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]
    ) -> recorded.Recorded:
        kept = list(lines)
        usual = {"kind": "host", "schema": recorded.SCHEMA, "page_size": ordinary.PAGE_SIZE}
        written.extend([{**usual, **host}, *kept])
        return ordinary.snapshot(name, host, kept)

    with mock.patch.object(described, "snapshot", keep):
        _, pids = described.Described(str(test)).snapshot(tomllib.loads(test.read_text()))
    return "".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in written), pids


def main() -> None:
    """Write them all."""
    for test in sorted(HERE.glob("*.test.toml")):
        text, _ = snapshot(test)
        test.with_name(test.name.replace(".test.toml", ".jsonl")).write_text(text)


if __name__ == "__main__":
    main()
