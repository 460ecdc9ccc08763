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
from bench.scorer import build_model
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
    assert trained == {
        "lfcc-gmm",
        "slim",
        "slim-finetuned",
        "two-stage-xlsr",
        "two-stage-xlsr-frozen",
        "xls-r-linear-probe",
    }
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

# What the papers and the authors' scripts say, a line a stage; `->` from first to last, `s` seconds of audio, `-` none.
LITERATURE = """
name                                   stage        optimiser decay  rate             schedule    batch epochs patience monitor  rawboost seed
xlsr-sls-retrained                     whole        adam      1e-4   1e-6             constant    5     50     1        training 3        1234
xlsr-sls-v2-retrained                  whole        adam      1e-4   1e-6             constant    5     50     10       loss     3        1234
two-stage-xlsr                         head         adamw     1e-2   5e-4->0          linear      16    15     5        EER      0        42
two-stage-xlsr                         fine-tuning  adamw     1e-2   2e-5->0          linear      16    3      5        EER      0        42
two-stage-xlsr-frozen                  head         adamw     1e-2   5e-4->0          linear      16    15     5        EER      0        42
slim                                   dependency   adamw     1e-2   5e-3->1e-4       linear      16    50     3        loss     0        0
slim                                   classifier   adamw     1e-2   1e-4->1e-5       linear      2     10     3        loss     0        0
slim-finetuned                         dependency   adamw     1e-2   5e-3->1e-4       linear      16    50     3        loss     0        0
slim-finetuned                         whole        adamw     1e-2   1e-4->1e-5       linear      2     10     3        loss     0        0
antideepfake-xls-r-300m-post-training  whole        adamw     1e-2   1e-7             exponential 100s  30     -        EER      5        1234
antideepfake-mms-300m-dfe              whole        adamw     1e-2   1e-6             exponential 100s  30     -        training 5        1234
antideepfake-xls-r-1b-dfe              whole        adamw     1e-2   1e-6             exponential 100s  30     -        training 5        1234
aasist-retrained                       whole        adam      1e-4   1e-4->5e-6       cosine      24    100    -        EER      0        1234
aasist-l-retrained                     whole        adam      1e-4   1e-4->5e-6       cosine      24    100    -        EER      0        1234
ssl-aasist-la-retrained                whole        adam      1e-4   1e-6             constant    14    100    -        loss     5        1234
ssl-aasist-df-retrained                whole        adam      1e-4   1e-6             constant    14    100    -        loss     3        1234
rawnet2-retrained                      whole        adam      1e-4   1e-4             constant    32    100    -        loss     0        1234
lfcc-lcnn-retrained                    whole        adam      0      3e-4             step        64    100    50       loss     0        1000
"""  # noqa: E501, a table
HEADER, *LINES = (line.split() for line in LITERATURE.strip().splitlines())
MONITORS = {"training": "training loss", "loss": "validation loss", "EER": "validation EER"}


@pytest.mark.parametrize("line", LINES, ids=["-".join(line[:2]) for line in LINES])
def test_a_recipe_has_the_numbers_of_its_source(line: list[str]) -> None:
    """Also where a card takes them over from another one."""
    row = dict(zip(HEADER, line, strict=True))
    about = recipe(shipped()[row["name"]])
    stage = about.stages[row["stage"]]
    rates = tuple(map(float, row["rate"].split("->")))
    assert next(iter(stage.learning_rate.values())) == (rates if len(rates) == 2 else rates[0])
    assert (stage.optimiser.name, stage.optimiser.weight_decay) == (row["optimiser"], float(row["decay"]))
    assert (stage.schedule.name, stage.monitor) == (row["schedule"], MONITORS[row["monitor"]])
    size = row["batch"].removesuffix("s")
    assert (stage.batch_size, stage.batch_seconds) == (
        (None, float(size)) if size != row["batch"] else (int(size), None)
    )
    assert stage.epochs == int(row["epochs"])
    assert stage.patience == (None if row["patience"] == "-" else int(row["patience"]))
    assert (stage.augmentation.rawboost if stage.augmentation else 0) == int(row["rawboost"])
    assert about.seed == int(row["seed"])


