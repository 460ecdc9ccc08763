"""Detectors two by two: the numbers against naive loops, and what the page and its data say of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import comparison, results, scored
from bench.report import compare_page, pairs, places
from bench.report.figures import drawing
from bench.report.measured import Measured
from bench.report.pairs import Scores
from bench.report.site import Site
from bench.report.tables import Files
from bench.store import Store
from tests.pages import Page
from tests.stores import NAN, gaussian, numbered, put, put_classes, trial_list

HOSTILE = "</script><b>x</b>&amp;\"'<!--"
values = st.lists(st.integers(-4, 4).map(float), min_size=4, max_size=30)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scatter is made but not drawn, which takes most of the time."""
    monkeypatch.setattr(drawing, "svg", lambda *_: ("<svg></svg>", 10))


def measured(store: Store) -> list[Measured]:
    return [Measured(result, None) for result in results.collect(store)]


def built(store: Store, *, first: bool = True) -> Files:
    return compare_page.build(store, measured(store), first, Site())


def page(store: Store) -> str:
    return built(store)["datasets/set/compare.html"].decode()


def data_of(files: Files, page: str = "datasets/set/compare.html") -> dict[str, Any]:
    text = files[page].decode().split('<script type="application/json" id="compare-data">')[1].partition("</script>")[0]
    told: dict[str, Any] = json.loads(text)
    return told


def detectors(store: Store, *names: str) -> None:
    """So many on one list, each worse than the one before."""
    for number, name in enumerate(names):
        put_classes(store, name, "set", *gaussian(number, 2.0 - number / 2), card={"title": f"Title of {name}"})


def side(scores: Sequence[float], threshold: float = 0.0) -> Scores:
    """Of trials that are bona fide and spoofed by turns."""
    labels = (np.arange(len(scores)) % 2 == 0).astype(np.int8)
    return Scores(np.array(scores, dtype=np.float64), labels, threshold)


def test_the_pair_shown_first_listens(store: Store) -> None:
    """The two with the lowest EER but for probes and chance, which come next where there are too few others."""
    families = {"level": "shortcut probe", "good": "ssl", "coin": "chance", "fair": "ssl"}
    for number, (name, family) in enumerate(families.items()):
        put_classes(store, name, "set", *gaussian(number, 2.0 - number / 2), card={"family": family})
        if name == "coin":
            assert '<h2 id="pair"><span data-name="a">level</span> against <span data-name="b">good</span>' in page(
                store
            )
    assert '<h2 id="pair"><span data-name="a">good</span> against <span data-name="b">fair</span>' in page(store)


@given(first=values, second=values)
def test_decisions_are_counted_as_a_loop_counts(first: list[float], second: list[float]) -> None:
    """Of each class and each pair: right by both, by one alone, by neither."""
    count = min(len(first), len(second))
    scores = [side(first[:count]), side(second[:count], 1.0)]
    for label in (1, 0):
        expected = [[[0, 0, 0, 0] for _ in scores] for _ in scores]
        for row in range(count):
            if scores[0].labels[row] != label:
                continue
            right = [(one.values[row] > one.threshold) == (label == 1) for one in scores]
            for a in range(2):
                for b in range(2):
                    expected[a][b][[(True, True), (True, False), (False, True), (False, False)].index(
                        (bool(right[a]), bool(right[b]))
                    )] += 1  # fmt: skip
        assert [[list(found) for found in line] for line in pairs.decisions(scores, label)] == expected


@given(first=values, second=values)
def test_disagreements_are_those_a_loop_finds(first: list[float], second: list[float]) -> None:
    """Right here and wrong there, the largest difference of percentiles on the side of the class first."""
    count = min(len(first), len(second))
    one, other = side(first[:count]), side(second[:count], 1.0)

    def percentile(scores: Sequence[float], score: float) -> float:
        lower, equal = sum(value < score for value in scores), sum(value == score for value in scores)
        return 100 * (lower + equal / 2) / len(scores)

    found = []
    for row in range(count):
        bonafide = row % 2 == 0
        if (one.values[row] > 0) == bonafide and (other.values[row] > 1.0) != bonafide:
            margin = percentile(first[:count], first[row]) - percentile(second[:count], second[row])
            found.append((round(-margin if bonafide else margin, 9), row))
    assert pairs.disagreements(one, other).tolist() == [row for _, row in sorted(found)[: pairs.SHOWN]]


