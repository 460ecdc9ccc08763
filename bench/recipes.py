"""What a card's recipe may say of training with a gradient, as typed records: stages, one after the other.

A recipe is data. The detector contributes what a stage trains and its loss (`bench.models`), the engine
(`bench.training`) does the rest alike for all of them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from bench.fields import Arguments, Fields


def _ordered(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] > interval[1]:
        raise ValueError("give the lower bound first")
    return interval


Interval = Annotated[tuple[float, float], AfterValidator(_ordered)]  # uniform between the two, both included
Number = Annotated[tuple[Annotated[int, Field(ge=0)], int], AfterValidator(_ordered)]  # integers, both ends included
Momentum = Annotated[float, Field(ge=0, lt=1)]


class Source(Fields):
    """Trials to train or to validate on.

    where: columns of the trial table and the value each must have, e.g. `{label: bonafide}`.
    trials: so many of these are drawn with the seed of the recipe; None, or more than there are, takes all.
    stratify: a column; of each of its values (of bona fide trials as one) the same share is drawn, rounded up.
    """

    dataset: str
    where: dict[str, str] = Field(default_factory=dict)
    trials: int | None = Field(default=None, ge=1)
    stratify: str | None = None

    @model_validator(mode="after")
    def _stratified_draw(self) -> Source:
        if self.stratify and self.trials is None:
            raise ValueError("`stratify` is about the draw of `trials`: give both")
        return self


class Noise(Fields):
    """Recordings of `dataset`, a random piece each, at a signal-to-noise ratio in decibels."""

    dataset: str
    snr_db: Interval


class Reverberation(Fields):
    """A room impulse response of `dataset`; the direct sound stays in place, the level is kept."""

    dataset: str


class DropFrequency(Fields):
    """Narrow bands are filtered out: centre and width as shares of half the sample rate (SpeechBrain's DropFreq)."""

    low: float = Field(default=0.0, ge=0, le=1)
    high: float = Field(default=1.0, ge=0, le=1)
    count: Number = (1, 3)
    width: float = Field(default=0.05, gt=0, lt=1)

    @model_validator(mode="after")
    def _from_low_to_high(self) -> DropFrequency:
        if self.low > self.high:
            raise ValueError("`low` is above `high`")
        return self


class DropChunk(Fields):
    """Stretches of so many samples become zero (SpeechBrain's DropChunk)."""

    count: Number = (1, 5)
    samples: Number = (1000, 2000)


class Masks(Fields):
    """SpecAugment: so many masks of up to `frequency` bins and up to `time` frames, zero in the short-time spectrum."""

    count: Number = (1, 2)
    frequency: int = Field(default=27, ge=0)
    time: int = Field(default=40, ge=0)


class Spectrum(Fields):
    """What is left out of time and frequency; the parts that are given, one after the other."""

    drop_frequency: DropFrequency | None = None
    drop_chunk: DropChunk | None = None
    masks: Masks | None = None


class Codec(Fields):
    """Encoded and decoded again: one of `formats`, at one of `kbps` where the format has bit rates."""

    formats: tuple[Literal["mp3", "aac", "opus", "mulaw", "alaw", "g722"], ...] = Field(min_length=1)
    kbps: tuple[Annotated[int, Field(ge=4, le=512)], ...] = Field(default=(16, 32, 64), min_length=1)


class Choices(Fields):
    """Augmentations of a clip, behind the crop; which of those given is drawn anew for every clip."""

    noise: Noise | None = None
    reverberation: Reverberation | None = None
    spectrum: Spectrum | None = None
    codec: Codec | None = None


class Augmentation(Fields):
    """How training audio is changed. All draws follow from seed, stage, epoch and trial id.

    rawboost: algorithm 0 to 8 (0 none) on the whole utterance, before any crop.
    choices: of which `count` different ones, in random order, change a clip with the given `probability`.
    keep_original: a batch is its clips and a changed copy of each.
    validation: whether validation audio is changed, too (but never doubled); the same way at every validation.
    """

    rawboost: int = Field(default=0, ge=0, le=8)
    choices: Choices = Choices()
    count: int = Field(default=1, ge=1)
    probability: float = Field(default=1.0, ge=0, le=1)
    keep_original: bool = False
    validation: bool = False

    @model_validator(mode="after")
    def _as_many_choices_as_are_drawn(self) -> Augmentation:
        given = sum(choice is not None for _, choice in self.choices)
        if self.keep_original and not given:
            raise ValueError("`keep_original` is about the changed copy that `choices` make: give one")
        if self.count > max(given, 1):
            raise ValueError(f"`count` is {self.count}, of {given} `choices`")
        return self


class Pieces(Fields):
    """A file longer than `longest` s gives a random piece of `seconds`, cut at its own rate before resampling."""

    longest: float = Field(gt=0)
    seconds: Interval

    @model_validator(mode="after")
    def _pieces_of_a_longer_file(self) -> Pieces:
        if not 0 < self.seconds[0] <= self.seconds[1] <= self.longest:
            raise ValueError("`seconds` are above 0 and at most `longest`")
        return self


class Optimiser(Fields):
    name: Literal["adam", "adamw"]
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)


