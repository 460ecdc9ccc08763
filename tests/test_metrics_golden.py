"""Every number of the golden metrics file, computed again: ours, the organisers' definitions, and scikit-learn's.

The file is not searched for what is tested here: the same tree of keys is built anew and compared whole, so that a
number that nobody computes, or a key that nobody knows, fails.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from bench import costs
from bench.costs import Tandem, VerificationRates
from bench.det import Curve, curve_between
from bench.errors import DataError
from bench.metrics import decide, evaluate
from tests.oracles import metrics as oracles

Floats = NDArray[np.float64]
Tree = Mapping[str, Any]

SETS = (
    "gaussian_1000",
    "gaussian_5000",
    "ties_one_decimal",
    "ties_integers",
    "constant",
    "two_values",
    "imbalanced_20_vs_10000",
    "imbalanced_10000_vs_20",
    "separated",
    "inverted",
    "saturated_log_prob",
    "large_llr",
    "tiny_3_vs_2",
)
DEFINED = (
    "official.eer",
    "tie_aware.*",
    "min_tdcf_2021",
    "min_tdcf_2019_legacy",
    "asvspoof5_min_dcf",
    "asvspoof5_act_dcf",
    "asvspoof5_cllr_bits",
    "sklearn.eer_roc_brentq",
    "sklearn.eer_roc_argmin_mean",
    "at_eer_threshold",
)
POINTS = ("synthetic", "asvspoof5_organisers")


@pytest.fixture(scope="module")
def golden(shared: Path) -> Tree:
    loaded: Tree = json.loads((shared / "golden" / "metrics.json").read_text())
    return loaded


def same(found: Any, stored: Any, where: str) -> None:
    """Two trees have the same keys and the same leaves; numbers within the tolerance of the file.

    Ten significant digits are stored: 1e-9 holds below 1, larger numbers have fewer decimals.
    """
    if isinstance(stored, Mapping):
        assert isinstance(found, Mapping) and found.keys() == stored.keys(), where
        for key in stored:
            same(found[key], stored[key], f"{where}.{key}")
    elif isinstance(stored, list):
        assert len(found) == len(stored), where
        for place, each in enumerate(stored):
            same(found[place], each, f"{where}[{place}]")
    elif isinstance(stored, float):
        assert found == pytest.approx(stored, abs=1e-9, rel=1e-9), where
    else:
        assert (type(found), found) == (type(stored), stored), where


def drawn(recipe: str) -> tuple[Floats, Floats]:
    """The bona fide and the spoofed scores of a recipe of the file."""
    names: dict[str, Any] = {"np": np}
    exec(recipe, names)
    return names["bonafide"].astype(np.float64), names["spoof"].astype(np.float64)


def nearest(bonafide: Floats, spoof: Floats, *, ties: bool) -> dict[str, Any]:
    """The EERs of the vertices that share the smallest distance, told only where they differ."""
    rates = oracles.nearest_eers(bonafide, spoof, ties=ties)
    return {"eer_of_all_minimising_vertices": rates} if len(rates) > 1 else {}


def official(golden: Tree, bonafide: Floats, spoof: Floats) -> dict[str, Any]:
    """By the organisers' definitions alone; null where their code refuses or fails."""
    frr, far, thresholds = oracles.official_det(bonafide, spoof)
    rate, threshold = oracles.official_eer(bonafide, spoof)
    at = int(np.argmin(np.abs(frr - far)))
    detection = (0.95 * frr + 0.5 * far) / 0.5
    bits = oracles.naive_cllr(bonafide, spoof)
    refused = np.unique(np.concatenate((bonafide, spoof))).size < 3
    points, model_2021 = golden["asv_operating_points"], golden["cost_model_2021"]
    return {
        "eer": rate,
        "eer_threshold": threshold,
        "frr_at_eer": float(frr[at]),
        "far_at_eer": float(far[at]),
        **nearest(bonafide, spoof, ties=True),
        "min_tdcf_2021": {
            name: None if refused else oracles.tdcf_2021(frr, far, oracles.coefficients_2021(model_2021, points[name]))
            for name in POINTS
        },
        "min_tdcf_2019_legacy": {
            name: None if refused else oracles.tdcf_2019(frr, far, golden["cost_model_2019_legacy"], points[name])
            for name in POINTS
        },
        "asvspoof5_min_dcf": float(detection.min()),
        "asvspoof5_min_dcf_threshold": float(thresholds[detection.argmin()]),
        "asvspoof5_act_dcf": oracles.naive_dcf(bonafide, spoof, -math.log(1.9)),
        "asvspoof5_cllr_bits": bits if math.isfinite(bits) else None,
        "cllr_is_finite": math.isfinite(bits),
    }


