"""The kinds of hosts, each with its preset and the signs by which it is recognized.

A new kind is one entry in ``KINDS``, and a preset in ``rules.d/presets``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from oomrules.program.nodes import among
from oomrules.setup.evidence import Evidence

# So many users who are logged in at once make a host one that people share. A user counts once,
# however many sessions that user opens.
_MANY = 5
# A reason is one sentence; two or three of them are enough to see whether it is true.
_MOST_REASONS = 3

DESKTOP, SERVER, LOGIN = "desktop", "server", "login"
DATABASE, BUILD, CONTAINER = "database", "build", "container"


class Kind(NamedTuple):
    """A kind of host.

    Attributes:
        name: as ``--kind`` takes it.
        title: what such a host is, in words.
        preset: the name of its preset, without the suffix.
        units: globs of the system's services.
        programs: names of the files that root's or the system's processes run.
        tools: packages that are a sign by themselves, since they bring no service.
        packages: packages that are a sign where there is no systemd to ask about services.
    """

    name: str
    title: str
    preset: str
    units: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


KINDS = (
    Kind(
        name=DESKTOP,
        title="a desktop or laptop",
        preset="desktop",
        units=(
            *("display-manager.service", "gdm.service", "gdm3.service", "sddm.service"),
            *("lightdm.service", "lxdm.service", "xdm.service", "wdm.service", "slim.service"),
            *("greetd.service", "ly.service", "lemurs.service", "nodm.service"),
        ),
        programs=("gdm3", "gdm", "sddm", "lightdm", "lxdm", "greetd"),
        packages=(
            *("gnome-shell", "plasma-workspace", "xfce4-session", "mate-session-manager"),
            *("cinnamon-session", "lxqt-session", "lxsession", "budgie-core"),
        ),
    ),
    Kind(
        name=LOGIN,
        title="a host that many people log in to",
        preset="login-node",
        units=(
            *("jupyterhub.service", "rstudio-server.service", "xrdp.service"),
            *("x2gocleansessions.service", "nxserver.service", "vsmserver.service"),
            "vsmagent.service",
        ),
        tools=("slurm-client", "torque-client", "openpbs-client", "environment-modules", "lmod"),
    ),
    Kind(
        name=BUILD,
        title="a build machine",
        preset="build-host",
        units=(
            *("jenkins.service", "jenkins-agent*.service", "gitlab-runner.service"),
            *("actions.runner.*.service", "buildkite-agent*.service", "buildbot-worker*.service"),
            *("forgejo-runner.service", "act_runner.service", "gitea-runner.service"),
            *("woodpecker-agent.service", "drone-runner-*.service", "concourse-worker.service"),
            *("teamcity-agent.service", "go-agent.service", "kojid.service", "obsworker.service"),
            *("iceccd.service", "distccd.service", "distcc.service", "sccache-dist*.service"),
        ),
        programs=("gitlab-runner", "buildkite-agent", "forgejo-runner", "act_runner", "iceccd"),
        tools=("sbuild", "pbuilder", "cowbuilder", "mock", "buildd"),
        packages=("jenkins", "gitlab-runner", "buildbot-worker", "icecc", "distcc"),
    ),
    Kind(
        name=DATABASE,
        title="a database host",
        preset="database-host",
        units=(
            *("postgresql.service", "postgresql@*.service", "postgresql-*.service"),
            *("mysql.service", "mysqld.service", "mysqld@*.service", "mariadb.service"),
            *("mariadb@*.service", "mongod.service", "mongodb.service", "redis.service"),
            *("redis-server.service", "redis-server@*.service", "redis@*.service"),
            *("valkey.service", "valkey-server.service", "valkey@*.service"),
            *("clickhouse-server.service", "influxdb.service", "etcd.service"),
            *("scylla-server.service", "mssql-server.service", "couchdb.service"),
            *("cassandra.service", "elasticsearch.service", "opensearch.service"),
            *("neo4j.service", "kafka.service", "rabbitmq-server.service"),
        ),
        programs=(
            *("postgres", "mysqld", "mariadbd", "mongod", "redis-server", "valkey-server"),
            *("influxd", "clickhouse", "clickhouse-server", "scylla", "sqlservr", "etcd"),
        ),
        packages=(
            *("postgresql", "mariadb-server", "mysql-server", "default-mysql-server"),
            *("mongodb-org-server", "redis-server", "redis", "valkey-server", "valkey"),
            *("clickhouse-server", "influxdb", "cassandra", "elasticsearch", "opensearch"),
        ),
    ),
    Kind(
        name=CONTAINER,
        title="a host of containers",
        preset="container-host",
        units=(
            *("docker.service", "containerd.service", "crio.service", "kubelet.service"),
            *("podman.service", "podman.socket", "k3s.service", "k3s-agent.service"),
            *("rke2-server.service", "rke2-agent.service", "snap.microk8s.daemon-*.service"),
            *("nomad.service", "incus.service", "lxd.service", "snap.lxd.daemon.service"),
            *("lxc@*.service", "systemd-nspawn@*.service"),
        ),
        programs=("dockerd", "containerd", "kubelet", "crio", "k3s"),
        packages=("docker.io", "docker-ce", "docker", "containerd", "podman", "kubelet", "cri-o"),
    ),
    Kind(
        name=SERVER,
        title="a server",
        preset="server",
        units=(
            *("nginx.service", "apache2.service", "httpd.service", "caddy.service"),
            *("lighttpd.service", "haproxy.service", "varnish.service", "squid.service"),
            *("php*-fpm.service", "php*-fpm@*.service", "uwsgi.service", "gunicorn.service"),
            *("tomcat*.service", "postfix.service", "postfix@*.service", "exim4.service"),
            *("dovecot.service", "named.service", "bind9.service", "unbound.service"),
            *("nsd.service", "smbd.service", "smb.service", "samba-ad-dc.service"),
            *("nfs-server.service", "slapd.service", "vsftpd.service", "proftpd.service"),
            *("prosody.service", "memcached.service", "grafana-server.service"),
            *("prometheus.service", "gitea.service", "forgejo.service", "isc-dhcp-server.service"),
        ),
        programs=("nginx", "apache2", "httpd", "caddy", "haproxy", "dovecot", "named", "smbd"),
        packages=("nginx", "apache2", "caddy", "haproxy", "postfix", "dovecot-core", "bind9"),
    ),
)
BY_NAME = {kind.name: kind for kind in KINDS}
NAMES = tuple(BY_NAME)


class Recognized(NamedTuple):
    """A kind that a host is of.

    Attributes:
        kind: which.
        reasons: by what, each in a sentence without its end.
        linked: whether its preset is proposed.
        why: if it is not, the reason.
    """

    kind: Kind
    reasons: tuple[str, ...]
    linked: bool = True
    why: str = ""


def recognized(evidence: Evidence) -> list[Recognized]:
    """Return the kinds that a host is of, in the order of ``KINDS``; a server if of no other."""
    found = [
        Recognized(kind=kind, reasons=tuple(reasons[:_MOST_REASONS]))
        for kind in KINDS
        if (reasons := _reasons(kind, evidence))
    ]
    if not found:
        none = "no service, package or session here is a sign of another kind"
        return [Recognized(kind=BY_NAME[SERVER], reasons=(none,))]
    names = [one.kind.name for one in found]
    for alone, why in (
        (DESKTOP, "on a desktop the session comes first"),
        (LOGIN, "where many people share a host, what each of them holds comes first"),
    ):
        if alone in names:
            return [
                one if one.kind.name == alone else one._replace(linked=False, why=why)
                for one in found
            ]
    return found


def named(names: Sequence[str]) -> list[Recognized]:
    """Return the kinds that were asked for, in the order of ``KINDS``."""
    return [Recognized(kind=kind, reasons=("--kind",)) for kind in KINDS if kind.name in names]


def _reasons(kind: Kind, evidence: Evidence) -> list[str]:
    said = [phrase for unit, phrase in sorted(evidence.units.items()) if among(unit, *kind.units)]
    if kind.name == DESKTOP and evidence.seat:
        said.append(evidence.seat)
    if kind.name == LOGIN and evidence.users >= _MANY:
        said.append(f"{evidence.users} users are logged in")
    packages = kind.tools if evidence.has_units else (*kind.tools, *kind.packages)
    said += [f"{name} is installed" for name in packages if name in evidence.packages]
    said += [evidence.programs[name] for name in kind.programs if name in evidence.programs]
    return list(dict.fromkeys(said))
