"""``oomrules picture``: what ``rank`` and ``explain`` say, drawn in one file."""

from __future__ import annotations

import json
import re
import stat
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.browser import hosts
from tests.children import CHECKOUT
from tests.commands.done import Done

Run = Callable[..., Done]
Write = Callable[..., Path]
SVG = "{http://www.w3.org/2000/svg}"


class Page(HTMLParser):
    """What is in a page: elements with their attributes, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "script":
            self.scripts[-1] += data

    def rows(self) -> list[dict[str, str]]:
        return [values for tag, values in self.elements if tag == "tr" and "data-pid" in values]


def sums(page: str) -> list[int]:
    """Return the bytes in the table of sums; the last is the total."""
    table = page[page.index('id="sums"') : page.index('id="processes"')]
    return [int(size) for size in re.findall(r'data-v="(-?\d+)"', table)]


@pytest.fixture
def drawn(oomrules: Run, recorded: Path, root: Path, tmp_path: Path) -> Callable[..., str]:
    """Draw the recorded host, and return the file."""

    def draw(*more: object, ending: str = "html", snapshot: Path = recorded) -> str:
        path = tmp_path / f"x.{ending}"
        done = oomrules("picture", "--snapshot", snapshot, "--root", root, "-o", path, *more)
        assert done.code == 0, done.err
        return path.read_text(encoding="utf-8")

    return draw


def test_the_rows_are_those_of_rank(
    drawn: Callable[..., str], oomrules: Run, recorded: Path, root: Path
) -> None:
    ranking = oomrules("rank", "--format", "json", "--snapshot", recorded, "--root", root).data
    rows = Page(drawn()).rows()
    pids = [one["pid"] for one in ranking["candidates"]]
    assert [int(row["data-pid"]) for row in rows][: len(pids)] == pids
    assert [int(row["data-step"]) for row in rows] == [
        *range(1, len(pids) + 1),
        *[0] * (len(rows) - len(pids)),
    ]
    threads = {one["pid"] for one in ranking["excluded"] if one["reason"] == "a kernel thread"}
    excluded = {one["pid"] for one in ranking["excluded"]} - threads
    assert {int(row["data-pid"]) for row in rows[len(pids) :]} == excluded


def test_the_list_beside_the_photograph_is_that_of_the_same_host(
    oomrules: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says the commands: they are taken from there."""
    monkeypatch.chdir(tmp_path)
    rules = hosts.rules(Path("busy-host.oom"))
    hosts.snapshot(rules.with_suffix(".jsonl"))
    text = Path(CHECKOUT, "docs/picture.md").read_text(encoding="utf-8")
    drawing, ranking = re.findall(r"^    oomrules (.* --rules busy-host\.oom)$", text, re.M)
    assert oomrules(*drawing.split()).code == 0
    listed = oomrules(*ranking.split()).out
    assert "".join(f"    {line}".rstrip() + "\n" for line in listed.splitlines()) in text
    rows = Page(Path("busy-host.html").read_text(encoding="utf-8")).rows()
    pids = [line.split()[1] for line in listed.splitlines()[1:9]]
    assert [row["data-pid"] for row in rows[:8]] == pids


def test_the_reasons_are_those_of_explain(
    drawn: Callable[..., str], oomrules: Run, recorded: Path, root: Path
) -> None:
    texts = json.loads(Page(drawn()).scripts[0])
    assert len(texts) > 10
    for pid, text in texts.items():
        said = oomrules("explain", pid, "--snapshot", recorded, "--root", root)
        assert text + "\n" == said.out


WHOLE = """\
score footprint
kill whole "php*.service"
kill whole "jenkins.service"
in "jenkins.service": never kill comm "java"
kill last comm "gnome-shell"
never kill comm "sshd"
"""


@pytest.mark.parametrize("more", [(), ("--in", "system.slice")])
def test_the_slider_takes_what_rank_takes_a_unit_at_once(
    more: tuple[str, ...], oomrules: Run, rules: Write, tmp_path: Path
) -> None:
    host = hosts.snapshot(tmp_path / "host.jsonl")
    asking = ("--snapshot", host, "--rules", rules(WHOLE), *more)
    ranking = oomrules("rank", "--format", "json", *asking).data
    assert oomrules("picture", "-o", tmp_path / "x.html", *asking).code == 0
    rows = Page((tmp_path / "x.html").read_text(encoding="utf-8")).rows()
    together = {
        pid: frozenset(unit["pids"] + unit["others"])
        for unit in ranking["wholes"]
        for pid in unit["pids"] + unit["others"]
    }
    assert len(together) > 10
    # Kill by kill: the first that is left, and all that go with it.
    gone: list[frozenset[int]] = []
    for one in ranking["candidates"]:
        if not any(one["pid"] in few for few in gone):
            gone.append(together.get(one["pid"], frozenset((one["pid"],))))
    steps = {int(row["data-pid"]): int(row["data-step"]) for row in rows}
    for number, few in enumerate(gone, 1):
        assert {pid for pid, step in steps.items() if step == number} == few
    assert max(steps.values()) == len(gone)


