"""The backbone against transformers' own models, and under every name that checkpoints give to its tensors."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    HubertConfig,
    HubertForCTC,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
    Wav2Vec2ForPreTraining,
    Wav2Vec2ForSequenceClassification,
    Wav2Vec2Model,
)

from bench import weights
from bench.errors import CardError, WeightsError
from bench.models.antideepfake import AntiDeepfake
from bench.models.sls import SLS
from bench.models.ssl_aasist import SSLAASIST
from bench.models.wav2vec2 import SIZES, Architecture, Backbone, BackboneNames, Naming, architecture, infer

# 16 heads, because that is what a checkpoint of this width is taken to have.
TINY: Mapping[str, Any] = {
    "layers": 3,
    "width": 32,
    "feed_forward": 48,
    "heads": 16,
    "conv_width": 16,
    "taps": 16,
    "groups": 4,
}
UNBUILT = Backbone(TINY)  # without values, so that shapes cost nothing
KINDS = [(norm, bias) for norm in (False, True) for bias in (False, True)]


def settings_of(group_norm: bool = False, conv_bias: bool = True) -> dict[str, Any]:
    """The tiny architecture in the words of transformers."""
    return {
        "num_hidden_layers": 3,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 16,
        "conv_dim": [16] * 7,
        "conv_bias": conv_bias,
        "feat_extract_norm": "group" if group_norm else "layer",
        "do_stable_layer_norm": not group_norm,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "attn_implementation": "eager",
        "codevector_dim": 8,
        "proj_codevector_dim": 8,
    }


def randomised(model: nn.Module, seed: int = 0) -> Any:
    """No tensor, of a norm or otherwise, where it starts; evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def published(group_norm: bool = False, conv_bias: bool = True, seed: int = 0) -> Any:
    return randomised(Wav2Vec2Model(Wav2Vec2Config(**settings_of(group_norm, conv_bias))), seed)


def ours(state: Mapping[str, Tensor], layers: int | None = None, **changes: Any) -> Backbone:
    backbone = Backbone({**TINY, **changes}, layers)
    backbone.load_state_dict({key: state[key] for key in backbone.state_dict()}, assign=True)
    return backbone.eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def calls(backbone: Backbone) -> list[int]:
    """Numbers of the blocks that are run from here on, in order."""
    seen: list[int] = []
    for number, layer in enumerate(backbone.encoder.layers):
        layer.register_forward_hook(lambda *_, number=number: seen.append(number))
    return seen


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("group_norm", "conv_bias"), KINDS)
@pytest.mark.parametrize("kind", ["wav2vec2", "hubert"])
@torch.inference_mode()
def test_blocks_and_last_state_are_those_of_transformers(kind: str, group_norm: bool, conv_bias: bool) -> None:
    """Of its wav2vec 2.0 and its HuBERT, in both kinds of extractor, every block and the end, within 1e-5."""
    options = settings_of(group_norm, conv_bias)
    if kind == "hubert":
        del options["codevector_dim"], options["proj_codevector_dim"]
        reference: Any = randomised(HubertModel(HubertConfig(**options)))
    else:
        reference = published(group_norm, conv_bias)
    expected: list[Tensor] = []
    for layer in reference.encoder.layers:
        layer.register_forward_hook(lambda _, __, out: expected.append(out[0] if isinstance(out, tuple) else out))
    wave = 0.3 * noise(2, 6000)
    end = reference(wave).last_hidden_state

    backbone = ours(reference.state_dict(), group_norm=group_norm, conv_bias=conv_bias)
    blocks = list(backbone.blocks(wave))
    assert len(blocks) == 3
    for block, wanted in zip(blocks, expected, strict=True):
        torch.testing.assert_close(block, wanted, rtol=1e-5, atol=1e-5)
    final, real = backbone(wave)
    torch.testing.assert_close(final, end, rtol=1e-5, atol=1e-5)
    assert real.shape == final.shape[:2] and real.all()
    if group_norm:
        assert torch.equal(final, blocks[-1])
    else:  # the last block is given before the norm, the last state behind it
        norm = reference.encoder.layer_norm
        centred = blocks[-1] - blocks[-1].mean(-1, keepdim=True)
        normed = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight + norm.bias
        torch.testing.assert_close(final, normed, rtol=1e-5, atol=1e-5)
        assert (final - blocks[-1]).abs().max() > 0.1


