"""Seconds for the metrics of one cell as large as all of ASVspoof 2021 DF: `python -m benchmarks.metrics`.

References: the ASVspoof evaluation packages' definition (one stable argsort of all trials) and scikit-learn's ROC with
every point kept. Each must give the same EER before it is timed; best of `REPEATS`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from bench.metrics import breakdown, decide, eer, evaluate
from tests.oracles.metrics import official_eer, roc_eer

BONAFIDE, SPOOF = 22_617, 589_212
ATTACKS = 110
REPEATS = 5
TARGET_SECONDS = 0.15


def best_seconds(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    draw = np.random.default_rng(0)
    labels = draw.permutation(np.repeat(np.array([1, 0], dtype=np.int8), [BONAFIDE, SPOOF]))
    scores = draw.normal(size=labels.size) + 4.0 * labels
    attacks = [f"A{number:03d}" for number in draw.integers(ATTACKS, size=labels.size)]

    rate = eer(scores, labels).eer
    for name, reference in (
        ("official", official_eer(scores[labels == 1], scores[labels == 0])[0]),
        ("scikit-learn", roc_eer(scores, labels)[0]),
    ):
        if reference != rate:
            raise SystemExit(f"the {name} EER is {reference!r}, ours is {rate!r}: nothing to compare")

    official = best_seconds(lambda: official_eer(scores[labels == 1], scores[labels == 0]))
    rows = {
        "eer": best_seconds(lambda: eer(scores, labels)),
        "evaluate": best_seconds(lambda: evaluate(scores, labels)),
        "decide": best_seconds(lambda: decide(scores, labels, 2.0)),
        f"breakdown, {ATTACKS} attacks": best_seconds(lambda: breakdown(scores, labels, attacks, spoof_only=True)),
        "official definition": official,
        "scikit-learn roc_curve": best_seconds(lambda: roc_eer(scores, labels)),
    }
    print(f"{labels.size:,} scores, EER {100 * rate:.3f} % in all three, best of {REPEATS}")
    print(f"{'':24}{'seconds':>10}{'x official':>12}")
    for name, seconds in rows.items():
        print(f"{name:24}{seconds:10.4f}{seconds / official:12.2f}")
    verdict = "met" if rows["eer"] < TARGET_SECONDS else "MISSED"
    print(f"target: eer under {TARGET_SECONDS} s: {verdict}")


if __name__ == "__main__":
    main()
