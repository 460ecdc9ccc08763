"""Cards: one YAML file a detector or a dataset, read into typed records. The folder is the registry.

A card never runs anything: `model` and `reader` name code as `package.module:object`, imported by `resolve` when it is
needed, so listing a hundred detectors imports no network. Unknown and misspelt fields are errors with file and line.
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench import yamlfile
from bench.errors import BenchError, CardError, UsageError, unknown


class Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _plain(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments are part of a key: what JSON cannot hold (a date, NaN) has no one spelling."""
    try:
        json.dumps(arguments, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"give text, numbers, lists and mappings only: {error}") from None
    return arguments


Arguments = Annotated[dict[str, Any], AfterValidator(_plain)]


class AudioRecipe(Fields):
    """What a detector is given of a file. Detectors with equal recipes share one decoding pass.

    window: `tile` the first `samples`, a shorter file repeated from its beginning (SLS, AASIST, RawNet2);
            `pad` the first `samples`, a shorter file zero-padded after normalisation (two-stage XLS-R, SLIM);
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


class Weights(Fields):
    """A released checkpoint: `file` is searched by name in the weights folders."""

    file: str = Field(pattern=r"^[^/\\\x00-\x1f]+$")
    source: str
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    licence: str


class Recipe(Fields):
    """How weights are made where none are released: the trial lists, the seed, and what the detector's `fit` takes."""

    train: str
    seed: int = 0
    arguments: Arguments = Field(default_factory=dict)


class Decision(Fields):
    """The detector's own threshold: bona fide when `column` (the score, or an extra) exceeds `threshold`."""

    column: str = "score"
    threshold: float = 0.0


class Published(Fields):
    """A number somebody published; `eer` and `f1` in percent and as a fraction, as printed there."""

    dataset: str
    eer: float = Field(ge=0, le=100)
    f1: float | None = Field(default=None, ge=0, le=1)
    source: str
    note: str = ""


# Names are chosen by name, by glob and in comma lists: what means something there is no part of one.
NAME = r"^[^\s,*?\[\]=\x00-\x1f\x7f]{1,120}$"
RESERVED = re.compile(r"all|.*:\d+")  # the listed ones, and a sample of NAME


def check_name(name: str) -> None:
    """Raises UsageError for what cannot be the name of a detector or a dataset."""
    if RESERVED.fullmatch(name) or not re.match(NAME, name):
        raise UsageError(
            f"{name!r} cannot be a name",
            remedy="leave out spaces, commas, `=`, `*`, `?` and brackets; `all` and `NAME:100` mean something else",
        )


class Card(Fields):
    name: str = Field(pattern=NAME)
    title: str
    summary: str
    paper: str = ""
    code: str = ""
    licence: str
    notes: tuple[str, ...] = ()
    listed: bool = True  # part of `all`


class DetectorCard(Card):
    family: str
    model: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    arguments: Arguments = Field(default_factory=dict)
    audio: AudioRecipe
    weights: Weights | None = None
    recipe: Recipe | None = None
    decision: Decision | None = None
    trained_on: tuple[str, ...] = ()
    selected_on: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()

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


class DatasetCard(Card):
    reader: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    arguments: Arguments = Field(default_factory=dict)
    counts: Counts | None = None
    obtain: str
    made_by: str | None = Field(default=None, pattern=r"^bench\.corpora\.\w+:\w+$")  # called with the data root
    sibling_of: str | None = None


# What was said of the parent is not true of a card that extends it; with weights of its own, nor is what they saw.
NOT_INHERITED = frozenset({"published", "counts", "listed", "notes"})
OF_THE_WEIGHTS = frozenset({"weights", "recipe", "trained_on", "selected_on"})

C = TypeVar("C", DetectorCard, DatasetCard)


