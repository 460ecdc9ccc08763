"""The lists of one corpus side by side: stored cells, shares of a cell on all phases, lists that are not the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bench import metrics, phases
from bench.bands import band
from bench.phases import Family, TrialList
from bench.results import collect
from bench.store import Store
from bench.trials import digest
from tests.stores import put, trial_list

LA = "asvspoof2021-la"
IDS = [f"b{number}" for number in range(12)] + [f"s{number}" for number in range(12)]
PHASE = dict(zip(IDS, ["eval", "progress", "eval", "hidden"] * 6, strict=True))
COUNTS = {"progress": 6, "eval": 12, "hidden": 6, "all": 24}


def ids(phase: str) -> list[str]:
    return [name for name in IDS if phase in ("all", PHASE[name])]


def scores(seed: int) -> dict[str, float]:
    values = np.random.default_rng(seed).normal(size=24) + np.repeat([1.0, 0.0], 12)
    return dict(zip(IDS, values.tolist(), strict=True))


def measure(store: Store, detector: str, phase: str, seed: int, names: Sequence[str] | None = None) -> None:
    """A cell on one phase: its share of the scores of this seed."""
    names = ids(phase) if names is None else names
    trials = trial_list(names, phase=[PHASE[name] for name in names])
    given = {name: scores(seed)[name] for name in names}
    put(store, trials, given, detector=detector, dataset=LA if phase == "eval" else f"{LA}-{phase}")


def eer(seed: int, phase: str) -> float:
    """Of the trials of a phase, from the scores."""
    return metrics.eer([scores(seed)[name] for name in ids(phase)], [name[0] == "b" for name in ids(phase)]).eer


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def shown(family: Family) -> Mapping[str, list[tuple[float, bool] | None]]:
    """The EER of each detector on each list in their order, and whether it is of a share."""
    return {
        detector: [(row[one].eer, row[one].sliced) if one in row else None for one in family.lists]
        for detector, row in family.rows.items()
    }


def test_stored_cells_stand_side_by_side_and_missing_ones_are_sliced(store: Store) -> None:
    """Phases in the order of the challenge; a share is of the same trials as the stored list, by digest."""
    for phase in COUNTS:
        measure(store, "every", phase, 1)
    measure(store, "all-only", "all", 2)
    measure(store, "eval-only", "eval", 3)
    (family,) = phases.phases(collect(store, breakdowns=False), store)
    assert family.corpus == LA
    names = {"progress": f"{LA}-progress", "eval": LA, "hidden": f"{LA}-hidden", "all": f"{LA}-all"}
    assert family.lists == [
        TrialList(names[phase], digest(trial_list(ids(phase))), count) for phase, count in COUNTS.items()
    ]
    assert shown(family) == {
        "every": [(eer(1, phase), False) for phase in COUNTS],
        "all-only": [(eer(2, phase), phase != "all") for phase in COUNTS],
        "eval-only": [None, (eer(3, "eval"), False), None, None],
    }


def test_a_share_that_is_not_the_stored_list_has_a_column_of_its_own(store: Store) -> None:
    """One trial less under the same name: two lists, two digests, and no row has both."""
    measure(store, "late", "progress", 1, ids("progress")[1:])
    measure(store, "all-only", "all", 1)
    (family,) = phases.phases(collect(store, breakdowns=False), store)
    progress = [one for one in family.lists if one.dataset == f"{LA}-progress"]
    assert sorted(one.trials for one in progress) == [5, 6]
    assert len({one.digest for one in progress}) == 2
    assert [sum(one in row for one in progress) for row in family.rows.values()] == [1, 1]


def test_a_phase_of_one_class_has_no_number(tmp_path: Path) -> None:
    """Where all hidden trials of a list are spoofed, the others are sliced."""
    store = Store(tmp_path)
    measure(store, "all-only", "all", 1, [name for name in IDS if (PHASE[name], name[0]) != ("hidden", "b")])
    (family,) = phases.phases(collect(store, breakdowns=False), store)
    assert [one.phase for one in family.lists] == ["progress", "eval", "all"]


def test_shares_of_several_seeds_count_with_their_mean(store: Store) -> None:
    """Each seed is sliced; what is shown is the mean of their EERs."""
    for seed in (1, 2):
        measure(store, f"seed {seed}", "all", seed)
    members = dict(enumerate(collect(store, breakdowns=False)))
    banded = replace(members[0], band=band(members))
    (family,) = phases.phases([banded], store)
    (row,) = family.rows.values()
    means = {phase: (eer(1, phase) + eer(2, phase)) / 2 for phase in COUNTS}
    assert {one.phase: found.eer for one, found in row.items()} == pytest.approx(means)
    assert [one.phase for one, found in row.items() if not found.sliced] == ["all"]


def test_any_corpus_with_two_lists_is_shown(store: Store) -> None:
    """Releases, lists of the user's own cards; no sample, perturbed or incomplete cell, no corpus of one list."""
    values = {name: scores(1)[name] for name in IDS}
    for dataset in ("mlaad-en", "mlaad-en-v5", "itw", "itw:20", "itw+trim", "calls"):
        put(store, trial_list(IDS), values, dataset=dataset)
    put(store, trial_list(IDS), values, dataset="calls-2", facts={"sibling_of": "calls"})
    put(store, trial_list(IDS), values | {"b0": float("nan")}, dataset="itw", detector="holes", allow_missing=True)
    told = phases.phases(collect(store, breakdowns=False), store)
    assert [(family.corpus, [one.dataset for one in family.lists]) for family in told] == [
        ("calls", ["calls", "calls-2"]),
        ("mlaad-en", ["mlaad-en", "mlaad-en-v5"]),
    ]


