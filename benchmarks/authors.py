"""The evaluation of SLS in the style of its authors, to compare with: their backbone twice a batch, in float32.

The first pass is for an output that nobody reads, and the autograd graph of both is recorded. Theirs is genuine fairseq
where it is installed (`make parity`); else our own backbone stands for it, which is faster than fairseq's.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from bench import weights
from bench.models.sls import SLS
from bench.models.wav2vec2 import Backbone
from benchmarks.common import SAMPLES


class DoublePass(nn.Module):
    """What the authors evaluate: the last output and the layers from two passes of the backbone, then their head."""

    def __init__(self, backbone: nn.Module, head: SLS) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, wave: Tensor) -> Tensor:
        self.backbone(wave, mask=False, features_only=True)
        layers = self.backbone(wave, mask=False, features_only=True)["layer_results"]
        stacked = torch.stack([layer[0].transpose(0, 1) for layer in layers], dim=1)  # (B, 24, T, D)
        gates = torch.sigmoid(self.head.fc0(stacked.mean(2)))
        maps = functional.selu(self.head.first_bn((stacked * gates[:, :, None]).sum(1, keepdim=True)))
        hidden = functional.selu(self.head.fc1(functional.max_pool2d(maps, 3).flatten(1)))
        return functional.log_softmax(functional.selu(self.head.fc3(hidden)), dim=1)[:, 1]


class _Ours(nn.Module):
    """Our backbone, called as fairseq's is."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, wave: Tensor, mask: bool, features_only: bool) -> dict[str, Any]:
        blocks = list(self.backbone.blocks(wave))
        return {
            "x": self.backbone.encoder.layer_norm(blocks[-1]),
            "layer_results": [(block.transpose(0, 1),) for block in blocks],
        }


def double_pass(model: SLS) -> tuple[DoublePass, str]:
    """The authors' evaluation of the weights of `model`, whose gradients are recorded from now on; and whose it is."""
    if importlib.util.find_spec("fairseq") is None:
        return DoublePass(_Ours(model.backbone), model).requires_grad_(True), "our backbone for fairseq's"
    from tests.parity import reference

    size = model.backbone.architecture
    theirs = reference.wav2vec2(size.layers, size.width, size.feed_forward, size.heads)
    theirs.to(next(model.parameters()).device)
    weights.load_into(model.backbone, theirs.state_dict(), Path("fairseq"))
    return DoublePass(theirs, model).requires_grad_(True), "genuine fairseq"


class _Files(Dataset[tuple[Tensor, str]]):
    """Files loaded and tiled to `SAMPLES`, one after the other."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[Tensor, str]:
        return torch.from_numpy(loaded(self._paths[index])), self._paths[index].stem


def loaded(path: Path) -> np.ndarray:
    """The first `SAMPLES` of a file, a shorter one repeated from its beginning."""
    wave, _ = soundfile.read(path, dtype="float32")
    return np.tile(wave, SAMPLES // len(wave) + 1)[:SAMPLES]


def script(model: nn.Module, paths: Sequence[Path], out: Path, device: str, batch_size: int, workers: int) -> None:
    """The authors' loop: a `DataLoader`, a batch at a time, its scores appended to a text file at once."""
    for wave, names in DataLoader(_Files(paths), batch_size=batch_size, num_workers=workers):
        scores = model(wave.to(device)).detach().cpu().numpy().ravel()
        with out.open("a") as file:
            file.writelines(f"{name} {score}\n" for name, score in zip(names, scores, strict=True))
