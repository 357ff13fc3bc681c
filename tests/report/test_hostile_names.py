"""Names that users choose, and that look like the kernel's own text, are names and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oomrules.report.model import Report
from tests.report.forms import FORMS
from tests.report.made import KERNELS, Task, report
from tests.report.test_forms import read

# A comm is any 15 bytes but a null byte. A line end in it is another matter: see below.
PIECES = [
    *(b"foo) total-vm:1", b") total-vm:1kB", b"Out of memory: ", b"Killed process ", b"(x)"),
    *(b"invoked oom-kil", b"oom-kill:", b"x,task=y,pid=1", b",uid=0", b"[1] 0 1 2 3 4 5", b"1 2 3"),
    *(b" ", b"a b", b"tmux: server", b"(sd-pam)", b"CPU 11/KVM", b"kernel: x", b"[ 1.000000] x"),
    *(b"\\x41", b"\\", b"\xff\xfe", "ü".encode(), b"0", b"-1", b"name", b"...", b"<6>", b"#01"),
    *(b"> x", b"{", b"=3D", b"=", b"score 9 or a ch", b") score 1 or sa", b"goes first, num"),
    *(b"mems_allowed=1", b" cpuset=/ ", b"\t", b"Mem-Info:", b"web: kernel: x"),
]
NAMES = st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), min_size=0, max_size=3).map(
    lambda pieces: b"".join(pieces).translate(None, b"\0\n\r\x1b")[:15]
)
# A control group's name is anything without a slash, a null byte and a line end.
GROUPS = st.lists(
    st.sampled_from(
        [
            *(b"a", b",task_memcg=", b",task=init,pid=1,uid=0", b",oom_memcg=", b",global_oom"),
            *(b"Out of memory: Killed process 1 (init) total-vm:1kB, anon-rss:1kB, file-rss:1kB",),
            *(b" invoked oom-killer: gfp_mask=0x1, order=0", b" killed as a result of limit of "),
            *(b":", b" anon:1", b"[ 1] 0 1 2 3 4 5 6 7 x", b"oom-kill:constraint=CONSTRAINT_NONE"),
            *(b" are going to be killed due to memory.oom.group set", b",pid=1,uid=0", b" "),
        ]
    ),
    min_size=1,
    max_size=3,
).map(lambda pieces: b"/" + b"".join(pieces))

# Forms that keep every byte of a message. The journal's and /dev/kmsg's say where one ends.
EXACT = ("dmesg", "syslog", "json", "kmsg", "callers", "RFC 5424", "short-iso", "plain")


def told(found: Report) -> list[tuple[int, bytes]]:
    """Return the rows of a table: the pids and the names, as the kernel has them."""
    assert found.table
    return [(row.pid, raw(row.name)) for row in found.table.rows]


def raw(name: str) -> bytes:
    """Return a name as the kernel has it; other bytes than UTF-8 are escapes in a report."""
    return name.encode()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    names=st.lists(NAMES, min_size=2, max_size=6),
    invoker=NAMES,
    group=GROUPS,
    limited=st.booleans(),
    kernel=st.sampled_from(KERNELS),
    form=st.sampled_from(EXACT),
)
def test_names_make_no_victim_and_no_row(
    names: list[bytes], invoker: bytes, group: bytes, limited: bool, kernel: str, form: str
) -> None:
    tasks = [Task(100 + place, name, rss=5000 + place) for place, name in enumerate(names)]
    limit = group if limited else b""
    victim = tasks[-1]
    messages = report(kernel, tasks, victim, invoker=invoker, limit=limit, group=group + b"/inner")
    log = FORMS[form]([(100 + place / 1000, text) for place, text in enumerate(messages)])
    (found,) = read(log)
    assert told(found) == [(task.pid, as_told(task.name)) for task in tasks]
    assert [(each.pid, raw(each.name)) for each in found.killed] == [
        (victim.pid, as_told(victim.name))
    ]
    assert found.table and found.table.complete


def as_told(name: bytes) -> bytes:
    return name.decode("utf-8", "backslashreplace").encode()


@pytest.mark.parametrize("kernel", KERNELS)
def test_rows_of_every_kernel_are_read(kernel: str) -> None:
    tasks = [
        Task(1, b"systemd", uid=0, adj=-1000),
        Task(4194303, b"Web Content", uid=4294967294, rss=123456789),
        Task(77, b"a) b] [c", adj=1000),
    ]
    messages = report(kernel, tasks, tasks[1])
    (found,) = read(FORMS["dmesg"]([(1.0, text) for text in messages]))
    assert found.table
    rows = {row.pid: row for row in found.table.rows}
    assert rows[4194303].values["rss"] == 123456789
    assert rows[4194303].values["uid"] == 4294967294
    assert [row.name for row in found.table.rows] == ["systemd", "Web Content", "a) b] [c"]
    if kernel != "2.6.32":
        assert [row.values["oom_score_adj"] for row in found.table.rows] == [-1000, 0, 1000]
    assert found.figures.ram == 1048576
    assert found.figures.reserved == 1024
    assert found.figures.swap_total == 4096


@pytest.mark.parametrize("name", [b"{", b"kernel: x", b"<6>", b"=3D", b"x=", b"...", b"--"])
@pytest.mark.parametrize("form", ["plain", "wrapped, plain", "quoted-printable, plain"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_names_hide_no_victim_in_a_log_without_prefixes(
    kernel: str, form: str, name: bytes
) -> None:
    tasks = [Task(100, b"a"), Task(101, name), Task(102, b"java")]
    messages = report(kernel, tasks, tasks[2], invoker=name)
    (found,) = read(FORMS[form]([(1.0, text) for text in messages]))
    # A name that stands on a line of its own may be taken for a prefix.
    assert [pid for pid, _ in told(found)] == [100, 101, 102]
    assert [each.pid for each in found.killed] == [102]


def test_a_groups_name_that_ends_a_message_makes_no_victim_where_it_is_wrapped() -> None:
    tasks = [Task(100, b"a"), Task(101, b"b")]
    group = (
        b"/oom-kill:constraint=CONSTRAINT_NONEOut of memory: Killed process 1 (init) "
        b"total-vm:1kB, anon-rss:1kB, file-rss:1kB"
    )
    messages = report("4.18", tasks, tasks[1], limit=group, group=group + b"/in")
    (found,) = read(FORMS["wrapped, plain"]([(1.0, text) for text in messages]))
    assert [each.pid for each in found.killed] == [101]
