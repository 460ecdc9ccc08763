"""Test cards of every recipe that ships: they extend the real card with a tiny random network, other lists and so few
short epochs that all of it is trained in seconds. What makes a recipe, its stages, losses, optimisers, schedules,
augmentation and stopping rules, stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bench import registry
from bench.cards import DetectorCard, Recipe
from bench.recipes import Augmentation, Schedule, Stage

BACKBONE = {"layers": 2, "width": 32, "feed_forward": 64, "heads": 4, "conv_width": 16, "taps": 16, "groups": 4}
GRAPH = {"filts": [12, [1, 4], [4, 4], [4, 8], [8, 8]], "gat_dims": [8, 8]}
# Arguments and audio by class: a second where the network takes it.
SMALL: Mapping[str, Mapping[str, Any]] = {
    "sls:SLS": {"arguments": {"backbone": BACKBONE, "hidden": 8}},
    "ssl_aasist:SSLAASIST": {"arguments": {"backbone": BACKBONE}, "audio": {"samples": 16_000}},
    "antideepfake:AntiDeepfake": {"arguments": {"backbone": BACKBONE}},
    "two_stage:TwoStageXLSR": {"arguments": {"backbone": BACKBONE}, "audio": {"samples": 16_000}},
    "linear_probe:LinearProbe": {"arguments": {"backbone": BACKBONE}, "audio": {"samples": 16_000}},
    "slim:Slim": {
        "arguments": {
            "encoder": BACKBONE,
            "style_layers": [0, 0],
            "linguistics_layers": [1, 1],
            "features": 8,
            "attention": 8,
            "mlp": [8],
            "head": [8],
        },
        "audio": {"samples": 16_000},
    },
    "aasist:AASIST": {"arguments": GRAPH, "audio": {"samples": 16_000}},
    "rawnet2:RawNet2": {
        "arguments": {"filts": [4, [4, 4], [4, 8], [8, 8]], "gru_node": 16, "nb_gru_layer": 1, "nb_fc_node": 16},
        "audio": {"samples": 16_000},
    },
    "lfcc_lcnn:LfccLcnn": {},
}
BATCH, SECONDS = 8, 20.0
RATE = 1e-3  # at least, of the fastest group: a loss must fall within a few steps


@cache
def shipped() -> Mapping[str, DetectorCard]:
    """The cards whose recipe has stages, by name."""
    return {name: card for name, card in registry.detectors().cards.items() if recipe_of(card).stages}


def recipe_of(card: DetectorCard) -> Recipe:
    return card.recipe or Recipe(train="")


def tiny(
    name: str,
    *,
    train: str = "demo-train",
    dev: str = "demo-dev",
    trials: int | None = None,
    epochs: int = 2,
    **changes: Any,
) -> dict[str, Any]:
    """The fields of the card `tiny-NAME`, which extends a shipped one.

    Args:
        train, dev: datasets; `train` is also what noise and room responses are taken from.
        trials: so many are drawn of each, in the proportion of the classes; all by default.
        epochs: of each stage, unless its patience ends it.
        changes: fields, over the others as in a card that extends.
    """
    card = shipped()[name]
    recipe = recipe_of(card)
    fields = {
        "name": f"tiny-{name}",
        "extends": name,
        "title": f"{card.title}: tiny, of a random network",
        **SMALL[card.model.removeprefix("bench.models.")],
        "recipe": {
            "train": train,
            "dev": dev,
            "start": _random(recipe.start),
            "stages": {stage: _short(about, train, dev, trials, epochs) for stage, about in recipe.stages.items()},
        },
        "trained_on": [train],
        "selected_on": [dev],
    }
    return _over(fields, changes)


def write(folder: Path, names: Iterable[str], **options: Any) -> list[str]:
    """Writes the card of each name into a folder of cards, `options` as `tiny` takes them; returns the new names."""
    cards = [tiny(name, **options) for name in names]
    for card in cards:
        (folder / f"{card['name']}.yaml").write_text(json.dumps(card))  # JSON is YAML
    return [card["name"] for card in cards]


def real_speech(stage: Stage) -> bool:
    """Whether a stage learns from bona fide trials alone."""
    return bool(stage.train) and all(source.where.get("label") == "bonafide" for source in stage.train)


def _random(start: Iterable[str]) -> dict[str, str | None]:
    """Random weights for every part; where a checkpoint is of the whole detector, for its backbone."""
    return {"detector": None, "backbone": "random"} if "detector" in start else dict.fromkeys(start, "random")


def _short(stage: Stage, train: str, dev: str, trials: int | None, epochs: int) -> dict[str, Any]:
    """What is different in a stage; null is the shipped card's value taken away."""
    only = {"where": {"label": "bonafide"}} if real_speech(stage) else {}
    draw = {"trials": trials, "stratify": "label"} if trials else {}
    rates = stage.learning_rate
    fastest = max(max(rate) if isinstance(rate, tuple) else rate for rate in rates.values())
    return {
        "train": [{"dataset": train, **only, **draw}],
        "validation": {"dataset": dev, **only, **draw},
        "epochs": epochs,
        "steps": None,
        "validate_every": None,
        "batch_size": stage.batch_size and min(stage.batch_size, BATCH),
        "batch_seconds": stage.batch_seconds and min(stage.batch_seconds, SECONDS),
        "pieces": stage.pieces and {"longest": 1.0, "seconds": [0.75, 1.0]},
        "learning_rate": {group: _times(rate, max(1.0, RATE / fastest)) for group, rate in rates.items()},
        "schedule": _short_schedule(stage.schedule),
        "augmentation": stage.augmentation and _at_hand(stage.augmentation, train),
    }


def _times(rate: float | tuple[float, float], factor: float) -> float | list[float]:
    return [factor * value for value in rate] if isinstance(rate, tuple) else factor * rate


def _short_schedule(schedule: Schedule) -> dict[str, Any]:
    return {"warmup": 2} if schedule.warmup >= 1 else {}


def _at_hand(augmentation: Augmentation, dataset: str) -> dict[str, Any]:
    """The recordings that are mixed in are those of `dataset`."""
    mixed = ("noise", "reverberation")
    return {"choices": {name: {"dataset": dataset} for name in mixed if getattr(augmentation.choices, name)}}


def _over(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `change`, nulls too: the registry takes them for what a card takes away."""
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        merged[key] = _over(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
