"""The loop against a plain one in torch, and what a stage keeps, counts, refuses and records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_curve
from torch import Tensor, nn
from torch.nn import functional

from bench import audio, det, metrics, training
from bench.corpora import Dataset
from bench.errors import BenchError, DataError, ScoringError
from bench.recipes import Stage
from bench.scorer import Scorer
from bench.scoring import Failed
from bench.training import engine
from bench.training.loading import derived, in_order, shuffled
from bench.training.state import read_facts
from bench.trials import is_bonafide
from tests.passing import passed
from tests.training import toys

Lists = Mapping[str, Dataset]


def one_stage(
    folder: Path, lists: Lists, model: str = "Toy", recipe: Mapping[str, Any] | None = None, **changes: Any
) -> Path:
    """The folder of a training of one stage."""
    return toys.train(toys.card({"body": toys.stage(**changes)}, model, **recipe or {}), lists, folder)


def told(folder: Path) -> dict[str, Any]:
    """The record of the last stage."""
    found: dict[str, Any] = training.record(folder)["stages"][-1]
    return found


def weights(folder: Path) -> dict[str, Tensor]:
    return toys.tensors(folder / "model.safetensors")


def assert_close(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], rtol: float = 1e-4, atol: float = 1e-6
) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=rtol, atol=atol, msg=name)


# --- the loop ---------------------------------------------------------------------------------------------------------


def by_hand(stage: Stage, lists: Lists, class_weights: Sequence[float] | None, decay: float) -> nn.Module:
    """`Plain`, trained without accelerate in a loop such as the authors': every batch in one pass."""
    trials = lists["train"].trials
    recipe = toys.card().audio
    clips = torch.stack([torch.from_numpy(audio.prepare(path, recipe).wave) for path in trials["path"]])
    labels = torch.from_numpy(is_bonafide(trials)).long()
    with torch.random.fork_rng():
        torch.manual_seed(derived(1, "initial weights"))
        model = toys.Plain()
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[stage.optimiser.name]
    groups = [{"params": model.head.parameters(), "lr": 0.02}, {"params": model.body.parameters(), "lr": 0.01}]
    adam = kind(groups, weight_decay=stage.optimiser.weight_decay, betas=stage.optimiser.betas, eps=stage.optimiser.eps)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1 - step * decay)
    weighed = None if class_weights is None else torch.tensor(class_weights)
    for epoch in range(stage.epochs):
        for rows in shuffled(stage, None, len(trials), (1, "body", epoch)):
            adam.zero_grad()
            torch.autograd.backward(functional.cross_entropy(model.logits(clips[rows]), labels[rows], weighed))
            if stage.clip_norm:
                nn.utils.clip_grad_norm_(model.parameters(), stage.clip_norm)
            adam.step()
            schedule.step()
    return model


ADAM = {"name": "adam", "weight_decay": 1e-2, "betas": [0.8, 0.95], "eps": 1e-6}
ADAMW = {**ADAM, "name": "adamw"}


@pytest.mark.parametrize(
    ("changes", "options", "decay"),
    [
        ({"optimiser": ADAM}, {}, 0.0),
        ({"optimiser": ADAMW}, {"class_weights": [0.1, 0.9]}, 0.0),
        ({"optimiser": ADAM, "clip_norm": 0.05}, {}, 0.0),
        (
            {
                "optimiser": ADAMW,
                "drop_last": True,
                "schedule": {"name": "linear"},
                "learning_rate": {"head": [0.02, 0], "body": [0.01, 0]},
            },
            {},
            1 / 9,
        ),
    ],
    ids=["adam", "adamw, weighted", "clipped", "linear, drop last"],
)
def test_the_engine_is_a_plain_loop(
    tmp_path: Path, lists: Lists, changes: dict[str, Any], options: dict[str, Any], decay: float
) -> None:
    """The same batches, the same optimiser, the same rates by group: the same weights."""
    fields = {"learning_rate": {"head": 0.02, "body": 0.01}, "keep": "last", "loss": options, **changes}
    folder = one_stage(tmp_path, lists, "Plain", **fields)
    expected = by_hand(Stage.model_validate(toys.stage(**fields)), lists, options.get("class_weights"), decay)
    assert_close(weights(folder), expected.state_dict())


