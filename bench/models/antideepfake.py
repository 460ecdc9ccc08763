"""AntiDeepfake: Ge, Wang, Liu, Yamagishi, "Post-training for Deepfake Speech Detection", ASRU 2025, arXiv 2506.21090.

A self-supervised backbone, the mean of its last hidden state over the file, one linear layer. Names of tensors are
those of the 14 released checkpoints (`m_ssl.model.` + fairseq's, `proj_fc`), the same on the hub and in the Zenodo
files, github.com/nii-yamagishilab/AntiDeepfake.

A file shorter than one frame, 400 samples, crashes the authors' code; here zeros fill it up to one frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.models import Output
from bench.models.batching import each_length
from bench.models.extractor import RECEPTIVE_FIELD
from bench.models.objective import TwoLogits
from bench.models.wav2vec2 import BackboneDetector


class AntiDeepfake(TwoLogits, BackboneDetector):
    """Whole normalised file to the difference of the two logits.

    Trained as a whole. The authors' training batches are padded and not masked; here a row is trained as it is scored.

    Args:
        backbone: see `bench.models.wav2vec2.Backbone`; read off the checkpoint where the card has none.
    """

    version = 2

    def __init__(self, backbone: str | Mapping[str, Any]) -> None:
        super().__init__(backbone)
        self.proj_fc = nn.Linear(self.backbone.architecture.width, 2)

    def forward(self, wave: Tensor, lengths: Tensor) -> Output:
        """Real minus fake logit (B,): the order of the probability the authors rank by, without its saturation.

        Args:
            wave: (B, N) float32 at 16 kHz, whole files of zero mean and unit variance (epsilon 1e-5), zero behind
                `lengths`.
            lengths: (B,) real samples a row, on the CPU.
        """
        return self.output(wave, lengths)

    def scored(self, logits: Tensor) -> Output:
        """Logits (B, 2) -> scores (B,), and the logits beside them."""
        return Output(logits[:, 1] - logits[:, 0], {"logit_fake": logits[:, 0], "logit_real": logits[:, 1]})

    def embedded(self, wave: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N), (B,) -> the mean of the last hidden state of each file (B, D), and the logits (B, 2): fake, real."""
        lengths = lengths.clamp(min=RECEPTIVE_FIELD)
        wave = functional.pad(wave, (0, max(RECEPTIVE_FIELD - wave.shape[1], 0)))
        if self.backbone.architecture.group_norm:
            found = each_length(lambda rows: self._together(rows, None), wave, lengths)
        else:
            found = self._together(wave, lengths)
        return found[:, 2:], found[:, :2]

    def _together(self, wave: Tensor, lengths: Tensor | None) -> Tensor:
        """The logits, and behind them the mean that they are of, (B, 2 + D)."""
        hidden, real = self.backbone(wave, lengths)
        mean = (hidden * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        return torch.cat([self.proj_fc(mean), mean], dim=1)
