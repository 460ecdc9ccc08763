"""Detectors from cards and weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

from bench import weights
from bench.cards import AudioRecipe
from bench.errors import CardError, WeightsError
from bench.models.antideepfake import AntiDeepfake
from bench.scorer import Scorer, model_version
from tests.passing import mixed, numbered, scored, scorer
from tests.tiny import WHOLE


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return mixed(tmp_path_factory.mktemp("noise"))


class Told(torch.nn.Module):
    """Its size can be read off a file, its slope stands on the card; calls of `infer` are noted."""

    asked: ClassVar[list[set[str]]] = []

    def __init__(self, size: int = 1, slope: float = 1.0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(size))
        self.slope = slope

    @classmethod
    def infer(cls, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        cls.asked.append(set(tensors))
        if "weight" not in tensors:
            raise WeightsError("the size cannot be told", remedy="look elsewhere")
        return {"size": len(tensors["weight"]), "slope": 9.0}

    def forward(self, wave: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return wave[:, 0] * self.weight.sum() * self.slope


class Unnamed(Told):
    """Knows no name of a file that lacks its mark."""

    def names_in(self, keys: Collection[str]) -> tuple[dict[str, str], set[str]]:
        raise WeightsError("no mark in it")


class Folder(torch.nn.Module):
    """Reads its folder itself."""

    def __init__(self, given: tuple[Path, str] | None = None) -> None:
        super().__init__()
        self.given = given

    @classmethod
    def from_folder(cls, folder: Path, label: str = "real") -> Folder:
        if not folder.is_dir():
            raise WeightsError("no folder", where=folder / "config.json", remedy="fetch it")
        return cls((folder, label))


def built(kind: type, place: Path | None, **arguments: Any) -> Any:
    target = f"{kind.__module__}:{kind.__qualname__}"
    return Scorer("d", target, arguments, AudioRecipe.model_validate(WHOLE), place).build(torch.device("cpu"))


@pytest.fixture
def three(tmp_path: Path) -> Path:
    Told.asked.clear()
    torch.save({"weight": torch.tensor([1.0, 2.0, 3.0])}, tmp_path / "w.pt")
    return tmp_path / "w.pt"


def test_what_the_card_leaves_open_is_read_off_the_weights(three: Path) -> None:
    """Once, from the names in the file; the network is then of the right size, loaded, and in evaluation mode."""
    model = built(Told, three)
    assert (model.weight.tolist(), model.slope, model.training) == ([1.0, 2.0, 3.0], 9.0, False)
    assert Told.asked == [{"weight"}]


def test_the_card_goes_before_the_weights(three: Path) -> None:
    """An argument of the card is taken as it stands there, and where it contradicts the file, that is an error."""
    assert built(Told, three, slope=2.0).slope == 2.0
    assert built(Told, three, size=3, slope=0.5).slope == 0.5
    with pytest.raises(WeightsError, match=r"1 tensors of another shape \(weight\)"):
        built(Told, three, size=2)


def test_without_weights_nothing_is_inferred() -> None:
    """The network is what the card says and nothing more."""
    Told.asked.clear()
    assert built(Told, None).slope == 1.0
    assert Told.asked == []


@pytest.mark.parametrize(
    ("kind", "state", "what"),
    [
        (Told, {"other": torch.ones(1)}, "the size cannot be told"),
        (Unnamed, {"weight": torch.ones(1)}, "no mark in it"),
        (
            Told,
            {"weight": torch.ones(2), "x": torch.ones(1)},
            "these are not weights of this architecture: 1 ",
        ),
        (AntiDeepfake, {"proj_fc.weight": torch.ones(2, 4)}, "no wav2vec 2.0 or HuBERT encoder in it: neither post_ex"),
    ],
)
def test_a_word_of_the_detector_about_its_weights_names_the_file(
    tmp_path: Path, kind: type, state: dict[str, torch.Tensor], what: str
) -> None:
    """Alone and in a pass, where it stops this detector: what is wrong, in which file, and the remedy of the loader."""
    place = tmp_path / "deep" / "w.pt"
    place.parent.mkdir()
    torch.save(state, place)
    trials = numbered(tmp_path, 2)
    target = f"{kind.__module__}:{kind.__qualname__}"
    found = scored([scorer("bad", target, weights=place), scorer("good", "Tiny")], trials)
    with pytest.raises(WeightsError) as caught:
        built(kind, place)
    for error in (found["bad"].error, caught.value):
        assert isinstance(error, WeightsError) and error.what.startswith(what)
        assert (error.where, error.remedy) == (str(place), weights.MISMATCH)
    assert found["bad"].details == "" and len(found["good"]) == 2


def test_a_detector_may_read_its_folder_itself(tmp_path: Path) -> None:
    """It is given the folder and the card's arguments; its own words on what is wrong stay as they are."""
    assert built(Folder, tmp_path).given == (tmp_path, "real")
    model = built(Folder, tmp_path, label="human")
    assert (model.given, model.training) == ((tmp_path, "human"), False)
    with pytest.raises(WeightsError) as caught:
        built(Folder, tmp_path / "absent")
    assert (caught.value.what, caught.value.remedy) == ("no folder", "fetch it")
    assert caught.value.where == str(tmp_path / "absent" / "config.json")
    with pytest.raises(CardError, match=r":Folder does not take these arguments: .*'labels'"):
        built(Folder, tmp_path, labels="human")


