"""Operating points: the threshold that a detector has on a development set, carried over to other datasets.

A test-set EER threshold is an oracle, chosen with the labels of the trials that it is judged on. Here each detector's
EER threshold on the development set (`bench.metrics.eer`: tie-aware, accept iff score > threshold) is fixed before the
other trials are seen: what it costs there is the half total error rate HTER = (FRR + FAR) / 2, to be read beside the
EER, which no fixed threshold is promised. The threshold is taken as it is: its own uncertainty is not propagated.

Source: Bengio and Mariethoz, The expected performance curve, 2004.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.table import Table

from bench import development, metrics
from bench.development import Applied, Numbers
from bench.results import Result
from bench.scored import Scored
from bench.store import Store

WIDE = 150  # columns of a terminal that has room for every number
ORACLE = ("f1_bonafide", "f1_spoof", "f1_macro")


def carried_over(store: Store, results: Iterable[Result], dev: str) -> list[Applied]:
    """Each detector's EER threshold on the dataset `dev`, applied to its other results.

    Numbers, all but the thresholds fractions: `threshold`; what `bench.metrics.decide` says of it; and beside these
    what the test-set EER threshold gives: `oracle_eer`, `oracle_threshold`, `oracle_f1_bonafide`, `oracle_f1_spoof`,
    `oracle_f1_macro`.

    Raises:
        UsageError: nothing is stored on `dev`, with the nearest names.
    """
    return development.applied(store, results, dev, _threshold, _decided)


def _threshold(trials: Scored) -> float:
    return metrics.eer(trials.values, trials.labels).threshold


def _decided(threshold: float, trials: Scored) -> Numbers:
    best = metrics.eer(trials.values, trials.labels)
    oracle = metrics.decide(trials.values, trials.labels, best.threshold)
    return {
        "threshold": threshold,
        **metrics.decide(trials.values, trials.labels, threshold),
        "oracle_eer": best.eer,
        "oracle_threshold": best.threshold,
        **{f"oracle_{name}": oracle[name] for name in ORACLE},
    }


def as_json(dev: str, rows: Sequence[Applied]) -> dict[str, Any]:
    """Rows for JSON, numbers under the names of `carried_over`."""
    return development.as_json(dev, rows)


def table(dev: str, rows: Sequence[Applied], width: int) -> Table:
    """Rows for a terminal of so many columns; a narrow one leaves out what follows from the rest, or nearly."""
    columns: dict[str, Callable[[Numbers], str]] = {
        "threshold": lambda found: f"{found['threshold']:.5g}",
        "HTER\n%": _percent("hter"),
        "FRR\n%": _percent("frr"),
        "FAR\n%": _percent("far"),
        "F1\nbona": _share("f1_bonafide"),
        "F1\nspoof": _share("f1_spoof"),
        "F1\nmacro": _share("f1_macro"),
        "acc.": _share("accuracy"),
        "bal.\nacc.": _share("balanced_accuracy"),
        "oracle\nEER %": _percent("oracle_eer"),
        "oracle\nF1 bona": _share("oracle_f1_bonafide"),
        "oracle\nF1 spoof": _share("oracle_f1_spoof"),
    }
    if width < WIDE:
        for heading in ("threshold", "F1\nmacro", "acc.", "bal.\nacc.", "oracle\nF1 spoof"):
            del columns[heading]
    caption = (
        f"threshold: each detector's EER threshold on {dev}, taken as it is: its own uncertainty is not propagated; "
        "F1 of the class named; oracle: at the test-set EER threshold"
    )
    return development.table(rows, columns, caption)


def _percent(name: str) -> Callable[[Numbers], str]:
    return lambda found: f"{100 * found[name]:.2f}"


def _share(name: str) -> Callable[[Numbers], str]:
    return lambda found: f"{found[name]:.4f}"