def differences(backbone: Backbone, lengths: list[int]) -> list[float]:
    """Of every block and of the end, the largest between rows of one masked batch and the rows alone."""
    wave = torch.zeros(len(lengths), max(lengths), dtype=backbone.encoder.layer_norm.weight.dtype)
    for row, length in enumerate(lengths):
        wave[row, :length] = 0.3 * noise(length, seed=row)
    final, real = backbone(wave, torch.tensor(lengths))
    together = [*backbone.blocks(wave, torch.tensor(lengths)), final]
    found = []
    for row, length in enumerate(lengths):
        frames = (length - 400) // 320 + 1
        assert real[row].tolist() == [True] * frames + [False] * (real.shape[1] - frames)
        end, everything = backbone(wave[row : row + 1, :length])
        assert everything.shape == (1, frames)
        alone = [*backbone.blocks(wave[row : row + 1, :length]), end]
        found += [float((a[row, :frames] - b[0]).abs().max()) for a, b in zip(together, alone, strict=True)]
    return found


@given(samples=st.lists(st.integers(400, 3000), min_size=1, max_size=4), step=st.integers(0, 2))
@settings(deadline=None, max_examples=40)
@torch.inference_mode()
def test_a_row_of_a_masked_batch_is_the_row_alone(samples: list[int], step: int) -> None:
    """For lengths that differ by nothing, by less than a hop or by much, within 1e-6 where rounding is none."""
    lengths = [samples[0] + (length - 400) // 10**step for length in samples]
    assert max(differences(ours(published().state_dict()).double(), lengths)) < 1e-6


@torch.inference_mode()
def test_a_row_of_a_masked_batch_is_the_row_alone_in_float32() -> None:
    """Within 1e-5, from one frame to a second."""
    backbone = ours(published().state_dict())
    assert max(differences(backbone, [16_000, 15_999, 15_679, 5000, 720, 719, 400])) < 1e-5


@torch.inference_mode()
def test_the_mask_is_that_of_transformers() -> None:
    """A batch with an attention mask gives the same real frames there, within 1e-5; without one it would not."""
    reference, lengths = published(), torch.tensor([5000, 1900, 400])
    wave = 0.3 * noise(3, 5000) * (torch.arange(5000) < lengths[:, None])
    expected = reference(wave, attention_mask=(torch.arange(5000) < lengths[:, None]).long()).last_hidden_state
    backbone = ours(reference.state_dict())
    final, real = backbone(wave, lengths)
    torch.testing.assert_close(final[real], expected[real], rtol=0, atol=1e-5)
    assert (backbone(wave)[0] - expected)[1:][real[1:]].abs().max() > 1e-3


@torch.inference_mode()
def test_an_extractor_that_normalises_over_time_takes_no_padding() -> None:
    """Unequal lengths are refused; lengths that fill the batch are the same as none."""
    backbone = ours(published(True, False).state_dict(), group_norm=True, conv_bias=False)
    wave = noise(2, 2000)
    with pytest.raises(ValueError, match="normalises over time: rows of one batch must have equal lengths"):
        backbone(wave, torch.tensor([2000, 1999]))
    assert torch.equal(backbone(wave, torch.tensor([2000, 2000]))[0], backbone(wave)[0])


@given(samples=st.integers(400, 40_000))
@settings(deadline=None, max_examples=60)
@torch.inference_mode()
def test_frames_are_counted_as_the_extractor_makes_them(samples: int) -> None:
    """T = (N - 400) // 320 + 1, as lengths inside a longer batch too, fewer than 400 samples being one frame."""
    made = UNBUILT.feature_extractor(torch.zeros(1, samples, device="meta")).shape[2]
    assert made == (samples - 400) // 320 + 1
    real = UNBUILT.frames(200, torch.zeros(3, 50_000), torch.tensor([samples, 399, 1]))
    assert real.sum(1).tolist() == [made, 1, 1]
    assert real[0, :made].all()


@pytest.mark.parametrize(("samples", "frames"), [(400, 1), (719, 1), (720, 2), (64_600, 201), (80_000, 249)])
def test_windows_have_the_frames_of_their_papers(samples: int, frames: int) -> None:
    """201 of 64,600 samples, 249 of 5 s, and a further frame with each further hop."""
    hidden, real = UNBUILT(torch.zeros(1, samples, device="meta"))
    assert hidden.shape == (1, frames, 32) and real.shape == (1, frames)


@pytest.mark.parametrize("count", [1, 2])
@torch.inference_mode()
def test_only_the_blocks_that_are_wanted_are_built_and_run(count: int) -> None:
    """Of three blocks the first ones: their outputs are those of the whole model, and there are no others."""
    state, wave = published().state_dict(), noise(1, 3000)
    whole, part = ours(state), ours(state, layers=count)
    assert len(part.encoder.layers) == part.architecture.layers == count
    left = [key for key in state if any(f"encoder.layers.{number}." in key for number in range(count, 3))]
    assert part.state_dict().keys() == state.keys() - left and len(left) == 16 * (3 - count)
    run = calls(part)
    blocks = list(part.blocks(wave))
    assert run == list(range(count))
    for block, wanted in zip(blocks, whole.blocks(wave), strict=False):
        assert torch.equal(block, wanted)
    assert torch.equal(part(wave)[0], whole.encoder.layer_norm(blocks[-1]))


@torch.inference_mode()
def test_a_block_is_run_when_it_is_asked_for() -> None:
    """Who stops after two of three blocks does not pay for the third, and who wants the end pays for each once."""
    backbone = ours(published().state_dict())
    run = calls(backbone)
    blocks = backbone.blocks(noise(1, 1000))
    next(blocks), next(blocks)
    assert run == [0, 1]
    backbone(noise(1, 1000))
    assert run == [0, 1, 0, 1, 2]


def test_attention_is_the_fused_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's scaled dot product is called once a block, with the mask when there is one."""
    real, masks = functional.scaled_dot_product_attention, []

    def note(*arguments: Any, **options: Any) -> Tensor:
        masks.append(options.get("attn_mask") is not None)
        return real(*arguments, **options)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", note)
    backbone = ours(published().state_dict())
    backbone(noise(2, 1000))
    assert masks == [False] * 3
    backbone(noise(2, 1000), torch.tensor([1000, 500]))
    assert masks[3:] == [True] * 3
    assert backbone.encoder.config._attn_implementation == "sdpa"


# --- weights --------------------------------------------------------------------------------------------------------


class Bare(BackboneNames, nn.Module):
    """A backbone, all of it or its first blocks, and one layer of its own."""

    def __init__(self, backbone: str | Mapping[str, Any], layers: int | None = None) -> None:
        super().__init__()
        self.backbone = Backbone(backbone, layers)
        self.head = nn.Linear(self.backbone.architecture.width, 1)

    def forward(self, wave: Tensor, lengths: Tensor | None = None) -> Tensor:
        hidden, real = self.backbone(wave, lengths)
        scores: Tensor = (self.head(hidden)[..., 0] * real).sum(1)
        return scores


HEAD = {"head.weight": noise(1, 32), "head.bias": noise(1)}
EXTRAS = {
    "quantizer.vars": torch.ones(1, 6, 4),
    "quantizer.weight_proj.weight": torch.ones(6, 16),
    "quantizer.weight_proj.bias": torch.ones(6),
    "project_q.weight": torch.ones(8, 8),
    "project_q.bias": torch.ones(8),
    "final_proj.weight": torch.ones(8, 32),
    "final_proj.bias": torch.ones(8),
    "label_embs_concat": torch.ones(5, 8),
}


def fairseq_names(layers: int, group_norm: bool) -> dict[str, str]:
    """Transformers' name -> fairseq's, one by one."""
    convolution = "encoder.pos_conv_embed.conv"
    names = {
        "masked_spec_embed": "mask_emb",
        f"{convolution}.bias": "encoder.pos_conv.0.bias",
        f"{convolution}.parametrizations.weight.original0": "encoder.pos_conv.0.weight_g",
        f"{convolution}.parametrizations.weight.original1": "encoder.pos_conv.0.weight_v",
    }
    for kind in ("weight", "bias"):
        names[f"feature_projection.layer_norm.{kind}"] = f"layer_norm.{kind}"
        names[f"feature_projection.projection.{kind}"] = f"post_extract_proj.{kind}"
        names[f"encoder.layer_norm.{kind}"] = f"encoder.layer_norm.{kind}"
        for number in range(7):
            layer = f"feature_extractor.conv_layers.{number}"
            names[f"{layer}.conv.{kind}"] = f"{layer}.0.{kind}"
            names[f"{layer}.layer_norm.{kind}"] = f"{layer}.2.{kind}" if group_norm else f"{layer}.2.1.{kind}"
        for number in range(layers):
            layer = f"encoder.layers.{number}"
            for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
                names[f"{layer}.attention.{part}.{kind}"] = f"{layer}.self_attn.{part}.{kind}"
            names[f"{layer}.layer_norm.{kind}"] = f"{layer}.self_attn_layer_norm.{kind}"
            names[f"{layer}.feed_forward.intermediate_dense.{kind}"] = f"{layer}.fc1.{kind}"
            names[f"{layer}.feed_forward.output_dense.{kind}"] = f"{layer}.fc2.{kind}"
            names[f"{layer}.final_layer_norm.{kind}"] = f"{layer}.final_layer_norm.{kind}"
    return names


def renamed(state: Mapping[str, Tensor], naming: str, prefix: str = "", group_norm: bool = False) -> dict[str, Tensor]:
    """Tensors of a backbone as a checkpoint calls them: naming fairseq, or transformers with `old` or `new` norm."""
    if naming == "fairseq":
        names = fairseq_names(4, group_norm)
        return {prefix + names[key]: value for key, value in state.items()}
    if naming == "old":
        change = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        for new, old in change.items():
            state = {key.replace(new, old): value for key, value in state.items()}
    return {prefix + key: value for key, value in state.items()}


def loaded(path: Path, tensors: Mapping[str, Tensor], layers: int | None = None, **changes: Any) -> Bare:
    """Written to a file, read, loaded strictly into an architecture that is known."""
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(dict(tensors), path)
    else:
        torch.save(dict(tensors), path)
    model = Bare({**TINY, **changes}, layers)
    weights.load_into(model, weights.read(path), path)
    return model.eval()


def refused(path: Path, tensors: Mapping[str, Tensor], layers: int | None = None, **changes: Any) -> str:
    with pytest.raises(WeightsError) as caught:
        loaded(path, tensors, layers, **changes)
    return caught.value.what


@pytest.mark.parametrize("group_norm", [False, True])
@pytest.mark.parametrize(
    ("naming", "prefix", "wrapper"),
    [
        ("fairseq", "ssl_model.model.", "module."),
        ("fairseq", "m_ssl.model.", ""),
        ("fairseq", "", ""),
        ("fairseq", "model.", "_orig_mod."),
        ("new", "wav2vec2.", ""),
        ("old", "wav2vec2.", "module."),
        ("new", "hubert.", ""),
        ("old", "hubert.", ""),
        ("old", "xlsr.", ""),
        ("new", "", ""),
        ("old", "", "model."),
        ("new", "backbone.", ""),
    ],
)
@torch.inference_mode()
def test_one_backbone_under_many_names(
    tmp_path: Path, naming: str, prefix: str, wrapper: str, group_norm: bool
) -> None:
    """What pre-training left behind the prefix is left out, all else is loaded, and the scores are the same."""
    reference = published(group_norm, not group_norm)
    file = renamed(reference.state_dict(), naming, prefix, group_norm) | HEAD
    if prefix != "backbone.":  # the harness writes no such thing
        file |= {prefix + key: value for key, value in EXTRAS.items()}
    model = loaded(
        tmp_path / ("a.pt" if naming == "fairseq" else "a.safetensors"),
        {wrapper + key: value for key, value in file.items()},
        group_norm=group_norm,
        conv_bias=not group_norm,
    )
    for key, value in reference.state_dict().items():
        assert torch.equal(model.state_dict()[f"backbone.{key}"], value), key
    wave = noise(2, 1500)
    expected = functional.linear(reference(wave).last_hidden_state, HEAD["head.weight"], HEAD["head.bias"]).sum((1, 2))
    torch.testing.assert_close(model(wave), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "kind", [Wav2Vec2ForPreTraining, Wav2Vec2ForCTC, Wav2Vec2ForSequenceClassification, HubertForCTC]
)
def test_a_bare_backbone_loads_from_what_transformers_writes(tmp_path: Path, kind: Any) -> None:
    """Quantizer and projections of pre-training, the output layers of recognisers and classifiers are left out; what
    no such model has is refused, and so is a file that lacks a tensor of the encoder."""
    options = settings_of()
    if kind is HubertForCTC:
        del options["codevector_dim"], options["proj_codevector_dim"]
    model = randomised(kind((HubertConfig if kind is HubertForCTC else Wav2Vec2Config)(**options)))
    encoder = model.hubert if kind is HubertForCTC else model.wav2vec2
    safetensors.torch.save_file(model.state_dict(), tmp_path / "model.safetensors")
    tensors, path = weights.read(tmp_path / "model.safetensors"), tmp_path / "model.safetensors"
    assert len(tensors) > len(encoder.state_dict())
    backbone = Backbone(TINY)
    weights.load_into(backbone, tensors, path)
    assert all(torch.equal(value, encoder.state_dict()[key]) for key, value in backbone.state_dict().items())

    name = f"{'hubert' if kind is HubertForCTC else 'wav2vec2'}.encoder.layers.1.layer_norm.bias"
    with pytest.raises(WeightsError, match=f"1 tensors missing \\({name}\\)"):
        weights.load_into(Backbone(TINY), {key: value for key, value in tensors.items() if key != name}, path)
    with pytest.raises(WeightsError, match=r"1 tensors unknown \(decoder.weight\)"):
        weights.load_into(Backbone(TINY), {**tensors, "decoder.weight": torch.ones(1)}, path)


def test_a_bare_backbone_leaves_out_blocks_of_its_own_only() -> None:
    """What is called like a block and lies beside the encoder is unknown, as anything else there."""
    tensors = renamed(published().state_dict(), "new", "wav2vec2.") | {"encoder.layers.7.weight": torch.ones(1)}
    with pytest.raises(WeightsError, match=r"1 tensors unknown \(encoder\.layers\.7\.weight\)"):
        weights.load_into(Backbone(TINY), tensors, Path("a.pt"))


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [
        (SLS, "module.ssl_model.model."),
        (SSLAASIST, "ssl_model.model."),
        (SSLAASIST, "module.ssl_model.model."),
        (AntiDeepfake, "m_ssl.model."),
    ],
)
def test_checkpoints_of_the_authors_fill_their_detector(tmp_path: Path, kind: Any, prefix: str) -> None:
    """Every tensor arrives where it belongs, head and backbone, and pre-training is left out."""
    source, other = kind(TINY), kind(TINY)
    for model in (source, other):
        model.backbone.initialise(0)
    randomised(source)
    state = {key.removeprefix("backbone."): value for key, value in source.state_dict().items() if "backbone." in key}
    wrapper = "module." if prefix.startswith("module.") else ""
    file = renamed(state, "fairseq", prefix) | {prefix + key: value for key, value in EXTRAS.items()}
    file |= {wrapper + key: value for key, value in source.state_dict().items() if not key.startswith("backbone.")}
    torch.save(file, tmp_path / "a.pth")
    tensors = weights.read(tmp_path / "a.pth")
    weights.load_into(other, tensors, tmp_path / "a.pth")
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in other.state_dict().items())
    assert kind.infer(tensors) == {"backbone": asdict(architecture(TINY))}


