"""AntiDeepfake against transformers' encoder and a mean by hand, for whole files of any length."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model

from bench import audio
from bench.cards import AudioRecipe
from bench.models import Output
from bench.models.antideepfake import AntiDeepfake

TINY = {"layers": 2, "width": 32, "feed_forward": 48, "heads": 4, "conv_width": 16, "taps": 16, "groups": 4}
KINDS = ["layer norm", "group norm"]
Array = NDArray[np.float64]


def build(kind: str, seed: int = 0) -> AntiDeepfake:
    """HuBERT's kind of extractor has a layer norm a frame and no bias, the small wav2vec 2.0 a group norm and none."""
    model = AntiDeepfake({**TINY, "group_norm": kind == "group norm", "conv_bias": False})
    model.backbone.initialise(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
            if name.startswith("proj_fc"):
                value.copy_(0.3 * torch.randn(value.shape, generator=generator))
    return model.eval()


@pytest.fixture(scope="module")
def models() -> dict[str, AntiDeepfake]:
    return {kind: build(kind) for kind in KINDS}


def encoder_of(model: AntiDeepfake) -> Any:
    """Transformers' own model with the same weights."""
    group_norm = model.backbone.architecture.group_norm
    config: Any = {
        "num_hidden_layers": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "conv_dim": [16] * 7,
        "conv_bias": False,
        "feat_extract_norm": "group" if group_norm else "layer",
        "do_stable_layer_norm": not group_norm,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "attn_implementation": "eager",
    }
    encoder = Wav2Vec2Model(Wav2Vec2Config(**config))
    encoder.load_state_dict(model.backbone.state_dict(), strict=True)
    return encoder.train(False)


def files(lengths: Sequence[int], seed: int = 0) -> list[NDArray[np.float32]]:
    """Noise with a level and a colour of its own, normalised as the detector's cards say."""
    recipe = AudioRecipe(window="whole", epsilon=1e-5)
    made = []
    for row, length in enumerate(lengths):
        raw = np.random.default_rng(seed + row).normal(0.01, 0.1 * (row + 1), length)
        made.append(np.asarray(audio.fit_window(np.cumsum(raw).astype(np.float32), recipe)))
    return made


def stacked(waves: Sequence[NDArray[np.float32]], padding: int = 0) -> tuple[Tensor, Tensor]:
    wave = torch.zeros(len(waves), max(map(len, waves)) + padding)
    for row, samples in zip(wave, waves, strict=True):
        row[: len(samples)] = torch.from_numpy(samples)
    return wave, torch.tensor([len(samples) for samples in waves])


@torch.inference_mode()
def output(model: AntiDeepfake, waves: Sequence[NDArray[np.float32]], padding: int = 0) -> Output:
    out: Output = model(*stacked(waves, padding))
    return out


@torch.inference_mode()
def by_hand(model: AntiDeepfake, wave: NDArray[np.float32]) -> Array:
    """Fake and real logit (2,) of one file: last state, mean over its frames, one linear layer."""
    if len(wave) < 400:
        wave = np.concatenate([wave, np.zeros(400 - len(wave), np.float32)])
    hidden = encoder_of(model)(torch.from_numpy(wave)[None]).last_hidden_state[0].double().numpy()
    mean = np.zeros(32)
    for frame in hidden:
        mean += frame / len(hidden)
    weight, bias = model.proj_fc.weight.double().numpy(), model.proj_fc.bias.double().numpy()
    return np.array([sum(weight[row] * mean) + bias[row] for row in range(2)])


@pytest.mark.parametrize("kind", KINDS)
def test_the_score_is_the_real_logit_minus_the_fake_one(kind: str, models: dict[str, AntiDeepfake]) -> None:
    """Of a linear layer on the mean of the last hidden state, within 1e-5, with both logits beside it."""
    waves = files([16_000, 9_999, 400, 48_123])
    out = output(models[kind], waves)
    assert list(out.extras) == ["logit_fake", "logit_real"]
    for row, wave in enumerate(waves):
        fake, real = by_hand(models[kind], wave)
        assert float(out.extras["logit_fake"][row]) == pytest.approx(fake, abs=1e-5)
        assert float(out.extras["logit_real"][row]) == pytest.approx(real, abs=1e-5)
        assert float(out.scores[row]) == pytest.approx(real - fake, abs=1e-5)
    assert len(set(out.scores.tolist())) == 4 and out.scores.shape == (4,)


@pytest.mark.parametrize("kind", KINDS)
@given(lengths=st.lists(st.one_of(st.integers(1, 1200), st.integers(1, 9000)), min_size=2, max_size=4), data=st.data())
@settings(deadline=None, max_examples=25)
def test_a_file_scores_as_it_does_alone(
    kind: str, models: dict[str, AntiDeepfake], lengths: list[int], data: st.DataObject
) -> None:
    """Whatever is in its batch and however far it is padded, within 1e-5; files of one length included.

    In double precision, as files of a few samples, which no norm can do much with, cost float32 more than that.
    """
    model = copy.deepcopy(models[kind])
    model.backbone.double()
    lengths = [*lengths, data.draw(st.sampled_from(lengths))]
    waves = files(lengths)
    together = output(model, waves, padding=data.draw(st.integers(0, 700))).scores
    alone = torch.cat([output(model, [wave]).scores for wave in waves])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 2, 200, 398, 399])
