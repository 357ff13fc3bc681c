"""One QEMU process: started, spoken to over QMP, saved, killed."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.vm.host import NoGuest, command
from tests.vm.image import DEBUG, MEMORY, Image

# mitigations: pointless here, and slow. tsc: emulated, it is found unstable during boot, and
# the switch to another clock then costs a second. panic=-1 with -no-reboot: a panic ends QEMU.
KERNEL_ARGUMENTS = (
    "console=ttyS0 root=/dev/vda rw panic=-1 quiet systemd.show_status=0 mitigations=off "
    "tsc=unstable audit=0 psi=1"
)
if DEBUG:
    # systemd gives up what takes long to start.
    KERNEL_ARGUMENTS += " systemd.default_timeout_start_sec=15min systemd.service_watchdogs=0"
# A state is read and written at once, not trickled as to another machine.
FULL_SPEED = 1 << 40


@dataclass(frozen=True)
class Options:
    """What a guest may be given other than usual; each combination has states of its own."""

    memory: int = MEMORY  # MiB
    cpus: int = 2
    kernel_arguments: str = ""
    nodes: int = 1  # of memory (NUMA), alike in size
    packages: tuple[str, ...] = ()  # of Debian's, besides the usual ones
    suite: str = ""  # of Debian; this machine's own if it is empty


class GuestError(Exception):
    """The guest or its QEMU did not do what it was asked, or is gone."""


def version() -> str:
    """The version of QEMU: a state that one saved is for that one only."""
    return command(["qemu-system-x86_64", "--version"])


def arguments(image: Image, options: Options) -> list[str]:
    """QEMU's command line, but for what differs between two guests of a kind.

    Software emulation, whether or not there is a /dev/kvm: it is the same everywhere. This
    processor is the one that QEMU 7.2 and Linux 6.1 were found dependable with, less two
    features: without erms and fsrm memory is filled by the word and not, one emulated step
    each, by the byte, so that it runs out in half the time.
    """
    nodes = []
    if options.nodes > 1:
        for node in range(options.nodes):
            part = f"memory-backend-ram,id=node{node},size={options.memory // options.nodes}M"
            nodes += ["-object", part, "-numa", f"node,nodeid={node},memdev=node{node}"]
    return [
        "qemu-system-x86_64",
        *"-nodefaults -no-user-config -no-reboot -display none -machine q35".split(),
        *"-accel tcg,thread=multi,tb-size=512 -cpu max,la57=off,erms=off,fsrm=off".split(),
        *["-m", f"{options.memory}M", "-smp", str(options.cpus)],
        *nodes,
        *["-kernel", str(image.kernel), "-initrd", str(image.initrd)],
        *["-append", f"{KERNEL_ARGUMENTS} {options.kernel_arguments}".strip()],
        *"-device virtio-serial-pci -device virtserialport,chardev=agent".split(),
        *"-serial chardev:console -mon chardev=qmp,mode=control".split(),
    ]


class Machine:
    """A running QEMU.

    Args:
        image: what it boots.
        options: its memory, processors and kernel arguments.
        disk: a qcow2 file over the image's; left as it is unless `keep`.
        state: a saved state of the same disk to go on from, instead of booting.
        keep: what is written to the disk stays.

    Attributes:
        agent: the socket whose other end is the port in the guest.
    """

    def __init__(
        self,
        image: Image,
        options: Options,
        disk: Path,
        *,
        state: Path | None = None,
        keep: bool = False,
    ) -> None:
        # Files without a name: nothing is left of them, however this process ends.
        self._console = tempfile.TemporaryFile()  # noqa: SIM115
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._said = ("", "")
        self.agent, agent_end = socket.socketpair()
        self._qmp, qmp_end = socket.socketpair()
        descriptors = [agent_end.fileno(), qmp_end.fileno(), self._console.fileno()]
        drive = f"file={str(disk).replace(',', ',,')},if=virtio,format=qcow2,cache=unsafe"
        argv = [
            # Whatever becomes of this process, no QEMU is left behind.
            *["setpriv", "--pdeathsig", "KILL"],
            *arguments(image, options),
            *["-drive", drive if keep else f"{drive},snapshot=on"],
            *["-chardev", f"socket,id=agent,fd={descriptors[0]}"],
            *["-chardev", f"socket,id=qmp,fd={descriptors[1]}"],
            *["-chardev", f"file,id=console,path=/dev/fd/{descriptors[2]}"],
        ]
        with contextlib.ExitStack() as stack:
            if state is not None:
                source = stack.enter_context(state.open("rb"))
                descriptors.append(source.fileno())
                argv += ["-incoming", f"fd:{source.fileno()}"]
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=descriptors,
                # Ctrl-C is for pytest, which then ends this one in order.
                start_new_session=True,
            )
        agent_end.close()
        qmp_end.close()
        self._qmp.settimeout(60)
        self._replies = self._qmp.makefile("rb")
        try:
            self.qmp("qmp_capabilities")
            if state is not None:
                while self.qmp("query-status")["status"] == "inmigrate":
                    time.sleep(0.01)
                self.qmp("cont")  # it was saved standing still
        except BaseException:
            self.kill()
            raise

    def qmp(self, name: str, descriptor: int | None = None, **parameters: Any) -> Any:
        """Give QEMU a command, with a descriptor if need be; its answer.

        Raises:
            GuestError: it refused, or there is no QEMU any more.
        """
        request = {"execute": name, "arguments": parameters}
        descriptors = [] if descriptor is None else [descriptor]
        try:
            socket.send_fds(self._qmp, [json.dumps(request).encode()], descriptors)
            while line := self._replies.readline():
                reply = json.loads(line)
                if "error" in reply:
                    raise GuestError(f"QEMU refused {name}: {reply['error']['desc']}")
                if "return" in reply:
                    return reply["return"]
        except OSError as error:
            raise GuestError(
                f"QEMU does not answer {name}: {error}; {self.last_words()}"
            ) from error
        raise GuestError(f"QEMU ended:\n{self.last_words()}")

    def save(self, state: Path) -> None:
        """Stop, and write all but the disk to a file."""
        self.qmp("stop")
        self.qmp("migrate-set-parameters", **{"max-bandwidth": FULL_SPEED})
        with state.open("wb") as file:
            self.qmp("getfd", file.fileno(), fdname="state")
            self.qmp("migrate", uri="fd:state")
        while (status := self.qmp("query-migrate")["status"]) != "completed":
            if status in ("failed", "cancelled"):
                raise GuestError(f"saving the guest's state {status}:\n{self.last_words()}")
            time.sleep(0.02)

    @property
    def console(self) -> str:
        """What the guest's kernel has written to its console."""
        return self._text()[0]

    @property
    def running(self) -> bool:
        """Whether QEMU is there."""
        return self._process.poll() is None

    def last_words(self) -> str:
        """What QEMU and the guest's kernel said last, for a message."""
        console, log = (text.splitlines() for text in self._text())
        # After a panic's first line come more than twenty of registers and stack.
        panic = next((i for i, line in enumerate(console) if "Kernel panic" in line), len(console))
        begin = min(panic, max(len(console) - 20, 0))
        lines = [*log[-3:], *console[begin : begin + 20]]
        return "\n".join(lines) if lines else "neither QEMU nor the guest's console say why"

    def kill(self) -> None:
        """End QEMU at once, with nothing left of it but its last words; may be called again."""
        self._process.kill()
        self._process.wait()
        self._said = self._text()
        for file in (self.agent, self._replies, self._qmp, self._console, self._log):
            file.close()

    def _text(self) -> tuple[str, str]:
        """The console's text and QEMU's own."""
        if self._console.closed:
            return self._said
        console, log = (
            os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")
            for file in (self._console, self._log)
        )
        return console.replace("\r", ""), log


def overlay(backing: Path, to: Path) -> None:
    """Make a disk that holds what differs from another one.

    The other one's place is stored relative to the new one's, so that a cache can be moved.
    """
    relative = os.path.relpath(backing, to.parent)
    try:
        command(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", relative, to])
    except NoGuest as error:
        raise NoGuest(f"the guest's disk cannot be made: {error}") from error