@pytest.mark.parametrize(
    ("bonafide", "spoof", "expected"),
    [(500, 500, (300, 300)), (1000, 20, (580, 20)), (20, 1000, (20, 580)), (30, 40, (30, 40))],
)
def test_the_sample_has_as_many_of_each_class_as_can_be(bonafide: int, spoof: int, expected: tuple[int, int]) -> None:
    """Six hundred trials, half of each class where there are so many, in the order of the list, each once."""
    rows = pairs.sample(numbered(bonafide, spoof, "t"))
    assert ((rows < bonafide).sum(), (rows >= bonafide).sum()) == expected
    assert (np.diff(rows) > 0).all()


def test_the_sample_does_not_depend_on_the_order() -> None:
    """A list in another order has the same trials in its sample."""
    trials = numbered(900, 900, "t")
    turned = trials[::-1].reset_index(drop=True)
    assert set(trials["trial"][pairs.sample(trials)]) == set(turned["trial"][pairs.sample(turned)])


def test_the_two_best_are_on_the_page(store: Store) -> None:
    """Their paired difference as `bench show --compare` tells it, the counts of each class, and the scatter."""
    detectors(store, "best", "second", "third")
    page = Page(built(store)[places.comparison("set")])
    found = {one.detector: one.result for one in measured(store)}
    compared = comparison.compare(found["best"], found["second"], scored.trial_lists(store))
    text = " ".join(page.text.split())
    assert "best against second" in text
    assert compared.told.partition(": ")[2] in text
    (counts,) = (
        table for table in page.tables if table[0] == ["Trials decided rightly, each detector at its EER threshold"]
    )
    assert [row[0] for row in counts[2:]] == ["bona fide", "spoof"]
    assert [sum(map(int, row[1:])) for row in counts[2:]] == [60, 140]
    errors = found["best"].metrics
    assert errors is not None
    assert int(counts[2][1]) + int(counts[2][2]) == round(60 * (1 - errors["frr"]))
    assert int(counts[3][1]) + int(counts[3][3]) == 140 - round(140 * float((found["second"].metrics or {})["far"]))
    assert "scatter" in page.values("id")


def test_every_pair_is_in_the_matrix_and_the_table(store: Store) -> None:
    """Row minus column, and its negative; the table has each pair once, with interval, p and decisions."""
    detectors(store, "a", "b", "c", "d")
    files = built(store)
    page = Page(files[places.comparison("set")])
    (matrix,) = (table for table in page.tables if table[0][:2] == ["Detector", "EER %"] and len(table[0]) == 6)
    eers = [float(row[1]) for row in matrix[1:]]
    assert [row[0] for row in matrix[1:]] == ["1. a", "2. b", "3. c", "4. d"] and eers == sorted(eers)
    for a in range(4):
        assert matrix[1 + a][2 + a] == "–"
        for b in range(a):
            there, back = float(matrix[1 + a][2 + b]), float(matrix[1 + b][2 + a])
            assert there == -back == pytest.approx(eers[a] - eers[b], abs=0.011)
    rows = json.loads(files["datasets/set/differences.json"])["rows"]
    assert [(row["first"], row["second"]) for row in rows] == [
        ("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d"),
    ]  # fmt: skip
    for row in rows:
        assert row["difference"] == pytest.approx(row["first_eer"] - row["second_eer"])
        assert row["low"] <= row["difference"] <= row["high"] and 0 < row["p_value"] <= 1
        assert sum(row[f"bonafide_{who}"] for who in pairs.Decisions._fields) == 60


