"""Calibration: scores as log-odds, by logistic regression on a development set.

    log-odds = offset + slope * score

of one detector, or the sum of such terms over several (`bench.fusion`). Both classes weigh the same whatever their
counts, an effective prior of .5: the prior log-odds is 0 and drops out of the formula, so the log-odds are
log-likelihood ratios, which `bench.costs` judges by Cllr and actDCF. Without a penalty, what is minimised is the Cllr
of the development set itself:

    (mean over bona fide of log2(1 + exp(-log-odds)) + mean over spoof of log2(1 + exp(log-odds))) / 2

A score that its card calls a log-probability enters in its log-odds form; of any other score it is a convention to
read it as log-odds before calibration. A calibration with a slope above 0 leaves EER, minDCF and AUC as they are.

Source: Brümmer and du Preez, Application-independent evaluation of speaker detection, 2006; scores of ASVspoof 5.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from sklearn.linear_model import LogisticRegression

from bench import costs, development
from bench.cellmetrics import as_log_odds, form
from bench.det import Floats, classes, curve_of
from bench.development import Applied, Numbers
from bench.errors import DataError
from bench.results import Result
from bench.scored import Scored
from bench.store import Cell, Store

OPTIMAL = 1e-6  # of the gradient of twice the minimised cost in nats, by standardised scores
WIDE = 110  # columns of a terminal that has room for slope and offset
INVERTED = "negative slope: on the development set higher scores mean more spoof; minDCF is of the turned scores"


@dataclass(frozen=True)
class Calibration:
    """log-odds = offset + sum over detectors of slope * score; slopes by detector."""

    slopes: Mapping[str, float]
    offset: float

    def log_odds(self, scores: Mapping[str, Floats]) -> Floats:
        """Natural log-odds (N,) of the scores (N,) of each detector.

        Raises:
            DataError: scores so large that these are not finite.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            found = self.offset + sum(slope * scores[name] for name, slope in self.slopes.items())
        if not np.isfinite(found).all():
            raise DataError("the calibrated scores are not finite: these scores lie far outside those calibrated on")
        return np.asarray(found, dtype=np.float64)


def fit(scores: Mapping[str, Floats], labels: NDArray[np.int8]) -> Calibration:
    """The calibration that minimises the Cllr of these trials.

    Args:
        scores: (N,) of each detector, finite, in one order of trials. labels: (N,), 1 = bona fide, both classes.

    Raises:
        DataError: constant scores, scores that follow from those of the other detectors, scores that separate the
            classes: no finite slope is the best.
        UsageError: as `bench.det`.
    """
    for column in scores.values():
        classes(column, labels)  # finite, of both classes
    # Of zero mean and unit variance: whether and how fast the fit converges must not depend on units.
    largest = {name: float(np.abs(column).max()) or 1.0 for name, column in scores.items()}
    shares = {name: column / largest[name] for name, column in scores.items()}
    for name, share in shares.items():
        if share.min() == share.max():
            raise DataError(f"the scores of {name} are constant: there is nothing to calibrate")
    centre = {name: float(share.mean()) for name, share in shares.items()}
    spread = {name: float(share.std()) for name, share in shares.items()}
    columns = np.stack([(share - centre[name]) / spread[name] for name, share in shares.items()], axis=1)
    _check_independent(list(scores), columns)

    weights, intercept = _regression(columns, labels)
    with np.errstate(over="ignore", invalid="ignore"):
        steps = {name: weight / spread[name] for name, weight in zip(scores, weights, strict=True)}
        offset = intercept - sum(step * centre[name] for name, step in steps.items())
        return Calibration({name: float(step / largest[name]) for name, step in steps.items()}, float(offset))


def _check_independent(names: Sequence[str], columns: Floats) -> None:
    products = columns.T @ columns / len(columns)
    for count in range(2, len(names) + 1):
        if np.linalg.matrix_rank(products[:count, :count], hermitian=True) < count:
            others = ", ".join(names[: count - 1])
            raise DataError(
                f"the scores of {names[count - 1]} follow from those of {others}", remedy="leave one of them out"
            )