def test_the_table_marks_shares_and_names_the_lists(store: Store) -> None:
    """Trials and digest head each column; a share has a star, a list that was not run a dash; 80 columns hold it."""
    measure(store, "[red]all", "all", 2)
    measure(store, "eval-only", "eval", 3)
    text = StringIO()
    Console(file=text, width=80).print(phases.table(phases.phases(collect(store, breakdowns=False), store)))
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    assert lines[0] == f"{LA}: EER %"
    assert lines[1].split() == list(COUNTS)
    assert lines[2].split() == " ".join(f"{count} trials" for count in COUNTS.values()).split()
    assert lines[3].split() == ["detector", *(digest(trial_list(ids(phase)))[:12] for phase in COUNTS)]
    sliced = [f"{100 * eer(2, phase):.4f}{'' if phase == 'all' else '*'}" for phase in COUNTS]
    assert lines[5].split() == ["[red]all", *sliced]
    assert lines[6].split() == ["eval-only", "–", f"{100 * eer(3, 'eval'):.4f}", "–", "–"]
    assert "*: measured on its share of the scores on all phases: the same trials, the same scores" in " ".join(lines)


def test_without_two_lists_the_text_says_so(store: Store) -> None:
    """Nothing stored, or one list of each corpus."""
    assert phases.phases([], store) == []
    text = StringIO()
    Console(file=text, width=80).print(phases.table([]))
    assert text.getvalue() == "no corpus here has numbers on two of its lists\n"


def test_json_has_fractions_in_the_order_of_the_lists(store: Store) -> None:
    """One object a corpus; null where a detector has nothing on a list."""
    measure(store, "all-only", "all", 2)
    measure(store, "eval-only", "eval", 3)
    (told,) = json.loads(json.dumps(phases.as_json(phases.phases(collect(store, breakdowns=False), store))))
    assert told["corpus"] == LA
    assert [one["trials"] for one in told["lists"]] == list(COUNTS.values())
    assert told["detectors"]["all-only"][3] == {"eer": eer(2, "all"), "sliced": False}
    assert told["detectors"]["eval-only"] == [None, {"eer": eer(3, "eval"), "sliced": False}, None, None]