@pytest.mark.parametrize(("naming", "prefix"), [("fairseq", "m_ssl.model."), ("new", "wav2vec2."), ("old", "")])
def test_every_single_tensor_must_be_there_and_fit(naming: str, prefix: str) -> None:
    """Whichever is left out or of another shape, the file is refused by the name that it has in the file."""
    file, model, path = renamed(published().state_dict(), naming, prefix) | HEAD, Bare(TINY), Path("a.pt")

    def complaint(tensors: Mapping[str, Tensor]) -> str:
        with pytest.raises(WeightsError) as caught:
            weights.load_into(model, tensors, path)
        assert caught.value.where == "a.pt"
        return caught.value.what.removeprefix("these are not weights of this architecture: ")

    # By these the naming is told: without them the complaint is of another kind, see the next test.
    marks = ("post_extract_proj.weight", "feature_projection.projection.weight", "conv_layers.1.2.1.weight", "weight_g")
    for name in file:
        if not name.endswith(marks):
            rest = {key: value for key, value in file.items() if key != name}
            assert complaint(rest) == f"1 tensors missing ({name})"
        broken = file | {name: torch.ones(*file[name].shape, 2)}
        assert complaint(broken) == f"1 tensors of another shape ({name})"
    strangers = [f"{prefix}encoder.layers.0.adapter", f"{prefix}encoder.layers.x", "stranger"]
    strangers += [f"{prefix}quantizer.weight", f"{prefix}project_q.weight.x", f"{prefix}final_proj.0.weight"]
    strangers += ["elsewhere.project_q.weight", f"{prefix}layer.label_embs_concat"]  # not where a pre-trainer puts it
    if prefix:
        strangers += ["project_q.weight", "encoder.layers.7.layer_norm.bias"]
    for name in strangers:
        assert complaint(file | {name: torch.ones(1)}) == f"1 tensors unknown ({name})"


