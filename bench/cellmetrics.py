"""The metrics of a cell: those of scores and labels alone, and those that its card and its corpus give a meaning.

All are told by the cell's manifest, so that neither cards nor corpora are needed.
"""

from __future__ import annotations

from bench import costs, metrics
from bench.costs import VerificationRates
from bench.det import Floats, curve_of
from bench.errors import DataError
from bench.scored import Scored
from bench.store import Cell

TANDEMS = {"min_tdcf_2019": costs.tandem_2019, "min_tdcf_2021": costs.tandem_2021}

# Of every cell, so that one without numbers still has all of them, as null.
METRICS = (*metrics.evaluate([0.0, 1.0], [0, 1]), *TANDEMS)


def measure(trials: Scored) -> dict[str, float | int | None]:
    """The `METRICS` of a cell with scored trials of both classes.

    Returns:
        those of `bench.metrics.evaluate`, but
        act_dcf, cllr: of the natural log-odds that the scores are, or are made into, as the detector's card tells
            (`scores`). None where it does not, and where a log-probability has no log-odds (`bench.costs.log_odds`).
        min_tdcf_2019, min_tdcf_2021: legacy and current min t-DCF behind the ASV of the dataset. Published for ASVspoof
            2019 is the legacy one, for 2021 the other. None where the corpus came without ASV scores, and where there
            are fewer than `bench.costs.FEWEST_SCORES` different scores.

    Raises:
        UsageError, DataError: as `bench.metrics.evaluate`; ASV error rates without a t-DCF.
    """
    return {**metrics.evaluate(trials.values, trials.labels), **_log_odds_costs(trials), **_min_tdcf(trials)}


def form(cell: Cell) -> str | None:
    """What the detector's card says its scores are: `log-odds`, `log-probability`, None where it does not tell."""
    told: str | None = cell.manifest["detector"].get("scores")
    return told


def as_log_odds(trials: Scored) -> Floats:
    """The scores (N,) of a cell, those that its card calls log-probabilities in their log-odds form.

    Raises:
        DataError: log-probabilities that have no log-odds, see `bench.costs.log_odds`.
    """
    if form(trials.cell) != "log-probability":
        return trials.values
    try:
        return costs.log_odds(trials.values)
    except DataError as error:
        where = f"{trials.cell.detector} on {trials.cell.dataset}"
        raise DataError(error.what, where=where, remedy=error.remedy) from error


def _log_odds_costs(trials: Scored) -> dict[str, float] | dict[str, None]:
    nothing = dict.fromkeys(("act_dcf", "cllr"))
    if form(trials.cell) is None:
        return nothing
    try:
        log_odds = as_log_odds(trials)
    except DataError:  # the order of the scores is as good as before: EER and the rest stand
        return nothing
    return metrics.log_odds_costs(log_odds, trials.labels)


def _min_tdcf(trials: Scored) -> dict[str, float | None]:
    told = trials.cell.manifest["dataset"].get("asv")
    if told is None:
        return dict.fromkeys(TANDEMS)
    rates = VerificationRates(*(float(told[name]) for name in VerificationRates._fields))
    curve = curve_of(trials.values, trials.labels)
    if curve.n_distinct < costs.FEWEST_SCORES:
        return dict.fromkeys(TANDEMS)
    return {name: costs.min_tdcf(curve, tandem(rates)).value for name, tandem in TANDEMS.items()}
