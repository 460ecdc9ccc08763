"""`bench list`: every card, and what it still needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import CardError
from bench.inventory import Entry, list_cards
from tests.tiny import World, files_below


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def detectors(world: World, **options: object) -> dict[str, Entry]:
    return {entry.name: entry for entry in list_cards(world.workspace(**options), "detectors")}


def datasets(world: World, **options: object) -> dict[str, Entry]:
    return {entry.name: entry for entry in list_cards(world.workspace(**options), "datasets")}


def test_every_card_by_name(world: World) -> None:
    """All cards are listed in order of their names, the user's own and those outside `all` too; nothing is written."""
    world.detector("mine")
    world.dataset("calls", range(4), audio=False)
    before = set(files_below(world.root))
    found, sets = list(detectors(world)), list(datasets(world))
    assert found == sorted(world.workspace().detectors.names)
    assert sets == sorted(world.workspace().datasets.names)
    assert {"mine", "aasist", "lfcc-gmm-demo"} < set(found)
    assert {"calls", "itw", "demo"} < set(sets)
    assert set(files_below(world.root)) == before


def test_detectors_that_are_ready(world: World) -> None:
    """Ready are detectors without weights, and those whose file is here; one without a published hash is unverified."""
    world.detector("plain")
    world.detector("loose", weights={"file": "loose.pth", "source": "a friend", "licence": "MIT"})
    (world.root / "weights").mkdir()
    (world.root / "weights" / "loose.pth").write_bytes(b"weights")
    found = detectors(world)
    assert (found["plain"].ready, found["plain"].state) == (True, "ready, needs no weights")
    assert (found["loose"].ready, found["loose"].state) == (True, "ready, weights unverified")


def test_detectors_that_lack_weights(world: World) -> None:
    """Missing weights are told with their source; a file of another hash is damaged, with its path."""
    found = detectors(world, cards=None)["aasist"]
    assert (found.ready, found.state) == (False, "missing")
    assert "AASIST.pth" in found.reason
    assert "https://github.com/clovaai/aasist" in found.remedy
    (world.root / "weights").mkdir()
    (world.root / "weights" / "AASIST.pth").write_bytes(b"something else")
    found = detectors(world, cards=None)["aasist"]
    assert (found.ready, found.state) == (False, "damaged")
    assert str(world.root / "weights" / "AASIST.pth") in found.reason


def test_detectors_that_are_trained_here(world: World) -> None:
    """A recipe whose corpus is here, or is made when needed, trains first; one whose corpus is not here is missing."""
    log = {"log": str(world.log)}
    world.dataset("calls", range(4))
    world.dataset("gone", range(4, 8), audio=False)
    world.detector("can", "Trainable", arguments=log, recipe={"train": "calls"})
    world.detector("cannot", "Trainable", arguments=log, recipe={"train": "gone"})
    found = detectors(world)
    assert (found["can"].ready, found["can"].state) == (True, "trains first, on calls")
    assert (found["cannot"].ready, found["cannot"].state) == (False, "missing")
    assert "training cannot needs gone: 4 of 4 audio files are missing" in found["cannot"].reason
    assert found["cannot"].remedy == "get gone from its author"
    assert (found["lfcc-gmm-demo"].ready, found["lfcc-gmm-demo"].state) == (True, "trains first, on demo-train")
    assert found["lfcc-gmm"].state == "missing"
    world.cell("can", "calls")
    assert detectors(world)["can"].state == "ready, trained here"


def test_datasets(world: World) -> None:
    """Ready is a dataset whose list and audio are here; else the entry says what is missing and how to get it."""
    world.dataset("whole", range(4))
    world.dataset("some", range(4, 8))
    world.dataset("none", range(8, 12), audio=False)
    world.dataset("wrong", range(2))
    (world.data / "audio" / "5.wav").unlink()
    (world.data / "wrong.csv").write_text("path,label\naudio/0.wav,what\n")
    found = datasets(world)
    assert (found["whole"].ready, found["whole"].state) == (True, "ready, 4 trials")
    assert (found["some"].ready, found["some"].state) == (False, "1 of 4 audio files missing")
    assert (found["none"].ready, found["none"].state) == (False, "no audio")
    assert found["none"].remedy == "get none from its author"
    assert (found["wrong"].ready, found["wrong"].state) == (False, "damaged")
    assert "line 2" in found["wrong"].reason
    assert (found["itw"].ready, found["itw"].state) == (False, "missing")
    assert (found["demo"].ready, found["demo"].state) == (True, "made by the first run that needs it")


def test_a_card_that_is_not_valid(world: World) -> None:
    """A card with a mistake is told, not listed as missing."""
    (world.cards / "x.yaml").write_text("name: x\nextends: aasist\nlisence: MIT\n")
    with pytest.raises(CardError, match="unknown field `lisence`"):
        detectors(world)
