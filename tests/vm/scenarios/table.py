"""The scenarios: who is there, what the rules say, and whom they want killed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Actor:
    """A process of a scenario, in a unit of its name.

    Attributes:
        does: what actor.c is told.
        unit: properties of the unit. Actors are the user `build`'s unless these say otherwise.
        group: the control group below /sys/fs/cgroup that it enters before all else, as a process
            of a container does; it becomes `build` there. Empty: it stays in its unit.
    """

    name: str
    does: str
    unit: tuple[str, ...] = ("User=build",)
    group: str = ""

    @property
    def processes(self) -> int:
        """How many report that they are there."""
        return 1 + int(self.does.partition("fork=")[2].split(" ")[0] or 0)


@dataclass(frozen=True)
class Scenario:
    """One way to run out of memory.

    Attributes:
        title: what happens, in a few words.
        rules: beside the shipped ones.
        victims: who the rules want killed first: names of actors.
        most: how many may be killed in all; more than that is a second kill too many.
        limited: whether memory runs out at the limit of a control group. Then the first kill
            decides: the kernel may kill once more before the memory of the first is back.
        uncovered: by way, why it cannot do what the rules say.
        first: how many of the list are written; 0: all of it, or as many as is usual.
        prepare: a script before anything, and before the actors are there.
        again: a script before each repetition, which makes what the last one has ended.
        meanwhile: a script once the list is in force, before the memory runs out. The command
            that put it in force is in EMIT.
    """

    title: str
    rules: str
    actors: tuple[Actor, ...]
    victims: tuple[str, ...]
    most: int = 1
    limited: bool = False
    uncovered: dict[str, str] = field(default_factory=dict)
    first: int = 0
    prepare: str = ""
    again: str = ""
    meanwhile: str = ""


MODULE = "module"
ADJUST = "oom_score_adj"

# Emits without end, as fast as it can.
REPEAT = "systemd-run --quiet --unit=repeat sh -c 'while :; do $EMIT; done'"

DATABASE = Actor("database", "hold=240")
HOG = Actor("hog", "hold=60 grow=600")

LIMITED = ("User=build", "Slice=limited.slice")
OUTER = ("User=build", "Slice=outer.slice")
INNER = ("User=build", "Slice=outer-inner.slice")


def limit(unit: str, size: str) -> str:
    """Return the script that limits a unit."""
    return f"systemctl set-property --runtime {unit} MemoryMax={size} MemorySwapMax=0\n"


# A container of Docker with its cgroupfs driver, of which systemd knows nothing.
CONTAINER = f"docker/{'d0c4' * 16}"
MAKE_CONTAINER = f"""
cd /sys/fs/cgroup
mkdir -p {CONTAINER}
echo +memory > docker/cgroup.subtree_control
echo 130M > {CONTAINER}/memory.max
"""

# A pod of Kubernetes, with the systemd driver: a slice, and a scope for each of its containers. A
# scope is there as long as a process is in it: `sleep` stands for what the runtime starts.
POD = "kubepods-burstable-pod5f0c1a72_93e8_4f1e_9d31_0a7b6c2d4e58.slice"
SCOPES = tuple(f"cri-containerd-{digit * 64}.scope" for digit in "abc")
APP, SIDECAR, EXPORTER = (
    f"kubepods.slice/kubepods-burstable.slice/{POD}/{scope}" for scope in SCOPES
)
# systemd ends a scope in which somebody was killed.
MAKE_SCOPES = "\n".join(
    f"""
systemctl --quiet is-active {scope} ||
  setsid --fork systemd-run --quiet --scope --slice={POD} --unit={scope} sleep infinity \\
    < /dev/null > /dev/null 2>&1