# Guards of the host and of units, a unit that dies as a whole, a doubt: all that reasons can have.
SAYING = """\
kill when host.available < 5%
in "user-*.slice": terminate when scope.memory > 1GiB
kill whole "app-*.scope"
kill first comm "make"
spare uid 0 by 3
never kill anything under comm "sshd"
"""


@pytest.mark.parametrize("more", [(), ("--in", "user.slice"), ("--in", "app-firefox-1.scope")])
def test_the_reasons_in_a_unit_are_those_of_explain_too(
    more: tuple[str, ...], drawn: Callable[..., str], oomrules: Run, recorded: Path, rules: Write
) -> None:
    """A guard of the host counts the candidates of the host, whatever is drawn."""
    asking = ("--rules", rules(SAYING))
    texts = json.loads(Page(drawn(*asking, *more)).scripts[0])
    assert texts
    for pid, text in texts.items():
        said = oomrules("explain", pid, "--snapshot", recorded, *asking)
        assert text + "\n" == said.out
    assert any("candidate" in text for text in texts.values())


def test_the_figures_are_those_of_the_snapshot_and_add_up(
    drawn: Callable[..., str], recorded: Path
) -> None:
    page = drawn()
    lines = [json.loads(line) for line in recorded.read_text().splitlines()]
    rss = {line["pid"]: line["rss"] for line in lines if line["kind"] == "process"}
    tables = {line["pid"]: line.get("pgtables") or 0 for line in lines if line["kind"] == "process"}
    for row in Page(page).rows():
        pid = int(row["data-pid"])
        assert int(row["data-ram"]) == (rss[pid] or 0) * 4096 + tables[pid]
    *parts, total = sums(page)
    assert sum(parts) == total == lines[0]["mem_total"]


def charged(recorded: Path, path: Path, charge: int | None) -> Path:
    """Write the recorded host with another charge of a unit."""
    lines = [json.loads(line) for line in recorded.read_text().splitlines()]
    for line in lines:
        if line["kind"] == "scope" and line["cgroup"].endswith("app-firefox-1.scope"):
            line["memory"] = charge
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_unit_whose_charge_is_unknown_has_what_its_processes_hold(
    drawn: Callable[..., str], recorded: Path, tmp_path: Path
) -> None:
    host = charged(recorded, tmp_path / "host.jsonl", None)
    page = drawn("--in", "app-firefox-1.scope", snapshot=host)
    taken, kept, total = sums(page)
    assert taken + kept == total > 0
    assert "unit app-firefox-1.scope is charged for is not known" in page


def test_a_unit_that_is_charged_for_less_than_its_processes_hold_says_so(
    drawn: Callable[..., str], recorded: Path, tmp_path: Path
) -> None:
    page = drawn(
        "--in", "app-firefox-1.scope", snapshot=charged(recorded, tmp_path / "host.jsonl", 4096)
    )
    taken, kept, over, total = sums(page)
    assert total == 4096 and over == total - taken - kept < 0
    assert "other units are charged for it" in page


def test_a_unit_alone_adds_up_to_what_it_is_charged_for(drawn: Callable[..., str]) -> None:
    page = drawn("--in", "app-firefox-1.scope")
    assert {row["data-pid"] for row in Page(page).rows()} == {"902"}
    *parts, total = sums(page)
    assert sum(parts) == total == 3221225472


def test_a_unit_that_is_killed_as_a_whole_goes_at_once(
    drawn: Callable[..., str], rules: Callable[[str], Path]
) -> None:
    path = rules('kill whole "session-2.scope"\n')
    steps = {row["data-pid"]: int(row["data-step"]) for row in Page(drawn("--rules", path)).rows()}
    assert steps["901"] == steps["905"] > 0
    # One step for each other candidate, and no gap.
    others = {step for step in steps.values() if step}
    assert sorted(others) == [*range(1, len(others) + 1)]


