"""What the YAML cards of detectors and datasets may say, as typed records. The registry that reads them is
`bench.registry`.

Unknown and misspelt fields are errors, told there with file and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from bench.errors import UsageError
from bench.fields import Arguments, Fields
from bench.recipes import Stage


class AudioRecipe(Fields):
    """What a detector is given of a file. Detectors with equal recipes share one decoding pass.

    window: `tile` the first `samples`, a shorter file repeated from its beginning (SLS, AASIST, RawNet2, SLIM);
            `pad` the first `samples`, a shorter file zero-padded after normalisation (two-stage XLS-R);
            `whole` the whole file (AntiDeepfake, LFCC-GMM);
            `facts` only what the header says (duration, rate, channels); `none` the file is not opened at all.
    epsilon: zero mean and unit variance over the real samples, (x - mean) / sqrt(variance + epsilon), or null for the
            raw waveform. 1e-7 is the transformers feature extractor, 1e-5 is layer_norm; they are not interchangeable.
    """

    rate: int = Field(default=16_000, ge=1_000, le=192_000)
    window: Literal["tile", "pad", "whole", "facts", "none"]
    samples: int | None = Field(default=None, ge=1)
    epsilon: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _samples_belong_to_fixed_windows(self) -> AudioRecipe:
        if (self.window in ("tile", "pad")) != (self.samples is not None):
            raise ValueError("`samples` goes with the windows `tile` and `pad`, and only with them")
        return self

    @property
    def decodes(self) -> bool:
        """Whether samples are read (as opposed to the header, or nothing)."""
        return self.window not in ("facts", "none")


_PART = r"[^/\\\x00-\x1f.][^/\\\x00-\x1f]*"  # of a path, inside the folder it is meant for
_FILE = rf"^{_PART}(/{_PART})*$"
_URL = r"^(https://|http://(127\.0\.0\.1|localhost)[:/])"  # in the clear only from this machine


class Hub(Fields):
    """A file, or all of them, of a repository on the Hugging Face hub or on a server that speaks its protocol.

    path: of the file in the repository; all that the model needs when empty. revision: a commit, branch or tag, made
    a commit before anything is downloaded. gated: files only for an account that accepted its terms.
    """

    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    path: str = Field(default="", pattern=rf"^({_PART}(/{_PART})*)?$")
    revision: str = "main"
    kind: Literal["model", "dataset"] = "model"
    gated: bool = False


class Weights(Fields):
    """A released checkpoint.

    file: what is searched in the weights folders: a name, or `folder/name` where the name alone says little
            (`model.safetensors`); a name without suffix may be a folder of the hub.
    aliases: names under which the same tensors are also published.
    source: for the reader: where it comes from. For `bench fetch`, where it can get it: `hub`, or `url`, where
            `member` is the file inside an archive.
    """

    file: str = Field(pattern=_FILE)
    aliases: tuple[Annotated[str, Field(pattern=_FILE)], ...] = ()
    source: str
    hub: Hub | None = None
    url: str | None = Field(default=None, pattern=_URL)
    member: str | None = Field(default=None, pattern=_FILE)
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    licence: str

    @model_validator(mode="after")
    def _one_place(self) -> Weights:
        if self.hub and self.url:
            raise ValueError("give one of `url` and `hub`")
        if self.member and not self.url:
            raise ValueError("`member` is a file inside the archive at `url`")
        return self

    @property
    def fetchable(self) -> bool:
        """Whether `bench fetch` can download it."""
        return self.hub is not None or self.url is not None


def _form(start: Any) -> str:
    return "random" if isinstance(start, str) else "checkpoint"


# Told apart before they are read, so that a mistake is told once and in the words of the form that was meant.
Start = Annotated[
    Annotated[Literal["random"], Tag("random")] | Annotated[Weights, Tag("checkpoint")], Discriminator(_form)
]


class Recipe(Fields):
    """How weights are made where none are released: the trial lists, the seed, and how.

    train, dev: datasets by name.
    start: weights that training starts from, by the name of the part of the detector that takes them, a submodule, or
            `detector` for all of it: pretrained ones, or `random` ones, drawn with the seed.
    arguments: what the detector's `fit` takes, which trains without a gradient; or stages, by the name that the
            detector gives them, carried out in this order.
    """

    train: str
    dev: str | None = None
    seed: int = Field(default=0, ge=0)
    start: dict[str, Start] = Field(default_factory=dict)
    arguments: Arguments = Field(default_factory=dict)
    stages: dict[str, Stage] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way_of_training(self) -> Recipe:
        if self.arguments and self.stages:
            raise ValueError("`arguments` are those of `fit`, `stages` train with a gradient: give one of them")
        for name, stage in self.stages.items():
            if stage.validation is None and self.dev is None and stage.monitor != "training loss":
                raise ValueError(f"stage `{name}` watches the {stage.monitor}: give `dev`, or the stage's `validation`")
        return self

    @property
    def speech(self) -> tuple[str, ...]:
        """Every dataset whose trials are trained or validated on, each once."""
        return tuple(dict.fromkeys(self._speech()))

    def _speech(self) -> Iterator[str]:
        if not self.stages:
            yield from filter(None, (self.train, self.dev))
        for stage in self.stages.values():
            yield from [source.dataset for source in stage.train] or [self.train]
            if name := stage.validation.dataset if stage.validation else self.dev:
                yield name

    @property
    def datasets(self) -> tuple[str, ...]:
        """`speech`, and what is mixed into it: noise and room responses."""
        mixed = []
        for stage in self.stages.values():
            if stage.augmentation is not None:
                choices = stage.augmentation.choices
                mixed += [part.dataset for part in (choices.noise, choices.reverberation) if part is not None]
        return tuple(dict.fromkeys([*self.speech, *mixed]))


class Decision(Fields):
    """The detector's own threshold: bona fide when `column` (the score, or an extra) exceeds `threshold`."""

    column: str = "score"
    threshold: float = 0.0


