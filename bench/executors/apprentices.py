"""Trainings on a Ray cluster, seen from the driver: each takes a place, and what it writes comes home.

The weights folder of each is claimed here for as long. A training whose node is lost goes on from the last state that
came back, on another node; so does the next command, where this one ends.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.exceptions import RayError, RayTaskError

from bench import training
from bench.cards import DetectorCard
from bench.errors import BenchError, ScoringError
from bench.executors.afar import News, Shared, bring_home, state_files
from bench.executors.crew import NOBODY, PATIENCE_SECONDS, Depot, Place, hired, mismatch, places, put, told
from bench.executors.handout import ATTEMPTS
from bench.executors.shipping import Cargo
from bench.progress import Display
from bench.training import Materials

POLL_SECONDS = 1.0


@dataclass(frozen=True, eq=False)
class Task:
    """A training to carry out; see `bench.training.train`. workers: None = as many as the node has cores for."""

    label: str
    card: DetectorCard
    materials: Materials
    folder: Path
    workers: int | None
    feature_limit: int


Ended = tuple[Task, BenchError | None]  # and what it failed of


def carry_out(tasks: Sequence[Task], kind: str, depot: Depot, display: Display) -> Iterator[Ended]:
    """See `bench.executors.cluster.Cluster.train`."""
    company = _Apprentices(tasks, kind, depot, display)
    try:
        yield from company.run()
    finally:
        company.close()


class _Apprentice:
    """A training at its place. `call` is the reference of what its worker is doing now."""

    def __init__(self, task: Task, place: Place, kind: str) -> None:
        self.task, self.place = task, place
        self.cargo = [Cargo.of(found.path) for found in task.materials.start.values() if found is not None]
        self.actor = hired(place, kind)
        self.call = self.actor.arrive.remote(self.cargo)
        self.step = "arrive"

    def begin(self, depot: Depot, lacking: Sequence[Cargo]) -> None:
        task = self.task
        state = {file.name: put(file) for file in state_files(task.folder)}
        options = {"workers": task.workers, "feature_limit": task.feature_limit}
        arguments = (task.card, ray.put(task.materials), options, state, self.cargo, depot.shipment(lacking))
        self.call, self.step = self.actor.train.remote(*arguments), "begin"

    def listen(self) -> None:
        self.call, self.step = self.actor.news.remote(), "news"

    def bring_home(self, news: News) -> None:
        bring_home(self.task.folder, news, lambda name, offset: ray.get(self.actor.piece.remote(name, offset)))


class _Apprentices:
    def __init__(self, tasks: Sequence[Task], kind: str, depot: Depot, display: Display) -> None:
        self._waiting = deque(tasks)
        self._kind, self._depot = kind, depot
        self._display, self._shared = display, Shared(display)
        self._running: list[_Apprentice] = []
        self._attempts: dict[Task, int] = {}
        self._deaths: dict[Place, int] = {}  # of workers that had not begun
        self._refused: dict[str, str] = {}  # nodes that are of no use, and why
        self._claims = {task: ExitStack() for task in tasks}
        self._seen = time.monotonic()  # the last time that something was trained

    def run(self) -> Iterator[Ended]:
        while self._waiting or self._running:
            yield from self._place()
            calls = {one.call: one for one in self._running}
            ended = ray.wait(list(calls), num_returns=1, timeout=POLL_SECONDS)[0] if calls else ()
            for call in ended:
                yield from self._heard(calls[call])

    def close(self) -> None:
        for one in self._running:
            ray.kill(one.actor)
        for claim in self._claims.values():
            claim.close()

    def _place(self) -> Iterator[Ended]:
        """Begin what there is room for."""
        if not self._waiting:
            return
        taken = {one.place for one in self._running}
        free = [place for place in places(self._kind) if place not in taken and place.node not in self._refused]
        while self._waiting and free:
            task = self._waiting.popleft()
            try:
                if task not in self._attempts:
                    self._claims[task].enter_context(training.claimed(task.folder))
                self._running.append(_Apprentice(task, free.pop(0), self._kind))
                self._attempts[task] = self._attempts.get(task, 0) + 1
            except BenchError as error:  # another process trains it
                yield task, error
        if self._running:
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > PATIENCE_SECONDS:
            reasons = "".join(f"\n{reason}" for reason in self._refused.values())
            raise ScoringError(f"no node of the cluster can train{reasons}", where="Ray cluster", remedy=NOBODY)
        else:
            time.sleep(POLL_SECONDS)

    def _heard(self, one: _Apprentice) -> Iterator[Ended]:
        try:
            value = ray.get(one.call)
            if one.step == "arrive" and (why := mismatch(value)):
                self._refused[one.place.node] = f"{one.place.name} is not used: {why}"
                self._attempts[one.task] -= 1
                self._again(one)
            elif one.step == "arrive":
                one.begin(self._depot, value.lacking)
            elif one.step == "begin":
                one.listen()
            else:
                yield from self._told(one, value)
        except RayError as error:
            if one.step == "arrive":  # its place is of no use, or lost already
                self._deaths[one.place] = self._deaths.get(one.place, 0) + 1
                if self._deaths[one.place] >= ATTEMPTS or isinstance(error, RayTaskError):
                    self._refused[one.place.node] = f"{one.place.name} could not begin: {told(error)}"
                self._attempts[one.task] -= 1
                self._again(one)
            elif self._attempts[one.task] < ATTEMPTS:
                self._display.note(f"{one.task.label}: {one.place.name}: {told(error)}; it goes on elsewhere")
                self._again(one)
            else:
                what = f"training failed on {ATTEMPTS} workers: {told(error)}"
                yield self._done(one, ScoringError(what, where=one.place.name, remedy="run again to go on from there"))

    def _told(self, one: _Apprentice, news: News) -> Iterator[Ended]:
        self._shared.show(one.task.label, news.events)
        one.bring_home(news)
        if news.ended is None:
            one.listen()
            return
        ray.get(one.actor.clear.remote())
        if news.ended.details:
            self._display.note(news.ended.details)
        yield self._done(one, news.ended.error)

    def _again(self, one: _Apprentice) -> None:
        self._let_go(one)
        self._waiting.append(one.task)

    def _done(self, one: _Apprentice, error: BenchError | None) -> Ended:
        self._let_go(one)
        self._claims[one.task].close()
        return one.task, error

    def _let_go(self, one: _Apprentice) -> None:
        self._running.remove(one)
        self._shared.release(one.task.label)
        ray.kill(one.actor)