def test_a_file_shorter_than_a_frame_is_filled_with_zeros(
    kind: str, length: int, models: dict[str, AntiDeepfake]
) -> None:
    """Up to 400 samples, alone and beside a longer one, and it has a score."""
    short, other = files([length, 5000])
    fake, real = by_hand(models[kind], short)
    alone, beside = output(models[kind], [short]), output(models[kind], [other, short])
    assert float(alone.scores[0]) == pytest.approx(real - fake, abs=1e-5)
    assert float(beside.scores[1]) == pytest.approx(real - fake, abs=1e-5)
    filled = np.concatenate([short, np.zeros(400 - length, np.float32)])
    assert torch.equal(output(models[kind], [filled]).scores, alone.scores)


def test_the_mistakes_that_are_easily_made_change_the_score(models: dict[str, AntiDeepfake]) -> None:
    """The state before the last norm, the other class, 4 s of a longer file, a mean over padding, the raw file."""
    model = models["layer norm"]
    waves = files([80_000, 70_000])
    score = float(output(model, waves[1:]).scores[0])
    with torch.inference_mode():
        wave, lengths = stacked(waves)
        *_, last = model.backbone.blocks(wave[1:, :70_000])
        unnormed = model.proj_fc(last.mean(1))[0]
        padded = model.proj_fc(model.backbone(wave)[0].mean(1))[1]
        raw = model(wave * 0.05, lengths).scores
    mistakes = {
        "norm": float(unnormed[1] - unnormed[0]),
        "class": -score,
        "cut": float(output(model, [waves[1][:64_600]]).scores[0]),
        "padding": float(padded[1] - padded[0]),
        "raw": float(raw[1]),
    }
    for name, value in mistakes.items():
        assert abs(value - score) > 1e-4, name


def test_padding_would_change_the_score_of_a_group_norm_model(models: dict[str, AntiDeepfake]) -> None:
    """It normalises over time, so a padded file would be another one: the reason for one length at a time."""
    model = models["group norm"]
    (wave,) = files([6000])
    right = float(output(model, [wave], padding=3000).scores[0])
    assert right == pytest.approx(float(output(model, [wave]).scores[0]), abs=1e-6)
    with torch.inference_mode():
        padded, _ = stacked([wave], padding=3000)
        hidden, _ = model.backbone(padded)
        frames = (6000 - 400) // 320 + 1
        wrong = model.proj_fc(hidden[:, :frames].mean(1))[0]
    assert abs(float(wrong[1] - wrong[0]) - right) > 1e-3


def test_the_score_is_not_saturated(models: dict[str, AntiDeepfake]) -> None:
    """Where the probability is 1 in float32 for all, scores still differ."""
    model = build("layer norm")
    with torch.no_grad():
        model.proj_fc.weight.mul_(0.1)
        model.proj_fc.bias.copy_(torch.tensor([-20.0, 20.0]))
    out = output(model, files([3000, 4000, 5000]))
    logits = torch.stack([out.extras["logit_fake"], out.extras["logit_real"]], dim=1)
    assert (torch.softmax(logits, dim=1)[:, 1] == 1).all()
    assert len(set(out.scores.tolist())) == 3


def test_digital_silence_has_a_score(models: dict[str, AntiDeepfake]) -> None:
    """Zeros, normalised, stay zeros; alone and beside noise, within 1e-5."""
    for model in models.values():
        waves = [np.zeros(3000, np.float32), *files([5000])]
        found = output(model, waves).scores
        assert found.isfinite().all()
        torch.testing.assert_close(found[:1], output(model, waves[:1]).scores, rtol=0, atol=1e-5)


def test_names_and_shapes_of_the_head() -> None:
    """Those of the released checkpoints, two rows of the width of the model."""
    with torch.device("meta"):
        model = AntiDeepfake("wav2vec2-base")
    head = {name: tuple(value.shape) for name, value in model.state_dict().items() if "backbone." not in name}
    assert head == {"proj_fc.weight": (2, 768), "proj_fc.bias": (2,)}
