"""What systemd says of this host's units, over a bus where anything may be said."""

from __future__ import annotations

import time

import pytest

from oomrules.errors import Failure
from oomrules.importing import units
from tests.dbus.test_gather import Listen, listen
from tests.importing import made

__all__ = ["listen"]

# Of PyGObject's importer, the first time.
pytestmark = pytest.mark.filterwarnings("ignore:DynamicImporter:ImportWarning")

# No test waits longer; what is asserted is what came of it.
GUARD = 60.0


@pytest.fixture(autouse=True)
def booted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "booted_with_systemd", lambda: True)
    monkeypatch.setattr(units, "PATIENCE", GUARD)


def test_the_units_that_systemd_lists_become_rules(listen: Listen) -> None:
    listen("honest")
    text = made.written([units.of_host()])
    assert made.rules(text) == [
        'prefer unit "u1.service" by 2',
        'kill whole "u1.service"',
        'kill last unit "u1.service"',
        'prefer unit "u2.scope" by 2',
        'kill whole "u2.scope"',
        'kill last unit "u2.scope"',
    ]
    assert "x.device" not in text


@pytest.mark.parametrize("mode", ["numbers", "escapes", "many", "long", "array", "ghosts"])
def test_whatever_it_says_the_file_compiles(listen: Listen, mode: str) -> None:
    listen(mode)
    made.written([units.of_host()])


@pytest.mark.parametrize("mode", ["silent", "errors", "types", "half", "garbage"])
def test_one_that_does_not_answer_is_an_error_in_time(
    listen: Listen, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "PATIENCE", 2.0)
    listen(mode)
    begin = time.monotonic()
    with pytest.raises(Failure, match="cannot be asked") as error:
        units.of_host()
    assert time.monotonic() - begin < GUARD
    assert error.value.hint and "--root" in error.value.hint


def test_without_systemd_unit_files_are_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "booted_with_systemd", lambda: False)
    with pytest.raises(Failure, match="not the init system") as error:
        units.of_host()
    assert error.value.hint and "--root" in error.value.hint
