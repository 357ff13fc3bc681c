"""``oomrules cat``: what is in force, file by file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from oomrules import resources

Run = Callable[..., Any]
Write = Callable[..., Path]


def put(root: Path, place: str, text: str) -> Path:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def headings(out: str) -> list[str]:
    return [line[2:] for line in out.splitlines() if line.startswith("# /")]


def test_the_shipped_rules_are_printed_as_they_are(oomrules: Run, root: Path) -> None:
    done = oomrules("cat", "--root", root)
    assert (done.code, done.err) == (0, "")
    files = sorted(resources.rules().glob("*.oom"))
    assert headings(done.out) == [str(file) for file in files]
    for file in files:
        assert f"# {file}\n{file.read_text()}" in done.out


def test_files_come_in_order_with_their_full_text(oomrules: Run, root: Path) -> None:
    first = put(root, "usr/lib/oomrules.d/10-a.oom", "spare uid 1\n# the end")
    second = put(root, "etc/oomrules.d/20-b.oom", "spare uid 2\n")
    done = oomrules("cat", "--root", root)
    vocabulary, *others = headings(done.out)
    assert vocabulary.endswith("00-vocabulary.oom")
    assert others == [str(first), str(second)]
    assert f"# {first}\nspare uid 1\n# the end\n\n# {second}\nspare uid 2\n" in done.out


def test_what_is_replaced_or_masked_is_said(oomrules: Run, root: Path) -> None:
    lower = put(root, "usr/lib/oomrules.d/10-a.oom", "spare uid 1\n")
    higher = put(root, "run/oomrules.d/10-a.oom", "spare uid 2\n")
    put(root, "usr/lib/oomrules.d/20-b.oom", "spare uid 3\n")
    mask = root / "etc/oomrules.d/20-b.oom"
    mask.parent.mkdir(parents=True)
    mask.symlink_to("/dev/null")
    done = oomrules("cat", "--root", root)
    assert done.code == 0
    assert f"# {lower} is replaced by {higher}" in done.out
    assert f"# {mask} is masked" in done.out
    assert "spare uid 2" in done.out
    assert "spare uid 1" not in done.out and "spare uid 3" not in done.out


def test_what_is_printed_can_be_used_as_rules(
    oomrules: Run, root: Path, recorded: Path, tmp_path: Path
) -> None:
    """One file with everything ranks as the files did."""
    printed = tmp_path / "all.oom"
    printed.write_text(oomrules("cat", "--root", root).out)
    given = ("rank", "--snapshot", recorded, "--format", "pids")
    assert oomrules(*given, "--rules", printed).out == oomrules(*given, "--root", root).out


def test_rules_given_by_hand_are_printed_with_the_vocabulary(oomrules: Run, rules: Write) -> None:
    path = rules("spare uid 5\n")
    done = oomrules("cat", "--rules", path)
    assert headings(done.out)[-1] == str(path)
    assert "define niced" in done.out


def test_a_rule_in_error_is_printed_all_the_same(oomrules: Run, rules: Write) -> None:
    done = oomrules("cat", "--rules", rules("nevr kill\n"))
    assert (done.code, done.err) == (0, "")
    assert "nevr kill" in done.out


def test_a_file_that_cannot_be_read_is_said_and_the_others_are_printed(
    oomrules: Run, root: Path
) -> None:
    put(root, "etc/oomrules.d/20-b.oom", "spare uid 2\n")
    (root / "etc/oomrules.d/10-a.oom").mkdir()
    (root / "etc/oomrules.d/30-c.oom").write_bytes(b"\xff")
    done = oomrules("cat", "--root", root)
    assert done.code == 2
    assert "spare uid 2" in done.out
    assert "OOM001" in done.err and "10-a.oom" in done.err
    assert "OOM002" in done.err and "30-c.oom:1:1" in done.err


def test_an_empty_file_given_by_hand_is_no_mistake(oomrules: Run, rules: Write) -> None:
    assert oomrules("cat", "--rules", rules("")).code == 0
