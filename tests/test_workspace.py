"""Where things lie: names to corpora, samples, weights, each looked up once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import corpora, weights
from bench.errors import Blocked, CardError, DataError, UsageError
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
