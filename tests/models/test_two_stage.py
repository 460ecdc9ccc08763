"""Two-stage XLS-R against transformers and numpy, with checkpoints named as the notebook names them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import Wav2Vec2Model

from bench import registry, weights
from bench.cards import AudioRecipe
from bench.errors import WeightsError
from bench.models import Output
from bench.models.two_stage import TwoStageXLSR
from bench.models.wav2vec2 import architecture
from bench.scorer import Scorer, build_model

Array = NDArray[np.float64]
TINY = {"layers": 2, "width": 32, "feed_forward": 64, "heads": 16, "conv_width": 16, "taps": 16, "groups": 4}
SAMPLES = 4000  # 12 frames
CARDS = ("two-stage-xlsr", "two-stage-xlsr-frozen")
WINDOW = AudioRecipe(window="pad", samples=SAMPLES, epsilon=1e-7)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def build(**changes: int) -> TwoStageXLSR:
    model = TwoStageXLSR({**TINY, **changes})
    model.backbone.initialise(0)
    return model.eval()


def scores(model: nn.Module, wave: Tensor) -> Tensor:
    with torch.inference_mode():
        out = model(wave, torch.full((len(wave),), wave.shape[1]))
    assert isinstance(out, Output)
    return out.scores


@pytest.fixture(scope="module")
def encoder() -> Wav2Vec2Model:
    """A tiny XLS-R as the hub has it, every tensor away from where it starts."""
    model = architecture(TINY).network()
    for index, value in enumerate(model.state_dict().values()):
        value.add_(0.1 * noise(*value.shape, seed=index))
    model.train(False)
    return model


HEAD = {
    "attention_weights_layer.0.weight": (128, 32),
    "attention_weights_layer.0.bias": (128,),
    "attention_weights_layer.2.weight": (1, 128),
    "attention_weights_layer.2.bias": (1,),
    "classifier.0.weight": (256, 32),
    "classifier.0.bias": (256,),
    "classifier.3.weight": (2, 256),
    "classifier.3.bias": (2,),
}


@pytest.fixture(scope="module")
def checkpoint(encoder: Wav2Vec2Model) -> dict[str, Tensor]:
    """A state dict as the notebook saves it."""
    head = {name: 0.3 * noise(*shape, seed=100 + index) for index, (name, shape) in enumerate(HEAD.items())}
    return {**{f"xlsr.{name}": value for name, value in encoder.state_dict().items()}, **head}


def saved(path: Path, state: Mapping[str, Tensor]) -> Path:
    torch.save(dict(state), path)
    return path


def scorer(path: Path) -> nn.Module:
    card = registry.detectors()["two-stage-xlsr"]
    return Scorer("tiny", card.model, {}, WINDOW, path).build(torch.device("cpu"))


def affine(state: Mapping[str, Tensor], layer: str, x: Array) -> Array:
    out: Array = x @ state[f"{layer}.weight"].double().numpy().T + state[f"{layer}.bias"].double().numpy()
    return out


def expected_logits(encoder: Wav2Vec2Model, state: Mapping[str, Tensor], wave: Tensor) -> Array:
    """Columns spoof, bona fide: the notebook's layers in numpy behind transformers' encoder."""
    with torch.inference_mode():
        hidden = encoder(wave).last_hidden_state.double().numpy()
    attention = affine(state, "attention_weights_layer.2", np.tanh(affine(state, "attention_weights_layer.0", hidden)))
    share = np.exp(attention) / np.exp(attention).sum(1, keepdims=True)
    pooled = (share * hidden).sum(1)
    return affine(state, "classifier.3", np.maximum(affine(state, "classifier.0", pooled), 0))


# Scores and checkpoints


@pytest.mark.parametrize("old_weight_norm", [False, True])
def test_checkpoint_of_the_notebook(
    encoder: Wav2Vec2Model, checkpoint: dict[str, Tensor], tmp_path: Path, old_weight_norm: bool
) -> None:
    """It loads strictly, written by new or old transformers; a score is the logit of bona fide minus that of spoof."""
    state = checkpoint
    if old_weight_norm:
        names = (("parametrizations.weight.original0", "weight_g"), ("parametrizations.weight.original1", "weight_v"))
        for new, old in names:
            state = {name.replace(new, old): value for name, value in state.items()}
        assert state.keys() != checkpoint.keys()
    model = scorer(saved(tmp_path / "wav2vec2_deepfake_best.pt", state))
    wave = noise(3, SAMPLES)
    logits = expected_logits(encoder, checkpoint, wave)
    np.testing.assert_allclose(scores(model, wave), logits[:, 1] - logits[:, 0], rtol=0, atol=2e-5)


def test_checkpoint_that_does_not_fit(checkpoint: dict[str, Tensor], tmp_path: Path) -> None:
    """A missing and an unknown tensor are told by the names in the file; so is a checkpoint of another family."""
    wrong = {name: value for name, value in checkpoint.items() if name != "attention_weights_layer.2.bias"}
    wrong["classifier.4.bias"] = torch.zeros(2)
    problem = r"1 tensors missing \(attention_weights_layer\.2\.bias\); 1 tensors unknown \(classifier\.4\.bias\)"
    with pytest.raises(WeightsError, match=problem):
        scorer(saved(tmp_path / "wrong.pt", wrong))
    wrong = {name: value for name, value in checkpoint.items() if "layers.1.attention.k_proj.bias" not in name}
    with pytest.raises(WeightsError, match=r"1 tensors missing \(xlsr\.encoder\.layers\.1\.attention\.k_proj\.bias\)"):
        scorer(saved(tmp_path / "wrong.pt", wrong))
    head = {name: value for name, value in checkpoint.items() if name in HEAD}
    with pytest.raises(WeightsError, match=r"no wav2vec 2\.0 or HuBERT encoder in it"):
        scorer(saved(tmp_path / "head.pt", head))


def test_trained_weights_load_strictly(tmp_path: Path) -> None:
    """What training writes, under the model's own names, makes the same scores again."""
    model = build()
    path = saved(tmp_path / "model.pt", model.state_dict())
    again = TwoStageXLSR(TINY)
    weights.load_into(again, weights.read(path), path)
    assert torch.equal(scores(again.eval(), noise(2, SAMPLES)), scores(model, noise(2, SAMPLES)))


