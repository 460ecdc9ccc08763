"""The EER threshold of a development set, judged on other datasets beside their own."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from bench import operating
from bench.results import Result
from bench.store import Store
from tests.stores import gaussian, put_classes

# The case `one swap` of the field's tables: EER .25 where scores above -.5 are accepted.
DEV = ([3.0, 2.0, 1.0, -0.5], [0.0, -1.0, -2.0, -3.0])


def both(store: Store) -> list[Result]:
    return [Result(cell) for cell in store.current()]


def test_by_hand(tmp_path: Path) -> None:
    """A threshold of -.5 rejects 1 bona fide of 4 and accepts 2 spoofs of 5; the oracle at -.4 accepts one less."""
    store = Store(tmp_path)
    put_classes(store, "a", "dev", *DEV)
    put_classes(store, "a", "test", [5.0, 4.0, 0.1, -0.6], [-0.4, 1.0, -2.0, -3.0, -5.0])
    (row,) = operating.carried_over(store, both(store), "dev")
    expected = {
        "threshold": -0.5,
        "frr": 1 / 4,
        "far": 2 / 5,
        "hter": 0.325,
        "f1_bonafide": 6 / 9,
        "f1_spoof": 6 / 9,
        "f1_macro": 6 / 9,
        "accuracy": 6 / 9,
        "balanced_accuracy": 0.675,
        "oracle_eer": 0.225,
        "oracle_threshold": -0.4,
        "oracle_f1_bonafide": 6 / 8,
        "oracle_f1_spoof": 8 / 10,
        "oracle_f1_macro": 0.775,
    }
    assert row.numbers == pytest.approx(expected)
    assert operating.as_json("dev", [row])["cells"][0]["numbers"] == row.numbers


def test_against_scikit_learn(tmp_path: Path) -> None:
    """Decisions of a shifted test set agree with an independent implementation, and exceed the oracle's errors."""
    store = Store(tmp_path)
    put_classes(store, "a", "dev", *gaussian(1))
    bonafide, spoof = (side + 0.7 for side in gaussian(2))
    put_classes(store, "a", "test", bonafide, spoof)
    (row,) = operating.carried_over(store, both(store), "dev")
    found = row.numbers
    assert found is not None
    truth = np.repeat([1, 0], [len(bonafide), len(spoof)])
    said = np.concatenate((bonafide, spoof)) > found["threshold"]
    assert found["f1_bonafide"] == pytest.approx(f1_score(truth, said))
    assert found["f1_spoof"] == pytest.approx(f1_score(truth, said, pos_label=0))
    assert found["f1_macro"] == pytest.approx(f1_score(truth, said, average="macro"))
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, said))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, said))
    assert found["hter"] == pytest.approx(1 - found["balanced_accuracy"])
    assert found["hter"] > found["oracle_eer"] + 0.02


def test_the_same_scores_lose_nothing(tmp_path: Path) -> None:
    """Where the test set has the scores of the development set, carried over is the oracle."""
    store = Store(tmp_path)
    put_classes(store, "a", "dev", *DEV)
    put_classes(store, "a", "test", *DEV)
    (row,) = operating.carried_over(store, both(store), "dev")
    found = row.numbers
    assert found is not None
    assert (found["threshold"], found["hter"]) == (found["oracle_threshold"], found["oracle_eer"])
    assert [found[name] for name in operating.ORACLE] == [found[f"oracle_{name}"] for name in operating.ORACLE]


@pytest.mark.parametrize("width", [80, 160])
def test_the_table_fits_the_terminal(tmp_path: Path, width: int) -> None:
    """No number is cut in a narrow terminal, and a wide one has all of them."""
    store = Store(tmp_path)
    name = "antideepfake-xls-r-300m-post-training"
    put_classes(store, name, "asvspoof2019-la-dev", *DEV)
    put_classes(store, name, "asvspoof2021-df-progress", [5.0, 4.0, 0.1, -0.6], [-0.4, 1.0, -2.0, -3.0, -5.0])
    rows = operating.carried_over(store, both(store), "asvspoof2019-la-dev")
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(operating.table("asvspoof2019-la-dev", rows, width))
    printed = console.export_text()
    always = ["32.50", "25.00", "40.00", "0.6667", "22.50", "0.7500"]
    assert all(number in printed for number in always)
    assert all((number in printed) == (width > 150) for number in ("-0.5 ", "0.6750", "0.8000"))
    assert "…" not in printed
    assert "its own uncertainty is not propagated" in " ".join(printed.split())
