"""Where things lie: names to corpora, samples, weights, each looked up once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import corpora, training, weights
from bench.augmentation import codec
from bench.errors import Blocked, CardError, DataError, MissingWeights, UsageError
from bench.workspace import Workspace
from tests.tiny import World, card


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.dataset("set", range(1, 11))
    world.dataset("set-part", range(1, 5), sibling_of="set")
    return world


def counted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[Any]:
    """The first argument of each call of a function."""
    calls: list[Any] = []
    real = getattr(module, name)

    def count(first: Any, *rest: Any, **options: Any) -> Any:
        calls.append(first)
        return real(first, *rest, **options)

    monkeypatch.setattr(module, name, count)
    return calls


def test_a_corpus_is_read_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many detectors ask for it, its sample and its missing files; so is one that cannot be read."""
    loads, looks = counted(monkeypatch, corpora, "load"), counted(monkeypatch, corpora, "missing_audio")
    (world.data / "audio" / "3.wav").unlink()
    workspace = world.workspace(limit=4)
    assert workspace.dataset("set") is workspace.dataset("set")
    assert len(workspace.evaluated("set").trials) == 4
    assert workspace.missing_audio("set") == workspace.missing_audio("set") == [2]
    (world.data / "set-part.csv").write_text("path,label\nx.wav,huh\n")
    for _ in range(2):
        with pytest.raises(DataError, match="unknown label 'huh'"):
            workspace.dataset("set-part")
    assert ([card.name for card in loads], len(looks)) == (["set", "set-part"], 1)


def test_a_checkpoint_is_hashed_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes for gigabytes, and not before a key needs it; its absence is remembered as well."""
    hashed = counted(monkeypatch, weights, "sha256_of")
    (world.root / "weights" / "deep").mkdir(parents=True)
    place = world.root / "weights" / "deep" / "w.pt"
    torch.save({"weight": torch.ones(1)}, place)
    released = card(model="Trainable", weights={"file": "w.pt", "source": "its author", "licence": "MIT"})
    workspace = world.workspace()
    first = workspace.checkpoint(released)
    assert first is workspace.checkpoint(released)
    assert first is not None and (first.path, hashed) == (place, [])
    told = [first.sha256, first.sha256]
    assert (told, hashed) == ([hashlib.sha256(place.read_bytes()).hexdigest()] * 2, [place])
    absent = card(name="absent", weights={"file": "x.pt", "source": "its author", "licence": "MIT"})
    for _ in range(2):
        with pytest.raises(Blocked, match=r"the weights x\.pt are not here") as caught:
            workspace.checkpoint(absent)
    assert caught.value.remedy is not None
    assert caught.value.remedy.startswith("download x.pt from its author to ")
    assert workspace.checkpoint(card()) is None


def test_a_dataset_is_looked_for_where_the_user_says(world: World, tmp_path: Path) -> None:
    """`data` names the place of one dataset and of its siblings; its own place goes before that of the family."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "set.csv").write_text("path,label\na.wav,real\n")
    (elsewhere / "set-part.csv").write_text("path,label\nb.wav,real\nc.wav,fake\n")
    workspace = world.workspace(data={"set": elsewhere})
    assert [len(workspace.dataset(name).trials) for name in ("set", "set-part")] == [1, 2]
    workspace = world.workspace(data={"set": elsewhere, "set-part": world.data})
    assert [len(workspace.dataset(name).trials) for name in ("set", "set-part")] == [1, 4]
    assert [len(world.workspace().dataset(name).trials) for name in ("set", "set-part")] == [10, 4]