class Published(Fields):
    """A number somebody published; `eer` and `f1` in percent and as a fraction, as printed there.

    comparable: whether it is of this system, the trials of `dataset` and this measure; where not, `note` says why.
    """

    dataset: str
    eer: float = Field(ge=0, le=100)
    f1: float | None = Field(default=None, ge=0, le=1)
    source: str
    note: str = ""
    comparable: bool = True


class Golden(Fields):
    """What a detector with the weights of its card answers to a fixed signal, so that a changed machine is noticed.

    input: a signal of `bench.doctor.signals`. score: as the detector gives it. source: what computed it, with what.
    """

    input: str
    score: float = Field(allow_inf_nan=False)
    source: str


# Names are chosen by name, by glob and in comma lists: what means something there is no part of one.
NAME = r"^[^\s,*?\[\]=\x00-\x1f\x7f]{1,120}$"
RESERVED = re.compile(r"all|.*:\d+")  # the listed ones, and a sample of NAME


def check_name(name: str) -> None:
    """Raises UsageError for what cannot be the name of a detector or a dataset."""
    if RESERVED.fullmatch(name) or not re.fullmatch(NAME, name):
        raise UsageError(
            f"{name!r} cannot be a name",
            remedy="leave out spaces, commas, `=`, `*`, `?` and brackets, and keep it below 121 characters; `all` and "
            "`NAME:100` mean something else",
        )


class Card(Fields):
    name: str = Field(pattern=NAME)
    title: str
    summary: str
    paper: str = ""
    code: str = ""
    licence: str
    notices: tuple[str, ...] = ()  # what a user must know before using it: non-commercial terms, patents, gated access
    notes: tuple[str, ...] = ()
    listed: bool = True  # part of `all`


class DetectorCard(Card):
    """A detector.

    scores: what its score is of bona fide against spoof, natural logarithm: `log-odds` (the difference of two logits,
            the one logit of a sigmoid, a log-likelihood ratio) or `log-probability` (log-softmax). None: a number that
            only ranks trials, as one logit of two, so that actDCF and Cllr would mean nothing.
    """

    family: str
    model: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    arguments: Arguments = Field(default_factory=dict)
    audio: AudioRecipe
    parameters: int | None = Field(default=None, ge=0)  # of the network that scores
    weights: Weights | None = None
    recipe: Recipe | None = None
    decision: Decision | None = None
    scores: Literal["log-odds", "log-probability"] | None = None
    trained_on: tuple[str, ...] = ()
    selected_on: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()
    golden: tuple[Golden, ...] = ()

    @model_validator(mode="after")
    def _one_origin_of_weights(self) -> DetectorCard:
        if self.weights and self.recipe:
            raise ValueError("`weights` (released) and `recipe` (trained here) exclude each other: make it two cards")
        return self


class Counts(Fields):
    """What the published list holds; a difference is a warning, because the user's file is what is scored."""

    trials: int
    bonafide: int
    spoof: int
    speakers: int | None = None
    attacks: int | None = None


class Archive(Fields):
    """One file of a corpus that `bench fetch` can download, from `url` or from `hub`.

    folder: below the data root, where it is unpacked (`unpack`) or put. md5, sha256: as published, of the file itself.
    """

    file: str = Field(pattern=rf"^{_PART}$")
    url: str | None = Field(default=None, pattern=_URL)
    hub: Hub | None = None
    folder: str = Field(pattern=_FILE)
    unpack: bool = True
    bytes: int | None = Field(default=None, ge=1)
    md5: str | None = Field(default=None, pattern="^[0-9a-f]{32}$")
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _one_source(self) -> Archive:
        if (self.url is None) == (self.hub is None):
            raise ValueError("give one of `url` and `hub`")
        if self.hub and not self.hub.path:
            raise ValueError("`hub` of an archive needs the `path` of a file")
        return self


class DatasetCard(Card):
    """A dataset.

    redistributable: whether its licence lets anybody put copies of its audio on a public page that names title, licence
            and source. False where it is for non-commercial use or research only, where nobody knows, and where
            accounts must accept terms before they get the files.
    """

    reader: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    arguments: Arguments = Field(default_factory=dict)
    counts: Counts | None = None
    obtain: str  # for the reader: every step, those that `bench fetch` cannot do included
    archives: tuple[Archive, ...] = ()
    made_by: str | None = Field(default=None, pattern=r"^bench\.corpora\.\w+:\w+$")  # called with the data root
    sibling_of: str | None = None
    redistributable: bool = False

    @field_validator("name")
    @classmethod
    def _nothing_but_the_dataset(cls, name: str) -> str:
        if "+" in name:
            raise ValueError("behind a `+` stands a perturbation, as in `itw+mp3@64k`: choose a name without it")
        return name
