"""What the parser reads: every form of a sentence, its place, and what follows a bad one."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from oomrules.language import parser, syntax
from oomrules.language.syntax import (
    And,
    Arithmetic,
    Block,
    Call,
    Compared,
    Define,
    Equals,
    Holding,
    Kind,
    ListName,
    ListOf,
    Matches,
    Member,
    Membership,
    Minus,
    Name,
    Not,
    Or,
    Quantity,
    Rule,
    Score,
    Searched,
    Selector,
    Text,
    Under,
    When,
    Whole,
    With,
)
from oomrules.language.text import RuleText, Span

AT = Span(0, 0)  # spans do not count when trees are compared


def name(word: str) -> Name:
    return Name(AT, word)


def number(written: str) -> Quantity:
    return Quantity(AT, written)


def text(value: str) -> Text:
    return Text(AT, value)


def unit(name: str, relation: syntax.Relation = syntax.Relation.NAMED) -> syntax.Target:
    return syntax.Target(AT, text(name), relation)


def whom(*parts: syntax.Expression | syntax.Clause) -> Selector:
    clauses = tuple(part for part in parts if isinstance(part, With | When | Under))
    terms = tuple(part for part in parts if not isinstance(part, With | When | Under))
    return Selector(AT, terms, clauses)


def uid(value: str) -> Equals:
    return Equals(AT, name("uid"), number(value))


def never(*parts: syntax.Expression | syntax.Clause) -> Rule:
    return Rule(AT, Kind.NEVER, whom(*parts))


def when(condition: syntax.Expression) -> When:
    return When(AT, condition)


def under(condition: syntax.Expression, *, parent: bool = False, negative: bool = False) -> Under:
    return Under(AT, parent, condition, negative)


def compared(left: syntax.Expression, operator: str, right: syntax.Expression) -> Compared:
    return Compared(AT, operator, left, right)


def having(holding: Holding, *capabilities: str) -> With:
    return With(AT, holding, tuple(map(name, capabilities)))


def parse(written: str) -> tuple[syntax.Statement, ...]:
    """Parse a text that must be without fault."""
    statements, diagnostics = parser.parse(RuleText("f", written))
    assert [d.message for d in diagnostics] == []
    return statements


def broken(written: str) -> tuple[tuple[syntax.Statement, ...], list[tuple[int, str]]]:
    """Parse a text with faults; give the good statements, and line and code of each fault."""
    source = RuleText("f", written)
    statements, diagnostics = parser.parse(source)
    return statements, [(source.position(d.span.start)[0], d.code) for d in diagnostics]


POSITIVE = compared(name("nice"), ">", number("0"))
ROOT = compared(name("uid"), "==", number("0"))


# --- statements ------------------------------------------------------------------

STATEMENTS: dict[str, syntax.Statement] = {
    "never kill uid 0": Rule(AT, Kind.NEVER, whom(uid("0"))),
    "only kill uid 0": Rule(AT, Kind.ONLY, whom(uid("0"))),
    "kill first uid 0": Rule(AT, Kind.FIRST, whom(uid("0"))),
    "kill last uid 0": Rule(AT, Kind.LAST, whom(uid("0"))),
    "prefer uid 0": Rule(AT, Kind.PREFER, whom(uid("0"))),
    "prefer uid 0 by 3": Rule(AT, Kind.PREFER, whom(uid("0")), number("3")),
    "spare uid 0": Rule(AT, Kind.SPARE, whom(uid("0"))),
    "spare uid 0 by 1.5": Rule(AT, Kind.SPARE, whom(uid("0")), number("1.5")),
    "kill first uid 0 by 3": Rule(AT, Kind.FIRST, whom(uid("0")), number("3")),
    "kill last uid 0 by 1.5": Rule(AT, Kind.LAST, whom(uid("0")), number("1.5")),
    "kill whole a.service": Whole(AT, unit("a.service")),
    'kill whole "a*"': Whole(AT, unit("a*")),
    "kill whole user unit a.scope": Whole(AT, unit("a.scope", syntax.Relation.OF_USER)),
    "kill whole units part of a.service": Whole(AT, unit("a.service", syntax.Relation.PART_OF)),
    "in a.slice: kill whole b.service": Block(AT, unit("a.slice"), (Whole(AT, unit("b.service")),)),
    "in a.slice { kill whole b.service }": Block(
        AT, unit("a.slice"), (Whole(AT, unit("b.service")),)
    ),
    "score rss": Score(AT, name("rss")),
    "define idle = nice > 0": Define(AT, name("idle"), POSITIVE),
    'list shells = "sh"': ListOf(AT, name("shells"), (text("sh"),)),
    'list shells = "sh", "*sh"': ListOf(AT, name("shells"), (text("sh"), text("*sh"))),
    "in a.slice: never kill uid 0": Block(AT, unit("a.slice"), (never(uid("0")),)),
    "in a.slice { never kill uid 0 }": Block(AT, unit("a.slice"), (never(uid("0")),)),
    'in "a b.scope" {}': Block(AT, unit("a b.scope"), ()),
    # The two sentences that the owner of the project asked for.
    "never kill uid 0 with RAWIO": never(uid("0"), having(Holding.ALL, "RAWIO")),
    "prefer niced": Rule(AT, Kind.PREFER, whom(name("niced"))),
}


@pytest.mark.parametrize("sentence", STATEMENTS)
def test_each_statement_becomes_its_own_kind_of_data(sentence: str) -> None:
    assert parse(sentence) == (STATEMENTS[sentence],)


SELECTORS: dict[str, Selector] = {
    "anything": whom(),
    "niced": whom(name("niced")),
    "uid 0": whom(uid("0")),
    "rss 512MiB": whom(Equals(AT, name("rss"), number("512MiB"))),
    "oom_score_adj -1000": whom(Equals(AT, name("oom_score_adj"), number("1000"), negative=True)),
    'comm "ssh*"': whom(Matches(AT, name("comm"), text("ssh*"))),
    'unit.description "x"': whom(Matches(AT, name("unit.description"), text("x"))),
    "comm @shells": whom(Member(AT, name("comm"), ListName(AT, "shells"))),
    'niced uid 0 comm "a" user @u': whom(
        name("niced"),
        uid("0"),
        Matches(AT, name("comm"), text("a")),
        Member(AT, name("user"), ListName(AT, "u")),
    ),
    "anything with KILL": whom(having(Holding.ALL, "KILL")),
    "anything with KILL, CAP_CHOWN": whom(having(Holding.ALL, "KILL", "CAP_CHOWN")),
    "anything with any of KILL, CHOWN": whom(having(Holding.ANY, "KILL", "CHOWN")),
    "anything without KILL": whom(having(Holding.NONE, "KILL")),
    "anything when nice > 0": whom(when(POSITIVE)),
    "nice > 0": whom(POSITIVE),
    "niced nice > 0 uid 0": whom(name("niced"), POSITIVE, uid("0")),
    "not uid 0 not niced": whom(Not(AT, uid("0")), Not(AT, name("niced"))),
    "uid 0 or niced": whom(Or(AT, (uid("0"), name("niced")))),
    "uid 0 and niced": whom(And(AT, (uid("0"), name("niced")))),
    # Side by side binds tighter than `and`, and that tighter than `or`.
    "uid 0 niced and nice > 0 or niced": whom(
        Or(AT, (And(AT, (And(AT, (uid("0"), name("niced"))), POSITIVE)), name("niced")))
    ),
    "(uid 0 or niced) nice > 0": whom(Or(AT, (uid("0"), name("niced"))), POSITIVE),
    "uid 0 (niced or nice > 0)": whom(uid("0"), Or(AT, (name("niced"), POSITIVE))),
    "not (uid 0 niced)": whom(Not(AT, And(AT, (uid("0"), name("niced"))))),
    "(uid 0 or niced) when nice > 0": whom(Or(AT, (uid("0"), name("niced"))), when(POSITIVE)),
    "uid 0 under niced": whom(uid("0"), under(name("niced"))),
    "uid 0 not under niced nice > 0": whom(
        uid("0"), under(And(AT, (name("niced"), POSITIVE)), negative=True)
    ),
    "anything under not uid 0 under (uid 0 or niced) when niced": whom(
        under(Not(AT, uid("0"))), under(Or(AT, (uid("0"), name("niced")))), when(name("niced"))
    ),
    "anything when niced under uid 0": whom(when(name("niced")), under(uid("0"))),
    "anything child of uid 0 not  child  of niced": whom(
        under(uid("0"), parent=True), under(name("niced"), parent=True, negative=True)
    ),
    "niced with KILL without CHOWN when nice > 0 when uid == 0": whom(
        name("niced"),
        having(Holding.ALL, "KILL"),
        having(Holding.NONE, "CHOWN"),
        when(POSITIVE),
        when(ROOT),
    ),
}


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("start", ["never kill", "only kill", "kill first", "kill last"])
def test_each_selector_is_read_after_each_rule(start: str, selector: str) -> None:
    (rule,) = parse(f"{start} {selector}")
    assert rule == Rule(AT, Kind(start), SELECTORS[selector])


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("start", ["prefer", "spare"])
def test_a_factor_ends_each_selector(start: str, selector: str) -> None:
    (rule,) = parse(f"{start} {selector} by 8")
    assert rule == Rule(AT, Kind(start), SELECTORS[selector], number("8"))


def test_the_texts_of_a_glob_are_kept_as_they_are_written() -> None:
    (rule,) = parse(r'never kill unit "dev-disk\x2d1.swap" comm "say \"hi\"" user ""')
    assert isinstance(rule, Rule)
    values = [term.glob.value for term in rule.selector.terms if isinstance(term, Matches)]
    assert values == [r"dev-disk\x2d1.swap", 'say "hi"', ""]


def test_a_hash_inside_a_text_begins_no_comment() -> None:
    assert parse('never kill comm "a#b" # the rest is one') == (
        never(Matches(AT, name("comm"), text("a#b"))),
    )


def test_braces_inside_a_text_open_and_close_nothing() -> None:
    assert parse('in a.slice {\nnever kill comm "}{"\n}\n') == (
        Block(AT, unit("a.slice"), (never(Matches(AT, name("comm"), text("}{"))),)),
    )


# --- expressions -----------------------------------------------------------------


def arithmetic(left: syntax.Expression, operator: str, right: syntax.Expression) -> Arithmetic:
    return Arithmetic(AT, operator, left, right)


def call(function: str, *arguments: syntax.Expression) -> Call:
    return Call(AT, name(function), arguments)


a, b, c = name("a"), name("b"), name("c")

EXPRESSIONS: dict[str, syntax.Expression] = {
    "512MiB": number("512MiB"),
    "1_000": number("1_000"),
    "25%": number("25%"),
    "0.5GiB": number("0.5GiB"),
    "a": a,
    "unit.memory": name("unit.memory"),
    "-a": Minus(AT, a),
    "--a": Minus(AT, Minus(AT, a)),
    "a + b": arithmetic(a, "+", b),
    "a - b - c": arithmetic(arithmetic(a, "-", b), "-", c),
    "a / b / c": arithmetic(arithmetic(a, "/", b), "/", c),
    "a + b * c": arithmetic(a, "+", arithmetic(b, "*", c)),
    "a * b + c": arithmetic(arithmetic(a, "*", b), "+", c),
    "(a + b) * c": arithmetic(arithmetic(a, "+", b), "*", c),
    "a - -b": arithmetic(a, "-", Minus(AT, b)),
    "-a * b": arithmetic(Minus(AT, a), "*", b),
    "root(a / b)": call("root", arithmetic(a, "/", b)),
    "root(root(a))": call("root", call("root", a)),
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_arithmetic_binds_as_everybody_expects(expression: str) -> None:
    assert parse(f"score {expression}") == (Score(AT, EXPRESSIONS[expression]),)


CONDITIONS: dict[str, syntax.Expression] = {
    **{f"a {operator} b": compared(a, operator, b) for operator in "== != < <= > >=".split()},
    "a + b > c": compared(arithmetic(a, "+", b), ">", c),
    "a in @l": Membership(AT, a, ListName(AT, "l")),
    'a ~ "^x{2}$"': Searched(AT, a, text("^x{2}$")),
    'a == "b"': compared(a, "==", text("b")),
    "cap(SYS_ADMIN)": call("cap", name("SYS_ADMIN")),
    "not a": Not(AT, a),
    "not not a": Not(AT, Not(AT, a)),
    "not a > b": Not(AT, compared(a, ">", b)),
    "a and b and c": And(AT, (a, b, c)),
    "a or b or c": Or(AT, (a, b, c)),
    "a or b and c": Or(AT, (a, And(AT, (b, c)))),
    "a and b or c": Or(AT, (And(AT, (a, b)), c)),
    "(a or b) and c": And(AT, (Or(AT, (a, b)), c)),
    "not a and b": And(AT, (Not(AT, a), b)),
    "not (a and b)": Not(AT, And(AT, (a, b))),
    "a 5": Equals(AT, a, number("5")),
    "a -5": Equals(AT, a, number("5"), negative=True),
    "(a - 5)": Equals(AT, a, number("5"), negative=True),
    "not a -5": Not(AT, Equals(AT, a, number("5"), negative=True)),
    "(a - 5) > b": compared(arithmetic(a, "-", number("5")), ">", b),
    'a "x" and b @l or not c': Or(
        AT,
        (
            And(AT, (Matches(AT, a, text("x")), Member(AT, b, ListName(AT, "l")))),
            Not(AT, c),
        ),
    ),
    "max(a, b + 1, c) > 2": compared(
        call("max", a, arithmetic(b, "+", number("1")), c), ">", number("2")
    ),
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditions_bind_not_before_and_before_or(condition: str) -> None:
    assert parse(f"define x = {condition}") == (Define(AT, name("x"), CONDITIONS[condition]),)
    assert parse(f"prefer anything when {condition} by 3") == (
        Rule(AT, Kind.PREFER, whom(when(CONDITIONS[condition])), number("3")),
    )


@pytest.mark.parametrize("word", ["nicely", "in_use", "bypass", "never.kill", "or_", "Never"])
def test_a_name_may_begin_with_a_keyword(word: str) -> None:
    assert parse(f"never kill {word}") == (never(name(word)),)


@pytest.mark.parametrize(
    "word",
    [
        *("under", "child", "whole", "max", "min"),
        *("terminate", "warn", "for", "within", "then", "stop"),
    ],
)
def test_a_newer_word_is_still_a_name(word: str) -> None:
    named = name(word)
    assert parse(f"define {word} = {word} and nice > 0") == (
        Define(AT, named, And(AT, (named, POSITIVE))),
    )
    for written, terms in {
        word: (named,),
        f'{word} comm "a"': (named, Matches(AT, name("comm"), text("a"))),
        f"uid 0 {word}": (uid("0"), named),
        f"{word} and {word} and nice > 0": (And(AT, (named, named, POSITIVE)),),
        f"not {word}": (Not(AT, named),),
    }.items():
        assert parse(f"never kill {written} when {word}") == (
            Rule(AT, Kind.NEVER, Selector(AT, terms, (when(named),))),
        )


def guard(
    action: syntax.Action, *, lasting: str = "", within: str = "", stop: bool = False
) -> syntax.Guard:
    return syntax.Guard(
        AT,
        action,
        compared(name("host.swap"), "<", number("5%")),
        number(lasting) if lasting else None,
        number(within) if within else None,
        stop,
    )


@pytest.mark.parametrize("action", syntax.Action)
def test_the_clauses_of_a_guard_stand_in_any_order(action: syntax.Action) -> None:
    clauses = ("for 20s", "within 1min30s", "then stop")
    whole = guard(action, lasting="20s", within="1min30s", stop=True)
    start = f"{action.value} host.swap < 5%"
    for order in itertools.permutations(clauses):
        assert parse(f"{start} {' '.join(order)}") == (whole,)
        assert parse(f"{start} \\\n  " + " \\\n  ".join(order) + "  # a comment") == (whole,)
        assert parse(f"in a.slice {{ {start} {' '.join(order)} }}") == (
            Block(AT, unit("a.slice"), (whole,)),
        )
    assert parse(start) == (guard(action),)
    assert parse(f"{start} for 20s") == (guard(action, lasting="20s"),)
    assert parse(f"{start} then stop") == (guard(action, stop=True),)


@pytest.mark.parametrize(
    "twice", ["for 5s for 5s", "then stop then stop", "within 5s for 1s within 5s"]
)
def test_a_clause_of_a_guard_stands_once(twice: str) -> None:
    assert broken(f"kill when host.swap < 5% {twice}\nspare uid 1") == (
        (Rule(AT, Kind.SPARE, whom(uid("1"))),),
        [(1, "OOM101")],
    )


# What was a rule before there were guards, with their words for names.
_OLD = ("terminate", "warn", "for", "within", "then", "stop")
_FORMS_OF_OLD = (
    "prefer {0} {1}",
    "prefer ({0} {1})",
    "prefer (uid 0 {0} {1} or {1})",
    "prefer uid 0 {0} {1} by 3",
    "prefer uid 0 {0} not {1} with KILL",
    "prefer anything under {0} {1}",
    "prefer anything when {0} and {1} by 2",
    "prefer {0} ({1})",
    "define x = not {0} or {1}",
    "in {0}.slice: spare {1} comm @{0}",
    'list {0} = "{1}"',
)


@pytest.mark.parametrize("form", _FORMS_OF_OLD)
def test_the_words_of_a_guard_are_names_in_every_rule(form: str) -> None:
    for first, second in itertools.product(_OLD, _OLD):
        new = parse(form.format("alpha", "beta"))
        assert parse(form.format(first, second)) == _renamed(new, {"alpha": first, "beta": second})


def _renamed(tree: Any, names: dict[str, str]) -> Any:
    """Return a tree with other names in it."""
    if isinstance(tree, tuple):
        return tuple(_renamed(part, names) for part in tree)
    if isinstance(tree, str):
        return ".".join(names.get(part, part) for part in tree.split("."))
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type) and not isinstance(tree, Span):
        fields = {one.name: getattr(tree, one.name) for one in dataclasses.fields(tree)}
        return type(tree)(**{key: _renamed(value, names) for key, value in fields.items()})
    return tree


@pytest.mark.parametrize("word", _OLD)
def test_the_words_of_a_guard_are_names_in_a_guard(word: str) -> None:
    for clause, made in {
        "": {},
        "for 5s": {"lasting": number("5s")},
        "within 5s": {"within": number("5s")},
        "then stop": {"stop": True},
    }.items():
        condition = And(AT, (name(word), name(word)))
        expected = syntax.Guard(AT, syntax.Action.KILL, condition, **made)  # type: ignore[arg-type]
        assert parse(f"kill when {word} and {word} {clause}") == (expected,)


@pytest.mark.parametrize("word", syntax.KEYWORDS)
def test_no_keyword_can_be_a_name(word: str) -> None:
    assert broken(f"define {word} = uid == 0\nspare uid 1") == (
        (Rule(AT, Kind.SPARE, whom(uid("1"))),),
        [(1, "OOM101")],
    )


# --- blocks ----------------------------------------------------------------------

TARGETS = ["a.slice", "-.slice", "user@1000.service", "app-*.scope", "[ab]?.slice", r"a\x2db.mount"]


@pytest.mark.parametrize("target", TARGETS)
def test_the_name_of_a_unit_needs_no_quotes(target: str) -> None:
    block = Block(AT, unit(target), (never(uid("0")),))
    assert parse(f"in {target}: never kill uid 0") == (block,)
    assert parse(f"in {target} {{ never kill uid 0 }}") == (block,)
    assert parse(f'in "{target}": never kill uid 0') == (block,)


def test_blocks_nest_in_braces_and_in_a_row_of_colons() -> None:
    expected = Block(AT, unit("a.slice"), (Block(AT, unit("b.slice"), (never(uid("0")),)),))
    assert parse("in a.slice: in b.slice: never kill uid 0") == (expected,)
    assert parse("in a.slice: in b.slice { never kill uid 0 }") == (expected,)
    assert parse("in a.slice {\n in b.slice {\n  never kill uid 0\n }\n}") == (expected,)
    assert parse("in a.slice { in b.slice { never kill uid 0 } }") == (expected,)


def test_a_block_holds_statements_on_lines_of_their_own() -> None:
    inside = (never(uid("0")), Score(AT, name("rss")), Block(AT, unit("b.scope"), ()))
    assert parse(
        "in a.slice {   # why\n\n  never kill uid 0\n\n  # and\n  score rss\n  in b.scope {}\n}\n"
    ) == (Block(AT, unit("a.slice"), inside),)


def test_the_first_and_last_statement_may_share_the_line_with_a_brace() -> None:
    assert parse("in a.slice { never kill uid 0\nnever kill uid 1 }") == (
        Block(AT, unit("a.slice"), (never(uid("0")), never(uid("1")))),
    )


def test_walk_tells_the_targets_around_each_statement_outermost_first() -> None:
    statements = parse("score rss\nin a.slice {\n in b.slice: spare uid 1\n never kill uid 0\n}")
    assert [
        (tuple(target.unit.value for target in targets), type(statement).__name__)
        for targets, statement in syntax.walk(statements)
    ] == [((), "Score"), (("a.slice", "b.slice"), "Rule"), (("a.slice",), "Rule")]


def test_a_target_may_say_how_units_belong_to_another() -> None:
    assert parse('in units wanted by "a.target": never kill uid 0') == (
        Block(AT, unit("a.target", syntax.Relation.WANTED_BY), (never(uid("0")),)),
    )
    assert parse("in units part of b.service {}") == (
        Block(AT, unit("b.service", syntax.Relation.PART_OF), ()),
    )


@pytest.mark.parametrize("written", ['"app-*.scope"', "app-*.scope"])
def test_a_target_may_mean_units_of_users(written: str) -> None:
    target = unit("app-*.scope", syntax.Relation.OF_USER)
    block = Block(AT, target, (never(uid("0")),))
    assert parse(f"in user unit {written}: never kill uid 0") == (block,)
    assert parse(f"in a.slice: in user  unit {written} {{ never kill uid 0 }}") == (
        Block(AT, unit("a.slice"), (block,)),
    )


@pytest.mark.parametrize("name_", ["user.slice", "user@1000.service", "user-1000.slice", "user*"])
def test_a_unit_whose_name_begins_with_user_is_one_of_the_system(name_: str) -> None:
    assert parse(f"in {name_}: never kill uid 0") == (Block(AT, unit(name_), (never(uid("0")),)),)


def test_the_words_of_such_a_target_are_names_everywhere_else() -> None:
    assert parse("never kill uid 0 when user == unit")
    assert parse("define units = nice > 0")[0].name == name("units")  # type: ignore[union-attr]


# --- lines -----------------------------------------------------------------------

CONTINUED = {
    "comma in a list": ('list l = "a",\n  "b",\n\n # c\n "d"', 'list l = "a", "b", "d"'),
    "comma in capabilities": (
        "never kill anything with KILL,\n CHOWN",
        "never kill anything with KILL, CHOWN",
    ),
    "and": ("define x = a and\n b and\n\n  c", "define x = a and b and c"),
    "or": ("define x = a or # why\n b or\n c", "define x = a or b or c"),
    "backslash": ("never kill \\\n  uid \\\n 0", "never kill uid 0"),
    "backslash and CRLF": ("never kill \\\r\n uid 0", "never kill uid 0"),
    "and with CRLF": ("define x = a and\r\n b", "define x = a and b"),
}


@pytest.mark.parametrize("case", CONTINUED)
def test_a_line_goes_on_after(case: str) -> None:
    written, on_one_line = CONTINUED[case]
    assert parse(f"{written}\nspare uid 1\n") == parse(f"{on_one_line}\nspare uid 1\n")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n\r\n", "  # why\n", "\t\n", " \\\n\n"])
def test_lines_may_end_in_any_way(end: str) -> None:
    both = (never(uid("0")), Rule(AT, Kind.SPARE, whom(uid("1"))))
    assert parse(f"never kill uid 0{end}spare uid 1{end}") == both
    assert parse(f"{end}never kill uid 0{end}spare uid 1") == both


def test_words_may_stand_apart_by_tabs_and_form_feeds() -> None:
    assert parse("\tnever\tkill\fuid\t0\t") == (never(uid("0")),)


@pytest.mark.parametrize(
    "written", ["", "\n", "\r\n\r\n", "# nothing", "#", "  \t", "\\\n", "\n# x\n"]
)
def test_a_file_may_say_nothing(written: str) -> None:
    assert parse(written) == ()


# --- places ----------------------------------------------------------------------


def test_every_part_of_a_sentence_knows_its_place() -> None:
    written = '# x\nin a.slice {\n  prefer comm "b" with KILL when rss > 25% by 3\n}\n'
    (block,) = parse(written)
    assert isinstance(block, Block)
    (rule,) = block.statements
    assert isinstance(rule, Rule) and rule.factor
    (term,) = rule.selector.terms
    holding, condition = rule.selector.clauses
    assert isinstance(term, Matches) and isinstance(holding, With) and isinstance(condition, When)
    assert isinstance(condition.condition, Compared)
    parts: list[tuple[syntax.Node, str]] = [
        (block, written[4:].rstrip()),
        (block.target, "a.slice"),
        (rule, 'prefer comm "b" with KILL when rss > 25% by 3'),
        (rule.selector, 'comm "b" with KILL when rss > 25%'),
        (term, 'comm "b"'),
        (term.name, "comm"),
        (term.glob, '"b"'),
        (holding, "with KILL"),
        (holding.capabilities[0], "KILL"),
        (condition, "when rss > 25%"),
        (condition.condition, "rss > 25%"),
        (condition.condition.right, "25%"),
        (rule.factor, "3"),
    ]
    for node, expected in parts:
        assert written[node.span.start : node.span.end] == expected


def test_text_knows_lines_and_columns_from_one() -> None:
    source = RuleText("f.oom", "a\r\nbc\n\nd")
    assert [source.position(offset) for offset in (0, 3, 4, 6, 7, 8)] == [
        (1, 1),
        (2, 1),
        (2, 2),
        (3, 1),
        (4, 1),
        (4, 2),
    ]
    assert [source.line(number) for number in (1, 2, 3, 4)] == ["a", "bc", "", "d"]
    assert source.place(Span(3, 5)) == "f.oom:2"


def test_a_continued_sentence_is_quoted_on_one_line() -> None:
    source = RuleText("f", "never kill \\\n   uid 0")
    (rule,), _ = parser.parse(source)
    assert source.quote(rule.span) == "never kill uid 0"


# --- after a bad statement --------------------------------------------------------

BAD_LINES = {
    "a misspelt word": "never kil uid 0",
    "an unknown beginning": 'avoid comm "x"',
    "an unfinished statement": "spare",
    "words after the end": "never kill uid 0 0",
    "a foreign character": "never kill uid 0 $ 1",
    "an open text": 'never kill comm "abc',
    "two statements on a line": "never kill uid 0 never kill uid 1",
    "a list without a comma": 'list x = "a" "b"',
    "a stray brace": "}",
    "a stray brace at the end": "never kill uid 0 }",
    "a bad block on one line": "in a.slice { never kil uid 0 }",
    "a bad statement after a target": "in a.slice: never kil uid 0",
    "a target without a statement": "in a.slice:",
    "a block without a target": "in { never kill uid 0 }",
    "a lone backslash": "never kill \\ uid 0",
    "a statement behind a block": "in a.slice { never kill uid 0 } spare uid 5",
    "two blocks on a line": "in a.slice { spare uid 5 } in b.slice { spare uid 6 }",
    "an unclosed parenthesis": "prefer anything when (nice > 0",
    "words of an option": "--prefer '^(java)$'",
    "a closed block inside an open brace": "in a.slice { in b.slice { spare uid 5 } spare uid 6 }",
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_line_costs_one_diagnostic_and_no_other_statement(case: str) -> None:
    good = "never kill uid 1\nin c.slice {\n  spare uid 2\n}\n"
    statements, faults = broken(f"{good}{BAD_LINES[case]}\n{good}")
    assert [line for line, _ in faults] == [5], faults
    # What the bad line itself holds may or may not be kept.
    whole = parse(good)
    assert statements[: len(whole)] == whole
    assert statements[-len(whole) :] == whole


# Inside a block a stray brace would close it.
@pytest.mark.parametrize("case", [case for case in BAD_LINES if "stray brace" not in case])
def test_the_same_holds_inside_a_block(case: str) -> None:
    inside = "never kill uid 1\nin c.slice: spare uid 2\n"
    statements, faults = broken(
        f"in z.slice {{\n{inside}{BAD_LINES[case]}\n{inside}}}\nscore rss\n"
    )
    assert [line for line, _ in faults] == [4], faults
    assert len(statements) == 2
    block, score = statements
    assert isinstance(block, Block) and score == Score(AT, name("rss"))
    whole = parse(inside)
    assert block.statements[:2] == whole
    assert block.statements[-2:] == whole


def test_every_bad_statement_of_a_file_is_found_in_one_run() -> None:
    lines = [
        "never kill uid 0",
        "nevr kill uid 0",
        "prefer anything by",
        "prefer anything",
        "in a.slice {",
        "  spare spare",
        "  spare uid 1",
        "  kill uid 1",
        "}",
        "score",
        "score rss",
    ]
    statements, faults = broken("\n".join(lines))
    assert [line for line, _ in faults] == [2, 3, 6, 8, 10]
    assert [type(statement).__name__ for statement in statements] == [
        "Rule",
        "Rule",
        "Block",
        "Score",
    ]


@pytest.mark.parametrize("word", ["and", "or", "when", "with", "by", "~", "==", "+", ","])
def test_a_statement_left_unfinished_does_not_take_the_next_one_with_it(word: str) -> None:
    start = 'list x = "a"' if word == "," else "prefer anything when nice > 0"
    statements, faults = broken(f"{start} {word}\nnever kill uid 0\nspare uid 1\n")
    assert len(faults) == 1
    assert statements[-2:] == (never(uid("0")), Rule(AT, Kind.SPARE, whom(uid("1"))))


BAD_HEADS = {
    "no target": "in {",
    "a misspelt in": "inn a.slice {",
    "a word too many": "in a.slice prefer {",
    "a colon and a brace": "in a.slice: {",
    "an open text": 'in "a.slice {',
    "a rule with a brace": "prefer anything {",
}


@pytest.mark.parametrize("case", BAD_HEADS)
def test_a_bad_head_of_a_block_costs_one_diagnostic(case: str) -> None:
    statements, faults = broken(
        f"spare uid 5\n{BAD_HEADS[case]}\n  never kill uid 0\n"
        "  in b.slice {\n    never kill uid 1\n  }\n}\nspare uid 6\n"
    )
    assert [line for line, _ in faults] == [2], faults
    assert statements[0] == Rule(AT, Kind.SPARE, whom(uid("5")))
    assert statements[-1] == Rule(AT, Kind.SPARE, whom(uid("6")))
    assert never(uid("0")) in statements
    assert Block(AT, unit("b.slice"), (never(uid("1")),)) in statements


def test_a_brace_on_the_line_below_its_head_is_one_mistake() -> None:
    statements, faults = broken("in a.slice\n{\n  never kill uid 0\n}\nspare uid 1\n")
    assert len(faults) == 1, faults
    assert statements[-1] == Rule(AT, Kind.SPARE, whom(uid("1")))


@pytest.mark.parametrize("end", ["", "\n", "\n  # the end", "\n\n\n"])
def test_a_block_that_is_not_closed_is_named_where_it_opens(end: str) -> None:
    statements, faults = broken(f"spare uid 1\nin a.slice {{\n  never kill uid 0{end}")
    assert faults == [(2, "OOM104")]
    assert statements == (
        Rule(AT, Kind.SPARE, whom(uid("1"))),
        Block(AT, unit("a.slice"), (never(uid("0")),)),
    )


def test_a_block_closed_too_early_leaves_its_second_brace() -> None:
    statements, faults = broken("in a.slice {\n never kill uid 0 }\n spare uid 1\n}\nspare uid 2\n")
    assert faults == [(4, "OOM105")]
    assert len(statements) == 3


# --- depth -----------------------------------------------------------------------

DEEP = {
    "not": lambda n: f"define x = {'not ' * n}a",
    "calls": lambda n: f"score {'root(' * n}a{')' * n}",
    "sums": lambda n: f"score {' + '.join(['a'] * n)}",
    "the largest": lambda n: f"score {'max(b, ' * n}a{')' * n}",
    "not in a selector": lambda n: f"spare {'not ' * n}uid 0",
    "brackets in a selector": lambda n: f"spare {'(not ' * n}uid 0{')' * n}",
    "under": lambda n: f"spare uid 0 under {'not ' * n}uid 1",
    "minus": lambda n: f"score {'-' * n}a",
    "blocks": lambda n: f"{'in a.slice: ' * n}never kill uid 0",
    "braces": lambda n: f"{'in a.slice { ' * n}never kill uid 0{' }' * n}",
}


@pytest.mark.parametrize("case", DEEP)
def test_nesting_is_bounded_and_the_bound_costs_one_diagnostic(case: str) -> None:
    assert len(parse(f"{DEEP[case](parser.DEPTH - 5)}\nspare uid 1")) == 2
    for depth in (parser.DEPTH + 5, 2_000):
        statements, faults = broken(f"{DEEP[case](depth)}\nspare uid 1")
        assert faults == [(1, "OOM106")]
        assert statements[-1] == Rule(AT, Kind.SPARE, whom(uid("1")))


def test_conditions_side_by_side_nest_nothing() -> None:
    (rule,) = parse(f"spare {'uid 0 niced ' * 2_000}")
    assert isinstance(rule, Rule) and len(rule.selector.terms) == 4_000
    (rule,) = parse(f"spare {' or '.join(['uid 0 niced'] * 2_000)} by 3")
    assert isinstance(rule, Rule) and len(rule.selector.terms) == 1


def test_parentheses_alone_nest_nothing() -> None:
    assert parse(f"define x = {'(' * 500}a{')' * 500}") == (Define(AT, name("x"), a),)


def test_the_grammar_is_unambiguous() -> None:
    pytest.importorskip("interegular", reason="what lark needs to compare its terminals")
    from lark import Lark

    from oomrules import resources

    Lark(
        resources.grammar().read_text(encoding="utf-8"),
        parser="lalr",
        lexer="contextual",
        strict=True,
    )
