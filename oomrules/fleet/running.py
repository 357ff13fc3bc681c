"""One question for every host: in this process, in processes beside it, or on a cluster.

Dask's ``distributed`` runs it. Work is handed out in batches, a few for each worker at a time, so
that neither the names nor the answers of a hundred thousand hosts wait in any memory. A batch is
sent again if its worker dies; one that kills its workers is taken apart, to find the recording.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import shutil
import signal
import socket
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import resource_tracker
from typing import Any

from oomrules import __version__, extras
from oomrules.errors import Failure, reason
from oomrules.fleet import questions, recordings
from oomrules.fleet.questions import Answer, Question

_LIBRARIES = ("distributed", "cryptography")
# Batches in flight for each thread of a worker, and the largest one.
_AHEAD = 3
_LARGEST = 32
_PATIENCE = 30.0  # seconds without any worker
_ASKED_AGAIN = 5.0  # seconds until the workers are counted again
_LOOK = 0.01  # seconds between two looks whether an answer is there
_OF_DASK: dict[str, Any] = {
    # The profile of a worker grows with the time that it works.
    "distributed.worker.profile.enabled": False,
    # Every user of this host could read the pages.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
_CONNECTING = 10.0  # seconds
_ADDRESS = re.compile(r"(?:tcp|tls)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})", re.ASCII)


def ask(
    question: Question, names: Sequence[str], processes: int = 0, scheduler: str = ""
) -> Iterator[Answer]:
    """Yield the answer of each host, as it is ready.

    Args:
        processes: how many beside this one; 0: one for each processor, 1: in this process.
        scheduler: the address of a cluster of Dask, in place of processes.

    Raises:
        Failure: the libraries are missing, or the cluster cannot be reached.
    """
    processes = min(processes or os.cpu_count() or 1, len(names))
    if not scheduler and processes <= 1:
        yield from (questions.answer(question, name) for name in names)
        return
    with _client(processes, scheduler) as client:
        yield from _answers(client, question, names)


@contextmanager
def _client(processes: int, scheduler: str) -> Iterator[Any]:
    """Connect to the cluster, or make one of local processes."""
    try:
        dask = importlib.import_module("dask")
        distributed = importlib.import_module("distributed")
    except ImportError as error:
        raise Failure(
            f"several processes need the Python library {error.name}",
            f"{extras.install(*_LIBRARIES)}; `--processes 1` does without",
        ) from error
    # Of other Pythons Dask prints a table; only another version of oomrules says other things.
    warnings.filterwarnings("ignore", message="Mismatched versions")
    # What a worker's death means is told in our words. Each part of Dask has a level of its own.
    for name in [*logging.root.manager.loggerDict, "distributed"]:
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    with ExitStack() as stack:
        try:
            if scheduler:
                _probe(scheduler)
                client = distributed.Client(scheduler, timeout=_PATIENCE, set_as_default=False)
            else:
                stack.enter_context(dask.config.set(_OF_DASK))
                folder = tempfile.mkdtemp(prefix="oomrules-fleet-")
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                with _uninterrupted():
                    cluster = distributed.LocalCluster(
                        n_workers=processes,
                        threads_per_worker=1,
                        processes=True,
                        host="127.0.0.1",
                        dashboard_address=None,
                        # Any free port: another fleet may be asked at the same time.
                        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
                        memory_limit=0,
                        silence_logs=logging.CRITICAL,
                        local_directory=folder,
                        # Every user of this host can connect to a port, and who talks to a worker
                        # runs what he likes: only who has this certificate may.
                        protocol="tls",
                        security=distributed.Security.temporary(),
                    )
                stack.enter_context(cluster)
                client = distributed.Client(cluster, set_as_default=False)
            stack.enter_context(client)
            # Without a worker everything would wait for ever.
            client.wait_for_workers(1, timeout=_PATIENCE)
            if scheduler:
                _compare_versions(client)
        except ImportError as error:
            raise Failure(
                f"several processes need one more Python library: {error}",
                f"{extras.install(*_LIBRARIES)}; `--processes 1` does without",
            ) from error
        except (OSError, ValueError) as error:
            where = scheduler or "local processes"
            said = reason(error) if isinstance(error, OSError) else str(error)
            raise Failure(
                f"the cluster cannot be reached ({where}): {said}",
                "see that `dask scheduler` runs there, or leave --scheduler out",
            ) from error
        yield client


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl+C wait, and never reach the threads and processes that are started meanwhile.

    A worker that gets it prints a traceback. This process ends the workers.
    """
    # Else the first process that is started starts it, and lets the signal through.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _compare_versions(client: Any) -> None:
    """See that every worker would say what this process would.

    Raises:
        Failure: one has another version of oomrules, or none.
    """
    # One that cannot answer gives the error in place of the answer.
    said = client.run(questions.version, on_error="return")
    for worker, there in sorted(said.items()):
        if there != __version__:
            has = f"oomrules {there}" if isinstance(there, str) else f"no oomrules ({there})"
            raise Failure(
                f"the worker {worker} has {str(has)[:300]}; this is oomrules {__version__}",
                "install the same version on every worker, into the Python that runs it",
            )