def test_every_recipe_of_the_literature_is_in_the_table() -> None:
    """A new card brings its line; what is our own, the probe and the demo, has none."""
    told = {(line[0], line[1]) for line in LINES}
    assert {(name, stage) for name, stage, _ in stages()} - told == {
        ("xls-r-linear-probe", "head"),
        ("xlsr-sls-demo", "whole"),
    }


def found() -> dict[tuple[str, str], Stage]:
    return {(name, stage): about for name, stage, about in stages()}


def test_who_weighs_drops_and_changes_what_it_watches() -> None:
    """The ASVspoof lineage weighs the classes and drops an epoch's last batch; some change the development set, too."""
    lineage = {name for name in STAGED if re.search("sls|aasist|rawnet2", name)}
    weighted = {name for name, _, about in stages() if about.loss.get("class_weights") == [0.1, 0.9]}
    assert weighted == lineage - {"xlsr-sls-demo"}
    assert {name for name, _, about in stages() if about.drop_last} == lineage
    changed = {name for name, _, about in stages() if about.augmentation and about.augmentation.validation}
    own = {"xlsr-sls-v2-retrained", "ssl-aasist-la-retrained", "ssl-aasist-df-retrained"}
    assert changed == {*own, "antideepfake-xls-r-300m-post-training"}


def test_aasist_averages_the_epochs_that_were_not_worse() -> None:
    """Random windows, ties count, and the weights of all of them are averaged."""
    for name in ("aasist-retrained", "aasist-l-retrained"):
        about = found()[name, "whole"]
        assert (about.crop, about.ties, about.keep) == ("random", True, "average")
    assert all(about.keep != "average" for name, _, about in stages() if not name.startswith("aasist"))


def test_antideepfake_warms_up_and_decays_over_800_000_steps() -> None:
    """Post-training and fine-tuning share optimiser, schedule and clipping; random pieces are of the former alone."""
    post = found()["antideepfake-xls-r-300m-post-training", "whole"]
    assert (post.steps, post.validate_every, post.clip_norm, post.optimiser.eps) == (800_000, 100_000, 100, 1e-6)
    assert (post.schedule.warmup, post.schedule.factor) == (80_000, 0.01)
    assert post.pieces is not None
    assert (post.pieces.longest, post.pieces.seconds) == (13, (10, 13))
    for name in ("antideepfake-mms-300m-dfe", "antideepfake-xls-r-1b-dfe"):
        tuned = found()[name, "whole"]
        assert (tuned.schedule, tuned.optimiser, tuned.clip_norm) == (post.schedule, post.optimiser, post.clip_norm)
        assert (tuned.pieces, tuned.keep) == (None, "last")


def test_slim_learns_from_real_speech_and_then_from_changed_speech() -> None:
    """3,000 utterances of each corpus in stage 1; in stage 2 one of three changes beside the original."""
    real = found()["slim", "dependency"]
    assert [(source.dataset, source.trials) for source in real.train] == [("common-voice", 3000), ("ravdess", 3000)]
    assert real.validation is not None
    assert (real.validation.dataset, real.validation.trials) == ("asvspoof2019-la-train", 500)
    changes = found()["slim", "classifier"].augmentation
    assert changes == found()["slim-finetuned", "whole"].augmentation and changes is not None
    assert (changes.keep_original, changes.count, changes.probability, changes.rawboost) == (True, 1, 1.0, 0)
    assert changes.choices.model_dump(exclude_none=True) == {
        "noise": {"dataset": "rirs-noises-noise", "snr_db": (0, 15)},
        "reverberation": {"dataset": "rirs-noises-rooms"},
        "spectrum": {
            "drop_frequency": {"low": 0, "high": 1, "count": (1, 3), "width": 0.05},
            "drop_chunk": {"count": (1, 5), "samples": (1000, 2000)},
        },
    }


def test_lfcc_lcnn_halves_its_rate_in_ten_epochs() -> None:
    """As the StepLR of the organisers' script."""
    about = found()["lfcc-lcnn-retrained", "whole"].schedule
    assert (about.factor, about.epochs) == (0.5, 10)


@pytest.mark.parametrize("name", STAGED)
def test_a_number_of_ours_is_marked_and_the_reader_is_told(name: str) -> None:
    """`# assumption`, or `# what: assumption`; then a note says what the source leaves open."""
    text = (ROOT / "detectors" / f"{name}.yaml").read_text(encoding="utf-8")
    marks = [comment for comment in re.findall(r"# (.*)", text) if "assum" in comment.casefold()]
    assert all(re.fullmatch(r"([^:]+: )?assumption(: .+)?", mark) for mark in marks), marks
    silent = re.compile(r"not (stated|said|say)|leaves? open|assumption")
    assert not marks or any(silent.search(note) for note in shipped()[name].notes)


