"""Slices of a plan: each portion scored once, whatever happens to the workers."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.batches import Portion, Portions
from bench.errors import ScoringError
from bench.executors.handout import ATTEMPTS, Finished, Lost, hand_out
from bench.runner import Scored
from bench.scoring import Done, Failed


class Fake:
    """Workers that score at random moments and die by a coin; `poisoned` is a portion that kills whoever has it."""

    def __init__(self, workers: int, seed: int, death: float = 0.0, poisoned: int | None = None) -> None:
        self.random = random.Random(seed)
        self.held: dict[str, list[tuple[int, Sequence[Portion]]]] = {f"w{number}": [] for number in range(workers)}
        self.death, self.poisoned, self.count = death, poisoned, workers
        self.sizes: list[int] = []
        self.failing: dict[int, str] = {}

    def hire(self) -> Collection[str]:
        if not self.held:
            self.held[f"w{self.count}"] = []
            self.count += 1
        return list(self.held)

    def send(self, worker: str, slice: int, portions: Sequence[Portion]) -> None:
        self.held[worker].append((slice, portions))
        self.sizes.append(len(portions))

    def wait(self) -> Iterator[Finished | Lost]:
        busy = [worker for worker, slices in self.held.items() if slices]
        worker = self.random.choice(busy)
        number, portions = self.held[worker][0]
        if self.random.random() < self.death or any(one.number == self.poisoned for one in portions):
            del self.held[worker]
            yield Lost(worker, "killed")
            return
        self.held[worker].pop(0)
        yield Finished(worker, number, [self.done(portion) for portion in portions])

    def done(self, portion: Portion) -> Done:
        results: list[Scored | Failed] = []
        for name in portion.detectors:
            if self.failing.get(portion.number) == name:
                results.append(Failed(name, ScoringError("no")))
            else:
                block = pd.DataFrame({"trial": portion.trials, "score": 0.0})
                results.append(Scored(name, block, 0.0))
        return Done(portion.number, tuple(results))

    def first_bad(self, portions: Sequence[Portion]) -> str:
        return "bad.flac"


def portions(count: int, detectors: Sequence[str] = ("a",)) -> Portions:
    trials = pd.DataFrame({"trial": [f"t{row}" for row in range(2 * count)], "path": "x"})
    return Portions(trials, np.split(np.arange(2 * count), range(2, 2 * count, 2)), detectors)


def trials_of(done: Iterator[Done] | Sequence[Done], detector: str = "a") -> list[str]:
    results = [result for one in done for result in one.results]
    return [t for r in results if isinstance(r, Scored) and r.detector == detector for t in r.block["trial"]]


@given(count=st.integers(1, 60), workers=st.integers(1, 5), seed=st.integers(0, 999))
def test_every_portion_is_scored_once(count: int, workers: int, seed: int) -> None:
    """By any number of workers, at any speeds."""
    plan = portions(count)
    found = trials_of(hand_out(plan, Fake(workers, seed)))
    assert sorted(found) == sorted(f"t{row}" for row in range(2 * count))


@given(count=st.integers(1, 60), workers=st.integers(1, 5), seed=st.integers(0, 999), death=st.floats(0, 0.15))
def test_workers_that_die_lose_nothing(count: int, workers: int, seed: int, death: float) -> None:
    """Each portion comes once; or, where a slice died too often, all the others once and then the error."""
    found: list[Done] = []
    try:
        found.extend(hand_out(portions(count), Fake(workers, seed, death)))
        assert sorted(trials_of(found)) == sorted(f"t{row}" for row in range(2 * count))
    except ScoringError as error:
        assert f"failed on {ATTEMPTS} workers: killed" in error.what
        assert len(set(trials_of(found))) == len(trials_of(found))


@given(count=st.integers(2, 40), at=st.integers(0, 39), seed=st.integers(0, 99))
def test_a_portion_that_kills_its_workers_is_told_with_its_file(count: int, at: int, seed: int) -> None:
    """After all others are scored, and after `ATTEMPTS` workers."""
    crew, found = Fake(3, seed, poisoned=at % count), list[Done]()
    with pytest.raises(ScoringError) as caught:
        for done in hand_out(portions(count), crew):
            found.append(done)
    assert "failed on 3 workers: killed; decoding the file kills the process: bad.flac" in caught.value.what
    assert (caught.value.where, caught.value.remedy) == ("bad.flac", "mend or remove the file, then run again")
    assert crew.count - 3 <= 3 * ATTEMPTS
    lost = {f"t{row}" for row in range(2 * count)} - set(trials_of(found))
    assert {f"t{2 * (at % count)}", f"t{2 * (at % count) + 1}"} <= lost


def test_slices_are_small_at_first_and_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """One portion while nothing is known, then as many as take some seconds, never so many that others would wait."""
    clock = iter(np.arange(0, 1e6, 0.05))
    monkeypatch.setattr("bench.executors.handout.time.monotonic", lambda: float(next(clock)))
    crew = Fake(2, 0)
    assert len(trials_of(hand_out(portions(2_000), crew))) == 4_000
    assert crew.sizes[:2] == [1, 1] and crew.sizes[-1] == 1
    assert max(crew.sizes) > 20
    assert sum(crew.sizes) == 2_000


def test_a_detector_fails_once_and_is_left_out_from_there_on() -> None:
    """Though two workers may find out; the other detectors go on."""
    crew = Fake(2, 1)
    crew.failing = dict.fromkeys(range(3, 40), "a")
    found = list(hand_out(portions(40, ("a", "b")), crew))
    failed = [result for one in found for result in one.results if isinstance(result, Failed)]
    assert [result.detector for result in failed] == ["a"]
    assert len(trials_of(found, "b")) == 80
    assert not set(trials_of(found, "a")) & {f"t{row}" for row in range(6, 80)}
