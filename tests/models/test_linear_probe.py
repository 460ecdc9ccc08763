"""The linear probe against transformers and numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from bench import weights
from bench.errors import UsageError
from bench.models import Output
from bench.models.linear_probe import LinearProbe
from bench.models.two_stage import TwoStageXLSR
from bench.models.wav2vec2 import Reading, architecture
from tests.models.steps import noise

TINY = {"layers": 2, "width": 32, "feed_forward": 48, "heads": 16, "conv_width": 16, "taps": 16, "groups": 4}
SAMPLES = 4000  # 12 frames


@pytest.fixture(scope="module")
def model() -> LinearProbe:
    torch.manual_seed(0)
    probe = LinearProbe(TINY)
    probe.backbone.initialise(0)
    return probe.eval()


@torch.inference_mode()
def scores(model: LinearProbe, wave: Tensor) -> Tensor:
    out: Output = model(wave, torch.full((len(wave),), wave.shape[1]))
    return out.scores


def test_the_score_is_a_difference_of_two_weighted_means(model: LinearProbe) -> None:
    """Transformers' last hidden state, its mean over time, one linear layer: bona fide minus spoof."""
    encoder = architecture(TINY).network()
    encoder.load_state_dict(model.backbone.state_dict())
    wave = noise(3, SAMPLES)
    with torch.inference_mode():
        hidden = encoder.train(False)(wave).last_hidden_state.double().numpy()
    weight, bias = (value.detach().double().numpy() for value in (model.linear.weight, model.linear.bias))
    logits = hidden.mean(1) @ weight.T + bias
    np.testing.assert_allclose(scores(model, wave), logits[:, 1] - logits[:, 0], rtol=0, atol=1e-5)


def test_batch_does_not_matter(model: LinearProbe) -> None:
    """A window scores alone as it does beside others."""
    wave = noise(4, SAMPLES)
    alone = torch.cat([scores(model, row[None]) for row in wave])
    torch.testing.assert_close(scores(model, wave), alone, rtol=0, atol=1e-5)
    assert len(set(alone.tolist())) == 4


def test_it_reads_what_two_stage_xlsr_reads(model: LinearProbe) -> None:
    """The last hidden state of one backbone, so that both share what is kept of it."""
    other = TwoStageXLSR(TINY)
    other.backbone.load_state_dict(model.backbone.state_dict(), assign=True)
    wave = noise(2, SAMPLES)
    with torch.inference_mode():
        (mine,), (theirs,) = ([reading(wave) for reading in each.readings] for each in (model, other))
    assert torch.equal(mine, theirs)
    assert model.readings == (Reading(model.backbone),)


def test_trained_weights_load_strictly(model: LinearProbe, tmp_path: Path) -> None:
    """What training writes makes the same scores again."""
    file = tmp_path / "model.safetensors"
    safetensors.torch.save_file({name: value.contiguous() for name, value in model.state_dict().items()}, file)
    again = LinearProbe(TINY)
    weights.load_into(again, weights.read(file), file)
    assert torch.equal(scores(again.eval(), noise(2, SAMPLES)), scores(model, noise(2, SAMPLES)))


def test_its_one_stage_trains_the_linear_layer(model: LinearProbe) -> None:
    """Another stage is refused: there is no fine-tuning of a probe."""
    assert model.trainable("head") == {"head": [model.linear]}
    with pytest.raises(UsageError, match=r"^no stage of LinearProbe is called 'whole'\n  remedy: known: head$"):
        model.trainable("whole")
