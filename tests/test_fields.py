"""The table of raw fields: its rows make sense, and one more row is a new field everywhere.

``python -m tests.test_fields docs/generated/fields.md`` writes the page anew.
"""

import os
import subprocess
import sys
from pathlib import Path

from oomrules.attributes import ATTRIBUTES
from oomrules.fields import FIELDS, LOOKS, Field
from oomrules.processes.bpf import ROW_FIELDS
from oomrules.processes.ordinary import terminal
from oomrules.processes.snapshot import UNREAD, Process
from oomrules.processes.values import GETTERS
from tests.children import CHECKOUT
from tests.fake_proc import FakeProc

PAGE = Path("docs/generated/fields.md")
FILES = {"stat", "status", "cmdline", "exe", "cgroup", "oom_score_adj"}
PLACES = {*FILES, LOOKS}


def page() -> str:
    """Give what belongs into docs/generated/fields.md."""
    lines = [
        f"<!-- Made by `python -m tests.test_fields {PAGE}`; do not edit it here. -->",
        "# Raw fields",
        "",
        "What oomrules reads of each process, and under which name `oomrules snapshot` records it:",
        "the table in `oomrules/fields.py`. [All pages](../README.md)",
        "",
        "A field that *changes* may do so from one refresh to the next. A *rare* field is read",
        "only if a rule asks for it. A process can make a *self-made* field unknown by itself.",
        "Fields that `struct row` (bpf/rows.h) does not have are read from `/proc`, by the fast",
        "source too. What is told by several looks at the host is in no file.",
        "",
        "| field | unit | /proc/PID | struct row | |",
        "|---|---|---|---|---|",
        *map(_row, FIELDS.values()),
    ]
    return "\n".join(lines) + "\n"


def _row(field: Field) -> str:
    where = "-" if field.file == LOOKS else f"`{field.file}`"
    if field.file == "stat":
        where += f", field {field.key}"
    elif field.key:
        where += f", `{field.key}`" + (f", word {field.word + 1}" if field.word else "")
    marks = ("changes", "rare", "self_made")
    yes = [mark.replace("_", "-") for mark in marks if getattr(field, mark)]
    row = f"`{field.row}`" if field.row else "-"
    if field.row_unit:
        row += f", in {field.row_unit.value}"
    return f"| `{field.name}` | {field.unit.value} | {where} | {row} | {', '.join(yes) or '-'} |"


def test_the_page_of_raw_fields_is_the_table() -> None:
    assert (Path(CHECKOUT) / PAGE).read_text(encoding="utf-8") == page()


def test_each_row_says_where_its_field_is() -> None:
    members = [member.partition(":")[0] for member in ROW_FIELDS]
    for field in FIELDS.values():
        assert field.file in PLACES
        assert isinstance(field.key, int) == (field.file == "stat")
        assert bool(field.key) == (field.file in ("stat", "status"))
        assert field.row in ("", *members)
        # The rows are all that is read of it each time where there is an iterator.
        assert field.row or field.file != "stat"
        assert not field.rare or field.row != "pid"


def test_an_attribute_is_read_from_the_file_that_its_field_is_in() -> None:
    for attribute in ATTRIBUTES.values():
        field = FIELDS.get(attribute.field)
        if field and attribute.provider.value in FILES and "." not in attribute.name:
            assert attribute.provider.value == field.file
            if attribute.name == field.name:
                assert attribute.changes == field.changes


def test_a_new_process_has_every_field_and_nothing_in_it() -> None:
    process = Process(7)
    for name, field in FIELDS.items():
        if name != "pid":
            assert getattr(process, name) is (
                UNREAD if field.rare or field.file != "stat" else None
            )


def test_a_terminal_has_the_number_that_stands_for_its_name() -> None:
    process = Process(7)
    names = ["", *(f"{kind}{n}" for kind in ("pts/", "ttyS") for n in (0, 63, 64, 300, 70_000))]
    for name in (*names, "tty0", "tty63"):
        setattr(process, "tty_nr", terminal(name))  # noqa: B010
        assert GETTERS["tty"](process, None) == name  # type: ignore[arg-type]
    for name in ("tty64", "pts", "console", "pts/", "pts/9999999", "tty1\n"):
        assert terminal(name) is None


ONE_MORE = """
import json, sys
from pathlib import Path
from oomrules import attributes, fields
fields.FIELDS["hugetlb"] = fields.Field(
    "hugetlb", fields.Unit.BYTES, "status", key="HugetlbPages", ordinary=0, changes=True, rare=True
)
attributes.ATTRIBUTES["hugetlb"] = attributes.ATTRIBUTES["anon"]._replace(name="hugetlb", doc="?")
from oomrules.commands import snapshot
from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.processes.procfs import ProcSource
from oomrules.ranking.ranker import Ranker
from oomrules.testing.described import Described

program = compiler.compile_texts([RuleText("f.oom", "score hugetlb\\n")])


def pids(source):
    return list(Ranker(program, source.host).rank(source).pids)


source = ProcSource(program, root=sys.argv[1]).refresh()
first = pids(source)
status = Path(sys.argv[1], "7/status")
status.write_text(status.read_text().replace("2048 kB", "1024 kB"))
last = pids(source.refresh())
lines = list(snapshot._lines(source))
again = recorded.parse(map(json.dumps, lines), "again")
made = {"small": {"hugetlb": "1MiB"}, "large": {"hugetlb": "2MiB"}, "usual": {}}
described, names = Described("x").snapshot({"process": made})
print(json.dumps([first, last, again.by_pid[7].hugetlb, pids(again)]))
print(pids(described) == [names["large"], names["small"]])
"""


def test_a_new_row_is_read_recorded_ranked_and_described(tmp_path: Path) -> None:
    proc = FakeProc(tmp_path / "proc")
    for pid, size in ((7, 2048), (8, 1536)):
        status = proc.add(pid) / "status"
        status.write_text(f"{status.read_text()}HugetlbPages:\t    {size} kB\n")
    done = subprocess.run(
        [sys.executable, "-c", ONE_MORE, proc.root],
        env={**os.environ, "PYTHONPATH": CHECKOUT},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout == f"[[7, 8], [8, 7], {1024 * 1024}, [8, 7]]\nTrue\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
