"""Whatever the text, the linter answers, and its fixes lead nowhere worse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules import resources
from oomrules.commands.parts import findings
from oomrules.language import rulefiles
from oomrules.language.diagnostics import Diagnostic, Level
from oomrules.language.rulefiles import Found
from oomrules.language.text import RuleText
from oomrules.lint import fixes, linter, meaning, sarif
from tests.language.test_guard_help import GUARDS
from tests.lint import pages, sarif_schema
from tests.lint.checks.test_checks import RIGHT, WRONG
from tests.lint.test_fixes import MENDED
from tests.oracle.strategies import thorough

CHECKOUT = Path(__file__).parent.parent.parent

_LINES = st.sampled_from(
    sorted(
        {
            text
            for texts in [*WRONG.values(), *RIGHT.values(), [*MENDED], [*GUARDS]]
            for text in texts
        }
    )
)
_BITS = st.sampled_from(
    [
        *'"#{}@*()[]\\,:%=!~\n\u00a0\u202e\u0441é',
        "and ",
        "when ",
        "by 1",
        "for 5s ",
        "kill when host.free < 5% ",
        " # oomrules: allow OOM511",
    ]
)


@st.composite
def broken(draw: st.DrawFn) -> str:
    """Write lines of all kinds, and then damage them."""
    text = "\n".join(draw(st.lists(_LINES, max_size=5)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.integers(0, 6)))
        text = text[:at] + draw(_BITS | st.just("")) + text[end:]
    return text


def lint(text: str) -> list[Diagnostic]:
    found = Found((RuleText("x.oom", text),))
    return linter.lint(found, host=pages.host(found))[1]


@thorough
@given(broken())
def test_any_text_has_findings_inside_it_and_every_form_can_say_them(text: str) -> None:
    found = lint(text)
    for one in found:
        assert 0 <= one.span.start <= one.span.end <= len(one.source.text)
        for edit in one.fix.edits if one.fix else ():
            assert 0 <= edit.span.start <= edit.span.end <= len(text)
        findings.concise(one)
        json.dumps(findings.as_data(one))
    assert sarif_schema.problems(sarif.log(found)) == []


@thorough
@given(broken())
def test_fixes_come_to_an_end_and_leave_no_more_errors_than_before(text: str) -> None:
    found = Found((RuleText("x.oom", text),))
    once = fixes.fix(found, linter.lint)
    assert fixes.fix(once, linter.lint).files == once.files

    def errors(files: Found) -> int:
        return sum(one.level is Level.ERROR for one in linter.lint(files)[1])

    assert errors(once) <= errors(found)


def test_the_time_grows_with_the_rules_and_no_faster() -> None:
    def text(size: int) -> RuleText:
        lines = [
            f'list l{number} = "a{number}", "b{number}*"\n'
            f"define d{number} = rss > {number + 1}MiB or uid == {number}\n"
            f'spare comm @l{number} when d{number} and cmdline ~ "x{number}" by {number + 2}\n'
            f"in app-{number}.service: never kill uid {number} with SYS_ADMIN"
            for number in range(size // 4)
        ]
        return RuleText(f"{size}.oom", "\n".join(lines))

    def cost(size: int) -> int:
        """Count the calls of functions, which a busy machine does not change."""
        calls = 0

        def count(frame: object, event: str, argument: object) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(count)
        try:
            found = linter.lint(Found((text(size),)))[1]
        finally:
            sys.setprofile(None)
        assert found == []
        return calls

    cost(40)  # the parser is made once
    assert cost(1000) < 6 * cost(250)


def test_only_the_linter_s_own_commands_load_it(tmp_path: Path) -> None:
    rules = tmp_path / "x.oom"
    rules.write_text("spare uid 0\n")
    snapshot = CHECKOUT / "tests" / "data" / "host.jsonl"
    for arguments in (
        ["rank", "--rules", str(rules), "--snapshot", str(snapshot)],
        ["cat", "--rules", str(rules)],
    ):
        code = (
            "import sys; from oomrules.commands.main import main; "
            f"main({arguments!r}); "
            "print([m for m in sys.modules if m.startswith(('oomrules.lint', 'oomrules.testing'))])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], text=True, capture_output=True, cwd=CHECKOUT, check=True
        )
        assert done.stdout.splitlines()[-1] == "[]"


def test_shipped_rules_and_presets_are_clean_together_and_apart() -> None:
    folder = resources.rules()
    presets = sorted(map(str, (folder / "presets").glob("*.oom")))
    # The kernel's own measure takes the place of any other.
    beside = [preset for preset in presets if not preset.endswith("/kernel.oom")]
    assert len(beside) == len(presets) - 1
    for chosen in ([], beside, *([one] for one in presets)):
        assert linter.lint(rulefiles.given([str(folder), *chosen]), (folder,))[1] == []


def test_a_preset_needs_no_other_file_which_somebody_may_have_masked() -> None:
    for preset in (resources.rules() / "presets").glob("*.oom"):
        assert linter.lint(rulefiles.given([str(preset)]))[1] == []


def test_questions_about_meaning_end_where_they_take_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Found((RuleText("a.oom", 'never kill uid 0\nnever kill uid 0 comm "a"\n'),))
    claimed = {one.code for one in linter.lint(found)[1]}
    assert "OOM612" in claimed
    monkeypatch.setattr(meaning, "_MOST_SECONDS", -1)
    rules, findings_ = linter.lint(found)
    assert not [one for one in findings_ if one.code.startswith("OOM6")]
    # What is not claimed is said.
    assert any("too large to decide" in note for note in rules.meaning.notes())
