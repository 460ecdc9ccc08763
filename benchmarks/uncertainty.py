"""Seconds and memory of 1,000 bootstrap replicates on a list as large as all of ASVspoof 2021 DF.

    python -m benchmarks.uncertainty

References: the trials of a replicate written out as often as they were drawn and measured by `bench.metrics`, whose
values must be the same; timed on `REFERENCE` replicates. 100 speakers x 110 attacks, and the same list without names.
"""

from __future__ import annotations

import resource
import time

import numpy as np
import pandas as pd

from bench.cores import cores
from bench.metrics import evaluate
from bench.replicates import MEASURES, REPLICATES, replicate
from bench.resampling import Resampling

BONAFIDE, SPOOF = 22_617, 589_212
SPEAKERS, ATTACKS = 100, 110
REFERENCE = 5
TARGET_SECONDS, TARGET_BYTES = 5.0, 2 << 30


def trial_list(named: bool) -> pd.DataFrame:
    """A list of the sizes above, the classes side by side; speakers and attacks at random, or unnamed."""
    draw = np.random.default_rng(0)
    table = pd.DataFrame({"label": np.repeat(["bonafide", "spoof"], [BONAFIDE, SPOOF]), "speaker": "", "attack": ""})
    if named:
        table["speaker"] = [f"S{number}" for number in draw.integers(SPEAKERS, size=len(table))]
        table.loc[BONAFIDE:, "attack"] = [f"A{number}" for number in draw.integers(ATTACKS, size=SPOOF)]
    return table.astype("str")


def reference(draws: Resampling, scores: np.ndarray, found: dict[str, np.ndarray]) -> float:
    """Seconds a replicate of the trials written out.

    Raises:
        SystemExit: a value is another one.
    """
    first = [draws.weights(side, 0) for side in (draws.bonafide, draws.spoof)]
    second = [draws.weights(side, 1) for side in (draws.bonafide, draws.spoof)]
    rows = [np.concatenate(pair) for both in (first, second) for pair in zip(*both, strict=True)][:REFERENCE]
    started = time.perf_counter()
    for number, weights in enumerate(rows):
        written = evaluate(np.repeat(scores, weights), np.repeat(draws.labels, weights))
        if written["eer"] != found["eer"][number]:
            raise SystemExit(f"replicate {number}: {written['eer']!r} written out, {found['eer'][number]!r} ours")
    return (time.perf_counter() - started) / len(rows)


def main() -> None:
    print(f"{BONAFIDE + SPOOF:,} trials, {REPLICATES:,} replicates, {cores()} cores; seconds")
    print(f"{'unit':48}{'draws':>8}{'EER':>8}{'all':>8}{'written out':>13}{'ratio':>8}")
    for named in (True, False):
        table = trial_list(named)
        started = time.perf_counter()
        draws = Resampling(table, REPLICATES)
        made = time.perf_counter()
        scores = np.random.default_rng(1).normal(size=len(draws.labels)) + 2.0 * draws.labels
        began = time.perf_counter()
        found = replicate(draws, scores, {"eer": MEASURES["eer"]})
        eer = time.perf_counter() - began
        began = time.perf_counter()
        replicate(draws, scores, MEASURES)
        every = time.perf_counter() - began
        naive = REPLICATES * reference(draws, scores, found)
        print(f"{draws.unit.text:48}{made - started:8.2f}{eer:8.2f}{every:8.2f}{naive:13.0f}{naive / eer:8.0f}")
        if named:
            verdict = "met" if eer < TARGET_SECONDS else "MISSED"
            print(f"target: EER under {TARGET_SECONDS:g} s: {verdict}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    verdict = "met" if peak < TARGET_BYTES else "MISSED"
    print(f"peak memory {peak / 2**20:,.0f} MiB, target {TARGET_BYTES / 2**20:,.0f}: {verdict}")


if __name__ == "__main__":
    main()