@pytest.mark.parametrize("accumulate", [2, 3, 100])
def test_accumulated_passes_are_one_batch(tmp_path: Path, lists: Lists, accumulate: int) -> None:
    """Also of unequal size, and more passes than a batch has rows; the loss is that of the whole batch."""
    folders = [
        one_stage(tmp_path / str(passes), lists, "Plain", batch_size=5, accumulate=passes, keep="last", clip_norm=0.1)
        for passes in (1, accumulate)
    ]
    assert_close(weights(folders[1]), weights(folders[0]))
    losses = [[point["training_loss"] for point in told(folder)["curve"]] for folder in folders]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert told(folders[1])["steps"] == told(folders[0])["steps"] == 9


def test_a_toy_learns(tmp_path: Path, lists: Lists) -> None:
    """The losses fall by a third and more; the dev EER is recorded."""
    found = told(one_stage(tmp_path, lists, "Plain", epochs=8, learning_rate={"head": 0.1, "body": 0.1}))
    curve = found["curve"]
    assert curve[-1]["training_loss"] < curve[0]["training_loss"] * 2 / 3
    assert curve[-1]["validation_loss"] < curve[0]["validation_loss"] * 2 / 3
    assert found["best"]["validation_eer"] <= 0.2


def test_each_group_has_its_own_rate(tmp_path: Path, lists: Lists) -> None:
    """A rate of 0 leaves its group as it was; the curve tells the rate of each."""
    folder = one_stage(tmp_path, lists, "Plain", epochs=1, learning_rate={"head": 0.0, "body": 0.1})
    with torch.random.fork_rng():
        torch.manual_seed(derived(1, "initial weights"))
        before = toys.Plain().state_dict()
    found = weights(folder)
    assert [name for name, value in before.items() if torch.equal(found[name], value)] == [
        "head.0.weight",
        "head.0.bias",
    ]
    assert told(folder)["curve"][0]["learning_rate"] == {"head": 0.0, "body": 0.1}


