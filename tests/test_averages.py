"""Averages over datasets: which cells enter, macro and pooled by hand, and what compares with what."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bench import averages
from bench.averages import Averages, LeftOut, Scope
from bench.bands import band
from bench.results import Result, collect
from bench.store import Store
from bench.trials import digest
from tests.stores import put, trial_list

IDS = ["b1", "b2", "b3", "b4", "s1", "s2", "s3", "s4"]
EERS = {0: [4.0, 5, 6, 7, 0, 1, 2, 3], 25: [3.0, 5, 6, 7, 0, 1, 2, 4], 50: [1.0, 3, 5, 7, 0, 2, 4, 6]}  # percent


def scores(percent: int, shift: float = 0.0, ids: Sequence[str] = IDS) -> dict[str, float]:
    return {name: value + shift for name, value in zip(ids, EERS[percent], strict=True)}


def measure(store: Store, detector: str, dataset: str, percent: int, leakage: str = "held-out", **more: Any) -> None:
    put(store, trial_list(IDS), scores(percent, **more), detector=detector, dataset=dataset, leakage=leakage)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def averaged(store: Store) -> Averages:
    return averages.averages(collect(store, breakdowns=False), store)


def groups(scope: Scope) -> Iterator[tuple[list[str], dict[str, float]]]:
    """The datasets of each group, and the macro EER of each detector in percent, in the order shown."""
    for group in scope.groups:
        yield list(group.datasets), {one.detector: round(100 * one.macro, 6) for one in group.averages}


def test_macro_is_the_mean_and_pooled_has_one_threshold(store: Store) -> None:
    """By hand: 0 and 50 % are 25 % on average; two perfect ones are 50 % together where one lies above."""
    measure(store, "uneven", "one", 0)
    measure(store, "uneven", "two", 50)
    measure(store, "shifted", "one", 0)
    measure(store, "shifted", "two", 0, shift=100.0)
    (group,) = averaged(store).scopes[0].groups
    found = {one.detector: (one.rank, one.macro, one.pooled) for one in group.averages}
    # uneven: bona fide 4 5 6 7 1 3 5 7, spoof 0 1 2 3 0 2 4 6: above 3 are 6 of 8 and 2 of 8
    assert found == {"shifted": (1, 0.0, 0.5), "uneven": (1, 0.25, 0.25)}
    assert group.datasets == {"one": 8, "two": 8}


def test_nobody_is_punished_for_declining_a_seen_cell(store: Store) -> None:
    """The one that ran a seen dataset and the one that did not are averaged over the same held-out ones, and ranked."""
    for dataset in ("one", "two"):
        measure(store, "ran", dataset, 25)
        measure(store, "declined", dataset, 0)
    measure(store, "ran", "three", 0, leakage="seen")
    measure(store, "declined", "four", 50, leakage="unknown")
    everything, held_out = averaged(store).scopes
    assert [scope.cells for scope in (everything, held_out)] == ["all", "held-out"]
    assert list(groups(held_out)) == [(["one", "two"], {"declined": 0, "ran": 25})]
    assert list(groups(everything)) == [
        (["four", "one", "two"], {"declined": 16.666667}),
        (["one", "three", "two"], {"ran": 16.666667}),
    ]
    assert [one.rank for group in everything.groups for one in group.averages] == [1, 1]


def test_only_equal_datasets_compare_and_the_fullest_group_is_first(store: Store) -> None:
    """Three groups of three, two and two datasets; a detector with one dataset has no average."""
    for detector, datasets in {"full": "xyz", "pair": "yz", "other": "xy", "second": "xy", "single": "z"}.items():
        for dataset in datasets:
            measure(store, detector, dataset, 25)
    scope = averaged(store).scopes[0]
    assert [(datasets, list(found)) for datasets, found in groups(scope)] == [
        (["x", "y", "z"], ["full"]),
        (["x", "y"], ["other", "second"]),
        (["y", "z"], ["pair"]),
    ]
    assert scope.single == ("single",)
    assert [one.rank for one in scope.groups[1].averages] == [1, 1]


def test_one_whole_list_a_corpus_enters(store: Store) -> None:
    """Siblings, samples, perturbed, synthetic and incomplete ones are left out, each with its reason."""
    for dataset in ("itw", "asvspoof2021-df", "asvspoof2021-df-all", "itw:200", "itw+mp3@64k", "demo"):
        measure(store, "det", dataset, 25)
    put(store, trial_list(IDS), {**scores(0), "b1": float("nan")}, detector="det", dataset="short", allow_missing=True)
    put(store, trial_list(IDS), {**scores(0), "b1": float("nan")}, detector="det", dataset="shorter")
    store.block("itw", "gone", "no weights", "")  # was never run
    found = averaged(store)
    assert list(groups(found.scopes[0])) == [(["asvspoof2021-df", "itw"], {"det": 25})]
    assert set(found.left_out) == {
        LeftOut("asvspoof2021-df-all", ("det",), "another list of the corpus asvspoof2021-df"),
        LeftOut("itw:200", ("det",), "a sample or a perturbed version of itw"),
        LeftOut("itw+mp3@64k", ("det",), "a sample or a perturbed version of itw"),
        LeftOut("demo", ("det",), "synthetic"),
        LeftOut("short", ("det",), "over the scored trials only: 1 of 8 have no score"),
        LeftOut("shorter", ("det",), "the cell is incomplete"),
    }


def test_a_manifest_tells_of_a_sibling_that_has_no_card(store: Store) -> None:
    """Lists of the user's own cards are not averaged twice either."""
    for dataset, facts in {"calls": {}, "calls-2": {"sibling_of": "calls"}, "itw": {}}.items():
        put(store, trial_list(IDS), scores(25), dataset=dataset, facts=facts)
    found = averaged(store)
    assert list(groups(found.scopes[0])) == [(["calls", "itw"], {"det": 25})]
    assert found.left_out == (LeftOut("calls-2", ("det",), "another list of the corpus calls"),)


