"""Who gets the cores: decode processes, or the threads of a detector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench import cores
from bench.batches import Portions, plan_batches
from bench.executors.job import Job
from bench.executors.local import Local
from tests.passing import numbered, scorer


@pytest.fixture
def four_threads() -> Iterator[None]:
    """Torch was told to use four threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("kind", "share", "needed", "workers"),
    [
        ("cpu", 7, None, 0),
        ("cpu", 17, None, 2),
        ("cpu", 17, 5, 2),
        ("cuda", 1, None, 1),
        ("cuda", 4, None, 3),
        ("cuda", 64, None, 8),
        ("cuda", 64, 20, 20),
        ("cuda", 4, 20, 4),
        ("cuda", 4, 2, 2),
    ],
)
def test_decode_processes_are_as_many_as_were_measured_or_the_cores_allow(
    kind: str, share: int, needed: int | None, workers: int
) -> None:
    """On a GPU as many as keep it fed, at most its share of the cores; on a CPU one for eight cores."""
    assert cores.decode_share(kind, share, needed) == workers
    assert Job([], needed=needed).decode_workers(kind, share) == workers
    assert Job([], workers=7, needed=needed).decode_workers(kind, share) == 7


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize(("share", "workers", "threads"), [(8, 0, 4), (4, 0, 4), (4, 1, 3), (2, 1, 1), (2, 5, 1)])
def test_a_detector_has_the_cores_that_decode_processes_leave(share: int, workers: int, threads: int) -> None:
    """At least one thread, and never more than torch was told."""
    assert cores.detector_threads(share, workers) == threads


@pytest.mark.usefixtures("four_threads")
def test_threads_are_as_before_behind_an_error() -> None:
    """So many inside, and the old number outside, however the block ends."""
    with pytest.raises(ValueError, match="inside"), cores.torch_threads(2):
        assert torch.get_num_threads() == 2
        raise ValueError("inside")
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize(("workers", "threads"), [(0, 3), (1, 2), (3, 1)])
def test_a_pass_on_a_cpu_leaves_cores_to_its_decode_processes(tmp_path: Path, workers: int, threads: int) -> None:
    """Torch's threads and the decode processes are as many as there are cores while it scores, and not behind it."""
    trials = numbered(tmp_path, 6)
    job = Job([scorer("det", "Tiny")], workers=workers)
    portions = Portions(trials, plan_batches(trials, job.scorers[0].recipe, 2), ["det"])
    executor = Local("cpu")
    executor.cores = 3
    seen = [torch.get_num_threads() for _ in executor.score(job, portions)]
    assert seen == [threads] * 3
    assert torch.get_num_threads() == 4
