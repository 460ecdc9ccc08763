"""What this machine has: the cards, and for each of them the corpus, the checkpoint and the results, looked up once.

Every command starts here. Nothing is scored or written in this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

from bench import corpora, perturbations, registry, training, weights
from bench.cards import DatasetCard, DetectorCard, Recipe, Weights
from bench.corpora import Dataset
from bench.errors import BenchError, Blocked, CardError, MissingWeights, UsageError, unknown
from bench.perturbations import Perturbation
from bench.registry import Registry
from bench.store import Store
from bench.training import Materials
from bench.trials import digest, first_trials
from bench.weights import Checkpoint

T = TypeVar("T")
CHOICES = {"train": ("missing", "never"), "precision": ("fp32", "tf32", "bf16", "auto"), "executor": ("local", "ray")}


@dataclass(frozen=True)
class Options:
    """Where things lie and how to run.

    data_root: the folder of all corpora; `data` names the place of single datasets (and of their siblings), or of the
            user's own list or folder under a name of its own; also of packs (`bench.shards`), maybe by an address.
    weights: folders that are searched for checkpoints by file name.
    device: see `bench.environment.pick_devices`. precision: fp32, or a faster one where a probe allows it
            (`bench.probe`); `auto` is the fastest that the device has. executor: `local`, or `ray` at `address`.
    batch_size, workers: None picks them for the device. limit: about so many trials of each dataset.
    train: what has a recipe and no weights yet is trained, or `never`. seeds: how many trainings of each recipe, with
            its own seed and those that follow it.
    feature_limit: bytes of the results folder for what frozen encoders give in training; 0 keeps nothing.
    """

    data_root: Path = Path("data")
    data: Mapping[str, Path | str] = field(default_factory=dict)
    weights: Sequence[Path] = (Path("weights"),)
    results: Path = Path("results")
    cards: Path | None = None
    device: str = "auto"
    precision: Literal["fp32", "tf32", "bf16", "auto"] = "fp32"
    executor: Literal["local", "ray"] = "local"
    address: str | None = None
    batch_size: int | None = None
    workers: int | None = None
    limit: int | None = None
    allow_missing: bool = False
    train: Literal["missing", "never"] = "missing"
    seeds: int = 1
    feature_limit: int = 32 * 10**9

    def __post_init__(self) -> None:
        for option, values in CHOICES.items():
            if (given := getattr(self, option)) not in values:
                choices = " or ".join(f"`{value}`" for value in values)
                raise UsageError(f"`{option}` cannot be {given!r}", remedy=f"give {choices}")
        if self.address is not None and self.executor != "ray":
            raise UsageError("an address is that of a Ray cluster", remedy="give --executor ray with --address")
        if self.seeds < 1:
            raise UsageError(f"{self.seeds} seeds cannot be trained", remedy="give 1 or more")


@dataclass(frozen=True)
class TrainedWeights:
    """Where the weights of a recipe lie, or will: `folder` is named by the recipe key.

    card: with the seed that they are trained with. materials: what training takes.
    """

    card: DetectorCard
    materials: Materials
    folder: Path

    @property
    def recipe(self) -> Recipe:
        assert self.card.recipe is not None, self.card.name
        return self.card.recipe

    @property
    def file(self) -> Path:
        """The weights: there once the training has ended."""
        return self.folder / training.WEIGHTS_FILE


class Workspace:
    """The look-ups of one command. `make` allows it to write corpora that the harness makes itself (`demo`)."""

    def __init__(self, options: Options, *, make: bool = False) -> None:
        self.options = options
        self._make = make
        self.store = Store(options.results)
        self._found: dict[tuple[str, ...], object] = {}

    @cached_property
    def detectors(self) -> Registry[DetectorCard]:
        return registry.detectors(self.options.cards)

    @cached_property
    def datasets(self) -> Registry[DatasetCard]:
        return registry.datasets(self.options.cards)

    def select_datasets(self, patterns: Iterable[str]) -> dict[str, bool]:
        """As `Registry.select`, and the names that `--data` gives the user's own files; each of them, a glob and `all`
        too, may have perturbations behind it: `itw+mp3@64k`.

        Raises:
            UsageError: also for a perturbation that there is not, and for a name of `--data` that is no dataset and
                that nothing asks for: a slip of the pen.
        """
        names = [name.strip() for pattern in patterns for name in pattern.split(",") if name.strip()]
        selected: dict[str, bool] = {}
        for pattern, perturbation in map(perturbations.split, names):
            own = pattern not in self.datasets and pattern in self.options.data
            for clean, named in ({pattern: True} if own else self.datasets.select([pattern])).items():
                name = perturbations.joined(clean, perturbation)
                selected[name] = selected.get(name, False) or named
        if not names:
            return self.datasets.select(names)  # says that none was named
        asked = {perturbations.split(name)[0] for name in selected}
        recipes = [card.recipe for card in self.detectors.cards.values() if card.recipe]
        trained_on = {name for recipe in recipes for name in recipe.datasets} if self.options.data else ()
        for name in self.options.data:
            if name not in self.datasets and name not in asked and name not in trained_on:
                error = unknown("dataset", name, self.datasets.names)
                raise UsageError(f"--data: {error.what}, and nothing asks for it", remedy=error.remedy)
        return selected

    def dataset_card(self, name: str) -> DatasetCard:
        """The card of a dataset; a name without one stands for the user's own list or folder given for it. That of a
        perturbed dataset is the clean one's, with the name and texts that say so.

        Raises:
            UsageError: a name nobody knows, a perturbation that there is not.
        """
        clean, perturbation = perturbations.split(name)
        if perturbation is not None:
            return _perturbed(self.dataset_card(clean), perturbation)
        if name in self.datasets:
            return self.datasets[name]
        if name in self.options.data:
            return corpora.own_card(name, self.options.data[name])
        error = unknown("dataset", name, self.datasets.names)
        raise UsageError(error.what, remedy=f"{error.remedy}; your own files: --data {name}=FOLDER_OR_CSV")

    def dataset(self, name: str) -> Dataset:
        """The whole dataset of this name, read once; a perturbed one has the trials and the digest of the clean one.

        Raises:
            UsageError: a name nobody knows, a perturbation that there is not.
            Blocked, DataError: not here, or not what its reader expects.
        """

        def load() -> Dataset:
            clean, perturbation = perturbations.split(name)
            card = self.dataset_card(name)
            if perturbation is not None:
                perturbation.check()
                return replace(self.dataset(clean), card=card, perturbation=perturbation)
            return corpora.find(card, self.options.data_root, self.options.data, make=self._make)

        return self.once(("dataset", name), load)

    def would_make(self, card: DetectorCard, name: str | None = None) -> bool:
        """Whether a run that may write would make itself all that a detector lacks, and the dataset to score."""
        if self._make:
            return False
        lists, files = self._lacking(card) if card.recipe else ({}, {})
        absent = set(lists)
        if name is not None:
            try:
                self.dataset(name)
            except Blocked:
                absent.add(name)
        return bool(absent) and not files and all(self.dataset_card(each).made_by for each in absent)

    def evaluated(self, name: str) -> Dataset:
        """The dataset to score: the whole one, or with `limit` a sample under a name of its own.

        Another trial list is another dataset: its cells must never be taken for those of the whole.
        """
        dataset, limit = self.dataset(name), self.options.limit
        if limit is None or limit >= len(dataset.trials):
            return dataset
        return self.once(("sample", name), lambda: _sample(dataset, limit))

    def missing_audio(self, name: str) -> list[int]:
        """Row numbers of the whole dataset whose audio file is not here."""
        clean, _ = perturbations.split(name)
        return self.once(("audio", clean), lambda: corpora.missing_audio(self.dataset(clean).trials))

    def complete(self, name: str) -> Dataset:
        """A dataset to train on, with all of its audio: training on part of it would be another recipe.

        Raises:
            Blocked: it is not here, or some of its audio is not. UsageError, DataError: as `dataset`.
            CardError: a perturbed one.
        """
        dataset = self.dataset(name)
        if dataset.perturbation is not None:
            clean, _ = perturbations.split(name)
            what = f"no recipe can use {name}: perturbations are made when a dataset is scored"
            raise CardError(what, remedy=f"name {clean}, and change it by the `augmentation` of the recipe's stages")
        if missing := self.missing_audio(name):
            first = dataset.trials["path"].iloc[missing[0]] or "no audio folder"
            count = f"{len(missing):,} of {len(dataset.trials):,} audio files are missing"
            raise Blocked(f"{count} ({first})", remedy=dataset.card.obtain)
        return dataset

    def released(self, wanted: Weights, needed_by: str) -> Checkpoint:
        """A released file that a detector needs, as `bench.weights.find`; what several cards share is hashed once."""
        key = ("file", wanted.file, wanted.sha256 or "")
        return self.once(key, lambda: weights.find(wanted, self.options.weights, needed_by))

    def _lacking(self, card: DetectorCard) -> tuple[dict[str, Blocked], dict[str, Blocked]]:
        """What training needs and is not here: datasets by name and weights by file, each with what to do about it."""
        assert card.recipe is not None, card.name
        lists: dict[str, Blocked] = {}
        files: dict[str, Blocked] = {}
        for name in card.recipe.datasets:
            try:
                self.complete(name)
            except Blocked as error:
                lists[name] = error
        for wanted in start_weights(card.recipe).values():
            try:
                self.released(wanted, card.name)
            except MissingWeights as error:
                files[wanted.file] = error
        return lists, files

    def trained(self, card: DetectorCard, seed: int | None = None) -> TrainedWeights:
        """Where the weights of a card with a recipe lie, trained with `seed` or the recipe's own.

        Raises:
            Blocked: corpora, some of their audio, or weights to start from are not here: all of them are told.
            CardError: the detector's class cannot carry the recipe out.
            DataError, WeightsError: what is here is not what it should be.
        """
        assert card.recipe is not None, card.name
        recipe = card.recipe if seed is None else card.recipe.model_copy(update={"seed": seed})
        seeded = card.model_copy(update={"recipe": recipe})
        return self.once(("trained", card.name, str(recipe.seed)), lambda: self._trained(seeded))

    def _trained(self, card: DetectorCard) -> TrainedWeights:
        assert card.recipe is not None, card.name
        training.check(card)
        lists, files = self._lacking(card)
        if lists or files:
            raise _blocked(card.name, lists, files)
        start = start_weights(card.recipe)
        materials = Materials(
            {name: self.dataset(name) for name in card.recipe.datasets},
            {part: self.released(start[part], card.name) if part in start else None for part in card.recipe.start},
        )
        key = training.recipe_key(card, materials)
        return TrainedWeights(card, materials, self.store.weights_folder(card.name, key))

    def checkpoint(self, card: DetectorCard, seed: int | None = None) -> Checkpoint | None:
        """The weights of a detector: released, trained here (see `trained`), or None: it has none, or none yet.

        Raises:
            Blocked: the released file, or what training needs, is not here.
            WeightsError: the file is not the published one.
        """
        if card.recipe is not None:
            place = self.trained(card, seed).file
            return (
                self.once(("made", str(place)), lambda: Checkpoint(place, verified=True)) if place.is_file() else None
            )
        if (wanted := card.weights) is not None:
            return self.once(("weights", card.name), lambda: weights.find(wanted, self.options.weights, card.name))
        return None

    def seeds(self, card: DetectorCard) -> Sequence[int | None]:
        """The seeds that a run scores a detector with; None is its own, and all there is without a recipe."""
        if card.recipe is None or self.options.seeds == 1:
            return (None,)
        return range(card.recipe.seed, card.recipe.seed + self.options.seeds)

    def once(self, key: tuple[str, ...], look_up: Callable[[], T]) -> T:
        """The answer of the first look-up, an error included: a corpus is read and a checkpoint hashed once a run."""
        if key not in self._found:
            try:
                self._found[key] = look_up()
            except BenchError as error:
                self._found[key] = error
        found = self._found[key]
        if isinstance(found, BenchError):
            raise found
        return found  # type: ignore[return-value]  # what `look_up` of this key returned


def start_weights(recipe: Recipe) -> dict[str, Weights]:
    """The released weights that training starts from, by the part that takes them; random ones are none."""
    return {part: wanted for part, wanted in recipe.start.items() if isinstance(wanted, Weights)}


def weights_of(card: DetectorCard) -> list[Weights]:
    """The released files that a detector needs: its weights, or what its training starts from."""
    start = start_weights(card.recipe).values() if card.recipe else ()
    return [*([card.weights] if card.weights else []), *start]


def _blocked(name: str, lists: Mapping[str, Blocked], files: Mapping[str, Blocked]) -> Blocked:
    """Why a detector cannot be trained: all that is missing at once."""
    kind = Blocked if lists else MissingWeights
    if len(lists) + len(files) == 1:
        ((lacking, error),) = (lists or files).items()
        needs = f"training {name} needs {lacking}" if lists else f"training {name}"
        return kind(f"{needs}: {error.what}", remedy=error.remedy)
    told = [*lists, *(f"the weights {file}" for file in files)]
    commands = [f"`bench fetch datasets {' '.join(lists)}`"] if lists else []
    commands += ["`bench fetch detectors` with its name"] if files else []
    return kind(
        f"its training needs what is not here, or not all of it: {', '.join(told)}",
        remedy=f"{' and '.join(commands)}; what cannot be downloaded is explained step by step",
    )


def _perturbed(card: DatasetCard, perturbation: Perturbation) -> DatasetCard:
    texts = {
        "name": perturbations.joined(card.name, perturbation),
        "title": f"{card.title}: {perturbation.words}",
        "summary": f"The trials of {card.name}, changed on the fly: {perturbation.words}. {card.summary}",
    }
    return card.model_copy(update={**texts, "sibling_of": None})


def _sample(dataset: Dataset, limit: int) -> Dataset:
    trials = first_trials(dataset.trials, limit)
    card = dataset.card.model_copy(update={"name": f"{dataset.name}:{limit}", "sibling_of": None, "counts": None})
    about = tuple(f"sampled from {sentence}" for sentence in dataset.about)
    return replace(dataset, card=card, trials=trials, digest=digest(trials), about=about)
