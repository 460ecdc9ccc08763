"""`bench list`: every card, and what it still needs."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench import inventory
from bench.errors import CardError
from bench.inventory import DetectorEntry, Entry
from tests.tiny import World, files_below

HUB = {"repo": "lab/model", "path": "model.safetensors"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def detectors(world: World, **options: object) -> dict[str, DetectorEntry]:
    return {entry.name: entry for entry in inventory.list_detectors(world.workspace(**options))}


def datasets(world: World, **options: object) -> dict[str, Entry]:
    return {entry.name: entry for entry in inventory.list_datasets(world.workspace(**options))}


def weights(file: str, **fields: Any) -> dict[str, Any]:
    return {"file": file, "source": "https://example.org/lab", "licence": "CC BY 4.0", **fields}


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
    world.detector("loose", weights=weights("loose.pth"))
    (world.root / "weights").mkdir()
    (world.root / "weights" / "loose.pth").write_bytes(b"weights")
    found = detectors(world)
    assert (found["plain"].ready, found["plain"].state_text) == (True, "ready")
    assert (found["loose"].ready, found["loose"].state_text) == (True, "ready, weights unverified")
    assert found["loose"].reason == found["loose"].remedy == ""


def test_detectors_that_lack_weights(world: World) -> None:
    """Fetchable where `bench fetch` knows an address, else blocked; both say how. A file of another hash is damaged."""
    world.detector("hosted", weights=weights("hosted/model.safetensors", hub=HUB))
    world.detector("by-hand", weights=weights("by-hand.pth", sha256="a" * 64))
    found = detectors(world)
    assert (found["hosted"].ready, found["hosted"].state_text) == (False, "fetchable")
    assert found["hosted"].remedy.startswith(
        "`bench fetch detectors hosted`, or download hosted/model.safetensors from"
    )
    assert (found["by-hand"].ready, found["by-hand"].state_text) == (False, "blocked")
    assert found["by-hand"].reason.startswith("the weights by-hand.pth are not here")
    assert found["by-hand"].remedy.startswith("download by-hand.pth from https://example.org/lab to ")
    (world.root / "weights").mkdir()
    (world.root / "weights" / "by-hand.pth").write_bytes(b"something else")
    entry = detectors(world)["by-hand"]
    assert (entry.ready, entry.state_text) == (False, "blocked, weights damaged")
    assert str(world.root / "weights" / "by-hand.pth") in entry.reason


def test_detectors_that_are_trained_here(world: World) -> None:
    """A recipe whose corpus is here, or is made when needed, is trainable; one whose corpus is not here is blocked."""
    log = {"log": str(world.log)}
    world.dataset("calls", range(4))
    world.dataset("gone", range(4, 8), audio=False)
    world.dataset("wrong", range(2))
    (world.data / "wrong.csv").write_text("path,label\naudio/0.wav,what\n")
    for name, train in (("can", "calls"), ("cannot", "gone"), ("odd", "wrong")):
        world.detector(name, "Trainable", arguments=log, recipe={"train": train})
    found = detectors(world)
    assert (found["can"].ready, found["can"].state_text) == (True, "trainable on calls")
    assert (found["cannot"].ready, found["cannot"].state_text) == (False, "blocked")
    assert "training cannot needs gone: 4 of 4 audio files are missing" in found["cannot"].reason
    assert found["cannot"].remedy == "get gone from its author"
    assert (found["odd"].ready, found["odd"].state_text) == (False, "blocked, corpus damaged")
    assert (found["lfcc-gmm-demo"].ready, found["lfcc-gmm-demo"].state_text) == (True, "trainable on demo-train")
    assert found["lfcc-gmm"].state == "blocked"
    world.cell("can", "calls")
    assert detectors(world)["can"].state_text == "ready, trained here"


def test_recipes_that_cannot_be_carried_out(world: World) -> None:
    """A class that does not offer what its recipe needs is blocked; broken code is told with its error."""
    world.dataset("calls", range(4))
    world.detector("deep", "Tiny", recipe={"train": "calls"})
    world.detector("typo", "tests.tiny:Tinny", recipe={"train": "calls"})
    found = detectors(world)
    assert (found["deep"].ready, found["deep"].state_text) == (False, "blocked")
    assert found["deep"].reason.startswith("tests.tiny:Tiny cannot be trained by this recipe: it has no `fit`")
    assert found["deep"].remedy.startswith("give the card `weights`, ")
    assert found["typo"].state_text == "blocked"
    assert "tests.tiny:Tinny cannot be loaded: AttributeError" in found["typo"].reason


def test_recipes_that_start_from_released_weights(world: World) -> None:
    """Fetchable where these alone are missing and have an address; with them, or with random ones, trainable."""
    world.dataset("calls", range(4))
    parts = {"hosted": weights("hosted.pt", hub=HUB), "by-hand": weights("by-hand.pt")}
    for name, start in {**parts, "scratch": "random"}.items():
        recipe = {"train": "calls", "start": {"backbone": start}}
        world.detector(name, "Trainable", arguments={"log": str(world.log)}, recipe=recipe)
    found = detectors(world)
    assert {name: found[name].state_text for name in ("hosted", "by-hand", "scratch")} == {
        "hosted": "fetchable",
        "by-hand": "blocked",
        "scratch": "trainable on calls",
    }
    assert found["hosted"].remedy.startswith("`bench fetch detectors hosted`, or download hosted.pt from ")
    assert found["by-hand"].reason.startswith("training by-hand: the weights by-hand.pt are not here")
    (world.root / "weights").mkdir()
    (world.root / "weights" / "hosted.pt").write_bytes(b"weights")
    assert detectors(world)["hosted"].state_text == "trainable on calls"


def test_a_recipe_is_told_with_what_it_trains_on(world: World) -> None:
    """The lists of its stages in their order, each once; those that are watched or mixed in are left out."""
    for number, name in enumerate(("calls", "more", "watched", "street")):
        world.dataset(name, range(4 * number, 4 * number + 4))
    stage = {
        "epochs": 1,
        "monitor": "training loss",
        "batch_size": 2,
        "optimiser": {"name": "adam"},
        "learning_rate": {"whole": 1.0},
        "augmentation": {"choices": {"noise": {"dataset": "street", "snr_db": [0, 15]}}},
    }
    stages = {"first": {**stage, "train": [{"dataset": "more"}]}, "second": stage}
    world.detector("det", "tests.test_workspace:Stages", recipe={"train": "calls", "dev": "watched", "stages": stages})
    assert detectors(world)["det"].state_text == "trainable on more, calls"
    (world.data / "street.csv").unlink()
    found = detectors(world)["det"]
    assert (found.state, found.ready) == ("blocked", False)
    assert found.reason.startswith("training det needs street: the list of trials is not here")


def test_what_the_card_says_is_told(world: World) -> None:
    """Family, size, licences, notices, and the verdict on every listed dataset."""
    world.dataset("calls", range(4))
    world.dataset("more-calls", range(4, 8), sibling_of="calls", listed=False)
    world.detector("mine", parameters=340_790_021, weights=weights("a.pth"), trained_on=["calls"], notices=["Beware."])
    entry = detectors(world)["mine"]
    assert (entry.family, entry.parameters, entry.licence, entry.weights_licence) == (
        "tiny",
        340_790_021,
        "MIT",
        "CC BY 4.0",
    )
    assert entry.notices == ("Beware.",)
    assert entry.leakage.pop("calls") == "seen"
    assert set(entry.leakage.values()) == {"held-out"}
    assert set(entry.leakage) == {"asvspoof2019-la", "asvspoof2021-la", "asvspoof2021-df", "itw", "mlaad-en"}


def entry(name: str = "one", **fields: Any) -> DetectorEntry:
    """A ready detector, or as the fields say."""
    base: dict[str, Any] = {
        "title": name,
        "licence": "MIT",
        "ready": True,
        "state": "ready",
        "reason": "",
        "remedy": "",
    }
    more: dict[str, Any] = {"detail": "", "family": "tiny", "parameters": 0, "weights_licence": "", "leakage": {}}
    return DetectorEntry(name=name, **{**base, **more, "notices": (), **fields})


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        ("held-out held-out held-out", "all 3"),
        ("seen seen in-domain", "none"),
        ("unknown unknown unknown", "unknown"),
        ("seen unknown unknown", "unknown"),
        ("seen held-out in-domain", "b"),
        ("held-out in-domain held-out", "all but b"),
    ],
)
def test_held_out_in_few_words(verdicts: str, told: str) -> None:
    """All of them by number, one or two by name, most of them by what is left out."""
    leakage = dict(zip("abc", verdicts.split(), strict=True))
    assert entry(leakage=leakage).held_out_text == told


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (None, "–"),
        (0, "0"),
        (999, "999"),
        (1_000, "1.0 k"),
        (85_306, "85.3 k"),
        (999_949, "999.9 k"),
        (999_950, "1.0 M"),
        (340_790_021, "340.8 M"),
        (999_949_999, "999.9 M"),
        (2_159_263_490, "2.2 G"),
    ],
)
def test_parameters_for_reading(count: int | None, told: str) -> None:
    """Four digits at most, of the largest unit that leaves one before the point."""
    assert inventory.magnitude(count) == told


def test_licences_for_reading() -> None:
    """That of the weights where it is another; remarks on it stay on the card."""
    assert entry(weights_licence="MIT").licence_text == entry(licence="MIT (ours; no other)").licence_text == "MIT"
    assert entry(weights_licence="unclear, a page says MIT").licence_text == "MIT / unclear"


def printed(entries: Sequence[DetectorEntry], width: int) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(inventory.detector_table(entries, width))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_the_table_at_140_columns(world: World) -> None:
    """One line a detector, in blocks of a family: name, state, size, held-out datasets, licences."""
    found = inventory.list_detectors(world.workspace(cards=None))
    lines = printed(found, 140)
    rows = {line.split()[0]: line for line in lines if line}
    assert [name for name in rows if name in {entry.name for entry in found}] == [
        entry.name for entry in sorted(found, key=lambda entry: (entry.family, entry.name))
    ]
    cells = [cell for cell in rows["antideepfake-mms-300m"].split("  ") if cell]
    assert [cell.strip() for cell in cells] == [
        "antideepfake-mms-300m",
        "fetchable",
        "315.4 M",
        "itw",
        "BSD-3-Clause / CC BY-NC-SA 4.0",
    ]
    assert lines.index("self-supervised") == lines.index(rows["antideepfake-hubert-xlarge"]) - 1


def test_the_table_at_80_columns(world: World) -> None:
    """No name, size or dataset is cut; licences stand below, detectors of one stem as a glob."""
    world.detector("bound-to-be-long" * 3, family="zzz", weights=weights("a.pth"))
    lines = printed(inventory.list_detectors(world.workspace()), 80)
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    rows = {line.split()[0]: line for line in lines if line}
    assert rows["antideepfake-hubert-xlarge-nda"].split() == [
        "antideepfake-hubert-xlarge-nda",
        "fetchable",
        "962.5",
        "M",
        "itw",
    ]
    assert rows["xlsr-sls-v1"].endswith("338.8 M  all but asvspoof2019-la")
    assert rows["lfcc-gmm-demo"].split()[:2] == ["lfcc-gmm-demo", "trainable"]
    assert "  on demo-train: lfcc-gmm-demo, xlsr-sls-demo" in lines
    assert "  BSD-3-Clause / CC BY-NC-SA 4.0: antideepfake-* (14 of 17)" in lines


def test_remarks_are_said_once(world: World) -> None:
    """One line for all that can be fetched, one for each reason that several share, one for each notice."""
    world.detector("hosted", weights=weights("hosted.pth", hub=HUB), notices=["Beware."])
    world.detector("other", weights=weights("other.pth"), notices=["Beware."])
    told = inventory.remarks(inventory.list_detectors(world.workspace()))
    fetchable, *rest = told
    assert {"antideepfake-* (14 of 17)", "hosted"} < set(fetchable.names.split(", "))
    assert fetchable.told == "the weights are not here"
    assert fetchable.remedy.startswith("`bench fetch detectors ") and " 'antideepfake-*' " in fetchable.remedy
    assert fetchable.remedy.endswith(" xlsr-sls xlsr-sls-v1 xlsr-sls-v2`") and " hosted " in fetchable.remedy
    needs = "its training needs what is not here, or not all of it: "
    speech = "asvspoof2019-la-train, asvspoof2019-la-dev"
    (frozen,) = [
        remark
        for remark in rest
        if remark.told == f"{needs}{speech}, the weights wav2vec2-xls-r-300m/pytorch_model.bin"
    ]
    assert {"two-stage-xlsr* (2)", "xls-r-linear-probe"} < set(frozen.names.split(", "))
    assert frozen.remedy.startswith(
        "`bench fetch datasets asvspoof2019-la-train asvspoof2019-la-dev` and `bench fetch "
    )
    assert [(remark.names, remark.remedy) for remark in rest if remark.told == "notice: Beware."] == [
        ("hosted, other", "")
    ]
    assert next(remark.names for remark in rest if "CC BY-NC-SA" in remark.told) == "antideepfake-* (14 of 17)"
    assert len(told) == len({(remark.told, remark.remedy) for remark in told})


def test_most_of_a_stem_is_told_with_the_number() -> None:
    """A glob that also fits what is here says of how many; two of three are named."""
    here = entry("deep-a")
    missing = [entry(f"deep-{letter}", state="fetchable", ready=False) for letter in "bcd"]
    (remark,) = inventory.remarks([here, *missing])
    assert (remark.names, remark.remedy) == ("deep-* (3 of 4)", "`bench fetch detectors 'deep-*'`")
    (remark,) = inventory.remarks([here, *missing[:2]])
    assert (remark.names, remark.remedy) == ("deep-b, deep-c", "`bench fetch detectors deep-b deep-c`")
    (remark,) = inventory.remarks([entry("shallow"), missing[0]])
    assert (remark.names, remark.remedy) == ("deep-b", "`bench fetch detectors deep-b`")


KNOWN = ("a", "a-b", "a-c", "a-cd", "ab", "b", "b-a", "b-b", "b-c", "c")


@given(st.sets(st.sampled_from(KNOWN), min_size=1))
def test_a_remark_is_about_its_names_and_no_others(names: set[str]) -> None:
    """Every name is one told or fits one glob, and the number behind a glob is how many it stands for, of how many."""
    (remark,) = inventory.remarks([entry(name, ready=name not in names, state="blocked") for name in KNOWN])
    covered: list[str] = []
    for told in remark.names.split(", "):
        glob, _, number = told.partition(" (")
        fitting = fnmatch.filter(KNOWN, glob)
        meant = [name for name in fitting if name in names]
        assert number.rstrip(")") in (
            (str(len(fitting)) if meant == fitting else f"{len(meant)} of {len(fitting)}"),
            "",
        )
        assert number or meant == [glob]
        covered += meant
    assert sorted(covered) == sorted(names)


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
