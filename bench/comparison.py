"""Two cells side by side: the difference of their EERs, or why there is none; and the ranks of all on one trial list.

Results of different trial lists are never compared. A detector on other trials is in another contest: the same system
reads 2 to 10 times better on one phase of ASVspoof 2021 than on another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.text import Text

from bench import uncertainty
from bench.errors import DataError, UsageError
from bench.trials import difference_between
from bench.uncertainty import Difference

if TYPE_CHECKING:
    from bench.intervals import Uncertainty
    from bench.results import Result
    from bench.scored import TrialLists


@dataclass(frozen=True)
class Comparison:
    """The EER of one detector minus that of another, on the same trials under the same draws."""

    first: Result
    second: Result
    eer: Difference

    @property
    def unit(self) -> str:
        return _uncertainty(self.first).unit.text

    @property
    def warnings(self) -> list[str]:
        return _uncertainty(self.first).unit.warnings

    @property
    def told(self) -> str:
        """`aasist - aasist-l: -10.82 pp (95 %: -20.10 to -2.33), p = 0.012`."""
        names = f"{self.first.cell.detector} - {self.second.cell.detector}"
        return f"{names}: {self.eer.told}, p {uncertainty.p_told(self.eer.p_value)}"

    @property
    def verdict(self) -> str:
        if not self.eer.clear:
            return "no difference that these trials can show: the interval holds zero"
        better = self.first if self.eer.value < 0 else self.second
        return f"{better.cell.detector} has the lower EER: the interval excludes zero"

    def as_json(self) -> dict[str, Any]:
        """Fractions; `difference` is first minus second."""
        return {
            "dataset": self.first.cell.dataset,
            "digest": self.first.digest,
            "first": self.first.cell.detector,
            "second": self.second.cell.detector,
            "eer": [self.first.eer, self.second.eer],
            "difference": self.eer.value,
            "interval": asdict(self.eer.interval),
            "p_value": self.eer.p_value,
            "unit": self.unit,
            "warnings": self.warnings,
        }


def compare(first: Result, second: Result, lists: TrialLists) -> Comparison:
    """The paired difference of two measured cells.

    Args:
        lists: the store's trial lists, to tell where two of them differ.

    Raises:
        DataError: a cell without a number, over part of its trials only, of another trial list, or of the same trials
            under other draws.
    """
    for one in (first, second):
        if one.lacking:
            cell = one.cell
            what = f"{cell.detector} on {cell.dataset} cannot be compared: {one.lacking}"
            raise DataError(f"{what}; {cell.reason}" if cell.reason else what, remedy=cell.remedy or None)
    if first.digest != second.digest:
        before, after = (lists(one.cell.dataset, one.digest) for one in (first, second))
        told = difference_between(before, after, "only in the first", "only in the second")
        raise DataError(
            f"{_named(first)} and {_named(second)} are of different trial lists: {told}",
            remedy="score both on one list; numbers of different lists are never compared",
        )
    assert first.eer is not None and second.eer is not None
    if _uncertainty(first).draws != _uncertainty(second).draws:  # lists of two datasets: clean, and perturbed
        raise DataError(
            f"{_named(first)} and {_named(second)} have their trials in another order, or name speakers or attacks "
            "otherwise",
            remedy="run both again on the corpus as it is now",
        )
    replicates = (_uncertainty(one).replicates["eer"] for one in (first, second))
    return Comparison(first, second, uncertainty.difference(first.eer - second.eer, *replicates))


def of_one_scorer(found: Iterable[Result]) -> tuple[list[Result], list[Result]]:
    """The results that each detector has of the same weights and version, and the others.

    The same are those that most of its results share, of several such the ones first here; an import names none and is
    taken to be the same.
    """
    results = list(found)
    common: dict[str, frozenset[str]] = {}
    counts = Counter((one.cell.detector, one.scorers) for one in results if one.scorers)
    for (detector, scorers), _ in counts.most_common():
        common.setdefault(detector, scorers)
    kept: list[Result] = []
    others: list[Result] = []
    for one in results:
        (kept if not one.scorers or one.scorers == common[one.cell.detector] else others).append(one)
    return kept, others


def pairs(found: Sequence[Result], first: str, second: str, lists: TrialLists) -> list[Comparison | DataError]:
    """Two detectors on every dataset that both have a cell of, or why they cannot be compared there.

    Raises:
        UsageError: they have no dataset in common.
    """
    cells = {(one.cell.dataset, one.cell.detector): one for one in found if one.cell.status != "blocked"}
    shared = [name for name, detector in cells if detector == first and (name, second) in cells]
    if not shared:
        what = f"{first} and {second} have no dataset in common here"
        raise UsageError(what, remedy="`bench show` lists the cells; `bench run` and `bench import` make them")
    compared: list[Comparison | DataError] = []
    for dataset in shared:
        try:
            compared.append(compare(cells[dataset, first], cells[dataset, second], lists))
        except DataError as error:
            compared.append(error)
    return compared


def text(compared: Sequence[Comparison | DataError]) -> Text:
    """Paired differences for a terminal, and why there is none."""
    told = []
    for one in compared:
        if isinstance(one, DataError):
            told.append(Text.assemble(("not compared", "bold"), f": {one.what}\n  remedy: {one.remedy}"))
            continue
        eers = f"{100 * (one.first.eer or 0):.4f} % and {100 * (one.second.eer or 0):.4f} %"
        head = f" ({one.first.trials:,} trials, {one.first.digest[:12]}): {eers}"
        lines = "".join(f"\n  {line}" for line in (one.told, one.verdict, f"draws of {one.unit}", *one.warnings))
        told.append(Text.assemble((one.first.cell.dataset, "bold"), head, lines))
    return Text("\n").join(told)


def as_json(compared: Sequence[Comparison | DataError]) -> list[dict[str, Any]]:
    """The same for a program."""
    return [{"refused": str(one)} if isinstance(one, DataError) else one.as_json() for one in compared]


def complete(compared: Sequence[Comparison | DataError]) -> bool:
    """Whether nothing was refused."""
    return not any(isinstance(one, DataError) for one in compared)


def _named(result: Result) -> str:
    return f"{result.cell.detector} on {result.cell.dataset} ({result.digest[:12]})"


def _uncertainty(result: Result) -> Uncertainty:
    assert result.uncertainty is not None, result.cell.detector
    return result.uncertainty


def ranks(found: Iterable[Result]) -> dict[tuple[str, str], int]:
    """(dataset, detector) -> rank, of results in the order of `bench.results.ranked`.

    Of one trial list each, with tie groups as `bench.uncertainty.ranks` makes them. A cell that lacks trials or seeds
    has none.
    """
    whole = [one for one in found if not one.lacking]
    ranked: dict[tuple[str, str], int] = {}
    for (dataset, _), board in groupby(whole, key=lambda one: (one.cell.dataset, one.digest)):
        members: Mapping[str, Result] = {one.cell.detector: one for one in board}
        places = uncertainty.ranks(
            {name: float(one.eer or 0.0) for name, one in members.items()},
            {name: _uncertainty(one).replicates["eer"] for name, one in members.items()},
        )
        ranked |= {(dataset, name): place for name, place in places.items()}
    return ranked