def test_a_name_without_a_card_stands_for_the_users_own_files(world: World) -> None:
    """A list or a folder; its files count as own; a card of that name goes first."""
    own = world.corpus("mine", range(31, 34))
    (world.data / "folder" / "real").mkdir(parents=True)
    (world.data / "folder" / "fake").mkdir()
    for name, label in (("1", "real"), ("2", "fake")):
        (world.data / "folder" / label / f"{name}.wav").write_bytes(world.audio(1).read_bytes())
    workspace = world.workspace(data={"mine": own, "pile": world.data / "folder", "set": world.data})
    assert workspace.dataset("mine").trials["trial"].tolist() == ["31", "32", "33"]
    assert sorted(workspace.dataset("pile").trials["trial"]) == ["fake/2", "real/1"]
    assert [workspace.dataset(name).own_files for name in ("mine", "pile", "set")] == [True, True, False]


def test_names_are_selected_from_cards_and_from_the_users_own(world: World) -> None:
    """Commas, globs and own names together -> whether each was given by name; nothing twice."""
    own = world.corpus("mine", range(31, 34))
    workspace = world.workspace(data={"mine": own})
    assert world.workspace().select_datasets(["set*"]) == {"set": False, "set-part": False}
    assert workspace.select_datasets(["set*, set", "mine"]) == {"set": True, "set-part": False, "mine": True}
    assert workspace.select_datasets(["mine,mine"]) == {"mine": True}
    for patterns, what in (
        (["mime"], "no dataset is called 'mime'"),
        ([","], "no datasets were named"),
        ([], "no data"),
        (["set"], "--data: no dataset is called 'mine', and nothing asks for it"),
    ):
        with pytest.raises(UsageError, match=what):
            workspace.select_datasets(patterns)


def test_an_unknown_name_comes_with_near_ones_and_the_way_to_own_files(world: World) -> None:
    """Both of what the user may have meant."""
    with pytest.raises(UsageError, match="no dataset is called 'set-prat'") as caught:
        world.workspace().dataset("set-prat")
    assert caught.value.remedy is not None
    assert "did you mean set-part" in caught.value.remedy
    assert caught.value.remedy.endswith("; your own files: --data set-prat=FOLDER_OR_CSV")
    for place, what in (("absent", "can be read from no such place"), ("audio/1.wav", "is no list of trials")):
        with pytest.raises(UsageError, match=what):
            world.workspace(data={"x": world.data / place}).dataset("x")
    with pytest.raises(CardError, match="'a b' cannot be the name of a dataset"):
        world.workspace(data={"a b": world.data / "set.csv"}).dataset("a b")


