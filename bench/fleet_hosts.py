"""Recorded hosts that differ: programs, users, units, sizes, order, doubts.

    python bench/fleet_hosts.py DIR NUMBER

The same seed gives the same hosts.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROLES = {
    "web": ("nginx", "php-fpm", "redis-server", "logrotate"),
    "database": ("postgres", "pgbackrest", "pg_dump"),
    "build": ("cc1plus", "ld", "ninja", "buildd-agent"),
    "desktop": ("firefox", "Web Content", "gnome-shell", "soffice.bin"),
    "batch": ("python3", "Rscript", "java", "slurmstepd"),
}
EVERYWHERE = ("systemd-journal", "sshd", "cron", "dbus-daemon")
USERS = ("anna", "bert", "carla", "dora", "emil")
PAGE = 4096


def host(seed: int, processes: int = 40) -> Iterator[dict[str, Any]]:
    """Yield the lines of one recorded host."""
    dice = random.Random(seed)
    role = dice.choice(sorted(ROLES))
    users = {0: "root", 33: "www-data", **{1000 + n: name for n, name in enumerate(USERS)}}
    memory = dice.choice((2, 8, 32, 128)) * 2**30
    uptime = dice.uniform(2_000, 9_000_000)
    yield {
        "kind": "host",
        "schema": "oomrules.snapshot/1",
        "time": "2026-01-01T00:00:00Z",
        "kernel": dice.choice(("6.1.0", "6.12.4", "5.15.0")),
        "page_size": PAGE,
        "clock_ticks": 100,
        "uptime": uptime,
        "mem_total": memory,
        "swap_total": dice.choice((0, 2**30)),
        "available": dice.randrange(memory),
        "users": {str(uid): name for uid, name in users.items()},
    }
    made = [_process(dice, pid, role, users, uptime) for pid in _pids(dice, processes)]
    for cgroup in sorted({line["cgroup"] for line in made}):
        limit = dice.choice((None, memory // 2))
        figures = {"memory": dice.randrange(memory // 4), "memory_max": limit, "oom_kills": 0}
        name = cgroup.rpartition("/")[2]
        yield {"kind": "scope", "cgroup": cgroup, "unit": name, **figures, "properties": {}}
    yield from made


def _pids(dice: random.Random, number: int) -> list[int]:
    return [1, *sorted(dice.sample(range(2, 40_000), number - 1))]


def _process(
    dice: random.Random, pid: int, role: str, users: dict[int, str], uptime: float
) -> dict[str, Any]:
    name = dice.choice((*ROLES[role], *ROLES[role], *EVERYWHERE))
    uid = 0 if name in EVERYWHERE else dice.choice(list(users))
    if pid == 1:
        name, uid = "systemd", 0
    stem = name.replace(" ", "-")
    service = f"/system.slice/{stem}.service"
    session = f"/user.slice/user-{uid}.slice/session-{dice.randrange(1, 9)}.scope"
    rss = int(dice.paretovariate(0.7) * 500) % 400_000
    return {
        "kind": "process",
        "pid": pid,
        "ppid": 0 if pid == 1 else 1,
        "comm": name,
        "cmdline": [f"/usr/bin/{stem}", f"--instance={dice.randrange(10**6)}"],
        "exe": f"/usr/bin/{stem}",
        "uid": uid,
        "euid": uid,
        "gid": uid,
        "capabilities": "000001ffffffffff" if uid == 0 else "0000000000000000",
        "oom_score_adj": dice.choice((0, 0, 0, 200, -900)) if uid == 0 else 0,
        "pid_depth": 0,
        "cgroup": session if uid >= 1000 else service,
        "state": dice.choice("SSSR"),
        "flags": 4194560,
        "total_vm": 2 * rss + 1000,
        # Now and then it could not be read.
        "rss": None if dice.random() < 0.01 else rss,
        "swap": dice.randrange(1000),
        "pgtables": rss * 8,
        "starttime": dice.randrange(int(uptime * 100)),
        "utime": dice.randrange(10**6),
        "stime": dice.randrange(10**5),
        "nice": dice.choice((0, 0, 0, 10)),
        "threads": dice.randrange(1, 40),
    }


def packed(text: bytes, ending: str) -> bytes:
    """Return a text as files with an ending have it."""
    if ending == ".zst":
        import zstandard

        return bytes(zstandard.ZstdCompressor().compress(text))
    return gzip.compress(text, 1) if ending == ".gz" else text


def write(
    folder: Path,
    number: int,
    processes: int = 40,
    ending: Callable[[int], str] = lambda _: ".gz",
    first: int = 0,
) -> list[Path]:
    """Write so many hosts into a folder, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for seed in range(first, first + number):
        text = "".join(json.dumps(line) + "\n" for line in host(seed, processes)).encode()
        path = folder / f"host{seed:06}@20260101T000000Z.jsonl{ending(seed)}"
        path.write_bytes(packed(text, ending(seed)))
        written.append(path)
    return written


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