@pytest.mark.parametrize("name", ["post_extract_proj.weight", "feature_extractor.conv_layers.1.2.1.weight"])
def test_a_file_without_the_tensor_that_tells_its_naming_is_refused(tmp_path: Path, name: str) -> None:
    """As no backbone at all, or with the names that another kind of extractor would have."""
    file = renamed(published().state_dict(), "fairseq", "m.") | HEAD
    del file[f"m.{name}"]
    what = refused(tmp_path / "a.pt", file)
    if name == "post_extract_proj.weight":
        assert what.startswith("no wav2vec 2.0 or HuBERT encoder in it: neither post_extract_proj.weight nor feature_")
    else:
        assert "14 tensors missing (m.feature_extractor.conv_layers.0.2.bias, " in what


@pytest.mark.parametrize("gone", [(1, 2), (0, 1)])
@pytest.mark.parametrize(("naming", "first"), [("fairseq", "fc1"), ("new", "attention.k_proj")])
def test_blocks_that_are_missing_are_told(tmp_path: Path, naming: str, first: str, gone: tuple[int, int]) -> None:
    """In the middle or at the end, all their tensors are missed by name."""
    file = renamed(published().state_dict(), naming, "x.") | HEAD
    file = {key: value for key, value in file.items() if not any(f"encoder.layers.{n}." in key for n in gone)}
    what = refused(tmp_path / "a.pt", file)
    assert f": 32 tensors missing (x.encoder.layers.{gone[0]}.{first}.bias, " in what
    assert "unknown" not in what