def rates_of(golden: Tree, name: str) -> VerificationRates:
    point = golden["asv_operating_points"][name]
    return VerificationRates(pmiss=point["Pmiss_asv"], pfa=point["Pfa_asv"], pfa_spoof=point["Pfa_spoof_asv"])


def lowest(curve: Curve, tandem: Tandem) -> float:
    """Our min t-DCF. The file has one for two distinct scores, too, where ours refuses as the organisers' does."""
    if curve.n_distinct >= 3:
        return costs.min_tdcf(curve, tandem).value
    with pytest.raises(DataError, match="3 distinct scores or more"):
        costs.min_tdcf(curve, tandem)
    return float(tandem.cost(curve.frr, curve.far).min())


def tie_aware(golden: Tree, bonafide: Floats, spoof: Floats, found: Tree) -> dict[str, Any]:
    """Ours."""
    curve = curve_between(bonafide, spoof)
    return {
        "eer": found["eer"],
        "eer_threshold": found["eer_threshold"],
        "frr_at_eer": found["frr"],
        "far_at_eer": found["far"],
        **nearest(bonafide, spoof, ties=False),
        "min_tdcf_2021": {name: lowest(curve, costs.tandem_2021(rates_of(golden, name))) for name in POINTS},
        "min_tdcf_2019_legacy": {name: lowest(curve, costs.tandem_2019(rates_of(golden, name))) for name in POINTS},
        "asvspoof5_min_dcf": found["min_dcf"],
    }


def decisions(scores: Floats, labels: NDArray[np.int8], threshold: float) -> dict[str, Any]:
    """Ours, at one threshold; `>=` is `>` at the next lower float."""
    sides = {"accept_if_greater_or_equal": math.nextafter(threshold, -math.inf), "accept_if_greater": threshold}
    told = {}
    for side, at in sides.items():
        found = decide(scores, labels, at)
        assert found["hter"] == pytest.approx(1 - found["balanced_accuracy"], abs=1e-12)
        told[side] = {
            "f1_bonafide_positive": found["f1_bonafide"],
            "f1_spoof_positive": found["f1_spoof"],
            "f1_macro": found["f1_macro"],
            "accuracy": found["accuracy"],
            "balanced_accuracy": found["balanced_accuracy"],
        }
    return told


def notes(computed: Tree) -> dict[str, list[str]]:
    """What the file remarks, in its words, from numbers computed here."""
    theirs, ours = computed["official"], computed["tie_aware"]
    told = []
    if abs(theirs["eer"] - ours["eer"]) > 1e-9:
        together = f"counting tied scores together gives {ours['eer']:.10g}"
        told.append(f"official EER {theirs['eer']:.10g} is not tie-aware; {together}")
    if computed["n_distinct_scores"] < 3:
        told.append("the official t-DCF refuses fewer than 3 distinct scores")
    if "eer_of_all_minimising_vertices" in theirs:
        told.append(
            "several vertices share the smallest |frr - far|; the official value is the first one in floating point "
            "with far = (N - rejected) / N"
        )
    if not theirs["cllr_is_finite"]:
        told.append("official Cllr overflows to infinity; the overflow-free formula is finite")
    return {"notes": told} if told else {}


