"""`snapshot --redact`: other names, and the same order and verdicts under the rules."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from oomrules import resources
from oomrules.errors import Failure
from oomrules.fields import FIELDS
from oomrules.fleet import pseudonyms, redaction
from oomrules.fleet.pseudonyms import Pseudonyms
from oomrules.language import compiler, rulefiles
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.program.program import Program
from oomrules.ranking.ranker import Ranker
from tests.fleet import hosts
from tests.oracle import strategies
from tests.oracle.strategies import Object, RuleSet, thorough

KEY = b"a key of the tests"
SHIPPED = compiler.compile_rules(rulefiles.given([str(resources.rules())]))

RULES = (
    'never kill comm "sshd"\nprefer comm "post*" by 4\nspare parent.comm "system?"\n',
    'in "ninja.service": prefer anything by 3\nin "user-*.slice": spare niced\n',
    'kill last user "anna"\nspare uid >= 1003\nnever kill uid 33\nprefer user "?ert"\n',
    'kill first cmdline ~ "instance=7[0-9]+$"\nspare exe ~ "(post|sys).*[a-z]$"\n',
    'spare cgroup "/user.slice/*"\nprefer cgroup ~ "nginx[.]service"\nprefer unit "*i*.service"\n',
    'list short = "l?", "cro*", "redis-server"\nnever kill comm in @short\n',
    'kill whole "cron.service"\nprefer slice "system.slice" when unit.processes > 2\n',
    'prefer anything under comm "systemd" by 2\nspare anything child of uid 0\n',
)
ID = "0123456789abcdef" * 4
POD = "7d1c2f5a-93b7-4e2a-8f3e-111122223333"


def made(text: str) -> Program:
    words = rulefiles.given([str(resources.rules() / rulefiles.VOCABULARY)]).files
    return compiler.compile_texts([*words, RuleText("a.oom", f"score footprint\n{text}")])


def judged(lines: Iterable[dict[str, Any]], program: Program) -> tuple[list[int], dict[int, Any]]:
    """Give the order, and what the rules say of each process."""
    snapshot = recorded.parse(map(json.dumps, lines), "recording")
    ranking = Ranker(program, snapshot.host).rank(snapshot)
    return ranking.pids, {pid: ranking.verdict(one) for pid, one in snapshot.by_pid.items()}


def names_of(lines: list[dict[str, Any]]) -> set[str]:
    """Give every name in a recording: of programs, users, units, files, and arguments."""
    found: set[str] = set()
    for line in lines:
        found |= {line[key] for key in ("comm", "exe", "unit") if line.get(key)}
        found |= {*line.get("cmdline", ()), *line.get("users", {}).values()}
        found |= set(line.get("cgroup", "").split("/"))
    # Root is called so everywhere, and the numbers in these are looked at elsewhere.
    odd = re.compile("|root|user-.*|session-.*|(system|user)[.]slice")
    return {name for name in found if not odd.fullmatch(name)}


def there(name: str, text: str) -> bool:
    """Whether a name is in a text; a short one as a word, since any letters may be in a hash."""
    return bool(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)) or (
        len(name) > 5 and name in text
    )


def test_500_hosts_keep_order_and_verdicts_and_no_name() -> None:
    programs = [(made(text), text) for text in RULES] + [(SHIPPED, "")]
    kept = 0
    for seed in range(500):
        lines = list(hosts.host(seed, 25))
        program, rules = programs[seed % len(programs)]
        found = redaction.redacted(lines, program, KEY)
        assert judged(found, program) == judged(lines, program), seed
        text = json.dumps(found)
        for name in names_of(lines):
            spelled = name in (rules or json.dumps(SHIPPED.nodes)).replace("[.]", ".")
            if there(name, text):
                assert spelled, (seed, name, rules)
                kept += 1
    # A name that a rule spells out has to stay.
    assert kept


def contained(dice: int) -> list[dict[str, Any]]:
    """Give a host with containers, pods, aliases and a user's manager."""
    lines = list(hosts.host(dice, 12))
    pod = POD.replace("-", "_")
    paths = (
        f"/system.slice/docker-{ID}.scope",
        f"/docker/{ID}/secret-job",
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{pod}.slice"
        f"/cri-containerd-{ID}.scope",
        f"/kubepods/besteffort/pod{POD}/{ID}",
        "/lxc.payload.accounting/init.scope",
        "/lxc/accounting",
        r"/machine.slice/machine-web\x2dshop.scope/payload/system.slice/shop.service",
        "/user.slice/user-1003.slice/user@1003.service/app.slice/secretapp@7.service",
    )
    for line, path in zip(lines[-len(paths) :], paths, strict=True):
        line["cgroup"] = path
        if "pod" in path and "kube" in path:
            line["pod"] = {"uid": POD, "qos": "Burstable", "name": "shop-0", "namespace": "acme"}
        line["container"] = {"id": ID, "runtime": "docker", "name": "shopdb", "image": "acme/db:1"}
        lines.insert(1, {"kind": "scope", "cgroup": path, "unit": None, "properties": {}})
    lines[1]["unit"] = "secretapp@7.service"
    facts = {"Names": ["secretapp@7.service"], "Description": "Payroll of Acme", "WantedBy": []}
    lines[1]["properties"] = {**facts, "OOMPolicy": "stop", "ActiveState": "active"}
    lines[1]["session"] = {"class": "user", "type": "tty", "active": True}
    lines[0]["notes"] = ["the bus of anna did not answer"]
    lines[0]["later"] = "a key of a later version: secret"
    lines[1]["properties"]["User"] = lines[1]["session"]["seat"] = "bookkeeper"
    return lines


