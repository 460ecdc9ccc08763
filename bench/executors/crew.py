"""The workers of a pass on a Ray cluster: hired as nodes come, let go as they are lost."""

from __future__ import annotations

import pickle
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bench import environment
from bench.batches import Portion
from bench.errors import ScoringError
from bench.executors.handout import AT_HAND, ATTEMPTS, Finished, Lost
from bench.executors.job import Job
from bench.executors.node import Arrival, Report, Worker
from bench.executors.shipping import Cargo, pieces
from bench.executors.suspects import unreachable
from bench.scoring import Failed

LOOK_SECONDS = 3.0  # between two looks at the nodes of the cluster
PATIENCE_SECONDS = 120.0  # without a single worker
NOBODY = "start nodes, or wait until they are free (`ray status`); then run again: what is done is kept"


class Place(NamedTuple):
    """Where a worker may be: a node by its id, one of its GPUs or none, and the CPUs that it takes.

    shape: what the node has; nodes of one shape are alike.
    """

    node: str
    address: str
    gpu: int | None
    cpus: int
    shape: tuple[str, ...]

    @property
    def name(self) -> str:
        device = "" if self.gpu is None else f", GPU {self.gpu}"
        return f"node {self.address} ({self.node[:8]}{device})"

    def takes(self) -> dict[str, Any]:
        """The options of an actor or a task of Ray that is to be there."""
        where = NodeAffinitySchedulingStrategy(self.node, soft=False)
        return {"num_cpus": self.cpus, "num_gpus": int(self.gpu is not None), "scheduling_strategy": where}


