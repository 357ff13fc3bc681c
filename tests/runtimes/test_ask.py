"""Runtimes that answer, lie, hang, say too much or are not there: what is known then, and said."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oomrules.processes.containers import Contained
from oomrules.processes.facts import CONTAINER_FACTS
from oomrules.runtimes import answers
from oomrules.runtimes.ask import Answers, Places, ask

ONE, TWO, POD = "1" * 64, "2" * 64, "3" * 64
# What is given up takes less, on a busy machine too, in seconds.
GUARD = 60.0
DOCKER = Contained(ONE, "docker")
PODMAN = Contained(ONE, "podman")
PODS = Contained(ONE, "containerd", pod="u-1", qos="Burstable")

Serve = Callable[..., str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Listen on a socket, and give the same answer each time; ``hold`` keeps it open for ever."""
    open_ones: list[socket.socket] = []

    def serve(answer: bytes, name: str = "docker.sock", hold: bool = False, drip: float = 0) -> str:
        path = str(tmp_path / name)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        open_ones.append(listener)

        def run() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                open_ones.append(peer)
                try:
                    peer.recv(65536)
                    for byte in answer if drip else ():
                        peer.sendall(bytes([byte]))
                        time.sleep(drip)
                    peer.sendall(b"" if drip else answer)
                except OSError:
                    pass
                if not hold:
                    peer.close()

        threading.Thread(target=run, daemon=True).start()
        return path

    yield serve
    for one in open_ones:
        one.close()


def http(body: Any, status: str = "200 OK") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.0 {status}\r\nContent-Type: application/json\r\n\r\n".encode() + data


def at(tmp_path: Path, **places: Any) -> Places:
    """Return places of which only the given ones are there."""
    gone = str(tmp_path / "gone")
    usual = {"docker": gone, "podman": gone, "storage": (gone,), "programs": gone}
    return Places(**{**usual, **places})


def names(found: Answers) -> dict[str, Any]:
    return {id_: said.get("name") for id_, said in found.containers.items()}


LISTED = [
    {"Id": ONE, "Names": ["/other/alias", "/web"], "Image": "nginx:1", "Labels": {"a": "b"}},
    {"Id": TWO, "Names": ["/two"], "Image": "x"},
]


def test_docker_tells_name_and_image_of_the_containers_that_are_there(
    serve: Serve, tmp_path: Path
) -> None:
    found = ask(["name", "image"], [DOCKER], at(tmp_path, docker=serve(http(LISTED))))
    assert found.containers == {ONE: {"runtime": "docker", "name": "web", "image": "nginx:1"}}
    assert (found.problems, found.whole) == ([], True)


def test_of_kubernetes_on_docker_the_labels_count(serve: Serve, tmp_path: Path) -> None:
    labels = {
        "io.kubernetes.container.name": "app",
        "io.kubernetes.pod.name": "shop-0",
        "io.kubernetes.pod.namespace": "shop",
        "oomrules/priority": "-7",
    }
    listed = [{"Id": ONE, "Names": ["/k8s_app_shop-0_shop_u_0"], "Image": "i", "Labels": labels}]
    place = Contained(ONE, "", pod="u", qos="Guaranteed")
    found = ask([*CONTAINER_FACTS], [place], at(tmp_path, docker=serve(http(listed))))
    assert found.containers[ONE] == {
        "runtime": "docker",
        "name": "app",
        "image": "i",
        "pod_name": "shop-0",
        "pod_namespace": "shop",
        "pod_priority": -7,
    }
    assert found.problems == []


def test_no_runtime_is_asked_without_need(tmp_path: Path) -> None:
    by_path = [Contained("web", "lxc", "web"), Contained(pod="u", qos="Burstable")]
    # What only a pod of Kubernetes has.
    assert ask(["name", "image"], by_path, at(tmp_path)) == Answers()
    assert ask(["pod_priority", "runtime"], [DOCKER], at(tmp_path)) == Answers()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "something else than HTTP"),
        (b"hello\r\n", "something else than HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500 + b"\r\n[]", "something else than HTTP"),
        (http({}, "500 No"), "status 500"),
        (http({"message": "x"}, "404 Not Found"), "status 404"),
        (http(b"\xff\xfe"), "no JSON"),
        (http(b"[" * 100_000), "no JSON"),
        (http(b"9" * 5000), "no JSON"),
        (http(b"x" * (answers.MOST_SAID + 1)), "more than 4 MiB"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[]", "something else than HTTP"),
    ],
)
def test_an_answer_that_is_none_is_said(
    answer: bytes, said: str, serve: Serve, tmp_path: Path
) -> None:
    path = serve(answer)
    found = ask(["name"], [DOCKER], at(tmp_path, docker=path))
    assert (found.containers, found.whole) == ({}, False)
    (problem,) = found.problems
    assert said in problem and path in problem and "systemctl status docker" in problem


