"""What runs on a node of a cluster: one worker for each of its devices, in a process that Ray starts.

Nothing here asks for Ray but the references in which chunks of files arrive.
"""

from __future__ import annotations

import os
import pickle
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch

from bench import environment
from bench.batches import Portion
from bench.cards import DetectorCard
from bench.cores import decode_share, detector_threads
from bench.executors.job import Job
from bench.executors.shipping import Cargo, located, unpack
from bench.executors.suspects import deadly, unreadable
from bench.executors.worker import Slice, serve
from bench.scoring import Done
from bench.training import Materials

if TYPE_CHECKING:
    from bench.executors.afar import News

T = TypeVar("T")
POLL_SECONDS = 0.05  # until a worker without a slice looks at what else there is to do

Shipment = Mapping[Cargo, Mapping[str, Sequence[Any]]]  # of each cargo, the references of the chunks of its files


class Arrival(NamedTuple):
    """What a worker says first: the versions of its libraries, and which weights its node lacks."""

    versions: Mapping[str, str]
    lacking: Sequence[Cargo]


class Report(NamedTuple):
    """What became of a slice. unreadable: files that have a note and that this node cannot reach."""

    done: Sequence[Done]
    unreadable: Sequence[str]


class Worker:
    """One device of a node; it scores, or trains, until it is let go.

    device: `cpu`, or `cuda`, of which Ray shows it one. cpus: cores that belong to it.
    """

    def __init__(self, device: str, cpus: int, folder: str) -> None:
        self._device, self._cpus = device, max(cpus, 1)
        work_in(folder)

    def arrive(self, cargo: Sequence[Cargo]) -> Arrival:
        return Arrival(environment.versions(), [one for one in cargo if located(one) is None])

    def _places(self, cargo: Sequence[Cargo], shipment: Shipment) -> dict[Path, Path]:
        """Where the weights are here, by where they lie on the driver."""
        return {one.path: located(one) or unpack(one, _received(shipment[one])) for one in cargo}

    # --- scoring ------------------------------------------------------------------------------------------------------

    def begin(self, job: Job, cargo: Sequence[Cargo], shipment: Shipment) -> None:
        """Build the detectors of a pass and wait for slices."""
        places = self._places(cargo, shipment)
        scorers = [
            one if one.weights is None else replace(one, weights=places[one.weights.absolute()]) for one in job.scorers
        ]
        self._job = replace(job, scorers=scorers)
        self._slices: queue.SimpleQueue[Slice] = queue.SimpleQueue()
        self._waiting: dict[int, Future[Sequence[Done]]] = {}
        self._defect: BaseException | None = None
        threading.Thread(target=self._serve, daemon=True).start()

    def score(self, number: int, portions: Sequence[Portion]) -> bytes:
        """A pickled `Report`, as bytes: arrays in it would keep the shared memory that they came in.

        Raises:
            ScoringError: a decode process died; the worker has to begin again.
        """
        future: Future[Sequence[Done]] = Future()
        self._waiting[number] = future
        self._slices.put((number, portions))
        if self._defect is not None:
            raise self._defect
        done = future.result()
        return pickle.dumps(Report(done, unreadable(portions, done)))

    def deadly(self, portions: Sequence[Portion]) -> str:
        return deadly(portions, self._job)

    def _serve(self) -> None:
        workers = self._job.decode_workers(self._device, self._cpus)
        torch.set_num_threads(detector_threads(self._cpus, workers if self._device == "cpu" else 0))  # of this thread
        try:
            serve(self._job, self._device, workers, self._receive, self._send)
        except BaseException as error:
            self._defect = error.with_traceback(None)  # whose frames hold the detectors
            for future in list(self._waiting.values()):
                future.set_exception(error)

    def _receive(self) -> Slice | None:
        try:
            return self._slices.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return None

    def _send(self, number: int, done: Sequence[Done]) -> None:
        self._waiting.pop(number).set_result(done)

    # --- training -----------------------------------------------------------------------------------------------------

    def train(
        self,
        card: DetectorCard,
        materials: Materials,
        options: Mapping[str, Any],
        state: Mapping[str, Sequence[Any]],
        cargo: Sequence[Cargo],
        shipment: Shipment,
    ) -> None:
        """Begin a training; `state` are references of the files that it goes on from, by name."""
        from bench.executors.afar import Afar  # accelerate takes a second: not for scoring

        places = self._places(cargo, shipment)
        start = {
            part: found and replace(found, path=places[found.path.absolute()])
            for part, found in materials.start.items()
        }
        workers = options["workers"]
        self._training = Afar(
            card,
            Materials(materials.lists, start),
            _received(state),
            device=self._device,
            threads=self._cpus,
            workers=decode_share(self._device, self._cpus) if workers is None else workers,
            feature_limit=options["feature_limit"],
        )

    def news(self) -> News:
        return self._training.news()

    def piece(self, name: str, offset: int) -> bytes:
        return self._training.piece(name, offset)

    def clear(self) -> None:
        self._training.clear()


def call(function: Callable[..., T], arguments: Sequence[Any], device: str, folder: str) -> T:
    """What `Executor.call` does, on a node."""
    work_in(folder)
    return function(*arguments, device)


def work_in(folder: str) -> None:
    """Relative paths are those of the driver, where this node has its folder."""
    with suppress(OSError):
        os.chdir(folder)


def _received(files: Mapping[str, Sequence[Any]]) -> dict[str, Iterator[bytes]]:
    """The chunks of each file, fetched one by one."""
    import ray

    return {name: map(ray.get, references) for name, references in files.items()}