def test_the_drawing_is_well_formed_and_names_everybody(drawn: Callable[..., str]) -> None:
    root = ElementTree.fromstring(drawn(ending="svg"))
    labels = [one.get("aria-label") or "" for one in root.iter(f"{SVG}g")]
    assert any("pid 902" in label and "rank 2" in label for label in labels)
    titles = [one.text or "" for one in root.iter(f"{SVG}title")]
    assert any("points" in title and "rank 2 of" in title for title in titles)
    assert not list(root.iter(f"{SVG}script"))


HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "]]>&lt;\"'`${1}{{7*7}}{% raw %}",
    "\u202eevil\u2066\u200b\x00\x1b[31m",
    "\ud800x",
    "\uffff",
)


@pytest.mark.parametrize("ending", ["html", "svg"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text_and_nothing_else(
    name: str, ending: str, drawn: Callable[..., str], recorded: Path, tmp_path: Path
) -> None:
    """The elements are those of the same host with harmless names."""

    def host(put: str) -> Path:
        lines: list[dict[str, Any]] = [
            json.loads(line) for line in recorded.read_text().splitlines()
        ]
        for line in lines:
            for key in ("comm", "cgroup", "exe"):
                if line["kind"] == "process" and line.get(key):
                    line[key] = line[key] + put if key != "cgroup" else f"/{put}.service"
            if line["kind"] == "process" and line.get("cmdline"):
                line["cmdline"] = [put * (4096 // len(put))]
        path = tmp_path / "host.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    asking = ("--rules", tmp_path / "ask.oom")
    asking[1].write_text('prefer cmdline "*"\nprefer exe "*"\n')
    text = drawn(*asking, ending=ending, snapshot=host(name))
    usual = drawn(*asking, ending=ending, snapshot=host("x" * len(name)))
    if ending == "svg":
        found = [one.tag for one in ElementTree.fromstring(text).iter()]
        wanted = [one.tag for one in ElementTree.fromstring(usual).iter()]
    else:
        found = [tag for tag, _ in Page(text).elements]
        wanted = [tag for tag, _ in Page(usual).elements]
    assert sorted(set(found)) == sorted(set(wanted)) and "img" not in found
    assert not any(char in text for char in "\u202e\u2066\u200b\x00\x1b\ufffe\uffff")


def test_a_page_allows_its_own_script_and_nothing_else(drawn: Callable[..., str]) -> None:
    page = Page(drawn())
    policy = next(values["content"] for tag, values in page.elements if "http-equiv" in values)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    for _, values in page.elements:
        assert not {"src", "href", "style", "action"} & values.keys()
        assert not any(key.startswith("on") for key in values)


def test_only_its_owner_may_read_it(drawn: Callable[..., str], tmp_path: Path) -> None:
    drawn()
    assert stat.S_IMODE((tmp_path / "x.html").stat().st_mode) == 0o600


@pytest.mark.parametrize("path", ["x", "x.png", "-", "x.html.txt", ""])
def test_an_ending_says_what_to_draw(path: str, oomrules: Run, recorded: Path) -> None:
    done = oomrules("picture", "--snapshot", recorded, "-o", path)
    assert done.code == 2 and (".html" in done.err or "is empty" in done.err)


def test_a_unit_that_is_not_there_is_said(oomrules: Run, recorded: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.html"
    done = oomrules("picture", "--snapshot", recorded, "--in", "nobody.service", "-o", path)
    assert done.code == 1 and "no process is in unit nobody.service" in done.err


@pytest.mark.parametrize("name", ["squarify", "jinja2"])
def test_a_missing_library_is_named_with_what_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch, oomrules: Run, recorded: Path, tmp_path: Path
) -> None:
    for module in [one for one in sys.modules if one.startswith("oomrules.picture")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, "oomrules.commands.parts.pictured", raising=False)
    monkeypatch.setitem(sys.modules, name, None)
    done = oomrules("picture", "--snapshot", recorded, "-o", tmp_path / "x.html")
    assert done.code == 2
    assert f"oomrules picture needs the Python library {name}" in done.err
    assert f"`{sys.executable} -m pip install" in done.err


def test_this_host_is_drawn_and_adds_up(oomrules: Run, tmp_path: Path) -> None:
    path = tmp_path / "live.html"
    done = oomrules("picture", "-o", path)
    assert done.code in (0, 1), done.err
    *parts, total = sums(path.read_text(encoding="utf-8"))
    assert sum(parts) == total > 0
