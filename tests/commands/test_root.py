"""``--root``: what is read is below it, whoever made the links there."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from oomrules import config, resources
from oomrules.config import Config
from oomrules.errors import Failure
from oomrules.language import rulefiles
from oomrules.roots import Dangling, Root
from tests.commands.done import Done

Run = Callable[..., Done]

OUTSIDE = "never kill uid 4711\n"
INSIDE = "spare uid 7\n"


class Image:
    """A system of somebody else's, and a file beside it that is none of its business."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "image"
        self.rules = self.root / "etc/oomrules.d"
        self.rules.mkdir(parents=True)
        (self.root / "usr/lib/oomrules.d").mkdir(parents=True)
        self.outside = folder / "outside.oom"
        self.outside.write_text(OUTSIDE)

    def put(self, path: str, text: str = INSIDE) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def link(self, path: str, target: str | Path) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(target)
        return file


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path)


def said(found: rulefiles.Found) -> list[str]:
    return [one.message for one in found.diagnostics]


# --- where links lead ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/usr/lib/oomrules.d/presets/x.oom",
        "../../usr/lib/oomrules.d/presets/x.oom",
        "../../../../../../usr/lib/oomrules.d/presets/x.oom",
        "/../usr/lib/./oomrules.d//presets/../presets/x.oom",
        "/lib/oomrules.d/presets/x.oom",
    ],
)
def test_a_link_is_resolved_within_the_root(target: str, image: Image) -> None:
    image.put("usr/lib/oomrules.d/presets/x.oom")
    image.link("lib", "/usr/lib")
    path = image.link("etc/oomrules.d/50.oom", target)
    found = rulefiles.system(image.root)
    assert (str(path), INSIDE) in [(file.name, file.text) for file in found.files]
    assert not found.diagnostics
    assert Root(image.root).real(path) == image.root / "usr/lib/oomrules.d/presets/x.oom"


@pytest.mark.parametrize("where", ["etc", "etc/oomrules.d"])
def test_a_directory_on_the_way_may_be_a_link(where: str, image: Image) -> None:
    image.put("srv/here/oomrules.d/60.oom")
    image.rules.rmdir()
    if where == "etc":
        (image.root / "etc").rmdir()
    image.link(where, "/srv/here" if where == "etc" else "/srv/here/oomrules.d")
    texts = [file.text for file in rulefiles.system(image.root).files]
    assert INSIDE in texts


def test_no_link_leads_out(image: Image) -> None:
    targets = [str(image.outside), f"/proc/self/root{image.outside}", "../../../outside.oom"]
    for number, target in enumerate(targets):
        image.link(f"etc/oomrules.d/{number}.oom", target)
    found = rulefiles.system(image.root)
    assert OUTSIDE not in [file.text for file in found.files]
    assert len(said(found)) == 3 and all("does not exist" in one for one in said(found))


def test_a_dangling_link_says_where_it_leads_and_what_to_do(image: Image) -> None:
    link = image.link("etc/oomrules.d/50.oom", "/usr/lib/none.oom")
    (one,) = rulefiles.system(image.root).diagnostics
    assert f"{link} is a link to /usr/lib/none.oom" in one.message
    assert f"{image.root}/usr/lib/none.oom" in one.message
    assert one.help and f"rm {link}" in one.help


def test_what_a_link_says_is_harmless_on_a_terminal(image: Image, oomrules: Run) -> None:
    image.link("etc/oomrules.d/50.oom", "/x\x1b]0;evil\x07\n\u202e")
    done = oomrules("check", f"--root={image.root}")
    assert done.code == 1 and "is a link to /x" in done.out
    assert not any(char in done.out + done.err for char in "\x1b\x07\u202e")


def test_a_file_missing_behind_a_link_is_no_dangling_link(image: Image) -> None:
    image.put("srv/there")
    image.link("a", "/b")
    image.link("b", "srv")
    with pytest.raises(FileNotFoundError):
        Root(image.root).stat(image.root / "a/none")
    assert Root(image.root).read(image.root / "a/there", 99) == INSIDE.encode()


def test_a_dangling_directory_is_not_an_absent_one(image: Image) -> None:
    image.rules.rmdir()
    image.link("etc/oomrules.d", "/srv/none")
    (one,) = rulefiles.system(image.root).diagnostics
    assert "/srv/none" in one.message


def test_a_dangling_link_on_this_host_is_told_too(image: Image) -> None:
    link = image.link("etc/oomrules.d/50.oom", "/nowhere/none.oom")
    for named in (link, image.rules):
        (message,) = said(rulefiles.given([str(named)]))
        assert f"{link} is a link to /nowhere/none.oom, which does not exist" in message


