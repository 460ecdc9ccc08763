"""What stored results can be asked on the command line: comparisons, averages, phases, thresholds, calibration."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import click.testing
import numpy as np
import pytest

from bench import cli
from bench.store import Store
from tests.stores import gaussian, put, put_classes, trial_list

pytestmark = pytest.mark.usefixtures("elsewhere")


def bench(*arguments: object) -> click.testing.Result:
    return click.testing.CliRunner().invoke(cli.main, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def store() -> Store:
    """Two detectors on a dev set and two others."""
    store = Store(Path("results"))
    for place, dataset in enumerate(("dev", "one", "two")):
        put_classes(store, "good", dataset, *gaussian(place, 2.5), card={"scores": "log-odds"})
        put_classes(store, "fair", dataset, *gaussian(place + 10, 1.5), card={"scores": "log-odds"})
    return store


def test_two_released_score_files_are_compared(shared: Path) -> None:
    """On the same 31,779 trials: the difference with its interval and p, in words and as fractions."""
    released = shared / "golden" / "scores" / "sls_v1_itw.txt.gz"
    draw = np.random.default_rng(0)
    with gzip.open(released, "rt") as lines, Path("noisy.txt").open("w") as other:
        other.writelines(f"{name} {float(score) + draw.normal(0, 3)}\n" for name, score in map(str.split, lines))
    for file, detector in ((released, "sls"), (Path("noisy.txt"), "noisy")):
        place = f"itw={shared / 'golden' / 'scores' / 'itw'}"
        assert bench("import", file, "--detector", detector, "--dataset", "itw", "--data", place).exit_code == 0
    told = bench("show", "--compare", "noisy", "sls")
    assert told.exit_code == 0
    head, difference, verdict, unit, warning = told.stdout.splitlines()
    assert head.startswith("itw (31,779 trials, ")
    assert difference.startswith("  noisy - sls: +4.4")
    assert difference.endswith("p < 0.005")
    assert verdict == "  sls has the lower EER: the interval excludes zero"
    assert unit == "  draws of single trials"
    assert warning == "  bona fide and spoofed trials are drawn one by one, as if independent: too narrow"
    (found,) = json.loads(bench("show", "--compare", "noisy", "sls", "--json").stdout)["compare"]
    assert found["difference"] == pytest.approx(found["eer"][0] - found["eer"][1])
    assert found["interval"]["low"] < found["difference"] < found["interval"]["high"]
    # Independent trials: the paired interval is narrower than two separate ones, 0.31 and 0.38 pp, would make it.
    assert 0.001 < (found["interval"]["high"] - found["interval"]["low"]) / 2 < np.hypot(0.0031, 0.0038)
    assert (found["p_value"], found["unit"]) == (pytest.approx(2 / 1001), "single trials")


def test_a_refused_comparison_is_told_and_fails(store: Store) -> None:
    """Another trial list of one dataset: exit 1, the reason, and the comparisons that can be made beside it."""
    put(store, trial_list(["b0", "s0", "s1"]), {"b0": 1.0, "s0": 0.0, "s1": 0.5}, dataset="one", detector="fair")
    told = bench("show", "--compare", "good", "fair")
    assert told.exit_code == 1
    assert "not compared: good on one (" in told.stdout
    assert "are of different trial lists: 0 trials are in both, 200 only in the first" in told.stdout
    assert "\ntwo (200 trials, " in told.stdout
    found = json.loads(bench("show", "--compare", "good", "fair", "--json").stdout)["compare"]
    assert [("refused" in one) for one in found] == [False, True, False]


def test_averages_phases_thresholds_and_calibrations(store: Store) -> None:
    """Each is a table, and the same as JSON under its own name."""
    averages = bench("show", "--averages", "-s", "one,two").stdout
    assert averages.startswith("all cells: one, two (2 datasets, 400 trials)")
    assert "held-out cells only: there are none" in averages
    assert bench("show", "--phases").stdout == "no corpus here has numbers on two of its lists\n"
    thresholds = bench("show", "--threshold-from", "dev").stdout
    assert "each detector's EER threshold on dev" in " ".join(thresholds.split())
    calibrated = bench("show", "--calibrate-from", "dev").stdout
    assert "fitted on dev" in " ".join(calibrated.split())
    for question, name in (
        (("--averages",), "averages"),
        (("--phases",), "phases"),
        (("--threshold-from", "dev"), "threshold_from"),
        (("--calibrate-from", "dev"), "calibrate_from"),
    ):
        assert list(json.loads(bench("show", *question, "--json").stdout)) == [name]
    cells = json.loads(bench("show", "--threshold-from", "dev", "--json").stdout)["threshold_from"]["cells"]
    assert {(cell["detector"], cell["dataset"]) for cell in cells} == {
        (detector, dataset) for detector in ("good", "fair") for dataset in ("one", "two")
    }
    assert all(cell["numbers"]["hter"] == (cell["numbers"]["frr"] + cell["numbers"]["far"]) / 2 for cell in cells)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("--averages", "--compare", "good", "fair"), "--averages and --compare are different questions"),
        (("--threshold-from", "dev", "-s", "dev"), "there is no cell but on dev itself"),
        (("--calibrate-from", "dve"), "did you mean dev?"),
        (("--compare", "good", "fiar"), "did you mean fair?"),
    ],
)
def test_questions_that_cannot_be_meant(store: Store, asked: tuple[str, ...], told: str) -> None:
    """Exit 2, with what to ask instead."""
    ran = bench("show", *asked)
    assert (ran.exit_code, told in ran.stderr) == (2, True), ran.output
