"""The kernel module: what /proc/oom takes and gives back, and who dies of it."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterator

import pytest

import oomrules
from tests.vm import module, states
from tests.vm.guest import Guest
from tests.vm.image import PATIENCE
from tests.vm.machine import GuestError, Options
from tests.vm.module import start, statistics

MARK = b"4 5 6\n"

# For each line, two Python expressions: writes the one to the file, after MARK, and compares what
# the file has then to the other.
TRY = f"""
import json, os, sys
def write(data):
    file = os.open("/proc/oom", os.O_WRONLY)
    try:
        return os.write(file, data)
    except OSError as error:
        return -error.errno
    finally:
        os.close(file)
for line in sys.stdin:
    data, expected = map(eval, json.loads(line))
    write({MARK!r})
    result = write(data)
    shown = open("/proc/oom", "rb").read()
    print(json.dumps([result == len(data) or result, str(shown[:200]), shown == expected]))
"""


@pytest.fixture(scope="module")
def loaded(guest: Guest) -> Iterator[Guest]:
    """The shared guest with the module in it, for OOMs by SysRq: only who is listed dies."""
    module.load(guest)
    yield guest
    guest.run(["rmmod", "oom"], check=True)


def write(guest: Guest, *pids: int) -> None:
    guest.run(f"echo {' '.join(map(str, pids))} > /proc/oom", check=True)


def living(guest: Guest, *groups: list[int]) -> list[bool]:
    """Of each group whether all live; never some."""
    alive = {int(name) for name in guest.run(["ls", "/proc"]).stdout.split() if name.isdigit()}
    found = [[pid in alive for pid in group] for group in groups]
    assert all(len(set(group)) == 1 for group in found), (groups, found)
    return [all(group) for group in found]


def sysrq(guest: Guest, *dying: int) -> None:
    """Have one OOM without being out of memory, and wait for these to be gone."""
    paths = " ".join(f"/proc/{pid}" for pid in dying)
    wait = f"for p in {paths}; do while test -d $p; do sleep 0.05; done; done"
    guest.run(f"echo f > /proc/sysrq-trigger; {wait}", check=True, timeout=30)


def signals(guest: Guest) -> list[tuple[str, int]]:
    """What the console says of signals that the kernel or the module has sent, and to whom."""
    said = re.findall(r"Out of memory: (\w+) process (\d+) ", guest.console)
    return [(word, int(pid)) for word, pid in said]


def end(guest: Guest, *groups: list[int]) -> None:
    words = " ".join(str(pid) for group in groups for pid in group)
    guest.run(f"kill -KILL {words}; true")


# What is built


def test_the_module_builds_without_warnings() -> None:
    log = (module.built() / "build.log").read_text()
    assert "oom.ko" in log
    assert "warning" not in log.lower()


def test_what_is_installed_is_what_dkms_wants(guest: Guest) -> None:
    folder = f"/usr/src/oomrules-{oomrules.__version__}"
    for name in ("oom.c", "Kbuild", "Makefile"):
        assert guest.get(f"{folder}/{name}") == (states.CHECKOUT / "kernel" / name).read_bytes()
    # dkms reads it as a shell does.
    script = f". {folder}/dkms.conf; echo $PACKAGE_NAME-$PACKAGE_VERSION ${{BUILT_MODULE_NAME[0]}}"
    assert guest.run(script).stdout == f"oomrules-{oomrules.__version__} oom\n"


# The file

ACCEPTED = {
    "one": (b"11\n", b"11\n"),
    "several": (b"11 22 33\n", b"11 22 33\n"),
    "in the given order, twice if so given": (b"33 11 22 11\n", b"33 11 22 11\n"),
    "none": (b"\n", b"\n"),
    "blanks alone": (b" \t \n", b"\n"),
    "spaces and tabs": (b"  11\t22   33 \n", b"11 22 33\n"),
    "leading zeros": (b"0011\n", b"11\n"),
    "the largest": (b"2147483647\n", b"2147483647\n"),
}
# Made in the guest.
LONG = {
    "many": ("b'4194303 ' * 100_000 + b'\\n'", "b'4194303 ' * 99_999 + b'4194303\\n'"),
    "10 MB": ("b'123456 ' * 1_430_000 + b'\\n'", "b'123456 ' * 1_429_999 + b'123456\\n'"),
}
REFUSED = {
    "no newline": b"11 22 33",
    "zero": b"11 0 22\n",
    "zeros": b"000\n",
    "negative": b"11 -22\n",
    "plus": b"+11\n",
    "letters": b"11 abc\n",
    "hexadecimal": b"0x11\n",
    "letters behind": b"11a\n",
    "comma": b"11,22\n",
    "a newline within": b"11\n22\n",
    "two newlines": b"11\n\n",
    "carriage return": b"11 22\r\n",
    "NUL": b"11\x0022\n",
    "NUL at the end": b"11\n\x00",
    "not ASCII": b"11 \xc2\xa022\n",
    "just too large": b"2147483648\n",
    "wraps at 32 bits": b"4294967307\n",
    "wraps at 64 bits": b"18446744073709551627\n",
    "very long number": b"9" * 5000 + b"\n",
}
TOO_LONG = {
    "more bytes than all pids need": "b' ' * (32 << 20) + b'\\n'",
    "more pids than there can be": "b'1 ' * ((4 << 20) + 1) + b'\\n'",
}

# What write(2) gave, True if it was the length; what the file began with; if it was as expected.
Tried = dict[str, tuple[int, str, bool]]


@pytest.fixture(scope="module")
def tried(loaded: Guest) -> Tried:
    """What became of each write."""
    cases = {name: (repr(data), repr(shown)) for name, (data, shown) in ACCEPTED.items()}
    cases |= LONG
    cases |= {name: (repr(data), repr(MARK)) for name, data in REFUSED.items()}
    cases |= {name: (data, repr(MARK)) for name, data in TOO_LONG.items()}
    lines = "".join(json.dumps(case) + "\n" for case in cases.values())
    shown = loaded.run(["python3", "-c", TRY], input=lines, check=True, timeout=120).stdout
    loaded.run("echo > /proc/oom", check=True)
    return {
        name: tuple(json.loads(line)) for name, line in zip(cases, shown.splitlines(), strict=True)
    }


@pytest.mark.parametrize("name", [*ACCEPTED, *LONG])
def test_a_list_is_given_back(tried: Tried, name: str) -> None:
    result, begin, same = tried[name]
    assert (result, same) == (True, True), begin


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused_and_changes_nothing(tried: Tried, name: str) -> None:
    assert tried[name] == (-errno.EINVAL, str(MARK), True)


@pytest.mark.parametrize("name", TOO_LONG)
def test_what_no_machine_can_have_is_too_long(tried: Tried, name: str) -> None:
    assert tried[name] == (-errno.EFBIG, str(MARK), True)


def test_a_list_has_to_come_in_one_write(loaded: Guest) -> None:
    program = """
