"""What is answered to a sentence that was to say when, and does not: GUARDS.

``tests/language/test_proposed.py`` tries what stands in backquotes.
"""

from __future__ import annotations

import random

import pytest

from oomrules.language import checker
from oomrules.language.text import RuleText
from tests.language.test_diagnostics import found

LOW = "host.available < 5%"

# A wrong sentence, and words of the help.
GUARDS = {
    # Words in another order, and other words.
    f"when {LOW} then kill": f"`kill when {LOW}`",
    f"when {LOW} kill": f"`kill when {LOW}`",
    f"if {LOW} then terminate": f"`terminate when {LOW}`",
    f"if {LOW}: warn": f"`warn when {LOW}`",
    f"when {LOW}": "`kill when …`, `terminate when …` or `warn when …`",
    f"for 10s kill when {LOW}": f"`kill when {LOW} for 10s`",
    f"terminate if {LOW}": f"`terminate when {LOW}`",
    f"kill if {LOW}": f"`kill when {LOW}`",
    f"notify when {LOW}": f"`warn when {LOW}`",
    f"sigterm when {LOW}": f"`terminate when {LOW}`",
    f"sigkill if {LOW}": f"`kill when {LOW}`",
    "stop": "`terminate when …`",
    "warn at 10%": "`warn when host.available < 10%`",
    "warn 10%": "`warn when host.available < 10%`",
    "kill below 5%": f"`kill when {LOW}`",
    "kill at 5 percent": f"`kill when {LOW}`",
    "terminate at host.swap_free < 10%": "`terminate when host.swap_free < 10%`",
    f"kill for 10s when {LOW}": f"`kill when {LOW} for 10s`",
    f"terminate within 5s when {LOW}": f"`terminate when {LOW} within 10s`",
    "terminate": "`terminate when CONDITION [for DURATION] [within DURATION] [then stop]`",
    "warn": "`warn when CONDITION [for DURATION]`",
    "kill when": "`kill when CONDITION [for DURATION] [within DURATION] [then stop]`",
    "kill": "`kill when …`",
    # Whom.
    f"kill anything when {LOW}": f"`kill when {LOW}`",
    f'terminate user "x" when {LOW}': f"`terminate when {LOW}`",
    "terminate anything when rss > 1GiB": "not whom",
    "warn first anything": "not whom",
    f"kill in user.slice when {LOW}": f"`in user.slice: kill when {LOW}`",
    f'kill "a*.service" when {LOW}': f'`in "a*.service": kill when {LOW}`',
    f"kill when {LOW} in user.slice": f"`in user.slice: kill when {LOW}`",
    f"terminate when {LOW} in nginx": f"`in nginx.service: terminate when {LOW}`",
    f"kill when {LOW} with SYS_ADMIN": "names no process",
    f'kill when {LOW} under comm "x"': "names no process",
    f"kill when {LOW} by 2": "names no process",
    # How long.
    f"kill when {LOW} for 10": "`10s`",
    f"kill when {LOW} for 20 s": "`20s`",
    f"kill when {LOW} for 20sec": "`20s`",
    f"kill when {LOW} for 0s": "`for 10s`",
    f"kill when {LOW} for 8d": "`for 10s`",
    f"kill when {LOW} for 5%": "`10s`",
    f"kill when {LOW} for 100MiB": "`10s`",
    f"kill when {LOW} during 5s": "`for 5s`",
    f"kill when {LOW} since 5 seconds": "`for 5s`",
    f"kill when {LOW} for more than 5s": "`for 5s`",
    f"kill when {LOW} for at least 1min": "`for 1min`",
    f"kill when {LOW} for": "`for 10s`",
    f"terminate when {LOW} after 5s": "`within 5s`",
    f"terminate when {LOW} in 5s": "`within 5s`",
    f"kill when {LOW} for 5s for 6s": "remove one",
    "kill when for 10s": "the condition comes first",
    # What then.
    f"terminate when {LOW} then kill": "`within 10s`",
    f"terminate when {LOW} then kill after 20s": "`within 20s`",
    f"warn when {LOW} then kill": "`kill when …`",
    f"kill when {LOW} then": "`then stop`",
    f"kill when {LOW} then stop it": "`then stop`",
    # Names.
    "kill when memory < 5%": f"`{LOW}`",
    "kill when memory > 95%": f"`{LOW}`",
    "kill when available < 5%": f"`{LOW}`",
    "kill when MemAvailable <= 5%": "`host.available <= 5%`",
    "kill when free < 500MiB": "`host.available`",
    "kill when mem_used >= 90%": "`host.available <= 10%`",
    "kill when memory < 5": f"`{LOW}`",
    "kill when available > 5%": f"`{LOW}`",
    "kill when memory > 12.5%": "which is `host.available`, by `<`",
    "kill when used >= 87.5%": "`host.available <= 12.5%`",
    "kill when memory > 90": "`host.available < 10%`",
    "in x.slice: kill when memory > 90": "`scope.memory`",
    "kill when used > 7GiB": "what is left, which is `host.available`, by `<`",
    "in x.slice: kill when used > 7GiB": "`scope.memory`",
    "kill when swap >= 1GiB": "what is left, which is `host.swap_free`, by `<=`",
    "kill when swap < 5%": "`host.swap_free < 5%`",
    "kill when SwapFree < 10%": "`host.swap_free < 10%`",
    "kill when psi > 10": "`host.stall > 10%`",
    "kill when PSI full avg10 > 10": "`host.stall > 10%`",
    "kill when memory some avg10 > 10": "`host.pressure > 10%`",
    "in x.slice: kill when full avg10 > 10": "`scope.stall > 10%`",
    "kill when host.psi > 10%": "`host.stall > 10%`",
    "kill when avg10 > 10": "`host.pressure > 10%`",
    "in x.slice: kill when stall > 10%": "`scope.stall > 10%`",
    "in x.slice: kill when memory > 1GiB": "`scope.memory`",
    "in x.slice: kill when memory > 80%": "`scope.memory > 80%`",
    "in x.slice: kill when memory.current > 1GiB": "`scope.memory`",
    "kill when scope.memory > 1GiB": "`in user.slice: kill when scope.memory > 512MiB`",
    # A process.
    "kill when rss > 1GiB": "`prefer anything when rss > 1GiB`",
    "in x.slice: kill when rss > 1GiB": "`scope.memory`",
    "in x.slice: kill when unit.pressure > 5%": "`scope.pressure > 5%`",
    "kill when unit.memory > 1GiB": "`host.available`",
    "kill when uid 0": "`prefer anything when uid 0`",
    'kill when comm == "x" and host.foo > 5%': "`host.available`",
    "kill when cap(SYS_ADMIN)": "`prefer anything when cap(SYS_ADMIN)`",
    "define large = rss > 1GiB\nkill when large": "`prefer anything when rss > 512MiB`",
    # Quantities and conditions.
    "kill when host.available < 5": f"`{LOW}`",
    "kill when host.available < 5GB": "`5GiB`",
    "kill when host.available < 500": "`512MiB`",
    "kill when host.stall > 10": "`host.stall > 10%`",
    "kill when host.available": "`host.available < 10%`",
    f"kill when {LOW}, host.swap_free < 5%": "`and`",
    f"kill when {LOW} host.swap_free < 5%": "`and`",
    f"kill when {LOW} && host.swap_free < 5%": "`and`",
    "kill when host.available < 5% of host.memory": "`host.memory / 20`",
    # Another tool.
    "-m 5": "`terminate when host.available <= 5% and (host.swap == 0B or host.swap_free <= 10%)`",
    "-m 4,2 -s 20,10": "`terminate when host.available <= 4% and "
    "(host.swap == 0B or host.swap_free <= 20%)`",
}


