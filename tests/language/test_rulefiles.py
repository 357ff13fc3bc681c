"""Where rules come from: four directories, replacement, masking, and ``--rules``."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from oomrules import resources
from oomrules.errors import Failure
from oomrules.language import checker, compiler, rulefiles
from oomrules.language.diagnostics import Rejected
from oomrules.language.rulefiles import Found
from oomrules.language.text import RuleText

ETC, RUN, LOCAL, USR = (f".{directory}" for directory in rulefiles.DIRECTORIES)
VOCABULARY = str(resources.rules() / "00-vocabulary.oom")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host whose package was installed, so that nothing stands in for it."""
    (tmp_path / USR).mkdir(parents=True)
    return tmp_path


@pytest.fixture(autouse=True)
def _impatient() -> Iterator[None]:
    """Reading rules must not wait for anyone, so a test that hangs is a test that fails."""

    class Hangs(BaseException):  # not to be caught together with other errors
        pass

    def late(number: int, frame: object) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def put(root: Path, directory: str, name: str, text: str = "spare uid 0\n") -> Path:
    path = root / directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def texts(found: Found) -> dict[str, str]:
    """The files in force by their last two parts, without the shipped vocabulary."""
    return {
        "/".join(Path(file.name).parts[-2:]): file.text
        for file in found.files
        if file.name != VOCABULARY
    }


def messages(found: Found) -> list[str]:
    return [one.message for one in found.diagnostics]


# --- the system's directories ------------------------------------------------------


def test_every_directory_contributes_its_files(root: Path) -> None:
    for number, directory in enumerate((ETC, RUN, LOCAL, USR)):
        put(root, directory, f"{number}0-x.oom", f"spare uid {number}\n")
    found = rulefiles.system(root)
    assert list(texts(found).values()) == [f"spare uid {n}\n" for n in range(4)]
    assert found.diagnostics == ()
    levels = [file.level for file in found.files if file.name != VOCABULARY]
    assert levels == sorted(set(levels)) and len(levels) == 4


def test_files_come_in_the_order_of_their_names_not_of_their_directories(root: Path) -> None:
    put(root, USR, "10-a.oom")
    put(root, ETC, "20-b.oom")
    put(root, RUN, "15-c.oom")
    names = [Path(file.name).name for file in rulefiles.system(root).files]
    assert names == ["00-vocabulary.oom", "10-a.oom", "15-c.oom", "20-b.oom"]


def test_the_same_name_in_a_higher_directory_replaces_the_lower(root: Path) -> None:
    places = [
        put(root, directory, "10-x.oom", f"# {directory}\n") for directory in (ETC, LOCAL, USR)
    ]
    found = rulefiles.system(root)
    assert texts(found) == {"oomrules.d/10-x.oom": f"# {ETC}\n"}
    assert found.replaced == ((places[1], places[0]), (places[2], places[0]))
    assert found.masked == ()


@pytest.mark.parametrize("how", ["link", "relative link", "empty file"])
def test_a_file_is_masked_by(how: str, root: Path) -> None:
    lower = put(root, USR, "10-x.oom", "never kill uid 5\n")
    put(root, USR, "20-y.oom", "spare uid 6\n")
    (root / ETC).mkdir(parents=True)
    mask = root / ETC / "10-x.oom"
    if how == "empty file":
        mask.touch()
    else:
        mask.symlink_to("/dev/null" if how == "link" else os.path.relpath("/dev/null", mask.parent))
    found = rulefiles.system(root)
    assert texts(found) == {"oomrules.d/20-y.oom": "spare uid 6\n"}
    assert found.masked == (mask,)
    assert found.replaced == ((lower, mask),)
    assert found.diagnostics == ()


def test_a_mask_in_a_lower_directory_is_replaced_like_any_other_file(root: Path) -> None:
    put(root, ETC, "10-x.oom", "spare uid 1\n")
    put(root, USR, "10-x.oom", "")
    found = rulefiles.system(root)
    assert list(texts(found).values()) == ["spare uid 1\n"]
    assert found.masked == ()


def test_a_mask_of_nothing_does_no_harm(root: Path) -> None:
    put(root, ETC, "99-nothing.oom", "")
    found = rulefiles.system(root)
    assert texts(found) == {}
    assert found.diagnostics == ()