@torch.inference_mode()
def test_blocks_that_are_not_wanted_are_left_in_the_file(tmp_path: Path) -> None:
    """A detector that takes the first two blocks loads a file of three, and gives what the whole model would."""
    reference = published()
    file = renamed(reference.state_dict(), "fairseq", "m.") | HEAD
    model = loaded(tmp_path / "a.pt", file, layers=2)
    assert not any("encoder.layers.2." in key for key in model.state_dict())
    wave = noise(1, 2000)
    whole = ours(reference.state_dict())
    assert torch.equal(list(model.backbone.blocks(wave))[1], list(whole.blocks(wave))[1])


def test_a_file_with_more_blocks_than_the_architecture_is_refused(tmp_path: Path) -> None:
    """A card that says two blocks and a file of three do not belong together; the last norm would follow the second."""
    file = renamed(published().state_dict(), "fairseq", "m.") | HEAD
    for layers in (None, 1):
        with pytest.raises(WeightsError, match=r"16 tensors unknown \(m\.encoder\.layers\.2\."):
            weights.load_into(Bare({**TINY, "layers": 2}, layers), file, tmp_path / "a.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@torch.inference_mode()
def test_weights_stored_in_another_precision_are_used_as_rounded_there(tmp_path: Path, dtype: torch.dtype) -> None:
    """The network computes in float32 with the stored values: bit for bit as with values rounded by hand."""
    state = published().state_dict()
    stored = {key: value.to(dtype) for key, value in (renamed(state, "fairseq", "m.") | HEAD).items()}
    model = loaded(tmp_path / "a.pt", stored)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    by_hand = ours({key: value.to(dtype).float() for key, value in state.items()})
    wave = noise(1, 2000)
    assert torch.equal(model.backbone(wave)[0], by_hand(wave)[0])
    assert (dtype == torch.float64) == torch.equal(by_hand(wave)[0], ours(state)(wave)[0])


@given(
    layers=st.integers(1, 4),
    width=st.sampled_from([16, 48, 64, 768]),
    feed_forward=st.integers(1, 40),
    conv_width=st.integers(1, 20),
    conv_bias=st.booleans(),
    group_norm=st.booleans(),
    taps=st.integers(1, 33),
    groups=st.sampled_from([1, 2, 4, 8, 16]),
    naming=st.sampled_from(["fairseq", "new", "old"]),
    prefix=st.sampled_from(["", "m_ssl.model.", "wav2vec2.", "backbone."]),
)
@settings(deadline=None, max_examples=60)
def test_the_architecture_is_read_off_the_tensors(naming: str, prefix: str, **fields: Any) -> None:
    """Whatever its size and its naming, all but the heads, which are 12 for a width of 768 and else 16."""
    assume(naming == "new" or prefix != "backbone.")
    wanted = Architecture(heads=12 if fields["width"] == 768 else 16, **fields)
    state = Backbone(asdict(wanted)).state_dict()
    tensors = renamed(state, naming, prefix, fields["group_norm"]) | HEAD
    tensors |= {prefix + key: value for key, value in EXTRAS.items()}
    assert infer(tensors) == wanted


def test_without_a_backbone_there_is_nothing_to_infer() -> None:
    """What is looked for is told, in a file of something else and in an empty one."""
    for tensors in ({}, HEAD, {"feature_projection.weight": torch.ones(1)}):
        with pytest.raises(WeightsError) as caught:
            infer(tensors)
        assert caught.value.what == (
            "no wav2vec 2.0 or HuBERT encoder in it: neither post_extract_proj.weight nor "
            "feature_projection.projection.weight"
        )


@pytest.mark.parametrize("name", ["encoder.pos_conv.0.weight_v", "encoder.layers.0.fc1.weight"])
def test_a_size_that_cannot_be_told_is_an_error(name: str) -> None:
    """By the name of the tensor in the file."""
    file = renamed(published().state_dict(), "fairseq", "m.")
    del file[f"m.{name}"]
    with pytest.raises(WeightsError, match=rf"^the size of the backbone cannot be told: m\.{name} is missing$"):
        infer(file)


IMPOSSIBLE = [
    ("post_extract_proj.weight", (5,)),
    ("post_extract_proj.weight", (32, 0)),
    ("encoder.pos_conv.0.weight_v", (32, 8)),
    ("encoder.pos_conv.0.weight_v", (32, 0, 16)),
    ("encoder.layers.0.fc1.weight", ()),
]
UNFIT = [
    ("post_extract_proj.weight", (65_552, 16)),
    ("post_extract_proj.weight", (32, 65_537)),
    ("encoder.pos_conv.0.weight_v", (32, 8, 65_537)),
    ("post_extract_proj.weight", (40, 16)),
    ("encoder.pos_conv.0.weight_v", (32, 5, 16)),
    ("encoder.pos_conv.0.weight_v", (32, 64, 16)),
]


@pytest.mark.parametrize(("name", "shape"), IMPOSSIBLE)
def test_a_tensor_of_no_possible_shape_is_an_error_of_the_weights(name: str, shape: tuple[int, ...]) -> None:
    """By its name in the file."""
    file = renamed(published().state_dict(), "fairseq", "m.")
    with pytest.raises(WeightsError, match=re.escape(f"m.{name}")):
        infer(file | {f"m.{name}": torch.ones(shape)})


@pytest.mark.parametrize(("name", "shape"), UNFIT)
def test_a_size_that_cannot_be_is_an_error_of_the_weights(name: str, shape: tuple[int, ...]) -> None:
    """Beyond 65,536, or a width that 16 heads or the groups of the convolution cannot share."""
    file = renamed(published().state_dict(), "fairseq", "m.")
    found = file | {f"m.{name}": torch.ones(shape)}
    width, kernel = len(found["m.post_extract_proj.weight"]), tuple(found["m.encoder.pos_conv.0.weight_v"].shape)
    with pytest.raises(WeightsError) as caught:
        infer(found)
    assert caught.value.what == f"no backbone has a width of {width} and a positional convolution of {kernel}"


@pytest.mark.parametrize(
    ("blocks", "count"), [([], 0), ([1, 2], 2), ([0, 2], 2), ([0, 1, 2, 999], 4), (range(201), 201)]
)
def test_blocks_are_numbered_without_gaps_and_at_most_200(blocks: Sequence[int], count: int) -> None:
    """No hours of building on the word of a file."""
    file = renamed(published().state_dict(), "fairseq", "m.")
    file = {key: value for key, value in file.items() if "encoder.layers." not in key}
    file |= {f"m.encoder.layers.{number}.fc1.weight": torch.ones(48, 32) for number in blocks}
    with pytest.raises(WeightsError, match=rf"^{count} blocks of a backbone that are not numbered from 0 on$"):
        infer(file)


@pytest.mark.parametrize("number", ["1000", "1000000", pytest.param("9" * 5000, id="of 5000 digits")])
def test_a_block_of_a_number_beyond_all_is_an_unknown_tensor(tmp_path: Path, number: str) -> None:
    """Nothing is built for it, and the file is refused by its name, as much of the backbone as may be wanted."""
    name = f"m.encoder.layers.{number}.fc1.bias"
    file = renamed(published().state_dict(), "fairseq", "m.") | {name: torch.ones(1)}
    assert infer(file) == architecture(TINY)
    for layers in (None, 2):
        assert refused(tmp_path / "a.pt", file | HEAD, layers).endswith(f": 1 tensors unknown ({name})")


def test_the_shortest_prefix_is_the_backbone() -> None:
    """Of two candidates, say a teacher kept below the student, the outer one is taken."""
    naming = Naming(["a.post_extract_proj.weight", "a.teacher.post_extract_proj.weight"])
    assert naming("feature_projection.projection.bias") == "a.post_extract_proj.bias"


# --- building -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "tensors", "parameters", "left_out"),
    [
        ("wav2vec2-base", 218, 95_044_608, [(640, 128), (640, 512), 640, (256, 256), 256, (256, 768), 256]),
        ("xls-r-300m", 429, 317_390_592, [(640, 384), (640, 512), 640, (768, 768), 768, (768, 1024), 768]),
        ("xls-r-1b", 813, 965_514_752, [(640, 512), (640, 512), 640, (1024, 1024), 1024, (1024, 1280), 1024]),
        ("xls-r-2b", 813, 2_162_932_352, [(640, 512), (640, 512), 640, (1024, 1024), 1024, (1024, 1920), 1024]),
        ("hubert-xlarge", None, 964_321_664, [(504, 1024), (1024, 1280), 1024]),
    ],
)
def test_sizes_are_those_of_the_released_models(
    size: str, tensors: int | None, parameters: int, left_out: list[Any]
) -> None:
    """Published numbers of tensors and parameters, less the quantizer and the projections of pre-training."""
    state = Backbone(size).state_dict()
    assert sum(value.numel() for value in state.values()) == parameters - sum(int(np.prod(x)) for x in left_out)
    if tensors is not None:
        assert len(state) == tensors - len(left_out)


