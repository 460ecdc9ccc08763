"""The contract of every card that ships, and what the registry accepts and refuses."""

from __future__ import annotations

import difflib
import functools
import importlib
import json
import math
import pkgutil
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bench
from bench import registry
from bench.cards import DatasetCard, DetectorCard, Recipe, Weights
from bench.errors import CardError, UsageError
from bench.report.badges import NO_LICENCE, NON_COMMERCIAL
from bench.scorer import build_model, model_version, resolve_model

ROOT = Path(__file__).resolve().parent.parent
DETECTORS = registry.detectors()
DATASETS = registry.datasets()

OWN = """\
name: own
title: Own
summary: A detector of the user's.
licence: MIT
family: chance
model: bench.models.probes:Random
audio:
  window: none
"""
OWN_SET = """\
name: own-set
title: Own set
summary: A corpus of the user's.
licence: MIT
reader: bench.corpora.protocol_csv:read
obtain: ask me
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes cards into a folder of the user's own and returns it: `write(own=TEXT, ...)`."""

    def write_cards(**texts: str | bytes) -> Path:
        for name, text in texts.items():
            (tmp_path / f"{name}.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path

    return write_cards


@functools.cache
def built(name: str) -> torch.nn.Module:
    """The network of a shipped card without values: the largest have a billion parameters."""
    with torch.device("meta"):
        return build_model(DETECTORS[name].model, DETECTORS[name].arguments, name)


def refusal(folder: Path, name: str = "own") -> CardError:
    with pytest.raises(CardError) as caught:
        _ = registry.detectors(folder)[name]
    return caught.value


# Every card that ships


def test_the_folders_are_the_registry() -> None:
    """As many cards as files, each named as its file, in order; and some of both kinds."""
    for known, folder in ((DETECTORS, "detectors"), (DATASETS, "datasets")):
        stems = sorted(file.stem for file in (ROOT / folder).iterdir())
        assert sorted(known.cards) == sorted(known.names) == stems
        assert stems


@pytest.mark.parametrize("name", DETECTORS.names)
def test_detector_card(name: str) -> None:
    """Its class builds with its arguments, its datasets exist, and it says where its weights come from."""
    card = DETECTORS[name]
    network = resolve_model(card.model, name)
    if hasattr(network, "from_folder"):  # the architecture comes with the weights
        assert card.weights and card.weights.hub
    else:
        assert built(name).training is True  # nothing in a constructor decides the mode for the harness
    assert model_version(card.model, name) >= 1
    if card.recipe and not card.recipe.stages:
        assert callable(getattr(network, "fit", None))
    if card.weights:
        assert card.weights.source.startswith("https://")
    assert all(published.dataset in DATASETS and published.source for published in card.published)
    assert len({p.dataset + p.source + p.note for p in card.published}) == len(card.published)
    _check_texts(card)


@pytest.mark.parametrize("name", DETECTORS.names)
def test_training_corpora_of_a_detector_are_no_misspelt_datasets(name: str) -> None:
    """`trained_on` and `selected_on` name dataset cards, or corpora without a card whose names are like no card's."""
    card = DETECTORS[name]
    without = [corpus for corpus in (*card.trained_on, *card.selected_on) if corpus not in DATASETS]
    near = {corpus: difflib.get_close_matches(corpus, DATASETS.names, n=1, cutoff=0.85) for corpus in without}
    assert not any(near.values()), near


@pytest.mark.parametrize("name", DATASETS.names)
def test_dataset_card(name: str) -> None:
    """Its reader exists, its counts add up, its sibling is a dataset, and it says how to obtain the corpus."""
    card = DATASETS[name]
    assert callable(registry.resolve(card.reader, name))
    assert card.obtain
    if card.counts:
        assert card.counts.bonafide + card.counts.spoof == card.counts.trials
    if card.sibling_of:
        sibling = DATASETS[card.sibling_of]
        assert sibling.sibling_of is None and not card.listed
    _check_texts(card)


def _check_texts(card: DetectorCard | DatasetCard) -> None:
    """Texts are one line without stray white space; links are links."""
    for text in (card.title, card.summary, card.licence, *card.notes):
        assert text and text == " ".join(text.split()), text
    assert card.code == "" or card.code.startswith("https://")
    assert card.paper == "" or "https://" in card.paper


def test_a_hash_on_a_card_is_a_sha256() -> None:
    """64 lower-case hexadecimal digits, another for each file: shipped cards do not verify one file by two hashes."""
    weights = [card.weights for card in DETECTORS.cards.values() if card.weights and card.weights.sha256]
    assert all(re.fullmatch("[0-9a-f]{64}", str(w.sha256)) for w in weights)
    assert (
        len({w.file for w in weights}) == len({w.sha256 for w in weights}) == len({(w.file, w.sha256) for w in weights})
    )


def test_the_listed_datasets_leave_siblings_and_training_splits_out() -> None:
    """`--datasets all` is the five corpora people report, and no trial twice."""
    assert set(DATASETS.select(["all"])) == {"asvspoof2019-la", "asvspoof2021-la", "asvspoof2021-df", "itw", "mlaad-en"}


def test_no_folder_of_cards_can_be_imported() -> None:
    """No Python in detectors/, datasets/ and reports/: they would hide the packages of these names."""
    for folder in ("detectors", "datasets", "reports"):
        assert not [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.pth")]


def test_every_module_can_be_imported() -> None:
    """No module of the package needs more than the dependencies."""
    modules = [module.name for module in pkgutil.walk_packages(bench.__path__, "bench.")]
    modules.remove("bench.__main__")  # imported, it is the command itself
    assert "bench.cards" in modules
    for module in modules:
        importlib.import_module(module)


def test_cards_import_no_network() -> None:
    """Listing detectors costs no import of torch."""
    code = "import sys; from bench import registry; registry.detectors().cards; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_an_installed_wheel_finds_its_cards_beside_a_foreign_folder(tmp_path: Path) -> None:
    """The wheel holds every card and template, and a package `datasets` of somebody else's is not looked into."""
    pytest.importorskip("setuptools")
    source, site = tmp_path / "source", tmp_path / "site"
    for folder in ("bench", "detectors", "datasets", "reports"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    build = "import setuptools.build_meta as backend; backend.build_wheel('.')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(next(source.glob("*.whl"))) as wheel:
        assert {name.split("/")[0] for name in wheel.namelist() if "dist-info" not in name} == {"bench"}
        wheel.extractall(site)
    (site / "datasets").mkdir()
    (site / "datasets" / "__init__.py").touch()
    (site / "datasets" / "foreign.yaml").write_text("name: foreign")
    code = f"""if True:
        import sys; sys.path.insert(0, {str(site)!r})
        from bench import registry
        names = *registry.detectors().cards, *registry.datasets().cards
        print(registry.__file__, *names, registry.shipped("reports"))"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    module, *names, reports = ran.stdout.split()
    assert Path(module) == site / "bench" / "registry.py"
    assert names == [*DETECTORS.names, *DATASETS.names]
    # Accepted scores are results of this repository, not of an installation.
    assert _files(Path(reports)) == {name for name in _files(ROOT / "reports") if not name.startswith("accepted/")}


def _files(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


# Cards of a user's own


def test_a_folder_of_ones_own_adds_to_the_shipped_cards(write: Write) -> None:
    """Detectors and datasets may lie in one folder, at any depth, beside files that are no cards."""
    folder = write(own=OWN)
    (folder / "deep").mkdir()
    (folder / "deep" / "set.yml").write_text(OWN_SET)
    (folder / "README.md").write_text("notes")
    assert registry.detectors(folder).names == [*DETECTORS.names, "own"]
    assert registry.datasets(folder).names == [*DATASETS.names, "own-set"]
    assert registry.detectors(folder)["own"].audio.rate == 16_000


def test_a_card_that_extends_is_of_the_kind_of_its_parent(write: Write) -> None:
    """Through any number of cards, shipped or one's own."""
    folder = write(
        own=OWN_SET,
        child="name: child\nextends: own-set\ntitle: Child\n",
        grandchild="name: grandchild\nextends: child\n",
        shipped="name: my-itw\nextends: itw\n",
        detector="name: my-random\nextends: random\n",
    )
    assert set(registry.datasets(folder).names) - set(DATASETS.names) == {"own-set", "child", "grandchild", "my-itw"}
    assert set(registry.detectors(folder).names) - set(DETECTORS.names) == {"my-random"}
    assert registry.datasets(folder)["grandchild"].title == "Child"


def test_extending_merges_mappings_and_replaces_the_rest(write: Write) -> None:
    """`extends` takes over every field, mappings field by field; lists are replaced."""
    parent = DETECTORS["aasist"]
    folder = write(
        own="name: own\nextends: aasist\naudio: {samples: 32000}\nnotes: [mine]\narguments: {first_conv: 64}\n"
    )
    own = registry.detectors(folder)["own"]
    assert own.audio == parent.audio.model_copy(update={"samples": 32_000})
    assert own.notes == ("mine",)
    assert own.arguments == {**parent.arguments, "first_conv": 64}
    assert (own.model, own.licence, own.weights) == (parent.model, parent.licence, parent.weights)


def test_null_takes_a_field_of_the_parent_away(write: Write) -> None:
    """At any depth its default holds, as if nobody had given it; a field that must be given is missing then."""
    folder = write(
        own="name: own\nextends: xlsr-sls\npaper: null\ndecision: null\nweights: null\n"
        "audio: {window: whole, samples: null}\narguments: {backbone: null, hidden: 8, bias: null}\n"
    )
    own = registry.detectors(folder)["own"]
    assert (own.paper, own.decision, own.weights) == ("", None, None)
    assert (own.audio.window, own.audio.samples, own.audio.rate) == ("whole", None, 16_000)
    assert own.arguments == {"hidden": 8}
    error = refusal(write(own="name: own\nextends: xlsr-sls\nsummary: null\n"))
    assert error.what == "the field `summary` is missing" and str(error.where).endswith("own.yaml, line 3")


def merge_patch(target: Any, patch: Any) -> Any:
    """The pseudocode of RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            if name in result:
                del result[name]
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


KEYS = st.text("ab", min_size=1, max_size=2)
LEAVES = st.none() | st.integers(0, 3)
JSON = st.recursive(LEAVES, lambda part: st.lists(part, max_size=2) | st.dictionaries(KEYS, part))


@given(base=st.dictionaries(KEYS, JSON), change=st.dictionaries(KEYS, JSON))
@settings(max_examples=50, deadline=None)
def test_a_card_changes_its_parent_as_a_json_merge_patch(
    base: dict[str, Any], change: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of any arguments, at any depth, nulls on either side."""
    folder = tmp_path_factory.mktemp("cards")
    (folder / "own.yaml").write_text(OWN + f"arguments: {json.dumps(base)}\n")
    (folder / "child.yaml").write_text(f"name: child\nextends: own\narguments: {json.dumps(change)}\n")
    assert registry.detectors(folder)["child"].arguments == merge_patch(base, change)


VARIANT = "name: own\nextends: {parent}\ntrained_on: [a]\nrecipe: {recipe}\n"


def variant(write: Write, parent: str, recipe: str) -> Recipe:
    """The recipe of a card that changes that of `parent`."""
    found = registry.detectors(write(own=VARIANT.format(parent=parent, recipe=recipe)))["own"].recipe
    assert found is not None
    return found


def test_a_recipe_is_changed_field_by_field(write: Write) -> None:
    """A variant says what it varies; its stages stay in order, a new one comes last, null takes one away."""
    parent = DETECTORS["slim"].recipe
    assert parent is not None
    recipe = variant(
        write,
        "slim",
        "{seed: 3, stages: {dependency: null, classifier: {epochs: 2, crop: null, augmentation: {choices: "
        "{noise: {snr_db: [5, 5]}, reverberation: null}}}, whole: {epochs: 1, monitor: training loss, batch_size: 1, "
        "optimiser: {name: adam}, learning_rate: {classifier: 0.1, compression: 0.1, encoders: 0}}}}",
    )
    assert list(recipe.stages) == ["classifier", "whole"]
    assert (recipe.seed, recipe.train, recipe.start) == (3, parent.train, parent.start)
    old, new = parent.stages["classifier"], recipe.stages["classifier"]
    assert (new.epochs, new.crop, old.crop) == (2, "first", "random")
    assert new.model_copy(update={name: getattr(old, name) for name in ("epochs", "crop", "augmentation")}) == old
    assert old.augmentation and old.augmentation.choices.noise and new.augmentation
    noise = old.augmentation.choices.noise.model_copy(update={"snr_db": (5, 5)})
    choices = old.augmentation.choices.model_copy(update={"noise": noise, "reverberation": None})
    assert new.augmentation == old.augmentation.model_copy(update={"choices": choices})


def test_a_checkpoint_and_a_source_are_replaced_as_a_whole(write: Write) -> None:
    """The hash of the parent's checkpoint, and the draw from its list, are not those of another."""
    own = "{file: mine.pt, source: here, licence: MIT}"
    recipe = variant(
        write,
        "two-stage-xlsr",
        f"{{start: {{backbone: {own}}}, stages: {{head: {{validation: {{dataset: demo-dev}}}}}}}}",
    )
    assert recipe.start == {"backbone": Weights(file="mine.pt", source="here", licence="MIT")}
    watched = recipe.stages["head"].validation
    assert watched and (watched.dataset, watched.trials, watched.stratify) == ("demo-dev", None, None)
    other = recipe.stages["fine-tuning"].validation
    assert other and (other.dataset, other.trials) == ("asvspoof2019-la-dev", 1250)
    random = variant(write, "slim", "{start: {style.encoder: random}}").start
    assert (random["style.encoder"], list(random)) == ("random", ["style.encoder", "linguistics.encoder"])
    assert random["linguistics.encoder"] != "random"


@pytest.mark.parametrize(
    ("recipe", "what", "remedy"),
    [
        ("{trian: a}", "unknown field `recipe.trian`", "did you mean `train`?"),
        (
            "{stages: {classifier: {epoch: 3}}}",
            "unknown field `recipe.stages.classifier.epoch`",
            "did you mean `epochs`?",
        ),
        (
            "{stages: {dependency: {train: [{dataset: a}, {dataset: b, trails: 3}]}}}",
            "unknown field `recipe.stages.dependency.train.1.trails`",
            "did you mean `trials`?",
        ),
        (
            "{stages: {dependency: {validation: {datset: b}}}}",
            "unknown field `recipe.stages.dependency.validation.datset` (and 1 more)",
            "did you mean `dataset`?",
        ),
        (
            "{start: {style.encoder: {file: a, source: b, licence: c, md5: d}}}",
            "unknown field `recipe.start.style.encoder.md5`",
            "fields here: file, aliases, source, hub, url, member, sha256, licence",
        ),
        (
            "{start: {style.encoder: {file: a, source: b, licence: c, hub: {repo: a/b, reversion: d}}}}",
            "unknown field `recipe.start.style.encoder.hub.reversion`",
            "did you mean `revision`?",
        ),
        (
            "{start: {style.encoder: {file: a, source: b}}}",
            "the field `recipe.start.style.encoder.licence` is missing",
            None,
        ),
        ("{start: {style.encoder: randm}}", "`recipe.start.style.encoder`: Input should be 'random'", None),
        (
            "{stages: {classifier: {augmentation: {choices: {noise: {snr: [0, 1]}}}}}}",
            "unknown field `recipe.stages.classifier.augmentation.choices.noise.snr`",
            "did you mean `snr_db`?",
        ),
        (
            "{stages: {classifier: {augmentation: {choices: {spectrum: {drop_chunk: {count: [5, 1]}}}}}}}",
            "`recipe.stages.classifier.augmentation.choices.spectrum.drop_chunk.count`: give the lower bound first",
            None,
        ),
        (
            "{stages: {classifier: {learning_rate: {classifier: -1}}}}",
            "`recipe.stages.classifier.learning_rate.classifier`: Input should be greater than or equal to 0",
            None,
        ),
        (
            "{stages: {classifier: {schedule: {name: constant}}}}",
            "`recipe.stages.classifier`: the schedule `constant` needs one rate of the group `classifier`",
            None,
        ),
        (
            "{stages: {classifier: 3}}",
            "`recipe.stages.classifier`: Input should be a valid dictionary or instance of Stage",
            None,
        ),
        ("{stages: [classifier]}", "`recipe.stages`: Input should be a valid dictionary", None),
        (
            "{dev: null, stages: {classifier: {validation: null}}}",
            "`recipe`: stage `classifier` watches the validation loss: give `dev`, or the stage's `validation`",
            None,
        ),
    ],
)
def test_a_mistake_deep_in_a_recipe_is_told_by_its_field(
    write: Write, recipe: str, what: str, remedy: str | None
) -> None:
    """In the card's own words, whatever lies between: stages by name, sources by place, one of two forms."""
    error = refusal(write(own=VARIANT.format(parent="slim", recipe=recipe)))
    assert (error.what, error.remedy) == (what, remedy)
    assert str(error.where).endswith("own.yaml, line 4")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("source: c", "sources: c", 8),  # in a checkpoint
        ("      source: c\n", "", 5),  # missing there
        ("trials: 1", "trails: 1", 14),  # in the second source of a list
        ("trials: 1", "trials: 0", 14),
        ("      epochs: 3", "      batch_seconds: 5", 11),  # beside what the parent gave
    ],
)
def test_the_line_of_a_mistake_is_the_deepest_that_is_written(write: Write, old: str, new: str, line: int) -> None:
    """Through stages, lists and checkpoints; beside what the parent gave it is that of what was changed there."""
    text = """\
name: own
extends: slim
recipe:
  start:
    style.encoder:
      file: a
      licence: b
      source: c
  seed: 1
  stages:
    classifier:
      train:
        - dataset: a
        - {dataset: b, trials: 1}
      epochs: 3
"""
    assert registry.detectors(write(own=text))["own"].recipe
    assert str(refusal(write(own=text.replace(old, new))).where).endswith(f"own.yaml, line {line}")


def test_what_was_said_of_the_parent_is_not_inherited(write: Write) -> None:
    """Published numbers, counts and being unlisted belong to the very card."""
    folder = write(
        a="name: a\nextends: aasist\n",
        b="name: b\nextends: itw\n",
        c="name: c\nextends: lfcc-gmm-demo\n",
    )
    assert DETECTORS["aasist"].published and registry.detectors(folder)["a"].published == ()
    assert DATASETS["itw"].counts and registry.datasets(folder)["b"].counts is None
    assert not DETECTORS["lfcc-gmm-demo"].listed and registry.detectors(folder)["c"].listed


def test_extending_nobody_or_oneself_is_an_error(write: Write) -> None:
    """A parent that is unknown comes with the nearest name, a circle is drawn."""
    error = refusal(write(own="title: t\nname: own\nextends: aasits\n"))
    assert error.what == "`extends`: no detector is called 'aasits'"
    assert str(error.where).endswith("own.yaml, line 3") and str(error.remedy).startswith("did you mean aasist")
    error = refusal(write(own="name: own\nextends: two\n", two="name: two\nextends: own\n"))
    assert error.what == "`extends` runs in a circle: own -> two -> own"
    assert refusal(write(own="name: own\nextends: own\n", two="name: two\nextends: random\n")).what.endswith(
        "own -> own"
    )
    assert (
        refusal(write(own="name: own\nextends: [aasist]\n")).what == "`extends`: no detector is called \"['aasist']\""
    )


def test_a_mistake_of_the_parent_is_told_with_the_parents_file(write: Write) -> None:
    """Not with a line of the card that extends it."""
    error = refusal(write(parent=OWN.replace("own", "base") + "nots: []\n", own="name: own\nextends: base\n"))
    assert str(error.where).endswith("parent.yaml, line 9")


def test_a_name_can_be_given_once(write: Write) -> None:
    """Two cards of one name, in the folder or beside the shipped ones, are an error that names both files."""
    error = refusal(write(own=OWN, two="title: t\n" + OWN.replace("title: Own\n", "")))
    assert error.what == "'own' is the name of two cards"
    assert str(error.where).endswith("two.yaml, line 2") and str(error.remedy).endswith("own.yaml")
    with pytest.raises(CardError, match="'aasist' is the name of two cards"):
        registry.detectors(write(own=OWN.replace("own", "aasist"), two=OWN.replace("own", "two")))


@pytest.mark.parametrize(
    ("text", "what", "line", "remedy"),
    [
        (OWN + "sumary: x\n", "unknown field `sumary`", 9, "did you mean `summary`?"),
        (OWN.replace("model:", "modle:"), "unknown field `modle` (and 1 more)", 6, "did you mean `model`?"),
        (OWN.replace("name: own", "name: own\nextend: random"), "unknown field `extend`", 2, "did you mean `extends`?"),
        (OWN + "  epsilom: 1\n", "unknown field `audio.epsilom`", 9, "did you mean `epsilon`?"),
        (
            OWN + "published:\n  - {dataset: itw, eer: 1, source: s}\n  - dataset: itw\n    eerr: 2\n",
            "unknown field `published.1.eerr` (and 2 more)",
            12,
            "did you mean `eer`?",
        ),
        (OWN + "  zzz: 1\n", "unknown field `audio.zzz`", 9, "fields here: rate, window, samples, epsilon"),
        (OWN.replace("title: Own\n", ""), "the field `title` is missing", 1, None),
        (
            OWN.replace("none", "tiled"),
            "`audio.window`: Input should be 'tile', 'pad', 'whole', 'facts' or 'none'",
            8,
            None,
        ),
        (
            OWN.replace("none", "tile"),
            "`audio`: `samples` goes with the windows `tile` and `pad`, and only with them",
            7,
            None,
        ),
        (OWN + "  epsilon: .nan\n", "`audio.epsilon`: Input should be a finite number", 9, None),
        (OWN + "  epsilon: 0\n", "`audio.epsilon`: Input should be greater than 0", 9, None),
        (OWN + "  rate: 0\n", "`audio.rate`: Input should be greater than or equal to 1000", 9, None),
        (OWN + "licence: GPL\n", "not valid YAML: `licence` is given twice", 9, None),
        (OWN + "  window: tile\n", "not valid YAML: `window` is given twice", 9, None),
        (OWN + "paper: 2021-13-01\n", "not valid YAML: '2021-13-01' is no timestamp", 9, None),
        (OWN + "paper: [\n", "not valid YAML: expected the node content, but found '<stream end>'", 10, None),
        (OWN + "? [a]\n: b\n", "not valid YAML: found unhashable key", 9, None),
        ("- a\n- b\n", "this is no mapping of field names to values", 1, None),
        ("", "this is no mapping of field names to values", 1, None),
        ("1: a\n", "this is no mapping of field names to values", 1, None),
        ("title: a\n", "a card needs a `name`, a string other than `all` and `NAME:100` (a sample of NAME)", 1, None),
        (
            "title: a\nname: 2019\n",
            "a card needs a `name`, a string other than `all` and `NAME:100` (a sample of NAME)",
            2,
            None,
        ),
        (
            OWN.replace("own", "all"),
            "a card needs a `name`, a string other than `all` and `NAME:100` (a sample of NAME)",
            1,
            None,
        ),
        (
            OWN.replace("own", "itw:10"),
            "a card needs a `name`, a string other than `all` and `NAME:100` (a sample of NAME)",
            1,
            None,
        ),
    ],
)
def test_a_mistake_is_told_with_file_and_line(
    write: Write, text: str, what: str, line: int, remedy: str | None
) -> None:
    """What is wrong, in which line of which file, and the field that was probably meant."""
    error = refusal(write(own=text))
    assert error.what == what
    assert str(error.where).endswith(f"own.yaml, line {line}")
    assert error.remedy == remedy


def test_weights_and_recipe_exclude_each_other(write: Write) -> None:
    """A card has one origin of its weights."""
    both = OWN + "weights: {file: a, source: b, licence: c}\nrecipe: {train: demo-train}\n"
    assert "`weights` (released) and `recipe` (trained here) exclude each other" in refusal(write(own=both)).what


@pytest.mark.parametrize("file", ["../b.pth", "/b.pth", "a/../b", "a/", "..\\b.pth", "", "a\nb"])
def test_a_weights_file_is_a_name_below_the_weights_folders(write: Write, file: str) -> None:
    """No path leads out of the weights folders."""
    text = OWN + f"weights: {{file: {file!r}, source: b, licence: c}}\n".replace("'", '"')
    assert refusal(write(own=text)).what.startswith("`weights.file`: String should match pattern")


@pytest.mark.parametrize("sha256", ["A" * 64, "a" * 63, "a" * 65, "g" * 64])
def test_a_hash_is_checked_when_the_card_is_read(write: Write, sha256: str) -> None:
    """A hash with a digit missing would look like a wrong download."""
    text = OWN + f"weights: {{file: a, source: b, licence: c, sha256: {sha256}}}\n"
    assert refusal(write(own=text)).what.startswith("`weights.sha256`: String should match pattern")


@pytest.mark.parametrize(
    ("text", "value"), [("1e-7", 1e-7), ("1E-07", 1e-7), ("1.e-7", 1e-7), ("1e0", 1.0), ("0.5", 0.5)]
)
def test_numbers_with_an_exponent_are_numbers(write: Write, text: str, value: float) -> None:
    """YAML 1.1 takes 1e-7 for a string, people do not."""
    own = registry.detectors(write(own=OWN + f"  epsilon: {text}\narguments: {{x: {text}}}\n"))["own"]
    assert own.audio.epsilon == value and own.arguments == {"x": value}


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch {mark}']",
        "!!python/object/new:subprocess.check_output [['touch', '{mark}']]",
        "!!python/name:os.system",
        "!!python/module:bench.cli",
        "!unknown x",
    ],
)
def test_a_card_executes_nothing(write: Write, tmp_path: Path, value: str) -> None:
    """Tags that would build Python objects are refused, and nothing has run."""
    mark = tmp_path / "executed"
    error = refusal(write(own=OWN + f"paper: {value.format(mark=mark)}\n"))
    assert error.what.startswith("not valid YAML: could not determine a constructor for the tag")
    assert str(error.where).endswith("line 9")
    assert not mark.exists()


