"""What rules are told of containers and pods: on this host, in a recording, and by whom."""

from __future__ import annotations

import json
from typing import Any

import pytest

from oomrules.attributes import ATTRIBUTES
from oomrules.errors import Failure
from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes import ordinary, recorded
from oomrules.processes.facts import Facts
from oomrules.processes.procfs import ProcSource
from oomrules.processes.values import GETTERS, PROTECTING, SCORING
from oomrules.program.nodes import SELF_MADE
from oomrules.ranking.ranker import Ranker
from oomrules.ranking.tiers import FIRST
from oomrules.ranking.verdict import Verdict

ID = "0123456789abcdef" * 4
NAMES = [name for name in ATTRIBUTES if name.startswith(("container.", "pod."))]
SAID = {"name": "web", "image": "nginx:1"}
POD = {"name": "shop-0", "namespace": "shop", "priority": 7}
OF_USER = f"/user.slice/user-1000.slice/user@1000.service/libpod-{ID}.scope"


def host(cgroup: str, **more: Any) -> recorded.Recorded:
    line = ordinary.process_line(7, starttime=0, cgroup=cgroup, **more)
    described = {"clock_ticks": 100, "uptime": 100, "mem_total": 1 << 30}
    return ordinary.snapshot("x", described, [line])


def verdict(rules: str, snapshot: recorded.Recorded) -> Verdict:
    made = compiler.compile_texts([RuleText("x.oom", rules)])
    ranking = Ranker(made, snapshot.host).rank(snapshot)
    # What ranks it and what explains it have to agree.
    found = ranking.verdict(snapshot.by_pid[7])
    assert found.candidate == (ranking.pids == [7])
    return found


def values(snapshot: recorded.Recorded) -> dict[str, Any]:
    return {name: GETTERS[name](snapshot.by_pid[7], snapshot) for name in NAMES}


def test_outside_of_containers_everything_is_known_and_empty() -> None:
    found = values(host("/system.slice/web.service", container=SAID, pod=POD))
    assert found == {**dict.fromkeys(NAMES, ""), "pod.priority": 0}


def test_a_recording_has_what_the_place_tells_and_what_the_runtime_said() -> None:
    group = ordinary.container_group(ID, "cri-o", "u-1", "BestEffort")
    assert group
    # What a recording says of the place itself does not count.
    said = {"id": "x", "runtime": "docker", **SAID}
    assert values(host(group, container=said, pod={"uid": "x", "qos": "x", **POD})) == {
        "container.id": ID,
        "container.runtime": "cri-o",
        "container.name": "web",
        "container.image": "nginx:1",
        "pod.uid": "u-1",
        "pod.qos": "BestEffort",
        "pod.name": "shop-0",
        "pod.namespace": "shop",
        "pod.priority": 7,
    }


def test_an_old_recording_knows_no_names_and_that_protects() -> None:
    old = host(f"/system.slice/docker-{ID}.scope")
    assert values(old)["container.name"] is None and values(old)["container.id"] == ID
    assert not verdict('never kill container.name "web"', old).candidate
    assert verdict('kill first container.name "*"', old).tier != FIRST
    assert verdict('never kill container.runtime "podman"', old).candidate


@pytest.mark.parametrize(
    "said",
    [
        {"container": 7},
        {"container": []},
        {"container": {"name": 7}},
        {"container": {"image": ["x"]}},
        {"pod": {"priority": "7"}},
        {"pod": {"priority": True}},
        {"pod": {"priority": 2**70}},
        {"pod": "x"},
    ],
)
def test_a_recording_that_says_something_impossible_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(Failure, match=r"x:2: (container|pod|name|image|priority)"):
        host("/", **said)


@pytest.mark.parametrize("path", [OF_USER, f"/system.slice/web.service/libpod-payload-{ID}"])
def test_a_group_inside_a_service_proves_no_container(path: str) -> None:
    claimed = host(path, container=SAID)
    assert values(claimed)["container.name"] == "web"
    assert verdict('kill first container.name "web"', claimed).tier == FIRST
    assert verdict('never kill container.name "web"', claimed).candidate
    assert verdict('never kill anything when container.name != "web"', claimed).candidate
    assert verdict("never kill anything when pod.priority == 0", claimed).candidate
    assert verdict(f'only kill container.id "{ID}"', claimed).candidate
    # To be left out protects, too.
    assert verdict('only kill container.name "other"', claimed).candidate
    spared = verdict('spare container.name "web" by 8', claimed)
    assert spared.weight == (1, 1)
    for name in NAMES:
        for asking in (PROTECTING, SCORING):
            assert asking[name](claimed.by_pid[7], claimed) is SELF_MADE
    # It is no better off by a score that rests on it than by the memory that it has.
    assert verdict("score rss / (1 + pod.priority)", claimed).by_memory


def test_the_same_group_of_the_system_s_own_does() -> None:
    proved = host(f"/machine.slice/libpod-{ID}.scope/container", container=SAID)
    assert not verdict('never kill container.name "web"', proved).candidate
    assert not verdict('only kill container.name "other"', proved).candidate


def test_a_process_of_a_user_outside_of_containers_is_no_case_of_doubt() -> None:
    ordinary_one = host(OF_USER.rpartition("/")[0] + "/app.slice/x.scope")
    assert not verdict('only kill container.name "other"', ordinary_one).candidate
    assert verdict('never kill container.name "web"', ordinary_one).candidate


def test_facts_of_this_host_are_looked_up_by_id(proc: Any) -> None:
    proc.add(7, cgroup=f"0::/docker/{ID}\n".encode())
    proc.add(8, cgroup=f"0::/docker/{'f' * 64}\n".encode())
    source = ProcSource(compiler.compile_texts([]), root=str(proc.root))
    source.refresh()
    name = GETTERS["container.name"]
    assert name(source.by_pid[7], source) is None
    source.facts = Facts(containers={ID: {"name": "web", "image": 7}})
    assert name(source.by_pid[7], source) == "web"
    assert name(source.by_pid[8], source) is None
    # Of another type it is as good as unknown.
    assert GETTERS["container.image"](source.by_pid[7], source) is None


def test_what_is_recorded_is_what_is_read() -> None:
    said = {"name": "web", "pod_priority": 3, "pod_name": "shop-0"}
    group = ordinary.container_group(ID, "containerd", "u-1", "Guaranteed")
    assert group
    lines = recorded.container_lines(ID, "containerd", "u-1", "Guaranteed", said)
    assert json.loads(json.dumps(lines)) == {
        "container": {"id": ID, "runtime": "containerd", "name": "web"},
        "pod": {"uid": "u-1", "qos": "Guaranteed", "name": "shop-0", "priority": 3},
    }
    found = values(host(group, **lines))
    assert (found["container.name"], found["pod.priority"]) == ("web", 3)
    assert found["container.image"] is None