def test_a_link_to_a_file_elsewhere_is_that_file(root: Path) -> None:
    put(root, "usr/share/presets", "server.oom", "spare uid 7\n")
    (root / ETC).mkdir(parents=True)
    (root / ETC / "50-server.oom").symlink_to("/usr/share/presets/server.oom")
    assert texts(rulefiles.system(root)) == {"oomrules.d/50-server.oom": "spare uid 7\n"}


UNREADABLE = ["a directory", "a dangling link", "a circular link", "a pipe"]


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_cannot_be_read_is_reported_and_never_passed_over(what: str, root: Path) -> None:
    put(root, USR, "10-x.oom", "never kill uid 5\n")
    (root / ETC).mkdir(parents=True)
    path = root / ETC / "10-x.oom"
    if what == "a directory":
        path.mkdir()
    elif what == "a dangling link":
        path.symlink_to("/nonexistent/x.oom")
    elif what == "a circular link":
        path.symlink_to(path.name)
    else:
        os.mkfifo(path)
    found = rulefiles.system(root)
    (one,) = found.diagnostics
    assert one.code == "OOM001"
    assert str(path) in one.message
    # It still replaces the lower file: whoever put it there meant to.
    assert texts(found) == {}
    with pytest.raises(Rejected):
        compiler.compile_rules(found)


def test_a_directory_that_is_a_file_is_reported(root: Path) -> None:
    (root / "etc").mkdir()
    (root / ETC).write_text("spare uid 0\n")
    (message,) = messages(rulefiles.system(root))
    assert str(root / ETC) in message


def test_a_file_too_large_to_be_written_by_hand_is_reported(root: Path) -> None:
    put(root, ETC, "10-x.oom", "#" * (5 * 2**20))
    (message,) = messages(rulefiles.system(root))
    assert "larger than" in message


IGNORED = [
    ".hidden.oom",
    "x.oom~",
    "x.oom.rpmsave",
    "x.oom.dpkg-old",
    "README",
    "x.conf",
    "x.OOM",
    "oom",
]


@pytest.mark.parametrize("name", IGNORED)
def test_other_names_are_not_looked_at(name: str, root: Path) -> None:
    put(root, ETC, name, "this is no rule")
    found = rulefiles.system(root)
    assert texts(found) == {} and found.diagnostics == ()


def test_subdirectories_are_not_looked_at(root: Path) -> None:
    put(root, f"{ETC}/presets", "x.oom", "this is no rule")
    found = rulefiles.system(root)
    assert texts(found) == {} and found.diagnostics == ()


# --- what is shipped ---------------------------------------------------------------


def shipped() -> set[str]:
    return {path.name for path in resources.rules().glob("*.oom")}


@pytest.mark.parametrize("directory", [None, ETC, RUN, LOCAL])
def test_the_shipped_rules_stand_in_for_a_missing_usr_directory(
    directory: str | None, tmp_path: Path
) -> None:
    if directory:
        put(tmp_path, directory, "50-mine.oom")
    names = {Path(file.name).name for file in rulefiles.system(tmp_path).files}
    assert names == shipped() | ({"50-mine.oom"} if directory else set())


def test_a_shipped_file_is_replaced_and_masked_like_any_other(tmp_path: Path) -> None:
    put(tmp_path, ETC, "20-protect.oom", "# mine\n")
    put(tmp_path, ETC, "10-badness-2.6.10.oom", "")
    found = rulefiles.system(tmp_path)
    assert texts(found) == {"oomrules.d/20-protect.oom": "# mine\n"}
    assert [path.name for path in found.masked] == ["10-badness-2.6.10.oom"]


def test_an_installed_package_takes_the_place_of_the_shipped_rules(root: Path) -> None:
    put(root, USR, "10-only.oom")
    assert texts(rulefiles.system(root)) == {"oomrules.d/10-only.oom": "spare uid 0\n"}


def test_an_empty_directory_of_the_package_leaves_the_vocabulary_alone(root: Path) -> None:
    assert [file.name for file in rulefiles.system(root).files] == [VOCABULARY]


def test_the_shipped_rules_have_no_mistake(tmp_path: Path) -> None:
    assert checker.check(rulefiles.system(tmp_path).files).diagnostics == []