def extension(name: str, folder: Path) -> DetectorCard | None:
    """The card that a note shows, whole or in part, for extending this one."""
    shown = re.search(r"`(\{.*\}|recipe: [^`]*)`", " ".join(shipped()[name].notes))
    if shown is None:
        return None
    card = {"name": "mine", "extends": name, "trained_on": ["ours"], **yaml.safe_load(shown[1])}
    (folder / "mine.yaml").write_text(yaml.safe_dump(card))
    assert card["extends"] == name
    return registry.detectors(folder)["mine"]


@pytest.mark.parametrize("name", ["antideepfake-mms-300m-dfe", "antideepfake-xls-r-300m-post-training"])
def test_what_a_note_shows_of_a_card_can_be_copied(name: str, tmp_path: Path) -> None:
    """It is a card, of another recipe than the one that it extends, on lists that it names."""
    card = extension(name, tmp_path)
    assert card and recipe(card).speech != recipe(shipped()[name]).speech
    assert [other for other in STAGED if extension(other, tmp_path) is not None] == [
        "antideepfake-mms-300m-dfe",
        "antideepfake-xls-r-300m-post-training",
    ]


def test_post_training_takes_a_list_of_ones_own(tmp_path: Path) -> None:
    """The card of its note trains on the user's corpora alone, by the same recipe but for its length."""
    name = "antideepfake-xls-r-300m-post-training"
    card = extension(name, tmp_path)
    assert card and recipe(card).speech == ("ours", "theirs", "ours-dev")
    own, shown = recipe(card).stages["whole"], recipe(shipped()[name]).stages["whole"]
    changed = {field for field in Stage.model_fields if getattr(own, field) != getattr(shown, field)}
    assert changed == {"train", "steps", "validate_every", "schedule"}
    assert own.schedule.factor == shown.schedule.factor
    assert recipe(card).start == recipe(shipped()[name]).start


# Tiny cards


@pytest.mark.parametrize("name", STAGED)
def test_a_tiny_card_is_the_recipe_on_other_lists(name: str, cards: Registry[DetectorCard]) -> None:
    """The demo lists and random weights alone, a network of some thousand parameters; the rules of each stage stay."""
    card, real = cards[f"tiny-{name}"], recipe(shipped()[name])
    assert recipe(card).datasets == ("demo-train", "demo-dev")
    assert set(recipe(card).start.values()) <= {"random"}
    assert sum(parameter.numel() for parameter in built(card).parameters()) < 400_000
    assert list(recipe(card).stages) == list(real.stages)
    kept = ("crop", "loss", "monitor", "patience", "ties", "keep", "drop_last", "optimiser", "clip_norm", "precision")
    for stage, about in recipe(card).stages.items():
        assert all(getattr(about, field) == getattr(real.stages[stage], field) for field in kept)
        assert about.schedule.name == real.stages[stage].schedule.name
        assert (about.augmentation is None) == (real.stages[stage].augmentation is None)
        assert about.epochs == 2 and about.steps is None and about.validate_every is None


def test_tiny_cards_take_other_lists_sizes_and_changes(tmp_path: Path) -> None:
    """Lists by name, so many trials of each in the proportion of the classes, and any field over the rest."""
    changes: dict[str, Any] = {"title": "Own", "recipe": {"seed": 5, "stages": {"classifier": None}}}
    write(tmp_path, ["slim"], train="mine", dev="yours", trials=6, epochs=20, **changes)
    card = registry.detectors(tmp_path)["tiny-slim"]
    about = recipe(card)
    assert (card.title, about.seed, list(about.stages), about.speech) == ("Own", 5, ["dependency"], ("mine", "yours"))
    assert about.stages["dependency"].epochs == 20
    (source,) = about.stages["dependency"].train
    assert (source.trials, source.stratify, source.where) == (6, "label", {"label": "bonafide"})
    assert tiny("slim")["recipe"]["stages"]["classifier"]["train"] == [{"dataset": "demo-train"}]
