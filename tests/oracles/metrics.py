"""Independent references for `bench.metrics`: definitions spelt out trial by trial, and scikit-learn's ROC.

Nothing here is shared with the code under test. `benchmarks/metrics.py` measures against `official_eer` and `roc_eer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

Array = NDArray[np.float64]


def brute_eer(scores: Sequence[float], labels: Sequence[int]) -> tuple[float, float, float, float]:
    """(eer, threshold, frr, far) by counting every trial at every candidate threshold, O(N^2).

    Candidates ascend: lowest score - 0.001 (everything accepted), then each distinct score. Source: `tie_aware` in the
    definitions of the golden metrics.
    """
    bonafide = [score for score, label in zip(scores, labels, strict=True) if label == 1]
    spoof = [score for score, label in zip(scores, labels, strict=True) if label == 0]
    best: tuple[float, float, float, float] | None = None
    for threshold in [min(scores) - 0.001, *sorted(set(scores))]:
        frr = sum(not score > threshold for score in bonafide) / len(bonafide)
        far = sum(score > threshold for score in spoof) / len(spoof)
        if best is None or abs(frr - far) < abs(best[2] - best[3]):
            best = ((frr + far) / 2, threshold, frr, far)
    assert best is not None
    return best


def brute_auc(scores: Sequence[float], labels: Sequence[int]) -> float:
    """Share of (bona fide, spoof) pairs in the right order, ties counted half, exact until the last step, O(N^2)."""
    won, pairs = Fraction(0), 0
    for score, label in zip(scores, labels, strict=True):
        for other, other_label in zip(scores, labels, strict=True):
            if label == 1 and other_label == 0:
                pairs += 1
                won += 1 if score > other else Fraction(1, 2) if score == other else 0
    return float(won / pairs)


def official_eer(bonafide: Array, spoof: Array) -> tuple[float, float]:
    """(EER, threshold) as the ASVspoof evaluation packages define it: one vertex a trial, ties included.

    Bona fide precede spoof inside a block of equal scores. The packages of 2019 (v2), 2021 and 5 agree on it.
    """
    scores = np.concatenate((bonafide, spoof))
    target = np.concatenate((np.ones(bonafide.size), np.zeros(spoof.size)))
    order = np.argsort(scores, kind="stable")
    rejected_targets = np.cumsum(target[order])
    remaining_spoofs = spoof.size - (np.arange(1, scores.size + 1) - rejected_targets)
    frr = np.concatenate(([0.0], rejected_targets / bonafide.size))
    far = np.concatenate(([1.0], remaining_spoofs / spoof.size))
    thresholds = np.concatenate(([scores[order[0]] - 0.001], scores[order]))
    vertex = np.argmin(np.abs(frr - far))
    return float((frr[vertex] + far[vertex]) / 2), float(thresholds[vertex])


def roc_eer(scores: Array, labels: NDArray[np.int8]) -> tuple[float, float, float]:
    """(eer, frr, far) on every point of scikit-learn's ROC, ordered by ascending threshold.

    The default `drop_intermediate` would drop vertices. Rates become whole trials again first: 1 - tpr is rounded
    differently from misses / trials, which settles ties between two equally near vertices at random.
    """
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    n_bonafide = np.count_nonzero(labels)
    n_spoof = labels.size - n_bonafide
    frr = (n_bonafide - np.rint(tpr[::-1] * n_bonafide)) / n_bonafide
    far = np.rint(fpr[::-1] * n_spoof) / n_spoof
    vertex = np.argmin(np.abs(frr - far))
    return float((frr[vertex] + far[vertex]) / 2), float(frr[vertex]), float(far[vertex])
