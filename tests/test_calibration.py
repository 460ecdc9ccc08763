"""Scores become log-odds by what a development set tells, and are then judged elsewhere."""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console

from bench import calibration, costs
from bench.det import Floats, classes, curve_of
from bench.development import Applied
from bench.errors import DataError
from bench.results import Result
from bench.store import Store
from tests.stores import gaussian, put_classes


def labelled(bonafide: Floats, spoof: Floats) -> tuple[Floats, NDArray[np.int8]]:
    return np.concatenate((bonafide, spoof)), np.repeat(np.array([1, 0], np.int8), [len(bonafide), len(spoof)])


def naive_cllr(log_odds: Floats, labels: NDArray[np.int8]) -> float:
    """The definition, without care for overflow."""
    bonafide, spoof = log_odds[labels == 1], log_odds[labels == 0]
    return float((np.log2(1 + np.exp(-bonafide)).mean() + np.log2(1 + np.exp(spoof)).mean()) / 2)


def test_the_fit_is_that_of_an_independent_optimiser() -> None:
    """A search that knows no derivative and no logistic regression finds no lower Cllr, and the same two numbers."""
    scores, labels = labelled(*gaussian(3))
    scores = 40 * scores - 7
    found = calibration.fit({"a": scores}, labels)
    best = scipy.optimize.minimize(
        lambda x: naive_cllr(x[0] * scores + x[1], labels),
        x0=[0.0, 0.0],
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 4_000},
    )
    assert [found.slopes["a"], found.offset] == pytest.approx(best.x.tolist(), rel=1e-5)
    assert naive_cllr(found.log_odds({"a": scores}), labels) <= best.fun + 1e-12


def test_gaussian_scores_get_their_true_log_odds() -> None:
    """N(m, 1) against N(0, 1) has log-odds m s - m^2 / 2 whatever the share of the classes."""
    scores, labels = labelled(*gaussian(4, shift=2.0, counts=(20_000, 60_000)))
    found = calibration.fit({"a": scores}, labels)
    assert (found.slopes["a"], found.offset) == pytest.approx((2.0, -2.0), abs=0.06)


def test_both_classes_weigh_the_same() -> None:
    """Every spoof five times over is the same development set."""
    bonafide, spoof = gaussian(5)
    once, many = (
        calibration.fit({"a": s}, y) for s, y in (labelled(bonafide, spoof), labelled(bonafide, spoof.repeat(5)))
    )
    assert (many.slopes["a"], many.offset) == pytest.approx((once.slopes["a"], once.offset), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    bonafide=st.lists(st.integers(-8, 12).map(float), min_size=2, max_size=25),
    spoof=st.lists(st.integers(-12, 8).map(float), min_size=2, max_size=25),
    exponent=st.integers(-30, 30),
    turned=st.booleans(),
    moved=st.integers(-50, 50),
)
def test_units_do_not_matter(
    bonafide: list[float], spoof: list[float], exponent: int, turned: bool, moved: int
) -> None:
    """An affine map of the scores, a turn included, leaves the calibrated scores as they are."""
    assume(min(bonafide) < max(spoof) and max(bonafide) > min(spoof))
    scores, labels = labelled(np.array(bonafide), np.array(spoof))
    factor = (-1.0 if turned else 1.0) * 10.0**exponent
    other = factor * (scores + moved)
    plain, mapped = (calibration.fit({"a": one}, labels).log_odds({"a": one}) for one in (scores, other))
    np.testing.assert_allclose(mapped, plain, atol=1e-5 * max(1.0, np.abs(plain).max()))


@settings(max_examples=40, deadline=None)
@given(
    bonafide=st.lists(st.integers(-8, 12).map(float), min_size=2, max_size=25),
    spoof=st.lists(st.integers(-12, 8).map(float), min_size=2, max_size=25),
)
def test_what_a_calibration_can_and_cannot_do(bonafide: list[float], spoof: list[float]) -> None:
    """On the development set Cllr is at most 1 and what it was; minDCF stays, below actDCF, if the slope is above 0."""
    assume(min(bonafide) < max(spoof) and max(bonafide) > min(spoof))
    scores, labels = labelled(np.array(bonafide), np.array(spoof))
    found = calibration.fit({"a": scores}, labels)
    after = found.log_odds({"a": scores})
    assert costs.cllr(*classes(after, labels)) <= min(1.0, costs.cllr(*classes(scores, labels))) + 1e-9
    lowest = costs.min_dcf(curve_of(after, labels)).value
    assert lowest <= costs.act_dcf(*classes(after, labels)) + 1e-12
    if found.slopes["a"] > 1e-6:
        assert lowest == costs.min_dcf(curve_of(scores, labels)).value