@pytest.mark.parametrize(
    "rules",
    [
        "",
        'prefer container.name "shop*" by 3\nspare container.runtime "lxc"\n',
        'never kill container.image ~ "^acme"\nspare pod.qos "Burstable"\n',
        'prefer pod.namespace "acme"\nspare pod.name "*-0"\nspare container.id "0123*"\n',
        'in user unit "secret*": kill first anything\n',
        'spare unit.description "Pay*"\nprefer unit.oom_policy "stop"\n',
        'spare cgroup "/lxc*"\nspare container.name "accounting"\n',
        'in "machine-*.scope": kill last anything\nprefer user.unit "*@7.service"\n',
    ],
)
def test_places_and_what_others_say_of_them_stay_what_they_are(rules: str) -> None:
    program = made(rules)
    for seed in range(20):
        lines = contained(seed)
        found = redaction.redacted(lines, program, KEY)
        assert judged(found, program) == judged(lines, program)
        text = json.dumps(found)
        for name in (
            "accounting",
            "secret-job",
            "secretapp",
            "shopdb",
            "Payroll",
            "acme",
            "bookkeeper",
            ID,
            POD,
        ):
            assert name not in text or name in rules, name
        assert "web-shop" not in text and "anna did" not in text and "later" not in found[0]


@thorough
@given(strategies.rule_sets(wholes=True), strategies.hosts())
def test_any_rules_judge_any_host_as_before(rules: RuleSet, objects: list[Object]) -> None:
    program = compiler.compile_texts(strategies.texts(rules))
    assert judged(redaction.redacted(objects, program, KEY), program) == judged(objects, program)


def test_what_a_pattern_does_not_look_at_is_replaced() -> None:
    program = made(
        'spare cmdline ~ "--name=[a-z]+ "\nnever kill comm "fire*"\nkill last cmdline "*Xmx*"\n'
    )
    lines = list(hosts.host(3, 3))
    lines[-1] |= {"comm": "firefox", "cmdline": ["java", "--name=joe --password=s3cret", "-Xmx4g"]}
    found = redaction.redacted(lines, program, KEY)[-1]
    assert found["comm"].startswith("fire") and found["comm"] != "firefox"
    (words,) = found["cmdline"]
    assert "Xmx" in words and "--name=" in words
    assert not any(word in words for word in ("java", "joe", "s3cret"))


def test_the_same_key_gives_the_same_names_and_another_one_others() -> None:
    lines = list(hosts.host(7))
    one, two, other = (
        json.dumps(redaction.redacted(lines, SHIPPED, key)) for key in (KEY, KEY, b"another")
    )
    assert one == two != other


def test_names_that_differ_still_differ() -> None:
    names = Pseudonyms(KEY)
    texts = [f"db{number}" for number in range(10)] + ["firefox", "Firefox", "", "x"]
    for patterns in (frozenset[Any](), frozenset({("glob", "db?")})):
        assert len({names.replaced(text, patterns) for text in texts}) == len(texts)


def test_too_few_names_are_no_reason_to_give_two_the_same_one() -> None:
    names = Pseudonyms(KEY)
    patterns = frozenset({("search", "^[ab]$")})
    assert {names.replaced(text, patterns) for text in "ab"} == {"a", "b"}


def test_ids_keep_their_order_and_their_side_of_each_number() -> None:
    given = [0, 1, 33, 34, 998, 1000, 1001, 1500, 1501, 1502, 61300, 65534, 100_000, 4294967295, -1]
    numbers = (33, 1500, 1000)
    found = pseudonyms.ids(given, numbers)
    assert sorted(found) == sorted(given)
    assert sorted(found.values()) == [found[one] for one in sorted(found)]
    assert len(set(found.values())) == len(found)
    for old, new in found.items():
        assert all((old < point, old == point) == (new < point, new == point) for point in numbers)
    assert (found[0], found[65534], found[34], found[998]) == (0, 65534, 34, 35)


def test_where_rules_see_a_difference_nothing_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    # A fault of ours, such as an attribute that nobody thought of.
    def blind(self: Pseudonyms, text: str, *_: object, after: str = "", **__: object) -> str:
        return self.name(text) + after

    monkeypatch.setattr(Pseudonyms, "replaced", blind)
    with pytest.raises(Failure, match=r"process [0-9]+ as before"):
        redaction.redacted(list(hosts.host(1)), made('spare comm "sshd"\n'), KEY)


def test_every_text_of_a_process_is_replaced_or_known_to_be_harmless() -> None:
    lines = list(hosts.host(1, 2))
    texts = [name for name, field in FIELDS.items() if field.unit.value == "text"]
    secret = {name: "/secret.service" for name in texts if name not in ("cmdline", "state")}
    lines[-1] |= {**secret, "cmdline": ["/secret.service"], "new_key": "secret"}
    assert "secret" not in json.dumps(redaction.redacted(lines, SHIPPED, KEY))


def test_a_path_of_data_is_no_test_of_this_machine(tmp_path: Path) -> None:
    """Write what was redacted and read it as any recording."""
    path = tmp_path / "host.jsonl"
    lines = redaction.redacted(list(hosts.host(2)), SHIPPED, KEY)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert len(recorded.load(str(path)).by_pid) == 40
