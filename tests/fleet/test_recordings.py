"""Recordings of hosts that belong to others: each is read up to a bound, or named."""

from __future__ import annotations

import gzip
import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from oomrules.errors import Failure
from oomrules.fleet import questions, recordings
from oomrules.fleet.questions import Question, text_of
from oomrules.language.compiler import compile_texts
from oomrules.language.text import RuleText
from tests.fleet import hosts

TEXT = "".join(json.dumps(line) + "\n" for line in hosts.host(1)).encode()
PACKED = zstandard.ZstdCompressor().compress(TEXT)
LINE = b'{"kind":"later"}\n'


def bomb(line: bytes, gigabytes: int) -> bytes:
    """Pack gigabytes of the same lines, which takes no memory here."""
    # Members that follow one another are one text (RFC 1952, 2.2).
    member = gzip.compress(line * (2**26 // len(line)), 1)
    return gzip.compress(TEXT) + member * (gigabytes * 16)


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_a_recording_is_the_same_however_it_is_packed(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"host.jsonl{ending}"
    path.write_bytes(hosts.packed(TEXT, ending))
    assert len(recordings.load(str(path)).by_pid) == 40
    # The name says nothing: what the file begins with does.
    other = tmp_path / "other.jsonl"
    path.rename(other)
    assert len(recordings.load(f"file://{other}").by_pid) == 40


def test_frames_of_zstd_may_follow_one_another(tmp_path: Path) -> None:
    half = TEXT.index(b"\n", len(TEXT) // 2) + 1
    pack = zstandard.ZstdCompressor().compress
    path = tmp_path / "host.jsonl.zst"
    path.write_bytes(pack(TEXT[:half]) + pack(b"") + pack(TEXT[half:]))
    assert len(recordings.load(str(path)).by_pid) == 40


@pytest.mark.parametrize("pack", [zstandard.ZstdCompressor().compress, gzip.compress])
def test_a_recording_cut_anywhere_is_never_read_as_a_whole_one(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    packed = pack(TEXT)
    path = tmp_path / "host.jsonl"
    for size in {*range(5, len(packed), 97), len(packed) - 1}:
        path.write_bytes(packed[:size])
        with pytest.raises(Failure) as failed:
            recordings.load(str(path))
        assert str(path) in failed.value.message


HOSTILE: dict[str, bytes] = {
    "not UTF-8": TEXT + b'{"kind":"\xff"}\n',
    "a damaged zstd": PACKED[:300] + b"\0" * 50 + PACKED[350:],
    "nothing": b"",
    "no JSON": b"\x80\x04\x95pickle.",
    "a deep line": b"[" * 10**6 + b"\n",
    "a line of a huge number": b'{"kind":"host","page_size":' + b"9" * 10**6 + b"}\n",
    "a long line": TEXT + b"x" * (17 * 2**20),
    "long lines": TEXT + (b'{"kind":"later","x":"' + b"x" * 2**20 + b'"}\n') * 130,
    "many lines": TEXT + LINE * recordings.MOST_LINES,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_recording_is_a_failure_that_names_it(tmp_path: Path, what: str) -> None:
    path = tmp_path / "host.jsonl"
    path.write_bytes(HOSTILE[what])
    with pytest.raises(Failure) as failed:
        recordings.load(str(path))
    assert str(path) in failed.value.message and len(failed.value.message) < 1000


def test_pipes_devices_and_directories_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "pipe", "/dev/zero", "/dev/tty", tmp_path / "folder", "/nothing"):
        with pytest.raises(Failure, match=str(path)):
            recordings.load(str(path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a link to another user")
def test_a_link_is_followed_only_if_it_is_ours(tmp_path: Path) -> None:
    (target,) = hosts.write(tmp_path / "elsewhere", 1, 5, hosts.mixed)
    folder = tmp_path / "hosts"
    folder.mkdir()
    link = folder / "host.jsonl"
    link.symlink_to(os.path.join("..", "elsewhere", target.name))
    (name,) = recordings.named([str(folder)])
    assert len(recordings.load(name).by_pid) == 5
    os.chown(link, 65534, 65534, follow_symlinks=False)
    with pytest.raises(Failure, match=f"{name}.*link that uid 65534 made"):
        recordings.load(name)


@pytest.mark.parametrize(
    "start",
    [
        gzip.compress(TEXT),
        # A frame to be skipped (RFC 8878, 3.1.2), of as many bytes as fit.
        PACKED + b"\x50\x2a\x4d\x18\xff\xff\xff\xff",
    ],
    ids=["gzip", "zstd"],
)
def test_a_hole_behind_what_is_packed_is_not_read_to_its_end(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "hole.jsonl"
    path.write_bytes(start)
    os.truncate(path, 2**42)
    with pytest.raises(Failure, match=rf"{path} is packed, and (has more than 32 MiB|damaged)"):
        recordings.load(str(path))


def test_a_zstd_may_not_ask_for_gigabytes_to_be_kept(tmp_path: Path) -> None:
    # Magic, a header without a size, a window of 2 GiB (RFC 8878, 3.1.1.1.2), a block of zeros.
    path = tmp_path / "window.jsonl.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd" + bytes([0b00000000, 21 << 3]) + b"\x03\x00\x10\x00")
    with pytest.raises(Failure, match=str(path)):
        recordings.load(str(path))


@pytest.mark.parametrize("line", [b"\0" * 2**16, LINE], ids=["one line", "many lines"])
def test_ten_gigabytes_that_are_packed_take_a_bounded_part_of_memory(
    tmp_path: Path, line: bytes
) -> None:
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(bomb(line, 10))
    _fails_in_little_memory(path)


def test_a_zstd_that_unpacks_to_ten_gigabytes_takes_a_bounded_part_of_memory(
    tmp_path: Path,
) -> None:
    path = tmp_path / "bomb.jsonl.zst"
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    piece = b"\0" * 2**24
    path.write_bytes(b"".join(packer.compress(piece) for _ in range(640)) + packer.flush())
    _fails_in_little_memory(path)


def _fails_in_little_memory(path: Path) -> None:
    """Load a file in a process of its own, which may have 400 MiB more than it has."""
    child = os.fork()
    if not child:
        code = 1
        try:
            size = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
            most = size + 400 * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
            recordings.load(str(path))
        except Failure as error:
            code = 0 if "memory" not in error.message and path.name in error.message else 2
        finally:
            sys.stdout.flush()
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_worker_gives_an_answer_whatever_it_is_given(tmp_path: Path) -> None:
    program = text_of(compile_texts([RuleText("a.oom", "score footprint\n")]))
    question = Question("rank", (program,))
    path = tmp_path / "bad.jsonl"
    path.write_bytes(HOSTILE["no JSON"])
    good = hosts.write(tmp_path / "good", 1)[0]
    bad, judged = questions.answers(question, (str(path), str(good)))
    assert str(path) in bad["error"] and judged["first"]["pid"]
    assert "error" in questions.answer(Question("rank", ("{}",)), str(good))


def test_addresses_are_read_through_fsspec() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for name, data in (("a.jsonl.zst", PACKED), ("b.jsonl", TEXT), ("c.txt", b"")):
        memory.pipe(f"/fleet-test/{name}", data)
    try:
        names = recordings.named(["memory://fleet-test/"])
        assert [name.rpartition("/")[2] for name in names] == ["a.jsonl.zst", "b.jsonl"]
        assert names == recordings.named(["memory://fleet-test/*.jsonl*"])
        assert all(len(recordings.load(name).by_pid) == 40 for name in names)
        with pytest.raises(Failure, match="there is no recording"):
            recordings.named(["memory://nothing-here/"])
        with pytest.raises(Failure, match="memory://fleet-test/x"):
            recordings.load("memory://fleet-test/x")
    finally:
        memory.rm("/fleet-test", recursive=True)


def test_an_address_of_no_kind_says_so() -> None:
    with pytest.raises(Failure, match="nokind"):
        recordings.load("nokind://a/b.jsonl")


def test_only_the_time_in_a_name_makes_it_the_recording_of_another_hour(tmp_path: Path) -> None:
    folder = tmp_path / "ops@example"
    folder.mkdir()
    wanted = ["a.jsonl", "b.jsonl.gz", "c@d.jsonl", "e@20260102T000000Z.jsonl"]
    for name in (*wanted, "e@20260101T235959Z.jsonl.zst"):
        (folder / name).touch()
    assert recordings.named([str(folder)], latest=True) == [str(folder / name) for name in wanted]
