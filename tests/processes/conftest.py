"""What tests of the readers are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from oomrules.processes.procfs import ProcSource
from oomrules.program.program import Program
from tests.processes.support import (
    NOTHING,
)


@pytest.fixture
def open_source() -> Iterator[Callable[..., ProcSource]]:
    """Open sources that are closed when the test is over."""
    sources: list[ProcSource] = []

    def opened(made: Program = NOTHING, **options: Any) -> ProcSource:
        sources.append(ProcSource(made, **options))
        return sources[-1].refresh()

    yield opened
    for source in sources:
        source.close()
