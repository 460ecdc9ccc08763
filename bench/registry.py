"""The registry: one YAML file a detector or a dataset, read into the records of `bench.cards`. The folder is the list.

A card never runs anything: `model` and `reader` name code as `package.module:object`, imported by `resolve` when it is
needed, so listing a hundred detectors imports no network. Unknown and misspelt fields are errors with file and line.

A detector may also be named `hf:<organisation>/<model>`: an audio classifier of the model hub that has no card, see
`bench.models.native`. A card for it is made on the spot; it is in no list and no glob.
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from bench import yamlfile
from bench.cards import NAME, RESERVED, Card, DatasetCard, DetectorCard, Weights
from bench.errors import CardError, UsageError, unknown
from bench.recipes import Source

# What was said of the parent is not true of a card that extends it; with weights of its own, nor is what they saw. Its
# recipe is changed field by field, so that a variant says what it varies.
NOT_INHERITED = frozenset({"published", "counts", "listed", "notes", "golden"})
OF_OTHER_WEIGHTS: Mapping[str, frozenset[str]] = {
    "weights": frozenset({"weights", "recipe", "trained_on", "selected_on"}),
    "recipe": frozenset({"weights", "trained_on", "selected_on"}),
}
# Replaced, not changed field by field: the hash of one checkpoint is not that of another, the number of trials drawn
# from one list is nothing to another.
WHOLE = frozenset({Weights, Source})

HUB = "hf:"
_HUB_NAME = re.compile(rf"{HUB}(\w[\w.-]*/\w[\w.-]*)", re.ASCII)

_CONTAINERS = {dict: 1, tuple: 0}  # and which part of their annotation tells what they hold

C = TypeVar("C", DetectorCard, DatasetCard)


class Registry(Generic[C]):
    """The cards of one kind by name.

    Raises:
        CardError: a card that is not valid, a name given twice, a folder without any card.
    """

    def __init__(self, kind: Literal["detectors", "datasets"], extra: Path | None, model: type[C]) -> None:
        self.kind: Literal["detectors", "datasets"] = kind
        self._model: type[C] = model
        self._raw: dict[str, tuple[Path, dict[str, Any]]] = {}
        for file, raw in _read(shipped(kind)).items():
            self._add(file, raw)
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

    def _made(self, name: str) -> dict[str, Any] | None:
        """The fields of a card that is in no file, where the name is enough to make them."""
        return None

    def _build(self, name: str) -> C:
        merged = self._merged(name, ())
        if name not in self._raw:
            return self._model.model_validate(merged)
        file, raw = self._raw[name]
        if "extends" in raw:
            self._build(raw["extends"])  # so that a parent's mistake is told with the parent's file and line
        try:
            return self._model.model_validate(merged)
        except ValidationError as error:
            raise card_error(error, file, merged, self._model) from None

    def _merged(self, name: str, seen: tuple[str, ...]) -> dict[str, Any]:
        if name not in self._raw and (made := self._made(name)) is not None:
            return made
        file, raw = self._raw[name]
        parent = raw.get("extends")
        if parent is None:
            return raw
        what, remedy = "", None
        if not isinstance(parent, str) or parent not in self:
            hint = unknown(self.kind.removesuffix("s"), str(parent), self._raw)
            what, remedy = f"`extends`: {hint.what}", hint.remedy
        elif parent in (*seen, name):
            what = f"`extends` runs in a circle: {' -> '.join((*seen, name, parent))}"
        if what:
            raise CardError(what, where=file, line=yamlfile.line_of(file, ("extends",)), remedy=remedy)
        dropped = NOT_INHERITED.union(*(fields for own, fields in OF_OTHER_WEIGHTS.items() if own in raw))
        if {"model", "arguments"} & raw.keys():
            dropped |= {"parameters"}
        if "licence" in raw:
            dropped |= {"redistributable"}  # was said of the other licence
        inherited = {k: v for k, v in self._merged(parent, (*seen, name)).items() if k not in dropped}
        return _overlay(inherited, {k: v for k, v in raw.items() if k != "extends"}, self._model)

    def __getitem__(self, name: str) -> C:
        if name not in self:
            error = unknown(self.kind.removesuffix("s"), name, self._raw)
            whole, colon, size = name.rpartition(":")
            if colon and size.isdecimal() and whole in self:
                raise UsageError(error.what, remedy=f"a sample of {whole}: name {whole} and --limit {size}")
            raise error
        return self.cards[name] if name in self._raw else self._build(name)

    def __contains__(self, name: object) -> bool:
        return name in self._raw or (isinstance(name, str) and self._made(name) is not None)

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
                names, explicit = self._globbed(fnmatch.filter(sorted(self._raw), pattern)), False
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

    def _globbed(self, names: list[str]) -> list[str]:
        """What a glob chooses of the names that fit it."""
        return names


class Detectors(Registry[DetectorCard]):
    """The detector cards, and one for any `hf:<organisation>/<model>` that is asked for by name."""

    def _globbed(self, names: list[str]) -> list[str]:
        """Without the unlisted ones that are trained here: `aasist*` must not begin hours of training unasked.

        A glob that fits nothing else, e.g. `*-retrained`, means them.
        """
        cards = {name: self.cards[name] for name in names}
        return [name for name, card in cards.items() if card.listed or card.recipe is None] or names

    def _made(self, name: str) -> dict[str, Any] | None:
        named = _HUB_NAME.fullmatch(name)
        if named is None or not re.fullmatch(NAME, name):
            return None
        repo, source = named[1], f"https://huggingface.co/{named[1]}"
        return {
            "name": name,
            "title": repo,
            "summary": f"The audio classifier {repo} of the model hub, as its publisher configured it.",
            "family": "model hub",
            "code": source,
            "licence": "see the model card",
            "notices": ["What it was trained on is not known here: it may have seen any dataset."],
            "notes": ["Which label is bona fide is read from its config.json."],
            "model": "bench.models.native:NativeClassifier",
            "audio": {"rate": 16_000, "window": "whole"},
            "weights": {"file": repo, "hub": {"repo": repo}, "source": source, "licence": "see the model card"},
            "decision": {"column": "score", "threshold": 0.0},
            "scores": "log-odds",
        }

    def __getitem__(self, name: str) -> DetectorCard:
        if name.startswith(HUB) and name not in self:
            what = f"{name!r} names no model of the hub"
            raise UsageError(what, remedy=f"write {HUB}<organisation>/<model>, as in the address of its page")
        return super().__getitem__(name)


def detectors(extra: Path | None = None) -> Registry[DetectorCard]:
    """All detector cards: those that ship with the harness and those of the user's folder `extra`."""
    return Detectors("detectors", extra, DetectorCard)


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