def test_of_several_digests_the_one_most_detectors_share_enters(store: Store) -> None:
    """Under one name, another list: its cells leave the averages, and are told with both digests."""
    for detector in ("a", "b", "c"):
        measure(store, detector, "one", 25)
    others = ["b1", "b2", "b3", "b4", "s1", "s2", "s3", "s5"]
    for detector, ids in {"a": IDS, "b": IDS, "c": others}.items():
        put(store, trial_list(ids), scores(0, ids=ids), detector=detector, dataset="two", leakage="held-out")
    found = averaged(store)
    assert list(groups(found.scopes[0])) == [(["one", "two"], {"a": 12.5, "b": 12.5})]
    assert found.scopes[0].single == ("c",)
    kept, lost = (digest(trial_list(ids))[:12] for ids in (IDS, others))
    assert found.left_out == (LeftOut("two", ("c",), f"its list {lost} is not {kept}, which most detectors share"),)


def banded(found: Sequence[Result], dataset: str, seeds: Mapping[int, str]) -> Result:
    """The cells of other detectors as seeds of one."""
    members = {
        seed: next(one for one in found if (one.cell.dataset, one.cell.detector) == (dataset, name))
        for seed, name in seeds.items()
    }
    first = next(iter(members.values()))
    return replace(first, cell=replace(first.cell, detector="banded"), band=band(members))


def test_seeds_count_with_their_mean(store: Store) -> None:
    """The macro EER is of the means; the pooled one is the mean over the seeds that all datasets have."""
    for name, (one, two, shift) in {"x": (0, 50, 0.0), "y": (50, 50, 0.0), "z": (0, 0, 100.0)}.items():
        measure(store, name, "one", one)
        measure(store, name, "two", two, shift=shift)
    found = collect(store, breakdowns=False)
    rows = [banded(found, "one", {1: "x", 2: "y", 3: "z"}), banded(found, "two", {1: "x", 3: "z"})]
    (average,) = averages.averages(rows, store).scopes[0].groups[0].averages
    assert average.macro == pytest.approx(((0 + 50 + 0) / 3 + (50 + 0) / 2) / 2 / 100)
    assert average.pooled == (0.25 + 0.5) / 2
    alone = next(one for one in found if (one.cell.dataset, one.cell.detector) == ("two", "z"))
    mixed = [banded(found, "one", {1: "x", 2: "y"}), replace(alone, cell=replace(alone.cell, detector="banded"))]
    (average,) = averages.averages(mixed, store).scopes[0].groups[0].averages
    assert average.pooled == 0.5  # with either seed the whole second dataset lies above the first
    apart = [banded(found, "one", {1: "x", 2: "y"}), banded(found, "two", {3: "z", 4: "x"})]
    (average,) = averages.averages(apart, store).scopes[0].groups[0].averages
    assert average.pooled is None