def _probe(scheduler: str) -> None:
    """See that something listens at an address: a client that finds nothing there ends untidily.

    Raises:
        Failure: the address is none.
        OSError: nothing listens there.
    """
    found = _ADDRESS.fullmatch(scheduler)
    if not found or not 0 < int(found[2]) < 2**16:
        raise Failure(
            f"--scheduler {scheduler}: this is no address of a scheduler",
            "write tcp://HOST:8786, or tls://HOST:8786",
        )
    socket.create_connection((found[1].strip("[]"), int(found[2])), _CONNECTING).close()


def _answers(client: Any, question: Question, names: Sequence[str]) -> Iterator[Answer]:
    """Yield the answers of workers.

    Raises:
        Failure: the scheduler is gone.
    """
    try:
        yield from _ready(client, question, names)
    except Exception as error:
        if client.status == "running":
            raise
        raise Failure(
            f"the scheduler was lost, and the other hosts were not judged: {str(error)[:300]}",
            "see that it still runs, and ask again",
        ) from error


def _ready(client: Any, question: Question, names: Sequence[str]) -> Iterator[Answer]:
    distributed = importlib.import_module("distributed")
    threads = _Threads(client)
    size = max(1, min(_LARGEST, len(names) // (threads.ahead() * 2)))
    left = (tuple(names[at : at + size]) for at in range(0, len(names), size))
    sent: dict[Any, tuple[str, ...]] = {}
    send = partial(client.submit, questions.answers, question, pure=False)
    ready = distributed.as_completed(loop=client.loop)

    def hand_out(batch: tuple[str, ...]) -> None:
        future = send(batch)
        sent[future.key] = batch
        ready.add(future)

    def hand_out_more() -> None:
        while len(sent) < threads.ahead() and (batch := next(left, None)):
            hand_out(batch)

    hand_out_more()
    for future in _while_there_are_workers(ready, threads):
        batch = sent.pop(future.key)
        if future.status == "finished":
            yield from future.result()
        elif len(batch) > 1:
            for name in batch:
                hand_out((name,))
        else:
            why = str(future.exception() if future.status == "error" else future.status)
            host = recordings.shown(batch[0])
            yield {"host": host, "error": f"{host}: its worker failed: {why[:300]}"}
        del future
        hand_out_more()


def _while_there_are_workers(ready: Any, threads: _Threads) -> Iterator[Any]:
    """Yield each future that is ready; Dask waits for ever for a worker that never comes.

    Raises:
        Failure: no worker was there for as long as one may take to come back.
    """
    while ready.count():
        while not ready.has_ready():
            if threads.missed() > _PATIENCE:
                raise Failure(
                    f"no worker is left since {_PATIENCE:.0f} s, and the other hosts were not "
                    "judged",
                    "start workers again, and see in their logs why they have ended",
                )
            time.sleep(_LOOK)
        yield next(ready)


class _Threads:
    """How many batches the workers may have at a time; more workers may come later."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._known, self._asked = 1, -_ASKED_AGAIN
        self._seen = time.monotonic()

    def ahead(self) -> int:
        """Return how many batches may be in flight."""
        self._count()
        return max(1, self._known) * _AHEAD

    def missed(self) -> float:
        """Return for how many seconds there has been no worker."""
        self._count()
        return time.monotonic() - self._seen

    def _count(self) -> None:
        now = time.monotonic()
        if now - self._asked > _ASKED_AGAIN:
            self._known, self._asked = sum(self._client.nthreads().values()), now
        if self._known:
            self._seen = now
