"""Is it worse than what was accepted? The verdicts of `bench check`, as pure decisions.

Two numbers must agree before a cell has regressed: its EER is worse than the accepted one by more than the tolerance,
and the paired interval of the difference excludes zero. The first alone would fail on noise of a small list, the second
alone on differences nobody cares about. Without accepted scores there is no interval, and the tolerance decides.

    regressed       worse than the tolerance, and the interval excludes zero or there is none     exit 1
    not comparable  measured on another trial list than was accepted                              exit 1
    invalid         failed, unfinished, incomplete, damaged, not finite: no number to trust       exit 1
    missing         accepted, or named by the board, and not in the store                         exit 1
    uncertain       worse than the tolerance, and the interval holds zero
    new             in the store, and nobody accepted it yet
    improved        better than the tolerance
    equivalent      within the tolerance
    identical       the same scores

An interval tells what other trials of this kind might have given. It knows nothing of other seeds of a training. Where
attacks are drawn, a collapse on a single one is `uncertain`: many draws leave that attack out. The verdict names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from bench.resampling import Unit
from bench.store import Cell
from bench.uncertainty import Difference, p_told

Kind = Literal[
    "regressed",
    "not comparable",
    "invalid",
    "missing",
    "uncertain",
    "new",
    "improved",
    "equivalent",
    "identical",
]
WORST_FIRST: tuple[Kind, ...] = get_args(Kind)
FAILING: frozenset[Kind] = frozenset({"regressed", "not comparable", "invalid", "missing"})
INVERTED = "above 50 %: the scores may be inverted, higher has to mean more bona fide"
EER_ALONE = "no accepted scores are here: compared by EER alone"
PARTS: Mapping[str, str] = {
    "weights": "new weights",
    "precision": "new precision",
    "audio": "new audio recipe",
    "model": "new architecture",
    "arguments": "new architecture",
}


@dataclass(frozen=True)
class Verdict:
    """What is said of one detector on one dataset.

    why: one sentence. accepted, eer: as fractions, None where there is no such number. tolerance: percentage points.
    difference: new minus accepted, None where it was not needed or could not be made; unit: of its interval.
    notes: what else a reader must know: where it got worse, another key, warnings of the interval.
    """

    dataset: str
    detector: str
    kind: Kind
    why: str
    remedy: str = ""
    accepted: float | None = None
    eer: float | None = None
    tolerance: float | None = None
    difference: Difference | None = None
    unit: Unit | None = None
    notes: tuple[str, ...] = ()

    @property
    def fails(self) -> bool:
        return self.kind in FAILING

    @property
    def change(self) -> float | None:
        """New minus accepted EER in percentage points, None where one is missing or they are of different lists."""
        if self.accepted is None or self.eer is None or self.kind == "not comparable":
            return None
        return points(self.accepted, self.eer)

    @property
    def told(self) -> str:
        """Why, with what else must be known."""
        return "; ".join([self.why, *self.notes])

    def as_json(self) -> dict[str, Any]:
        """Fractions, but for what is named in percentage points (`_pp`)."""
        interval = self.difference and [self.difference.interval.low, self.difference.interval.high]
        return {
            "detector": self.detector,
            "dataset": self.dataset,
            "verdict": self.kind,
            "fails": self.fails,
            "why": self.why,
            "notes": list(self.notes),
            "remedy": self.remedy,
            "accepted_eer": self.accepted,
            "eer": self.eer,
            "change_pp": self.change,
            "tolerance_pp": self.tolerance,
            "interval": interval,
            "p_value": self.difference and self.difference.p_value,
            "unit": self.unit and self.unit.text,
        }


def points(accepted: float, eer: float) -> float:
    """New minus accepted EER, fractions, in percentage points; 0.05 is exactly 0.05, whatever a float makes of it."""
    return round(100 * eer - 100 * accepted, 9)


def decide(change: float, tolerance: float, difference: Difference | None) -> Kind:
    """The verdict on scores that are not the accepted ones, on the same trials.

    Args:
        change: new minus accepted, `points`. tolerance: percentage points. difference: None without accepted scores.
    """
    if abs(change) <= tolerance:
        return "equivalent"
    if change < 0:
        return "improved"
    return "regressed" if difference is None or difference.clear else "uncertain"


def reason(change: float, tolerance: float, difference: Difference | None, unit: Unit | None) -> str:
    """The verdict of `decide` in a sentence."""
    within = abs(change) <= tolerance
    moved = f"{abs(change):.4f} pp {'worse' if change > 0 else 'better'}" if change else "the same EER"
    if within:
        return f"{moved}, within the tolerance of {tolerance:g} pp"
    if change < 0:
        return f"{moved}, the tolerance is {tolerance:g} pp"
    if difference is None or unit is None:
        return f"{moved}, the tolerance is {tolerance:g} pp; no accepted scores, hence no interval"
    low, high = (100 * end for end in (difference.interval.low, difference.interval.high))
    held = "excludes" if difference.clear else "holds"
    return (
        f"{moved}, the tolerance is {tolerance:g} pp; its 95 % interval {low:+.4f} to {high:+.4f} pp {held} zero, "
        f"p {p_told(difference.p_value)}; drawn: {unit.text}"
    )


def changes(same_key: bool, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of a detector is another now: `new weights`, `new precision`; `other key` where that is all that is known.

    Args:
        before, now: `made_by` of the accepted and of the stored scores, {} where that is not kept.
    """
    if same_key:
        return []
    if not before or not now:
        return ["other key"]
    told = [word for part, word in PARTS.items() if before.get(part) != now.get(part)]
    if not told and before.get("scorer") != now.get("scorer"):
        told = ["new code version"]
    return list(dict.fromkeys(told)) or ["other key"]


