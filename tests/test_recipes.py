"""The records of a recipe: what a card may say of training, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from bench.cards import Recipe, Weights
from bench.recipes import (
    Augmentation,
    Codec,
    Interval,
    Number,
    Optimiser,
    Pieces,
    Schedule,
    Source,
    Stage,
)

STAGE: dict[str, Any] = {
    "epochs": 3,
    "monitor": "validation loss",
    "batch_size": 4,
    "optimiser": {"name": "adam"},
    "learning_rate": {"whole": 1e-3},
}
CHECKPOINT = {"file": "a.pt", "source": "https://example.org", "licence": "MIT"}
NOISE = {"noise": {"dataset": "street", "snr_db": [0, 15]}}


def stage(**fields: Any) -> Stage:
    return Stage.model_validate({**STAGE, **fields})


def recipe(**fields: Any) -> Recipe:
    return Recipe.model_validate({"train": "a", "dev": "b", "stages": {"whole": STAGE}, **fields})


def complaint(model: type[BaseModel], fields: dict[str, Any]) -> str:
    """The one thing that is wrong with these fields."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(fields)
    (error,) = caught.value.errors()
    return str(error["msg"]).removeprefix("Value error, ")


# Sources


def test_a_stratified_draw_is_a_draw() -> None:
    """`stratify` without `trials` would be taken for a draw that does not happen."""
    assert Source(dataset="a", trials=5, stratify="attack").stratify == "attack"
    text = complaint(Source, {"dataset": "a", "stratify": "attack"})
    assert text == "`stratify` is about the draw of `trials`: give both"


# Intervals


@given(first=st.floats(-1e6, 1e6), last=st.floats(-1e6, 1e6))
def test_an_interval_has_its_lower_bound_first(first: float, last: float) -> None:
    """Any two finite numbers in order, equal ones too."""
    adapter = TypeAdapter(Interval)
    if first <= last:
        assert adapter.validate_python([first, last]) == (first, last)
    else:
        with pytest.raises(ValidationError, match="give the lower bound first"):
            adapter.validate_python([first, last])


@pytest.mark.parametrize("value", [[-1, 2], [3, 1], [1.5, 2], [1], [1, 2, 3], 2])
def test_a_number_is_two_ordered_counts(value: Any) -> None:
    """Counts of bands, chunks or samples are never negative and never broken."""
    with pytest.raises(ValidationError):
        TypeAdapter(Number).validate_python(value)
    assert TypeAdapter(Number).validate_python([0, 2]) == (0, 2)


# Augmentation


@pytest.mark.parametrize("rawboost", [-1, 9, 3.5, "SSI"])
def test_rawboost_has_the_algorithms_0_to_8(rawboost: Any) -> None:
    """Any other one, which the authors' code takes silently for none, is an error."""
    with pytest.raises(ValidationError, match="rawboost"):
        Augmentation(rawboost=rawboost)
    assert [Augmentation(rawboost=number).rawboost for number in range(9)] == list(range(9))


def test_choices_are_as_many_as_are_drawn() -> None:
    """`count` different ones cannot come of fewer, and a changed copy needs a change."""
    assert Augmentation.model_validate({"choices": NOISE, "keep_original": True}).count == 1
    assert complaint(Augmentation, {"choices": NOISE, "count": 2}) == "`count` is 2, of 1 `choices`"
    assert complaint(Augmentation, {"rawboost": 3, "count": 2}) == "`count` is 2, of 0 `choices`"
    text = complaint(Augmentation, {"rawboost": 3, "keep_original": True})
    assert text == "`keep_original` is about the changed copy that `choices` make: give one"


@pytest.mark.parametrize("seconds", [[0, 10], [10, 14], [-1, 5]])
def test_a_piece_is_of_the_file(seconds: list[float]) -> None:
    """Files longer than `longest` are cut, so no piece is longer than that, and none is empty."""
    assert Pieces(longest=13, seconds=(10, 13)).seconds == (10, 13)
    text = complaint(Pieces, {"longest": 13, "seconds": seconds})
    assert text == "`seconds` are above 0 and at most `longest`"