@cache
def _read(folder: Path) -> Mapping[Path, dict[str, Any]]:
    """The cards that ship, read once a process: PyYAML takes milliseconds for each."""
    return {file: yamlfile.load(file) for file in _files(folder)}


def _own(folder: Path, kind: Literal["detectors", "datasets"]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The cards of one kind in a user's folder, which may hold both; one that extends another is of its kind."""
    own = {file: yamlfile.load(file) for file in _files(folder)}
    raws = [*_read(shipped("datasets")).values(), *own.values()]
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


def _overlay(base: Mapping[str, Any], change: Mapping[str, Any], annotation: Any) -> dict[str, Any]:
    """`base` with the fields of `change`, as in a JSON merge patch (RFC 7396): mappings are merged, null takes a field
    away, so that its default holds, anything else is replaced; so are the records of `WHOLE`.

    Args:
        annotation: of the record or mapping that both are.
    """
    merged = dict(base)
    for key, value in change.items():
        old, inside = merged.get(key), _inside(annotation, key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and WHOLE.isdisjoint(_records(inside)):
            merged[key] = _overlay(old if isinstance(old, Mapping) else {}, value, inside)
        else:
            merged[key] = value
    return merged


def card_error(error: ValidationError, file: Path, card: Mapping[str, Any], model: type[BaseModel]) -> CardError:
    """One complaint of pydantic about a card or leaderboard.yml, a misspelt field first: field, line, nearest name."""
    first = min(error.errors(), key=lambda complaint: complaint["type"] != "extra_forbidden")
    path = _path(first["loc"], card, missing=first["type"] == "missing")
    field = ".".join(map(str, path)) or "card"
    remedy = None
    if first["type"] == "extra_forbidden":
        owner = _model_at(model, path[:-1])
        known = [*owner.model_fields, *(["extends"] if issubclass(owner, Card) else [])] if owner else []
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        what = f"unknown field `{field}`"
        remedy = f"did you mean `{near[0]}`?" if near else f"fields here: {', '.join(known)}"
    elif first["type"] == "missing":
        what = f"the field `{field}` is missing"
    else:
        what = f"`{field}`: {first['msg'].removeprefix('Value error, ')}"
    others = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return CardError(what + others, where=file, line=yamlfile.line_of(file, path), remedy=remedy)


def _path(steps: Sequence[str | int], card: Any, *, missing: bool) -> list[str | int]:
    """Where in a card pydantic complains: its steps but for the names it gives to the parts of a union.

    Args:
        missing: whether the complaint is that the last step is not there.
    """
    path: list[str | int] = []
    for number, step in enumerate(steps, start=1):
        here = range(len(card)) if isinstance(card, Sequence) and not isinstance(card, str) else card
        if isinstance(here, (Mapping, range)) and step in here:
            card = card[step]
            path.append(step)
        elif missing and number == len(steps):
            path.append(step)
    return path


def _model_at(model: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel] | None:
    """The record that a path of field names, keys and places in lists leads to."""
    annotation: Any = model
    for step in path:
        annotation = _inside(annotation, step)
    return next(iter(_records(annotation)), None)


def _inside(annotation: Any, step: str | int) -> Any:
    """The annotation of a field of a record, of what is under a key or at a place in a list; None where nothing is."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(step))
        return field.annotation if field else None
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in _CONTAINERS:
        return parts[_CONTAINERS[origin]]
    return next((found for part in parts if (found := _inside(part, step)) is not None), None)


def _records(annotation: Any) -> list[type[BaseModel]]:
    """The records that an annotation allows in this very place: itself, or those of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    parts = () if get_origin(annotation) in _CONTAINERS else get_args(annotation)
    return [found for part in parts for found in _records(part)]
