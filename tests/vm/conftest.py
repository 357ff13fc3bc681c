"""The fixtures: a guest shared by all tests, and one of a test's own.

Where no guest can be had, the tests fail with the reason. They are never skipped: a CI without
its guest would pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator

import pytest

from tests.vm import host, image, kernel, states
from tests.vm.guest import Guest
from tests.vm.host import NoGuest
from tests.vm.machine import GuestError
from tests.vm.service import serving


def show_progress(config: pytest.Config) -> None:
    """Show what is being built: it takes minutes, in which a developer wants to see something."""
    capture = config.pluginmanager.getplugin("capturemanager")

    def output(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", end="", flush=True)

    host.output = output


@pytest.fixture(scope="session")
def guest(pytestconfig: pytest.Config) -> Iterator[Guest]:
    """A guest that all tests share: a test leaves it as it found it, or takes `fresh_guest`."""
    show_progress(pytestconfig)
    with contextlib.ExitStack() as stack:
        try:
            guest = stack.enter_context(states.guest())
        except NoGuest as why:
            pytest.fail(f"no guest can be had here: {why}", pytrace=False)
        yield guest


@pytest.fixture
def fresh_guest(guest: Guest) -> Iterator[Guest]:
    """A guest in which nothing has happened, for this test alone; the shared one stands still."""
    with guest.paused(), guest.another() as fresh:
        yield fresh


@pytest.fixture
def served(fresh_guest: Guest) -> Guest:
    """A guest of the test's own in which the service runs."""
    return serving(fresh_guest)


@pytest.fixture(autouse=True)
def _revive(request: pytest.FixtureRequest) -> None:
    """Start the shared guest anew when a test before this one has ended it."""
    if "guest" in request.fixturenames:
        guest: Guest = request.getfixturevalue("guest")
        if not guest.machine.running:
            host.say("the shared guest had ended, starting it anew")
            guest.fresh()


@pytest.fixture(autouse=True)
def _nothing_reported(request: pytest.FixtureRequest) -> Iterator[None]:
    """With the kernel that looks for faults, fail a test during which it has found one."""
    names = [name for name in ("guest", "fresh_guest") if name in request.fixturenames]
    guests: list[Guest] = [request.getfixturevalue(name) for name in names]
    told = [kernel.reports(guest.console) for guest in guests]
    yield
    if image.DEBUG:
        for guest, before in zip(guests, told, strict=True):
            # The guest may have been started anew.
            found = [line for line in kernel.reports(guest.console) if line not in before]
            assert not found, guest.console


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the guest said when a test failed."""
    report = yield
    arguments = getattr(item, "funcargs", {})
    # The shared one stands still while a test has another.
    others = [one for name, one in arguments.items() if isinstance(one, Guest) and name != "guest"]
    guest = others[0] if others else arguments.get("guest")
    if report.when == "call" and report.failed and guest is not None:
        console = "\n".join(guest.console.splitlines()[-40:])
        report.sections.append(("the guest's console", console))
        if guest.machine.running:
            with contextlib.suppress(GuestError):
                report.sections.append(("the guest's journal", guest.journal("--lines=40")))
    return report