def test_a_circle_is_an_error(image: Image) -> None:
    image.link("etc/oomrules.d/a.oom", "/etc/oomrules.d/b.oom")
    image.link("etc/oomrules.d/b.oom", "a.oom")
    found = rulefiles.system(image.root)
    assert len(said(found)) == 2 and all("circle" in one for one in said(found))


@pytest.mark.parametrize("there", ["nothing", "a file", "a circle"])
def test_a_link_to_null_masks_below_a_root_too(there: str, image: Image) -> None:
    image.put("usr/lib/oomrules.d/50.oom")
    mask = image.link("etc/oomrules.d/50.oom", "/dev/null")
    if there == "a file":
        image.put("dev/null", OUTSIDE)
    elif there == "a circle":
        image.link("dev", "/dev")
    found = rulefiles.system(image.root)
    assert found.masked == (mask,) and not found.diagnostics
    assert not {INSIDE, OUTSIDE} & {file.text for file in found.files}


@pytest.mark.parametrize("kind", ["pipe", "socket", "directory"])
def test_what_is_no_file_is_refused_and_not_waited_for(kind: str, image: Image) -> None:
    odd = image.root / "srv/odd"
    odd.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "socket":
        os.mknod(odd, stat.S_IFSOCK | 0o600)
    else:
        odd.mkdir()
    image.link("etc/oomrules.d/50.oom", "/srv/odd")
    (message,) = said(rulefiles.system(image.root))
    assert "regular file" in message or "directory" in message


def test_what_is_deeper_than_any_system_is_refused(image: Image) -> None:
    deep = "/".join(["d"] * 200)
    (image.root / deep).mkdir(parents=True)
    with pytest.raises(OSError, match="levels deep"):
        Root(image.root).stat(image.root / deep)


def test_the_vocabulary_is_not_left_out_for_a_link_that_has_its_path(image: Image) -> None:
    shipped = resources.rules() / rulefiles.VOCABULARY
    image.link("etc/oomrules.d/00-vocabulary.oom", shipped)
    image.put(str(shipped).lstrip("/"), INSIDE)
    found = rulefiles.system(image.root)
    assert found.adds_vocabulary and found.files[1].text == INSIDE


# --- the configuration --------------------------------------------------------------------------


def test_the_configuration_is_that_below_the_root(image: Image) -> None:
    image.put("srv/conf", "[Emit]\nTo=oom_score_adj\nHead=3\n")
    image.link("etc/oomrules.conf", "/srv/conf")
    assert config.load(root=image.root) == Config(("oom_score_adj",), 3)


def test_another_system_names_no_file_of_this_host(image: Image) -> None:
    image.put("etc/oomrules.conf", "[Emit]\nTo=oom_score_adj /etc/crontab\n")
    with pytest.raises(Failure, match="of this host") as failure:
        config.load(root=image.root)
    assert failure.value.hint and "--to /etc/crontab" in failure.value.hint


def test_a_dangling_configuration_is_not_an_absent_one(image: Image) -> None:
    image.link("etc/oomrules.conf", "/srv/none")
    with pytest.raises(Failure, match="is a link to /srv/none"):
        config.load(root=image.root)


# --- what is written ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["fmt"], ["check", "--fix"]])
def test_what_is_written_is_below_the_root(command: list[str], image: Image, oomrules: Run) -> None:
    crooked = "spare   uid 7 when rss > 1MB\n"
    inside = image.put("outside.oom", crooked)
    image.outside.write_text(crooked)
    link = image.link("etc/oomrules.d/50.oom", "/../outside.oom")
    oomrules(*command, f"--root={image.root}", str(link))
    assert link.is_symlink() and image.outside.read_text() == crooked
    assert command == ["fmt"] or inside.read_text() != crooked


def test_the_hook_s_drop_in_is_written_below_the_root(image: Image, oomrules: Run) -> None:
    elsewhere = image.root.parent / "elsewhere"
    elsewhere.mkdir()
    image.link("etc/systemd", elsewhere)
    (image.root / str(elsewhere).lstrip("/")).mkdir(parents=True)
    oomrules("hook", f"--root={image.root}", "--install", "nginx.service")
    assert not list(elsewhere.iterdir())
    written = f"{image.root}{elsewhere}/system/nginx.service.d/50-oomrules.conf"
    assert "ExecStartPost" in Path(written).read_text()
    oomrules("hook", f"--root={image.root}", "--remove", "nginx.service")
    assert not Path(written).exists()


# --- nothing else is opened ---------------------------------------------------------------------

