"""Specification of `bench.cellmetrics`: which numbers a cell has that scores and labels alone do not give."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import results, scored
from bench.cellmetrics import METRICS, measure
from bench.costs import VerificationRates, log_odds, min_tdcf, tandem_2019, tandem_2021
from bench.det import curve_of
from bench.errors import DataError
from bench.metrics import evaluate, log_odds_costs
from bench.registry import detectors
from bench.scored import Scored
from bench.store import Store
from tests.stores import put, trial_list

VALUES = {"b1": -0.5, "b2": -0.1, "b3": -3.0, "s1": -2.0, "s2": -6.0, "s3": -0.2}
LABELS = np.array([1, 1, 1, 0, 0, 0])
RATES = VerificationRates(pmiss=0.02, pfa=0.03, pfa_spoof=0.4)
ASV = {**RATES._asdict(), "trials": {"target": 5, "nontarget": 5, "spoof": 5}, "files": {"x.txt": "0" * 64}}


def cell(folder: Path, values: dict[str, float] = VALUES, *, scores: str | None = None, asv: Any = None) -> Scored:
    store = Store(folder)
    facts = {} if asv is None else {"asv": asv}
    made = {} if scores is None else {"scores": scores}
    return scored.load(put(store, trial_list(list(values)), values, made=made, facts=facts), scored.trial_lists(store))


def test_what_nobody_tells_is_none(tmp_path: Path) -> None:
    """Where no card tells what scores are and no corpus has ASV scores, those four are None and the rest stands."""
    found = measure(cell(tmp_path))
    expected = evaluate(list(VALUES.values()), LABELS)
    unknown = dict.fromkeys(("act_dcf", "cllr", "min_tdcf_2019", "min_tdcf_2021"))
    assert found == expected | unknown
    assert tuple(found) == METRICS


def test_log_odds_as_they_are(tmp_path: Path) -> None:
    """Scores that are log-odds are measured as they are."""
    found = measure(cell(tmp_path, scores="log-odds"))
    assert {name: found[name] for name in ("act_dcf", "cllr")} == log_odds_costs(list(VALUES.values()), LABELS)


def test_log_probabilities_become_log_odds(tmp_path: Path) -> None:
    """actDCF and Cllr are of the log-odds, everything else of the scores as they are stored."""
    found = measure(cell(tmp_path, scores="log-probability"))
    values = list(VALUES.values())
    assert found["cllr"] == log_odds_costs(log_odds(values), LABELS)["cllr"] != evaluate(values, LABELS)["cllr"]
    assert found["eer_threshold"] == evaluate(values, LABELS)["eer_threshold"]


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_log_probabilities_without_log_odds(value: float, tmp_path: Path) -> None:
    """A log-probability that underflowed to 0, or is none, costs actDCF and Cllr and nothing else."""
    found = measure(cell(tmp_path, VALUES | {"b2": value}, scores="log-probability"))
    assert (found["act_dcf"], found["cllr"]) == (None, None)
    assert found["eer"] == evaluate(list((VALUES | {"b2": value}).values()), LABELS)["eer"]


def test_tdcf(tmp_path: Path) -> None:
    """Both forms of min t-DCF are told where the manifest holds the rates of an ASV."""
    found = measure(cell(tmp_path, asv=ASV))
    curve = curve_of(list(VALUES.values()), LABELS)
    assert found["min_tdcf_2019"] == min_tdcf(curve, tandem_2019(RATES)).value
    assert found["min_tdcf_2021"] == min_tdcf(curve, tandem_2021(RATES)).value


@pytest.mark.parametrize(("spread", "told"), [((-1.0, -2.0), False), ((-1.0, -2.0, -3.0), True)])
def test_tdcf_of_decisions(spread: tuple[float, ...], told: bool, tmp_path: Path) -> None:
    """With fewer than three distinct scores there is none, as for the organisers; the cell stands."""
    values = {name: spread[place % len(spread)] for place, name in enumerate(VALUES)}
    found = measure(cell(tmp_path, values, asv=ASV))
    assert (found["min_tdcf_2019"] is not None, found["min_tdcf_2021"] is not None) == (told, told)


def test_an_asv_that_leaves_no_tdcf(tmp_path: Path) -> None:
    """Rates that were changed by hand are told, not measured."""
    with pytest.raises(DataError, match="t-DCF is not defined behind this ASV system"):
        measure(cell(tmp_path, asv=ASV | {"pmiss": 2.0}))


def test_the_results_and_the_json_have_them(tmp_path: Path) -> None:
    """`show --json` holds every metric under its own name."""
    trials = cell(tmp_path, scores="log-odds", asv=ASV)
    shown = results.as_json([results.evaluate_cell(Store(tmp_path), trials.cell)])["cells"][0]
    assert {name: shown[name] for name in METRICS} == measure(trials)


@pytest.mark.parametrize("name", sorted(detectors().names))
def test_a_card_tells_what_its_own_threshold_tells(name: str) -> None:
    """A threshold of 0 on the score is that of log-odds, ln 0.5 that of a log-probability; probes have neither."""
    card = detectors()[name]
    if card.decision is not None and card.decision.column == "score":
        assert {0.0: "log-odds", math.log(0.5): "log-probability"}[card.decision.threshold] == card.scores
    if name.startswith("probe-") or name == "random":
        assert card.scores is None


@pytest.mark.parametrize("name", ["hf:anna/voices", "lfcc-gmm-demo", "xlsr-sls-v2-retrained", "rawnet2-df", "aasist"])
def test_cards_that_extend_another_and_those_made_from_a_name(name: str) -> None:
    """The form is inherited; one logit of two, AASIST's score, has none."""
    forms = {"hf": "log-odds", "lfcc": "log-odds", "xlsr": "log-probability", "rawnet2": "log-probability"}
    assert detectors()[name].scores == forms.get(re.split("[:-]", name)[0])