def test_without_weights_there_is_no_folder() -> None:
    """A detector that could read one is then built from the card alone."""
    assert built(Folder, None).given is None


TINY_BACKBONE = {"layers": 1, "width": 32, "feed_forward": 8, "heads": 4, "conv_width": 4, "taps": 4, "groups": 2}


def test_a_backbone_of_any_size_is_built_from_its_weights_alone(tmp_path: Path, corpus: pd.DataFrame) -> None:
    """All but the heads, which the file does not tell and the card may: other heads, other scores."""
    source = AntiDeepfake(TINY_BACKBONE | {"heads": 16})
    source.backbone.initialise(0)
    for parameter in source.parameters():
        parameter.data.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    torch.save(source.state_dict(), tmp_path / "w.pt")
    told = built(AntiDeepfake, tmp_path / "w.pt")
    assert told.backbone.architecture == source.backbone.architecture
    model = "bench.models.antideepfake:AntiDeepfake"
    recipe: Mapping[str, Any] = {**WHOLE, "epsilon": 1e-5}
    cards = [
        scorer("inferred", model, recipe, tmp_path / "w.pt"),
        scorer("named", model, recipe, tmp_path / "w.pt", backbone=TINY_BACKBONE | {"heads": 16}),
        scorer("other", model, recipe, tmp_path / "w.pt", backbone=TINY_BACKBONE),
    ]
    found = scored(cards, corpus, size=1)
    assert found["inferred"]["score"].tolist() == found["named"]["score"].tolist()
    assert not np.allclose(found["inferred"]["score"], found["other"]["score"], rtol=0, atol=1e-4)
    together = scored(cards[0], corpus, size=9)["inferred"]["score"]
    np.testing.assert_allclose(together.loc[found["named"].index], found["named"]["score"], rtol=0, atol=1e-5)
    assert list(found["named"]) == ["score", "logit_fake", "logit_real", "seconds", "note"]


def test_a_detector_without_the_weights_it_needs_gives_no_score(tmp_path: Path) -> None:
    """A backbone on which nothing was loaded stops it before the first file; that is an error of its card."""
    trials = numbered(tmp_path, 2)
    bad = scorer("bad", "bench.models.antideepfake:AntiDeepfake", backbone=TINY_BACKBONE)
    found = scored([bad, scorer("good", "Tiny")], trials)
    error = found["bad"].error
    assert isinstance(error, CardError) and error.what == "this detector scores with weights only"
    assert (error.where, found["bad"].details) == ("detector card bad", "")
    assert len(found["good"]) == 2


def test_the_adapter_version_is_an_attribute_of_the_class() -> None:
    """1 where it has none; a class that is not there is an error of the card."""
    assert model_version("tests.tiny:Newer", "d") == 2
    assert model_version("tests.tiny:Tiny", "d") == 1
    with pytest.raises(CardError, match="detector card d"):
        model_version("tests.tiny:Absent", "d")