@pytest.mark.parametrize(
    "preset", sorted(p.name for p in (resources.rules() / "presets").iterdir())
)
def test_each_preset_goes_with_the_shipped_rules(preset: str, tmp_path: Path) -> None:
    (tmp_path / ETC).mkdir(parents=True)
    shutil.copy(resources.rules() / "presets" / preset, tmp_path / ETC / f"50-{preset}")
    found = rulefiles.system(tmp_path)
    assert any(file.name.endswith(preset) for file in found.files)
    assert checker.check(found.files).diagnostics == []
    compiler.compile_rules(found)


# --- the vocabulary ----------------------------------------------------------------


def definitions(found: Found) -> dict[str, list[object]]:
    return compiler.compile_rules(found).definitions


NICED = ["attr", "nice"]


@pytest.mark.parametrize("how", ["none", "masked", "replaced by a file without it"])
def test_the_vocabulary_is_there_whatever_becomes_of_its_file(how: str, root: Path) -> None:
    put(root, ETC, "10-x.oom", "prefer niced\nspare superuser\n")
    if how != "none":
        put(root, ETC, "00-vocabulary.oom", "" if how == "masked" else "define dear = uid == 5\n")
    found = definitions(rulefiles.system(root))
    assert {"niced", "superuser"} <= found.keys()
    assert found["niced"] == [">", ["attr", "nice"], ["number", 0]]


@pytest.mark.parametrize("directory", [ETC, RUN, LOCAL, USR])
@pytest.mark.parametrize("name", ["00-vocabulary.oom", "50-mine.oom"])
def test_a_file_may_define_the_vocabulary_anew(directory: str, name: str, root: Path) -> None:
    put(root, directory, name, "define niced = nice > 10\n")
    assert definitions(rulefiles.system(root))["niced"] == [">", ["attr", "nice"], ["number", 10]]


def test_an_installed_copy_of_the_vocabulary_may_be_defined_anew_as_well(root: Path) -> None:
    put(root, USR, "00-vocabulary.oom", Path(VOCABULARY).read_text())
    put(root, ETC, "50-mine.oom", "define niced = nice > 10\n")
    found = rulefiles.system(root)
    assert checker.check(found.files).diagnostics == []
    assert definitions(found)["niced"] == [">", ["attr", "nice"], ["number", 10]]


def test_rules_given_by_hand_have_the_vocabulary_and_may_define_it_anew(tmp_path: Path) -> None:
    path = put(tmp_path, ".", "x.oom", "prefer niced\nspare superuser\n")
    assert definitions(rulefiles.given([str(path)])).keys() == {
        *("niced", "superuser", "system_user", "container_monitor", "contained")
    }
    path.write_text("define niced = nice > 10\nprefer niced\n")
    assert definitions(rulefiles.given([str(path)]))["niced"][2] == ["number", 10]


@pytest.mark.parametrize("spelling", ["plain", "roundabout"])
def test_the_shipped_rules_given_by_hand_are_not_read_twice(spelling: str) -> None:
    path = resources.rules() if spelling == "plain" else resources.rules() / ".." / "rules.d"
    found = rulefiles.given([str(path)])
    assert checker.check(found.files).diagnostics == []
    assert len(found.files) == len(shipped())


# --- precedence --------------------------------------------------------------------


def scores(found: Found) -> dict[tuple[str, ...], str]:
    checked = checker.check(found.files)
    assert checked.diagnostics == []
    return {targets: score.text for targets, score in checked.scores.items()}


def test_a_score_in_a_higher_directory_replaces_that_in_a_lower(root: Path) -> None:
    put(root, USR, "10-x.oom", "score rss\nin a.slice: score swap\n")
    put(root, RUN, "20-y.oom", "score total_vm\n")
    put(root, ETC, "05-z.oom", "in a.slice: score pgtables\n")
    assert scores(rulefiles.system(root)) == {
        (): "score total_vm",
        ("a.slice",): "score pgtables",
    }


def test_a_shipped_score_is_replaced_by_one_of_the_administrator(tmp_path: Path) -> None:
    put(tmp_path, ETC, "60-score.oom", "score rss + swap + pgtables\n")
    assert scores(rulefiles.system(tmp_path))[()] == "score rss + swap + pgtables"


