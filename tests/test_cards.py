"""The recipes of the cards that ship: they fit their detectors and their lists, and say what the literature says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bench import registry, training
from bench.cards import DetectorCard, Recipe
from bench.errors import UsageError
from bench.models.wav2vec2 import Backbone
from bench.recipes import Stage
from bench.registry import Registry
from bench.scoring import build_model
from tests.models.steps import noise
from tests.recipes import real_speech, shipped, tiny, write

ROOT = Path(__file__).resolve().parent.parent
DATASETS = registry.datasets()
STAGED = tuple(shipped())


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Registry[DetectorCard]:
    """The shipped cards, and a tiny one of each recipe."""
    folder = tmp_path_factory.mktemp("cards")
    assert write(folder, STAGED) == [f"tiny-{name}" for name in STAGED]
    return registry.detectors(folder)


def recipe(card: DetectorCard) -> Recipe:
    assert card.recipe is not None
    return card.recipe


def built(card: DetectorCard) -> Any:
    """The network of a tiny card with random weights."""
    torch.manual_seed(0)
    network = build_model(card.model, card.arguments, card.name)
    for backbone in backbones(network).values():
        backbone.initialise(0)
    return network


def backbones(network: torch.nn.Module) -> dict[str, Backbone]:
    return {name: part for name, part in network.named_modules() if isinstance(part, Backbone)}


def stages() -> Iterator[tuple[str, str, Stage]]:
    return ((name, stage, about) for name in STAGED for stage, about in recipe(shipped()[name]).stages.items())


# Recipe and detector


@pytest.mark.parametrize("name", STAGED)
def test_a_recipe_fits_its_detector(name: str, cards: Registry[DetectorCard]) -> None:
    """Its class has every stage, whose groups are exactly those with a rate, and knows no others."""
    training.check(shipped()[name])
    network = built(cards[f"tiny-{name}"])
    for stage, about in recipe(shipped()[name]).stages.items():
        groups = network.trainable(stage)
        assert list(groups) == list(about.learning_rate)
        parameters = [id(p) for modules in groups.values() for module in modules for p in module.parameters()]
        assert 0 < len(parameters) == len(set(parameters))  # none in two groups
    with pytest.raises(UsageError, match=f"is called '{name}'"):
        network.trainable(name)


@pytest.mark.parametrize("name", STAGED)
def test_every_backbone_starts_from_something(name: str, cards: Registry[DetectorCard]) -> None:
    """All that is without weights of its own is named by `start`, or is part of a checkpoint of the whole detector."""
    start = recipe(shipped()[name]).start
    with torch.device("meta"):
        network = build_model(shipped()[name].model, shipped()[name].arguments, name)
    assert set(start) in ({"detector"}, set(backbones(network)))
    assert set(recipe(cards[f"tiny-{name}"]).start) == set(backbones(network))


@pytest.mark.parametrize(("name", "stage", "about"), [pytest.param(*row, id="-".join(row[:2])) for row in stages()])
def test_the_loss_of_a_stage_takes_its_options(
    name: str, stage: str, about: Stage, cards: Registry[DetectorCard]
) -> None:
    """A finite scalar with a gradient for every group, and scores unless the stage tells no classes."""
    card = cards[f"tiny-{name}"]
    network, samples = built(card), card.audio.samples or 16_000
    wave, lengths = noise(4, samples), torch.full((4,), samples)
    readings = getattr(network, "readings", None)
    inputs = (wave, lengths) if readings is None else [reading(wave) for reading in readings]
    labels = torch.tensor([1.0, 0.0, 1.0, 0.0]) if not real_speech(about) else torch.ones(4)
    options = {**about.loss, **({"class_weights": [1.0, 1.0]} if about.loss.get("class_weights") == "balanced" else {})}
    value, scores = network.loss(stage, inputs, labels, **options)
    assert value.shape == () and torch.isfinite(value)
    assert scores is None if real_speech(about) else scores.shape == (4,)
    value.backward()
    for modules in network.trainable(stage).values():
        assert any(p.grad is not None and p.grad.any() for module in modules for p in module.parameters())


# Recipe and lists


@pytest.mark.parametrize("name", STAGED)
def test_the_lists_of_a_recipe_exist_and_are_owned_up_to(name: str) -> None:
    """Each dataset has a card; what is trained on is in `trained_on`, what decides in `selected_on` or there, too."""
    card = shipped()[name]
    about = recipe(card)
    assert set(about.datasets) <= set(DATASETS.names)
    for stage in about.stages.values():
        trained = {source.dataset for source in stage.train} or {about.train}
        assert trained <= set(card.trained_on)
        watched = {stage.validation.dataset if stage.validation else about.dev} - {None}
        if stage.monitor != "training loss":
            assert watched and watched <= {*card.trained_on, *card.selected_on}
            assert not watched & trained  # one dataset may serve two stages, not a stage twice
    if "detector" not in about.start:  # whose checkpoint saw and was selected on more
        assert {*card.trained_on, *card.selected_on} <= set(about.speech)


@pytest.mark.parametrize("name", STAGED)
def test_what_a_stage_watches_can_be_measured(name: str) -> None:
    """An EER needs both classes; trials and columns that a source names are those of its dataset."""
    for stage in recipe(shipped()[name]).stages.values():
        assert not (real_speech(stage) and stage.monitor == "validation EER")
        assert not real_speech(stage) or (stage.validation and stage.validation.where == {"label": "bonafide"})
        for source in (*stage.train, *([stage.validation] if stage.validation else [])):
            counts = DATASETS[source.dataset].counts
            assert counts is None or source.dataset == "ravdess" or (source.trials or 0) <= counts.trials
            assert set(source.where) <= {"label", "language"} and source.stratify in (None, "attack")


def test_all_trains_only_what_nobody_has_released() -> None:
    """`--detectors all` does not train for days what can be downloaded: a class with released weights, a demo."""
    everything = registry.detectors().cards
    released = {card.model for card in everything.values() if card.weights}
    trained = {name for name in registry.detectors().select(["all"]) if everything[name].recipe}
    assert not {everything[name].model for name in trained} & released
    assert trained == {"lfcc-gmm", "slim", "slim-finetuned", "two-stage-xlsr", "two-stage-xlsr-frozen", "xls-r-linear-probe"}
    kept = {name for name, card in everything.items() if card.recipe and not card.listed}
    assert all(name.endswith(("-retrained", "-dfe", "-post-training", "-demo")) for name in kept)


def test_detectors_that_share_features_read_alike() -> None:
    """Probe and two-stage XLS-R draw the same trials of the same audio, so the frozen encoder runs once."""
    names = ("two-stage-xlsr", "two-stage-xlsr-frozen", "xls-r-linear-probe")
    first, *others = (shipped()[name] for name in names)
    for other in others:
        assert (other.audio, other.arguments) == (first.audio, first.arguments)
        assert recipe(other).start == recipe(first).start and recipe(other).seed == recipe(first).seed
        assert recipe(other).stages["head"] == recipe(first).stages["head"]


# Recipe and literature

WEIGHTED = {"class_weights": [0.1, 0.9]}
# name, stage: loss, optimiser, weight decay, rates, schedule, batch, epochs, patience, monitor, RawBoost, seed
PUBLISHED: dict[tuple[str, str], tuple[Any, ...]] = {
    ("xlsr-sls-retrained", "whole"): (WEIGHTED, "adam", 1e-4, [1e-6], "constant", 5, 50, 1, "training loss", 3, 1234),
    ("xlsr-sls-v2-retrained", "whole"): (WEIGHTED, "adam", 1e-4, [1e-6], "constant", 5, 50, 10, "validation loss", 3, 1234),
    ("ssl-aasist-la-retrained", "whole"): (
        WEIGHTED, "adam", 1e-4, [1e-6], "constant", 14, 100, None, "validation loss", 5, 1234
    ),
    ("ssl-aasist-df-retrained", "whole"): (
        WEIGHTED, "adam", 1e-4, [1e-6], "constant", 14, 100, None, "validation loss", 3, 1234
    ),
    ("aasist-retrained", "whole"): (
        WEIGHTED, "adam", 1e-4, [(1e-4, 5e-6)], "cosine", 24, 100, None, "validation EER", 0, 1234
    ),
    ("aasist-l-retrained", "whole"): (
        WEIGHTED, "adam", 1e-4, [(1e-4, 5e-6)], "cosine", 24, 100, None, "validation EER", 0, 1234
    ),
    ("rawnet2-retrained", "whole"): (WEIGHTED, "adam", 1e-4, [1e-4], "constant", 32, 100, None, "validation loss", 0, 1234),
    ("lfcc-lcnn-retrained", "whole"): ({}, "adam", 0.0, [3e-4], "exponential", 64, 100, 50, "validation loss", 0, 1000),
}
PUBLISHED |= {}
