"""Detector networks, one file each, and the contract they share.

A detector is a `torch.nn.Module` built as `Class(**card.arguments)`, put in evaluation mode, its released or trained
weights loaded strictly. What its `forward` takes follows from the card's audio recipe:

    windows tile, pad, whole   forward(wave, lengths)   wave float32 (B, T), lengths int64 (B,): real samples a row
    windows facts, none        forward(facts)           a sequence of B `Facts`

`lengths` lie on the CPU whatever the device of `wave`: to ask a GPU for a number is to wait for all that it was given.
What a detector makes of them for the device goes there by `.to(wave.device, non_blocking=True)`.

It returns float scores (B,), higher = more bona fide, or an `Output`. Raw logits or log-probabilities: a saturated
probability loses the order of the confident trials. A score must not depend on the rest of its batch: with `whole`,
row b is zero behind `lengths[b]` and the detector masks, or takes one length at a time (`bench.models.batching`).
Shapes of tile and pad are (B, samples) and need no mask.

Optional, of detectors that are large:

    lower_precision()                puts the part in which nearly all of the time is spent, the backbones, in bfloat16.
                                     Its inputs, what comes out of it and every head stay float32. Called once, where
                                     scoring begins, on loaded weights; never before training. Without it a detector
                                     runs in float32 only. See `wav2vec2.LowerPrecision`

Optional, for checkpoints that others wrote:

    infer(tensors) -> arguments      class method: what a card leaves out and a checkpoint tells, e.g. its size
    names_in(keys) -> names, unused  own name -> name in a file with these keys; keys that may be left out
    from_folder(folder, **arguments) class method, instead of both: the detector of a folder of the model hub

A detector that is trained here without a gradient also has `fit(utterances, seed, **recipe.arguments)`, see
`bench.training.fit`. One that is trained with a gradient (`bench.training.engine`) has

    trainable(stage) -> {group: [modules]}        what a stage trains, by the group whose learning rate it takes; all
                                                  else is frozen and in evaluation mode. UsageError for another stage
    loss(stage, inputs, labels, **options)        a `Loss`; options are those of the card's stage
    readings                                      optional: a tuple of `wav2vec2.Reading`, the encoders' outputs that
                                                  the loss is computed of. Where a stage freezes them they are kept on
                                                  disk and shared between detectors
    one_class                                     optional, of the class: names of stages that learn from real speech
                                                  alone

`inputs` are the tensors that the readings give, in their order, or (wave, lengths) where the class has no readings.
`labels` (B,) are 1 = bona fide, 0 = spoof. The constructor draws initial weights from torch's global generator.

`version` (class attribute, int) goes up whenever the code changes a score: it is part of the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor


class Facts(NamedTuple):
    """What is known of a file without decoding it; None where the recipe did not open it."""

    trial: str
    seconds: float | None
    rate: int | None
    channels: int | None


@dataclass(frozen=True)
class Output:
    """Scores (B,) and further float columns (B,) that are stored beside them, e.g. the margin of a two-logit head.

    embedding: (B, D) what the last layer takes; kept for a sample of the trials (`bench.embeddings`), None without one.
    """

    scores: Tensor
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    embedding: Tensor | None = None


class Loss(NamedTuple):
    """A scalar to minimise, and what `forward` would score the rows (B,); None where the stage tells no classes."""

    value: Tensor
    scores: Tensor | None = None