def test_two_scores_in_one_directory_are_an_error_that_names_both(root: Path) -> None:
    first = put(root, ETC, "10-x.oom", "score rss\n")
    second = put(root, ETC, "20-y.oom", "\nscore swap\n")
    (one,) = checker.check(rulefiles.system(root).files).diagnostics
    assert one.code == "OOM209"
    assert one.source.name == str(second)
    assert f"{first}:1" in one.message


def test_two_scores_in_one_lower_directory_are_an_error_even_if_replaced(root: Path) -> None:
    put(root, USR, "10-x.oom", "score rss\n")
    put(root, USR, "20-y.oom", "score swap\n")
    put(root, ETC, "30-z.oom", "score total_vm\n")
    codes = [one.code for one in checker.check(rulefiles.system(root).files).diagnostics]
    assert codes == ["OOM209"]


def test_the_same_score_twice_in_one_directory_is_no_mistake(root: Path) -> None:
    put(root, ETC, "10-x.oom", "score rss + swap\n")
    put(root, ETC, "20-y.oom", "score  rss + swap  # as in x\n")
    assert scores(rulefiles.system(root)) == {(): "score rss + swap"}


@pytest.mark.parametrize("where", [USR, ETC])
def test_a_score_of_a_linked_preset_yields_to_that_of_the_administrator(
    where: str, root: Path
) -> None:
    """Whoever has written a score of his own keeps it when a preset gets one."""
    preset = put(root, f"{where}/presets", "desktop.oom", "score swap\n")
    put(root, USR, "10-x.oom", "score total_vm\n")
    (root / ETC).mkdir(parents=True, exist_ok=True)
    (root / ETC / "50-desktop.oom").symlink_to(os.path.relpath(preset, root / ETC))
    assert scores(rulefiles.system(root)) == {(): "score swap"}
    put(root, ETC, "60-score.oom", "score rss\n")
    assert scores(rulefiles.system(root)) == {(): "score rss"}


def test_a_file_that_is_named_itself_takes_precedence_over_a_directory(tmp_path: Path) -> None:
    put(tmp_path, "d", "10-x.oom", "score total_vm\n")
    preset = put(tmp_path, "d/presets", "x.oom", "score swap\n")
    for named in ([tmp_path / "d", preset], [preset, tmp_path / "d"]):
        assert scores(rulefiles.given([str(path) for path in named])) == {(): "score swap"}
    own = put(tmp_path, ".", "own.oom", "score rss\n")
    assert scores(rulefiles.given([str(tmp_path / "d"), str(preset), str(own)])) == {
        (): "score rss"
    }


@pytest.mark.parametrize("what", ["define x = {}", 'list x = "{}"'])
def test_a_definition_in_a_higher_directory_replaces_that_in_a_lower(what: str, root: Path) -> None:
    one, two = ("uid == 1", "uid == 2") if "define" in what else ("uno", "due")
    use = "spare x" if "define" in what else "spare comm @x"
    put(root, USR, "10-x.oom", what.format(one) + "\n")
    put(root, USR, "20-use.oom", use + "\n")
    put(root, ETC, "90-x.oom", what.format(two) + "\n")
    program = compiler.compile_rules(rulefiles.system(root))
    said = repr((program.definitions.get("x"), program.scopes))
    assert ("['number', 2]" if "define" in what else "'due'") in said
    assert ("['number', 1]" if "define" in what else "'uno'") not in said


@pytest.mark.parametrize("what", ["define x = uid == {}", 'list x = "{}"'])
def test_two_definitions_in_one_directory_are_an_error_that_names_both(
    what: str, root: Path
) -> None:
    first = put(root, ETC, "10-x.oom", what.format(1) + "\n")
    second = put(root, ETC, "20-y.oom", what.format(2) + "\n")
    (one,) = checker.check(rulefiles.system(root).files).diagnostics
    assert one.code == "OOM206"
    assert one.source.name == str(second) and f"{first}:1" in one.message


def test_a_rule_set_with_one_bad_file_is_refused_whole(root: Path) -> None:
    put(root, ETC, "10-x.oom", "never kil uid 0\n")
    put(root, ETC, "20-y.oom", "never kill uid 0\n")
    with pytest.raises(Rejected) as rejected:
        compiler.compile_rules(rulefiles.system(root))
    assert [one.code for one in rejected.value.diagnostics] == ["OOM101"]