def test_zeros_behind_a_short_file_are_heard() -> None:
    """As in the notebook no mask is passed: a padded file scores as one that ends in silence, not as without it."""
    model, wave = build(), noise(1, SAMPLES)
    wave[:, 2000:] = 0
    with torch.inference_mode():
        padded = model(wave, torch.tensor([2000])).scores
    assert torch.equal(padded, scores(model, wave))
    assert (padded - scores(model, wave[:, :2000])).abs().item() > 1e-4


def test_batch_does_not_matter() -> None:
    """A window scores alone as it does beside others."""
    model, wave = build(), noise(5, SAMPLES)
    alone = torch.cat([scores(model, row[None]) for row in wave])
    torch.testing.assert_close(scores(model, wave), alone, rtol=0, atol=1e-5)
    assert len(set(alone.tolist())) == 5


def test_confident_trials_keep_their_order() -> None:
    """Where the softmax of the logits is 1 for all of them, scores are as many as trials, and always float32."""
    model, wave = build(), noise(8, SAMPLES)
    last = model.classifier[-1]
    assert isinstance(last, nn.Linear) and last.bias is not None
    with torch.no_grad():
        last.weight.mul_(20)
        last.bias.copy_(torch.tensor([-100.0, 100.0]))
        logits = model.logits(*(reading(wave) for reading in model.readings))
    assert set(torch.softmax(logits, dim=1)[:, 1].tolist()) == {1.0}
    assert len(set(scores(model, wave).tolist())) == 8
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert model(wave, torch.full((8,), SAMPLES)).scores.dtype == torch.float32