import errno, os
os.system("echo 4 5 6 > /proc/oom")
file = os.open("/proc/oom", os.O_WRONLY)
def refused(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return error.errno == errno.EINVAL
assert os.write(file, b"") == 0                     # changes nothing
assert open("/proc/oom").read() == "4 5 6\\n"
assert refused(os.write, file, b"11 2")             # the first half of a split one
assert os.lseek(file, 4, os.SEEK_SET) == 4
assert refused(os.write, file, b"2 33\\n")          # and the second
assert open("/proc/oom").read() == "4 5 6\\n"
os.lseek(file, 0, os.SEEK_SET)
assert os.write(file, b"11 22\\n") == 6
assert refused(os.write, file, b"33\\n")            # a descriptor that is kept goes on
os.lseek(file, 0, os.SEEK_SET)                      # unless it is told where
assert os.write(file, b"44\\n") == 3
assert open("/proc/oom").read() == "44\\n"
try:
    os.writev(file, [b"5", b"5\\n"])
except OSError:
    pass
assert open("/proc/oom").read() == "44\\n"
"""
    loaded.run(["python3", "-c", program], check=True)
    assert "a list has to come in one write" in loaded.console


def test_the_list_of_all_pids(loaded: Guest) -> None:
    script = "ls /proc | grep -E '^[0-9]+$' | sort -n | xargs | tee /run/all > /proc/oom"
    loaded.run(f"{script}; cmp /run/all /proc/oom", check=True)
    assert statistics(loaded)["listed"] > 50


def test_statistics_count_writes_and_the_list_s_age(loaded: Guest) -> None:
    before = statistics(loaded)
    loaded.run("echo 11 22 > /proc/oom; echo x > /proc/oom; sleep 1")
    after = statistics(loaded)
    assert after["writes"] == before["writes"] + 1
    assert after["writes_refused"] == before["writes_refused"] + 1
    assert after["listed"] == 2
    assert 1000 <= after["list_age_ms"] < 60_000


def test_root_writes_and_all_read(loaded: Guest) -> None:
    write(loaded, 11, 22)
    as_user = "setpriv --reuid=1001 --clear-groups"
    result = loaded.run(f"{as_user} cat /proc/oom; {as_user} sh -c 'echo 7 > /proc/oom'")
    assert result.stdout == "11 22\n"
    assert "Permission denied" in result.stderr
    # Root in a container owns the file too, but has not this capability.
    contained = "setpriv --bounding-set=-sys_resource sh -c 'cat /proc/oom; echo 7 > /proc/oom'"
    result = loaded.run(contained)
    assert result.stdout == "11 22\n"
    assert "Operation not permitted" in result.stderr
    assert loaded.get("/proc/oom") == b"11 22\n"


def test_pids_are_those_of_whoever_writes_and_reads(loaded: Guest) -> None:
    ((victim,),) = start(loaded, "outside plain")
    write(loaded, victim, 999_999)
    inner = "cat /proc/oom; echo $$ 77 > /proc/oom; cat /proc/oom; readlink /proc/self >&2"
    script = f"unshare --pid --fork sh -c '{inner}; sh -c \"cat /proc/oom\"' & wait; cat /proc/oom"
    shown = loaded.run(["sh", "-c", script], check=True).stdout.splitlines()
    # 0 is whoever has no number there: outside, or not there when the list was written.
    assert shown[:3] == ["0 0", "1 77", "1 77"]
    assert re.fullmatch(r"[1-9]\d+ 0", shown[3])
    end(loaded, [victim])


def test_a_reader_has_one_list_whatever_is_written_meanwhile(loaded: Guest) -> None:
    program = """
import os
def write(text):
    file = os.open("/proc/oom", os.O_WRONLY)
    os.write(file, text.encode())
    os.close(file)
old = " ".join(["111111"] * 20000) + "\\n"
write(old)
file = os.open("/proc/oom", os.O_RDONLY)
text = os.read(file, 1000)
write("22\\n")
while piece := os.read(file, 1000):
    text += piece
assert text.decode() == old
assert os.pread(file, 100, 0) == b"22\\n"
"""
    loaded.run(["python3", "-c", program], check=True)


# Writes long lists, each after the last one has been opened and begun to be read by the other.
HOLDING = """
import os, sys, time
path = "/run/shared/opened"
def opened():
    return int(open(path).read() or 0)
if sys.argv[1] == "write":
    text = b"4194303 " * 200_000 + b"\\n"
    for i in range(5):
        file = os.open("/proc/oom", os.O_WRONLY)
        os.write(file, text)
        os.close(file)
        while opened() <= i:
            time.sleep(0.02)
    os.write(1, b"done\\n")
else:
    files = []
    while len(files) < 5:
        file = os.open("/proc/oom", os.O_RDONLY)
        # Before the first list is written there is only an empty one.
        if len(os.read(file, 8)) == 8:
            files.append(file)
            open(path, "w").write(str(len(files)))
        else:
            os.close(file)
        time.sleep(0.02)
time.sleep(1000)
"""


def test_readers_pay_for_what_they_hold(loaded: Guest) -> None:
    loaded.put(HOLDING, "/run/holding.py")
    script = """
mkdir -m 777 -p /run/shared; echo 0 > /run/shared/opened; chmod 666 /run/shared/opened
writer=/sys/fs/cgroup/system.slice/writer.service reader=/sys/fs/cgroup/system.slice/reader.service
systemd-run --quiet --unit=writer python3 /run/holding.py write
systemd-run --quiet --unit=reader --uid=1001 python3 /run/holding.py read
until test $(cat /run/shared/opened) = 5; do sleep 0.2; done
sleep 1
cat $writer/memory.current $reader/memory.current
systemctl stop writer reader
echo > /proc/oom
"""
    result = loaded.run(script, check=True, timeout=300)
    written, read = (int(line) >> 20 for line in result.stdout.split())
    # Of the lists, 4 MB each, one is left; the texts take 1.6 MB each, Python itself 6.
    assert written < 16, result.stdout
    assert read >= 11, result.stdout


# Each writer's lists are of one number of its own, which readers never see mixed.
CROWD = """
import os, sys, time
until = time.monotonic() + float(sys.argv[1])
def write(number):
    file = os.open("/proc/oom", os.O_WRONLY)
    text = " ".join([str(number)] * (number % 977 + 1)) + "\\n"
    assert os.write(file, text.encode()) == len(text)
    os.close(file)
def spoil():
    file = os.open("/proc/oom", os.O_WRONLY)
    try:
        os.write(file, b"1 2 x\\n")
        raise AssertionError
    except OSError:
        os.close(file)
def read():
    words = open("/proc/oom").read().split()
    assert len(set(words)) <= 1 and len(words) in (0, int(words[0]) % 977 + 1), words
write(100_000)
children = []
for child in range(5):
    if not (pid := os.fork()):
        rounds = 0
        while time.monotonic() < until:
            if child < 2:
                write(100_000 + child * 1000 + rounds % 1000)
                spoil()
            else:
                read()
            rounds += 1
        os.write(1, f"{rounds}\\n".encode())
        os._exit(0)
    children.append(pid)
sys.exit(any([os.waitpid(pid, 0)[1] for pid in children]))
"""


def test_writers_and_readers_side_by_side_see_whole_lists(loaded: Guest) -> None:
    rounds = loaded.run(["python3", "-c", CROWD, "3"], check=True).stdout.split()
    assert len(rounds) == 5
    assert all(int(one) > 10 for one in rounds), rounds


# Who dies: OOMs by SysRq


def test_the_first_that_may_die_does_and_nobody_else(loaded: Guest) -> None:
    (protected,), (first,), (second,), (gone,) = start(
        loaded, "protected plain adj=-1000", "first plain", "second plain", "gone plain"
    )
    end(loaded, [gone])
    before = statistics(loaded)
    # init, a kernel thread, one that never was, one that was, and who is protected.
    write(loaded, 1, 2, 4_000_000, gone, protected, first, second)
    sysrq(loaded, first)
    kill = loaded.kills()[-1]
    assert (kill.pid, kill.comm, kill.memcg) == (first, "first", False)
    assert f"process {first} (first) goes first, number 6 of 7 listed" in loaded.console
    assert living(loaded, [1, 2, protected], [second], [first]) == [True, True, False]
    after = statistics(loaded)
    assert after["kills"] == before["kills"] + 1
    assert after["refusals"] == before["refusals"] + 3
    assert after["fallbacks"] == before["fallbacks"]
    # The entries stay; the next one goes on from there.
    sysrq(loaded, second)
    assert statistics(loaded)["kills"] == before["kills"] + 2
    end(loaded, [protected])


def test_while_a_victim_exits_the_next_one_listed_is_next(loaded: Guest) -> None:
    (first,), (second,), (bystander,) = start(
        loaded, "first plain hold=150", "second plain hold=1", "bystander plain hold=60"
    )
    write(loaded, first, second)
    # At the second one the first still gives back its memory; the kernel would take the biggest.
    script = f"""
kills() {{ while read name number; do test $name = kills && kills=$number; done < /proc/oom_stat; }}
kills; before=$kills
echo f > /proc/sysrq-trigger
while test $kills = $before; do kills; done  # a second one would be lost while this one waits
echo f > /proc/sysrq-trigger
while test -d /proc/{first} -o -d /proc/{second}; do sleep 0.05; done
"""
    loaded.run(script, check=True)
    assert [kill.comm for kill in loaded.kills()[-2:]] == ["first", "second"]
    assert living(loaded, [bystander]) == [True]
    end(loaded, [bystander])


def test_all_who_share_the_memory_die_whichever_is_listed(loaded: Guest) -> None:
    parent, child, leaderless, other = start(
        loaded, "parent plain share", "child plain share", "leaderless plain leaderless", "o plain"
    )
    write(loaded, parent[0], child[1], leaderless[0])
    for dying in (parent, child, leaderless):
        sysrq(loaded, *dying)
    assert living(loaded, parent, child, leaderless, other) == [False, False, False, True]
    end(loaded, other)


def test_a_child_in_vfork_is_refused_for_its_parent_s_sake(loaded: Guest) -> None:
    lender, other = start(loaded, "lender plain vfork", "other plain")
    write(loaded, lender[1], other[0])
    sysrq(loaded, *other)
    assert living(loaded, lender, other) == [True, False]
    write(loaded, lender[0])
    sysrq(loaded, *lender)
    assert living(loaded, lender) == [False]


def test_a_pid_that_has_come_to_another_process_is_not_hit(loaded: Guest) -> None:
    old, other = start(loaded, "old plain", "other plain")
    write(loaded, *old, *other)
    end(loaded, old)
    script = f"""
while test -d /proc/{old[0]}; do sleep 0.05; done
echo {old[0] - 1} > /proc/sys/kernel/ns_last_pid; sleep 1000 > /dev/null 2>&1 & echo $!
echo 10000 > /proc/sys/kernel/ns_last_pid  # or the next command may get the other's
"""
    recycled = [int(loaded.run(["bash", "-c", script], check=True).stdout)]
    assert recycled == old
    assert loaded.get("/proc/oom").split() == [b"%d" % pid for pid in (*old, *other)]
    sysrq(loaded, *other)
    assert living(loaded, recycled, other) == [True, False]
    # Nor one that comes to a pid that nobody had when it was listed.
    end(loaded, recycled)
    future = old[0] + 20_000
    (other,) = start(loaded, "other plain")
    write(loaded, future, *other)
    script = (
        f"echo {future - 1} > /proc/sys/kernel/ns_last_pid; sleep 1000 >/dev/null 2>&1 & echo $!"
    )
    late = [int(loaded.run(["bash", "-c", script], check=True).stdout)]
    assert late == [future]
    sysrq(loaded, *other)
    assert living(loaded, late, other) == [True, False]
    end(loaded, late)


def test_when_nobody_is_left_the_kernel_chooses(loaded: Guest) -> None:
    listed, kernels = start(loaded, "listed plain", "kernels plain adj=1000")
    write(loaded, *listed, 1, 4_000_000)
    end(loaded, listed)
    loaded.run(f"while test -d /proc/{listed[0]}; do sleep 0.05; done")
    before = statistics(loaded)
    sysrq(loaded, *kernels)
    assert loaded.kills()[-1].pid == kernels[0]
    assert "none of the 3 listed can be killed, the kernel chooses" in loaded.console
    after = statistics(loaded)
    assert after["fallbacks"] == before["fallbacks"] + 1
    assert after["kills"] == before["kills"]


def test_the_kernel_is_pointed_at_nobody_for_longer_than_needed(loaded: Guest) -> None:
    # The kernel looks at who allocates, and kills that one.
    (listed,) = start(loaded, "listed plain")
    write(loaded, *listed)
    limits = "-p MemoryMax=16M -p MemorySwapMax=0"
    loaded.run(f"systemd-run --quiet --wait --unit=own {limits} tail /dev/zero", timeout=60)
    kill = loaded.kills()[-1]
    assert (kill.comm, kill.memcg) == ("tail", True)
    assert living(loaded, listed) == [True]
    loaded.run(["systemctl", "reset-failed"], check=True)
    end(loaded, listed)


def test_a_unit_s_result_is_as_with_the_kernel_s_own_choice(loaded: Guest) -> None:
    run = "systemd-run --quiet --unit=listed -p CapabilityBoundingSet=~CAP_SYS_RAWIO"
    loaded.run(f"{run} /root/victim; systemctl show --value -p MainPID listed > /run/listed")
    pid = int(loaded.get("/run/listed"))
    write(loaded, pid)
    sysrq(loaded, pid)
    wait = "until systemctl is-failed --quiet listed; do sleep 0.1; done"
    shown = loaded.run(f"{wait}; systemctl show --value -p Result listed", timeout=30).stdout
    assert shown == "oom-kill\n"
    loaded.run(["systemctl", "reset-failed"], check=True)


# Who dies: real OOMs


def test_one_kill_is_enough_when_it_frees_enough(fresh_guest: Guest) -> None:
    guest = fresh_guest
    module.load(guest)
    large, small = start(guest, "large plain hold=160", "small plain hold=2")
    write(guest, *large, *small)
    free = next(
        int(line.split()[1]) >> 10
        for line in guest.get("/proc/meminfo").decode().splitlines()
        if line.startswith("MemAvailable")
    )
    # More than there is, less than there will be.
    (hog,) = start(guest, f"hog plain hold={free + 60}")
    assert [kill.pid for kill in guest.kills()] == large
    assert living(guest, large, small, hog) == [False, True, True]
    assert statistics(guest)["kills"] == 1


def test_sigterm_comes_first_for_who_may_touch_hardware_and_heeds_it(fresh_guest: Guest) -> None:
    guest = fresh_guest
    module.load(guest, "grace_ms=3000")
    deaf, blocking, stopped, listening, polite, stubborn, late, plain = start(
        guest,
        "deaf deaf",
        "blocking blocking",
        "stopped stopped",
        "listening listening",
        "polite polite",
        "stubborn stubborn share",
        "late stubborn",
        "plain plain",
    )
    # Frozen, and the init of a pid namespace, which only dies of what it handles.
    script = """
systemd-run --quiet --unit=frozen /root/victim
pid=$(systemctl show --value -p MainPID frozen)
echo 1 > /sys/fs/cgroup/system.slice/frozen.service/cgroup.freeze
ln -s /root/victim /root/inside
setsid unshare --pid --fork /root/inside > /dev/null 2>&1 < /dev/null &
until inside=$(pgrep -x inside); do sleep 0.1; done
echo $pid $inside
"""
    shown = guest.run(script, check=True, timeout=60).stdout
    frozen, inside = ([int(pid)] for pid in shown.split())
    unheeding = [deaf, blocking, stopped, frozen, inside]
    order = [*unheeding, listening, polite, stubborn, late, plain]
    write(guest, *(pids[0] for pids in order))
    # In the end it is the only one left, and the kernel's own choice.
    with_status = "/root/victim plain hold=2000; echo $? > /run/hog.status"
    guest.run(with_status, timeout=180)
    assert guest.get("/run/hog.status") == b"137\n"
    assert guest.get("/run/listening.status") == b"7\n"
    assert guest.get("/run/polite.status") == b"7\n"
    assert guest.get("/run/stubborn.status") == b"137\n"
    hog = guest.kills()[-1]
    assert hog.comm == "victim"
    assert signals(guest) == [
        *(("Killed", pids[0]) for pids in unheeding),
        ("Terminated", listening[0]),
        ("Terminated", polite[0]),
        ("Terminated", stubborn[0]),
        ("Killed", stubborn[0]),
        # What three seconds were for is over.
        ("Killed", late[0]),
        ("Killed", plain[0]),
        ("Killed", hog.pid),
    ]
    assert not any(living(guest, *order))
    found = statistics(guest)
    assert (found["terms"], found["kills"], found["fallbacks"]) == (3, 8, 1)
    assert "Kernel panic" not in guest.console


def test_sigkill_follows_though_memory_has_come_back(fresh_guest: Guest) -> None:
    guest = fresh_guest
    # It takes no more than ten seconds.
    module.load(guest, f"grace_ms={min(10_000, 6000 * PATIENCE)}")
    (stubborn,) = start(guest, "stubborn stubborn share")
    write(guest, *stubborn)
    hog = guest.run(["/root/victim", "plain", "impatient", "hold=2000"], timeout=120)
    assert hog.status == 8
    assert living(guest, stubborn) == [True]
    guest.wait_console(rf"Killed process {stubborn[0]} \(stubborn\) ", timeout=20)
    guest.run(f"while test -d /proc/{stubborn[0]}; do sleep 0.05; done", check=True)
    assert living(guest, stubborn) == [False]
    assert "invoked oom-killer" not in guest.console
    found = statistics(guest)
    assert (found["terms"], found["kills"], found["fallbacks"]) == (1, 1, 0)


def test_a_process_that_has_had_its_sigterm_gets_no_other(fresh_guest: Guest) -> None:
    guest = fresh_guest
    module.load(guest, "grace_ms=10000")
    (renewing,) = start(guest, "renewing renewing")
    write(guest, *renewing)
    impatient = ["/root/victim", "plain", "impatient", "hold=2000"]
    assert guest.run(impatient, timeout=120).status == 8
    renewed = f"until grep -q RENEWED /proc/{renewing[0]}/environ; do sleep 0.1; done"
    guest.run(renewed, check=True, timeout=60)
    hog = guest.run("exec /root/victim plain hold=2000", timeout=120)
    assert hog.status == -9
    kills = [kill.pid for kill in guest.kills()]
    assert kills[0] == renewing[0]
    said = signals(guest)
    assert said == [("Terminated", renewing[0]), *(("Killed", pid) for pid in kills)]
    # Whatever has become of one in the meantime: it is looked at again before it is killed.
    guest.run("rmmod oom && insmod /root/oom.ko grace_ms=6000", check=True)
    saved, other = start(guest, "saved stubborn", "other plain adj=1000")
    write(guest, *saved)
    assert guest.run(impatient, timeout=120).status == 8
    guest.run(f"echo -1000 > /proc/{saved[0]}/oom_score_adj; sleep 8", check=True)
    assert signals(guest)[len(said) :] == [("Terminated", saved[0])]
    assert living(guest, saved, other) == [True, True]
    # SysRq-f waits for nobody: it takes the one that has its grace.
    guest.run("rmmod oom && insmod /root/oom.ko grace_ms=10000", check=True)
    (stubborn,) = start(guest, "stubborn stubborn")
    write(guest, *stubborn)
    assert guest.run(impatient, timeout=120).status == 8
    sysrq(guest, *stubborn)
    assert guest.kills()[-1].pid == stubborn[0]
    assert living(guest, other) == [True]


def test_only_who_may_have_memory_there_is_taken(guest: Guest) -> None:
    with guest.paused(), states.guest(Options(nodes=2)) as numa:
        module.load(numa)
        run = "systemd-run --quiet"
        script = f"""
{run} --unit=rawio -p AllowedMemoryNodes=0 /root/victim stubborn
{run} --unit=far -p AllowedMemoryNodes=0 /root/victim plain
{run} --unit=bound /root/victim bind=0 plain
{run} --unit=near -p AllowedMemoryNodes=1 /root/victim plain hold=20
{run} --unit=other /root/victim plain hold=20
sleep 2
for i in rawio far bound near other; do systemctl show --value -p MainPID $i; done
"""
        pids = [int(pid) for pid in numa.run(script, check=True).stdout.split()]
        rawio, far, bound, near, other = pids
        write(numa, rawio, far, bound, near)
        # Confined by a cpuset, then by a memory policy.
        hog = f"{run} --wait -p AllowedMemoryNodes=1 /root/victim plain hold=2000"
        numa.run(hog, timeout=120)
        assert numa.kills()[0].pid == near
        assert f"process {near} (victim) goes first, number 4 of 4 listed" in numa.console
        write(numa, rawio, far, bound, other)
        before = len(numa.kills())
        numa.run("/root/victim bind=1 plain hold=2000", timeout=120)
        assert numa.kills()[before].pid == other
        assert living(numa, [rawio], [far], [bound]) == [True, True, True]
        assert statistics(numa)["terms"] == 0
        assert "Terminated" not in numa.console


def test_the_administrator_s_word_about_ooms_counts(fresh_guest: Guest) -> None:
    guest = fresh_guest
    path = "/proc/sys/vm/oom_kill_allocating_task"
    # The kernel has been told, whatever is mounted where everybody looks.
    guest.run(f"echo 1 > {path} && mount --bind /dev/null {path}", check=True)
    module.load(guest)
    (polite,) = start(guest, "polite polite hold=60")
    write(guest, *polite)
    guest.run("/root/victim plain hold=2000", timeout=120)
    assert "(oom_kill_allocating_task): Killed process" in guest.console
    assert living(guest, polite) == [True]
    assert statistics(guest)["terms"] == 0
    script = f"umount {path} && echo 0 > {path} && echo 1 > /proc/sys/vm/panic_on_oom"
    guest.run(script, check=True)
    with pytest.raises(GuestError, match="the guest's kernel panicked"):
        guest.run("/root/victim plain hold=2000", timeout=120)
    assert "panic_on_oom is enabled" in guest.console
    assert "goes first" not in guest.console
    assert "Terminated" not in guest.console


# Coming and going


def test_the_module_comes_and_goes_without_a_trace(fresh_guest: Guest) -> None:
    guest = fresh_guest
    module.leaks(guest)
    module.load(guest)
    begun = len(guest.console)
    script = """
set -e
for i in $(seq 20); do
  echo $$ $PPID 11 > /proc/oom
  exec 3< /proc/oom 4> /proc/oom
  read -r line <&3
  rmmod oom
  ! test -e /proc/oom
  exec 3>&- 4>&-
  insmod /root/oom.ko
  read -r line < /proc/oom
  test -z "$line"
done
"""
    guest.run(["bash", "-c", script], check=True, timeout=120)
    said = guest.console[begun:].splitlines()
    assert [line for line in said if "hrtimer: interrupt took" not in line] == []
    tainted = int(guest.get("/proc/sys/kernel/tainted"))
    assert tainted & ~(1 << 12 | 1 << 13) == 0  # out of tree, not signed, and nothing else
    guest.run(["rmmod", "oom"], check=True)
    assert module.leaks(guest) == ""


def test_hosts_that_hide_processes_hide_the_list(fresh_guest: Guest) -> None:
    guest = fresh_guest
    module.load(guest, "mode=0600")
    shown = guest.run(
        "stat -c %a /proc/oom; cat /sys/module/oom/parameters/mode; id -u", check=True
    )
    assert shown.stdout.split()[:2] == ["600", "0600"]
    refused = guest.run("setpriv --reuid=1001 --clear-groups cat /proc/oom")
    assert "Permission denied" in refused.stderr
    refused = guest.run("rmmod oom; insmod /root/oom.ko mode=04755")
    assert refused.status != 0
    assert "mode=04755: only permissions to read and write, as in 0600" in guest.console


def test_the_grace_period_has_bounds(loaded: Guest) -> None:
    path = "/sys/module/oom/parameters/grace_ms"
    assert loaded.get(path) == b"2000\n"
    result = loaded.run(f"echo 10001 > {path}; echo -1 > {path}; echo 0 > {path}; cat {path}")
    assert result.stderr.count("Invalid argument") + result.stderr.count("out of range") == 2
    assert result.stdout == "0\n"
    loaded.run(f"echo 2000 > {path}", check=True)
