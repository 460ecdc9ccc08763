"""How far a property tells the classes apart, and when that is worth a word."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score

from bench.doctor.facts import FACTS
from bench.doctor.shortcuts import PROPERTIES, Shortcut, chance, shortcuts


def facts(**columns: list[float]) -> np.ndarray:
    table = np.zeros(len(next(iter(columns.values()))), dtype=FACTS)
    for name, values in columns.items():
        table[name] = values
    return table


def by_name(table: np.ndarray, bonafide: list[int]) -> dict[str, Shortcut]:
    return {one.name: one for one in shortcuts(table, np.array(bonafide, dtype=bool))}


@given(
    values=st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=60).filter(
        lambda rows: 0 < sum(label for _, label in rows) < len(rows) and len({value for value, _ in rows}) > 1
    )
)
def test_chance_is_the_mann_whitney_test(values: list[tuple[int, bool]]) -> None:
    """p equals scipy's asymptotic two-sided test without continuity correction, ties included."""
    scores, labels = np.array([value for value, _ in values], float), np.array([label for _, label in values])
    expected = mannwhitneyu(
        scores[labels], scores[~labels], alternative="two-sided", method="asymptotic", use_continuity=False
    ).pvalue
    assert chance(scores, labels, roc_auc_score(labels, scores)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_equal_values_are_chance() -> None:
    """A property that no trial differs in has EER and AUC of one half, and p = 1."""
    found = by_name(facts(rate=[16_000] * 4), [1, 1, 0, 0])["sample rate"]
    assert (found.eer, found.auc, found.p, found.finding) == (0.5, 0.5, 1.0, None)


def test_each_property_by_hand() -> None:
    """EER and AUC are those of more = more bona fide; an offset counts by its size, shares are shown in percent."""
    table = facts(
        seconds=[4, 3, 2, 1],
        rate=[8_000, 8_000, 16_000, 16_000],
        leading=[0.1, 0.3, 0.2, 0.4],
        offset=[-0.5, 0.5, 0.125, -0.125],
        clipped=[0.5, 0.5, 0.25, 0.25],
    )
    found = by_name(table, [1, 1, 0, 0])
    assert [one.name for one in PROPERTIES] == list(found)
    assert (found["duration"].eer, found["duration"].bonafide, found["duration"].spoof) == (0, 3.5, 1.5)
    assert (found["sample rate"].eer, found["sample rate"].auc) == (1, 0)
    assert (found["leading silence"].eer, found["leading silence"].auc) == (0.5, 0.25)
    assert (found["constant offset"].eer, found["constant offset"].bonafide) == (0, 50)
    assert (found["clipped samples"].bonafide, found["clipped samples"].spoof) == (50, 25)
    assert found["duration"].line.split() == ["duration", "0.00", "%", "1.000", "3.5", "|", "1.5", "s"]


def test_one_class_has_no_shortcuts() -> None:
    """Without both classes nothing can be told apart."""
    assert shortcuts(facts(seconds=[1, 2]), np.array([True, True])) == []


@pytest.mark.parametrize(
    ("eer", "p", "trials", "severity"),
    [
        (0.20, 1e-6, 20, "warning"),
        (0.80, 1e-6, 20, "warning"),
        (0.20, 1e-6, 19, "note"),
        (0.30, 1e-6, 1000, "note"),
        (0.70, 1e-6, 1000, "note"),
        (0.40, 1e-9, 1000, None),
        (0.10, 2e-3, 1000, None),
    ],
)
def test_severity(eer: float, p: float, trials: int, severity: str | None) -> None:
    """Far from 50 %, beyond chance and on enough trials is a warning; less of either is a note, or nothing."""
    found = Shortcut("loudness", "dBFS", eer, 1 - eer, p, -20, -30, trials)
    assert found.severity == severity
    told = found.finding
    assert (told.severity if told else None) == severity


def test_the_sentence_tells_the_direction() -> None:
    """Above 50 % the EER of the other direction is told, too; few trials are told as the reason for a note."""
    told = Shortcut("loudness", "dBFS", 0.9, 0.1, 1e-9, -20, -30, 12).finding
    assert told is not None
    assert told.what == (
        "the classes differ in loudness, which alone has EER 90.0 % (more = more bona fide), "
        "the other way round 10.0 %; only 12 trials of one class"
    )
