"""What executors have in common: a job, and what each of them can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from bench.batches import Portions
from bench.cores import decode_share
from bench.perturbations import Perturbation
from bench.scorer import Scorer
from bench.scoring import Done

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """What a worker is told once: detectors of one audio recipe, and how to score with them. Picklable.

    workers: decode processes of each worker; None = as many as keep its device fed. needed: how many do, where that
    was measured (`bench.tuning`).
    """

    scorers: Sequence[Scorer]
    perturbation: Perturbation | None = None
    workers: int | None = None
    needed: int | None = None

    def decode_workers(self, kind: str, share: int) -> int:
        """Decode processes of a worker whose device is of this kind and has `share` cores."""
        return decode_share(kind, share, self.needed) if self.workers is None else self.workers


class Executor(AbstractContextManager["Executor"], Protocol):
    """Where the work of a command is done; a context manager, which lets its processes go in the end.

    kind: `cpu` or `cuda`, what its devices are. memory_bytes: of one device. workers: how many score at a time.
    cores: processor cores of each of them, the fewest where they differ.
    """

    @property
    def name(self) -> str:
        """`local`, `devices` or `ray`: what a manifest says."""

    @property
    def kind(self) -> str: ...

    @property
    def workers(self) -> int: ...

    @property
    def cores(self) -> int: ...

    def memory_bytes(self) -> int: ...

    def hardware(self) -> Mapping[str, Any]:
        """What a manifest says of the machine, see `bench.environment.hardware`."""

    def score(self, job: Job, portions: Portions) -> Iterator[Done]:
        """Score portions in any order, each once; the first `Done` of a detector that fails names it, the only one.

        Raises:
            ScoringError: processes died, again and again; what was scored before has been given.
        """

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """`function(*arguments, device)` where a device is: for what is measured before a pass begins."""
