"""The command line as a whole: options, exit codes, and no traceback, ever."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oomrules import __version__
from oomrules.commands import main as main_module
from oomrules.commands import rank
from oomrules.commands.parts import streams
from tests.children import CHECKOUT

Run = Callable[..., Any]
Write = Callable[..., Path]


# --- help and usage ------------------------------------------------------------------


def test_the_version_is_said(oomrules: Run) -> None:
    assert oomrules("--version") == (0, f"oomrules {__version__}\n", "")


def test_the_help_lists_every_command(oomrules: Run) -> None:
    done = oomrules("--help")
    assert done.code == 0
    for name, purpose in main_module.COMMANDS.items():
        assert name in done.out and purpose in done.out


@pytest.mark.parametrize("command", main_module.COMMANDS)
def test_each_command_has_a_help_with_every_option_explained(command: str, oomrules: Run) -> None:
    done = oomrules(command, "--help")
    assert done.code == 0
    assert done.out.startswith(f"usage: oomrules {command}")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("rnk",),
        ("rank", "extra"),
        ("rank", "--colour"),
        ("rank", "--snap", "x"),  # no option may be cut short
        ("rank", "--format", "xml"),
        ("rank", "--top", "0"),
        ("rank", "--top", "-3"),
        ("rank", "--top", "many"),
        ("rank", "--rules"),
        ("emit", "--format", "pids"),
        ("explain",),
        ("explain", "1", "2"),
        ("check", "--format", "xml"),
        ("snapshot", "extra"),
    ],
)
def test_a_wrong_usage_is_told_with_the_right_one(
    arguments: tuple[str, ...], oomrules: Run
) -> None:
    done = oomrules(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("usage: oomrules")


# --- failures ------------------------------------------------------------------------

FILES = {
    "good.oom": b"score total_vm\n",
    "bad.oom": b"nevr kill\n",
    "binary.oom": bytes(range(256)),
    "good.jsonl": (Path(__file__).parent.parent / "data" / "host.jsonl").read_bytes(),
    "cut.jsonl": b'{"kind":"host","schema":"oomrules.snap',
    "binary.jsonl": b"\x7fELF\xff\xfe",
    "empty.jsonl": b"",
    "other.jsonl": b'{"kind":"host","schema":"oomrules.snapshot/9"}\n',
}

FAILURES = [
    "rank --rules missing.oom",
    "rank --rules bad.oom",
    "rank --rules binary.oom",
    "rank --rules good.oom --rules missing.oom",
    "rank --root missing",
    "rank --root good.oom",
    "rank --snapshot missing.jsonl",
    "rank --snapshot cut.jsonl",
    "rank --snapshot binary.jsonl",
    "rank --snapshot empty.jsonl",
    "rank --snapshot other.jsonl",
    "rank --snapshot .",
    "rank --snapshot=",
    "rank --snapshot good.jsonl --in=",
    "explain 99999999",
    "explain 812 --snapshot missing.jsonl",
    "explain 4242 --snapshot good.jsonl",
    "emit --to= --snapshot good.jsonl",
    "emit --to oom_score_adj --snapshot good.jsonl",
    "emit --to missing/list --snapshot good.jsonl",
    "emit --to . --snapshot good.jsonl",
    "emit --to /dev/full --snapshot good.jsonl",
    "emit --to /proc/oom --snapshot good.jsonl",
    "emit --to list --snapshot cut.jsonl",
    "emit --to list --rules bad.oom",
    "snapshot -o missing/snap",
    "snapshot -o .",
    "snapshot -o /dev/full",
    "snapshot -o good.oom/snap",
    "check missing.oom",
    "check --root missing",
    "cat --rules missing.oom",
    "cat --root missing",
]


@pytest.mark.parametrize("line", FAILURES)
def test_a_failure_is_one_sentence_and_exit_code_2(
    line: str, oomrules: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    done = oomrules(*line.split())
    assert (done.code, done.out) == (2, "")
    sentences = [text for text in done.err.splitlines() if text.startswith("oomrules: ")]
    assert len(sentences) == 1
    assert "mistake in oomrules" not in done.err and "Errno" not in done.err
    assert sorted(os.listdir(tmp_path)) == sorted(FILES)


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--rules", "rank --rules="),
        ("--rules", "check --rules="),
        ("--snapshot", "rank --snapshot="),
        ("--in", "rank --in="),
        ("--to", "emit --to="),
        ("-o", "snapshot -o "),
    ],
)
def test_an_option_with_nothing_in_it_is_named(option: str, line: str, oomrules: Run) -> None:
    """As an unset variable of a script leaves it."""
    done = oomrules(*line.split(" "))
    assert (done.code, done.out) == (2, "")
    assert option in done.err


def test_empty_rules_are_not_the_rules_of_this_directory(
    oomrules: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as ``--rules "$RULES"`` with nothing in it: nobody would be protected."""
    monkeypatch.chdir(tmp_path)
    done = oomrules("rank", "--rules", "", "--format", "pids")
    assert (done.code, done.out) == (2, "")