def test_a_size_is_a_name_or_the_fields_that_differ() -> None:
    """From XLS-R 300M; names and fields that do not exist are errors of the card."""
    assert architecture({}) == architecture("xls-r-300m") == Architecture()
    assert architecture({"layers": 2, "conv_bias": False}) == replace(Architecture(), layers=2, conv_bias=False)
    with pytest.raises(CardError) as caught:
        architecture("xlsr-300m")
    assert caught.value.what == "no backbone is called 'xlsr-300m'"
    assert caught.value.remedy == f"known: {', '.join(SIZES)}"
    with pytest.raises(CardError, match=r"^a backbone does not have these fields: .*'depth'"):
        Backbone({"depth": 3})


@pytest.mark.parametrize("value", ["4", 4.0, True, None, [4], 0, -4, 65_537])
@pytest.mark.parametrize("field", ["layers", "width", "feed_forward", "heads", "conv_width", "taps", "groups"])
def test_a_size_on_a_card_is_a_whole_number_from_1_to_65536(field: str, value: object) -> None:
    """Anything else is an error of the card, by the field and what stands there."""
    with pytest.raises(CardError) as caught:
        Backbone({**TINY, field: value})
    assert caught.value.what == f"a backbone cannot have {field}: {value!r}"


@pytest.mark.parametrize("change", [{"heads": 5}, {"groups": 3}, {"width": 40}])
def test_heads_and_groups_share_the_width(change: dict[str, int]) -> None:
    """Evenly, or it is an error of the card."""
    width = {**TINY, **change}["width"]
    with pytest.raises(CardError) as caught:
        Backbone({**TINY, **change})
    assert caught.value.what == f"the width {width} of a backbone must be a multiple of its heads and of its groups"