def _regression(columns: Floats, labels: NDArray[np.int8]) -> tuple[Floats, float]:
    """Weights (D,) of standardised columns (N, D), and the intercept."""
    model = LogisticRegression(C=np.inf, class_weight="balanced", solver="newton-cholesky", tol=1e-10, max_iter=100)
    with warnings.catch_warnings():
        # scikit-learn warns of slopes that grow without end, and of a start that is the optimum already. What it found
        # is looked at instead.
        warnings.simplefilter("ignore")
        model.fit(columns, labels)
    bonafide, spoof = classes(columns @ model.coef_[0], labels)
    separated = bonafide.min() >= spoof.max() or bonafide.max() <= spoof.min()
    constant = bonafide.min() == bonafide.max() == spoof.min() == spoof.max()
    wrong = (model.predict_proba(columns)[:, 1] - labels) / np.where(labels == 1, bonafide.size, spoof.size)
    gradient = np.append(columns.T @ wrong, wrong.sum())
    if (separated and not constant) or np.abs(gradient).max() > OPTIMAL:
        raise DataError(
            "the scores separate the classes, or nearly so: the best slope is infinite",
            remedy="choose a development set that is large and hard enough to have errors of both kinds",
        )
    return model.coef_[0], float(model.intercept_[0])


def calibrated(store: Store, results: Iterable[Result], dev: str) -> list[Applied]:
    """Each detector's scores calibrated on the dataset `dev`, judged on its other results.

    Numbers: `slope` and `offset`; `cllr_before` and `cllr_after` in bits, `act_dcf_before` and `act_dcf_after`, of the
    scores taken as log-odds and of the calibrated ones; `min_dcf` of the calibrated ones, which no calibration lowers.

    Raises:
        UsageError: nothing is stored on `dev`, with the nearest names.
    """
    rows = development.applied(store, results, dev, _calibration, _judged)
    return [dataclasses.replace(row, remarks=(*row.remarks, *_remarks(row))) for row in rows]


def _calibration(trials: Scored) -> tuple[Calibration, str | None]:
    name = trials.cell.detector
    return fit({name: as_log_odds(trials)}, trials.labels), form(trials.cell)


def _judged(found: tuple[Calibration, str | None], trials: Scored) -> Numbers:
    calibration, told = found
    same_form(trials.cell, told)
    name = trials.cell.detector
    raw = as_log_odds(trials)
    after = calibration.log_odds({name: raw})
    sides = {"before": classes(raw, trials.labels), "after": classes(after, trials.labels)}
    return {
        "slope": calibration.slopes[name],
        "offset": calibration.offset,
        **{f"cllr_{when}": costs.cllr(*pair) for when, pair in sides.items()},
        **{f"act_dcf_{when}": costs.act_dcf(*pair) for when, pair in sides.items()},
        "min_dcf": costs.min_dcf(curve_of(after, trials.labels)).value,
    }


def same_form(cell: Cell, told: str | None) -> None:
    """Raises DataError: the manifest of a cell calls its scores something else than that of the development set."""
    if form(cell) != told:
        named = [what or "unknown" for what in (told, form(cell))]
        raise DataError(
            f"the form of the scores is {named[0]} on the development set, {named[1]} on {cell.dataset}",
            remedy="run both again, so that both cells say what the card says now",
        )


def _remarks(row: Applied) -> list[str]:
    if row.reason:
        return []
    inverted = any(numbers["slope"] < 0 for numbers in row.seeds.values())
    untold = form(row.result.cell) is None
    return [
        *(["no card says that these scores are log-odds: before calibration they are taken so"] if untold else []),
        *([INVERTED] if inverted else []),
    ]


def as_json(dev: str, rows: Sequence[Applied]) -> dict[str, Any]:
    """Rows for JSON, numbers under the names of `calibrated`."""
    return development.as_json(dev, rows)


def table(dev: str, rows: Sequence[Applied], width: int) -> Table:
    """Rows for a terminal of so many columns; a narrow one leaves out what the calibrations are."""
    columns: dict[str, Callable[[Numbers], str]] = {
        "Cllr\nbefore": lambda found: f"{found['cllr_before']:.4f}",
        "Cllr\nafter": lambda found: f"{found['cllr_after']:.4f}",
        "actDCF\nbefore": lambda found: f"{found['act_dcf_before']:.4f}",
        "actDCF\nafter": lambda found: f"{found['act_dcf_after']:.4f}",
        "minDCF": lambda found: f"{found['min_dcf']:.4f}",
    }
    if width >= WIDE:
        columns |= {name: partial(_shown, name) for name in ("slope", "offset")}
    caption = f"Cllr in bits; log-odds = offset + slope * score, fitted on {dev} with both classes weighing the same"
    return development.table(rows, columns, caption)


def _shown(name: str, found: Numbers) -> str:
    return f"{found[name]:.4g}"