# Training


def test_stages_train_the_head_and_then_the_top_eight_blocks_with_it() -> None:
    """Pooling and classifier; then blocks 2 to 9 of ten beside them, neither the blocks below nor the final norm."""
    model = build(layers=10)
    names = {id(value): name for name, value in model.named_parameters()}
    trained = {
        stage: {names[id(value)] for modules in groups.values() for module in modules for value in module.parameters()}
        for stage, groups in ((stage, model.trainable(stage)) for stage in model.stages)
    }
    top = tuple(f"backbone.encoder.layers.{block}." for block in range(2, 10))
    blocks = {name for name in model.state_dict() if name.startswith(top)}
    assert len(blocks) == 8 * 16
    assert trained == {"head": set(HEAD), "fine-tuning": set(HEAD) | blocks}


def test_frozen_features_are_those_of_evaluation() -> None:
    """In training mode the backbone drops, skips and masks nothing; only the dropout of the head is at work."""
    model, wave = build(), noise(2, SAMPLES)
    (reading,) = model.readings
    with torch.inference_mode():
        quiet = reading(wave)
        model.train()
        busy = reading(wave)
        assert torch.equal(busy, quiet)
        assert not torch.equal(model.logits(busy), model.logits(busy))
    assert [module.p for module in model.classifier.modules() if isinstance(module, nn.Dropout)] == [0.1]


# Cards


@pytest.mark.parametrize("name", CARDS)
def test_size_of_the_cards(name: str) -> None:
    """315,438,720 in the encoder, 131,329 in the pooling, 262,914 in the head; 394,243 and 101,164,035 are trained."""
    card = registry.detectors()[name]
    with torch.device("meta"), torch.inference_mode():
        model = build_model(card.model, card.arguments, name)
        assert isinstance(model, TwoStageXLSR)
        assert model.eval()(torch.empty(2, 80_000), torch.full((2,), 80_000)).scores.shape == (2,)

    def count(*modules: nn.Module) -> int:
        return sum(value.numel() for module in modules for value in module.parameters())

    parts = [count(part) for part in (model.backbone, model.attention_weights_layer, model.classifier)]
    assert parts == [315_438_720, 131_329, 262_914]
    assert len(model.backbone.state_dict()) == 422
    assert card.parameters == sum(parts)
    trained = [
        count(*(module for group in model.trainable(stage).values() for module in group)) for stage in model.stages
    ]
    assert trained == [394_243, 101_164_035]


@pytest.mark.parametrize("name", CARDS)
def test_recipe_of_a_card_is_one_the_model_can_follow(name: str) -> None:
    """Its stages are the model's, with a learning rate a group and the loss's option; it starts from XLS-R."""
    card = registry.detectors()[name]
    assert card.recipe is not None
    model, stages = build(), card.recipe.stages
    for stage, about in stages.items():
        assert about.learning_rate.keys() == model.trainable(stage).keys()
        assert about.loss == {"class_weights": "balanced"}
    assert tuple(stages) == (model.stages if name == "two-stage-xlsr" else model.stages[:1])
    assert [model.get_submodule(part) for part in card.recipe.start] == [model.backbone]
    assert (card.audio.window, card.audio.samples, card.audio.epsilon) == ("pad", 80_000, 1e-7)


def test_the_frozen_baseline_is_the_first_stage() -> None:
    """Both cards have one and the same first stage, architecture, audio and start."""
    whole, frozen = (registry.detectors()[name] for name in CARDS)
    assert whole.recipe is not None and frozen.recipe is not None
    assert whole.recipe.stages["head"] == frozen.recipe.stages["head"]
    same = ("train", "dev", "seed", "start")
    assert [getattr(whole.recipe, field) for field in same] == [getattr(frozen.recipe, field) for field in same]
    assert (whole.model, whole.arguments, whole.audio) == (frozen.model, frozen.arguments, frozen.audio)