def test_a_sample_has_a_name_a_digest_and_no_family(world: World) -> None:
    """And the same trials whatever the order of the list; a limit that covers the whole list is the whole list."""
    workspace = world.workspace(limit=4)
    sample, whole = workspace.evaluated("set"), workspace.dataset("set")
    assert (sample.name, sample.card.sibling_of, sample.card.counts) == ("set:4", None, None)
    assert sample.digest != whole.digest
    assert set(sample.trials["label"]) == {"bonafide", "spoof"}
    assert set(sample.trials["trial"]) < set(whole.trials["trial"])
    lines = (world.data / "set.csv").read_text().splitlines()
    (world.data / "set.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]))
    assert world.workspace(limit=4).evaluated("set").digest == sample.digest
    for limit in (10, 11, None):
        workspace = world.workspace(limit=limit)
        assert workspace.evaluated("set") is workspace.dataset("set")


# --- perturbed datasets ---------------------------------------------------------------------------------------------


def test_a_perturbed_dataset_has_the_trials_of_the_clean_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same list, digest and files, read once; a name, texts and facts that say so, and no family."""
    loads, looks = counted(monkeypatch, corpora, "load"), counted(monkeypatch, corpora, "missing_audio")
    workspace = world.workspace()
    made, clean = workspace.dataset("set-part+mp3@64k+noise@-5db"), workspace.dataset("set-part")
    assert made is workspace.dataset("set-part+mp3@64k+noise@-5db")
    assert (made.trials is clean.trials, made.digest, len(loads)) == (True, clean.digest, 1)
    assert (made.perturbation and made.perturbation.spec, clean.perturbation) == ("mp3@64k+noise@-5db", None)
    assert (made.name, made.clean, clean.clean) == ("set-part+mp3@64k+noise@-5db", "set-part", "set-part")
    assert (made.card.sibling_of, clean.card.sibling_of) == (None, "set")
    assert made.card.title == "set-part: mp3 at 64 kbit/s, then white noise at an SNR of -5 dB"
    assert made.card.summary.startswith("The trials of set-part, changed on the fly: mp3 at 64 kbit/s, then white")
    told = {"perturbation": "mp3@64k+noise@-5db", "clean": "set-part", "sibling_of": None}
    texts = {"name": made.name, "title": made.card.title, "summary": made.card.summary}
    assert made.facts() == {**clean.facts(), **texts, **told}
    assert {"perturbation", "clean"}.isdisjoint(clean.facts())
    assert workspace.missing_audio("set-part+trim") == workspace.missing_audio("set-part") == []
    assert len(looks) == 1


def test_a_sample_of_a_perturbed_dataset_is_a_sample_of_the_clean_one(world: World) -> None:
    """The same trials and digest, with the perturbation in the name of both."""
    workspace = world.workspace(limit=4)
    made, clean = workspace.evaluated("set+trim"), workspace.evaluated("set")
    assert (made.name, made.clean, made.digest) == ("set+trim:4", clean.name, clean.digest)
    assert made.trials.equals(clean.trials)
    assert made.perturbation is not None
    assert made.facts()["clean"] == "set:4"


def test_the_users_own_files_can_be_perturbed(world: World) -> None:
    """Under the name that `data` gives them, which has no `+` itself."""
    own = world.corpus("mine", range(31, 34))
    workspace = world.workspace(data={"mine": own})
    assert workspace.select_datasets(["mine+trim"]) == {"mine+trim": True}
    made = workspace.dataset("mine+trim")
    assert (made.own_files, made.files) == (True, workspace.dataset("mine").files)
    with pytest.raises(CardError, match=r"'a\+b' cannot be the name of a dataset\n.*leave out spaces, commas, `\+`"):
        corpora.own_card("a+b", own)
    with pytest.raises(UsageError, match=r"no dataset is called 'mime'\n.*--data mime=FOLDER_OR_CSV"):
        workspace.dataset("mime+trim")


def test_the_name_of_a_dataset_has_no_plus(world: World) -> None:
    """It would be read as a perturbation; detectors may have one."""
    world.detector("a+b")
    assert world.workspace().detectors["a+b"].name == "a+b"
    world.dataset("c+d", range(1, 3))
    with pytest.raises(CardError, match=r"`name`: behind a `\+` stands a perturbation.*\n.*c\+d\.yaml, line 1"):
        world.workspace().dataset("set")


def test_perturbed_names_are_selected(world: World) -> None:
    """Behind a name, a glob or `all`, told as what they stand behind; neither `all` nor a glob alone has any."""
    select = world.workspace().select_datasets
    assert select(["set*+trim, set+trim", "set"]) == {"set+trim": True, "set-part+trim": False, "set": True}
    assert select(["set*"]) == {"set": False, "set-part": False}
    assert list(select(["all+mp3@64k"])) == [f"{name}+mp3@64k" for name in select(["all"])]
    for pattern, what in (
        ("sett+trim", r"no dataset is called 'sett'\n.*did you mean set"),
        ("set+tirm", r"no perturbation is called 'tirm'\n.*did you mean trim"),
        ("set+*", r"no perturbation is called '\*'"),
        ("set+", r"no perturbation is called ''"),
        ("+trim", "no datasets were named"),
    ):
        with pytest.raises(UsageError, match=what):
            select([pattern])


def test_a_perturbation_whose_codec_is_not_here_blocks_its_dataset(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to do about it; the others are there."""
    monkeypatch.setitem(codec.FORMATS, "mp3", codec.FORMATS["mp3"]._replace(encoder="libnothing"))
    workspace = world.workspace()
    with pytest.raises(Blocked, match=r"the audio format mp3 needs a codec that PyAV was built without"):
        workspace.dataset("set+mp3@64k")
    assert len(workspace.dataset("set+aac@32k").trials) == 10


def test_no_recipe_uses_a_perturbed_dataset(world: World) -> None:
    """Training on the clean audio under that name would be another recipe than the card says."""
    for fields in (recipe(train="set+trim"), recipe(dev="set+trim")):
        with pytest.raises(CardError, match=r"no recipe can use set\+trim: .*\n  remedy: name set, .*`augmentation`"):
            world.workspace().trained(card(model="Trainable", **fields))


# --- training -------------------------------------------------------------------------------------------------------


def recipe(**fields: Any) -> dict[str, Any]:
    return {"recipe": {"train": "set", "seed": 3, **fields}}


STAGE = {
    "epochs": 1,
    "monitor": "training loss",
    "batch_size": 2,
    "optimiser": {"name": "adam"},
    "learning_rate": {"whole": 1.0},
}


def test_options_that_cannot_be_meant(world: World) -> None:
    """Two that would silently train, or not train, what was not asked for."""
    with pytest.raises(UsageError, match=r"`train` cannot be 'nevr'\n.*give `missing` or `never`"):
        world.workspace(train="nevr")
    with pytest.raises(UsageError, match=r"0 seeds cannot be trained\n.*give 1 or more"):
        world.workspace(seeds=0)


def test_the_seeds_of_a_run(world: World) -> None:
    """That of the card and those that follow it; without a recipe, or for one seed, there is nothing to tell apart."""
    trained = card(model="Trainable", **recipe())
    assert list(world.workspace(seeds=3).seeds(trained)) == [3, 4, 5]
    assert world.workspace().seeds(trained) == world.workspace(seeds=3).seeds(card()) == (None,)


def test_trained_weights_lie_under_what_determines_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder a seed; looked up once; the weights are there when the file is, and are hashed once."""
    hashed = counted(monkeypatch, weights, "sha256_of")
    trained, workspace = card(model="Trainable", **recipe()), world.workspace()
    place = workspace.trained(trained)
    assert place is workspace.trained(trained) is workspace.trained(trained, 3)
    assert place.folder == workspace.store.weights_folder("det", training.recipe_key(place.card, place.materials))
    other = workspace.trained(trained, 4)
    assert (other.recipe.seed, other.folder.parent) == (4, place.folder.parent)
    assert other.folder != place.folder
    assert workspace.checkpoint(trained) is None
    place.folder.mkdir(parents=True)
    place.file.write_bytes(b"weights")
    found = workspace.checkpoint(trained)
    assert found is not None
    assert (found.path, found.verified, found is workspace.checkpoint(trained, 3)) == (place.file, True, True)
    assert (found.sha256, found.sha256, hashed) == (hashlib.sha256(b"weights").hexdigest(), found.sha256, [place.file])
    assert workspace.checkpoint(trained, 4) is None


def test_materials_are_all_that_a_recipe_names(world: World) -> None:
    """Every list of every stage, what is mixed in included, and a checkpoint a part; None is random."""
    for name in ("noise", "watched"):
        world.dataset(name, range(11, 13))
    noise = {"augmentation": {"choices": {"noise": {"dataset": "noise", "snr_db": [0, 15]}}}}
    stages = {"head": {**STAGE, **noise}, "whole": {**STAGE, "train": [{"dataset": "set-part"}]}}
    released = {"file": "w.pt", "source": "its author", "licence": "MIT"}
    fields = recipe(dev="watched", start={"style": released, "content": "random"}, stages=stages)
    (world.root / "weights").mkdir()
    (world.root / "weights" / "w.pt").write_bytes(b"weights")
    workspace = world.workspace()
    materials = workspace.trained(card(model="tests.test_workspace:Stages", **fields)).materials
    assert {name: found.name for name, found in materials.lists.items()} == {
        name: name for name in ("set", "watched", "set-part", "noise")
    }
    assert [found and found.path for found in materials.start.values()] == [world.root / "weights" / "w.pt", None]
    assert list(materials.start) == ["style", "content"]


class Stages(torch.nn.Module):
    """What a class with stages offers, as far as a look-up asks."""

    trainable = loss = lambda self: None


def test_a_recipe_may_use_lists_of_the_users_own(world: World) -> None:
    """A name of `data` that a card of theirs trains on, watches or mixes in is no slip of the pen."""
    own = {name: world.corpus(name, range(31, 33)) for name in ("calls", "watched", "street")}
    noise = {"choices": {"noise": {"dataset": "street", "snr_db": [0, 15]}}}
    stages = {"whole": {**STAGE, "augmentation": noise, "validation": {"dataset": "watched"}}}
    fields = {"train": "calls", "stages": stages}
    world.detector("det", "tests.test_workspace:Stages", recipe=fields)
    workspace = world.workspace(data=own)
    assert workspace.select_datasets(["set"]) == {"set": True}
    materials = workspace.trained(workspace.detectors["det"]).materials
    assert sorted(materials.lists) == sorted(own)
    with pytest.raises(UsageError, match="no dataset is called 'strete', and nothing asks for it"):
        world.workspace(data={**own, "strete": own["street"]}).select_datasets(["set"])


def test_training_that_lacks_something_is_blocked_with_all_of_it(world: World) -> None:
    """One corpus with its own remedy, one file as `bench.weights` tells it, several things in one sentence."""
    workspace = world.workspace()
    (world.data / "audio" / "3.wav").unlink()
    with pytest.raises(
        Blocked, match=r"training det needs set: 1 of 10 audio files are missing \(.*3\.wav\)"
    ) as caught:
        workspace.trained(card(model="Trainable", **recipe()))
    assert caught.value.remedy == "get set from its author"
    start = {name: {"file": f"{name}.pt", "source": "its author", "licence": "MIT"} for name in ("a", "b")}
    world.audio(3)
    for parts, told in (
        (("a",), "training det: the weights a.pt are not here"),
        (("a", "b"), "its training needs what is not here, or not all of it: the weights a.pt, the weights b.pt"),
    ):
        fields = recipe(start={part: start[part] for part in parts})
        with pytest.raises(MissingWeights, match=told):
            world.workspace().trained(card(model="Trainable", **fields))
    with pytest.raises(CardError, match=r"tests\.tiny:Tiny cannot be trained by this recipe: it has no `fit`"):
        world.workspace().trained(card(model="Tiny", **recipe()))


def test_what_a_run_makes_itself_is_no_obstacle(world: World) -> None:
    """Where nothing else is missing: neither another corpus, nor weights to start from, nor the dataset to score."""
    start = {"backbone": {"file": "a.pt", "source": "its author", "licence": "MIT"}}
    made = card(model="Trainable", recipe={"train": "demo-train", "dev": "set"})
    workspace = world.workspace()
    assert workspace.would_make(made)
    assert workspace.would_make(made, "set")
    assert workspace.would_make(card(), "demo")
    assert not workspace.would_make(card(), "set")
    assert not workspace.would_make(made, "itw")
    assert not workspace.would_make(card(model="Trainable", **recipe()))
    assert not workspace.would_make(card(model="Trainable", recipe={"train": "demo-train", "start": start}))
    (world.data / "audio" / "3.wav").unlink()
    assert not world.workspace().would_make(made), "half of `set` is no list to train on"
    assert world.workspace().would_make(card(model="Trainable", recipe={"train": "demo-train"}), "set")
    assert not Workspace(workspace.options, make=True).would_make(made), "it is made when it is looked up"
