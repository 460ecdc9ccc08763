"""What detectors share whose head takes the last hidden state of a self-supervised encoder and gives two logits.

Shapes: B rows, N samples, T frames, D width of the backbone.
"""

from __future__ import annotations

from torch import Tensor

from bench.models import Output
from bench.models.objective import TwoLogits
from bench.models.wav2vec2 import BackboneDetector, Reading


class HiddenStateDetector(TwoLogits, BackboneDetector):
    """Base of detectors whose `embedded` takes the last hidden state (B, T, D), unmasked: zeros behind a file count."""

    @property
    def readings(self) -> tuple[Reading, ...]:
        """The last hidden state."""
        return (Reading(self.backbone),)

    def forward(self, wave: Tensor, lengths: Tensor) -> Output:
        """(B, N) at 16 kHz, zero behind the end of a file, -> scores (B,). `lengths` is not used, see above."""
        return self.output(self.readings[0](wave))

    def scored(self, logits: Tensor) -> Output:
        """Logits (B, 2) -> the logit of bona fide minus that of spoof (B,)."""
        spoof, bonafide = logits.float().unbind(1)
        return Output(bonafide - spoof)