def test_datasets_are_drawn_independently(store: Store) -> None:
    """Twice the same list: the macro EER varies by 1/sqrt(2) of what one of them does, and holds its value."""
    generator = np.random.default_rng(1)
    ids = [f"b{n}" for n in range(60)] + [f"s{n}" for n in range(60)]
    values = dict(zip(ids, (generator.normal(size=120) + np.repeat([1.5, 0], 60)).tolist(), strict=True))
    for dataset in ("one", "two"):
        put(store, trial_list(ids), values, dataset=dataset)
    found = collect(store, breakdowns=False)
    (average,) = averages.averages(found, store).scopes[0].groups[0].averages
    assert found[0].uncertainty is not None
    own = found[0].uncertainty.interval("eer")
    assert average.interval.low < average.macro < average.interval.high
    assert average.macro == average.pooled == found[0].eer
    ratio = (average.interval.high - average.interval.low) / (own.high - own.low)
    assert ratio == pytest.approx(2**-0.5, rel=0.1)


def test_ranks_are_shared_while_the_difference_holds_zero(store: Store) -> None:
    """Two of equal quality share the first rank; the third is behind both."""
    ids = [f"b{n}" for n in range(60)] + [f"s{n}" for n in range(60)]
    noise = np.random.default_rng(1).normal(size=(2, 120))
    for detector, gap, row in (("good", 2.0, 0), ("twin", 2.0, 1), ("bad", 0.2, 0)):
        values = dict(zip(ids, (noise[row] + np.repeat([gap, 0], 60)).tolist(), strict=True))
        for dataset in ("one", "two"):
            put(store, trial_list(ids), values, detector=detector, dataset=dataset)
    (group,) = averages.averages(collect(store, breakdowns=False), store).scopes[0].groups
    assert {one.detector: one.rank for one in group.averages} == {"good": 1, "twin": 1, "bad": 3}


def test_the_text_names_datasets_formulas_and_what_is_missing(store: Store) -> None:
    """A name in brackets is printed, not obeyed; nothing is cut in a narrow terminal."""
    for dataset in ("one", "two"):
        measure(store, "[red]det", dataset, 25)
    measure(store, "lone", "one", 0)
    measure(store, "[red]det", "one:4", 0)
    text = StringIO()
    Console(file=text, width=100).print(averages.table(averaged(store)))
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    assert lines[0] == "all cells: one, two (2 datasets, 16 trials)"
    assert lines[1].split("  ")[0] == "rank"
    assert [word for word in lines[3].split() if "–" not in word] == ["1", "[red]det", "25.0000", "25.0000"]
    assert "all cells: no average of fewer than two datasets: lone" in lines
    assert "held-out cells only: one, two (2 datasets, 16 trials)" in lines
    assert lines[-5:] == [
        "macro EER: mean of the EERs of the datasets, each alike",
        "pooled EER: one EER over the trials of all datasets together, under one threshold",
        "rank: shared while the interval of the difference to the best of its group holds zero",
        "Averages over different datasets do not compare: ranks are those inside a table.",
        "left out: one:4 ([red]det): a sample or a perturbed version of one",
    ]
    narrow = StringIO()
    Console(file=narrow, width=60).print(averages.table(averaged(store)))
    assert [word for word in narrow.getvalue().split() if "─" not in word] == [
        word for line in lines for word in line.split() if "─" not in word
    ]


def test_json_has_everything_as_fractions(store: Store) -> None:
    """Datasets with their trials, ranks, both averages; a scope without an average is there and empty."""
    for dataset in ("one", "two"):
        measure(store, "det", dataset, 25, leakage="seen")
    found = collect(store, breakdowns=False)
    told = json.loads(json.dumps(averages.as_json(averages.averages(found, store))))
    assert told["formulas"] == averages.FORMULAS
    (group,) = told["scopes"][0]["groups"]
    assert group["datasets"] == {"one": 8, "two": 8}
    (average,) = group["averages"]
    assert average.pop("macro_eer_interval").keys() == {"low", "high"}
    assert average == {"detector": "det", "rank": 1, "macro_eer": 0.25, "pooled_eer": 0.25}
    assert told["scopes"][1] == {"cells": "held-out", "groups": [], "single": []}
    assert told["left_out"] == []
    text = StringIO()
    Console(file=text, width=160).print(averages.table(averaged(store)))
    assert "held-out cells only: there are none" in text.getvalue()