@pytest.mark.parametrize("size", [1e-300, 1e300])
def test_scores_of_any_size(size: float) -> None:
    """The ends of float64 are units like any other."""
    scores, labels = labelled(*gaussian(6))
    plain, other = (calibration.fit({"a": k * scores}, labels) for k in (1.0, size))
    np.testing.assert_allclose(other.log_odds({"a": size * scores}), plain.log_odds({"a": scores}), rtol=1e-9)


CONSTANT = "the scores of a are constant: there is nothing to calibrate"
SEPARATED = "the scores separate the classes, or nearly so: the best slope is infinite"


@pytest.mark.parametrize(
    ("scores", "what"),
    [
        ({"a": [1.0, 1.0, 1.0, 1.0]}, CONSTANT),
        ({"a": [0.0, 0.0, 0.0, 0.0]}, CONSTANT),
        ({"a": [3.0, 2.0, 1.0, 0.0]}, SEPARATED),
        ({"a": [0.0, 1.0, 2.0, 3.0]}, SEPARATED),
        ({"a": [2.0, 1.0, 1.0, 0.0]}, SEPARATED),
        ({"a": [2.0, 0.0, 1.0, -1.0], "b": [0.0, 2.0, -1.0, 1.0]}, SEPARATED),
        ({"a": [1.0, 0.0, 0.5, -1.0], "b": [3.0, 1.0, 2.0, -1.0]}, "the scores of b follow from those of a"),
    ],
)
def test_what_cannot_be_fitted(scores: Mapping[str, list[float]], what: str) -> None:
    """No finite slope is the best, or several are: an error in words, no warning of a library."""
    columns = {name: np.array(values) for name, values in scores.items()}
    with pytest.raises(DataError) as error:
        calibration.fit(columns, np.array([1, 1, 0, 0], np.int8))
    assert error.value.what == what


def test_scores_far_outside() -> None:
    """Scores whose log-odds leave float64 are refused."""
    found = calibration.Calibration({"a": 1e10}, 0.0)
    with pytest.raises(DataError, match="the calibrated scores are not finite"):
        found.log_odds({"a": np.array([1.0, 1e300])})


def rows(store: Store) -> list[Applied]:
    return calibration.calibrated(store, [Result(cell) for cell in store.current()], "dev")


def test_before_and_after(tmp_path: Path) -> None:
    """Log-odds many times too sure cost more than telling nothing; calibrated elsewhere they cost less."""
    store = Store(tmp_path)
    for seed, name in enumerate(("dev", "test")):
        bonafide, spoof = (20 * side - 5 for side in gaussian(seed, counts=(600, 1_400)))
        put_classes(store, "a", name, bonafide, spoof, card={"scores": "log-odds"})
    (row,) = rows(store)
    found = row.numbers
    assert found is not None
    scores, labels = labelled(bonafide, spoof)
    after = found["slope"] * scores + found["offset"]
    assert found["cllr_before"] == pytest.approx(naive_cllr(scores, labels))
    assert found["cllr_after"] == pytest.approx(naive_cllr(after, labels))
    assert found["cllr_after"] < 1 < found["cllr_before"]
    assert found["act_dcf_before"] == costs.act_dcf(bonafide, spoof)
    assert found["act_dcf_after"] == costs.act_dcf(*classes(after, labels))
    assert found["min_dcf"] == costs.min_dcf(curve_of(scores, labels)).value
    assert row.remarks == ()


def test_log_probabilities_enter_as_log_odds(tmp_path: Path) -> None:
    """ln p of a detector whose card says so is judged and calibrated as ln p - ln(1 - p)."""
    store = Store(tmp_path)
    for seed, name in enumerate(("dev", "test")):
        log_odds = gaussian(seed)
        put_classes(store, "logits", name, *log_odds, card={"scores": "log-odds"})
        put_classes(
            store, "softmax", name, *(-np.log1p(np.exp(-x)) for x in log_odds), card={"scores": "log-probability"}
        )
    logits, softmax = (row.numbers for row in rows(store))
    assert logits is not None
    assert softmax == pytest.approx(logits)