# Runs a command and prints each path outside the root that it opened or listed. A name alone is
# opened in a directory that is open already, by a walk that follows no link.
WATCHER = """
import os, sys
root, allowed = sys.argv[1], sys.argv[2].split(":")
seen = []
def hook(event, arguments):
    if event in ("open", "os.listdir", "os.scandir", "os.open"):
        path = arguments[0]
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, str) or "/" not in path:
            return
        if path.startswith("/proc/self/fd/"):
            path = os.readlink(path)
        real = os.path.realpath(path)
        if not any(real == one or real.startswith(one + "/") for one in allowed):
            seen.append(path)
sys.addaudithook(hook)
del sys.argv[:3]
sys.argv.insert(0, "oomrules")
from oomrules.commands.main import main
try:
    main()
except SystemExit:
    pass
print("\\n".join(f"OPENED {path}" for path in seen), file=sys.stderr)
"""

COMMANDS = [
    ["cat"],
    ["check"],
    ["check", "--diff"],
    ["check", "RULES"],
    ["check", "--snapshot", "SNAPSHOT"],
    ["fmt", "--check", "RULES"],
    ["fmt", "--diff", "RULES/50.oom"],
    ["diff", "RULES", "RULES/50.oom", "--no-host"],
    ["diff", "RULES/60.oom", "RULES", "--snapshot", "SNAPSHOT"],
    ["rank", "--snapshot", "SNAPSHOT"],
    ["rank", "--snapshot", "SNAPSHOT", "--rules", "RULES"],
    ["explain", "100", "--snapshot", "SNAPSHOT"],
    ["emit", "--snapshot", "SNAPSHOT", "--to", "-"],
    ["test"],
    ["test", "--rules", "RULES"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_opens_anything_outside_the_root(command: list[str], image: Image) -> None:
    bait = image.root.parent / "bait"
    (bait / "oomrules.d/tests").mkdir(parents=True)
    (bait / "oomrules.d/bait.oom").write_text(OUTSIDE)
    (bait / "oomrules.d/tests/bait.test.toml").write_text("[[test]]\n")
    (bait / "host.jsonl").write_text("{}\n")
    image.put("etc/oomrules.d/60.oom")
    image.put("usr/lib/oomrules.d/x.oom")
    image.link("etc/oomrules.d/50.oom", "/usr/lib/oomrules.d/x.oom")
    image.link("etc/oomrules.d/70.oom", bait / "oomrules.d/bait.oom")
    image.link("etc/oomrules.d/80.oom.bak", bait / "oomrules.d/bait.oom")
    image.link("run", bait)
    image.link("usr/local/lib/oomrules.d", "../../../../bait/oomrules.d")
    tests = image.rules / "tests"
    tests.mkdir()
    image.link("etc/oomrules.d/tests/a.test.toml", bait / "oomrules.d/tests/bait.test.toml")
    # What these name is not to be found from the outside.
    for number, named in enumerate((str(bait), "../" * 30 + str(bait).lstrip("/"))):
        image.put(
            f"etc/oomrules.d/tests/{number}.test.toml",
            f'rules = ["{named}/oomrules.d/bait.oom"]\nsnapshot = "{named}/host.jsonl"\n'
            '[[test]]\nname = "x"\ncandidates = "p"\n',
        )
    snapshot = Path("tests/data/host.jsonl").resolve()
    known = {"RULES": str(image.rules), "SNAPSHOT": str(snapshot)}
    words = [known.get(word, word.replace("RULES", str(image.rules))) for word in command]
    allowed = [
        str(image.root), str(snapshot), str(resources.grammar().parents[1]), "/proc", "/dev/null",
        *{os.path.realpath(one) for one in (sys.prefix, sys.base_prefix, *sys.path) if one},
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", WATCHER, str(image.root), ":".join(allowed),
         words[0], f"--root={image.root}", *words[1:]],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "OOMRULES_STATE": str(image.root / "state")},
    )  # fmt: skip
    opened = [line for line in done.stderr.splitlines() if line.startswith("OPENED /")]
    assert opened == []
    assert "Traceback" not in done.stderr and "4711" not in done.stdout


def test_the_watcher_sees_what_is_outside(image: Image) -> None:
    """Without the root's walk a link does lead out, and is seen to."""
    link = image.link("etc/oomrules.d/70.oom", image.outside)
    done = subprocess.run(
        [sys.executable, "-c", WATCHER, str(image.root), str(image.root), "cat", f"--rules={link}"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert f"OPENED {link}" in done.stderr.splitlines()


def test_an_error_of_the_walk_is_one_of_the_system(image: Image) -> None:
    image.link("a", "/b")
    with pytest.raises(Dangling):
        Root(image.root).stat(image.root / "a")
    with pytest.raises(FileNotFoundError):
        Root(image.root).stat(image.root / "b")
    with pytest.raises(NotADirectoryError):
        Root(image.root).stat(image.put("c") / "d")