class Registry(Generic[C]):
    """The cards of one kind by name.

    Raises:
        CardError: a card that is not valid, a name given twice, a folder without any card.
    """

    def __init__(self, kind: Literal["detectors", "datasets"], extra: Path | None, model: type[C]) -> None:
        self.kind = kind
        self._model: type[C] = model
        self._raw: dict[str, tuple[Path, dict[str, Any]]] = {}
        for file in _files(shipped(kind)):
            self._add(file, yamlfile.load(file))
        if extra is not None:
            for file, raw in _own(extra, kind):
                self._add(file, raw)

    def _add(self, file: Path, raw: dict[str, Any]) -> None:
        name = raw.get("name")
        if not isinstance(name, str) or RESERVED.fullmatch(name):
            what = "a card needs a `name`, a string other than `all` and `NAME:100` (a sample of NAME)"
            raise CardError(what, where=file, line=yamlfile.line_of(file, ("name",)))
        if name in self._raw:
            other = self._raw[name][0]
            raise CardError(
                f"{name!r} is the name of two cards",
                where=file,
                line=yamlfile.line_of(file, ("name",)),
                remedy=f"rename one; the other is {other}",
            )
        self._raw[name] = (file, raw)

    @cached_property
    def cards(self) -> dict[str, C]:
        return {name: self._build(name) for name in self._raw}

    def _build(self, name: str) -> C:
        file, raw = self._raw[name]
        merged = self._merged(name, ())
        if "extends" in raw:
            self._build(raw["extends"])  # so that a parent's mistake is told with the parent's file and line
        try:
            return self._model.model_validate(merged)
        except ValidationError as error:
            raise _card_error(error, file, self._model) from None

    def _merged(self, name: str, seen: tuple[str, ...]) -> dict[str, Any]:
        file, raw = self._raw[name]
        parent = raw.get("extends")
        if parent is None:
            return raw
        line = yamlfile.line_of(file, ("extends",))
        if not isinstance(parent, str) or parent not in self._raw:
            hint = unknown(self.kind.removesuffix("s"), str(parent), self._raw)
            raise CardError(f"`extends`: {hint.what}", where=file, line=line, remedy=hint.remedy)
        if parent in (*seen, name):
            raise CardError(f"`extends` runs in a circle: {' -> '.join((*seen, name, parent))}", where=file, line=line)
        dropped = NOT_INHERITED | (OF_THE_WEIGHTS if {"weights", "recipe"} & raw.keys() else frozenset())
        inherited = {k: v for k, v in self._merged(parent, (*seen, name)).items() if k not in dropped}
        return _overlay(inherited, {k: v for k, v in raw.items() if k != "extends"})

    def __getitem__(self, name: str) -> C:
        if name not in self._raw:
            raise unknown(self.kind.removesuffix("s"), name, self._raw)
        return self.cards[name]

    def __contains__(self, name: object) -> bool:
        return name in self._raw

    @property
    def names(self) -> list[str]:
        return list(self._raw)

    def select(self, patterns: Iterable[str]) -> dict[str, bool]:
        """Names that the patterns choose, in the order of the patterns -> whether the name was given explicitly.

        A pattern is a name, a glob, `all` (the listed ones), or several of these separated by commas.

        Raises:
            UsageError: a name nobody knows (with the nearest ones), a glob that fits nothing, no pattern at all.
        """
        chosen: dict[str, bool] = {}
        for pattern in (part.strip() for given in patterns for part in given.split(",")):
            if not pattern:
                continue
            if pattern == "all":
                names, explicit = [name for name, card in sorted(self.cards.items()) if card.listed], False
            elif any(symbol in pattern for symbol in "*?["):
                names, explicit = fnmatch.filter(sorted(self._raw), pattern), False
                if not names:
                    raise UsageError(
                        f"no {self.kind.removesuffix('s')} fits {pattern!r}", remedy=f"see `bench list {self.kind}`"
                    )
            else:
                names, explicit = [self[pattern].name], True
            for name in names:
                chosen[name] = chosen.get(name, False) or explicit
        if not chosen:
            raise UsageError(f"no {self.kind} were named", remedy=f"see `bench list {self.kind}`")
        return chosen


