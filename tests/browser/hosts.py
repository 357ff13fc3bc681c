"""Hosts for pictures, as snapshots: a busy one, a hostile one, and one of many processes.

``python -m tests.browser.hosts DIRECTORY`` writes the busy one, and the rules it is drawn by.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
_PAGE = 4096
SESSION = "/user.slice/user-1000.slice/user@1000.service/app.slice"

RULES = """score footprint
never kill comm "sshd"
never kill user "postgres"
kill last comm "gnome-shell"
prefer cmdline "*python3*" by 3
"""

# Name, unit, user, MiB of anonymous memory, MiB of swap, number.
Kind = tuple[str, str, int, int, int, int]
BUSY: tuple[Kind, ...] = (
    ("systemd", "/init.scope", 0, 12, 0, 1),
    ("firefox", f"{SESSION}/app-firefox-1.scope", 1000, 1450, 90, 1),
    ("Isolated Web Co", f"{SESSION}/app-firefox-1.scope", 1000, 260, 30, 9),
    ("code", f"{SESSION}/app-code-7.scope", 1000, 640, 0, 3),
    ("java", "/system.slice/jenkins.service", 990, 2900, 200, 1),
    ("cc1plus", "/system.slice/jenkins.service", 990, 420, 0, 6),
    ("postgres", "/system.slice/postgresql@17-main.service", 26, 180, 0, 14),
    ("nginx", "/system.slice/nginx.service", 33, 14, 0, 5),
    ("php-fpm8.4", "/system.slice/php8.4-fpm.service", 33, 78, 6, 12),
    ("python3", "/user.slice/user-1001.slice/session-4.scope", 1001, 1900, 0, 1),
    ("bash", "/user.slice/user-1001.slice/session-4.scope", 1001, 6, 0, 2),
    ("sshd", "/system.slice/ssh.service", 0, 5, 0, 3),
    ("systemd-journal", "/system.slice/systemd-journald.service", 0, 38, 0, 1),
    ("dbus-daemon", "/system.slice/dbus.service", 0, 4, 0, 1),
    (
        "gnome-shell",
        "/user.slice/user-1000.slice/user@1000.service/session.slice/org.gnome.Shell"
        "@wayland.service",
        1000,
        410,
        0,
        1,
    ),
    ("rsync", "/system.slice/backup.service", 0, 55, 0, 2),
)


def snapshot(path: Path, kinds: tuple[Kind, ...] = BUSY, ram: int = 24 * GIB) -> Path:
    """Write a snapshot of a host with these processes."""
    held = sum(anon * number for *_, anon, _, number in kinds) * MIB
    left = max(0, ram - held)
    users = {"0": "root", "26": "postgres", "33": "www-data", "990": "jenkins"}
    host: dict[str, Any] = {
        "kind": "host",
        "schema": "oomrules.snapshot/1",
        "time": "2026-11-27T03:00:00Z",
        "kernel": "6.12.0",
        "page_size": _PAGE,
        "clock_ticks": 100,
        "uptime": 86400.0,
        "mem_total": ram,
        "swap_total": 4 * GIB,
        "swap_free": 3 * GIB,
        "users": {**users, "1000": "anna", "1001": "ben"},
        "free": left // 5,
        "available": left // 2,
        "shmem": left // 6,
        "hugetlb": left // 12,
    }
    lines = [host]
    groups = {group for _, group, *_ in kinds}
    for group in sorted({"/", *(parent for one in groups for parent in _around(one))}):
        lines.append({"kind": "scope", "cgroup": group, "memory": GIB, "properties": {}})
    pid = 0
    for name, group, uid, anon, swap, number in kinds:
        for _ in range(number):
            pid += 1
            lines.append(_process(pid if pid > 1 else 1, name, group, uid, anon, swap))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def rules(path: Path) -> Path:
    """Write the rules that these hosts are drawn by."""
    path.write_text(RULES, encoding="utf-8")
    return path


def _around(group: str) -> list[str]:
    parts = group.strip("/").split("/")
    return ["/" + "/".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _process(pid: int, name: str, group: str, uid: int, anon: int, swap: int) -> dict[str, Any]:
    # Members of a kind differ a little, as they do.
    size = anon * MIB * (100 - pid % 9) // 100
    return {
        "kind": "process",
        "pid": pid,
        "ppid": 1,
        "comm": name,
        "cmdline": [f"/usr/bin/{name}"],
        "exe": f"/usr/bin/{name}",
        "uid": uid,
        "euid": uid,
        "gid": uid,
        "egid": uid,
        "capabilities": "000001ffffffffff" if uid == 0 else "0000000000000000",
        "nice": 0,
        "utime": 100,
        "stime": 10,
        "starttime": 1000 + pid,
        "threads": 1,
        "state": "S",
        "flags": 4194560,
        "total_vm": (size + 90 * MIB) // _PAGE,
        "rss": (size + 20 * MIB) // _PAGE,
        "anon": size,
        "shmem": 0,
        "locked": 0,
        "swap": swap * MIB // _PAGE,
        "pgtables": size // 500,
        "oom_score_adj": 0,
        "pid_depth": 1,
        "tty_nr": 0,
        "session": pid,
        "cgroup": group,
    }


# What somebody would call a process who wants to be more than text.
EVIL = (
    "</script><script>window.evil=1</script>",
    "<img src=x onerror=window.evil=1>",
    '"><svg onload=window.evil=1>',
    "'-window.evil=1-'",
    "{{constructor.constructor('window.evil=1')()}}",
    "\u202e\u2066desrever\u2069\u200f",
    "a\nb\x1b[31m\x00\x85\u2028c",
    "\N{HANGUL FILLER}" * 400,
    "漢" * 500,
    "e" + "\u0301" * 900,
    "x" * 4000,
    " ",
)


def hostile(path: Path) -> Path:
    """Write a snapshot of a host where every name is an attempt, of units and users too."""
    kinds = tuple(
        (evil, f"/system.slice/{evil.replace('/', '|')[:200]}.service", 1000 + at, 300, 20, 2)
        for at, evil in enumerate(EVIL)
    )
    snapshot(path, (BUSY[0], *kinds), 16 * GIB)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines[0]["users"] |= {str(1000 + at): evil for at, evil in enumerate(EVIL)}
    for line in lines:
        if line["kind"] == "process":
            line["cmdline"] = [(line["comm"] * 4096)[:4096]]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def crowded(path: Path, number: int = 5000) -> Path:
    """Write a snapshot of a host with so many processes, in some hundred units."""
    kinds = tuple(
        (f"worker-{at}", f"/system.slice/job-{at % 240}.service", 1000, 1 + 4000 // (at + 1), 0, 1)
        for at in range(number)
    )
    return snapshot(path, kinds, 96 * GIB)


if __name__ == "__main__":
    snapshot(Path(sys.argv[1], "busy-host.jsonl"))
    rules(Path(sys.argv[1], "busy-host.oom"))