def test_a_mistake_of_ours_is_told_as_one(oomrules: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(options: Any) -> int:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(rank, "run", fail)
    monkeypatch.delenv("OOMRULES_DEBUG", raising=False)
    done = oomrules("rank")
    assert done.code == 2
    assert "a mistake in oomrules itself: ZeroDivisionError: oh" in done.err
    monkeypatch.setenv("OOMRULES_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        oomrules("rank")


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (KeyboardInterrupt(), 130, ""),
        (MemoryError(), 2, "out of memory"),
        (PermissionError(13, "Permission denied", "/x"), 2, "/x: permission denied"),
        # Of a socket, say: only a reader of the output has seen enough.
        (BrokenPipeError(32, "Broken pipe"), 2, "broken pipe"),
        (ModuleNotFoundError("no", name="lark"), 2, "lark"),
    ],
)
def test_what_ends_a_command_has_its_exit_code(
    error: BaseException, code: int, word: str, oomrules: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(options: Any) -> int:
        raise error

    monkeypatch.setattr(rank, "run", fail)
    done = oomrules("rank")
    assert (done.code, done.out) == (code, "")
    assert word in done.err


def test_a_missing_library_is_named() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); from oomrules.commands.main import main"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"{code}; sys.exit(main(['rank']))", CHECKOUT],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "lark" in done.stderr and "Traceback" not in done.stderr


# --- streams -------------------------------------------------------------------------

PRINTING: dict[str, tuple[str, ...]] = {
    "a table": ("rank", "--snapshot", "{data}", "--all"),
    "a list": ("emit", "--to", "-", "--snapshot", "{data}"),
    "a long text": ("snapshot",),
    "findings": ("check", "{rules}"),
}


