"""The storms, and who is there besides."""

from __future__ import annotations

from dataclasses import dataclass

ACTOR = "/opt/duel/actor"
# Files, and how large they are in MiB.
LIBRARY, LARGE = "/opt/duel/library", "/opt/duel/large"
FILES = {LIBRARY: 8, LARGE: 100}
USER = "alice"  # whose desktop it is


@dataclass(frozen=True)
class Storm:
    """One way in which memory runs out.

    Attributes:
        name: a word for the command line.
        title: for the table.
        does: what actor.c is told.
        desktop: whether it is a program of the user's own session, else a system service.
        properties: of its unit.
        reader: whether a service needs a large file in the page cache meanwhile.
    """

    name: str
    title: str
    does: str
    desktop: bool = False
    properties: tuple[str, ...] = ()
    reader: bool = False


STORMS = (
    Storm("slow", "one hog, 25 MiB a second, that uses all it has", "hog storm 1500 25 500"),
    Storm("fast", "one hog, as fast as it can", "hog storm 1500 0", desktop=True),
    Storm(
        "forty",
        "forty small ones, 1 MiB a second each, niced",
        "crowd storm 40 16 1",
        desktop=True,
        properties=("Nice=10",),
    ),
    Storm("cache", "a hog beside page cache that is in use", "hog storm 1500 40", reader=True),
    Storm("leak", "a service that leaks 12 MiB a second", "hog storm 1500 12"),
    Storm("bomb", "a fork bomb of 5 MiB a process", "bomb storm 150 5 400", desktop=True),
)

# In MiB. Half of the guest's memory, as distributions choose for zram.
SWAP = 256
MEMORY = 512
SWAPS = {
    "none": "",
    "disk": f"fallocate -l {SWAP}M /swap && chmod 600 /swap && mkswap -q /swap && swapon /swap",
    "zram": f"modprobe zram && echo {SWAP}M > /sys/block/zram0/disksize && "
    "mkswap -q /dev/zram0 && swapon -p 100 /dev/zram0",
}

# Name of the unit, and the command lines of its processes. The browser's pages are smaller than
# any rule for pages asks.
TERMINAL = "terminal"
DESKTOP = {
    "app-terminal": [f"beat {TERMINAL} {LIBRARY}"],
    "app-browser": ["hold firefox 56", *['hold "Isolated Web Co" 20'] * 2],
    "app-editor": ["hold gedit 24"],
}
SERVICES = {"database": ["hold database 48"]}
READER = {"reader": [f"read reader {LARGE}"]}
INNOCENT = sum(map(len, [*DESKTOP.values(), *SERVICES.values()]))


def starts(
    unit: str, commands: list[str], *, desktop: bool, properties: tuple[str, ...] = ()
) -> str:
    """Return the shell command that starts a unit of such processes."""
    script = "".join(f"{ACTOR} {one} & " for one in commands[1:]) + f"exec {ACTOR} {commands[0]}"
    words = ["systemd-run", "--quiet", f"--unit={unit}"]
    words += ["--user", "--slice=app.slice"] if desktop else ["--property=User=build"]
    words += [f"--property={one}" for one in properties]
    return f"{' '.join(words)} sh -c '{script}'"
