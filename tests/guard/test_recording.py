"""Recordings: what is written is read again, and nothing that is read is trusted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.errors import Failure
from oomrules.guard import recording
from oomrules.guard.model import HOST, Candidate, Event, Sample, Whole
from oomrules.guard.recording import Happened, Listed, Snapshot, Start
from tests.guard.making import GIB, PATIENT, armed, candidate, program, ready, sample

START = recording.start_line(5.0, "2026-01-01T00:00:00Z", 1.0)
NUMBERS = st.none() | st.integers(0, 2**63)
FIGURES = st.dictionaries(st.text(max_size=12), NUMBERS, max_size=5)
TEXTS = st.text(max_size=20)
WHOLES = st.builds(
    Whole,
    path=TEXTS,
    at_once=st.booleans(),
    others=st.lists(st.tuples(st.integers(1, 2**22), st.integers(0, 2**40)), max_size=3).map(tuple),
    held=st.integers(0, 2**50),
)
CANDIDATES = st.builds(
    Candidate,
    pid=st.integers(1, 2**22),
    start=st.integers(0, 2**40),
    rank=st.integers(1, 9000),
    points=NUMBERS,
    uid=NUMBERS,
    comm=TEXTS,
    cgroup=TEXTS,
    unit=TEXTS,
    manager=TEXTS,
    held=st.integers(0, 2**50),
    swap=st.integers(0, 2**50),
    polite=st.booleans(),
    whole=st.none() | WHOLES,
    level=st.integers(-2000, 2000),
    mapped=st.integers(0, 2**50),
)


def read(*lines: str) -> list[recording.Line]:
    return list(recording.read(lines, "r.jsonl"))


@PATIENT
@given(
    st.builds(
        Sample,
        at=st.floats(5, 1e9),
        host=FIGURES,
        units=st.dictionaries(TEXTS, FIGURES, max_size=3),
        killed=st.just(float("-inf")) | st.floats(0, 1e9),
    )
)
def test_a_sample_is_read_as_it_was_written(made: Sample) -> None:
    assert read(START, recording.sample_line(made)) == [
        Start(5.0, "2026-01-01T00:00:00Z", 1.0),
        made,
    ]


@PATIENT
@given(st.lists(CANDIDATES, max_size=4, unique_by=lambda one: one.rank), st.integers(0, 10**6))
def test_a_list_is_read_as_it_was_written(made: list[Candidate], length: int) -> None:
    _, listed = read(START, recording.list_line(7.0, made, length))
    assert isinstance(listed, Listed)
    assert listed.candidates == tuple(sorted(made, key=lambda one: one.rank))
    assert listed.length == max(length, len(made))


def test_a_ready_list_comes_back_with_the_candidates_of_each_place() -> None:
    made = program("kill when host.available < 10%", "in a.slice: kill when scope.memory > 1GiB")
    before = ready(
        armed(made), [candidate(n, cgroup="/a.slice/x" if n % 2 else "/b") for n in range(1, 9)]
    )
    _, listed = read(START, recording.ready_line(before))
    assert isinstance(listed, Listed)
    assert recording.places(listed, ["/a.slice"], 64) == before.candidates
    few = recording.places(listed, ["/a.slice", "/a"], 2)
    assert [len(few[place]) for place in (HOST, "/a.slice", "/a")] == [2, 2, 0]


def test_every_candidate_with_a_control_group_is_inside_the_root_slice() -> None:
    there = [candidate(1, cgroup="/"), candidate(2, cgroup="/a.slice/x"), candidate(3, cgroup="")]
    _, listed = read(START, recording.list_line(7.0, there, 3))
    assert isinstance(listed, Listed)
    found = recording.places(listed, ["/", "/a.slice"], 64)
    assert {place: [one.rank for one in ones] for place, ones in found.items()} == {
        HOST: [1, 2, 3],
        "/": [1, 2],
        "/a.slice": [2],
    }


def test_events_and_snapshots() -> None:
    made = program("kill when host.available < 10%")
    (by,) = armed(made)
    event = Event("killed", 6.0, armed=by, victim=candidate(1), sample=sample(6.0), problem="p")
    lines = [{"kind": "host", "uptime": 1.5}]
    _, happened, snapshot = read(
        START, recording.event_line(event), recording.snapshot_line(6.5, lines)
    )
    assert isinstance(happened, Happened)
    assert (happened.kind, happened.guard, happened.pid) == ("killed", by.guard.text, 1001)
    assert isinstance(snapshot, Snapshot)
    assert [json.loads(line) for line in snapshot.lines] == lines


def test_later_kinds_and_keys_are_passed_over_and_old_lines_stay_readable() -> None:
    old = '{"schema":"oomrules.recording/1","kind":"start","at":1,"more":[]}\n'
    assert read(old, '{"kind":"weather","at":"?"}\n', "\n") == [Start(1.0, "", 1.0)]


def test_a_last_line_that_was_cut_off_is_passed_over() -> None:
    whole = recording.sample_line(sample(6.0))
    assert len(read(START, whole, whole[:40])) == 2
    assert len(read(START, whole.rstrip("\n"))) == 2


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "no JSON"),
        ("[]", "JSON object"),
        ("{}", "without its kind"),
        ('{"kind":"start","at":1,"schema":"oomrules.recording/1"}', "a second start"),
        ('{"kind":"sample","at":4,"host":{}}', "before the sample above"),
        ('{"kind":"sample","at":-1,"host":{}}', "at is -1"),
        ('{"kind":"sample","at":NaN,"host":{}}', "NaN is no number"),
        ('{"kind":"sample","at":1e999,"host":{}}', "not a number of seconds"),
        ('{"kind":"sample","at":true,"host":{}}', "not a number of seconds"),
        ('{"kind":"sample","at":6,"host":[]}', "host is not an object"),
        ('{"kind":"sample","at":6,"host":{"available":-5}}', "available is -5"),
        ('{"kind":"sample","at":6,"host":{"available":1.5}}', "available is 1.5"),
        ('{"kind":"sample","at":6,"host":{},"units":{"/a":3}}', "the unit /a is not an object"),
        ('{"kind":"list","at":6,"candidates":[{"pid":0,"start":1,"rank":1}]}', "pid is 0"),
        ('{"kind":"list","at":6,"candidates":[{"pid":1,"rank":1}]}', "start is None"),
        ('{"kind":"list","at":6,"candidates":{}}', "candidates is not a list"),
        (
            '{"kind":"list","at":6,"candidates":[{"pid":1,"start":1,"rank":1},'
            '{"pid":2,"start":1,"rank":1}]}',
            "the same rank",
        ),
        ('{"kind":"event","at":6,"comm":7}', "comm is 7"),
        ('{"kind":"snapshot","at":6,"lines":["x"]}', "a line of the snapshot is not an object"),
    ],
)
def test_a_wrong_line_is_named(line: str, problem: str) -> None:
    with pytest.raises(Failure, match=r"r\.jsonl:2: ") as raised:
        read(START, f"{line}\n")
    assert problem in str(raised.value)


def test_a_recording_of_another_schema_is_refused() -> None:
    for lines in ((), ('{"kind":"sample"}\n',), ('{"kind":"start","at":1,"schema":"x/2"}\n',)):
        with pytest.raises(Failure, match=r"r\.jsonl:1: "):
            read(*lines)


@PATIENT
@given(st.text() | st.dictionaries(TEXTS, st.integers() | TEXTS).map(json.dumps))
def test_nothing_but_a_failure_comes_of_nonsense(line: str) -> None:
    try:
        read(START, line.replace("\n", " ") + "\n")
    except Failure:
        pass


def test_sizes_are_bounded() -> None:
    units = json.dumps(
        {
            "kind": "sample",
            "at": 6,
            "host": {},
            "units": {str(n): {} for n in range(recording.MOST + 1)},
        }
    )
    with pytest.raises(Failure, match="units"):
        read(START, units + "\n")
    with pytest.raises(Failure, match="available is"):
        read(START, f'{{"kind":"sample","at":6,"host":{{"available":{GIB**9}}}}}\n')