def redirected(words: list[str], where: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a shell does that was told of a redirection."""
    environment = {**os.environ, "PYTHONPATH": CHECKOUT, "PYTHONUNBUFFERED": "", **env}
    return subprocess.run(
        ["sh", "-c", f'exec "$0" -m oomrules "$@" {where}', sys.executable, *words],
        capture_output=True,
        text=True,
        env=environment,
    )


@pytest.fixture
def gone() -> Iterator[int]:
    """A pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def filled(what: str, recorded: Path) -> list[str]:
    return [word.format(data=recorded, rules=f"{CHECKOUT}/rules.d") for word in PRINTING[what]]


@pytest.mark.parametrize("what", PRINTING)
def test_a_reader_who_has_seen_enough_ends_it_in_silence(
    what: str, process: Run, recorded: Path, gone: int
) -> None:
    done = process(*filled(what, recorded), stdout=gone)
    assert done.code == 0
    assert "roken" not in done.err and "Exception" not in done.err


def test_a_reader_who_has_seen_enough_changes_no_exit_code(
    process: Run, rules: Write, gone: int
) -> None:
    bad = rules("nevr kill\n", "bad.oom")
    done = process("check", bad, stdout=gone, stderr=gone)
    assert done.code == 1


@pytest.mark.parametrize("what", PRINTING)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_device_is_a_failure_that_is_told_once(
    unbuffered: str, what: str, recorded: Path
) -> None:
    done = redirected(filled(what, recorded), ">/dev/full", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 2
    told = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert told == ["oomrules: cannot write to standard output: no space left on device"]


@pytest.mark.parametrize(
    ("where", "command"),
    [
        *((">/dev/full", name) for name in ("--help", "--version", *main_module.COMMANDS)),
        *((where, name) for where in (">&-", ">/dev/full 2>&1") for name in ("--help", "rank")),
    ],
)
def test_what_a_command_could_not_print_is_told_whatever_the_command(
    where: str, command: str
) -> None:
    words = [command] if command.startswith("-") else [command, "--help"]
    done = redirected(words, where)
    assert done.returncode == 2
    shown = "" if "2>&1" in where else "oomrules: cannot write to standard output: "
    assert done.stderr.startswith(shown) and done.stderr.count("\n") == bool(shown)


@pytest.mark.parametrize(
    "words",
    [
        ["rnk"],
        ["check", "missing.oom"],
        ["emit", "--to", "missing/list", "--rules", f"{CHECKOUT}/rules.d"],
    ],
)
@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-", ">/dev/full 2>&1", "2>/dev/full >&-"])
def test_a_failure_that_cannot_be_told_is_one_all_the_same(words: list[str], where: str) -> None:
    done = redirected(words, where)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


@pytest.mark.parametrize(
    ("where", "code"),
    [(">&-", 0), ("2>&-", 0), (">&- 2>&- <&-", 0), ("2>/dev/full", 2), (">/dev/full 2>&1", 2)],
)
def test_the_work_is_done_whoever_may_read_of_it(
    where: str, code: int, recorded: Path, tmp_path: Path
) -> None:
    """`emit` says on standard error what it has written; nothing is due on standard output."""
    path = tmp_path / "list"
    words = ["emit", "--snapshot", str(recorded), "--root", str(tmp_path), "--to", str(path)]
    done = redirected(words, where)
    assert (done.returncode, path.read_text()) == (code, "907 902 901 900 903 908\n")
    assert "mistake" not in done.stderr and "Exception" not in done.stderr


def test_output_ends_at_a_hole_and_notes_go_on_behind_it() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    try:
        out = streams.Output(writing, resumes=False)
        notes = streams.Output(writing, resumes=True)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * 4096)
        assert (out.write(b"first"), notes.write(b"first")) == (5, 5)
        assert isinstance(out.lost, BlockingIOError) and isinstance(notes.lost, BlockingIOError)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.read(reading, 4096)
        assert (out.write(b"second"), notes.write(b"third")) == (6, 5)
        assert os.read(reading, 65536) == b"third"
        assert isinstance(out.lost, BlockingIOError) and notes.lost is None
    finally:
        os.close(reading)
        os.close(writing)


def test_who_gives_up_a_reader_that_does_not_read_waits_for_him_no_more() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    out = streams.Output(writing, resumes=False)
    seen: list[int] = []

    def interrupt(number: int, frame: Any) -> None:
        # Twice at the same place: there it waits.
        seen.append(frame.f_lasti if frame.f_code.co_name == "write" else -1)
        if seen[-1] >= 0 and seen[-2:-1] == seen[-1:]:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            out.write(b"first")
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert out.write(b"second") == 6
        assert out.lost and not out.failed
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        os.close(reading)
        os.close(writing)


def test_a_name_that_the_terminal_cannot_show_is_no_failure(process: Run, recorded: Path) -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = process(*filled("a table", recorded), env=ascii_only)
    assert done.code == 0
    assert "evil" in done.out


# --- rights --------------------------------------------------------------------------


def test_without_root_the_host_is_ranked_as_far_as_it_can_be_seen(
    process: Run, child: Any, nobody: dict[str, Any]
) -> None:
    done = process("rank", "--format", "json", "--rules", f"{CHECKOUT}/rules.d", **nobody)
    assert done.code in (0, 1)
    seen = {one["pid"] for one in done.data["candidates"] + done.data["excluded"]}
    assert child.pid in seen


def test_without_root_what_could_not_be_seen_is_said_and_protects(
    process: Run, child: Any, nobody: dict[str, Any]
) -> None:
    rules = Path("/tmp") / f"oomrules-{os.getpid()}.oom"
    try:
        rules.write_text('score total_vm\nnever kill exe "/nowhere"\n')
        rules.chmod(0o644)
        done = process("rank", "--format", "json", "--rules", rules, **nobody)
    finally:
        rules.unlink()
    reasons = {one["pid"]: one["reason"] for one in done.data["excluded"]}
    assert reasons[child.pid] == "never killed, in doubt"
    assert "note: exe of " in done.err and "root" in done.err


def test_without_root_a_snapshot_says_what_it_lacks(
    process: Run, child: Any, nobody: dict[str, Any]
) -> None:
    done = process("snapshot", **nobody)
    assert done.code == 0
    assert f'"pid":{child.pid},' in done.out
    (line,) = (line for line in done.out.splitlines() if f'"pid":{child.pid},' in line)
    assert '"exe":null' in line and '"uid":0' in line
    assert "note: exe of " in done.err


def test_without_root_a_refused_file_is_told(
    process: Run, recorded: Path, nobody: dict[str, Any]
) -> None:
    data = Path("/tmp") / f"oomrules-{os.getpid()}.jsonl"
    try:
        data.write_bytes(recorded.read_bytes())
        data.chmod(0o644)
        done = process("emit", "--snapshot", data, "--to", "/oomrules-list", **nobody)
    finally:
        data.unlink()
    assert done.code == 2
    assert "cannot write /oomrules-list: permission denied" in done.err


# --- as a module ---------------------------------------------------------------------


def test_the_module_is_the_command(process: Run) -> None:
    assert process("--version").out == f"oomrules {__version__}\n"
