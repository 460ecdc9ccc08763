"""A recipe of stages, carried out: initial weights, trial lists, kept features, one stage after the other.

While it runs, `state.safetensors` and `best.safetensors` lie in the folder of the weights; a killed training goes on
from them. `train.log` has a line a validation.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import nn

from bench import weights
from bench.augmentation import Augment
from bench.batches import durations
from bench.cards import DetectorCard, Recipe
from bench.corpora import Dataset
from bench.errors import CardError
from bench.files import explained
from bench.models.objective import balanced_weights
from bench.progress import Display
from bench.recipes import Stage
from bench.scorer import build_model, resolve_model
from bench.training.engine import STATE_FILE, StageTraining
from bench.training.features import Features, constant, kept
from bench.training.inputs import Setting
from bench.training.lists import TrialList, check_classes, training_list, validation_list
from bench.training.loading import Clips, derived
from bench.training.objective import learns, trained_modules
from bench.training.state import read_facts
from bench.trials import is_bonafide
from bench.weights import Checkpoint

WHOLE = "detector"  # the part of `start` that is the whole detector, not a submodule
LOG_FILE = "train.log"
FEATURE_ROWS = 16  # utterances an encoder takes at once where its outputs are kept


@dataclass(frozen=True)
class Setup:
    """Where and how a training runs.

    features: folder of what frozen encoders give, None to keep nothing. feature_limit: bytes that it may take.
    """

    device: str
    workers: int
    display: Display
    features: Path | None
    feature_limit: int


@dataclass(frozen=True)
class StageLists:
    """The trials of a stage."""

    training: TrialList
    validation: TrialList | None


def stage_lists(card: DetectorCard, datasets: Mapping[str, Dataset]) -> dict[str, StageLists]:
    """The trials of each stage, checked: what can be told before hours of training is told before them.

    Raises:
        DataError: a list without trials, or without a class that the stage needs; spoof for a stage of real speech.
        UsageError: a column that the list does not have.
    """
    recipe = card.recipe
    assert recipe is not None, card.name
    one_class = getattr(resolve_model(card.model, card.name), "one_class", ())
    found = {}
    for name, stage in recipe.stages.items():
        lists = StageLists(training_list(recipe, stage, datasets), validation_list(recipe, stage, datasets))
        check_classes(lists.training, "training", one_class=name in one_class)
        if lists.validation is not None and (name in one_class or stage.monitor == "validation EER"):
            check_classes(lists.validation, "validation", one_class=name in one_class)
        found[name] = lists
    return found


def initial(card: DetectorCard, recipe: Recipe, start: Mapping[str, Checkpoint | None]) -> nn.Module:
    """The detector with the weights that its training starts from; what `start` does not name is random.

    Args:
        start: by part, None for random weights.
    Raises:
        CardError: no such part, a part without weights, or a stage that the detector does not have like this.
        WeightsError: weights that do not fit.
    """
    where = f"detector card {card.name}"
    whole = start.get(WHOLE)
    tensors = None if whole is None else weights.read(whole.path)
    with torch.random.fork_rng():
        torch.manual_seed(derived(recipe.seed, "initial weights"))
        model = build_model(card.model, card.arguments, card.name, tensors)
    for name, checkpoint in start.items():
        try:
            part = model if name == WHOLE else model.get_submodule(name)
        except AttributeError:
            raise CardError(f"`recipe.start`: {card.model} has no part {name!r}", where=where) from None
        if checkpoint is not None:
            read = tensors if name == WHOLE and tensors is not None else weights.read(checkpoint.path)
            weights.load_into(part, read, checkpoint.path)
            continue
        for inner, module in part.named_modules(prefix=name):
            if callable(initialise := getattr(module, "initialise", None)):  # a backbone has no weights of its own
                initialise(derived(recipe.seed, "initial weights", inner))
    if lacking := [name for name, parameter in model.named_parameters() if parameter.is_meta]:
        remedy = "name a checkpoint, or `random`, for each backbone"
        raise CardError(f"`recipe.start` gives no weights for {lacking[0]}", where=where, remedy=remedy)
    for name, stage in recipe.stages.items():
        _check_stage(model, name, stage, where)
    return model


def _check_stage(model: Any, name: str, stage: Stage, where: str) -> None:
    """Raises CardError for what the detector does not have in a stage: now, and not hours later when its turn comes."""
    groups = trained_modules(model, name)
    if groups.keys() != stage.learning_rate.keys():
        raise CardError(
            f"stage `{name}` trains {', '.join(groups)}, and has a learning rate for {', '.join(stage.learning_rate)}",
            where=where,
            remedy="give each of these groups its `learning_rate`, and no other",
        )
    try:
        inspect.signature(model.loss).bind(name, (), None, **stage.loss)
    except TypeError as error:
        raise CardError(f"stage `{name}` does not take these options of its `loss`: {error}", where=where) from None
    if name in getattr(model, "one_class", ()) and stage.monitor == "validation EER":
        remedy = "let it watch the `validation loss`"
        raise CardError(f"stage `{name}` tells no classes, so it has no EER to watch", where=where, remedy=remedy)


def trained(
    card: DetectorCard,
    datasets: Mapping[str, Dataset],
    start: Mapping[str, Checkpoint | None],
    folder: Path,
    setup: Setup,
) -> tuple[nn.Module, list[dict[str, Any]]]:
    """The detector, trained by all stages of its recipe, and a record of each; from the last state in `folder`, if any.

    Raises:
        BenchError: see `stage_lists`, `initial` and `StageTraining.run`. What was trained so far is kept.
    """
    recipe = card.recipe
    assert recipe is not None, card.name
    lists = stage_lists(card, datasets)
    process = PartialState(cpu=setup.device == "cpu")  # where there are several, each takes a GPU of its own
    if process.num_processes == 1 and setup.device.startswith("cuda:"):
        torch.cuda.set_device(setup.device)  # what accelerate takes
    model = initial(card, recipe, start).to(setup.device)
    state = folder / STATE_FILE
    facts: dict[str, Any] = read_facts(state) if state.is_file() else {"stage": 0, "done": []}
    done: list[dict[str, Any]] = facts["done"]
    before: list[str] = []
    with torch.random.fork_rng():  # each step seeds the global generator; dropout knows no other
        for number, name in enumerate(recipe.stages):
            if number < facts["stage"]:
                before = StageTraining.learned_by(model, name, before)
                continue
            setting = _setting(model, card, number, lists[name], datasets, setup)
            training = StageTraining(
                model, setting, before=before, done=done, folder=folder, device=setup.device, workers=setup.workers
            )
            done.append(training.run(setup.display, _Log(folder / LOG_FILE, setup.display, training.main)))
            for features in filter(None, (setting.features, setting.validation_features)):
                features.close()  # the next stage may need their room
            before = training.learned
            if number + 1 < len(recipe.stages):
                training.save_end()
    return model, done


class _Log:
    """Lines for who watches and for the log file."""

    def __init__(self, place: Path, display: Display, main: bool) -> None:
        self._place, self._display, self._main = place, display, main

    def __call__(self, line: str) -> None:
        if self._main:
            self._display.note(line)
            with explained(self._place), self._place.open("a", encoding="utf-8") as file:
                file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {line}\n")


def _setting(
    model: nn.Module,
    card: DetectorCard,
    number: int,
    lists: StageLists,
    datasets: Mapping[str, Dataset],
    setup: Setup,
) -> Setting:
    recipe = card.recipe
    assert recipe is not None, card.name
    name, stage = list(recipe.stages.items())[number]
    options = dict(stage.loss)
    if options.get("class_weights") == "balanced":
        options["class_weights"] = balanced_weights(torch.from_numpy(is_bonafide(lists.training.trials))).tolist()
    training, validation = stage_clips(card, name, stage, lists, datasets)
    features = _Kept(model, name, setup)
    by_length = stage.batch_seconds is not None
    return Setting(
        title=f"{card.name}, seed {recipe.seed}, {name}",
        name=name,
        number=number,
        stage=stage,
        seed=recipe.seed,
        options=options,
        training=training,
        validation=validation,
        features=features.of(training, lists.training) if constant(stage, card.audio) else None,
        validation_features=None
        if validation is None or lists.validation is None or validation.augment is not None
        else features.of(validation, lists.validation),
        seconds=_clip_seconds(training) if by_length else None,
    )


def _clip_seconds(clips: Clips) -> np.ndarray:
    """How long the clip of each file is at most."""
    if clips.recipe.samples is not None:
        return np.full(len(clips.trials), clips.recipe.samples / clips.recipe.rate)
    seconds = durations(clips.trials)
    if clips.pieces is not None:
        seconds[seconds > clips.pieces.longest] = clips.pieces.seconds[1]
    return seconds


def stage_clips(
    card: DetectorCard, name: str, stage: Stage, lists: StageLists, datasets: Mapping[str, Dataset]
) -> tuple[Clips, Clips | None]:
    """The utterances of a stage to train and to validate on."""
    about, seed = stage.augmentation, card.recipe.seed if card.recipe else 0
    augment = None
    if about is not None:
        mixed = (about.choices.noise, about.choices.reverberation)
        paths = {part.dataset: datasets[part.dataset].trials["path"].tolist() for part in mixed if part is not None}
        augment = Augment(about, card.audio.rate, paths)
    training = Clips(
        lists.training.trials,
        card.audio,
        augment=augment,
        crop=stage.crop,
        pieces=stage.pieces,
        double=about is not None and about.keep_original,
    )
    if lists.validation is None:
        return training, None
    changed = augment if about is not None and about.validation else None
    draw = (seed, name, "validation")
    return training, Clips(lists.validation.trials, card.audio, draw=draw, augment=changed, pieces=stage.pieces)


class _Kept:
    """The features of a stage whose encoders are frozen."""

    def __init__(self, model: nn.Module, name: str, setup: Setup) -> None:
        trained_modules(model, name)
        self._readings: Sequence[Any] = getattr(model, "readings", ())
        self._frozen = bool(self._readings) and not any(learns(reading.backbone) for reading in self._readings)
        self._setup = setup

    def of(self, clips: Clips, found: TrialList) -> Features | None:
        """None where an encoder learns, or where the cache has no room."""
        setup = self._setup
        if setup.features is None or not self._frozen or clips.pieces is not None or clips.recipe.samples is None:
            return None
        with PartialState(cpu=setup.device == "cpu").main_process_first():
            return kept(
                setup.features,
                self._readings,
                clips,
                found.digest,
                found.files,
                limit=setup.feature_limit,
                batch_size=FEATURE_ROWS,
                device=torch.device(setup.device),
                workers=setup.workers,
                display=setup.display,
                name=found.name,
            )
