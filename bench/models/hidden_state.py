"""What detectors share whose head takes the last hidden state of a self-supervised encoder and gives two logits.

Shapes: B rows, N samples, T frames, D width of the backbone.
"""

from __future__ import annotations

from torch import Tensor

from bench.models.objective import TwoLogits
from bench.models.wav2vec2 import BackboneDetector, Reading


class HiddenStateDetector(TwoLogits, BackboneDetector):
    """Base of detectors whose `logits` take the last hidden state (B, T, D), unmasked: zeros behind a file count."""

    @property
    def readings(self) -> tuple[Reading, ...]:
        """The last hidden state."""
        return (Reading(self.backbone),)

    def forward(self, wave: Tensor, lengths: Tensor) -> Tensor:
        """(B, N) at 16 kHz, zero behind the end of a file, -> scores (B,). `lengths` is not used, see above."""
        return self.scored(self.logits(self.readings[0](wave)).float())

    def scored(self, logits: Tensor) -> Tensor:
        """Logits (B, 2) -> the logit of bona fide minus that of spoof (B,)."""
        return logits[:, 1] - logits[:, 0]
