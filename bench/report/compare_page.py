"""The page that compares the detectors of one trial list two by two.

Its script shows any pair from what is in the page; every number is made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jinja2.utils import htmlsafe_json_dumps

from bench import scored
from bench.comparison import compare
from bench.det import Counts
from bench.errors import DataError
from bench.report import pairs, places
from bench.report.figures import Figure, points
from bench.report.measured import NOT_LISTENING, Measured, family, title
from bench.report.pages import render
from bench.report.pairs import Scores
from bench.report.site import Site
from bench.report.tables import Files, Table
from bench.scored import TrialLists
from bench.store import Store
from bench.trials import BONAFIDE, SPOOF
from bench.uncertainty import Difference, Interval, p_told

TOLD = ("label", "attack", "speaker")  # what the page says of a trial, beside its scores
CLASSES = {BONAFIDE: 1, SPOOF: 0}
IN_WORDS = {BONAFIDE: "bona fide", SPOOF: "spoof"}


@dataclass(frozen=True, eq=False)
class Contestant:
    """A detector that has a number over the whole list. scores: of its cell, the first of several seeds."""

    measured: Measured
    scores: Scores

    @property
    def name(self) -> str:
        return self.measured.detector

    @property
    def title(self) -> str:
        return title(self.measured.result)

    @property
    def eer(self) -> float:
        """As it is ranked: the mean over the seeds where there are several."""
        assert self.measured.result.eer is not None, self.name
        return self.measured.result.eer

    @property
    def alone(self) -> str:
        """`seed 42`, where the EER is a mean and the scores are of that seed alone."""
        result = self.measured.result
        return f"seed {result.seed}" if result.band is not None else ""

    @property
    def listens(self) -> bool:
        return family(self.measured.result) not in NOT_LISTENING


@dataclass(frozen=True)
class Pair:
    """Two detectors; the script shows another pair from `Comparisons.data`.

    compared: first minus second, None where their draws differ. decisions: of each class.
    first_right, second_right: trials that this one decides rightly and the other wrongly: `trial`, `TOLD`, and `scores`
        and `percentiles` of both.
    """

    first: Contestant
    second: Contestant
    compared: Difference | None
    decisions: Mapping[str, pairs.Decisions]
    first_right: Sequence[Mapping[str, Any]]
    second_right: Sequence[Mapping[str, Any]]


def build(store: Store, found: Sequence[Measured], first: bool, site: Site) -> Files:
    """The page and its table; nothing where fewer than two of the cells can be compared.

    Args:
        found: the measured cells of one trial list. first: whether it is the first of its dataset, see `places`.
        site: nothing of it is needed here.

    Raises:
        StoreError: as `bench.scored.load`.
    """
    lists = scored.trial_lists(store)
    contestants = _contestants(found, lists)
    if len(contestants) < 2:
        return {}
    dataset, digest = contestants[0].measured.dataset, contestants[0].measured.result.digest
    every = Comparisons(contestants, lists(dataset, digest), lists)
    page = places.comparison(dataset, "" if first else digest)
    table = every.table("differences" if first else f"differences-{digest[:12]}")
    left_out = [one for one in found if one.result.lacking]
    best, next_best = every.foremost
    pair = every.pair(best, next_best)
    text = render(
        "compare.html",
        page,
        dataset=dataset,
        digest=digest,
        several=not first,
        contestants=contestants,
        matrix=every.matrix(),
        unit=contestants[0].measured.result.uncertainty,
        pair=pair,
        scatter=every.scatter(best, next_best),
        sampled=len(every.sample),
        data=htmlsafe_json_dumps(every.data(), ensure_ascii=False, allow_nan=False, separators=(",", ":")),
        table=table,
        left_out=left_out,
        words=_words,
        classes=IN_WORDS,
    )
    return {page: text, **table.files(page.rpartition("/")[0])}


def _contestants(found: Sequence[Measured], lists: TrialLists) -> list[Contestant]:
    """Those with a number over the whole list, the lowest EER first."""
    able = [one for one in found if not one.result.lacking]
    able.sort(key=lambda one: (one.result.eer or 0.0, one.detector))
    return [Contestant(one, _scores(one, lists)) for one in able]


def _scores(one: Measured, lists: TrialLists) -> Scores:
    assert one.result.metrics is not None, one.detector
    trials = scored.load(one.result.cell, lists)
    return Scores(trials.values, trials.labels, float(one.result.metrics["eer_threshold"]))


class Comparisons:
    """All pairs of the detectors of one trial list.

    Args:
        contestants: at least two. trials: the list. lists: of the store, for what `compare` says where it refuses.
    """

    def __init__(self, contestants: Sequence[Contestant], trials: pd.DataFrame, lists: TrialLists) -> None:
        self.contestants, self.trials = contestants, trials
        self.sample = pairs.sample(trials)
        self._compared = {
            (row, column): _compared(first, second, lists)
            for row, first in enumerate(contestants)
            for column, second in enumerate(contestants[row + 1 :], start=row + 1)
        }
        scores = [one.scores for one in contestants]
        self._decisions = {name: pairs.decisions(scores, label) for name, label in CLASSES.items()}

    @property
    def foremost(self) -> tuple[int, int]:
        """The two with the lowest EER, those that listen before probes and chance; the lower EER first."""
        first, second = sorted(sorted(range(len(self.contestants)), key=lambda n: not self.contestants[n].listens)[:2])
        return first, second

    def pair(self, first: int, second: int) -> Pair:
        """Of two contestants by number, the first before the second."""
        one, other = self.contestants[first], self.contestants[second]
        decisions = {name: found[first][second] for name, found in self._decisions.items()}
        sides = ((one, other), (other, one))
        right = [self._told(pairs.disagreements(a.scores, b.scores), one, other) for a, b in sides]
        return Pair(one, other, self.compared(first, second), decisions, *right)

    def compared(self, first: int, second: int) -> Difference | None:
        """EER of the first minus EER of the second; None where they cannot be compared."""
        if first < second:
            return self._compared[first, second]
        found = self._compared[second, first]
        if found is None:
            return None
        return Difference(-found.value, Interval(-found.interval.high, -found.interval.low), found.p_value)

    def _told(self, rows: Counts, one: Contestant, other: Contestant) -> list[dict[str, Any]]:
        found = self.trials.iloc[rows]
        both = (one.scores, other.scores)
        columns = {name: found[name].tolist() for name in ("trial", *TOLD)}
        columns["scores"] = list(zip(*(each.values[rows].tolist() for each in both), strict=True))
        columns["percentiles"] = list(zip(*(each.percentiles[rows].tolist() for each in both), strict=True))
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def scatter(self, first: int, second: int) -> Figure:
        """The scores of both on the sample."""
        one, other = self.contestants[first], self.contestants[second]
        table = self.trials.iloc[self.sample]
        return points.scatter(
            "scatter",
            one.scores.values[self.sample],
            other.scores.values[self.sample],
            table["label"].tolist(),
            f"Scores of both detectors on {len(self.sample):,} trials",
            f"score of {one.name}",
            f"score of {other.name}",
            table["trial"].tolist(),
        )

    def matrix(self) -> list[list[Difference | None]]:
        """Row minus column; None on the diagonal, and where two cannot be compared."""
        size = range(len(self.contestants))
        return [[self.compared(row, column) if row != column else None for column in size] for row in size]

    def table(self, name: str) -> Table:
        """Every pair once, the detector with the lower EER first."""
        return Table(name, COLUMNS_OF_PAIR, [self._row(*places, one) for places, one in self._compared.items()])

    def _row(self, first: int, second: int, difference: Difference | None) -> dict[str, Any]:
        one, other = self.contestants[first], self.contestants[second]
        return {
            "first": one.name,
            "second": other.name,
            "first_eer": one.eer,
            "second_eer": other.eer,
            "difference": difference and difference.value,
            "low": difference and difference.interval.low,
            "high": difference and difference.interval.high,
            "p_value": difference and difference.p_value,
            **{
                f"{name}_{who}": count
                for name, found in self._decisions.items()
                for who, count in found[first][second]._asdict().items()
            },
        }

    def data(self) -> dict[str, Any]:
        """What the script shows.

        detectors: name, title, EER in percent, seed, links to its page and its cell.
        differences: for each first and each second, [in words, whether it is clear] or null.
        decisions: of each class, for each first and each second, as `bench.report.pairs.Decisions`.
        disagreements: for each first and each second, what the first is right about: number of a trial, both scores,
            both percentiles.
        trials: id, and numbers of its label, attack and speaker in `texts`.
        sample: the scores of each detector on the trials of `scatter`.
        """
        texts, used = Numbers(), Numbers()
        size = range(len(self.contestants))
        disagreements = [[self._brief(a, b, used) if a != b else [] for b in size] for a in size]
        told = self.trials[["trial", *TOLD]].iloc[used.values]
        return {
            "detectors": [
                [one.name, one.title, f"{100 * one.eer:.2f}", one.alone, *self._links(one)] for one in self.contestants
            ],
            "differences": [[one and [_words(one), one.clear] for one in row] for row in self.matrix()],
            "decisions": list(self._decisions.values()),
            "disagreements": disagreements,
            "trials": [
                [trial, *map(texts.of, (IN_WORDS[label], *rest))]
                for trial, label, *rest in told.itertuples(index=False, name=None)
            ],
            "sample": [_short(one.scores.values[self.sample]) for one in self.contestants],
            "texts": texts.values,
        }

    def _links(self, one: Contestant) -> list[str]:
        dataset = one.measured.dataset
        there = (places.detector(one.name), places.cell(dataset, one.name))
        return [places.relative(page, places.comparison(dataset)) for page in there]

    def _brief(self, first: int, second: int, used: Numbers) -> list[list[Any]]:
        one, other = self.contestants[first].scores, self.contestants[second].scores
        rows = pairs.disagreements(one, other)
        columns = (_short(one.values[rows]), _short(other.values[rows]))
        shares = (np.round(s.percentiles[rows], 1).tolist() for s in (one, other))
        return [list(each) for each in zip(map(used.of, rows.tolist()), *columns, *shares, strict=True)]


class Numbers:
    """Numbers different values from 0, in the order they come."""

    def __init__(self) -> None:
        self._known: dict[Any, int] = {}

    def of(self, value: Any) -> int:
        return self._known.setdefault(value, len(self._known))

    @property
    def values(self) -> list[Any]:
        return list(self._known)


COLUMNS_OF_PAIR = {
    "first": "a detector",
    "second": "another one",
    "first_eer": "equal error rate of the first, a fraction",
    "second_eer": "that of the second",
    "difference": "first minus second, a fraction; empty where they cannot be compared",
    "low": "lower end of its 95 % interval, of paired draws",
    "high": "upper end of its 95 % interval",
    "p_value": "two-sided, of the same draws",
    **{
        f"{name}_{who}": f"{told} trials decided rightly by {meaning}, each at its EER threshold"
        for name, told in ((BONAFIDE, "bona fide"), (SPOOF, "spoofed"))
        for who, meaning in zip(
            pairs.Decisions._fields, ("both", "the first alone", "the second alone", "neither"), strict=True
        )
    },
}


def _compared(first: Contestant, second: Contestant, lists: TrialLists) -> Difference | None:
    try:
        return compare(first.measured.result, second.measured.result, lists).eer
    except DataError:  # an older cell of the same trials in another order
        return None


def _words(found: Difference) -> str:
    return f"{found.told}, p {p_told(found.p_value)}"


def _short(values: Any) -> list[float]:
    """To four significant digits, for a plot and a table."""
    return [float(f"{value:.4g}") for value in values]