def places(kind: str) -> list[Place]:
    """Each GPU of each node (`cuda`), or each node that has a CPU (`cpu`)."""
    found = []
    for node in ray.nodes():
        resources = node["Resources"] if node["Alive"] else {}
        cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        about = node["NodeID"], node["NodeManagerAddress"]
        shape = (
            f"{cpus} CPUs",
            f"{gpus} GPUs",
            *sorted(name for name in resources if name.startswith("accelerator_type")),
        )
        if kind == "cuda":
            found += [Place(*about, number, cpus // gpus, shape) for number in range(gpus)]
        elif cpus:
            found.append(Place(*about, None, cpus, shape))
    return found


class Depot:
    """Weights of the driver, put into the object store once and when a node lacks them."""

    def __init__(self) -> None:
        self._sent: dict[Cargo, dict[str, list[Any]]] = {}

    def shipment(self, lacking: Sequence[Cargo]) -> dict[Cargo, dict[str, list[Any]]]:
        for cargo in lacking:
            if cargo not in self._sent:
                self._sent[cargo] = {name: put(cargo.file(name)) for name, _ in cargo.sizes}
        return {cargo: self._sent[cargo] for cargo in lacking}


def put(file: Path) -> list[Any]:
    """References of the chunks of a file."""
    return [ray.put(chunk) for chunk in pieces(file)]


def hired(place: Place, kind: str) -> Any:
    """A worker that Ray starts there."""
    concurrent = AT_HAND + 2  # calls: slices, and what else is asked meanwhile
    return (
        ray.remote(Worker)
        .options(**place.takes(), max_concurrency=concurrent)
        .remote(kind, place.cpus, str(Path.cwd()))
    )


def mismatch(arrival: Arrival) -> str:
    """How the libraries of a node differ from those of the driver, whose versions the manifest tells; '' if not."""
    for name, here in environment.versions().items():
        there = arrival.versions.get(name, "none")
        if there.partition("+")[0] != here.partition("+")[0]:  # builds for another CUDA may differ
            return f"it has {name} {there}, this machine {here}"
    return ""


@dataclass
class _Member:
    """A worker of the crew. calls: references of what it is doing; slices by number, None for what comes before."""

    place: Place
    actor: Any
    calls: dict[Any, int | None] = field(default_factory=dict)
    arrived: bool = False
    ready: bool = False


class Crew:
    """The workers of one pass; see `handout.Crew`."""

    def __init__(self, kind: str, job: Job, depot: Depot) -> None:
        self._kind, self._depot = kind, depot
        self._job = ray.put(job)
        self._cargo = list(dict.fromkeys(Cargo.of(one.weights) for one in job.scorers if one.weights is not None))
        self._members: dict[str, _Member] = {}
        self._refused: dict[str, str] = {}  # nodes that are of no use, and why
        self._deaths: dict[str, int] = {}  # before a worker was ready, by its name
        self._looked, self._seen = -LOOK_SECONDS, time.monotonic()

    def hire(self) -> Collection[str]:
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._look()
        ready = [name for name, member in self._members.items() if member.ready]
        if ready:
            self._seen = now
        elif (not self._members and self._refused) or now - self._seen > PATIENCE_SECONDS:
            reasons = "".join(f"\n{reason}" for reason in dict.fromkeys(self._refused.values()))
            raise ScoringError(f"no node of the cluster can score{reasons}", where="Ray cluster", remedy=NOBODY)
        return ready

    def _look(self) -> None:
        """Hire where there is room; a worker whose node is lost tells so by what it was doing, or is forgotten."""
        there = {place.name: place for place in places(self._kind)}
        for name in [name for name, member in self._members.items() if name not in there and not member.calls]:
            del self._members[name]
        for name, place in there.items():
            if name not in self._members and place.node not in self._refused:
                member = self._members[name] = _Member(place, hired(place, self._kind))
                member.calls[member.actor.arrive.remote(self._cargo)] = None

    def send(self, worker: str, slice: int, portions: Sequence[Portion]) -> None:
        member = self._members[worker]
        member.calls[member.actor.score.remote(slice, portions)] = slice

    def wait(self) -> Iterator[Finished | Lost]:
        calls = {call: name for name, member in self._members.items() for call in member.calls}
        if not calls:
            time.sleep(min(1.0, LOOK_SECONDS))
            return
        ended, _ = ray.wait(list(calls), num_returns=1, timeout=min(1.0, LOOK_SECONDS))
        if ended:
            ended, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
        for call in ended:
            member = self._members.get(calls[call])
            if member is not None and call in member.calls:  # else lost by another call of this round
                yield from self._ended(calls[call], member, call)

    def _ended(self, name: str, member: _Member, call: Any) -> Iterator[Finished | Lost]:
        number = member.calls.pop(call)
        try:
            value = ray.get(call)
        except RayError as error:
            if member.ready and isinstance(error, RayTaskError):  # a decode process died, and not the worker
                member.ready = False
                self._begin(member, ())
                yield Lost(name, f"{name}: {told(error)}")
                return
            if not member.ready:
                self._stillborn(name, member, error)
            yield self._lost(name, f"{name}: {told(error)}")
            return
        if number is not None:
            yield self._checked(name, member, number, pickle.loads(value))  # noqa: S301 # of our own worker
        elif member.arrived:
            member.ready = True
        elif why := mismatch(value):
            self._refuse(member, f"{name} is not used: {why}")
            yield self._lost(name, why, blamed=False)
        else:
            member.arrived = True
            self._begin(member, value.lacking)

    def _begin(self, member: _Member, lacking: Sequence[Cargo]) -> None:
        begun = member.actor.begin.remote(self._job, self._cargo, self._depot.shipment(lacking))
        member.calls = {begun: None}

    def _stillborn(self, name: str, member: _Member, error: RayError) -> None:
        self._deaths[name] = self._deaths.get(name, 0) + 1
        if self._deaths[name] >= ATTEMPTS or isinstance(error, RayTaskError):
            self._refuse(member, f"{name} could not begin: {told(error)}")

    def _checked(self, name: str, member: _Member, number: int, report: Report) -> Finished | Lost:
        """A slice, unless what is wrong with it may be right elsewhere."""
        if only_there := set(report.unreadable) - set(unreachable(report.unreadable)):
            why = f"{name} is not used: it lacks {min(only_there)}, which is here; let it see the same folders"
            self._refuse(member, why)
            return self._lost(name, why, blamed=False)
        defects = [
            found
            for done in report.done
            for found in done.results
            if isinstance(found, Failed) and (found.details or done.number is None)
        ]
        if defects:
            return self._lost(name, defects[0].error.reason(), failed=defects)
        return Finished(name, number, report.done)

    def _refuse(self, member: _Member, why: str) -> None:
        self._refused[member.place.node] = why

    def _lost(self, name: str, reason: str, *, failed: Sequence[Failed] = (), blamed: bool = True) -> Lost:
        ray.kill(self._members.pop(name).actor)
        self._looked = -LOOK_SECONDS  # its place is free
        return Lost(name, reason, failed, blamed)

    def first_bad(self, portions: Sequence[Portion]) -> str:
        with suppress(ScoringError, RayError):
            while not (ready := list(self.hire())):
                for _ in self.wait():
                    pass
            path: str = ray.get(self._members[ready[0]].actor.deadly.remote(portions))
            return path
        return ""

    def close(self) -> None:
        for member in self._members.values():
            ray.kill(member.actor)
        self._members = {}


def told(error: RayError) -> str:
    """A failure in one sentence."""
    if isinstance(error, RayTaskError):
        cause = error.cause
        return cause.reason() if isinstance(cause, ScoringError) else f"{type(cause).__name__}: {cause}"
    if isinstance(error, RayActorError) and error.actor_init_failed:  # a traceback: the last line says what
        return str(error).strip().rpartition("\n")[2]
    if isinstance(error, RayActorError):
        return "its worker died: killed, out of memory, or its node was lost"
    return str(error).partition("\n")[0]