def made_by(cell: Cell) -> dict[str, Any]:
    """What made the scores of a cell, as far as its manifest tells; {} of an import."""
    manifest = cell.manifest
    if not manifest.get("scorer"):
        return {}
    told = {name: manifest["detector"].get(name) for name in ("model", "arguments", "audio")}
    weights = _part(cell, "weights").get("sha256")
    return {**told, "weights": weights, "precision": manifest.get("precision"), "scorer": manifest["scorer"]}


def of_other_seed(cell: Cell) -> bool:
    """Whether its weights were trained with another seed than its card says."""
    seed = _part(cell, "weights").get("seed")
    return seed is not None and bool(seed != _part(cell, "recipe").get("seed", seed))


def _part(cell: Cell, name: str) -> Mapping[str, Any]:
    part: Mapping[str, Any] = cell.manifest["detector"].get(name) or {}
    return part


def most_risen(factor: str, before: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """`most in attack A17: 2.10 -> 48.30 %`; [] where the EER rose in none, or there is one alone.

    Args:
        factor: `attack` or `speaker`. before, now: EERs of the same ones, as fractions.
    """
    worst = max(now, key=lambda name: now[name] - before[name], default="")
    if len(now) < 2 or now[worst] <= before[worst]:
        return []
    return [f"most in {factor} {worst}: {100 * before[worst]:.2f} -> {100 * now[worst]:.2f} %"]


def worst_first(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """In the order of `WORST_FIRST`; of one kind the largest rise of the EER first."""
    return sorted(
        verdicts, key=lambda one: (WORST_FIRST.index(one.kind), -(one.change or 0), one.dataset, one.detector)
    )


def summary(verdicts: Iterable[Verdict]) -> str:
    """`2 of 5 cells fail: 1 regressed, 1 missing; 3 identical`, `none of 5 cells fails: 5 identical`."""
    found = [one.kind for one in verdicts]
    if not set(found) - {"new"}:
        told = f"{len(found)} new (--accept accepts what is new)" if found else "nothing is stored here"
        return f"nothing was compared: no result is accepted; {told}"
    failing, holding = (
        [f"{found.count(kind)} {kind}" for kind in WORST_FIRST if kind in found and (kind in FAILING) == bad]
        for bad in (True, False)
    )
    cells = f"{len(found)} cell{'s' if len(found) != 1 else ''}"
    bad = sum(kind in FAILING for kind in found)
    head = f"{bad} of {cells} fail{'s' if bad == 1 else ''}" if bad else f"none of {cells} fails"
    return f"{head}: {'; '.join(', '.join(kinds) for kinds in (failing, holding) if kinds)}"
