"""XLS-R + SLS: Zhang, Wen, Hu, "Audio Deepfake Detection with XLS-R and SLS Classifier", ACM Multimedia 2024.

Every block of the backbone is weighted by a gate of its own mean, the weighted blocks are summed, and a small
classifier looks at the pooled map. Names of tensors are those of the authors' checkpoint (440 tensors, no fc2 among
them), github.com/QiShanZhang/SLSforASVspoof-2021-DF. A card of the weights says "frozen"; the code fine-tunes all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.models import Output
from bench.models.objective import TwoLogits
from bench.models.wav2vec2 import BackboneDetector

FRAMES = 201  # of 64,600 samples; fc1 fits 201 to 203
POOL = 3


class SLS(TwoLogits, BackboneDetector):
    """Raw waveform of 64,600 samples to the log-probability of bona fide.

    Trained as a whole; the norm behind the last block, which nothing reads, has no gradient.

    Args:
        backbone: see `bench.models.wav2vec2.Backbone`.
        hidden: width between the two layers of the classifier.
    """

    version = 2

    def __init__(self, backbone: str | Mapping[str, Any], hidden: int = 1024) -> None:
        super().__init__(backbone)
        width = self.backbone.architecture.width
        self.first_bn = nn.BatchNorm2d(1)
        self.fc0 = nn.Linear(width, 1)
        self.fc1 = nn.Linear((FRAMES // POOL) * (width // POOL), hidden)
        self.fc3 = nn.Linear(hidden, 2)

    def forward(self, wave: Tensor, lengths: Tensor) -> Output:
        """Natural-log probability of bona fide (B,), at most 0.

        SELU also follows the last layer, so that two very negative logits tie at ln 0.5: as the authors train it.

        Args:
            wave: (B, 64600) float32 in [-1, 1], not normalised, a shorter file tiled.
            lengths: (B,), not needed: every sample of a tiled window is real.
        """
        return self.output(wave, lengths)

    def scored(self, logits: Tensor) -> Output:
        """Logits (B, 2) -> scores (B,). Training by log-probabilities, as the authors do, is training by logits."""
        return Output(functional.log_softmax(logits, dim=1)[:, 1])

    def embedded(self, wave: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 64600) -> (B, hidden), and the logits (B, 2): spoof, bona fide, behind the last SELU."""
        mixed: Tensor | None = None
        for block in self.backbone.blocks(wave):
            # (B, 1, 1): one weight a layer, and they need not sum to 1
            gate = torch.sigmoid(self.fc0(block.mean(1, dtype=torch.float32)))[..., None].float()
            mixed = block * gate if mixed is None else torch.addcmul(mixed, block, gate)
        assert mixed is not None, "a backbone has blocks"
        maps = functional.selu(self.first_bn(mixed[:, None]))  # (B, 1, frames, width)
        pooled = functional.max_pool2d(maps, POOL).flatten(1)
        embedding = functional.selu(self.fc1(pooled))
        return embedding, functional.selu(self.fc3(embedding))
