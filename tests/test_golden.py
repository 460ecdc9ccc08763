"""Detectors at full size, from checkpoint files in the authors' format, against the outputs of the authors' own code.

The weights are synthetic: they check the arithmetic of a port and say nothing about detection quality.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import click.testing
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench import audio, cli, registry
from bench.cards import AudioRecipe
from bench.models import Output
from bench.models.sls import SLS
from bench.models.wav2vec2 import Backbone
from bench.scoring import Scorer
from tests import golden

# Golden file -> a card that such a checkpoint belongs to.
CARDS = {
    "sls": "xlsr-sls-v1",
    "ssl_aasist": "ssl-aasist-df",
    "antideepfake_mms_300m": "antideepfake-mms-300m",
    "antideepfake_wav2vec_small": "antideepfake-wav2vec-small",
}
GIB = 1 << 20  # in the kilobytes of getrusage


@pytest.fixture(scope="module")
def checkpoint(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Checkpoints by the name of their golden file, made once; gigabytes, so they do not outlive the module."""
    folder = tmp_path_factory.mktemp("golden")

    def make(name: str) -> Path:
        path = folder / f"{name}.pth"
        return path if path.exists() else golden.checkpoint(shared, name, folder)

    yield make
    for path in folder.iterdir():
        path.unlink()


def detector(name: str, path: Path) -> tuple[torch.nn.Module, AudioRecipe]:
    card = registry.detectors()[CARDS[name]]
    return Scorer(card.name, card.model, card.arguments, card.audio, path).build(torch.device("cpu")), card.audio


def both_values(name: str, model: torch.nn.Module, wave: Tensor, lengths: Tensor) -> NDArray[np.float64]:
    """What the golden file stores: logits or log-probabilities of spoof and of bona fide, (B, 2)."""
    result = model(wave, lengths)
    if name == "sls":
        assert isinstance(model, SLS) and isinstance(result, Tensor)
        values = torch.log_softmax(model.logits(wave), dim=1)
        assert torch.equal(values[:, 1], result)
    else:
        assert isinstance(result, Output)
        extras = result.extras
        spoof = result.scores - extras["margin"] if "margin" in extras else extras["logit_fake"]
        bonafide = result.scores if "margin" in extras else extras["logit_real"]
        values = torch.stack([spoof, bonafide], dim=1)
    return values.double().numpy()


@pytest.mark.parametrize("name", CARDS)
@torch.inference_mode()
def test_every_output_is_the_authors(shared: Path, checkpoint: Callable[[str], Path], name: str) -> None:
    """Alone and in one batch of all inputs, within the tolerance of the golden file, in less than 6 GiB."""
    model, recipe = detector(name, checkpoint(name))
    stored = golden.cases(shared, name)
    waves = [audio.fit_window(case.wave, recipe) for case in stored]
    lengths = torch.tensor([len(wave) for wave in waves])
    batch = torch.zeros(len(waves), int(lengths.max()))
    for row, wave in zip(batch, waves, strict=True):
        row[: len(wave)] = torch.from_numpy(wave)

    expected = np.array([case.output for case in stored])
    tolerance = golden.golden(shared, name)["tolerance"]["cpu_float32_absolute"]
    together = both_values(name, model, batch, lengths)
    np.testing.assert_allclose(together, expected, rtol=0, atol=tolerance)
    for row in (0, len(waves) - 2):  # the batch has shown the values, these show the batch
        alone = both_values(name, model, batch[row : row + 1, : lengths[row]], lengths[row : row + 1])
        np.testing.assert_allclose(alone, together[row : row + 1], rtol=0, atol=1e-5)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 6 * GIB
    _follow_the_trace(shared, name, model.backbone, dict(zip([c.name for c in stored], waves, strict=True)))


def _follow_the_trace(shared: Path, name: str, backbone: object, waves: dict[str, NDArray[np.float32]]) -> None:
    """Every block gives the statistics that the authors' blocks gave for one input."""
    assert isinstance(backbone, Backbone)
    trace = golden.golden(shared, name)["layer_trace"]
    wave = torch.from_numpy(waves[trace["input"]])[None]
    blocks = list(backbone.blocks(wave))
    assert len(blocks) == trace["n_layers"] and blocks[0].shape[1] == trace["n_frames"]
    for block, mean, rms, first in zip(
        blocks, trace["layer_mean"], trace["layer_rms"], trace["layer_pooled_first3"], strict=True
    ):
        assert float(block.mean()) == pytest.approx(mean, rel=1e-4, abs=1e-5)
        assert float(block.square().mean().sqrt()) == pytest.approx(rms, rel=1e-4)
        np.testing.assert_allclose(block[0, :, :3].mean(0), first, rtol=1e-4, atol=1e-5)
    final = blocks[-1] if backbone.architecture.group_norm else backbone.encoder.layer_norm(blocks[-1])
    assert float(final.square().mean().sqrt()) == pytest.approx(trace["stages"]["final_output"]["rms"], rel=1e-4)


def test_a_released_checkpoint_scores_a_corpus_through_the_front_door(
    shared: Path, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    """`bench run` with a file in --weights: scored, and called unverified everywhere: no hash is published."""
    weights = tmp_path / "weights" / "v1"
    weights.mkdir(parents=True)
    (weights / "epoch_2.pth").hardlink_to(checkpoint("sls"))
    results = tmp_path / "results"

    def bench(*words: object) -> str:
        ran = click.testing.CliRunner().invoke(cli.main, [str(word) for word in words], catch_exceptions=False)
        assert ran.exit_code == 0, ran.output
        return ran.output

    places = ("--data-root", shared / "corpora", "--weights", tmp_path / "weights", "--results", results)
    bench("run", "--detectors", "xlsr-sls-v1", "--datasets", "itw", "--limit", 4, "--device", "cpu", *places)
    cell = next(results.glob("itw*/xlsr-sls-v1/*/cell.json"))
    told = json.loads(cell.read_text())["detector"]["weights"]
    assert told["verified"] is False and told["file"] == "epoch_2.pth" and len(told["sha256"]) == 64
    scores = pd.read_parquet(cell.with_name("scores.parquet"))["score"]
    assert len(scores) == 4 and (scores < 0).all() and scores.nunique() == 4
    shown = json.loads(bench("show", "--json", "--results", results))["cells"][0]
    assert shown["weights"] == "unverified"
    bench("report", "--results", results, "--out", tmp_path / "site")
    assert "unverified" in (tmp_path / "site" / "index.html").read_text()