def test_aliases_are_refused(write: Write) -> None:
    """A YAML bomb, a structure that holds itself and a merge key all need an alias; a card needs none."""
    bomb = (
        OWN
        + "arguments:\n  a0: &a0 [x, x]\n"
        + "".join(f"  a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
    )
    for text, line in (
        (bomb, 11),
        (OWN + "arguments: &a {x: *a}\n", 9),
        (OWN + "arguments: &a {x: 1}\nrecipe: {<<: *a}\n", 10),
    ):
        error = refusal(write(own=text))
        assert error.what == "not valid YAML: aliases (`*name`) are not read in a card"
        assert str(error.where).endswith(f"own.yaml, line {line}")


def test_deep_nesting_is_refused(write: Write) -> None:
    """Ten thousand brackets are an error and no crash."""
    assert "recursion" in refusal(write(own=OWN + "arguments: " + "[" * 10_000)).what


def test_a_card_is_utf8(write: Write) -> None:
    """Umlauts and a byte order mark are read, Latin-1 is an error that names the file."""
    own = registry.detectors(write(own=("\ufeff" + OWN + "notes: [Müller]\n").encode()))["own"]
    assert own.notes == ("Müller",)
    error = refusal(write(own=OWN.encode() + "notes: [Müller]\n".encode("latin-1")))
    assert error.what.startswith("not valid YAML: 'utf-8' codec can't decode") and str(error.where).endswith("own.yaml")


@pytest.mark.parametrize("name", ["<b>own</b>", "../own", "a/b", "..", "Größe", "a:b", "%2F", "x" * 120])
def test_strange_names_are_names(write: Write, name: str) -> None:
    """Whoever writes a name into a path or a page encodes it; a card may have it."""
    folder = write(own=OWN.replace("own", f'"{name}"', 1))
    assert registry.detectors(folder)[name].name == name
    assert registry.detectors(folder).select([name]) == {name: True}


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a*", "a?", "[a]", "a\\tb", "a\\nb", "\\0", "x" * 121])
def test_names_that_a_command_line_cannot_say_are_refused(write: Write, name: str) -> None:
    """White space, commas, glob characters and control characters separate or choose names."""
    with pytest.raises(CardError, match="`name`: String should"):
        _ = registry.detectors(write(own=OWN.replace("own", f'"{name}"', 1))).cards


@given(text=st.text(alphabet=st.sampled_from("ab1:-?*&!|>'\"%@`{}[],#~<=\n \t.é\x00"), max_size=60))
@settings(max_examples=50, deadline=None)
def test_whatever_is_written_is_a_card_or_a_card_error(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No text makes the reader stumble over anything but its own error."""
    folder = tmp_path_factory.mktemp("cards")
    (folder / "own.yaml").write_text(OWN + text, encoding="utf-8")
    try:
        assert "own" in registry.detectors(folder).cards
    except CardError as error:
        assert "own.yaml" in str(error.where)


def test_a_folder_that_is_not_there_or_empty_is_an_error(tmp_path: Path) -> None:
    """A misspelt `--cards` never means no cards."""
    with pytest.raises(CardError, match="no such folder of cards"):
        registry.detectors(tmp_path / "nowhere")
    with pytest.raises(CardError, match="no card in this folder"):
        registry.detectors(tmp_path)
    (tmp_path / "x.yaml").mkdir()
    with pytest.raises(CardError, match="cannot be read: Is a directory"):
        registry.detectors(tmp_path)


def test_code_that_does_not_even_import_is_a_card_error(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in the user's module is told with the card, whatever it raises."""
    folder = write(own=OWN)
    (folder / "broken_code.py").write_text("def net(:\n")
    (folder / "failing_code.py").write_text("raise RuntimeError('no licence key')\n")
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(CardError, match=r"broken_code:Net cannot be loaded: SyntaxError"):
        registry.resolve("broken_code:Net", "card own")
    with pytest.raises(CardError, match=r"failing_code:Net cannot be loaded: RuntimeError: no licence key"):
        registry.resolve("failing_code:Net", "card own")


@pytest.mark.parametrize("value", ["2021-03-01", ".nan", "{1: a, b: c}"])
def test_arguments_have_one_spelling(write: Write, value: str) -> None:
    """Arguments are part of a cell's key: a date, NaN or keys of two kinds are refused."""
    error = refusal(write(own=OWN + f"arguments: {{x: {value}}}\n"))
    assert error.what.startswith("`arguments`: give text, numbers, lists and mappings only")


def test_a_card_may_name_the_users_own_code(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """`module:Class` from anywhere on the path; what is not there is told with the card."""
    folder = write(own=OWN.replace("bench.models.probes:Random", "own_code:Net"))
    (folder / "own_code.py").write_text("import torch\nclass Net(torch.nn.Module): pass\nword = 1\n")
    monkeypatch.syspath_prepend(folder)
    assert type(build_model(registry.detectors(folder)["own"].model, {}, "own")).__name__ == "Net"
    with pytest.raises(CardError, match=r"own_code:Not cannot be loaded.*no attribute 'Not'(.|\n)*where: card"):
        registry.resolve("own_code:Not", "card own")
    with pytest.raises(
        CardError,
        match=r"cannot be loaded: ModuleNotFoundError: No module named 'nowhere'(.|\n)*install the module it names",
    ):
        registry.resolve("nowhere.at.all:Net", "card own")


@pytest.mark.parametrize("model", ["Random", "bench.models.probes", "os:system('x')", "a b:C", ":C", "a:", "../a:C"])
def test_code_is_named_as_module_and_object(write: Write, model: str) -> None:
    """`package.module:Name` and nothing else."""
    error = refusal(write(own=OWN.replace("bench.models.probes:Random", f'"{model}"')))
    assert error.what.startswith("`model`: String should match pattern")


# Choosing by name


def test_names_are_chosen_in_the_order_given() -> None:
    """Single names, lists with commas, white space and empty parts; a name given twice is chosen once."""
    assert list(DETECTORS.select(["random", "aasist, aasist-l,", "random"])) == ["random", "aasist", "aasist-l"]


def test_a_glob_and_all_are_not_explicit_a_name_is() -> None:
    """Whoever names a card wants to hear that it is blocked; whoever says `all` takes what is ready."""
    assert DETECTORS.select(["rawnet2-??"]) == {"rawnet2-df": False, "rawnet2-la": False}
    assert DETECTORS.select(["rawnet2-??,rawnet2-la"]) == {"rawnet2-df": False, "rawnet2-la": True}
    assert DETECTORS.select(["rawnet2-la", "rawnet2-??"]) == {"rawnet2-la": True, "rawnet2-df": False}
    everything = DETECTORS.select(["all"])
    assert not any(everything.values())
    assert set(everything) == {name for name, card in DETECTORS.cards.items() if card.listed}
    assert DETECTORS.select(["*-demo"]) == {"lfcc-gmm-demo": False, "xlsr-sls-demo": False}
    assert everything.keys().isdisjoint(DETECTORS.select(["*-demo"]))


@pytest.mark.parametrize(
    ("patterns", "what", "remedy"),
    [
        (["aasits"], "no detector is called 'aasits'", "did you mean aasist"),
        (["AASIST"], "no detector is called 'AASIST'", "did you mean aasist"),
        (["zzz*"], "no detector fits 'zzz*'", "see `bench list detectors`"),
        ([" , "], "no detectors were named", "see `bench list detectors`"),
        ([], "no detectors were named", "see `bench list detectors`"),
    ],
)
def test_choosing_nothing_is_an_error(patterns: list[str], what: str, remedy: str) -> None:
    """A misspelt name comes with the nearest ones; nothing is left out silently."""
    with pytest.raises(UsageError) as caught:
        DETECTORS.select(patterns)
    assert caught.value.what == what and str(caught.value.remedy).startswith(remedy)


def test_an_unknown_name_is_an_error_when_looked_up() -> None:
    """The registry is a mapping whose error is a sentence."""
    assert "aasist" in DETECTORS and "nobody" not in DETECTORS
    with pytest.raises(
        UsageError, match="no dataset is called 'asvspoof2021la'\n  remedy: did you mean asvspoof2021-la"
    ):
        _ = DATASETS["asvspoof2021la"]


def test_the_cards_of_the_manual_are_cards(write: Write) -> None:
    """What CONTRIBUTING.md shows can be copied: it loads, and claims nothing that is the parent's; so does a part."""
    manual = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", manual, flags=re.DOTALL)
    (part,) = (block for block in blocks if block.startswith("recipe:"))
    folder = write(**{f"card{number}": block for number, block in enumerate(blocks) if block != part})
    write(part="name: part\nextends: xlsr-sls\n" + part)
    recipe, shipped = registry.detectors(folder)["part"].recipe, DETECTORS["xlsr-sls-retrained"].recipe
    assert recipe and shipped and recipe.stages == shipped.stages
    detector, dataset = registry.detectors(folder)["my-aasist"], registry.datasets(folder)["our-calls"]
    assert detector.arguments == registry.detectors()["aasist"].arguments
    assert detector.weights is not None
    assert (detector.weights.sha256, detector.trained_on, detector.selected_on) == (None, ("our-calls",), ())
    assert (detector.notes, detector.published) == ((), ())
    assert dataset.arguments == {"file": "our-calls/list.csv"}


# Models of the hub that have no card


def test_a_model_of_the_hub_is_a_detector_by_its_name() -> None:
    """`hf:org/name` gives a card made on the spot: whole files at 16 kHz, threshold 0, a folder that can be fetched."""
    card = DETECTORS["hf:some-org/some_model.v2"]
    assert isinstance(card, DetectorCard) and card.name == "hf:some-org/some_model.v2"
    assert card.model == "bench.models.native:NativeClassifier" and card.arguments == {}
    assert (card.audio.rate, card.audio.window, card.audio.epsilon) == (16_000, "whole", None)
    assert card.weights is not None and card.weights.fetchable and card.weights.hub is not None
    assert card.weights.file == card.weights.hub.repo == "some-org/some_model.v2"
    assert card.weights.source == "https://huggingface.co/some-org/some_model.v2"
    assert (card.licence, card.weights.licence) == ("see the model card", "see the model card")
    assert card.decision is not None and (card.decision.column, card.decision.threshold) == ("score", 0.0)
    assert (card.trained_on, card.selected_on, card.published, card.parameters) == ((), (), (), None)
    assert model_version(card.model, card.name) >= 1
    _check_texts(card)


def test_models_of_the_hub_are_chosen_by_name_alone() -> None:
    """Beside other names and in comma lists; they are in no list, in no glob and not part of `all`."""
    assert DETECTORS.select(["random,hf:org/one", "hf:org/two"]) == {
        "random": True,
        "hf:org/one": True,
        "hf:org/two": True,
    }
    assert "hf:org/one" in DETECTORS and "hf:org/one" not in DETECTORS.names
    assert not [name for name in (*DETECTORS.cards, *DETECTORS.select(["all"])) if name.startswith("hf:")]
    for glob in ("hf:*", "hf:org/*", "hf:org/on?"):
        with pytest.raises(UsageError, match=re.escape(f"no detector fits '{glob}'")):
            DETECTORS.select([glob])


@pytest.mark.parametrize(
    "name",
    [
        "hf:",
        "hf:name",
        "hf:org/",
        "hf:/name",
        "hf:org/name/more",
        "hf:../name",
        "hf:org/..",
        "hf:.org/name",
        "hf:-org/name",
        "hf:org/na me",
        "hf:org\\name",
        "hf:org/name:100",
        "hf:org/name@main",
        "hf:örg/name",
        "hf:org/name\n",
        "hf:org/" + "n" * 120,
    ],
)
def test_what_is_no_repository_is_no_model_of_the_hub(name: str) -> None:
    """A name that could lead elsewhere, or is not `organisation/model`, is an error with the form that is meant."""
    assert name not in DETECTORS
    with pytest.raises(UsageError) as caught:
        _ = DETECTORS[name]
    assert caught.value.what == f"{name!r} names no model of the hub"
    assert caught.value.remedy == "write hf:<organisation>/<model>, as in the address of its page"


def test_the_hub_has_no_datasets() -> None:
    """`hf:` means something among detectors only."""
    assert "hf:org/name" not in DATASETS
    with pytest.raises(UsageError, match="no dataset is called 'hf:org/name'"):
        _ = DATASETS["hf:org/name"]


def test_a_card_may_extend_a_model_of_the_hub(write: Write) -> None:
    """The way to say which label is bona fide: a name, the model it extends, the label."""
    text = "name: own\nextends: hf:org/name\ntitle: Own\narguments: {bona_fide: LABEL_1}\n"
    folder = write(own=text)
    own, made = registry.detectors(folder)["own"], DETECTORS["hf:org/name"]
    assert (own.title, own.arguments, own.notes) == ("Own", {"bona_fide": "LABEL_1"}, ())
    assert (own.model, own.audio, own.weights, own.decision) == (made.model, made.audio, made.weights, made.decision)
    assert "own" not in registry.datasets(folder)
    error = refusal(write(own=text.replace("org/name", "name")))
    assert error.what == "`extends`: no detector is called 'hf:name'" and str(error.where).endswith("own.yaml, line 2")


def test_a_users_card_goes_before_the_made_one(write: Write) -> None:
    """Who gives a model of the hub a card of the same name means that card."""
    card = registry.detectors(write(own=OWN.replace("own", "hf:org/name", 1)))["hf:org/name"]
    assert (card.title, card.audio.window) == ("Own", "none")


# Facts on cards

# Training corpora without a dataset card. A name that is in neither list is misspelt, or new: then it belongs here.
WITHOUT_CARD = {
    "aishell3",
    "asvspoof5",
    "cfad",
    "cnceleb2",
    "codecfake-wu",
    "codecfake-xie",
    "cvoicefake",
    "decro",
    "dfadd",
    "diffssd",
    "diffuse-or-confuse",
    "dsd",
    "fleurs",
    "fleurs-r",
    "habla",
    "libritts",
    "libritts-r",
    "libritts-vocoded",
    "ljspeech",
    "mls",
    "spoofceleb",
    "voicemos",
    "voxceleb2",
    "voxceleb2-vocoded",
    "wavefake",
}


def _checkpoints(card: DetectorCard) -> list[Weights]:
    """Everything that somebody else made and the detector is built from."""
    started_from = card.recipe.start.values() if card.recipe else ()
    return [found for found in (card.weights, *started_from) if isinstance(found, Weights)]


@pytest.mark.parametrize("name", DETECTORS.names)
def test_parameters_are_those_of_the_network(name: str) -> None:
    """Counted on the network as the card builds it; of a detector without parameters, what its training stores."""
    card = DETECTORS[name]
    if hasattr(resolve_model(card.model, name), "from_folder"):
        assert card.parameters is None  # the architecture comes with the weights
        return
    model = built(name)
    counts = [
        sum(tensor.numel() for tensor in tensors) for tensors in (model.parameters(), model.state_dict().values())
    ]
    assert card.parameters == (counts[0] or counts[1])


@pytest.mark.parametrize("name", DETECTORS.names)
def test_training_corpora_are_known(name: str) -> None:
    """Each has a dataset card or is one of the corpora above; whoever has weights or a recipe says or does not know."""
    card = DETECTORS[name]
    assert {*card.trained_on, *card.selected_on} <= {*DATASETS.names, *WITHOUT_CARD}
    assert len(set(card.trained_on)) == len(card.trained_on) and len(set(card.selected_on)) == len(card.selected_on)
    if card.trained_on:
        assert card.weights or card.recipe
    elif card.weights or card.recipe:
        assert any("not stated" in text or "not known" in text for text in (*card.notices, *card.notes))


def test_no_corpus_without_a_card_is_left_over() -> None:
    """The list above is no longer than the cards need, and none of its names has got a card meanwhile."""
    used = {corpus for card in DETECTORS.cards.values() for corpus in (*card.trained_on, *card.selected_on)}
    assert used - set(DATASETS.names) == WITHOUT_CARD


@pytest.mark.parametrize("name", DETECTORS.names)
def test_licences_and_what_they_forbid_are_told(name: str) -> None:
    """Code and weights say their licence; weights without one, or not for commercial use, come with a notice."""
    card = DETECTORS[name]
    assert all(text.strip() for text in (card.licence, *(weights.licence for weights in _checkpoints(card))))
    notices = " ".join(card.notices)
    for weights in _checkpoints(card):
        if NON_COMMERCIAL.search(weights.licence):
            assert NON_COMMERCIAL.search(notices)
        if NO_LICENCE.search(weights.licence):
            assert "licence" in notices
    for notice in card.notices:
        assert notice == " ".join(notice.split()) and notice.endswith(".")


@pytest.mark.parametrize("name", DETECTORS.names)
def test_published_numbers_have_a_trial_list_and_a_source(name: str) -> None:
    """A known dataset, a number that can be an error rate, and who says so."""
    for published in DETECTORS[name].published:
        assert published.dataset in DATASETS
        assert 0 < published.eer < 50.5
        assert published.f1 is None or published.f1 > 0
        assert published.source == " ".join(published.source.split())


def test_scores_and_decisions_of_the_literature() -> None:
    """The thresholds and windows of the authors: what is easily taken from the wrong detector."""
    sls, anti = DETECTORS["xlsr-sls-v2"], DETECTORS["antideepfake-wav2vec-small-nda"]
    assert sls.decision and sls.decision.column == "score"
    assert math.exp(sls.decision.threshold) == pytest.approx(0.5, rel=1e-15)
    assert (sls.audio.window, sls.audio.samples, sls.audio.epsilon) == ("tile", 64_600, None)
    assert anti.decision and (anti.decision.column, anti.decision.threshold) == ("score", 0.0)
    assert (anti.audio.window, anti.audio.samples, anti.audio.epsilon) == ("whole", None, 1e-5)
    graph = DETECTORS["ssl-aasist-df"]
    assert graph.decision and (graph.decision.column, graph.decision.threshold) == ("margin", 0.0)
    assert graph.audio == sls.audio


def test_every_antideepfake_checkpoint_is_its_own() -> None:
    """Seven backbones with and without augmentation, each from the repository of its name, none from another's file."""
    cards = {name: card for name, card in DETECTORS.cards.items() if name.startswith("antideepfake-") and card.weights}
    bases = ("hubert-xlarge", "mms-1b", "mms-300m", "wav2vec-large", "wav2vec-small", "xls-r-1b", "xls-r-2b")
    assert set(cards) == {f"antideepfake-{base}{nda}" for base in bases for nda in ("", "-nda")}
    for name, card in cards.items():
        base, nda = name.removeprefix("antideepfake-").removesuffix("-nda"), name.endswith("-nda")
        repo = f"{base}-anti-deepfake{'-nda' if nda else ''}"
        assert card.weights and card.weights.hub and card.weights.file == f"{repo}/model.safetensors"
        assert (card.weights.hub.repo, card.weights.hub.path) == (f"nii-yamagishilab/{repo}", "model.safetensors")
        assert card.weights.source.endswith(f"/nii-yamagishilab/{repo}")
        assert not nda or card.weights.aliases == ()
        assert card.arguments == cards[f"antideepfake-{base}"].arguments
    aliases = [alias for card in cards.values() if card.weights for alias in card.weights.aliases]
    assert len(set(aliases)) == len(aliases) == 7


def test_a_glob_begins_no_training_unasked() -> None:
    """Unlisted detectors that are trained here are chosen by name, or by a glob that fits nothing else."""
    assert set(DETECTORS.select(["aasist*"])) == {"aasist", "aasist-l"}
    assert set(DETECTORS.select(["two-stage*"])) == {"two-stage-xlsr", "two-stage-xlsr-frozen"}
    retrained = DETECTORS.select(["aasist*-retrained"])
    assert retrained == {"aasist-l-retrained": False, "aasist-retrained": False}
    assert DETECTORS.select(["aasist-retrained"]) == {"aasist-retrained": True}


def test_a_sample_is_no_name_of_a_card() -> None:
    """`itw:40` is how outputs call a sample; asked for by that name, it tells how to get it."""
    with pytest.raises(UsageError) as error:
        registry.datasets()["itw:40"]
    assert error.value.remedy == "a sample of itw: name itw and --limit 40"
    with pytest.raises(UsageError, match="no dataset is called 'iwt:40'"):
        registry.datasets()["iwt:40"]
