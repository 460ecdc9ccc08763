"""What the commands print, at the widths that terminals have: nothing is cut, nothing in a name is obeyed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import bands, terminal
from bench.intervals import Uncertainty
from bench.matrix import Planned
from bench.resampling import Unit
from bench.results import Result
from bench.store import Cell
from bench.trainings import Training
from tests.tiny import World, card

DIGEST = "0123456789ab" + 52 * "c"
NUMBERS: Mapping[str, Any] = {
    "eer": 0.25,
    "f1_bonafide": 0.75,
    "frr": 0.25,
    "far": 0.25,
    "n_bonafide": 234,
    "n_spoof": 1000,
}


def result(name: str = "det", **about: Any) -> Result:
    weights = about.pop("weights", {})
    manifest = {"leakage": "held-out", "dataset": {"digest": DIGEST, "trials": 1234}, "detector": {"weights": weights}}
    cell = Cell(about.pop("dataset", "set"), name, "k" * 64, about.pop("status", "complete"), manifest=manifest)
    return Result(cell, **{"metrics": NUMBERS, "uncertainty": around(0.25), **about})


def around(eer: float) -> Uncertainty:
    """Replicates of which 95 % lie within 1 percentage point of an EER, on either side."""
    unit = Unit(("speaker",), ("speaker", "attack"), {"speaker": 40, "attack": 12}, {})
    return Uncertainty(
        unit, "of this list", {"eer": eer + np.linspace(-0.01, 0.01, 951)[np.clip(np.arange(1001) - 25, 0, 950)]}
    )


def several(name: str) -> Result:
    """A detector of three seeds whose backbone was random."""
    made = result(name, weights={"trained": True, "verified": True, "seed": 3, "start": {"backbone": "random"}})
    members = {3: made, 4: result(metrics={**NUMBERS, "eer": 0.1, "f1_bonafide": 0.9}), 5: made}
    return Result(made.cell, made.metrics, band=bands.band(members), uncertainty=around(0.2))


@pytest.fixture
def width(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda columns: monkeypatch.setattr(terminal.out, "width", columns)


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_results_in_a_wide_terminal(width: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """EER in percent, the mean where there is one, what is said of a status below, names as they stand."""
    width(180)
    blocked = Result(Cell("set", "absent", "", "blocked", None, "no file absent.pth\nin any folder", "get it"))
    unverified = result("[red]good[/red]", weights={"verified": False})
    terminal.print_results([several("mean"), unverified, blocked])
    lines = printed(capsys)
    told = "complete, held-out [1]"
    assert lines[2].split(maxsplit=8) == [
        *("1", "mean", "set", "20.0000", "19.00–21.00", "0.8000", "1,234", DIGEST[:12], told),
    ]
    told = "complete, held-out [2]"
    assert lines[3].split(maxsplit=8) == [
        *("2", "[red]good[/red]", "set", "25.0000", "24.00–26.00", "0.7500", "1,234", DIGEST[:12], told),
    ]
    assert lines[5].split(maxsplit=8) == [
        *("–", "absent", "set", "–", "–", "–", "–", "–", "blocked [3]"),
    ]
    assert lines[6:] == [
        "F1: bona fide positive, at the test-set EER threshold",
        "rank: shared while the interval of the difference to the best of its group holds zero",
        "set (1,234 trials, 0123456789ab): 95 % intervals over draws of speaker x attack (40 speakers, 12 attacks)",
        "  only 12 attacks: the interval holds the truth less often than it says",
        "[1] mean of 3 seeds, best 10.00, worst 25.00; random backbone",
        "[2] weights unverified",
        "[3] no file absent.pth",
    ]


def test_results_in_a_narrow_terminal(width: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """What is said of a status stands below, once for all of which it is said; no number is cut."""
    width(80)
    terminal.print_results([several("lfcc-gmm-demo"), result("other", weights={"verified": False}), several("more")])
    lines = printed(capsys)
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    # A status that takes two lines stands beside nothing else.
    rows = " ".join(lines[2:8]).split()
    assert [rows[place + 1] for place, word in enumerate(rows) if word == "held-out"] == ["[1]", "[2]", "[1]"]
    assert DIGEST[:12] not in rows
    assert lines[-2:] == [
        "[1] mean of 3 seeds, best 10.00, worst 25.00; random backbone",
        "[2] weights unverified",
    ]


def planned(*seeds: int | None, state: Any = "train", name: str = "det") -> Sequence[Planned]:
    return [Planned(card(name), "set", state, seed=seed) for seed in seeds]


def test_a_plan_tells_seeds_of_one_state_together(
    tmp_path: Path, width: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And below it, once a detector, what training may take: of the seeds that are not trained yet."""
    monkeypatch.setattr("bench.training.estimate", lambda *_: "at most 50 steps, about 3 h on cpu")
    width(80)
    world = World(tmp_path)
    world.dataset("set", range(4))
    for name in ("det", "one"):
        world.detector(name, "Trainable", recipe={"train": "set", "seed": 7})
    pairs = [*planned(7, state="done"), *planned(8, 9), *planned(None, name="one"), *planned(8, 9)]
    terminal.print_plan(world.workspace(), pairs, as_json=False)
    lines = printed(capsys)
    assert [line.split("  ")[0] for line in lines[2:6]] == [
        "det (seed 7)",
        "det (seeds 8, 9)",
        "one",
        "det (seeds 8, 9)",
    ]
    does = [line.split("–")[1].strip() for line in lines[2:6]]
    assert does == ["nothing: finished before", *["train, then score"] * 3]
    assert [line for line in lines[6:] if line] == [
        "training det (seeds 8, 9): each at most 50 steps, about 3 h on cpu",
        "training one (seed 7): at most 50 steps, about 3 h on cpu",
    ]