@pytest.mark.parametrize("text", GUARDS)
def test_a_sentence_that_was_to_say_when_is_answered_with_how_it_says_so(text: str) -> None:
    (one,) = found(text)
    assert GUARDS[text] in one.help, one


def test_a_rule_that_cannot_be_meant_is_not_proposed() -> None:
    (one,) = found("in x.slice: kill when rss > 1GiB and foo > 2")
    assert "as in" in one.help
    assert "foo" not in one.help


_PIECES = (
    *("when ", "if ", "for ", "within ", "then ", "stop ", "kill ", "terminate ", "warn ", "5s "),
    *(
        "10% ",
        "host.available ",
        "scope.stall ",
        "< ",
        "> ",
        "and ",
        "in a.slice: ",
        "in b.slice {",
    ),
    *(
        "}",
        "#",
        '"',
        "\n",
        "\\\n",
        "(",
        ")",
        ",",
        "psi ",
        "full avg10 ",
        "rss ",
        "anything ",
        "\u00e9",
    ),
)


def test_whatever_is_said_of_guards_is_answered_at_a_place_in_it() -> None:
    rng = random.Random(5)
    texts = [*GUARDS]
    for _ in range(3000):
        text = rng.choice(texts)
        for _ in range(rng.randint(1, 4)):
            at = rng.randint(0, len(text))
            text = text[:at] + rng.choice(_PIECES) + text[at + rng.randint(0, 5) :]
        for one in checker.check([RuleText("f.oom", text)]).diagnostics:
            assert 0 <= one.span.start <= one.span.end <= len(text)
            assert one.help, (text, one)