class Schedule(Fields):
    """How a group's learning rate goes from its first to its last value over the optimiser steps of the stage.

    warmup: steps, or below 1 the share of all steps, from 0 to the first value; then
    name:   `constant`; `linear` or `cosine` to the last value, which the step behind the last one would have;
            `exponential`, by the factor `factor` over all steps; `step`, times `factor` after every `epochs` epochs
            (torch's StepLR).
    """

    name: Literal["constant", "linear", "cosine", "exponential", "step"] = "constant"
    warmup: float = Field(default=0, ge=0)
    factor: float | None = Field(default=None, gt=0, lt=1)
    epochs: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _factor_where_it_means_something(self) -> Schedule:
        if (self.factor is None) == (self.name in ("exponential", "step")):
            raise ValueError("`factor` goes with `exponential` and `step`, and only with them")
        if (self.epochs is None) == (self.name == "step"):
            raise ValueError("`epochs` goes with `step`, and only with it")
        return self


def _form(rate: Any) -> str:
    return "first and last" if isinstance(rate, (list, tuple)) else "value"


Monitor = Literal["training loss", "validation loss", "validation EER"]
Rate = Annotated[float, Field(ge=0)]
# Told apart before they are read, so that a mistake is told once and in the words of the form that was meant.
Rates = Annotated[
    Annotated[Rate, Tag("value")] | Annotated[tuple[Rate, Rate], Tag("first and last")], Discriminator(_form)
]


class Stage(Fields):
    """One run of the optimiser, from the weights that the stage before has left.

    train, validation: trials; the recipe's own `train` and `dev` where they are not given.
    crop: the window's samples are the `first` of the utterance or begin at a `random` one. pieces: see `Pieces`.
    loss: options of the detector's loss in this stage.
    epochs, steps: whichever ends first. validate_every: optimiser steps between validations, None is an epoch.
    monitor: what is best; patience: validations without improvement that end the stage, None never ends it.
    ties: an equal value counts as better.
    keep: the weights of the `best` validation, of the `last` one, or the `average` of all that improved.
    batch_size: utterances an optimiser step (of all GPUs together), or batch_seconds of audio, batched by length.
    drop_last: leave out an epoch's last, smaller batch. accumulate: forward passes that make one optimiser step.
    learning_rate: by parameter group, a value; the first and the last where the schedule is `linear` or `cosine`.
    clip_norm: of all gradients together. precision: of the forward pass; fp16 needs a GPU, elsewhere fp32 runs.
    """

    train: tuple[Source, ...] = ()
    validation: Source | None = None
    crop: Literal["first", "random"] = "first"
    pieces: Pieces | None = None
    augmentation: Augmentation | None = None
    loss: Arguments = Field(default_factory=dict)
    epochs: int = Field(ge=1)
    steps: int | None = Field(default=None, ge=1)
    validate_every: int | None = Field(default=None, ge=1)
    monitor: Monitor
    patience: int | None = Field(default=None, ge=1)
    ties: bool = False
    keep: Literal["best", "last", "average"] = "best"
    batch_size: int | None = Field(default=None, ge=1)
    batch_seconds: float | None = Field(default=None, gt=0)
    drop_last: bool = False
    accumulate: int = Field(default=1, ge=1)
    optimiser: Optimiser
    learning_rate: dict[str, Rates] = Field(min_length=1)
    schedule: Schedule = Schedule()
    clip_norm: float | None = Field(default=None, gt=0)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"

    @model_validator(mode="after")
    def _one_size_of_batch(self) -> Stage:
        if (self.batch_size is None) == (self.batch_seconds is None):
            raise ValueError("give one of `batch_size` and `batch_seconds`")
        return self

    @model_validator(mode="after")
    def _rates_that_the_schedule_reads(self) -> Stage:
        two = self.schedule.name in ("linear", "cosine")
        for group, rate in self.learning_rate.items():
            if isinstance(rate, tuple) != two:
                needs = "the first and the last rate" if two else "one rate"
                raise ValueError(f"the schedule `{self.schedule.name}` needs {needs} of the group `{group}`")
        return self
