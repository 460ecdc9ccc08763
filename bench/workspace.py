"""What this machine has: the cards, and for each of them the corpus, the checkpoint and the results, looked up once.

Every command starts here. Nothing is scored or written in this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from bench import corpora, registry, training, weights
from bench.cards import DatasetCard, DetectorCard, Recipe
from bench.corpora import Dataset
from bench.errors import BenchError, Blocked, UsageError, unknown
from bench.registry import Registry
from bench.scoring import model_version
from bench.store import Store
from bench.trials import digest, first_trials
from bench.weights import Checkpoint

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """Where things lie and how to run.

    data_root: the folder of all corpora; `data` names the place of single datasets (and of their siblings), or of the
            user's own list or folder under a name of its own.
    weights: folders that are searched for checkpoints by file name.
    batch_size, workers: None picks them for the device. limit: about so many trials of each dataset.
    """

    data_root: Path = Path("data")
    data: Mapping[str, Path] = field(default_factory=dict)
    weights: Sequence[Path] = (Path("weights"),)
    results: Path = Path("results")
    cards: Path | None = None
    device: str = "auto"
    batch_size: int | None = None
    workers: int | None = None
    limit: int | None = None
    allow_missing: bool = False


@dataclass(frozen=True)
class TrainedWeights:
    """Where the weights of a recipe lie, or will: `folder` is named by the recipe key, `dataset` is the train list."""

    recipe: Recipe
    folder: Path
    dataset: Dataset

    @property
    def checkpoint(self) -> Checkpoint | None:
        path = self.folder / training.WEIGHTS_FILE
        return Checkpoint(path, verified=True) if path.is_file() else None


class Workspace:
    """The look-ups of one command. `make` allows it to write corpora that the harness makes itself (`demo`)."""

    def __init__(self, options: Options, *, make: bool = False) -> None:
        self.options = options
        self._make = make
        self.store = Store(options.results)
        self._found: dict[tuple[str, str], object] = {}

    @cached_property
    def detectors(self) -> Registry[DetectorCard]:
        return registry.detectors(self.options.cards)

    @cached_property
    def datasets(self) -> Registry[DatasetCard]:
        return registry.datasets(self.options.cards)

    def select_datasets(self, patterns: Iterable[str]) -> dict[str, bool]:
        """As `Registry.select`, and the names that `--data` gives the user's own files.

        Raises:
            UsageError: also for a name of `--data` that is no dataset and that nothing asks for: a slip of the pen.
        """
        names = [name.strip() for pattern in patterns for name in pattern.split(",") if name.strip()]
        own = {name: True for name in names if name not in self.datasets and name in self.options.data}
        known = [name for name in names if name not in own]
        selected = self.datasets.select(known) | own if known or not own else own
        trained_on = {card.recipe.train for card in self.detectors.cards.values() if card.recipe}
        for name in self.options.data:
            if name not in self.datasets and name not in selected and name not in trained_on:
                error = unknown("dataset", name, self.datasets.names)
                raise UsageError(f"--data: {error.what}, and nothing asks for it", remedy=error.remedy)
        return selected

    def dataset_card(self, name: str) -> DatasetCard:
        """The card of a dataset; a name without one stands for the user's own list or folder given for it.

        Raises:
            UsageError: a name nobody knows.
        """
        if name in self.datasets:
            return self.datasets[name]
        if name in self.options.data:
            return corpora.own_card(name, self.options.data[name])
        error = unknown("dataset", name, self.datasets.names)
        raise UsageError(error.what, remedy=f"{error.remedy}; your own files: --data {name}=FOLDER_OR_CSV")

    def dataset(self, name: str) -> Dataset:
        """The whole dataset of this name, read once.

        Raises:
            UsageError: a name nobody knows.
            Blocked, DataError: not here, or not what its reader expects.
        """

        def load() -> Dataset:
            card = self.dataset_card(name)
            place = self.options.data.get(name) or self.options.data.get(card.sibling_of or "")
            # A list or folder without a card names its place itself.
            root = place if place is not None and name in self.datasets else self.options.data_root
            return corpora.load(card, root, make=self._make)

        return self.once(("dataset", name), load)

    def would_make(self, name: str, card: DetectorCard) -> bool:
        """Whether a run that may write would make this dataset, or the corpus the detector is trained on, itself."""
        needed = [name, *([card.recipe.train] if card.recipe else [])]
        return not self._make and any(self.dataset_card(each).made_by for each in needed)

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
        return self.once(("audio", name), lambda: corpora.missing_audio(self.dataset(name).trials))

    def trained(self, card: DetectorCard) -> TrainedWeights:
        """Where the weights of a card with a recipe lie.

        Raises:
            Blocked: the training corpus, or some of its audio, is not here, or the recipe cannot be carried out.
        """
        assert card.recipe is not None, card.name
        if not training.has_fit(card):
            raise Blocked(
                "its recipe needs gradient training, which this version does not have yet",
                remedy="make a card that extends it with `weights` of your own",
            )
        recipe, needs = card.recipe, f"training {card.name} needs {card.recipe.train}"
        try:
            dataset = self.dataset(recipe.train)
        except Blocked as error:
            raise Blocked(f"{needs}: {error.what}", remedy=error.remedy) from None
        if missing := self.missing_audio(recipe.train):
            first = dataset.trials["path"].iloc[missing[0]] or "no audio folder"
            count = f"{len(missing):,} of {len(dataset.trials):,} audio files are missing"
            raise Blocked(f"{needs}: {count} ({first})", remedy=dataset.card.obtain)
        key = training.recipe_key(card, dataset.digest, model_version(card.model, card.name), dataset.files)
        return TrainedWeights(recipe, self.store.weights_folder(card.name, key), dataset)

    def checkpoint(self, card: DetectorCard) -> Checkpoint | None:
        """The weights of a detector: released, trained here, or None where it has none, or none yet.

        Raises:
            Blocked: the released file or the training corpus is not here.
            WeightsError: the file is not the published one.
        """
        if card.recipe is not None:
            return self.trained(card).checkpoint
        if (wanted := card.weights) is not None:
            return self.once(("weights", card.name), lambda: weights.find(wanted, self.options.weights, card.name))
        return None

    def once(self, key: tuple[str, str], look_up: Callable[[], T]) -> T:
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


def _sample(dataset: Dataset, limit: int) -> Dataset:
    trials = first_trials(dataset.trials, limit)
    card = dataset.card.model_copy(update={"name": f"{dataset.name}:{limit}", "sibling_of": None, "counts": None})
    return replace(dataset, card=card, trials=trials, digest=digest(trials))