def test_a_backbone_without_weights_cannot_score() -> None:
    """It raises, as no number is better than a random one; nor can it be put on a device."""
    wave = torch.zeros(1, 800)
    for model in (Backbone(TINY), Bare(TINY), AntiDeepfake(TINY)):
        with pytest.raises(RuntimeError, match="meta"):
            model(wave, torch.tensor([800]))
        with pytest.raises(NotImplementedError, match="no data"):
            model.to("cpu")


def test_initialisation_follows_from_the_seed_alone() -> None:
    """Equal for equal seeds, other for others, and the global random states stay as they are."""
    made: list[dict[str, Tensor]] = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(made))
        backbone = Backbone(TINY)
        before = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
        backbone.initialise(seed)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (random.getstate(), str(np.random.get_state())) == before[1:]
        made.append(backbone.state_dict())
    assert all(torch.equal(value, made[1][key]) for key, value in made[0].items())
    weight = "encoder.layers.0.attention.k_proj.weight"
    assert not torch.equal(made[0][weight], made[2][weight])
    assert made[0].keys() == published().state_dict().keys()


def test_backbones_share_nothing(tmp_path: Path) -> None:
    """Neither tensors nor configuration, of one seed or of one file: what is done to one does not reach the other."""
    file = renamed(published().state_dict(), "fairseq", "m.") | HEAD
    drawn = [Backbone(TINY), Backbone(TINY)]
    for backbone in drawn:
        backbone.initialise(0)
    read = [loaded(tmp_path / "a.pt", file).backbone for _ in range(2)]
    for first, second in (drawn, read):
        place, other = ({value.data_ptr() for value in one.state_dict().values()} for one in (first, second))
        assert not place & other
        assert first.encoder.config is not second.encoder.config
        expected = second(noise(1, 800))[0]
        for parameter in first.parameters():
            parameter.data.fill_(7)
        assert torch.equal(second(noise(1, 800))[0], expected)
