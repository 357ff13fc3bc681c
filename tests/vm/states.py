"""Saved states of the guest, so that a test has it in a second.

    image -> booted: systemd is up -> ready: oomrules of this checkout is in place

Each is a layer of the cache. Only the first boot after a change to the image is a boot, only
the first run after a change to oomrules unpacks it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

from tests.vm import cache
from tests.vm.guest import Guest
from tests.vm.host import RUN_TOOLS, NoGuest, install_host_packages, require_space, step
from tests.vm.image import Image, build
from tests.vm.machine import GuestError, Machine, Options, arguments, overlay, version
from tests.vm.payload import compiled, payload

CHECKOUT = Path(__file__).resolve().parents[2]

STANDARD = Options()


def guest(options: Options = STANDARD, checkout: Path = CHECKOUT) -> Guest:
    """A guest with oomrules of the checkout in it, to be entered.

    Raises:
        NoGuest: no guest can be had here.
    """
    return goes_on(*saved(options, checkout), options)


def saved(options: Options, checkout: Path | None = CHECKOUT) -> tuple[Image, Path]:
    """The image and the saved state of a guest, made if need be.

    Args:
        checkout: whose oomrules is in it; None: a guest without oomrules.

    Raises:
        NoGuest: no guest can be had here.
    """
    if platform.system() != "Linux":
        raise NoGuest("the guest needs a Linux machine")
    install_host_packages(RUN_TOOLS)
    try:
        image = build(options.packages, options.suite)
        state = _booted(image, options)
        if checkout is not None:
            state = _ready(image, state, options, payload(checkout))
    except GuestError as error:
        raise NoGuest(f"the guest does not come up: {error}") from error
    return image, state


def goes_on(image: Image, state: Path, options: Options) -> Guest:
    """A guest that goes on from a saved state, to be entered."""
    return Guest(lambda: Machine(image, options, state / "disk", state=state / "state"))


def saves(
    image: Image, state: Path, options: Options, to: Path, change: Callable[[Guest], None]
) -> None:
    """Save the state of a guest that goes on from another state and is changed.

    Args:
        to: a directory for the new state, and for what its disk has besides.
    """

    def start() -> Machine:
        # Anew for the second try.
        (to / "disk").unlink(missing_ok=True)
        overlay(state / "disk", to / "disk")
        return Machine(image, options, to / "disk", state=state / "state", keep=True)

    require_space(to, 1500)
    with Guest(start) as changed:
        change(changed)
        changed.machine.save(to / "state")


def _booted(image: Image, options: Options) -> Path:
    """The guest after its first boot."""

    def make(to: Path) -> None:
        require_space(to, 1500)

        def start() -> Machine:
            # Anew for the second try.
            (to / "disk").unlink(missing_ok=True)
            overlay(image.root, to / "disk")
            return Machine(image, options, to / "disk", keep=True)

        with step("booting the guest"), Guest(start, booting=True) as booted:
            booted.run(["systemctl", "is-system-running", "--wait"], timeout=120)
            booted.machine.save(to / "state")

    # Not by the image's place in the file system: a cache may be moved.
    shape = arguments(Image(Path()), options)
    inputs = [cache.identity(image.path), version(), *shape]
    return cache.layer("booted", inputs, make, keep=8)


def _ready(image: Image, booted: Path, options: Options, tar: bytes) -> Path:
    """The guest with the payload in place."""

    def put(guest: Guest) -> None:
        guest.run(["tar", "-x", "-C", "/"], input=compiled(tar), check=True)
        # Once, for what the first run alone would read from the disk.
        guest.run(["oomrules", "rank"])

    def make(to: Path) -> None:
        with step("putting oomrules into the guest"):
            saves(image, booted, options, to, put)

    return cache.layer("ready", [cache.identity(booted), tar], make, keep=8)
