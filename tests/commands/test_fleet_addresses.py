"""Recordings at addresses: of a web server, and of other storage that fsspec knows."""

from __future__ import annotations

import base64
import http.server
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import fsspec
import pytest

from oomrules.errors import Failure
from oomrules.fleet import recordings
from tests.commands.done import Done
from tests.fleet import hosts

Run = Callable[..., Done]
SECRET = "s3cretpw"


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves files; those below /private only to who has the password."""

    def do_GET(self) -> None:
        if self.path.startswith("/private/"):
            wanted = base64.b64encode(f"u5er:{SECRET}".encode()).decode()
            if self.headers.get("Authorization") != f"Basic {wanted}":
                return self.send_error(401)
        return super().do_GET()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server of two directories with three hosts each."""
    for folder in ("hosts", "private"):
        hosts.write(tmp_path / folder, 3, 5, hosts.mixed)
    serving = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Server, directory=str(tmp_path))
    )
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{serving.server_port}"
    serving.shutdown()
    serving.server_close()


def test_a_web_server_s_recordings_are_those_of_the_files(
    oomrules: Run, server: str, tmp_path: Path
) -> None:
    asked = ("fleet", "rank", "--processes", 1)
    there, here = (
        oomrules(*asked, where) for where in (f"http://{server}/hosts/", tmp_path / "hosts")
    )
    assert "3 hosts judged" in here.out, here.err
    shown = there.out.replace(f"http://{server}", str(tmp_path)).replace("%40", "@")
    # The columns are as wide as the names.
    assert shown.split() == here.out.split()
    files = [f"http://{server}/hosts/{path.name}" for path in (tmp_path / "hosts").iterdir()]
    assert "3 hosts judged" in oomrules(*asked, *files).out
    assert "3 hosts judged" in oomrules(*asked, f"http://{server}/hosts/", "--latest").out


@pytest.mark.parametrize("password", [SECRET, "wr0ngpw"])
@pytest.mark.parametrize("form", ["table", "jsonl"])
def test_a_password_is_used_and_never_printed(
    oomrules: Run, server: str, password: str, form: str
) -> None:
    at = f"http://u5er:{password}@{server}/private/"
    words = (
        "",
        "host000000@20260101T000000Z.jsonl",
        "none.jsonl?X-Amz-Signature=secr3t&a=b",
        "*.x",
    )
    for word in words:
        done = oomrules("fleet", "rank", at + word, "--processes", 1, "--format", form)
        text = done.out + done.err
        assert password not in text and "secr3t" not in text and "u5er" not in text, text
        assert server in text
        assert (done.code == 0) == (password == SECRET and word in words[:2]), text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("http://a:b@h/x.jsonl", "http://…@h/x.jsonl"),
        ("http://a:b@c/d@h/x", "http://…@c/d@h/x"),
        (
            "s3://bucket/host@20260101T000000Z.jsonl.zst",
            "s3://bucket/host@20260101T000000Z.jsonl.zst",
        ),
        ("https://h/x?a=1&sig=2&api_key=3#f", "https://h/x?a=1&sig=…&api_key=…#f"),
        ("404, url='http://a:b@h/x?token=1'", "404, url='http://…@h/x?token=…"),
        ("/srv/a@b/x.jsonl", "/srv/a@b/x.jsonl"),
    ],
)
def test_what_is_secret_in_an_address_is_left_out(name: str, said: str) -> None:
    assert recordings.shown(name) == said


def test_what_cannot_be_reached_says_why(oomrules: Run, server: str) -> None:
    for address, why in (
        (f"http://{server}/none.jsonl", "404"),
        (f"http://{server}/private/host.jsonl", "401"),
        ("http://127.0.0.1:1/host.jsonl", "connect"),
    ):
        done = oomrules("fleet", "rank", address, "--processes", 1)
        assert done.code == 2 and address in done.err and why in done.err.lower(), done.err
        assert "Traceback" not in done.err


def test_a_name_in_a_store_is_no_address_inside_another_one() -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/evil/a::x.jsonl", b"{}")
    (found,) = recordings.named(["memory://evil/"])
    with pytest.raises(Failure, match="::"):
        recordings.load(found)
    store.rm("/evil", recursive=True)