@pytest.mark.parametrize(
    "listed",
    [
        *({}, None, 7, "x", [None, 7, "x", [], {}]),
        [{"Id": ONE, "Names": 7, "Image": ["x"], "Labels": "x"}],
        [{"Id": ONE, "Names": [None, {}, "/a/b"], "Image": None, "Labels": {"a": None}}],
        [{"Id": ONE, "Names": ["/" + "x" * 257], "Image": "y" * 513}],
        [{"Id": ONE, "Names": ["/\ud800"], "Image": "\ud800"}],
        [{"Id": ONE, "Names": ["/"], "Image": ""}],
        [{"Id": [ONE], "Names": ["/x"]}, {"Id": ONE[:12], "Names": ["/x"]}],
    ],
)
def test_what_is_no_name_is_unknown(listed: Any, serve: Serve, tmp_path: Path) -> None:
    path = serve(http(json.dumps(listed).encode()))
    found = ask(["name"], [DOCKER], at(tmp_path, docker=path))
    assert names(found).get(ONE) is None
    assert len(found.problems) == 1 and ONE[:12] in found.problems[0]


@pytest.mark.parametrize("how", [{"hold": True}, {"drip": 0.05}])
def test_a_runtime_that_hangs_or_drips_is_given_up(how: Any, serve: Serve, tmp_path: Path) -> None:
    path = serve(b"HTTP/1.0 200 OK\r\n" * 100, **how)
    begun = time.monotonic()
    found = ask(["name"], [DOCKER], at(tmp_path, docker=path), each=0.5)
    assert time.monotonic() - begun < GUARD
    assert "it did not answer in time" in found.problems[0] and path in found.problems[0]


def test_a_runtime_that_is_not_there_is_said(tmp_path: Path) -> None:
    found = ask(["name"], [DOCKER], at(tmp_path))
    (problem,) = found.problems
    assert "Docker" in problem and "no such file" in problem and str(tmp_path) in problem
    assert not found.whole


def test_a_container_that_is_gone_or_new_is_said_by_its_id(serve: Serve, tmp_path: Path) -> None:
    found = ask(["name"], [DOCKER], at(tmp_path, docker=serve(http([]))))
    (problem,) = found.problems
    assert f"Docker does not know 1 container ({ONE[:12]})" in problem
    assert not found.whole


def test_a_user_s_groups_cause_no_note(serve: Serve, tmp_path: Path) -> None:
    theirs = Contained(TWO, "docker", claimed=True)
    found = ask(["name"], [theirs], at(tmp_path))
    assert (found.problems, found.whole, found.containers) == ([], True, {})
    # Of a thousand of them, those that root made are not left out.
    many = [Contained(f"{number:064x}", "docker", claimed=True) for number in range(5000)]
    found = ask(["name"], [*many, DOCKER], at(tmp_path, docker=serve(http(LISTED))))
    assert names(found) == {ONE: "web"}


# --- Podman ------------------------------------------------------------------------------


def stored(tmp_path: Path, data: Any) -> tuple[str, ...]:
    folder = tmp_path / "storage" / "overlay-containers"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "containers.json").write_text(data if isinstance(data, str) else json.dumps(data))
    return (str(tmp_path / "storage"), str(tmp_path / "run"))


STORED = [
    {
        "id": ONE,
        "names": ["batch-1"],
        "image": "sha",
        "metadata": json.dumps({"image-name": "localhost/tiny:latest", "name": "old"}),
    }
]


def test_podman_s_storage_tells_names_while_no_service_of_it_runs(tmp_path: Path) -> None:
    places = at(tmp_path, storage=stored(tmp_path, STORED))
    found = ask(["name", "image"], [PODMAN], places)
    assert found.containers[ONE] == {
        "runtime": "podman",
        "name": "batch-1",
        "image": "localhost/tiny:latest",
    }
    assert found.problems == []


