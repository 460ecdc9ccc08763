"""Whether a faster arithmetic may stand for float32: both score some of the dataset's own trials, and ranks decide.

EER, F1 and all else that this harness computes of a cell depends on the order of its scores and on nothing else. Two
orders differ by the trials that change sides: put a threshold behind the k lowest scores of each; those that are below
one and above the other changed sides. `moved` is their largest share over all k, so no error rate at any threshold can
differ by more than that share of the trials.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bench.batches import Portions
from bench.executors import Executor, Job
from bench.precision import Precision
from bench.runner import Scored
from bench.scorer import Scorer

TRIALS = 256  # that are scored both ways
BOUND = 0.01  # the largest share of them that may change sides


@dataclass(frozen=True)
class Probe:
    """What a faster arithmetic does to scores.

    trials: that both scored. moved: the largest share of them that changes sides at a threshold. difference: the
    largest one of two scores, None where there are none. reason: why the faster one gave none.
    """

    trials: int
    moved: float
    difference: float | None
    reason: str = ""

    @property
    def passed(self) -> bool:
        return self.trials > 0 and self.moved <= BOUND

    @property
    def told(self) -> str:
        """Why it did not pass."""
        if not self.trials:
            return self.reason or "there was no trial to try it on"
        return f"which moves {self.moved:.1%} of {self.trials} trials past a threshold (at most {BOUND:.0%} may)"

    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        return {**asdict(self), "bound": BOUND, "passed": self.passed}


def run(
    executor: Executor,
    job: Callable[[Sequence[Scorer]], Job],
    scorers: Mapping[Precision, Scorer],
    trials: pd.DataFrame,
    batches: Sequence[np.ndarray],
) -> dict[Precision, Probe]:
    """Score some batches of the plan, evenly spread, in float32 and in each faster arithmetic.

    Args:
        job: of some scorers. scorers: one detector, by what it computes in, `fp32` among them.
        trials, batches: as in `bench.batches`.

    Returns:
        A probe of each but fp32; nothing where float32 itself fails, which the pass will tell.
    """
    named = [replace(scorer, name=precision) for precision, scorer in scorers.items()]
    chosen = batches_to_try(batches)
    scores: dict[str, list[pd.Series]] = {one.name: [] for one in named}
    failed: dict[str, str] = {}
    for done in executor.score(job(named), Portions(trials, chosen, list(scores))):
        for result in done.results:
            if isinstance(result, Scored):
                scores[result.detector].append(result.block.set_index("trial")["score"].dropna())
            else:
                failed[result.detector] = result.error.what  # it names detectors by precision
    if "fp32" in failed:
        return {}
    reference = pd.concat(scores["fp32"]) if scores["fp32"] else pd.Series(dtype=float)
    return {
        precision: compared(reference, pd.concat(scores[precision]) if scores[precision] else reference[:0])
        if precision not in failed
        else Probe(0, 1.0, None, failed[precision])
        for precision in scorers
        if precision != "fp32"
    }


def batches_to_try(batches: Sequence[np.ndarray]) -> list[np.ndarray]:
    """About `TRIALS` trials in whole batches of the plan, evenly spread over it, as they are computed in the pass."""
    rows = sum(len(batch) for batch in batches)
    count = min(len(batches), -(-TRIALS * len(batches) // max(rows, 1)))
    return [batches[(2 * number + 1) * len(batches) // (2 * count)] for number in range(count)]


def compared(reference: pd.Series, found: pd.Series) -> Probe:
    """Scores of the same trials, by their ids."""
    both = reference.index.intersection(found.index)  # what another worker could not read is no difference
    reference, found = reference[both], found[both]
    one, other = reference.to_numpy(), found.to_numpy()
    difference = float(np.abs(one - other).max()) if len(one) else None
    return Probe(len(one), moved(one, other), difference)


def moved(one: np.ndarray, other: np.ndarray) -> float:
    """The largest share of trials (n,) that change sides: for some k, among the k lowest of `one` and not of `other`.

    Ties are ordered as the trials are.
    """
    count = len(one)
    if not count:
        return 0.0
    ranks = np.empty((2, count), dtype=np.int64)
    for row, scores in zip(ranks, (one, other), strict=True):
        row[np.argsort(scores, kind="stable")] = np.arange(count)
    low, high = np.minimum(*ranks), np.maximum(*ranks)
    # A trial changes sides at every k above its lower rank and up to its higher one; half of them in each direction.
    steps = np.bincount(low, minlength=count) - np.bincount(high, minlength=count)
    return float(np.cumsum(steps).max()) / 2 / count
