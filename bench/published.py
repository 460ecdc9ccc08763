"""Published numbers against ours: reproduced, off by so much, or not comparable and why.

A number is set against ours only where both are of one trial list: the dataset that the card names, whole and clean,
with as many trials of each class as its card says were published. Equal counts are no proof that the lists are one;
nobody publishes digests. What is `reproduced`:

    to the printed digits    ours, rounded like the published one, is the same
    inside our interval      the 95 % interval of `bench.uncertainty` holds it
    inside our seeds         where there are several, it lies between the best and the worst

Published numbers are rounded: half a unit of their last digit is granted at both ends. A card keeps a number, not its
digits, so 7.40 and 7.4 are one: two decimals are assumed where there are fewer, which grants less, never more.

F1 is not compared: without its threshold and its positive class it has no meaning, and the cards do not tell them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from pydantic import ValidationError

from bench.cards import Published
from bench.errors import StoreError
from bench.families import corpus_of, shipped_card, whole
from bench.results import Result
from bench.uncertainty import Interval

Kind: TypeAlias = Literal["reproduced", "off", "not comparable"]

ROUNDING = 1e-9  # percent: two decimal fractions that differ by half a unit do so by a little more as floats


@dataclass(frozen=True)
class Verdict:
    """What ours says of a published number, in words."""

    kind: Kind
    text: str
    entry: Published


def verdicts(result: Result, interval: Interval | None) -> list[Verdict]:
    """One for each number that the detector's card has of the corpus of this cell, in the card's order.

    Args:
        interval: of our EER, the mean over the seeds where there is one; None where there is none.

    Raises:
        StoreError: a manifest whose published numbers are not those of a card.
    """
    corpus = corpus_of(_facts(result))
    entries = [entry for entry in _entries(result) if corpus_of({"name": entry.dataset}) == corpus]
    return [_verdict(entry, result, interval) for entry in entries]


def _entries(result: Result) -> list[Published]:
    try:
        told = result.cell.manifest.get("detector", {}).get("published") or ()
        return [Published.model_validate(entry) for entry in told]
    except ValidationError as error:
        raise StoreError(
            f"the published numbers in the manifest cannot be read: {error.errors()[0]['msg']}",
            where=result.cell.path,
            remedy="run or import this cell again",
        ) from None


def _facts(result: Result) -> Mapping[str, Any]:
    return result.cell.manifest.get("dataset") or {"name": result.cell.dataset}


def _verdict(entry: Published, result: Result, interval: Interval | None) -> Verdict:
    if why := next(_obstacles(entry, result), ""):
        return Verdict("not comparable", f"not comparable because {why}", entry)
    assert result.eer is not None, result.cell  # `lacking` is an obstacle
    ours, decimals = 100 * result.eer, _decimals(entry.eer)
    half = 0.5 * 10**-decimals + ROUNDING
    ranges = dict(_ranges(result, interval))
    told = {name: f"{low:.{decimals}f} to {high:.{decimals}f}" for name, (low, high) in ranges.items()}
    around = [name for name, (low, high) in ranges.items() if low - half <= entry.eer <= high + half]
    kind: Kind = "reproduced"
    if abs(ours - entry.eer) <= half:
        text = "reproduced to the printed digits"
    elif around:
        text = f"reproduced: inside our {around[0]}, {told[around[0]]}"
    else:
        but = ", ".join(f"our {name} {span}" for name, span in told.items())
        kind, text = "off", f"off by {ours - entry.eer:+.{decimals}f} pp ({but or 'we have no interval'})"
    return Verdict(kind, "; ".join([text, *_reservations(entry, result)]), entry)


def _obstacles(entry: Published, result: Result) -> Iterator[str]:
    """Why the number and ours are of different things."""
    facts = _facts(result)
    name, counts = facts["name"], _counts(facts)
    if not entry.comparable:
        yield entry.note or "its card says so"
    if entry.dataset != whole(name):
        yield f"it is of {entry.dataset}, another list"
    if perturbation := facts.get("perturbation"):
        yield f"ours is under {perturbation}"
    if name != whole(name):
        yield f"ours is over a sample of {facts['trials']:,} trials"
    nouns = [noun for noun in ("trials", "bonafide", "spoof") if counts.get(noun) not in (None, facts.get(noun))]
    if nouns:
        differences = ", ".join(f"{noun} {facts.get(noun, 0):,} (published {counts[noun]:,})" for noun in nouns)
        yield f"our list is not the published one: {differences}"
    if not counts:  # an older manifest tells them in words alone
        yield from facts.get("warnings", ())
    if result.lacking:
        yield f"ours is no number over the whole list: {result.lacking}"
    if result.random_parts:
        yield f"ours was trained from a random {' and '.join(result.random_parts)}"


def _counts(facts: Mapping[str, Any]) -> Mapping[str, int]:
    """What the published list holds; {} where no card tells."""
    card = shipped_card(facts["name"])
    known = card.counts.model_dump() if card and card.counts else {}
    found: Mapping[str, int] = facts.get("counts", known) or {}
    return found


def _ranges(result: Result, interval: Interval | None) -> Iterator[tuple[str, tuple[float, float]]]:
    """Where a number counts as reproduced, in percent."""
    if interval is not None:
        yield "95 % interval", (100 * interval.low, 100 * interval.high)
    if result.band is not None and result.band.eer is not None:
        spread = result.band.eer
        yield f"{len(result.band.results)} seeds", (100 * spread.best, 100 * spread.worst)


def _reservations(entry: Published, result: Result) -> Iterator[str]:
    """What a reader must know of a comparison that is made nevertheless."""
    weights = result.cell.manifest["detector"].get("weights") or {}
    if result.cell.manifest.get("imported"):
        yield "our scores are imported"
    if result.weights == "unverified":
        yield "our weights are unverified"
    if any(facts.get("warnings") for facts in weights.get("lists", ())):
        yield "ours was trained on another list"
    if not _counts(_facts(result)):
        yield "how many trials the published list has is not known"
    if entry.f1 is not None:
        yield f"F1 {entry.f1:g} is not compared: its threshold and class are not known"


def _decimals(value: float) -> int:
    exponent = Decimal(str(value)).as_tuple().exponent
    return max(2, -int(exponent))