def test_one_form_on_both_sides(tmp_path: Path) -> None:
    """A slope for log-odds is not one for log-probabilities: manifests that disagree give a reason, no numbers."""
    store = Store(tmp_path)
    put_classes(store, "a", "dev", *gaussian(0))
    put_classes(store, "a", "test", *(side - 9 for side in gaussian(1)), card={"scores": "log-probability"})
    (row,) = rows(store)
    told = "the form of the scores is unknown on the development set, log-probability on test"
    assert (row.numbers, row.reason) == (None, told)


def test_an_inverted_detector(tmp_path: Path) -> None:
    """A negative slope turns the scores round, and the row says so, beside what no card has said of them."""
    store = Store(tmp_path)
    for seed, name in enumerate(("dev", "test")):
        bonafide, spoof = gaussian(seed)
        put_classes(store, "a", name, -bonafide, -spoof)
    (row,) = rows(store)
    found = row.numbers
    assert found is not None
    assert found["slope"] < 0
    assert found["min_dcf"] == costs.min_dcf(curve_of(*labelled(bonafide, spoof))).value
    assert row.remarks == (
        "no card says that these scores are log-odds: before calibration they are taken so",
        "negative slope: on the development set higher scores mean more spoof; minDCF is of the turned scores",
    )


def test_a_development_set_without_errors(tmp_path: Path) -> None:
    """Separated scores there leave nothing to calibrate by: the reason names the development set."""
    store = Store(tmp_path)
    put_classes(store, "a", "dev", [2.0, 3.0], [0.0, 1.0])
    put_classes(store, "a", "test", *gaussian(1))
    assert [(row.numbers, row.reason) for row in rows(store)] == [(None, f"{SEPARATED} (dev)")]


@pytest.mark.parametrize("width", [80, 160])
def test_json_and_table(tmp_path: Path, width: int) -> None:
    """Both tell the same numbers; nothing is cut in 80 columns, which have no room for slope and offset."""
    store = Store(tmp_path)
    for seed, name in enumerate(("dev", "deepfake-eval-2024-train-10s")):
        put_classes(store, "antideepfake-hubert-xlarge-nda", name, *gaussian(seed))
    found = rows(store)
    told = calibration.as_json("dev", found)
    assert told["dataset"] == "dev"
    assert told["cells"][0]["numbers"] == found[0].numbers
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(calibration.table("dev", found, width))
    printed = console.export_text()
    numbers = dict(found[0].numbers or {})
    parameters = [f"{numbers.pop(name):.4g}" for name in ("slope", "offset")]
    assert all(f"{value:.4f}" in printed for value in numbers.values())
    assert all((text in printed) == (width == 160) for text in parameters)
    assert "…" not in printed


def test_released_scores(shared: Path, tmp_path: Path) -> None:
    """Half of a released score file calibrates the other half: log-probabilities that are far too sure lose that."""
    folder = shared / "golden" / "scores"
    with gzip.open(folder / "sls_v1_itw.txt.gz", "rt") as file:
        scores = dict(line.split() for line in file)
    halves: dict[tuple[str, bool], list[float]] = {}
    with gzip.open(folder / "itw_key.txt.gz", "rt") as file:
        for line in file:
            _, name, *_, label = line.split()
            dev = hashlib.sha256(name.encode()).digest()[0] % 2 == 0
            halves.setdefault((label, dev), []).append(float(scores[name]))
    store = Store(tmp_path)
    for dataset, dev in (("dev", True), ("test", False)):
        sides = halves["bona-fide", dev], halves["spoof", dev]
        put_classes(store, "xlsr-sls-v1", dataset, *sides, card={"scores": "log-probability"})
    (row,) = rows(store)
    found = row.numbers
    assert found is not None
    # The whole file has 2.0225 bits, actDCF .8986 and minDCF .2212 (facts of the field).
    assert found["cllr_before"] == pytest.approx(2.0225, abs=0.05)
    assert found["act_dcf_before"] == pytest.approx(0.8986, abs=0.02)
    assert found["cllr_after"] == pytest.approx(0.31016, abs=1e-4)
    assert found["min_dcf"] == pytest.approx(0.2212, abs=0.02)
    assert found["act_dcf_after"] < found["act_dcf_before"] / 2