def test_the_script_has_what_it_shows(store: Store) -> None:
    """For each first and second, so for the turned pair too: words, counts and trials; and the scores of the sample."""
    detectors(store, "a", "b", "c")
    data = data_of(built(store))
    assert [one[:3] for one in data["detectors"]] == [
        [one.detector, f"Title of {one.detector}", f"{100 * (one.result.eer or 0):.2f}"] for one in measured(store)
    ]
    assert data["detectors"][0][4:] == ["../../detectors/a/index.html", "../../cells/set/a/index.html"]
    (there, clear), (back, clear_too) = data["differences"][0][2], data["differences"][2][0]
    assert there.startswith("-") and back.startswith("+") and clear == clear_too
    assert data["differences"][1][1] is None
    both, first, second, neither = data["decisions"][0][0][2]
    assert data["decisions"][0][2][0] == [both, second, first, neither]
    assert len(data["sample"]) == 3 and {len(scores) for scores in data["sample"]} == {200}
    for number, *_ in data["disagreements"][2][0]:
        trial, label, attack, speaker = data["trials"][number]
        assert trial.startswith("set-") and data["texts"][label] in ("bona fide", "spoof")
        assert data["texts"][attack] == data["texts"][speaker] == ""


def test_cells_that_cannot_be_compared_are_named(store: Store) -> None:
    """One over part of its trials is left out, and the page says why; of one detector alone there is no page."""
    detectors(store, "a")
    bonafide, spoof = gaussian(5)
    put_classes(store, "part", "set", [NAN, *bonafide[1:]], spoof, allow_missing=True)
    assert built(store) == {}
    detectors(store, "a", "b")
    text = " ".join(Page(built(store)[places.comparison("set")]).text.split())
    assert "part: over the scored trials only: 1 of 200 have no score" in text


def test_a_list_that_is_not_the_first_has_files_of_its_own(store: Store) -> None:
    """Page and tables have the digest in their names."""
    detectors(store, "a", "b")
    short = measured(store)[0].result.digest[:12]
    assert sorted(built(store, first=False)) == [
        f"datasets/set/compare-{short}.html", f"datasets/set/differences-{short}.csv",
        f"datasets/set/differences-{short}.json",
    ]  # fmt: skip


def test_names_are_text_and_never_markup(store: Store) -> None:
    """Detectors, trials, attacks and speakers with tags and quotes are text in the page and in its block of data."""
    ids = [f"{letter}{n}{HOSTILE}" for letter in "bs" for n in range(4)]
    attacks = ["", "", "", "", *[HOSTILE] * 4]
    trials = trial_list(ids, attack=attacks, speaker=[HOSTILE] * 8)
    for name, scores in (("x", [4, 5, 6, 7, 0, 1, 2, 3]), (HOSTILE, [0, 5, 6, 7, 4, 1, 2, 3])):
        put(store, trials, dict(zip(ids, map(float, scores), strict=True)), detector=name, made={"title": name})
    files = built(store)
    page = Page(files["datasets/set/compare.html"])
    assert "b" not in {tag for tag, _ in page.elements}
    assert page.text.count(HOSTILE) >= 10
    data = data_of(files)
    assert [one[0] for one in data["detectors"]] == ["x", HOSTILE]
    assert data["trials"][0][0] in ids and HOSTILE in data["texts"]


def test_the_same_cells_give_the_same_bytes(store: Store) -> None:
    """The order of the cells does not matter."""
    detectors(store, "a", "b", "c")
    found = measured(store)
    assert compare_page.build(store, found, True, Site()) == compare_page.build(store, found[::-1], True, Site())


def test_two_seeds_are_told_by_their_mean(store: Store) -> None:
    """The EER is the mean over the seeds; whose scores are shown is said."""
    trials = trial_list(["b1", "b2", "s1", "s2"])
    for seed, scores in ((3, [2.0, 3, 0, 1]), (4, [0.0, 3, 1, 2])):
        made = {"weights": {"verified": True, "trained": True, "seed": seed}}
        put(store, trials, dict(zip(trials["trial"], scores, strict=True)), made=made, key=str(seed) * 64)
    store.resolve_band({cell.manifest["detector"]["weights"]["seed"]: cell for cell in store.pair("set", "det")})
    put(store, trials, dict(zip(trials["trial"], [0.0, 1, 2, 3], strict=True)), detector="other")
    data = data_of(built(store))
    assert [one[:4] for one in data["detectors"]] == [
        ["det", "det", "25.00", "seed 3"],
        ["other", "other", "100.00", ""],
    ]