# --- --rules -----------------------------------------------------------------------


def test_rules_given_by_hand_are_files_and_directories_together(tmp_path: Path) -> None:
    one = put(tmp_path, ".", "anything.txt", "spare uid 1\n")
    put(tmp_path, "d", "10-x.oom", "spare uid 2\n")
    put(tmp_path, "d", "20-y.oom", "")
    put(tmp_path, "d", "README", "no rule")
    found = rulefiles.given([str(one), str(tmp_path / "d")])
    assert sorted(texts(found).values()) == ["spare uid 1\n", "spare uid 2\n"]
    assert found.masked == (tmp_path / "d" / "20-y.oom",)


def factors(found: Found) -> list[Fraction]:
    checked = checker.check(found.files)
    assert checked.diagnostics == []
    return [rule.factor for rule in checked.rules]


@pytest.mark.parametrize("again", ["same", "roundabout", "directory"])
def test_a_file_that_is_given_twice_counts_once(again: str, tmp_path: Path) -> None:
    path = put(tmp_path, "d", "x.oom", "score rss\nprefer uid 1 by 3\n")
    second = {
        "same": path,
        "roundabout": tmp_path / "d" / ".." / "d" / "x.oom",
        "directory": tmp_path / "d",
    }[again]
    found = rulefiles.given([str(path), str(second)])
    assert factors(found) == [Fraction(3)]


def test_two_scores_given_by_hand_are_an_error(tmp_path: Path) -> None:
    one = put(tmp_path, "a", "x.oom", "score rss\n")
    two = put(tmp_path, "b", "y.oom", "score swap\n")
    codes = [d.code for d in checker.check(rulefiles.given([str(two), str(one)]).files).diagnostics]
    assert codes == ["OOM209"]


def test_a_path_that_is_not_there_ends_it(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="nonexistent"):
        rulefiles.given([str(tmp_path / "nonexistent")])


def test_an_empty_file_given_by_hand_has_no_rules_and_is_no_error(tmp_path: Path) -> None:
    found = rulefiles.given([str(put(tmp_path, ".", "x.oom", ""))])
    assert factors(found) == [] and found.diagnostics == ()


def test_a_pipe_given_by_hand_is_read() -> None:
    """A shell gives ``--rules <(generate)`` such a path."""
    reading, writing = os.pipe()
    try:
        os.write(writing, b"spare uid 1 by 5\n")
        os.close(writing)
        assert factors(rulefiles.given([f"/dev/fd/{reading}"])) == [Fraction(1, 5)]
    finally:
        os.close(reading)


# --- bytes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"\xef\xbb\xbfspare uid 1", b"spare uid 1\r\n", b"# \xf0\x9f\x92\x80\nspare uid 1"],
    ids=["byte order mark", "CRLF", "emoji"],
)
def test_text_of_any_editor_is_read(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.oom").write_bytes(data)
    assert factors(rulefiles.given([str(tmp_path)])) == [Fraction(1, 4)]


@pytest.mark.parametrize(
    ("data", "line", "column"),
    [
        (b"\xff\xfes\0p\0", 1, 1),
        (b"spare uid 0\n# \xe4", 2, 3),
        (b"\xef\xbb\xbf# \xe4", 1, 3),
        ("# \u00e4\u00f6".encode() + b"\xc3", 1, 5),
    ],
    ids=["UTF-16", "Latin-1", "behind a mark", "cut short"],
)
def test_other_bytes_are_refused_with_their_place(
    data: bytes, line: int, column: int, tmp_path: Path
) -> None:
    (tmp_path / "x.oom").write_bytes(data)
    found = rulefiles.given([str(tmp_path)])
    (one,) = found.diagnostics
    assert one.code == "OOM002"
    assert one.source.position(one.span.start) == (line, column)
    assert [file.name for file in found.files] == [VOCABULARY]


def test_a_zero_byte_is_a_mistake_of_its_line(tmp_path: Path) -> None:
    (tmp_path / "x.oom").write_bytes(b"spare uid 1\nspare\0uid 2\n")
    source = rulefiles.read_file(tmp_path / "x.oom")
    assert isinstance(source, RuleText)
    (one,) = checker.check([source]).diagnostics
    assert (one.code, source.position(one.span.start)) == ("OOM103", (2, 6))
