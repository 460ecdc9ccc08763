"""How far plain properties of the audio tell the classes apart, without any listening.

The direction is fixed as in `bench.models.probes`: more = more bona fide. About 50 % EER is what one hopes for; far
below, or far above, the property alone decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench import metrics
from bench.doctor.findings import Finding, Severity

ALPHA = 1e-3  # two-sided, of one property; with eight of them, one clean corpus in a hundred is told of at most
NOTABLE = 0.15  # distance of the EER from 50 % at which it is worth a note: 35 or 65 %
STRONG = 0.25  # and a warning: 25 or 75 %, where the property decides three of four trials
FEW = 20  # trials of a class below which one reader or one channel may be all of the class: a note at most
REMEDY = "read EERs on this dataset with that in mind; a perturbation takes some of it away (`+trim`, `+resample@8k`)"


class Property(NamedTuple):
    """A field of `bench.doctor.facts.FACTS`, in words."""

    name: str
    unit: str
    field: str


PROPERTIES = (
    Property("duration", "s", "seconds"),
    Property("sample rate", "Hz", "rate"),
    Property("channels", "", "channels"),
    Property("leading silence", "s", "leading"),
    Property("trailing silence", "s", "trailing"),
    Property("loudness", "dBFS", "loudness"),
    Property("clipped samples", "%", "clipped"),
    Property("constant offset", "%", "offset"),
)
PERCENT = 100  # fields that are shares are shown in percent


@dataclass(frozen=True)
class Shortcut:
    """What one property achieves.

    eer, auc: as `bench.metrics`, fractions, more = more bona fide. p: see `chance`.
    bonafide, spoof: medians of the classes in `unit`. trials: of the smaller class.
    """

    name: str
    unit: str
    eer: float
    auc: float
    p: float
    bonafide: float
    spoof: float
    trials: int

    @property
    def severity(self) -> Severity | None:
        """`warning`: beyond chance, EER below 25 or above 75 %, 20 trials of each class; `note`: 35 or 65 %."""
        distance = abs(self.eer - 0.5)
        if self.p >= ALPHA or distance <= NOTABLE:
            return None
        return "warning" if distance > STRONG and self.trials >= FEW else "note"

    @property
    def line(self) -> str:
        """A row of the table of properties."""
        medians = f"{_number(self.bonafide)} | {_number(self.spoof)} {self.unit}".rstrip()
        return f"{self.name:<17} {100 * self.eer:6.2f} %  {self.auc:.3f}  {medians}"

    @property
    def finding(self) -> Finding | None:
        """What is to be said of it, None where the property tells nothing."""
        if self.severity is None:
            return None
        what = f"the classes differ in {self.name}, which alone has EER {100 * self.eer:.1f} % (more = more bona fide)"
        if self.eer > 0.5:
            what += f", the other way round {100 * (1 - self.eer):.1f} %"
        if self.trials < FEW:
            what += f"; only {self.trials} trials of one class"
        return Finding(f"shortcut: {self.name}", self.severity, what, remedy=REMEDY)


def shortcuts(facts: NDArray[np.void], bonafide: NDArray[np.bool_]) -> list[Shortcut]:
    """What each property achieves on trials with these `FACTS` (N,) and classes (N,); none where one is absent."""
    if bonafide.all() or not bonafide.any():
        return []
    return [_shortcut(one, facts, bonafide) for one in PROPERTIES]


def _shortcut(one: Property, facts: NDArray[np.void], bonafide: NDArray[np.bool_]) -> Shortcut:
    values = facts[one.field].astype(np.float64)
    if one.field == "offset":
        values = np.abs(values)  # which side it lies on is the accident of a sound card
    if one.unit == "%":
        values *= PERCENT
    found = metrics.evaluate(values, bonafide.astype(np.int8))
    middle = float(np.median(values[bonafide])), float(np.median(values[~bonafide]))
    smaller = int(min(bonafide.sum(), (~bonafide).sum()))
    return Shortcut(
        one.name, one.unit, found["eer"], found["auc"], chance(values, bonafide, found["auc"]), *middle, smaller
    )


def chance(values: NDArray[np.float64], bonafide: NDArray[np.bool_], auc: float) -> float:
    """Two-sided p of the Mann-Whitney test of AUC .5: normal approximation with ties, no continuity correction.

    Var(AUC) = (N + 1 - sum(t^3 - t) / (N (N - 1))) / (12 Nb Ns), t the sizes of the groups of equal values.
    """
    total, n_bonafide = len(values), int(bonafide.sum())
    _, ties = np.unique(values, return_counts=True)
    sizes = ties.astype(np.float64)
    correction = float((sizes**3 - sizes).sum()) / (total * (total - 1))
    variance = (total + 1 - correction) / (12 * n_bonafide * (total - n_bonafide))
    if variance <= 1e-15:  # all values are equal
        return 1.0
    return math.erfc(abs(auc - 0.5) / math.sqrt(2 * variance))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2g}" if abs(value) < 1 else f"{value:.4g}"
