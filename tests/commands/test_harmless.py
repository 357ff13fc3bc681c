"""Nothing that others chose reaches a terminal as anything but text.

Each command is run on a terminal of its own, with a host, rules and arguments whose every name
holds what terminals obey.
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from oomrules import terminal
from oomrules.commands.parts import verdicts
from oomrules.plain import printable
from tests.children import CHECKOUT
from tests.commands.done import DATA, Done
from tests.commands.replays import TABLE

# A title, a cleared screen, C1's CSI and OSC, a link, a direction turned, nothing visible,
# separators of lines and paragraphs, a bell, a return, a backspace, half a surrogate pair.
EVIL = (
    "\x1b]0;PWNED\x07\x1b[2J\x9b31m\x9dx\x1b]8;;mailto:x\x1b\\\u202e\u2066\u200b\u200f\ufeff"
    "\u2028\u2029\r\x08\x7f\x85\x0e\U000e0041"
)
# A rule file may hold no line end inside a line; an argument no NUL.
LONE = "\udcff"
HEAD = '{"kind":"host"'


def harmless(data: bytes) -> list[str]:
    """Give what in the output of a terminal is no text."""
    text = data.decode("utf-8", "surrogateescape").replace("\r\n", "\n").replace("\n", "")
    return [repr(char) for char in text if not char.isprintable()]


def on_terminal(*argv: object, env: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Run a command with a terminal for its input, output and errors."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "oomrules", *(os.fsencode(str(word)) for word in argv)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "PYTHONPATH": CHECKOUT, "TERM": "xterm", "NO_COLOR": "1", **(env or {})},
        start_new_session=True,
    )
    os.close(slave)
    said = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # The last writer is gone.
            break
        if not piece:
            break
        said += piece
    os.close(master)
    return process.wait(), said


def evil(value: Any) -> Any:
    """Put it into every text that somebody may have chosen."""
    return value + EVIL if isinstance(value, str) else value


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a hostile host, hostile rules and hostile tests."""
    path = tmp_path_factory.mktemp("hostile")
    lines = [json.loads(line) for line in (DATA / "host.jsonl").read_text().splitlines()]
    for line in lines:
        if line["kind"] == "host":
            line["users"] = {key: evil(name) for key, name in line["users"].items()}
            line["groups"] = {key: evil(name) for key, name in line["groups"].items()}
        elif line["kind"] == "scope":
            line["cgroup"] = _cgroup(line["cgroup"])
            line["properties"] = {
                key: evil(one) for key, one in (line.get("properties") or {}).items()
            }
        else:
            line["comm"] = evil(line["comm"])
            line["exe"] = evil(line["exe"])
            line["cgroup"] = line["cgroup"] and _cgroup(line["cgroup"])
            line["cmdline"] = line["cmdline"] and [evil(word) for word in line["cmdline"]]
    (path / "host.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    scope = next(line for line in lines if line["kind"] == "scope")
    broken = [*lines, scope]
    (path / "twice.jsonl").write_text("".join(json.dumps(line) + "\n" for line in broken))
    comment = EVIL.replace("\r", "").replace("\x85", "").replace("\u2028", "").replace("\u2029", "")
    rules = path / "rules"
    rules.mkdir()
    (rules / "10-good.oom").write_text(
        f"# {comment}\n"
        'prefer comm "?*" by 2  # asks for the comm\n'
        'prefer cmdline "?*" by 2\nprefer exe "?*" by 2\nprefer user "?*" by 2\n'
        'in "*.service": prefer unit "?*" by 3\n',
        newline="",
    )
    # A report is lines: who is in it chooses no line end.
    (path / "kern.log").write_text(
        TABLE.replace("{name}", comment[:12]).replace("x.service", f"x{comment}.service"),
        newline="",
    )
    (path / "guards.oom").write_text(
        f'kill when host.available < 5%  # {comment}\nin "*": terminate when scope.memory > 1B\n',
        newline="",
    )
    # For --fix --diff there must be something to mend.
    (rules / "20-mend.oom").write_text(f'kill last comm "systemd-journald" # {comment}\n')
    (path / "bad.oom").write_text(f'never kill comm "{comment}" {comment}\nfoo {comment}\n')
    (path / f"evil{comment}.oom").write_text(f"nonsense {comment}\n")
    title = "".join(f"\\U{ord(char):08x}" for char in EVIL)
    (path / "evil.rules").write_text(
        json.dumps({"name": f"a{EVIL}", "oom_score_adj": 5})
        + f'\n{{"name": "b", "oom_score_adj": 5, "{comment}": 5}}\n{comment}\n'
    )
    (path / "evil.test.toml").write_text(
        'rules = ["rules"]\n[process.x]\ncomm = "y"\n'
        f'[[test]]\nname = "{title}"\n'
        'protected = ["x"]\n'
    )
    return path


def _cgroup(path: str) -> str:
    """Keep the unit's name in its form."""
    if path == "/":
        return path
    head, _, tail = path.rpartition(".")
    # A group below the unit has no such form.
    return f"{head}{EVIL}.{tail}" if tail in ("service", "scope", "slice") else path + EVIL


def commands(place: Path) -> dict[str, Sequence[object]]:
    host, rules = ("--snapshot", place / "host.jsonl"), ("--rules", place / "rules")
    lines = [json.loads(line) for line in (place / "host.jsonl").read_text().splitlines()]
    pid = max((line.get("rss") or 0, line.get("pid") or 0) for line in lines)[1]
    named = next(one for one in place.iterdir() if one.name.startswith("evil\x1b"))
    return {
        "init": ("init", "--dry-run", *host),
        "init json": ("init", "--json", *host),
        "init what": ("init", "--kind", EVIL),
        "rank": ("rank", *host, *rules),
        "rank --all": ("rank", "--all", *host, *rules),
        "rank --by": ("rank", "--by", "unit", *host, *rules),
        "rank json": ("rank", "--format", "json", *host, *rules),
        "rank --in": ("rank", "--in", EVIL, *host, *rules),
        "rank twice": ("rank", "--snapshot", place / "twice.jsonl", *rules),
        "rank no snapshot": ("rank", "--snapshot", EVIL, *rules),
        "rank bad rules": ("rank", *host, "--rules", place / "bad.oom"),
        "rank no rules": ("rank", *host, "--rules", EVIL),
        "picture": ("picture", *host, *rules, "-o", place / "picture.html"),
        "picture --of": ("picture", "--of", place / "twice.jsonl", "-o", place / "course.html"),
        "picture what": ("picture", *host, "-o", EVIL),
        "picture --in": ("picture", "--in", EVIL, *host, *rules, "-o", place / "picture.svg"),
        "explain": ("explain", pid, *host, *rules),
        "explain what": ("explain", EVIL, *host, *rules),
        "scopes": ("scopes", *host, *rules),
        "scopes json": ("scopes", "--format", "json", *host, *rules),
        "emit plan": ("emit", "--to", "oom_score_adj", "--dry-run", *host, *rules),
        "emit nowhere": ("emit", "--to", f"/nowhere{EVIL}/x", *host, *rules),
        "replay": ("replay", place / "kern.log", *rules),
        "replay list": ("replay", place / "kern.log", "--list"),
        "replay json": ("replay", place / "kern.log", "--format", "json", *rules),
        "replay nothing": ("replay", named, *rules),
        "replay nowhere": ("replay", EVIL, *rules),
        "replay what": ("replay", "--explain", EVIL),
        "check": ("check", place / "bad.oom"),
        "check concise": ("check", "--format", "concise", place / "bad.oom", named),
        "check json": ("check", "--format", "json", place / "bad.oom"),
        "check sarif": ("check", "--format", "sarif", place / "bad.oom", named),
        "check github": ("check", "--format", "github", place / "bad.oom", named),
        "check name": ("check", named),
        "check host": ("check", *host, place / "rules"),
        "check --diff": ("check", "--diff", place / "bad.oom", place / "rules"),
        "check --explain": ("check", "--explain", EVIL),
        "fmt --diff": ("fmt", "--diff", place / "rules", named),
        "fmt --check": ("fmt", "--check", place / "rules"),
        "cat": ("cat", *rules),
        "cat name": ("cat", "--rules", named),
        "diff": ("diff", place / "rules", place / "bad.oom", *host),
        "diff host": ("diff", place / "rules", DATA.parent.parent / "rules.d", *host),
        "diff json": (
            *("diff", "--format", "json", place / "rules", DATA.parent.parent / "rules.d"),
            *host,
        ),
        **{
            f"fleet {what} {form}": (
                *("fleet", what, *words, place / "host.jsonl", "--format", form),
                *("--processes", 1),
            )
            for what, words in {
                "rank": rules,
                "check": rules,
                "diff": (place / "rules", DATA.parent.parent / "rules.d"),
            }.items()
            for form in ("table", "jsonl")
        },
        "fleet nowhere": ("fleet", "rank", EVIL, *rules),
        "fleet scheduler": ("fleet", "rank", named, *rules, "--scheduler", EVIL),
        "test": ("test", place / "evil.test.toml"),
        "test tap": ("test", "--format", "tap", "--untested", place / "evil.test.toml"),
        "test junit": ("test", "--format", "junit", place / "evil.test.toml"),
        "import": ("import", place / "evil.rules"),
        "import arguments": ("import", "earlyoom", "--", "--prefer", EVIL, f"--{EVIL}", EVIL),
        "import nothing": ("import", f"/nowhere{EVIL}"),
        "hook": ("hook", "--install", f"x{EVIL}.service", "--root", place / "root"),
        "hook what": ("hook", "--remove", EVIL),
        "guard": ("guard", *host, "--rules", place / "guards.oom", *rules),
        "guard json": ("guard", "--json", *host, "--rules", place / "guards.oom"),
        "guard --in": ("guard", "--in", EVIL, *host, "--rules", place / "guards.oom"),
        "guard --replay": ("guard", "--replay", place / "twice.jsonl", *rules),
        "no command": (EVIL,),
        "no option": ("rank", f"--{EVIL}"),
        "no choice": ("rank", "--format", EVIL),
        "no number": ("rank", "--top", EVIL),
        "no bytes": ("rank", "--in", LONE, *host, *rules),
    }


NAMES = list(
    re.findall(r'^        "([a-z][^"]*)": \(', Path(__file__).read_text(encoding="utf-8"), re.M)
)


@pytest.mark.parametrize("name", NAMES)
def test_a_terminal_gets_text_and_nothing_else(name: str, place: Path) -> None:
    code, said = on_terminal(*commands(place)[name])
    assert code in (0, 1, 2) and said
    assert b"Traceback" not in said and b"a mistake in oomrules" not in said
    assert harmless(said) == []


@pytest.mark.parametrize("name", NAMES)
def test_so_does_a_pipe_that_may_end_at_a_terminal(
    name: str, place: Path, oomrules: Callable[..., Done]
) -> None:
    """A rule file's own text is for programs there; all else is for people."""
    done = oomrules(*commands(place)[name])
    said = done.err if name.startswith(("cat", "fmt", "check --diff")) else done.out + done.err
    assert harmless(said.encode("utf-8", "backslashreplace")) == []


def test_every_command_that_prints_is_among_them() -> None:
    from oomrules.commands import main

    # The rest have tests of their own: they need a terminal, a service, a journal or this host.
    rest = {"top", "status", "run", "history", "lsp", "release", "snapshot", "completion", "record"}
    assert {name.split()[0] for name in NAMES} - {"no"} | rest == set(main.COMMANDS)


def test_the_same_names_survive_in_json(place: Path) -> None:
    """What is escaped there is escaped as JSON escapes, and says the same."""
    code, said = on_terminal(*commands(place)["rank json"])
    assert code == 0
    data = json.loads(said[: said.rindex(b"}") + 1])
    assert any(EVIL in (one["comm"] or "") for one in data["candidates"])


def test_colours_are_ours_alone(place: Path) -> None:
    _, said = on_terminal(*commands(place)["rank --all"], env={"NO_COLOR": ""})
    left = re.sub(rb"\x1b\[(1|2|3[1-6]|0)(;1)?m", b"", said)
    assert left != said and harmless(left) == []


# --- the functions that all output goes through -------------------------------------------------


@pytest.mark.parametrize("code", [*range(32), *range(127, 160), 0x202E, 0x2028, 0x200B, 0xDC80])
def test_what_is_no_text_is_replaced_one_for_one(code: int) -> None:
    text = printable(f"a{chr(code)}b")
    assert len(text) == 3 and text.isprintable()


def test_json_says_the_same_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = "".join(map(chr, [*range(0x300), *range(0x2000, 0x2100), 0x1F600, 0xE0041, 0xDC80]))
    terminal.print_json({text: [text, 1.5, None]})
    said = capsys.readouterr().out
    assert said.replace("\n", "").isprintable() and "é" in said and "\U0001f600" in said
    assert json.loads(said) == {text: [text, 1.5, None]}


def test_what_goes_past_them_is_caught_at_the_terminal() -> None:
    """A library's words, or a print that somebody forgot."""
    code = (
        "import sys\nfrom oomrules import terminal\nfrom oomrules.commands import main\n"
        "terminal.guard_terminals()\n"
        f"print({EVIL!r}); print('a\\tb\\n\\x1b[31mred', file=sys.stderr); print('ok')\n"
    )
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=slave,
        stderr=slave,
        env={**os.environ, "PYTHONPATH": CHECKOUT, "NO_COLOR": "1"},
    ):
        os.close(slave)
        said = b""
        while not said.rstrip().endswith(b"ok"):
            said += os.read(master, 65536)
    os.close(master)
    assert harmless(said) == []


