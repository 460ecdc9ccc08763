"""Detectors at full size, with the tensors of the authors' checkpoints, against the outputs of the authors' own code.

The weights are synthetic: they check the arithmetic of a port and say nothing about detection quality.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench import audio, cli, registry, weights
from bench.models import Output
from bench.models.sls import SLS
from bench.models.wav2vec2 import Backbone
from bench.scorer import build_model
from tests import golden

# Golden file -> a card that such a checkpoint belongs to. Neighbours share what is drawn.
CARDS = {
    "sls": "xlsr-sls-v1",
    "ssl_aasist": "ssl-aasist-df",
    "antideepfake_mms_300m": "antideepfake-mms-300m",
    "antideepfake_wav2vec_small": "antideepfake-wav2vec-small",
}
SMALL = "antideepfake_wav2vec_small"
GIB = 1 << 20  # in the kilobytes of getrusage


@pytest.fixture(scope="module")
def synthetic(shared: Path) -> golden.Synthetic:
    return golden.Synthetic(shared)


def detector(name: str, synthetic: golden.Synthetic) -> torch.nn.Module:
    card = registry.detectors()[CARDS[name]]
    model = build_model(card.model, card.arguments, card.name)
    weights.load_into(model, synthetic(name), Path(f"{name}.pth"))
    return model.eval()


def both_values(name: str, model: torch.nn.Module, wave: Tensor, lengths: Tensor) -> NDArray[np.float64]:
    """What the golden file stores: logits or log-probabilities of spoof and of bona fide, (B, 2)."""
    if name == "sls":
        assert isinstance(model, SLS)
        last: list[Tensor] = []
        with model.fc3.register_forward_hook(lambda *given: last.append(given[2])):
            result = model(wave, lengths)
        values = torch.log_softmax(torch.nn.functional.selu(last[0]), dim=1)
        assert torch.equal(values[:, 1], result.scores)
    else:
        result = model(wave, lengths)
        assert isinstance(result, Output)
        extras = result.extras
        spoof = result.scores - extras["margin"] if "margin" in extras else extras["logit_fake"]
        bonafide = result.scores if "margin" in extras else extras["logit_real"]
        values = torch.stack([spoof, bonafide], dim=1)
    return values.double().numpy()


def backbone_of(model: torch.nn.Module) -> Backbone:
    assert isinstance(model.backbone, Backbone)
    return model.backbone


class Once(torch.nn.Module):
    """A block of several detectors: what it gave for its last input is not computed again for the same values."""

    def __init__(self, block: torch.nn.Module) -> None:
        super().__init__()
        self.block = block
        self.last: tuple[Tensor, Any] | None = None

    def forward(self, hidden: Tensor, attention_mask: Tensor | None = None) -> Any:
        if attention_mask is not None:
            return self.block(hidden, attention_mask=attention_mask)
        if self.last is None or not torch.equal(hidden, self.last[0]):
            self.last = hidden, self.block(hidden)
        return self.last[1]


def share_blocks(first: Backbone, other: Backbone) -> int:
    """Blocks of equal values, from the first on, become one and the same; how many there are."""
    pairs = zip(first.encoder.layers, other.encoder.layers, strict=True)
    for shared, (mine, theirs) in enumerate(pairs):
        state = theirs.state_dict()
        if not all(torch.equal(value, state[name]) for name, value in mine.state_dict().items()):
            return shared
        first.encoder.layers[shared] = other.encoder.layers[shared] = Once(mine)
    return len(first.encoder.layers)


@pytest.mark.parametrize("names", [("sls", "ssl_aasist"), ("antideepfake_mms_300m",), (SMALL,)], ids="+".join)
@torch.inference_mode()
def test_every_output_is_the_authors(shared: Path, synthetic: golden.Synthetic, names: Sequence[str]) -> None:
    """Each input beside one of like length, within the tolerance of the golden file, and one alone; every block gives
    the statistics that the authors' blocks gave; in less than 6 GiB. Blocks that two checkpoints have in common run
    once for both."""
    models = {name: detector(name, synthetic) for name in names}
    assert len(names) == 1 or share_blocks(*map(backbone_of, models.values())) == 23
    stored, recipe = golden.cases(shared, names[0]), registry.detectors()[CARDS[names[0]]].audio
    waves = [torch.from_numpy(audio.fit_window(case.wave, recipe)) for case in stored]
    together = {name: np.empty((len(stored), 2)) for name in names}
    for rows in np.array_split(np.argsort([len(wave) for wave in waves], kind="stable"), len(waves) // 2):
        batch, lengths = padded([waves[row] for row in rows])
        for name, model in models.items():
            together[name][rows] = both_values(name, model, batch, lengths)
    for name, model in models.items():
        about, expected = golden.golden(shared, name), golden.cases(shared, name)
        assert all(np.array_equal(mine.wave, theirs.wave) for mine, theirs in zip(stored, expected, strict=True))
        tolerance = about["tolerance"]["cpu_float32_absolute"]
        np.testing.assert_allclose(together[name], [case.output for case in expected], rtol=0, atol=tolerance)
        row = [case.name for case in stored].index(about["layer_trace"]["input"])
        blocks = recorded(backbone_of(model))
        alone = both_values(name, model, *padded([waves[row]]))
        np.testing.assert_allclose(alone, together[name][row : row + 1], rtol=0, atol=1e-5)
        _follow_the_trace(about["layer_trace"], backbone_of(model), blocks)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 6 * GIB


def padded(waves: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    return torch.nn.utils.rnn.pad_sequence(list(waves), batch_first=True), torch.tensor([len(wave) for wave in waves])


def recorded(backbone: Backbone) -> list[Tensor]:
    """What the blocks give in the next forward pass."""
    found: list[Tensor] = []

    def blocks(wave: Tensor, lengths: Tensor | None = None) -> Iterator[Tensor]:
        found[:] = Backbone.blocks(backbone, wave, lengths)
        return iter(found)

    backbone.__dict__["blocks"] = blocks
    return found


def _follow_the_trace(trace: dict[str, Any], backbone: Backbone, blocks: Sequence[Tensor]) -> None:
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
    shared: Path, synthetic: golden.Synthetic, tmp_path: Path
) -> None:
    """`bench run` with a file in --weights: scored as the tested network scores, and called unverified everywhere: no
    hash is published."""
    folder, results = tmp_path / "weights", tmp_path / "results"
    folder.mkdir()
    torch.save(synthetic(SMALL), folder / "w2v_small.ckpt")

    def bench(*words: object) -> str:
        ran = click.testing.CliRunner().invoke(cli.main, [str(word) for word in words], catch_exceptions=False)
        assert ran.exit_code == 0, ran.output
        return ran.output

    places = ("--data-root", shared / "corpora", "--weights", folder, "--results", results)
    bench("run", "--detectors", CARDS[SMALL], "--datasets", "itw", "--limit", 4, "--device", "cpu", *places)
    (folder / "w2v_small.ckpt").unlink()  # hundreds of megabytes
    cell = next(results.glob(f"itw*/{CARDS[SMALL]}/*/cell.json"))
    told = json.loads(cell.read_text())["detector"]["weights"]
    assert told["verified"] is False and told["file"] == "w2v_small.ckpt" and len(told["sha256"]) == 64
    table = pd.read_parquet(cell.with_name("scores.parquet"))
    assert len(table) == 4 and table["score"].nunique() == 4
    model, trial = detector(SMALL, synthetic), table.iloc[0]
    path = shared / "corpora" / "itw" / "release_in_the_wild" / f"{trial['trial']}.wav"
    wave = torch.from_numpy(audio.prepare(path, registry.detectors()[CARDS[SMALL]].audio).wave)
    with torch.inference_mode():
        assert float(model(wave[None], torch.tensor([len(wave)])).scores) == pytest.approx(trial["score"], abs=1e-4)
    shown = json.loads(bench("show", "--json", "--results", results))["cells"][0]
    assert shown["weights"] == "unverified"
    bench("report", "--results", results, "--out", tmp_path / "site")
    assert "unverified" in (tmp_path / "site" / "index.html").read_text()
