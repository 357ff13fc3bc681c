"""Who is to prevent the worst: the kernel alone, other daemons, oomrules."""

from __future__ import annotations

from dataclasses import dataclass

PEERS = ("earlyoom", "nohang", "systemd-oomd")


@dataclass(frozen=True)
class Contender:
    """One who acts when memory is short.

    Attributes:
        name: in the table.
        start: a bash script that puts it in place and starts it.
        unit: its unit, to be active afterwards; empty for the kernel.
        settings: what it was told, for the page.
        ours: whether it needs oomrules.
        module: whether it needs the kernel module.
    """

    name: str
    start: str = ""
    unit: str = ""
    settings: str = ""
    ours: bool = False
    module: bool = False


# What Fedora's systemd-oomd-defaults has besides Debian's own: any slice, and after 20 s.
_FEDORA = """
write() { mkdir -p "${1%/*}"; printf '%s\\n' "${@:2}" > "$1"; }
write /etc/systemd/oomd.conf.d/10-defaults.conf '[OOM]' DefaultMemoryPressureDurationSec=20s
for kind in system user; do
  write "/etc/systemd/$kind/slice.d/10-defaults.conf" '[Slice]' ManagedOOMMemoryPressure=kill \\
    ManagedOOMMemoryPressureLimit=80%
done
systemctl daemon-reload
systemctl --user --machine=alice@.host daemon-reload
systemctl start systemd-oomd
"""


def _oomrules(*presets: str, rules: str = "", module: bool = False) -> str:
    links = [
        f"ln -s /usr/lib/oomrules.d/presets/{one}.oom /etc/oomrules.d/5{n}-{one}.oom"
        for n, one in enumerate(presets)
    ]
    own = [f"printf '%s' '{rules}' > /etc/oomrules.d/60-own.oom"] if rules else []
    load = ["insmod /root/oom.ko"] if module else []
    return "\n".join([*links, *own, *load, "systemctl start oomrules"])


# As its administrator may say it who knows what is expendable, and that it belongs together.
_TOLD = """kill first unit "storm.service"
kill first user.unit "app-storm.service"
kill whole user unit "app-storm.service"
"""

# What earlyoom does by default, in sentences.
_LEVELS = """terminate when host.available <= 10% and (host.swap == 0B or host.swap_free <= 10%)
kill when host.available <= 5% and (host.swap == 0B or host.swap_free <= 5%)
"""

KERNEL = Contender("kernel alone")

CONTENDERS = (
    KERNEL,
    Contender(
        "earlyoom",
        "systemctl start earlyoom",
        "earlyoom",
        "as Debian ships it: 10 % and 5 % of both",
    ),
    Contender(
        "earlyoom, told",
        "echo 'EARLYOOM_ARGS=\"-r 3600 --prefer ^storm$\"' > /etc/default/earlyoom\n"
        "systemctl start earlyoom",
        "earlyoom",
        "the same with `--prefer ^storm$`",
    ),
    Contender(
        "nohang",
        "systemctl start nohang-desktop",
        "nohang-desktop",
        "its settings for desktops",
    ),
    Contender(
        "systemd-oomd",
        _FEDORA,
        "systemd-oomd",
        "as Debian ships it, and Fedora's settings for slices (80 % for 20 s)",
    ),
    Contender(
        "oomrules, levels",
        _oomrules(rules=_LEVELS),
        "oomrules",
        "the default rules, and earlyoom's limits as two sentences",
        ours=True,
    ),
    Contender(
        "oomrules, server",
        _oomrules("guard-server"),
        "oomrules",
        "the default rules and `guard-server.oom`; the order through `oom_score_adj`",
        ours=True,
    ),
    Contender(
        "oomrules, desktop",
        _oomrules("desktop", "guard-desktop"),
        "oomrules",
        "`desktop.oom` and `guard-desktop.oom`; the order through `oom_score_adj`",
        ours=True,
    ),
    Contender(
        "oomrules, told",
        _oomrules("desktop", "guard-desktop", rules=_TOLD, module=True),
        "oomrules",
        "the same with the module; rules say that the storm's unit comes first and dies whole",
        ours=True,
        module=True,
    ),
)
