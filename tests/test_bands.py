"""Several seeds of one detector: the spread of a measure, and what is said where there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.bands import band
from bench.results import Result
from bench.store import Cell

rates = st.floats(0, 1)


def result(eer: float | None, f1: float = 0.5, status: Any = "complete", reason: str = "") -> Result:
    measured: Mapping[str, Any] | None = None if eer is None else {"eer": eer, "f1_bonafide": f1}
    return Result(Cell("set", "det", "k", status, reason=reason), measured)


@given(st.lists(st.tuples(rates, rates), min_size=2, max_size=6))
def test_a_spread_is_that_of_numpy(measures: list[tuple[float, float]]) -> None:
    """Mean and sample deviation; the best EER is the lowest, the best F1 the highest."""
    found = band({seed: result(*measure) for seed, measure in enumerate(measures)})
    eers, f1s = np.array(measures).T
    for spread, values, best, worst in ((found.eer, eers, min, max), (found.f1_bonafide, f1s, max, min)):
        assert spread is not None
        assert (spread.best, spread.worst) == (best(values), worst(values))
        assert spread.mean == pytest.approx(np.mean(values), abs=1e-12)
        assert spread.standard_deviation == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    assert found.reason == ""


def test_a_band_is_told_in_percent() -> None:
    """The number of seeds, the best and the worst; in JSON all of it as fractions, and each cell."""
    found = band({3: result(0.131, 0.9), 4: result(0.15, 0.8), 5: result(0.14, 0.85)})
    assert found.told == "mean of 3 seeds, best 13.10, worst 15.00"
    told = found.as_json()
    assert (told["seeds"], told["reason"]) == ([3, 4, 5], "")
    assert told["eer"] == pytest.approx(
        {"mean": 0.421 / 3, "best": 0.131, "worst": 0.15, "standard_deviation": math.sqrt(0.000181 / 2)}, rel=1e-2
    )
    assert told["f1_bonafide"]["best"] == 0.9
    assert told["cells"][1] == {
        "seed": 4,
        "key": "k",
        "status": "complete",
        "reason": "",
        "eer": 0.15,
        "f1_bonafide": 0.8,
    }


@pytest.mark.parametrize(
    ("status", "why"),
    [("failed", "seed 4 is failed"), ("running", "seed 4 is running"), ("complete", "seed 4 has no number")],
)
def test_a_seed_without_a_number_leaves_no_mean(status: Any, why: str) -> None:
    """Failed, unfinished, or complete and of one class: which seed it is and why is told."""
    found = band({3: result(0.1), 4: result(None, status=status, reason="no memory")})
    assert (found.eer, found.f1_bonafide, found.reason) == (None, None, why)
    assert found.told == f"no mean of 2 seeds: {why}"
    told = found.as_json()
    assert (told["eer"], told["f1_bonafide"], told["reason"]) == (None, None, why)
    assert [(one["eer"], one["reason"]) for one in told["cells"]] == [(0.1, ""), (None, "no memory")]
