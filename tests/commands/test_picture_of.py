"""``oomrules picture --of``: a recording on an axis of time, as ``guard --replay`` has it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands.done import Done
from tests.commands.test_picture import SVG, Page

Run = Callable[..., Done]
Write = Callable[..., Path]
GIB = 1 << 30
EVIL = "</title><script>x</script>\u202e"


def lines(name: str = EVIL) -> list[dict[str, Any]]:
    """Ten minutes in which memory goes, and the kernel kills."""
    found: list[dict[str, Any]] = [
        {
            "schema": "oomrules.recording/1",
            "kind": "start",
            "at": 1000.0,
            "every": 1.0,
            "time": "2026-11-27T02:40:00+00:00",
        },
        {
            "kind": "list",
            "at": 1000.0,
            "length": 1,
            "candidates": [
                {
                    "pid": 53,
                    "start": 7,
                    "rank": 1,
                    "comm": name,
                    "held": GIB,
                    "cgroup": "/a.service",
                    "unit": "a.service",
                    "uid": 1001,
                    "points": 9,
                }
            ],
        },
    ]
    for at in range(600):
        available = max(GIB // 8, 8 * GIB - at * GIB // 60)
        host = {"memory": 8 * GIB, "available": available, "swap": GIB, "swap_free": GIB // 4}
        # From the 8th minute on nobody gets any further.
        waited = max(0, at - 480) * 1_000_000
        host |= {"full": waited, "some": waited}
        found.append({"kind": "sample", "at": 1000.0 + at, "host": host})
    happened = {"event": "kernel", "pid": 77, "start": 9, "comm": name, "unit": "b.service"}
    return [*found, {"kind": "event", "at": 1599.0, **happened}]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "rec.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines()), encoding="utf-8")
    return path


@pytest.fixture
def draw(oomrules: Run, rules: Write, recording: Path, tmp_path: Path) -> Callable[..., str]:
    def draw(text: str = "kill when host.available < 5%\n", ending: str = "html") -> str:
        path = tmp_path / f"x.{ending}"
        done = oomrules("picture", "--of", recording, "--rules", rules(text), "-o", path)
        assert done.code == 0, done.err
        assert path.stat().st_mode & 0o777 == 0o600
        return path.read_text(encoding="utf-8")

    return draw


def test_the_events_are_those_of_the_replay(
    draw: Callable[..., str], oomrules: Run, rules: Write, recording: Path
) -> None:
    page = Page(draw())
    rule = rules("kill when host.available < 5%\n")
    replayed = oomrules("guard", "--replay", recording, "--rules", rule, "--json").data
    drawn = [float(row["data-at"]) for tag, row in page.elements if "data-at" in row]
    assert drawn == [event["after"] for event in replayed["events"]]
    looks = [row["class"] for tag, row in page.elements if row.get("class", "").startswith("mark")]
    wanted = [
        ("mark would" if event["by"] == "replay" else "mark real")
        + (" kill" if event["event"] in ("asked", "killed", "kernel") else "")
        for event in replayed["events"]
    ]
    # Once for a wide screen, once for a narrow one.
    assert looks == wanted * 2 and "mark would kill" in wanted and "mark real kill" in wanted


def test_the_curves_go_where_the_figures_went(draw: Callable[..., str]) -> None:
    root = ElementTree.fromstring(draw(ending="svg"))
    texts = [one.text for one in root.iter(f"{SVG}text")]
    for wanted in ("memory", "swap in use", "8.0 GiB", "100 %", "kill when host.available < 5%"):
        assert wanted in texts
    curves = [
        one.get("d", "")
        for one in root.iter(f"{SVG}path")
        if (one.get("class") or "").startswith("curve") and "L" in one.get("d", "")
    ]
    memory, swap, full, some, distance = (
        [tuple(map(float, point.split())) for point in curve[1:].split("L")] for curve in curves
    )
    heights = [y for _, y in memory]
    assert heights == sorted(heights) and heights[-1] - heights[0] == pytest.approx(
        110 * (8 - 1 / 8) / 8, abs=0.2
    )
    assert len({y for _, y in swap}) == 1
    # A stall of all the time reaches the top of its scale.
    assert min(y for _, y in full) == pytest.approx(max(y for _, y in full) - 110, abs=0.2)
    assert full == some and len(distance) > 100


@pytest.mark.parametrize("ending", ["html", "svg"])
def test_a_hostile_name_is_text(ending: str, draw: Callable[..., str]) -> None:
    text = draw(ending=ending)
    assert "&lt;/title&gt;&lt;script&gt;" in text
    assert "<script" not in text and "\u202e" not in text


def test_without_guards_there_is_no_distance(draw: Callable[..., str]) -> None:
    assert "used up until a guard" not in draw("prefer niced\n")


def test_a_recording_has_no_snapshot_and_no_unit(
    oomrules: Run, recording: Path, tmp_path: Path
) -> None:
    done = oomrules("picture", "--of", recording, "--in", "x.slice", "-o", tmp_path / "x.svg")
    assert done.code == 2 and "leave out --of" in done.err


@pytest.mark.parametrize("text", ["", "{}\n", "\x00\n"])
def test_what_is_no_recording_is_said(
    text: str, oomrules: Run, tmp_path: Path, recording: Path
) -> None:
    recording.write_text(text)
    done = oomrules("picture", "--of", recording, "-o", tmp_path / "x.svg")
    assert done.code == 2 and "rec.jsonl:" in done.err and not (tmp_path / "x.svg").exists()


def test_a_recording_of_one_sample_is_a_moment(
    oomrules: Run, recording: Path, tmp_path: Path
) -> None:
    some = [line for line in lines() if line["kind"] in ("start", "sample")][:2]
    recording.write_text("".join(json.dumps(line) + "\n" for line in some))
    done = oomrules("picture", "--of", recording, "-o", tmp_path / "x.svg")
    assert done.code == 0, done.err
    ElementTree.parse(tmp_path / "x.svg")


# --- history --------------------------------------------------------------------------------------


def kill(time: str, by: str, **more: Any) -> dict[str, Any]:
    guard = {"text": "kill when host.stall > 9%", "file": "/etc/x.oom", "line": 3}
    return {
        "time": time,
        "unit": "a.service",
        "user_unit": "",
        "cgroup": "/a.service",
        "pid": 7,
        "comm": EVIL,
        "uid": 0,
        "rank": 1,
        "listed": 9,
        "points": 5,
        "list_age": 0.5,
        "by": by,
        "guard": guard if by == "guard" else None,
        "kernel_alone": None,
        **more,
    }


HISTORY = {
    "schema": "oomrules.history/1",
    "kills": [
        kill("2026-11-25T03:00:00+00:00", "kernel"),
        kill("2026-11-27T03:00:00+00:00", "kernel"),
        kill("2026-11-26T04:00:00+01:00", "guard"),
    ],
    "terminated": [kill("2026-11-26T12:00:00+00:00", "guard")],
    "warnings": [kill("2026-11-25T12:00:00+00:00", "guard", what="warned", pid=None)],
}


@pytest.fixture
def of_history(oomrules: Run, tmp_path: Path) -> Callable[[Any], Done]:
    def draw(data: Any) -> Done:
        path = tmp_path / "history.json"
        path.write_text(json.dumps(data, indent=1), encoding="utf-8")
        return oomrules("picture", "--of", path, "-o", tmp_path / "h.html")

    return draw


def test_a_history_is_drawn_over_its_days(
    of_history: Callable[[Any], Done], tmp_path: Path
) -> None:
    done = of_history(HISTORY)
    assert done.code == 0, done.err
    text = (tmp_path / "h.html").read_text(encoding="utf-8")
    page = Page(text)
    hours = [float(row["data-at"]) / 3600 for _, row in page.elements if "data-at" in row]
    # In the order of time, whatever the zone.
    assert hours == [0, 9, 24, 33, 48]
    looks = [row["class"] for _, row in page.elements if row.get("class", "").startswith("mark")]
    plain, taken = "mark real", "mark real kill"
    assert looks == [taken, plain, taken, taken, taken] * 2
    assert "by the kernel" in text and "by a guard" in text and "<script" not in text


def test_a_history_in_one_line_is_one_too(oomrules: Run, tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    path.write_text(json.dumps(HISTORY, separators=(",", ":")), encoding="utf-8")
    done = oomrules("picture", "--of", path, "-o", tmp_path / "h.html")
    assert done.code == 0 and "5 events in 2d" in done.err


def test_a_long_history_is_no_longer_page(
    of_history: Callable[[Any], Done], tmp_path: Path
) -> None:
    times = (f"2026-{1 + at % 12:02}-{1 + at % 28:02}T03:00:00+00:00" for at in range(9000))
    done = of_history({**HISTORY, "kills": [kill(time, "kernel") for time in times]})
    assert done.code == 0 and "2000 events in" in done.err
    text = (tmp_path / "h.html").read_text(encoding="utf-8")
    assert len(text) < 3 << 20 and "7002 events more are left out" in text
    # The curve counts those too.
    assert ">5000</text>" in text


def test_a_history_without_kills_is_an_empty_axis(
    of_history: Callable[[Any], Done], tmp_path: Path
) -> None:
    done = of_history({**HISTORY, "kills": [], "terminated": [], "warnings": []})
    assert done.code == 0, done.err
    assert "None." in (tmp_path / "h.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "wrong",
    [
        {"schema": "oomrules.history/2"},
        {"kills": None},
        {"kills": [1]},
        {"kills": [{"time": "x"}]},
        {"kills": [{**kill("2026-11-25T03:00:00+00:00", "kernel"), "unit": 5}]},
        {"kills": [{**kill("2026-11-25T03:00:00+00:00", "kernel"), "comm": ["x"]}]},
    ],
)
def test_a_damaged_history_is_said(wrong: Any, of_history: Callable[[Any], Done]) -> None:
    done = of_history({**HISTORY, **wrong})
    assert done.code == 2 and "history.json" in done.err
    assert "oomrules history --format json" in done.err and "a mistake in" not in done.err
