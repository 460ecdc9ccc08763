"""The pass: which detectors share one, and what a key holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import matrix, passes, perturbations
from bench.cards import DatasetCard
from bench.corpora import Dataset
from bench.trials import digest
from bench.weights import Checkpoint
from tests.tiny import TILE, WHOLE, World, card


def in_memory(labels: Sequence[str] = ("bonafide", "spoof"), **fields: Any) -> Dataset:
    about = {"name": "set", "title": "set", "summary": "", "licence": "", "reader": "a:b", "obtain": ""}
    trials = pd.DataFrame({"trial": [str(row) for row in range(len(labels))], "label": list(labels), "path": ""})
    return Dataset(DatasetCard(**{**about, **fields}), trials, digest(trials), ())


def checkpoint(sha256: str = "a" * 64, path: str = "w.pt", verified: bool = True) -> Checkpoint:
    found = Checkpoint(Path(path), verified)
    vars(found)["sha256"] = sha256  # as if read from the file
    return found


def test_detectors_share_a_pass_as_far_as_their_weights_fit(tmp_path: Path) -> None:
    """Half of the memory at most is weights; what is larger alone still gets a pass; other recipes never mix."""
    pairs = []
    for name, size, recipe in (("a", 6, TILE), ("b", 4, TILE), ("w", 1, WHOLE), ("c", 1, TILE), ("d", 30, TILE)):
        (tmp_path / name).write_bytes(bytes(size))
        pairs.append(
            matrix.Planned(card(name, audio=recipe), "set", "score", checkpoint=Checkpoint(tmp_path / name, True))
        )
    pairs.append(matrix.Planned(card("none"), "set", "score"))
    groups = passes.grouped(pairs, 20)
    assert [[pair.card.name for pair in group] for group in groups] == [["a", "b"], ["c"], ["d"], ["none"], ["w"]]


def test_what_determines_a_score_is_in_the_key_and_nothing_else() -> None:
    """Model, arguments, version, audio recipe, weights and trial list make another cell; texts of cards do not."""
    key = passes.cell_key(card(), in_memory(), checkpoint())
    assert len(key) == 64
    same = [
        passes.cell_key(card(licence="GPL", notes=("new",), title="T", summary="S"), in_memory(), checkpoint()),
        passes.cell_key(card(name="other", trained_on=("set",), listed=False), in_memory(), checkpoint()),
        passes.cell_key(card(decision={"threshold": 1.0}), in_memory(), checkpoint()),
        passes.cell_key(card(), in_memory(name="renamed", title="T", obtain="elsewhere"), checkpoint()),
        passes.cell_key(card(), in_memory(), checkpoint(path="moved/w.pt", verified=False)),
    ]
    assert set(same) == {key}
    other = [
        passes.cell_key(card(model="Newer"), in_memory(), checkpoint()),
        passes.cell_key(card(model="Power"), in_memory(), checkpoint()),
        passes.cell_key(card(arguments={"scale": 2.0}), in_memory(), checkpoint()),
        passes.cell_key(card(audio={**TILE, "rate": 8000}), in_memory(), checkpoint()),
        passes.cell_key(card(audio={**TILE, "samples": 65}), in_memory(), checkpoint()),
        passes.cell_key(card(audio={**TILE, "window": "pad"}), in_memory(), checkpoint()),
        passes.cell_key(card(audio={**TILE, "epsilon": 1e-7}), in_memory(), checkpoint()),
        passes.cell_key(card(), in_memory(), checkpoint(sha256="b" * 64)),
        passes.cell_key(card(), in_memory(), None),
        passes.cell_key(card(), in_memory(["spoof", "bonafide"]), checkpoint()),
        passes.cell_key(card(), in_memory(["bonafide", "spoof", "spoof"]), checkpoint()),
        passes.cell_key(card(), replace(in_memory(), own_files=True), checkpoint()),
    ]
    assert len({key, *other}) == 1 + len(other)


def test_a_perturbation_is_in_the_key_and_a_clean_dataset_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another spec and another version make another cell; keys from before there were perturbations hold."""
    clean = passes.cell_key(card(), in_memory(), checkpoint())
    assert clean == "e31113fec2889869fe16ad48c853bda6b447566f0477983a77c91b5cd12577de"

    def key(spec: str) -> str:
        _, perturbation = perturbations.split(f"set+{spec}")
        return passes.cell_key(card(), replace(in_memory(), perturbation=perturbation), checkpoint())

    keys = [clean, *map(key, ("noise@15db", "noise@5db", "noise@5db+trim", "trim+noise@5db", "trim"))]
    assert key("trim") == keys[-1]
    monkeypatch.setattr(perturbations, "VERSION", 2)
    keys.append(key("trim"))
    assert len(set(keys)) == 7
    assert passes.cell_key(card(), in_memory(), checkpoint()) == clean


def test_the_version_of_the_adapter_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raising `version` alone makes another cell."""
    before = passes.cell_key(card(), in_memory(), None)
    monkeypatch.setattr("tests.tiny.Tiny.version", 2, raising=False)
    assert passes.cell_key(card(), in_memory(), None) != before


def test_a_cell_that_was_begun_otherwise_says_so(tmp_path: Path) -> None:
    """How the unfinished run computed, beside how this one does; a run that computes alike adds nothing."""
    world = World(tmp_path)
    world.dataset("set", range(1, 11))
    flag = str(tmp_path / "flag")
    world.detector("det", "InterruptedAt", arguments={"at": 7, "flag": flag})
    with pytest.raises(KeyboardInterrupt):
        world.run("det", "set", batch_size=2)
    finished = world.cell("det", "set", batch_size=5).manifest
    assert finished["batch_size"] == 5
    assert [one["batch_size"] for one in finished["earlier"]] == [2]
    assert finished["earlier"][0]["hardware"] == finished["hardware"]
    Path(flag).unlink()
    with pytest.raises(KeyboardInterrupt):
        world.run("det", "set", batch_size=2, results=tmp_path / "again")
    assert "earlier" not in world.cell("det", "set", batch_size=2, results=tmp_path / "again").manifest