until systemctl --quiet is-active {scope}; do sleep 0.2; done"""
    for scope in SCOPES
)
MAKE_POD = limit(POD, "135M") + MAKE_SCOPES

# Between the write and the OOM one process leaves the group at its limit, and another one enters.
MOVE = """
pid() { systemctl show --value --property=MainPID "$1.service"; }
group() { echo "/sys/fs/cgroup$(systemctl show --value --property=ControlGroup "$1.service")"; }
pid left > "$(group entered)/cgroup.procs"
pid entered > "$(group innocent)/cgroup.procs"
"""

SCENARIOS = (
    Scenario(
        "a big innocent database and a small guilty hog",
        'kill last comm "database"\nkill first comm "hog"\n',
        (DATABASE, HOG),
        ("hog",),
    ),
    Scenario(
        "the same by points alone: the hog has reserved more than it uses, as 2.6.10 counts",
        "",
        (DATABASE, Actor("hog", "hold=60 reserve=400 grow=600")),
        ("hog",),
    ),
    Scenario(
        "niced build jobs beside an editor that grows",
        "prefer niced by 8\n",
        (
            Actor("editor", "hold=120 grow=600"),
            *(Actor(f"cc{n}", "hold=50", ("User=build", "Nice=10")) for n in (1, 2, 3)),
        ),
        ("cc1", "cc2", "cc3"),
    ),
    Scenario(
        "a fork bomb of many small processes, and a big process that has no part in it",
        'kill first unit "bomb.service"\n',
        (DATABASE, Actor("bomb", "hold=4 fork=24 grow=80")),
        ("bomb",),
        most=25,
    ),
    Scenario(
        "root with RAWIO is the biggest",
        "",
        (Actor("raw", "hold=230", ("User=root",)), Actor("worker", "hold=80 grow=600")),
        ("worker",),
    ),
    Scenario(
        "the victim has RAWIO and obeys SIGTERM",
        'kill first comm "raw"\n',
        (Actor("raw", "hold=80", ("User=root",)), Actor("database", "hold=220 grow=600")),
        ("raw",),
    ),
    Scenario(
        "the victim has RAWIO and ignores SIGTERM",
        'kill first comm "raw"\n',
        (Actor("raw", "hold=80 deaf=1", ("User=root",)), Actor("database", "hold=220 grow=600")),
        ("raw",),
    ),
    Scenario(
        "a process that is never killed is the biggest, and grows",
        'never kill comm "precious"\n',
        (Actor("precious", "hold=150 grow=600"), Actor("worker", "hold=80")),
        ("worker",),
    ),
    Scenario(
        "a service at its memory limit",
        'in limited.slice: kill first comm "guilty"\n',
        (
            Actor("innocent", "hold=70 grow=60", LIMITED),
            Actor("guilty", "hold=30", LIMITED),
            DATABASE,
        ),
        ("guilty",),
        limited=True,
        prepare=limit("limited.slice", "130M"),
    ),
    Scenario(
        "a limit within a limit",
        'in outer.slice: kill first comm "guilty"\n',
        (
            Actor("innocent", "hold=85 grow=60", INNER),
            Actor("guilty", "hold=30", INNER),
            Actor("beside", "hold=60", OUTER),
        ),
        ("guilty",),
        limited=True,
        prepare=limit("outer.slice", "300M") + limit("outer-inner.slice", "130M"),
    ),
    Scenario(
        "all listed processes are gone before it happens: the kernel's own choice",
        'kill first comm "worker"\n',
        (Actor("worker", "hold=20"), Actor("grower", "hold=100 grow=600")),
        ("grower",),
        first=1,
        meanwhile="systemctl kill --signal=KILL worker.service; sleep 1",
    ),
    Scenario(
        "two processes share the memory",
        'kill first comm "shared"\n',
        (Actor("shared", "hold=80 share=1"), Actor("database", "hold=280 grow=600")),
        ("shared", "shared-twin"),
        most=2,
    ),
    Scenario(
        "the list is written again and again meanwhile",
        'kill first comm "hog"\nkill last comm "database"\n',
        (DATABASE, Actor("hog", "hold=60 grow=600")),
        ("hog",),
        meanwhile=REPEAT,
    ),
    Scenario(
        "a unit whose memory.oom.group is set",
        'kill first unit "group.service"\n',
        (
            Actor("group", "hold=30 fork=2", ("User=build", "OOMPolicy=kill")),
            Actor("database", "hold=260 grow=600"),
        ),
        ("group",),
        most=3,
    ),
    Scenario(
        "the second process grows by more than any distance, and the list is not written again",
        'kill first comm "small"\n',
        (Actor("small", "hold=20"), Actor("database", "hold=60 grow=600")),
        ("small",),
        uncovered={
            ADJUST: "the list is written once here; the service writes it again as sizes change, "
            "at most once a second"
        },
    ),
    Scenario(
        "a container at its limit: an innocent database, and a guilty worker that grows",
        'kill first container.runtime "docker" comm "worker"\n',
        (
            Actor("database", "hold=85", (), CONTAINER),
            Actor("worker", "hold=10 grow=100", (), CONTAINER),
        ),
        ("worker",),
        limited=True,
        prepare=MAKE_CONTAINER,
    ),
    Scenario(
        "a limit within a limit: the outer one is reached, the guilty process is in the inner one",
        'in outer.slice: kill first comm "guilty"\n',
        (
            Actor("inside", "hold=60", INNER),
            Actor("guilty", "hold=30", INNER),
            Actor("beside", "hold=80 grow=100", OUTER),
        ),
        ("guilty",),
        limited=True,
        prepare=limit("outer.slice", "200M") + limit("outer-inner.slice", "130M"),
    ),
    Scenario(
        "a limit within a limit: the inner one is reached, the first of the list is outside of it",
        'in outer.slice: kill first comm "worst" by 2\nin outer.slice: kill first comm "guilty"\n',
        (
            Actor("innocent", "hold=85 grow=60", INNER),
            Actor("guilty", "hold=30", INNER),
            Actor("worst", "hold=60", OUTER),
        ),
        ("guilty",),
        limited=True,
        prepare=limit("outer.slice", "300M") + limit("outer-inner.slice", "130M"),
    ),
    Scenario(
        "a pod of three containers at its limit",
        'kill first pod.qos "Burstable" comm "sidecar"\n',
        (
            Actor("app", "hold=80 grow=100", (), APP),
            Actor("sidecar", "hold=25", (), SIDECAR),
            Actor("exporter", "hold=15", (), EXPORTER),
        ),
        ("sidecar",),
        limited=True,
        prepare=MAKE_POD,
        again=MAKE_SCOPES,
    ),
    Scenario(
        "a limit, and within it a unit whose memory.oom.group is set",
        'kill first unit "group.service"\n',
        (
            Actor("innocent", "hold=80 grow=60", LIMITED),
            Actor("group", "hold=10 fork=2", (*LIMITED, "OOMPolicy=kill")),
        ),
        ("group",),
        most=3,
        limited=True,
        prepare=limit("limited.slice", "130M"),
    ),
    Scenario(
        "a limit, and within it a unit that is killed whole",
        'kill whole "job.service"\nkill first unit "job.service"\n',
        (
            Actor("innocent", "hold=80 grow=60", LIMITED),
            Actor("job", "hold=10 fork=2", LIMITED),
        ),
        ("job",),
        most=3,
        limited=True,
        prepare=limit("limited.slice", "130M"),
    ),
    Scenario(
        "the first of the list has left the group at its limit, the second has entered it",
        'kill first comm "left" by 2\nkill first comm "entered"\n',
        (
            Actor("innocent", "hold=70 grow=60", LIMITED),
            Actor("left", "hold=15", LIMITED),
            Actor("entered", "hold=5 grow=60"),
        ),
        ("entered",),
        limited=True,
        uncovered={
            ADJUST: "the list is written once here, and a value weighs less in a smaller group; "
            "the service works it out again for the group that the process is in"
        },
        prepare=limit("limited.slice", "130M"),
        meanwhile=MOVE,
    ),
)
