"""This process, on one device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from types import TracebackType
from typing import Any, TypeVar

from bench import environment
from bench.batches import Portions
from bench.cores import cores, detector_threads, torch_threads
from bench.executors.job import Job
from bench.scoring import Done, score_trials

T = TypeVar("T")


class Local:
    """Scores here. device: a torch device name."""

    name = "local"
    workers = 1

    def __init__(self, device: str) -> None:
        self.device = device
        self.kind = device.partition(":")[0]
        self.cores = cores()

    def __enter__(self) -> Local:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def memory_bytes(self) -> int:
        return environment.memory_bytes(self.device)

    def hardware(self) -> Mapping[str, Any]:
        return environment.hardware(self.device)

    def score(self, job: Job, portions: Portions) -> Iterator[Done]:
        workers = min(job.decode_workers(self.kind, self.cores), len(portions))
        with torch_threads(detector_threads(self.cores, workers)) if self.kind == "cpu" else nullcontext():
            yield from score_trials(
                job.scorers, portions, perturbation=job.perturbation, device=self.device, workers=workers
            )

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        return function(*arguments, self.device)