STAGES: Sequence[Mapping[str, Any]] = [
    {
        "stage": "head",
        "epochs": 15,
        "steps": 9390,
        "best": {"epoch": 9, "validation_eer": 0.0387, "validation_loss": 0.2, "training_loss": 0.1},
    },
    {
        "stage": "whole",
        "epochs": 1,
        "steps": 3,
        "best": None,
        "curve": [{"epoch": 1, "validation_eer": None, "validation_loss": None, "training_loss": 0.000661}],
    },
]


def test_trainings_tell_where_the_weights_lie_and_how_they_went(
    tmp_path: Path, width: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line a stage with its best epoch; then what failed, with reason and remedy."""
    width(80)
    place = tmp_path / "model.safetensors"
    terminal.print_trainings(
        World(tmp_path).workspace(),
        [
            Training("det", 3, "trained", place, {"stages": STAGES}),
            Training("det", 4, "done", place, {"stages": []}),
            Training("det", 5, "failed", place, None, "the loss is NaN (stage head)", "lower the rate"),
        ],
    )
    assert printed(capsys) == [
        "det (seed 3): trained",
        "  head: 15 epochs, 9,390 steps, best in epoch 9: dev EER 3.87 %",
        "  whole: 1 epoch, 3 steps, last in epoch 1: training loss 0.000661",
        f"  {place}",
        "det (seed 4): trained before",
        f"  {place}",
        "",
        "det (seed 5): failed: the loss is NaN (stage head)",
        "  remedy: lower the rate",
    ]


def test_one_of_several_processes_tells_its_failure_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main process tells all else; a progress bar is its own, too."""
    monkeypatch.setenv("RANK", "1")
    with terminal.display() as display:
        display.note("said by every process")
    done = Training("det", 3, "trained", tmp_path / "w")
    terminal.print_trainings(
        World(tmp_path).workspace(), [done, Training("det", 4, "failed", reason="no memory", remedy="get some")]
    )
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "det (seed 4), in another process: no memory\n")