@pytest.mark.parametrize("name", SETS)
def test_score_set(golden: Tree, name: str) -> None:
    """Every number of a golden score set is reproduced, and it holds no key beside them."""
    stored = golden["score_sets"][name]
    bonafide, spoof = drawn(stored["recipe"])
    scores = np.concatenate((bonafide, spoof))
    labels = np.repeat(np.array([1, 0], dtype=np.int8), [bonafide.size, spoof.size])
    found = evaluate(scores, labels)
    computed: dict[str, Any] = {
        "recipe": stored["recipe"],
        "n_bonafide": found["n_bonafide"],
        "n_spoof": found["n_spoof"],
        "sha256_float64": {
            "bonafide": hashlib.sha256(bonafide.tobytes()).hexdigest(),
            "spoof": hashlib.sha256(spoof.tobytes()).hexdigest(),
        },
        "n_distinct_scores": found["n_distinct"],
        "n_scores_tied_across_classes": int(np.isin(bonafide, spoof).sum() + np.isin(spoof, bonafide).sum()),
        "official": official(golden, bonafide, spoof),
        "tie_aware": tie_aware(golden, bonafide, spoof, found),
        "cllr_bits_overflow_free": found["cllr"],
        "sklearn": {
            "roc_auc": float(roc_auc_score(labels, scores)),
            "eer_roc_brentq": oracles.roc_interpolated_eer(scores, labels),
            "eer_roc_argmin_mean": oracles.roc_argmin_eer(scores, labels),
        },
    }
    thresholds = {"official_threshold": computed["official"], "tie_aware_threshold": computed["tie_aware"]}
    computed["at_eer_threshold"] = {
        source: decisions(scores, labels, side["eer_threshold"]) for source, side in thresholds.items()
    }
    computed |= notes(computed)
    same(computed, stored, name)

    # What the file has once stands for both, ours and the organisers'.
    assert found["auc"] == pytest.approx(stored["sklearn"]["roc_auc"], abs=1e-9)
    assert found["min_dcf_threshold"] == pytest.approx(computed["official"]["asvspoof5_min_dcf_threshold"], abs=1e-9)
    assert found["act_dcf"] == pytest.approx(stored["official"]["asvspoof5_act_dcf"], abs=1e-9)
    if stored["n_scores_tied_across_classes"] == 0:
        assert (found["eer"], found["eer_threshold"]) == oracles.official_eer(bonafide, spoof)


def test_everything_but_the_score_sets(golden: Tree) -> None:
    """The constants of both cost models, the coefficients that follow from them, and no key that is not known."""
    texts = ("about", "provenance", "tolerance")
    two, nine = golden["cost_model_2021"], golden["cost_model_2019_legacy"]
    priors = {"Pspoof": costs.P_SPOOF, "Ptar": costs.P_TARGET, "Pnon": costs.P_NONTARGET}
    miss, alarm = int(costs.C_MISS), int(costs.C_FALSE_ALARM)
    computed = {
        **{name: golden[name] for name in texts},
        "definitions": {name: golden["definitions"][name] for name in DEFINED},
        "cost_model_2021": {**priors, "Cmiss": miss, "Cfa": alarm, "Cfa_spoof": alarm},
        "cost_model_2019_legacy": {**priors, "Cmiss_asv": miss, "Cfa_asv": alarm, "Cmiss_cm": miss, "Cfa_cm": alarm},
        "asv_operating_points": {name: golden["asv_operating_points"][name] for name in POINTS},
        "tdcf_2021_coefficients": {
            name: dict(zip(("C0", "C1", "C2"), costs.tandem_2021(rates_of(golden, name)), strict=True))
            for name in POINTS
        },
        "score_sets": {name: golden["score_sets"][name] for name in SETS},
    }
    same(computed, golden, "metrics.json")
    for name in POINTS:
        point = golden["asv_operating_points"][name]
        assert costs.tandem_2021(rates_of(golden, name)) == pytest.approx(oracles.coefficients_2021(two, point))
        frr, far = np.array([0.0, 0.25, 1.0]), np.array([1.0, 0.5, 0.0])
        ours = costs.tandem_2019(rates_of(golden, name)).cost(frr, far).min()
        assert ours == pytest.approx(oracles.tdcf_2019(frr, far, nine, point))
