"""The machines of a Ray cluster: a worker on each of its GPUs, or one on each node without GPUs.

Ray starts processes and carries what they are given and what they return; slices, retries and the store are ours.
Nodes that come later are used, lost ones are done without.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from bench import environment
from bench.batches import Portions
from bench.cores import cores
from bench.errors import BenchError, ScoringError, UsageError
from bench.executors.handout import ATTEMPTS, hand_out
from bench.executors.job import Job
from bench.scoring import Done

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError:  # an extra
    raise UsageError(
        "Ray is not installed", where="--executor ray", remedy="pip install 'antispoof-bench[ray]'"
    ) from None

from bench.executors import crew
from bench.executors.crew import NOBODY, Depot, Place, places, told
from bench.executors.node import call
from bench.progress import Display

if TYPE_CHECKING:
    from bench.executors.apprentices import Task

T = TypeVar("T")
REACH_SECONDS = 5.0  # to connect
CALL_SECONDS = 900.0  # that a function called on a node may take, waiting for its turn included
START = "start one with `ray start --head`, or leave --address out for a Ray of its own on this machine"


class Cluster:
    """Scores and trains on a Ray cluster; connects when it is entered.

    Args:
        address: `auto`, `host:port` or `ray://host:port`; None is that of RAY_ADDRESS, else a Ray of its own on this
            machine. A connection that this process has already is used, and kept.
        device: `auto` is GPUs where the cluster has any; `cuda`; `cpu`.

    Raises:
        UsageError: another device.
    """

    name = "ray"

    def __init__(self, address: str | None, device: str) -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"a cluster has no device {device!r}", remedy="use --device auto, cuda or cpu")
        self._address, self._device = address or os.environ.get("RAY_ADDRESS") or None, device
        self._depot = Depot()
        self._ours = False

    def __enter__(self) -> Cluster:
        """Raises UsageError: there is no cluster at the address."""
        if not ray.is_initialized():
            self._connect()
            self._ours = True
        return self

    def _connect(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Else Ray warns of what it will do with GPUs that a worker did not ask for.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self._address is None:
            ray.init("local", num_cpus=cores(), include_dashboard=False, **options)
            return
        _reach(self._address)
        try:
            ray.init(self._address, **options)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            reason = str(error).partition("\n")[0]
            raise UsageError(f"no Ray cluster answers: {reason}", where=self._address, remedy=START) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ours:
            ray.shutdown()  # of this connection, and of a Ray of its own

    @cached_property
    def kind(self) -> str:
        if self._device != "auto":
            return self._device
        self._awaited("cpu", "cuda")
        return "cuda" if places("cuda") else "cpu"

    @property
    def workers(self) -> int:
        return len(self._awaited(self.kind))

    @property
    def cores(self) -> int:
        return max(1, min(place.cpus for place in self._awaited(self.kind)))

    def _awaited(self, *kinds: str) -> list[Place]:
        """The places of the cluster, which may be just starting.

        Raises:
            ScoringError: there is none.
        """
        until = time.monotonic() + crew.PATIENCE_SECONDS
        while not (found := [place for kind in kinds for place in places(kind)]):
            if time.monotonic() > until:
                what = "no GPU" if kinds == ("cuda",) else "no node with a CPU"
                raise ScoringError(f"the cluster has {what}", where="Ray cluster", remedy=NOBODY)
            time.sleep(1)
        return found

    def memory_bytes(self) -> int:
        return min(memory for memory, _ in self._survey)

    def hardware(self) -> Mapping[str, Any]:
        nodes = {place.node for place in places(self.kind)}
        names = sorted({str(told["device"]) for _, told in self._survey})
        return {**self._survey[0][1], "device": ", ".join(names), "devices": self.workers, "nodes": len(nodes)}

    @cached_property
    def _survey(self) -> list[tuple[int, Mapping[str, Any]]]:
        """Memory of a device and hardware of a node of each shape, as far as one is free to tell."""
        shapes: dict[tuple[str, ...], list[Place]] = {}
        for place in self._awaited(self.kind):
            shapes.setdefault(place.shape, []).append(place)
        found: list[tuple[int, Mapping[str, Any]]] = []
        failures = []
        for alike in shapes.values():
            try:
                found.append(self._ask(alike, _look_around))
            except ScoringError as error:
                failures.append(error)
        if not found:
            raise failures[0]
        return found

    def score(self, job: Job, portions: Portions) -> Iterator[Done]:
        with closing(crew.Crew(self.kind, job, self._depot)) as workers:
            yield from hand_out(portions, workers)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        found: T = self._ask(self._awaited(self.kind), function, *arguments)
        return found

    def _ask(self, among: Sequence[Place], function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function says at one of these places; at the next, where a node is lost.

        Raises:
            BenchError: its own. ScoringError: another defect, all lost, or nobody has time.
        """
        for attempt in range(ATTEMPTS):
            place = among[attempt % len(among)]
            remote = ray.remote(call).options(**place.takes(), max_retries=0)
            answer = remote.remote(function, arguments, self.kind, str(Path.cwd()))
            if not ray.wait([answer], timeout=CALL_SECONDS)[0]:
                ray.cancel(answer, force=True)
                raise ScoringError(f"{place.name} is busy", where="Ray cluster", remedy=NOBODY)
            try:
                return ray.get(answer)
            except RayTaskError as error:
                if isinstance(error.cause, BenchError):
                    raise error.cause from None
                raise ScoringError(told(error), where=place.name) from None
            except RayError as error:
                reason = told(error)
        raise ScoringError(f"nodes of the cluster are lost: {reason}", where=place.name, remedy=NOBODY)

    def train(self, tasks: Sequence[Task], display: Display) -> Iterator[tuple[Task, BenchError | None]]:
        """Carry out trainings, as many at a time as there are workers; each as it ends, with what it failed of.

        Raises:
            StoreError: the folder of a training cannot be written.
        """
        from bench.executors import apprentices  # accelerate takes a second: not for scoring

        yield from apprentices.carry_out(tasks, self.kind, self._depot, display)


def _look_around(device: str) -> tuple[int, Mapping[str, Any]]:
    return environment.memory_bytes(device), environment.hardware(device)


def _reach(address: str) -> None:
    """Raises UsageError where nobody listens: Ray would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdigit()):
        if address in ("auto", "local"):
            return
        raise UsageError(f"{address!r} is no address of a cluster", remedy="give auto, host:port or ray://host:port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        what = f"no Ray cluster answers: {error}"
        raise UsageError(what, where=address, remedy=START) from None
