"""Show what the resident half weighs before it has seen a process.

    /usr/bin/python3 -I -S -E bench/footprint.py

A bare interpreter, then what it imports of the standard library, then its own modules: VmRSS after
each, in MiB. Run it twice: the first time leaves the bytecode on the disk.
"""

from __future__ import annotations

import os
import sys

# What the resident half imports, in the order of weight.
LIBRARY = ("json", "socket", "ctypes", "signal", "select", "resource", "struct", "array", "fcntl")


def resident() -> float:
    """Return VmRSS of this process in MiB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:")) / 1024


def main() -> None:
    before = resident()
    print(f"{before:5.1f}  a bare interpreter")
    for name in LIBRARY:
        __import__(name)
        print(f"{resident() - before:+5.1f}  {name}")
        before = resident()
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    import oomrules.service.main  # noqa: F401

    print(f"{resident() - before:+5.1f}  the resident half's own modules")
    print(f"{resident():5.1f}  in all")


main()
