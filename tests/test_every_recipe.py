"""Every recipe that ships, on real speech, from nothing to an EER; with tiny networks of random weights, so the numbers
mean nothing (tests/recipes.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from bench import audio, metrics, training, weights
from bench.batches import plan_batches
from bench.cli import main
from bench.models.slim import self_contrastive
from bench.passes import scorer
from bench.runner import Scored
from bench.training.lists import training_list, validation_list
from bench.training.staged import initial
from bench.trials import is_bonafide
from bench.weights import Checkpoint
from bench.workspace import Options, TrainedWeights, Workspace
from tests import recipes
from tests.passing import passed

LISTS = {"train": "asvspoof2019-la-train", "dev": "asvspoof2019-la-dev"}


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for cards, and rates that let a loss fall on a dozen utterances."""
    monkeypatch.setattr(recipes, "RATE", 5e-3)
    (tmp_path / "cards").mkdir()
    return tmp_path / "cards"


def scored_eer(place: TrainedWeights) -> float:
    """The EER of the stored weights on the trials that the last stage was validated on, by the scoring pass."""
    stage = list(place.recipe.stages.values())[-1]
    found = validation_list(place.recipe, stage, place.materials.lists)
    assert found is not None
    batches = plan_batches(found.trials, place.card.audio, 5)
    scored = passed([scorer(place.card, Checkpoint(place.file, verified=True))], found.trials, batches)
    scores = [item.block["score"] for item in scored if isinstance(item, Scored)]
    order = np.concatenate(batches)
    return metrics.eer(np.concatenate(scores), is_bonafide(found.trials)[order]).eer


@pytest.mark.parametrize("name", sorted(recipes.shipped()))
def test_every_recipe_runs_to_its_end_on_real_speech(name: str, shared: Path, cards: Path, tmp_path: Path) -> None:
    """The loss falls, dev EER is recorded, and the stored weights score as the detector did when it was validated."""
    (tiny,) = recipes.write(cards, [name], trials=12, epochs=4, **LISTS)
    workspace = Workspace(Options(shared / "corpora", results=tmp_path / "results", cards=cards, device="cpu"))
    place = workspace.trained(workspace.detectors[tiny])
    training.train(place.card, place.materials, place.folder, features=tmp_path / "features", feature_limit=1 << 30)
    stages = training.record(place.folder)["stages"]
    assert [stage["stage"] for stage in stages] == list(place.recipe.stages)
    for told, stage in zip(stages, place.recipe.stages.values(), strict=True):
        losses = [point["training_loss"] for point in told["curve"]]
        assert min(losses[1:]) < losses[0]
        eers = [point["validation_eer"] for point in told["curve"]]
        assert all(eer is None for eer in eers) if recipes.real_speech(stage) else all(0 <= eer <= 1 for eer in eers)
    changed = stage.pieces is not None or (stage.augmentation is not None and stage.augmentation.validation)
    if stage.keep == "best" and not changed:
        assert scored_eer(place) == pytest.approx(told["best"]["validation_eer"], abs=1e-12)
    else:
        assert 0 <= scored_eer(place) <= 1


def test_one_command_goes_from_nothing_to_error_rates(shared: Path, cards: Path, tmp_path: Path) -> None:
    """Two test cards that extend the real ones: trained, scored, and on a page that says `random backbone`."""
    names = recipes.write(cards, ["two-stage-xlsr", "slim"], trials=12, **LISTS)
    places = ["--data-root", str(shared / "corpora"), "--results", str(tmp_path / "results")]
    arguments = ["--detectors", ",".join(names), "--datasets", "itw", "--cards", str(cards), "--device", "cpu"]
    done = CliRunner().invoke(main, ["run", *arguments, *places, "--limit", "20", "--json"])
    assert done.exit_code == 0, done.output
    cells = json.loads(done.stdout)["cells"]
    assert sorted(cell["detector"] for cell in cells) == sorted(names)
    assert all(cell["status"] == "complete" and 0 <= cell["eer"] <= 1 for cell in cells)
    manifest = json.loads(next((tmp_path / "results" / "itw%3A20" / names[1]).glob("*/cell.json")).read_text())
    assert set(manifest["detector"]["weights"]["start"].values()) == {"random"}
    site = tmp_path / "site"
    assert CliRunner().invoke(main, ["report", "--out", str(site), "--results", places[3]]).exit_code == 0
    assert "random backbone" in (site / "index.html").read_text()


def test_stage_1_of_slim_brings_style_and_linguistics_of_real_speech_together(
    shared: Path, cards: Path, tmp_path: Path
) -> None:
    """Their distance falls and the redundancy too, where both are divided by the root of the batch size: divided by
    the size itself, as printed, the redundancy weighs too little to move."""
    stage = {"batch_size": 14, "validation": None, "monitor": "training loss", "keep": "last", "crop": "first"}
    stages = {"classifier": None, "dependency": {**stage, "patience": None, "loss": {"divisor": "root"}}}
    lists = {"train": "asvspoof2019-la", "dev": "asvspoof2019-la-dev"}
    (tiny,) = recipes.write(cards, ["slim"], epochs=30, recipe={"dev": None, "stages": stages}, **lists)
    workspace = Workspace(Options(shared / "corpora", results=tmp_path / "results", cards=cards, device="cpu"))
    place = workspace.trained(workspace.detectors[tiny])
    trials = training_list(place.recipe, place.recipe.stages["dependency"], place.materials.lists).trials
    wave = torch.stack([torch.from_numpy(audio.prepare(path, place.card.audio).wave) for path in trials["path"]])

    def terms(model: Any) -> tuple[float, float]:
        with torch.no_grad():
            features = [
                side.compression(reading(wave)) for side, reading in zip(model.sides, model.readings, strict=True)
            ]
        distance, both = (
            float(self_contrastive(*features, weight=weight, divisor="root", cross="frames")) for weight in (0.0, 1.0)
        )
        return distance, both - distance

    model = initial(place.card, place.recipe, place.materials.start).eval()
    before = terms(model)
    training.train(place.card, place.materials, place.folder)
    model.load_state_dict(weights.read(place.file))
    after = terms(model)
    assert after[0] < 0.75 * before[0]
    assert after[1] < 0.9 * before[1]