def test_what_is_random_differs_from_pass_to_pass(
    tmp_path: Path, lists: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And from stage to stage and seed to seed; but not from one training to the next of the same seed."""
    drawn = []
    for number, seed in enumerate((1, 1, 2)):
        monkeypatch.setattr(toys.Watched, "draws", [])
        stages = {"head": toys.stage(learning_rate={"head": 0.1}), "body": toys.stage(accumulate=2)}
        toys.train(toys.card(stages, "Watched", seed=seed), lists, tmp_path / str(number))
        drawn.append(toys.Watched.draws)
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0] + drawn[2])) == 2 * len(drawn[0]) == 2 * (12 + 21)


# --- validation -------------------------------------------------------------------------------------------------------


def scored(folder: Path, trials: Any, model: str) -> np.ndarray:
    """The scores of the trained detector, as `bench run` computes them."""
    card = toys.card(model=model)
    scorer = Scorer("toy", card.model, card.arguments, card.audio, folder / "model.safetensors")
    found = passed([scorer], trials, in_order(len(trials), 8))
    assert not any(isinstance(item, Failed) for item in found)
    return np.concatenate([item.block["score"] for item in found if not isinstance(item, Failed)])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_reloaded_weights_score_as_in_validation(
    tmp_path: Path, lists: Lists, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """Bit for bit, whatever the precision of training; dev EER and loss are those of these scores."""
    validated: list[np.ndarray] = []
    real = metrics.eer

    def eer(scores: np.ndarray, labels: np.ndarray) -> Any:
        validated.append(scores)
        return real(scores, labels)

    monkeypatch.setattr(metrics, "eer", eer)
    folder = one_stage(tmp_path, lists, precision=precision, epochs=5)
    found, trials = told(folder), lists["dev"].trials
    scores, labels = scored(folder, trials, "Toy"), is_bonafide(trials)
    assert found["precision"] == precision
    np.testing.assert_array_equal(validated[found["curve"].index(found["best"])], scores)
    rejected = 1 - roc_curve(labels, scores, drop_intermediate=False)[1]
    accepted = roc_curve(labels, scores, drop_intermediate=False)[0]
    nearest = np.abs(rejected - accepted).argmin()
    assert found["best"]["validation_eer"] == pytest.approx((rejected[nearest] + accepted[nearest]) / 2)
    loss = np.log1p(np.exp(np.where(labels == 1, -scores, scores))).mean()
    assert found["best"]["validation_loss"] == pytest.approx(loss, rel=1e-6)


def test_half_precision_on_a_processor_is_full_precision(tmp_path: Path, lists: Lists) -> None:
    """To the bit, and the record says so."""
    half, full = (one_stage(tmp_path / name, lists, precision=name) for name in ("fp16", "fp32"))
    assert told(half)["precision"] == "fp32"
    assert toys.final(half) == toys.final(full)


def test_a_stage_of_real_speech_has_no_eer(tmp_path: Path, lists: Lists) -> None:
    """It watches its validation loss; nor has one whose dev list has one class."""
    real = {"dataset": "train", "where": {"label": "bonafide"}}
    watched = {"dataset": "dev", "where": {"label": "bonafide"}}
    fields = {"monitor": "validation loss", "validation": watched}
    for name, more in (("real", {"train": [real]}), ("body", {})):
        card = toys.card({name: toys.stage(**fields, **more)}, "RealOnly")
        found = told(toys.train(card, lists, tmp_path / name))
        assert [point["validation_eer"] for point in found["curve"]] == [None] * 3
        assert all(point["validation_loss"] > 0 for point in found["curve"])


def test_without_a_dev_list_the_training_loss_is_all_there_is(tmp_path: Path, lists: Lists) -> None:
    """The mean over the utterances of an epoch, the last and smaller batch by its rows."""
    values = [1.0, 2.0, 3.0, 8.0]
    recipe = {"dev": None, "model_arguments": {"training": values}}
    found = told(one_stage(tmp_path, lists, "Dictated", recipe, epochs=1, monitor="training loss"))
    (point,) = found["curve"]
    assert point["training_loss"] == pytest.approx((4 * 1 + 4 * 2 + 4 * 3 + 8) / 13)
    assert (point["validation_loss"], point["validation_eer"]) == (None, None)
    assert found["losses"] == [[step, pytest.approx(value)] for step, value in enumerate(values, start=1)]


def test_the_loss_of_a_batch_and_its_changed_copy_is_their_mean(tmp_path: Path, lists: Lists) -> None:
    """Not their sum; also where they go through in several passes."""
    recipe = {"dev": None, "model_arguments": {"training": [2.0] * 10}}
    augmentation = {"choices": {"spectrum": {"drop_chunk": {"samples": [50, 100]}}}, "keep_original": True}
    fields = {"monitor": "training loss", "epochs": 1, "augmentation": augmentation, "accumulate": 2}
    (point,) = told(one_stage(tmp_path, lists, "Dictated", recipe, **fields))["curve"]
    assert point["training_loss"] == pytest.approx(2.0)


# --- when a stage ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [(1, 4), (2, 8), (3, 12)]),
        ({"drop_last": True}, [(1, 3), (2, 6), (3, 9)]),
        ({"steps": 5}, [(1, 4), (2, 5)]),
        ({"steps": 99}, [(1, 4), (2, 8), (3, 12)]),
        ({"validate_every": 5}, [(2, 5), (3, 10), (3, 12)]),
        ({"validate_every": 4}, [(1, 4), (2, 8), (3, 12)]),
        ({"validate_every": 3, "steps": 7}, [(1, 3), (2, 6), (2, 7)]),
        ({"validate_every": 50}, [(3, 12)]),
        ({"batch_size": 50}, [(1, 1), (2, 2), (3, 3)]),
    ],
)
def test_validations_come_when_they_should(
    tmp_path: Path, lists: Lists, changes: dict[str, Any], expected: list[tuple[int, int]]
) -> None:
    """After each epoch or each so many steps, and always at the end: (epoch, step) of each."""
    found = told(one_stage(tmp_path, lists, **changes))
    assert [(point["epoch"], point["step"]) for point in found["curve"]] == expected
    assert (found["steps"], found["planned_steps"]) == (expected[-1][1], expected[-1][1])


@pytest.mark.parametrize(("batch_seconds", "validate_every"), [(0.31, None), (0.48, None), (0.31, 1_000), (0.48, 2)])
def test_epochs_by_length_are_whole(
    tmp_path: Path, lists: Lists, batch_seconds: float, validate_every: int | None
) -> None:
    """Though they differ in their number of batches: nothing is cut off, and what is kept is judged at the end."""
    fields = {"batch_size": None, "batch_seconds": batch_seconds, "epochs": 4, "validate_every": validate_every}
    stage = Stage.model_validate(toys.stage(**fields))
    card = toys.card({"body": toys.stage(**fields)}, "Plain", audio={"window": "whole"})
    seconds = np.array([len(audio.decode(path)[0]) / 16_000 for path in lists["train"].trials["path"]])
    counts = [len(shuffled(stage, seconds, 13, (1, "body", epoch))) for epoch in range(4)]
    assert len(set(counts)) > 1
    found = told(toys.train(card, lists, tmp_path))
    assert found["curve"][-1]["step"] == found["steps"]
    assert found["steps"] == found["planned_steps"] == sum(counts)
    assert (found["epochs"], found["curve"][-1]["epoch"]) == (4, 4)


def test_the_authors_rule_ends_after_the_first_epoch_that_is_not_better(tmp_path: Path, lists: Lists) -> None:
    """SLS: patience 1 on the mean training loss; the epoch before is kept."""
    fields = {"monitor": "training loss", "patience": 1, "batch_size": 13, "epochs": 50}
    recipe = {"dev": None, "model_arguments": {"training": [0.9, 0.5, 0.51, 0.1]}}
    folder = one_stage(tmp_path / "ruled", lists, "Dictated", recipe, **fields)
    found = told(folder)
    assert (found["epochs"], found["best"]["epoch"], found["stopped_early"]) == (3, 2, True)
    undisturbed = {
        epoch: one_stage(
            tmp_path / str(epoch),
            lists,
            "Dictated",
            {**recipe, "dev": None},
            **{**fields, "keep": "last", "epochs": epoch},
        )
        for epoch in (2, 3)
    }
    assert_same(weights(folder), weights(undisturbed[2]))
    assert_same(toys.tensors(folder / "last.safetensors"), weights(undisturbed[3]))


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert_close(found, expected, rtol=0.0, atol=0.0)


@pytest.mark.parametrize(
    ("ties", "patience", "epochs", "best"), [(False, 2, 4, 2), (True, 2, 6, 4), (False, None, 8, 2), (True, 1, 3, 2)]
)
def test_patience_counts_validations_without_gain(
    tmp_path: Path,
    lists: Lists,
    monkeypatch: pytest.MonkeyPatch,
    ties: bool,
    patience: int | None,
    epochs: int,
    best: int,
) -> None:
    """Of the dev EER; where ties count as better, an equal value is a gain and the later one is kept."""
    rates = iter([0.3, 0.2, 0.25, 0.2, 0.21, 0.22, 0.2, 0.5])
    monkeypatch.setattr(metrics, "eer", lambda *_: det.EqualErrorRate(next(rates), 0, 0, 0))
    found = told(one_stage(tmp_path, lists, ties=ties, patience=patience, epochs=8, batch_size=13))
    assert (found["epochs"], found["stopped_early"]) == (epochs, epochs < 8)
    if patience is not None or not ties:
        assert found["best"]["epoch"] == best


def test_patience_ends_a_stage_in_the_middle_of_an_epoch(tmp_path: Path, lists: Lists) -> None:
    """Where it validates more often."""
    recipe = {"model_arguments": {"validation": [0.1, 0.1, *[0.2] * 20]}}
    found = told(
        one_stage(tmp_path, lists, "Dictated", recipe, monitor="validation loss", validate_every=1, patience=2)
    )
    assert (found["epochs"], found["steps"], found["best"]["step"], found["stopped_early"]) == (0, 3, 1, True)


def test_a_step_lowers_the_rate_from_the_next_epoch_on(tmp_path: Path, lists: Lists) -> None:
    """LFCC-LCNN's rule: halved after every so many epochs."""
    found = told(one_stage(tmp_path, lists, epochs=5, schedule={"name": "step", "factor": 0.5, "epochs": 2}))
    assert [point["learning_rate"]["body"] for point in found["curve"]] == [0.01, 0.01, 0.005, 0.005, 0.0025]


# --- what a stage keeps -----------------------------------------------------------------------------------------------

LOSSES = [0.5, 0.4, 0.6, 0.3, 0.7]  # epochs 1, 2 and 4 improve


@pytest.fixture(scope="module")
def epochs(tmp_path_factory: pytest.TempPathFactory, lists: Lists) -> list[dict[str, Tensor]]:
    """The weights of a toy at the end of each of five epochs."""
    root = tmp_path_factory.mktemp("epochs")
    return [weights(one_stage(root / str(count), lists, epochs=count, keep="last")) for count in range(1, 6)]


def kept(folder: Path, lists: Lists, keep: str) -> Path:
    recipe = {"model_arguments": {"validation": [value for value in LOSSES for _ in range(2)]}}
    fields = {"keep": keep, "monitor": "validation loss", "epochs": 5}
    return one_stage(folder, lists, "Dictated", recipe, **fields)


@pytest.mark.parametrize(("keep", "epoch"), [("best", 4), ("last", 5)])
def test_a_stage_keeps_the_best_weights_or_the_last(
    tmp_path: Path, lists: Lists, epochs: list[dict[str, Tensor]], keep: str, epoch: int
) -> None:
    """Bit for bit those of the epoch; what the stage ended with lies beside them where it is something else."""
    folder = kept(tmp_path, lists, keep)
    assert_same(weights(folder), epochs[epoch - 1])
    assert [point["best"] for point in told(folder)["curve"]] == [True, True, False, True, False]
    if keep == "best":
        assert told(folder)["best"]["epoch"] == 4
        assert_same(toys.tensors(folder / "last.safetensors"), epochs[4])
    else:
        assert told(folder)["best"] is None
        assert not (folder / "last.safetensors").exists()


def test_the_best_weights_may_be_the_last(tmp_path: Path, lists: Lists, epochs: list[dict[str, Tensor]]) -> None:
    """Then there is no second file."""
    recipe = {"model_arguments": {"validation": [0.3, 0.3, 0.2, 0.2]}}
    folder = one_stage(tmp_path, lists, "Dictated", recipe, monitor="validation loss", epochs=2)
    assert_same(weights(folder), epochs[1])
    assert not (folder / "last.safetensors").exists()


def test_averaged_weights_are_the_mean_of_those_that_improved(
    tmp_path: Path, lists: Lists, epochs: list[dict[str, Tensor]]
) -> None:
    """With the statistics of batch norms over the training batches, each batch counting alike."""
    folder = kept(tmp_path, lists, "average")
    found, parts = weights(folder), [epochs[number - 1] for number in (1, 2, 4)]
    learnt = {
        name: torch.stack([part[name] for part in parts]).mean(0)
        for name in parts[0]
        if "body.1.r" not in name and "tracked" not in name
    }
    assert_close({name: found[name] for name in learnt}, learnt)
    assert (told(folder)["averaged"], told(folder)["best"]["epoch"]) == (3, 4)
    assert_same(toys.tensors(folder / "last.safetensors"), epochs[4])

    trials, recipe = lists["train"].trials, toys.card().audio
    clips = torch.stack([torch.from_numpy(audio.prepare(path, recipe).wave) for path in trials["path"]])
    hidden = functional.conv1d(clips[:, None], found["body.0.weight"], found["body.0.bias"], stride=8)
    plan = shuffled(Stage.model_validate(toys.stage()), None, 13, (1, "body", 0))
    batches = [hidden[rows].transpose(0, 1).flatten(1) for rows in plan]
    torch.testing.assert_close(found["body.1.running_mean"], torch.stack([part.mean(1) for part in batches]).mean(0))
    torch.testing.assert_close(found["body.1.running_var"], torch.stack([part.var(1) for part in batches]).mean(0))
    assert found["body.1.num_batches_tracked"] == len(plan)


def test_dropout_plays_no_part_in_averaged_statistics(tmp_path: Path, lists: Lists) -> None:
    """Also where nothing was validated, so that nothing had ended the training mode."""
    fields = {"keep": "average", "monitor": "training loss", "epochs": 2}
    folders = [one_stage(tmp_path / str(number), lists, "AfterDropout", {"dev": None}, **fields) for number in range(2)]
    found = weights(folders[0])
    model = toys.AfterDropout()
    model.load_state_dict(found)
    trials, recipe = lists["train"].trials, toys.card().audio
    clips = torch.stack([torch.from_numpy(audio.prepare(path, recipe).wave) for path in trials["path"]])
    hidden = model.eval().body[:2](clips[:, None])
    plan = shuffled(Stage.model_validate(toys.stage()), None, 13, (1, "body", 0))
    means = torch.stack([hidden[rows].mean((0, 2)) for rows in plan]).mean(0)
    torch.testing.assert_close(found["body.2.running_mean"], means.detach())


def test_what_is_frozen_stays_as_it_was(tmp_path: Path, lists: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors and batch-norm statistics to the bit, in evaluation mode; what is trained is in training mode."""
    monkeypatch.setattr(toys.Watched, "seen", set())
    card = toys.card({"head": toys.stage(learning_rate={"head": 0.1})}, "Watched")
    folder = toys.train(card, lists, tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(derived(1, "initial weights"))
        before = toys.Watched().state_dict()
    found = weights(folder)
    assert toys.Watched.seen == {(True, False, True), (False, False, False)}
    changed = [name for name, value in before.items() if not torch.equal(found[name], value)]
    assert changed == ["head.1.weight", "head.1.bias"]
    assert told(folder)["trained_parameters"] == 10


# --- what can go wrong ------------------------------------------------------------------------------------------------


def failing(
    folder: Path, lists: Lists, at: int, phase: str = "training", what: str = "loss", **changes: Any
) -> BenchError:
    """The error of a training of 3 epochs of 4 steps, with 2 passes over the dev list each."""
    arguments = {"at": at, "phase": phase, "what": what}
    with pytest.raises(BenchError) as raised:
        one_stage(folder, lists, "Failing", {"model_arguments": arguments}, **changes)
    return raised.value


def test_a_training_loss_that_is_no_number_ends_the_training(tmp_path: Path, lists: Lists) -> None:
    """With stage, step and folder; the state of the last validation is kept and can be read."""
    error = failing(tmp_path, lists, 7)
    assert isinstance(error, ScoringError)
    assert error.reason() == "the training loss of step 7 (epoch 2) is nan (stage body)"
    assert error.remedy is not None
    assert error.remedy.startswith(f"the last good state is kept in {tmp_path}; a lower learning rate, `clip_norm` or ")
    facts = read_facts(tmp_path / "state.safetensors")
    assert (facts["progress"]["step"], len(facts["progress"]["curve"])) == (4, 1)
    assert all(value.isfinite().all() for value in toys.tensors(tmp_path / "state.safetensors").values())
    assert all(value.isfinite().all() for value in toys.tensors(tmp_path / "best.safetensors").values())
    assert not (tmp_path / "model.safetensors").exists()


def test_a_validation_loss_that_is_no_number_ends_the_training(tmp_path: Path, lists: Lists) -> None:
    """In the second epoch, whose end is not saved."""
    error = failing(tmp_path, lists, 3, "validation")
    assert isinstance(error, ScoringError)
    assert error.reason() == "a validation loss behind step 8 is not finite (stage body)"
    assert error.remedy == f"the last good state is kept in {tmp_path}; lower the learning rate"
    assert read_facts(tmp_path / "state.safetensors")["progress"]["step"] == 4


def test_scores_that_are_no_numbers_end_the_training(tmp_path: Path, lists: Lists) -> None:
    """Whether the EER is watched or not: it would be the EER of nothing."""
    for monitor in ("validation EER", "training loss"):
        error = failing(tmp_path / monitor[:5], lists, 3, "validation", "scores", monitor=monitor)
        assert isinstance(error, ScoringError)
        assert error.reason() == "a validation score behind step 8 is not finite (stage body)"


def test_a_defect_of_the_detector_is_told_as_such(tmp_path: Path, lists: Lists) -> None:
    """With its exception as the cause."""
    error = failing(tmp_path, lists, 7, what="error")
    assert error.reason() == "ArithmeticError: the toy broke (training of tests.training.toys:Failing)"
    assert isinstance(error.__cause__, ArithmeticError)
    assert read_facts(tmp_path / "state.safetensors")["progress"]["step"] == 4


@pytest.mark.parametrize("phase", ["training", "validation"])
def test_a_batch_that_does_not_fit_into_memory_is_told(tmp_path: Path, lists: Lists, phase: str) -> None:
    """With how to make it smaller."""
    error = failing(tmp_path, lists, 1, phase, "memory")
    assert isinstance(error, ScoringError)
    rows = 4 if phase == "training" else 8
    assert error.reason() == f"{rows} utterances do not fit into memory in one forward pass (stage body)"
    assert error.remedy is not None
    assert error.remedy.startswith("raise `accumulate` of the stage")


def test_a_batch_of_one_row_before_a_batch_norm_is_told(tmp_path: Path, lists: Lists) -> None:
    """13 trials in batches of 4 leave one; `drop_last` helps."""
    with pytest.raises(ScoringError) as raised:
        one_stage(tmp_path / "one", lists, "NormedHead")
    assert (
        raised.value.reason() == "a batch norm of the detector cannot learn from a batch of one utterance (stage body)"
    )
    assert raised.value.remedy is not None
    assert "`drop_last: true`" in raised.value.remedy
    assert told(one_stage(tmp_path / "dropped", lists, "NormedHead", drop_last=True))["steps"] == 9


def test_too_few_trials_for_a_batch_are_told(tmp_path: Path, lists: Lists) -> None:
    """Where the last, smaller batch is left out and there is no other."""
    with pytest.raises(DataError, match=r"13 training trials do not fill a batch of 14\n  where: stage body"):
        one_stage(tmp_path, lists, batch_size=14, drop_last=True)


def test_the_curve_of_the_training_loss_has_about_twenty_points_an_epoch(
    tmp_path: Path, lists: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each the mean over the utterances since the last one."""
    monkeypatch.setattr(engine, "LOSSES_AN_EPOCH", 2)
    values = [float(value) for value in range(1, 27)]
    recipe = {"dev": None, "model_arguments": {"training": values}}
    found = told(one_stage(tmp_path, lists, "Dictated", recipe, epochs=2, monitor="training loss", batch_size=1))
    assert [step for step, _ in found["losses"]] == [6, 12, 18, 24]
    assert [loss for _, loss in found["losses"]] == pytest.approx([3.5, 9.5, 15.5, 21.5])
    assert math.isclose(found["curve"][1]["training_loss"], 20.0)