def test_a_codec_is_one_that_exists() -> None:
    """At least one format, each of the known ones, at bit rates that are bit rates."""
    assert Codec(formats=("mp3",)).kbps
    refused: list[dict[str, Any]] = [{"formats": []}, {"formats": ["wma"]}, {"formats": ["mp3"], "kbps": [0]}]
    for fields in refused:
        with pytest.raises(ValidationError):
            Codec.model_validate(fields)


# Optimiser, schedule, rates


@pytest.mark.parametrize("betas", [[0.9, 1.0], [-0.1, 0.9], [0.9]])
def test_momenta_are_below_1(betas: list[float]) -> None:
    """At 1 a running mean would never move."""
    with pytest.raises(ValidationError, match="betas"):
        Optimiser.model_validate({"name": "adam", "betas": betas})
    assert Optimiser(name="adamw").betas == (0.9, 0.999)


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "exponential", "step"])
def test_a_factor_goes_with_the_schedules_that_multiply(name: str) -> None:
    """Where it would be ignored it is an error, and where it is missing, too."""
    about: dict[str, Any] = {"name": name, "epochs": 3} if name == "step" else {"name": name}
    forms = [about, {**about, "factor": 0.5}]
    good, bad = reversed(forms) if name in ("exponential", "step") else forms
    assert Schedule.model_validate(good).name == name
    text = complaint(Schedule, bad)
    assert text == "`factor` goes with `exponential` and `step`, and only with them"


def test_a_step_is_of_so_many_epochs() -> None:
    """It needs them, and nothing else reads them."""
    assert complaint(Schedule, {"name": "step", "factor": 0.5}) == "`epochs` goes with `step`, and only with it"
    assert complaint(Schedule, {"name": "cosine", "epochs": 2}) == "`epochs` goes with `step`, and only with it"


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "exponential", "step"])
@pytest.mark.parametrize("two", [True, False])
def test_rates_are_those_that_the_schedule_reads(name: str, two: bool) -> None:
    """First and last where it goes from one to the other, else one: nothing given is ignored."""
    schedule: dict[str, Any] = {"name": name}
    schedule |= {"factor": 0.5} if name in ("exponential", "step") else {}
    schedule |= {"epochs": 3} if name == "step" else {}
    rates = {"head": [1e-3, 1e-5] if two else 1e-3}
    if two == (name in ("linear", "cosine")):
        found = stage(schedule=schedule, learning_rate=rates).learning_rate["head"]
        assert found == ((1e-3, 1e-5) if two else 1e-3)
    else:
        needs = "one rate" if two else "the first and the last rate"
        text = complaint(Stage, {**STAGE, "schedule": schedule, "learning_rate": rates})
        assert text == f"the schedule `{name}` needs {needs} of the group `head`"


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (-1e-3, "Input should be greater than or equal to 0"),
        ([1e-3, -1e-3], "Input should be greater than or equal to 0"),
        ([1e-3], "Field required"),
        ([1e-3, 1e-4, 1e-5], "Tuple should have at most 2 items after validation, not 3"),
        ("fast", "Input should be a valid number, unable to parse string as a number"),
        (None, "Input should be a valid number"),
    ],
)
def test_a_rate_that_is_none_is_told_once(rate: Any, text: str) -> None:
    """One complaint in the words of the form that was meant, not one for each form a rate may have."""
    assert complaint(Stage, {**STAGE, "learning_rate": {"whole": rate}}) == text


def test_a_stage_has_rates() -> None:
    """A stage of no group would train nothing."""
    assert "at least 1 item" in complaint(Stage, {**STAGE, "learning_rate": {}})


# Stages


@pytest.mark.parametrize("sizes", [{}, {"batch_size": 4, "batch_seconds": 100}])
def test_a_stage_has_one_size_of_batch(sizes: dict[str, Any]) -> None:
    """Utterances or seconds; neither and both are errors."""
    fields = {name: value for name, value in STAGE.items() if name != "batch_size"}
    assert complaint(Stage, {**fields, **sizes}) == "give one of `batch_size` and `batch_seconds`"
    assert stage(batch_size=None, batch_seconds=100).batch_seconds == 100


@pytest.mark.parametrize(
    "field", ["epochs", "steps", "validate_every", "patience", "batch_size", "accumulate", "clip_norm"]
)
def test_counts_of_a_stage_are_above_zero(field: str) -> None:
    """None of them may be switched off by a zero."""
    assert "greater than" in complaint(Stage, {**STAGE, field: 0})


