"""The lists of one corpus side by side: phases, splits, releases. The same detector reads 2 to 10 times better on one.

Numbers are those of stored cells. Where a detector was run on all phases of ASVspoof 2021 alone, what it has on one
phase is measured on its share of those scores: the same trials, the same scores, and marked so. Each column is one
trial list, by digest: a share that is not exactly the stored list of that name stands in a column of its own.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Group as Lines
from rich.table import Table
from rich.text import Text

from bench import metrics, scored
from bench.comparison import of_one_scorer
from bench.families import corpus_of, shipped_card, siblings, whole
from bench.results import Result
from bench.scored import TrialLists, trial_lists
from bench.store import Store
from bench.terminal import PLAIN
from bench.trials import BONAFIDE, SPOOF
from bench.trials import digest as trial_digest

PHASES = ("progress", "eval", "hidden", "all")  # in the order of the challenge


@dataclass(frozen=True)
class TrialList:
    """A column: one list of a corpus."""

    dataset: str
    digest: str
    trials: int

    @property
    def phase(self) -> str:
        """`eval`, '' where its card names none."""
        card = shipped_card(self.dataset)
        return str(card.arguments.get("phase", "")) if card else ""


@dataclass(frozen=True)
class Measured:
    """An EER as a fraction, the mean over seeds where there are several. sliced: whether it is of a share of the scores
    on all phases."""

    eer: float
    sliced: bool = False


@dataclass
class Family:
    """The measured lists of one corpus. rows: detector -> list -> what was measured."""

    corpus: str
    rows: dict[str, dict[TrialList, Measured]] = field(default_factory=dict)

    @property
    def lists(self) -> list[TrialList]:
        """Phases in the order of the challenge, others by name; lists of one name by digest."""
        found = {one for row in self.rows.values() for one in row}
        order = {phase: place for place, phase in enumerate(PHASES)}
        return sorted(found, key=lambda one: (order.get(one.phase, len(order)), one.dataset, one.digest))


def phases(found: Sequence[Result], store: Store) -> list[Family]:
    """Every corpus that two lists or more were measured of, by name; detectors by name.

    Cells that lack trials or seeds, samples, perturbed versions, and what other weights of the same detector made are
    left out.

    Raises:
        StoreError: as `bench.scored.load`.
    """
    slicing = _Slicing(store)
    families: dict[str, Family] = {}
    fitting = [one for one in found if not one.lacking and one.cell.dataset == whole(one.cell.dataset)]
    for result in sorted(of_one_scorer(fitting)[0], key=lambda one: (one.cell.dataset, one.cell.detector)):
        assert result.eer is not None, result.cell  # it lacks nothing
        corpus = corpus_of(result.cell.manifest["dataset"])
        row = families.setdefault(corpus, Family(corpus)).rows.setdefault(result.cell.detector, {})
        own = TrialList(result.cell.dataset, result.digest, result.trials or 0)
        row[own] = Measured(result.eer)  # a number of its own counts more than a share
        for part, measured in slicing.slices(result):
            row.setdefault(part, measured)
    return [family for _, family in sorted(families.items()) if len(family.lists) > 1]


class _Slicing:
    """What detectors that were run on all phases have on each of them; the rows of a phase are looked up once."""

    def __init__(self, store: Store) -> None:
        self._lists: TrialLists = trial_lists(store)
        self._rows: dict[tuple[str, str], dict[TrialList, NDArray[np.bool_]]] = {}

    def slices(self, result: Result) -> Iterator[tuple[TrialList, Measured]]:
        members = [result] if result.band is None else list(result.band.results.values())
        parts = self._parts(result.cell.dataset, result.digest)
        cells = [scored.load(one.cell, self._lists) for one in members] if parts else []
        for part, rows in parts.items():
            eers = [metrics.eer(cell.values[rows], cell.labels[rows]).eer for cell in cells]
            yield part, Measured(statistics.fmean(eers), sliced=True)

    def _parts(self, dataset: str, digest: str) -> dict[TrialList, NDArray[np.bool_]]:
        """The phases of a list of all, each with its rows (trials of the list,); none for any other list."""
        card = shipped_card(dataset)
        if card is None or card.arguments.get("phase") != "all":
            return {}
        if (dataset, digest) not in self._rows:
            trials = self._lists(dataset, digest)
            phases = {one.name: one.arguments.get("phase") for one in siblings(card) if one.name != dataset}
            marks = {name: (trials["phase"] == phase).to_numpy() for name, phase in phases.items() if "phase" in trials}
            self._rows[dataset, digest] = {
                TrialList(name, trial_digest(trials[rows]), int(rows.sum())): rows
                for name, rows in marks.items()
                if trials.loc[rows, "label"].nunique() == len((BONAFIDE, SPOOF))
            }
        return self._rows[dataset, digest]


# --- what is shown ----------------------------------------------------------------------------------------------------


def table(families: Sequence[Family]) -> Lines:
    """A table a corpus: detectors x lists, EERs in percent."""
    if not families:
        return Lines(Text("no corpus here has numbers on two of its lists"))
    parts: list[Table | Text] = []
    for family in families:
        parts += [Text.assemble((family.corpus, "bold"), ": EER %"), _shown(family), Text()]
    if any(one.sliced for family in families for row in family.rows.values() for one in row.values()):
        parts.append(Text("*: measured on its share of the scores on all phases: the same trials, the same scores"))
    parts.append(Text("Each column is a trial list of its own: numbers of two columns do not compare detectors."))
    return Lines(*parts)


def _shown(family: Family) -> Table:
    shown = Table(**PLAIN)
    shown.add_column("detector", overflow="fold")
    for one in family.lists:
        heading = f"{one.phase or one.dataset}\n{one.trials:,} trials\n{one.digest[:12]}"
        shown.add_column(Text(heading), justify="right", overflow="fold")
    for detector, row in sorted(family.rows.items()):
        shown.add_row(Text(detector), *(_told(row.get(one)) for one in family.lists))
    return shown


def _told(measured: Measured | None) -> str:
    return "–" if measured is None else f"{100 * measured.eer:.4f}{'*' if measured.sliced else ' '}"


def as_json(families: Sequence[Family]) -> list[dict[str, Any]]:
    """What `bench show --phases --json` prints: EERs as fractions, null where a detector has none."""
    return [
        {
            "corpus": family.corpus,
            "lists": [asdict(one) for one in family.lists],
            "detectors": {
                detector: [asdict(row[one]) if one in row else None for one in family.lists]
                for detector, row in sorted(family.rows.items())
            },
        }
        for family in families
    ]
