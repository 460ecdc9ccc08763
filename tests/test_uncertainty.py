"""Intervals, differences and ranks from replicates."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import uncertainty
from bench.replicates import MEASURES, REPLICATES, replicate
from bench.resampling import Resampling


def test_an_interval_is_the_middle_95_percent() -> None:
    """Of 0, 1, ..., 1000 the interval is 25 to 975."""
    found = uncertainty.interval(np.arange(1001.0) / 1001)
    assert [found.low, found.high] == pytest.approx([25 / 1001, 975 / 1001])
    assert found.holds(0.5)
    assert not found.holds(0.98)
    assert uncertainty.Interval(0.0671, 0.09).told == "6.71–9.00"


def test_a_difference_pairs_the_replicates() -> None:
    """What moves both detectors alike cancels: a wide spread of both, a narrow one of the difference."""
    generator = np.random.default_rng(0)
    shared = generator.normal(0.1, 0.05, 1000)
    first, second = shared + 0.01 + generator.normal(0, 0.002, 1000), shared
    found = uncertainty.difference(0.01, first, second)
    assert found.clear
    assert found.interval.low == pytest.approx(0.01 - 1.96 * 0.002, abs=5e-4)
    assert found.p_value == pytest.approx(2 / 1001)
    assert found.told.startswith("+1.00 pp (95 %: +0.6")
    assert not uncertainty.difference(-0.01, second, first + generator.normal(0, 0.05, 1000)).clear


@pytest.mark.parametrize(
    ("replicates", "p_value"),
    [([1.0] * 999, 2 / 1000), ([1.0] * 989 + [-1.0] * 10, 22 / 1000), ([0.0] * 999, 1.0), ([-1.0, 1.0] * 50, 1.0)],
)
def test_p_is_twice_the_share_on_the_other_side_of_zero(replicates: list[float], p_value: float) -> None:
    """(1 + replicates at or beyond zero) / (1 + all), doubled, at most 1."""
    found = uncertainty.difference(1.0, np.array(replicates), np.zeros(len(replicates)))
    assert found.p_value == pytest.approx(p_value)


def test_p_in_words() -> None:
    """What 1,000 replicates cannot tell from zero is not printed as a number."""
    assert [uncertainty.p_told(value) for value in (0.002, 0.005, 0.0121, 1.0)] == [
        "< 0.005", "= 0.005", "= 0.012", "= 1.000",
    ]  # fmt: skip


def test_detectors_share_a_rank_while_their_difference_holds_zero() -> None:
    """A group is compared with its best: a and b tie, c is clear of a, d ties with c though b would tie with c."""
    draw = np.random.default_rng(0).normal(0, 0.01, (4, 1000))
    values = {"d": 0.16, "a": 0.10, "c": 0.15, "b": 0.12}
    replicates = {name: values[name] + draw[row] for row, name in enumerate("abcd")}
    assert uncertainty.ranks(values, replicates) == {"a": 1, "b": 1, "c": 3, "d": 3}
    assert uncertainty.ranks({}, {}) == {}


def test_of_independent_trials_the_bootstrap_is_the_normal_interval(shared: Path) -> None:
    """On a released score file of In-the-Wild, trial by trial, the half width is that of Bengio and Mariéthoz."""
    with gzip.open(shared / "golden" / "scores" / "itw_key.txt.gz", "rt") as key:
        labels = {line.split()[1]: line.split()[5] for line in key}
    with gzip.open(shared / "golden" / "scores" / "sls_v1_itw.txt.gz", "rt") as file:
        scores = dict(line.split() for line in file)
    spoof = np.array([labels[name] == "spoof" for name in scores])
    table = pd.DataFrame({"label": np.where(spoof, "spoof", "bonafide")})
    draws = Resampling(table, REPLICATES)
    found = uncertainty.interval(replicate(draws, [float(s) for s in scores.values()], MEASURES)["eer"])
    e = 0.07835662614
    half = 1.96 * math.sqrt(e * (1 - e) / (4 * 11_816) + e * (1 - e) / (4 * 19_963))
    assert half == pytest.approx(0.003057, abs=1e-6)  # facts of the field: 0.3057 pp
    assert found.holds(e)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.08)