def detectors(extra: Path | None = None) -> Registry[DetectorCard]:
    """All detector cards: those that ship with the harness and those of the user's folder `extra`."""
    return Registry("detectors", extra, DetectorCard)


def datasets(extra: Path | None = None) -> Registry[DatasetCard]:
    """All dataset cards: those that ship with the harness and those of the user's folder `extra`."""
    return Registry("datasets", extra, DatasetCard)


def shipped(folder: str) -> Path:
    """Where `detectors`, `datasets` or `reports` lies: inside the installed package, else in the checkout.

    Shipped first: beside an installed package a folder `datasets` may be another project's.
    """
    here = Path(__file__).parent
    for candidate in (here / "_cards" / folder, here.parent / folder):
        if candidate.is_dir():
            return candidate
    raise CardError(f"the folder {folder!r} is missing from this installation", where=here, remedy="install again")


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise CardError("no such folder of cards", where=folder, remedy="give an existing folder with --cards")
    files = sorted(file for file in folder.rglob("*") if file.suffix in (".yaml", ".yml"))
    if not files:
        raise CardError("no card in this folder", where=folder, remedy="a card is a *.yaml file; see CONTRIBUTING.md")
    return files


def _own(folder: Path, kind: Literal["detectors", "datasets"]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The cards of one kind in a user's folder, which may hold both; one that extends another is of its kind."""
    own = {file: yamlfile.load(file) for file in _files(folder)}
    raws = [*(yamlfile.load(file) for file in _files(shipped("datasets"))), *own.values()]
    known = {name: raw for raw in raws if isinstance(name := raw.get("name"), str)}
    for file, raw in own.items():
        root = raw
        for _ in known:  # a circle ends too; the registry will tell
            parent = root.get("extends")
            if {"reader", "model"} & root.keys() or not isinstance(parent, str) or parent not in known:
                break
            root = known[parent]
        if ("reader" in root) == (kind == "datasets"):
            yield file, raw


def resolve(target: str, where: str) -> Any:
    """The object that `package.module:object` names.

    Raises:
        CardError: the module cannot be imported or has no such object; `where` names the card.
    """
    module_name, _, name = target.partition(":")
    try:
        return getattr(importlib.import_module(module_name), name)
    except Exception as error:  # a user's own module may raise anything while it is imported
        raise CardError(
            f"{target} cannot be loaded: {type(error).__name__}: {error}",
            where=where,
            remedy="correct the card, or install the module it names",
        ) from error


def _overlay(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the fields of `change`; mappings are merged, anything else is replaced."""
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        merged[key] = _overlay(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _card_error(error: ValidationError, file: Path, model: type[BaseModel]) -> BenchError:
    """One complaint of pydantic, a misspelt field first: field, line, and the nearest field name."""
    first = min(error.errors(), key=lambda complaint: complaint["type"] != "extra_forbidden")
    path = [step for step in first["loc"] if isinstance(step, (str, int))]
    field = ".".join(map(str, path)) or "card"
    remedy = None
    if first["type"] == "extra_forbidden":
        owner = _model_at(model, path[:-1])
        known = [*owner.model_fields, *(["extends"] if owner is model else [])] if owner else []
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        what = f"unknown field `{field}`"
        remedy = f"did you mean `{near[0]}`?" if near else f"fields here: {', '.join(known)}"
    elif first["type"] == "missing":
        what = f"the field `{field}` is missing"
    else:
        what = f"`{field}`: {first['msg'].removeprefix('Value error, ')}"
    others = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return CardError(what + others, where=file, line=yamlfile.line_of(file, path), remedy=remedy)


def _model_at(model: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel] | None:
    """The record class that a path of field names leads to."""
    for step in path:
        if isinstance(step, int):
            continue
        field = model.model_fields.get(step)
        candidates = [] if field is None else _classes(field.annotation)
        if not candidates:
            return None
        model = candidates[0]
    return model


def _classes(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _classes(part)]