def test_podman_s_service_is_asked_for_pods_alone(serve: Serve, tmp_path: Path) -> None:
    listed = [{"Id": ONE, "Names": ["batch-1"], "Image": "x", "PodName": "work"}]
    path = serve(http(listed), "podman.sock")
    places = at(tmp_path, podman=path, storage=stored(tmp_path, STORED))
    in_pod = Contained(ONE, "podman", pod=POD)
    assert "pod_name" not in ask(["name", "pod_name"], [PODMAN], places).containers[ONE]
    found = ask(["name", "pod_name"], [in_pod], places)
    assert found.containers[ONE]["pod_name"] == "work" and found.problems == []
    without = ask(["name", "pod_name"], [in_pod], at(tmp_path, storage=places.storage))
    assert names(without) == {ONE: "batch-1"}
    assert "does not tell the pod's name" in without.problems[0]


@pytest.mark.parametrize(
    "data", ["", "{", "[[[", "7", '["x", {"id": 7, "names": "x", "metadata": "[1]"}]']
)
def test_a_storage_that_is_odd_tells_nothing(data: str, tmp_path: Path) -> None:
    found = ask(["name"], [PODMAN], at(tmp_path, storage=stored(tmp_path, data)))
    assert found.containers == {} and len(found.problems) == 1 and not found.whole


def test_a_storage_that_is_a_link_or_a_pipe_is_not_read(tmp_path: Path) -> None:
    storage = stored(tmp_path, STORED)
    file = Path(storage[0], "overlay-containers", "containers.json")
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert ask(["name"], [PODMAN], at(tmp_path, storage=storage)).containers == {}


# --- Kubernetes --------------------------------------------------------------------------

PS = {
    "containers": [
        {
            "id": ONE,
            "podSandboxId": POD,
            "metadata": {"name": "app", "attempt": 0},
            "image": {"image": "sha256:0", "userSpecifiedImage": "registry.k8s.io/app:1"},
            "labels": {
                "io.kubernetes.container.name": "app",
                "io.kubernetes.pod.name": "shop-0",
                "io.kubernetes.pod.namespace": "shop",
            },
        }
    ]
}
PODS_LISTED = {
    "items": [
        {
            "id": POD,
            "metadata": {"name": "shop-0", "namespace": "shop", "uid": "u-1"},
            "annotations": {"oomrules/priority": "2000"},
        }
    ]
}


def crictl(tmp_path: Path, body: str) -> str:
    program = tmp_path / "crictl"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return str(tmp_path)


def test_crictl_tells_containers_and_their_pods(tmp_path: Path) -> None:
    (tmp_path / "ps.json").write_text(json.dumps(PS, indent=2) + "\n")
    (tmp_path / "pods.json").write_text(json.dumps(PODS_LISTED, indent=2) + "\n")
    places = at(tmp_path, programs=crictl(tmp_path, f"cat {tmp_path}/$2.json"))
    sandbox = PODS._replace(id=POD)
    found = ask([*CONTAINER_FACTS], [PODS, sandbox], places)
    assert found.containers[ONE] == {
        "name": "app",
        "image": "registry.k8s.io/app:1",
        "pod_name": "shop-0",
        "pod_namespace": "shop",
        "pod_priority": 2000,
    }
    assert found.containers[POD]["name"] == "POD"


def test_a_priority_that_nobody_told_is_unknown_and_said(tmp_path: Path) -> None:
    (tmp_path / "ps.json").write_text(json.dumps(PS) + "\n")
    for written in ("high", "9" * 12, "1.5", ""):
        pod = {"id": POD, "annotations": {"oomrules/priority": written}}
        (tmp_path / "pods.json").write_text(json.dumps({"items": [pod]}) + "\n")
        places = at(tmp_path, programs=crictl(tmp_path, f"cat {tmp_path}/$2.json"))
        found = ask(["pod_priority"], [PODS], places)
        assert "pod_priority" not in found.containers[ONE]
        assert "annotation oomrules/priority" in found.problems[0]
        # To ask again would change nothing.
        assert found.whole


@pytest.mark.parametrize("body", ["exit 1", "echo '{'", "echo '[7]'", "sleep 60 & wait"])
def test_a_crictl_that_fails_or_hangs_is_said(body: str, tmp_path: Path) -> None:
    begun = time.monotonic()
    found = ask(["name"], [PODS], at(tmp_path, programs=crictl(tmp_path, body)), each=1)
    assert time.monotonic() - begun < GUARD
    assert found.containers == {} and "crictl" in found.problems[0] and not found.whole


def test_a_host_without_crictl_is_told_to_install_it(tmp_path: Path) -> None:
    found = ask(["name"], [PODS], at(tmp_path))
    assert "there is no crictl" in found.problems[0] and "cri-tools" in found.problems[0]
