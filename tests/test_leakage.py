"""The leakage badge: what the cards say of training and selection, against the dataset at hand."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import imports, registry
from bench.cards import DetectorCard
from bench.leakage import leakage
from bench.results import Result
from tests.tiny import World
from tests.tiny import card as detector_card

DETECTORS, DATASETS = registry.detectors(), registry.datasets()
RELEASED = {"file": "a.pth", "source": "https://example.org", "licence": "MIT"}
LISTED = ("asvspoof2019-la", "asvspoof2021-la", "asvspoof2021-df", "itw", "mlaad-en")


def released(*trained_on: str, selected_on: tuple[str, ...] = (), **fields: Any) -> DetectorCard:
    return detector_card(weights=RELEASED, trained_on=trained_on, selected_on=selected_on, **fields)


@pytest.mark.parametrize(
    ("name", "verdicts"),
    [
        ("aasist", "seen held-out held-out held-out held-out"),  # selected on 2019 eval
        ("xlsr-sls", "in-domain held-out held-out held-out held-out"),
        ("xlsr-sls-v1", "in-domain held-out held-out held-out held-out"),
        ("ssl-aasist-df", "in-domain held-out held-out held-out held-out"),
        ("antideepfake-mms-300m", "seen seen seen held-out seen"),
        ("antideepfake-hubert-xlarge-nda", "seen seen seen held-out seen"),
        ("lfcc-gmm", "in-domain held-out held-out held-out held-out"),
        ("probe-silence", "held-out held-out held-out held-out held-out"),
        ("random", "held-out held-out held-out held-out held-out"),
    ],
)
def test_the_detectors_of_the_literature(name: str, verdicts: str) -> None:
    """On the five corpora that people report, as the authors describe their training."""
    assert [leakage(DETECTORS[name], dataset, DATASETS) for dataset in LISTED] == verdicts.split()


def test_every_antideepfake_checkpoint_saw_the_same() -> None:
    """Fourteen cards repeat one list; none may lose a corpus of it."""
    released = {name: card for name, card in DETECTORS.cards.items() if card.weights}
    family = [card for name, card in released.items() if name.startswith("antideepfake-")]
    assert len(family) == 14
    assert len({(card.trained_on, card.selected_on) for card in family}) == 1


@pytest.mark.parametrize(
    ("watched", "dataset", "verdict"),
    [
        ("asvspoof2021-df", "asvspoof2021-df", "seen"),
        ("asvspoof2021-df", "asvspoof2021-df-progress", "in-domain"),
        ("asvspoof2021-df-progress", "asvspoof2021-df", "in-domain"),
        ("asvspoof2021-df-progress", "asvspoof2021-df-hidden", "in-domain"),
        ("asvspoof2021-df-progress", "asvspoof2021-df-all", "seen"),
        ("asvspoof2021-df-all", "asvspoof2021-df", "seen"),
        ("asvspoof2021-df-all", "asvspoof2021-df-hidden", "seen"),
        ("asvspoof2021-df-all", "asvspoof2021-la", "held-out"),
        ("asvspoof2021-la-all", "asvspoof2019-la", "held-out"),
        ("asvspoof2019-la-train", "asvspoof2019-la-train", "seen"),
        ("asvspoof2019-la-train", "asvspoof2019-la-dev", "in-domain"),
        ("mlaad-en-v5", "mlaad-en", "seen"),
        ("mlaad-en", "mlaad-en-v5", "seen"),
        ("demo-train", "demo", "in-domain"),
        ("deepfake-eval-2024-train-13s", "deepfake-eval-2024-train-4s", "seen"),
        ("deepfake-eval-2024-train-13s", "deepfake-eval-2024-train", "seen"),
        ("deepfake-eval-2024-train", "deepfake-eval-2024-train-50s", "seen"),
        ("deepfake-eval-2024-train-13s", "deepfake-eval-2024-4s", "in-domain"),
        ("deepfake-eval-2024-train-13s", "deepfake-eval-2024", "in-domain"),
        ("deepfake-eval-2024-4s", "deepfake-eval-2024-train-4s", "in-domain"),
        ("deepfake-eval-2024-train-13s", "itw", "held-out"),
        ("common-voice", "itw", "held-out"),
    ],
)
def test_lists_of_one_corpus(watched: str, dataset: str, verdict: str) -> None:
    """A list is seen, as is one that holds it or that it holds; others of its corpus are in-domain; samples and
    perturbed ones alike."""
    for card in (released(watched), released("voxceleb2", selected_on=(watched,)), released("mls", watched, "dsd")):
        assert leakage(card, dataset, DATASETS) == verdict
        for name in (f"{dataset}:200", f"{dataset}+mp3@64k", f"{dataset}+trim+noise@15db:200"):
            assert leakage(card, name, DATASETS) == verdict


def test_what_nobody_said_is_unknown() -> None:
    """Weights whose card names no training data; a list they were selected on is seen nevertheless."""
    silent = released()
    assert {leakage(silent, dataset, DATASETS) for dataset in DATASETS.names} == {"unknown"}
    selected = released(selected_on=("asvspoof2019-la-dev",))
    verdicts = [leakage(selected, dataset, DATASETS) for dataset in ("asvspoof2019-la-dev", "asvspoof2019-la", "itw")]
    assert verdicts == ["seen", "in-domain", "unknown"]


def test_a_recipe_tells_what_it_trains_on() -> None:
    """Its train and dev lists count whether the card repeats them or not."""
    trains = detector_card(recipe={"train": "demo-train", "dev": "asvspoof2019-la-dev"})
    assert leakage(trains, "demo-train", DATASETS) == leakage(trains, "asvspoof2019-la-dev", DATASETS) == "seen"
    assert leakage(trains, "demo", DATASETS) == leakage(trains, "asvspoof2019-la", DATASETS) == "in-domain"
    assert leakage(trains, "itw", DATASETS) == "unknown"  # its card says nothing of what the parts it starts from saw
    told = detector_card(recipe={"train": "demo-train"}, trained_on=("demo-train",))
    assert leakage(told, "itw", DATASETS) == "held-out"


def test_every_list_of_a_stage_is_watched() -> None:
    """What a stage trains or validates on counts; noise that is mixed in has nothing of a trial."""
    stage = {
        "train": [{"dataset": "demo-train"}, {"dataset": "mlaad-en-v5"}],
        "validation": {"dataset": "asvspoof2021-la"},
        "augmentation": {"choices": {"noise": {"dataset": "itw", "snr_db": [0, 15]}}},
        "epochs": 1,
        "monitor": "training loss",
        "batch_size": 2,
        "optimiser": {"name": "adam"},
        "learning_rate": {"whole": 1.0},
    }
    trains = detector_card(recipe={"train": "demo", "stages": {"whole": stage}}, trained_on=("demo-train",))
    assert [leakage(trains, name, DATASETS) for name in ("demo-train", "mlaad-en", "asvspoof2021-la", "itw")] == [
        *["seen"] * 3,
        "held-out",
    ]


def test_data_of_the_users_own(tmp_path: Path) -> None:
    """Files without a card are unknown unless the detector names them; with a card they are a corpus like any other."""
    assert leakage(released("itw"), "calls", DATASETS) == "unknown"
    assert leakage(released("calls"), "calls", DATASETS) == leakage(released("calls"), "calls:10", DATASETS) == "seen"
    assert leakage(DETECTORS["random"], "calls", DATASETS) == "held-out"
    world = World(tmp_path)
    world.dataset("calls", range(2))
    world.dataset("more-calls", range(2, 4), sibling_of="calls")
    own = registry.datasets(world.cards)
    assert leakage(released("itw"), "calls", own) == "held-out"
    assert leakage(released("more-calls"), "calls", own) == leakage(released("calls"), "more-calls", own) == "in-domain"
    world.dataset("lost", range(2), sibling_of="gone")  # of a corpus that has no card itself
    assert leakage(released("gone"), "lost", registry.datasets(world.cards)) == "in-domain"


def test_a_cell_tells_it_and_a_run_brings_it_up_to_date(tmp_path: Path) -> None:
    """From the cards as they are when it runs; of scores under a name without a card nothing is known."""
    world = World(tmp_path)
    world.dataset("calls", range(4))
    world.detector("det", trained_on=["voxceleb2"])
    cell = world.cell("det", "calls")
    assert (cell.manifest["leakage"], Result(cell).leakage) == ("held-out", "held-out")
    world.detector("det", trained_on=["voxceleb2"], selected_on=["calls"])
    assert world.cell("det", "calls").manifest["leakage"] == "seen"
    manifest = {name: value for name, value in cell.manifest.items() if name != "leakage"}
    assert Result(replace(cell, manifest=manifest)).leakage == "unknown"  # of a cell that is older than the badge

    scores = tmp_path / "scores.txt"
    scores.write_text("".join(f"{number} {number}\n" for number in range(4)))
    told = {}
    for name in ("det", "ours"):
        imported, _ = imports.import_scores(world.workspace(), scores, name, "calls")
        told[name] = imported.manifest["leakage"]
    assert told == {"det": "seen", "ours": "unknown"}


ORDER = ("held-out", "in-domain", "seen")
names = st.lists(st.sampled_from([*DATASETS.names, "voxceleb2", "mls"]), max_size=4)


@given(trained=names, more=names, dataset=st.sampled_from(DATASETS.names))
def test_more_training_never_makes_a_score_cleaner(trained: list[str], more: list[str], dataset: str) -> None:
    """Adding corpora moves the verdict towards `seen` only; neither their order nor the field they stand in matters."""
    few, many = released("elsewhere", *trained), released("elsewhere", *trained, *more)
    before, after = leakage(few, dataset, DATASETS), leakage(many, dataset, DATASETS)
    assert ORDER.index(before) <= ORDER.index(after)
    apart = released("elsewhere", *reversed(trained), selected_on=tuple(more))
    assert leakage(apart, dataset, DATASETS) == after


def test_seen_is_mutual() -> None:
    """Whether two lists share trials does not depend on which of them was trained on."""
    for one, other in itertools.product(DATASETS.names, repeat=2):
        assert leakage(released(one), other, DATASETS) == leakage(released(other), one, DATASETS)
