"""Genuine fairseq 0.12.2 with random weights: the encoders that `bench.models.wav2vec2` must equal.

Sizes are those of the released models: wav2vec 2.0 base (arXiv 2006.11477), XLS-R 300M, 1B and 2B (arXiv 2111.09296),
HuBERT X-Large (arXiv 2106.07447), the large ones cut to few blocks of full width.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

EXTRACTOR = "[({0}, 10, 5)] + [({0}, 3, 2)] * 4 + [({0}, 2, 2)] * 2"  # channels; fairseq evaluates it
TARGETS = 500  # of HuBERT


def fairseq(module: str) -> ModuleType:
    """A module of fairseq, importable on Python 3.11 and newer, and silent."""
    logging.disable(logging.WARNING)  # it logs every configuration
    with _hashable_dataclasses(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(f"fairseq.{module}")


@contextmanager
def _hashable_dataclasses() -> Iterator[None]:
    """Python 3.11 refuses defaults without a hash, such as fairseq's configurations inside each other."""
    genuine: Any = dataclasses.dataclass

    def dataclass(cls: type | None = None, /, **options: Any) -> Any:
        def decorate(cls: type) -> Any:
            if cls.__module__.startswith("fairseq."):
                options.setdefault("unsafe_hash", True)
            return genuine(cls, **options)

        return decorate if cls is None else decorate(cls)

    with patch.object(dataclasses, "dataclass", dataclass):
        yield


def wav2vec2(
    layers: int, width: int, feed_forward: int, heads: int, *, conv_bias: bool = True, group_norm: bool = False
) -> nn.Module:
    """A pre-training model of wav2vec 2.0 with its quantizer; arguments as in `bench.models.wav2vec2.Architecture`."""
    module = fairseq("models.wav2vec.wav2vec2")
    size = _size(layers, width, feed_forward, heads, conv_bias, group_norm)
    return _random(lambda: module.Wav2Vec2Model(module.Wav2Vec2Config(quantize_targets=True, **size)))


def hubert(layers: int, width: int, feed_forward: int, heads: int) -> nn.Module:
    """A pre-training model of HuBERT X-Large with its targets; arguments as above."""
    module = fairseq("models.hubert.hubert")
    config = module.HubertConfig(label_rate=50, **_size(layers, width, feed_forward, heads, False, False))
    return _random(lambda: module.HubertModel(config, SimpleNamespace(sample_rate=16_000), [range(TARGETS)]))


def _size(layers: int, width: int, feed_forward: int, heads: int, conv_bias: bool, group_norm: bool) -> dict[str, Any]:
    return {
        "encoder_layers": layers,
        "encoder_embed_dim": width,
        "encoder_ffn_embed_dim": feed_forward,
        "encoder_attention_heads": heads,
        "conv_feature_layers": EXTRACTOR.format(512),
        "conv_bias": conv_bias,
        "extractor_mode": "default" if group_norm else "layer_norm",
        "layer_norm_first": not group_norm,
        "final_dim": 256,
    }


# Else the attention of a random model takes the mean over all frames, and deep in it they are all the same.
_GAINS = {"q_proj": 2.0, "k_proj": 2.0, "out_proj": 0.5}


def _random(build: Callable[[], nn.Module]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has another weight_norm by now
        return randomise(build())


def randomise(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, every tensor of it drawn anew: no norm scales by 1, no bias is 0.

    Matrices keep the size of what goes through them; scales lie in 0.5 to 1.5, biases deviate by 0.1.
    """
    model.eval().requires_grad_(False)
    draw = torch.Generator().manual_seed(0)
    tensors = model.state_dict()
    for name, tensor in tensors.items():
        part, _, last = name.rpartition(".")
        if last == "weight_g":  # (1, 1, taps): the norm, at each tap, of a matrix with as many rows as there are biases
            rows = tensors[f"{part}.bias"].numel()
            tensor.uniform_(0.5, 1.5, generator=draw).mul_(math.sqrt(rows / tensor.numel()))
        elif tensor.ndim == 1 and last == "weight":
            tensor.uniform_(0.5, 1.5, generator=draw)
        elif tensor.ndim == 1:
            tensor.normal_(std=0.1, generator=draw)
        else:
            gain = _GAINS.get(part.rpartition(".")[2], 1.0)
            tensor.normal_(std=gain / math.sqrt(tensor[0].numel()), generator=draw)
    return model


def outputs(model: nn.Module, wave: Tensor) -> list[Tensor]:
    """Of wave (B, N): what each block gives, first block first, then what the model gives; (B, T, D) all of them."""
    stages: list[Tensor] = []
    encoder: Any = model.encoder
    hooks = [
        block.register_forward_hook(lambda _block, _inputs, output: stages.append(output[0].transpose(0, 1)))
        for block in encoder.layers
    ]
    with torch.inference_mode():
        last: Tensor = model(wave, mask=False, features_only=True)["x"]
    for hook in hooks:
        hook.remove()
    # A frame that it adds to make their number even is masked in its attention, and cut off what it gives.
    return [*(stage[:, : last.shape[1]] for stage in stages), last]