@pytest.mark.parametrize("columns", [60, 80, 120, 400])
@pytest.mark.parametrize(
    "name", ["x" * 255, "\N{HANGUL FILLER}" * 85, "漢" * 85, "e" + "\u0301" * 90]
)
def test_a_long_name_hides_no_row_of_others_and_makes_none(
    name: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "is_terminal", lambda stream: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1" if columns == 80 else "")
    columns_of = [one for one in verdicts.COLUMNS if one.name not in ("PID", "USER", "RSS")]
    rows = [["1", f"{name}.scope", "99", "hog", "prefer anything"]]
    rows.append(["2", "ssh.service", "7", "sshd", "by its score alone " * 30])
    paint = terminal.Paint(sys.stdout)
    lines = terminal.table(columns_of, rows, paint).split("\n")
    lines[0] = re.sub("\x1b\\[[0-9;]*m", "", lines[0])
    assert [terminal.width(line) <= columns for line in lines] == [True] * 3
    assert re.search(r"^ +1 .* 99 +hog +prefer", lines[1])
    assert re.search(r"^ +2 +ssh.service .* 7 +sshd +by its", lines[2])
    if columns > 300:
        # Marks beyond the second one would cover the lines above.
        assert name[:3] + ".scope" in lines[1] if "\u0301" in name else name in lines[1]