def test_options_of_the_loss_are_plain() -> None:
    """They are part of the key of the weights, so what JSON cannot hold is refused."""
    assert stage(loss={"class_weights": [0.1, 0.9]}).loss == {"class_weights": [0.1, 0.9]}
    assert complaint(Stage, {**STAGE, "loss": {"weight": float("nan")}}).startswith("give text, numbers, lists")


# Recipes


def test_a_recipe_trains_in_one_way() -> None:
    """With `fit` and its arguments, or by stages."""
    assert recipe(stages={}, arguments={"iterations": 3}).stages == {}
    text = complaint(Recipe, {"train": "a", "arguments": {"x": 1}, "stages": {"whole": {**STAGE}}, "dev": "b"})
    assert text == "`arguments` are those of `fit`, `stages` train with a gradient: give one of them"


@pytest.mark.parametrize("monitor", ["validation loss", "validation EER"])
def test_what_is_watched_has_a_list(monitor: str) -> None:
    """Of the stage or of the recipe; the training loss needs none."""
    watched = {"whole": {**STAGE, "monitor": monitor}}
    assert recipe(stages=watched).speech == ("a", "b")
    own = {"whole": {**watched["whole"], "validation": {"dataset": "c"}}}
    assert recipe(stages=own, dev=None).speech == ("a", "c")
    assert recipe(stages={"whole": {**STAGE, "monitor": "training loss"}}, dev=None).speech == ("a",)
    text = complaint(Recipe, {"train": "a", "stages": watched})
    assert text == f"stage `whole` watches the {monitor}: give `dev`, or the stage's `validation`"


def test_the_datasets_of_a_recipe_are_those_of_its_stages() -> None:
    """Each once, in order; noise and room responses last, and not among the speech; `train` only where it is used."""
    mixed = {"choices": {**NOISE, "reverberation": {"dataset": "rooms"}}}
    first = {**STAGE, "train": [{"dataset": "real"}, {"dataset": "more"}], "validation": {"dataset": "watched"}}
    found = recipe(stages={"one": first, "two": {**STAGE, "train": [{"dataset": "real"}], "augmentation": mixed}})
    assert found.speech == ("real", "more", "watched", "b")
    assert found.datasets == ("real", "more", "watched", "b", "street", "rooms")
    assert recipe(stages={"one": first, "two": STAGE}).speech == ("real", "more", "watched", "a", "b")
    assert recipe(stages={}).speech == recipe(stages={}).datasets == ("a", "b")


def test_stages_keep_their_order() -> None:
    """They are carried out as the card names them, whatever their names."""
    assert list(recipe(stages={"z": STAGE, "a": STAGE, "m": STAGE}).stages) == ["z", "a", "m"]


def test_a_part_starts_from_a_checkpoint_or_at_random() -> None:
    """`random` in one word, else a checkpoint with all it needs; a mistake is told once."""
    start = recipe(start={"backbone": CHECKPOINT, "head": "random"}).start
    assert start == {"backbone": Weights.model_validate(CHECKPOINT), "head": "random"}
    for value, text in (
        ("randm", "Input should be 'random'"),
        ({**CHECKPOINT, "fil": "b"}, "Extra inputs are not permitted"),
        ({"file": "a.pt", "source": "b"}, "Field required"),
        (None, "Input should be a valid dictionary or instance of Weights"),
    ):
        assert complaint(Recipe, {"train": "a", "start": {"backbone": value}}) == text


def test_a_recipe_is_read_from_what_it_writes() -> None:
    """What `train.json` records of a recipe is that recipe."""
    full = recipe(
        start={"backbone": CHECKPOINT, "head": "random"},
        stages={
            "whole": {
                **STAGE,
                "schedule": {"name": "linear", "warmup": 0.1},
                "learning_rate": {"head": [1e-3, 0], "encoder": [1e-4, 0]},
                "augmentation": {"rawboost": 5, "choices": NOISE},
            }
        },
    )
    assert Recipe.model_validate_json(full.model_dump_json()) == full
    assert Recipe.model_validate(full.model_dump()) == full
