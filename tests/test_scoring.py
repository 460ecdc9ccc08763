"""One pass: batches that are a plan and nothing else, scores that do not depend on them, defects that stay alone."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import Mock, call

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import audio, perturbations, scoring, weights
from bench.cards import AudioRecipe
from bench.errors import CardError, ScoringError, WeightsError
from bench.models.antideepfake import AntiDeepfake
from bench.models.lfcc_gmm import LfccGmm
from bench.runner import Scored
from bench.scoring import CLIP_SAMPLES, FACT_ROWS, Failed, Scorer, plan_batches, score_trials
from bench.trials import validate
from tests.tiny import RATE, TILE, WHOLE, log_lines

PAD: Mapping[str, Any] = {"window": "pad", "samples": 16_000, "epsilon": 1e-7}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Twelve files of 0.02 to 1.1 s, of several rates, one of them stereo: silence, then noise or a tone."""
    folder = tmp_path_factory.mktemp("noise")
    noise = np.random.default_rng(1)
    paths = []
    for number in range(12):
        rate = (16_000, 22_050, 48_000)[number % 3]
        wave = noise.normal(0, 0.2, (int(rate * (0.02 + 0.09 * number)), 2 if number == 5 else 1))
        if number % 2 == 0:
            wave[:, 0] = 0.5 * np.sin(2 * np.pi * 300 * (number + 1) * np.arange(len(wave)) / rate)
        wave[: number * rate // 100] = 0
        paths.append(folder / f"{number}.flac")
        soundfile.write(paths[-1], wave, rate)
    return table(paths)


def table(paths: Sequence[Path | str], first: int = 0) -> pd.DataFrame:
    labels = ["bonafide" if row % 2 else "spoof" for row in range(len(paths))]
    ids = [f"t{first + row}" for row in range(len(paths))]
    return validate(pd.DataFrame({"trial": ids, "path": [str(path) for path in paths], "label": labels}), "list")


def numbered(folder: Path, count: int) -> pd.DataFrame:
    """Files that `tests.tiny` detectors know by number, 1 to `count`."""
    paths = [folder / f"{number}.wav" for number in range(1, count + 1)]
    for number, path in enumerate(paths, start=1):
        soundfile.write(path, np.full(80, number, dtype=np.int16), RATE, subtype="PCM_16")
    return table(paths, first=1)


def scorer(name: str, model: str, audio: Mapping[str, Any] = TILE, weights: Path | None = None, **args: Any) -> Scorer:
    return Scorer(
        name, model if ":" in model else f"tests.tiny:{model}", args, AudioRecipe.model_validate(audio), weights
    )


def scored(scorers: Sequence[Scorer] | Scorer, trials: pd.DataFrame, size: int = 4, **options: Any) -> dict[str, Any]:
    """By detector the table of all its blocks, by trial, or its failure."""
    scorers = [scorers] if isinstance(scorers, Scorer) else scorers
    batches = plan_batches(trials, scorers[0].recipe, size)
    return gathered(score_trials(scorers, trials, batches, **options))


def gathered(items: Iterator[Scored | Failed]) -> dict[str, Any]:
    blocks: dict[str, list[pd.DataFrame]] = {}
    failed: dict[str, Failed] = {}
    for item in items:
        if isinstance(item, Failed):
            failed[item.detector] = item
        else:
            assert item.detector not in failed
            assert item.forward_seconds >= 0
            blocks.setdefault(item.detector, []).append(item.block)
    return {name: pd.concat(parts).set_index("trial") for name, parts in blocks.items()} | failed


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are decoded, in order."""
    files: list[str] = []
    real = audio.prepare

    def prepare(path: str, recipe: AudioRecipe, *rest: Any) -> audio.Utterance:
        files.append(str(path))
        return real(path, recipe, *rest)

    monkeypatch.setattr(audio, "prepare", prepare)
    return files


# --- the plan -------------------------------------------------------------------------------------------------------

durations = st.lists(
    st.one_of(st.just(0.0), st.floats(0.001, 40), st.integers(1, 5).map(float)), min_size=1, max_size=60
)


@settings(max_examples=150, deadline=None)
@given(seconds=durations, size=st.integers(1, 9), rate=st.sampled_from([8_000, 16_000]))
def test_whole_files_are_planned_in_buckets_of_like_length(seconds: list[float], size: int, rate: int) -> None:
    """Every row is in one batch, batches go from short to long, the padded size is within the budget unless a file is
    alone, no batch could take the next file too, and the plan is the same each time."""
    trials = table([f"{row}.wav" for row in range(len(seconds))])
    recipe = AudioRecipe.model_validate({**WHOLE, "rate": rate})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "durations", lambda trials: np.array(seconds))
        batches = plan_batches(trials, recipe, size)
        again = plan_batches(trials, recipe, size)
    rows = np.concatenate(batches)
    assert sorted(rows.tolist()) == list(range(len(seconds)))
    assert [batch.tolist() for batch in batches] == [batch.tolist() for batch in again]
    samples = np.array(seconds) * rate
    assert rows.tolist() == sorted(rows.tolist(), key=lambda row: (samples[row], row))
    budget = size * CLIP_SAMPLES
    for batch, following in zip(batches, [*batches[1:], None], strict=True):
        assert len(batch) == 1 or len(batch) * samples[batch].max() <= budget
        assert len(batch) <= 4 * size
        if following is not None and len(batch) < 4 * size:
            assert (len(batch) + 1) * samples[following[0]] > budget


@given(count=st.integers(1, 200), size=st.integers(1, 70))
def test_fixed_windows_are_planned_in_the_order_of_the_list(count: int, size: int) -> None:
    """Full batches, the last one shorter; the files are not looked at."""
    trials = table([f"absent/{row}.wav" for row in range(count)])
    for recipe in (AudioRecipe.model_validate(TILE), AudioRecipe.model_validate(PAD)):
        batches = plan_batches(trials, recipe, size)
        assert np.concatenate(batches).tolist() == list(range(count))
        assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
        assert 1 <= len(batches[-1]) <= size


@pytest.mark.parametrize("window", ["facts", "none"])
def test_facts_are_planned_in_large_batches(window: str) -> None:
    """Nothing is decoded, so the batch size does not bound them."""
    trials = pd.DataFrame({"trial": [str(row) for row in range(FACT_ROWS + 1)], "path": ""})
    batches = plan_batches(trials, AudioRecipe.model_validate({"window": window}), 2)
    assert [len(batch) for batch in batches] == [FACT_ROWS, 1]


def test_durations_come_from_the_headers(corpus: pd.DataFrame, tmp_path: Path) -> None:
    """In seconds at any sample rate; a file without a header counts as empty and comes first."""
    (tmp_path / "text.wav").write_text("no audio")
    trials = table([*corpus["path"][::-1], tmp_path / "text.wav", tmp_path / "absent.wav"])
    batches = plan_batches(trials, AudioRecipe.model_validate(WHOLE), 1)
    assert [row for batch in batches for row in batch.tolist()] == [12, 13, *range(11, -1, -1)]


# --- pieces of files ------------------------------------------------------------------------------------------------

CUTS = (("", "0.3"), ("0.3", "0.6"), ("0.6", ""), ("0.1", "0.25"), ("", ""))


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The trials of three files of several rates cut at `CUTS`, and of the same samples in files of their own."""
    folder = tmp_path_factory.mktemp("pieces")
    generator = np.random.default_rng(2)
    rows, own = [], []
    for number, rate in enumerate((16_000, 22_050, 48_000)):
        time = np.arange(int(rate * (0.8 + 0.1 * number)))[:, None] / rate
        tone = 3_000 * np.sin(2 * np.pi * 400 * (number + 1) * time)
        wave = np.where(time < 0.45, tone, generator.normal(0, 3_000, (len(time), 1 + number % 2)))
        wave = np.where(time % 0.3 < 0.05 * (number + 1), 0, wave).astype(np.int16)
        soundfile.write(folder / f"{number}.flac", wave, rate)
        for cut, (start, stop) in enumerate(CUTS):
            rows.append({"trial": f"{number}/{cut}", "path": folder / f"{number}.flac", "start": start, "stop": stop})
            own.append({"trial": f"{number}/{cut}", "path": folder / f"{number}-{cut}.flac"})
            first, last = round(float(start or 0) * rate), round(float(stop or 9) * rate)
            soundfile.write(own[-1]["path"], wave[first:last], rate)
    tables = (pd.DataFrame(found).assign(label="spoof").astype("str") for found in (rows, own))
    made, alone = (validate(found, "list") for found in tables)
    return made, alone


@pytest.mark.parametrize("name", ["power", "gmm", "silence", "bandwidth", "padded", "duration"])
def test_a_piece_is_scored_as_a_file_of_its_own(
    name: str, pieces: tuple[pd.DataFrame, pd.DataFrame], mixtures: Path
) -> None:
    """The same score to the last bit and the same seconds, at any rate, whole files and windows, samples and facts."""
    cut, files = pieces
    detector = detectors(mixtures)[name]
    assert plan_batches(cut, detector.recipe, 4)[0].tolist() == plan_batches(files, detector.recipe, 4)[0].tolist()
    found, expected = scored(detector, cut)[name], scored(detector, files)[name]
    assert found["score"].nunique() > 1
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_the_durations_of_pieces(pieces: tuple[pd.DataFrame, pd.DataFrame], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of files of their own, and each header is read once; a piece that is not in its file counts as empty."""
    cut, files = pieces
    expected = scoring.durations(files)
    header = Mock(wraps=audio.header)
    monkeypatch.setattr(audio, "header", header)
    np.testing.assert_array_equal(scoring.durations(cut), expected)
    assert sorted(header.call_args_list) == [call(path) for path in sorted(set(cut["path"]))]
    outside = cut[:2].assign(start=["5", "0.3"], stop=["", "7"])
    assert scoring.durations(outside).tolist() == [0, 0]
    assert scoring.durations(cut.assign(path="nowhere.wav")).tolist() == [0] * len(cut)


def test_consecutive_pieces_cost_one_decoding(
    pieces: tuple[pd.DataFrame, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many batches they are in; a whole file is decoded for itself."""
    cut, _ = pieces
    decode = Mock(wraps=audio._decode)
    audio._last_decoded.cache_clear()
    monkeypatch.setattr(audio, "_decode", decode)
    scored(scorer("power", "Power", PAD), cut, size=2)
    assert [Path(given.args[0]).stem for given in decode.call_args_list] == ["0", "0", "1", "1", "2", "2"]


@pytest.mark.parametrize("window", ["whole", "pad", "facts"])
def test_a_piece_that_is_not_in_its_file_has_a_note_and_no_score(
    window: str, pieces: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    """Its neighbours have theirs."""
    wrong = pieces[0][:3].assign(start=["", "2.5", ""], stop=["0.3", "", "60"])
    recipe = {"window": window, **({"samples": 64} if window == "pad" else {})}
    found = scored(scorer("d", "FactsSum" if window == "facts" else "Power", recipe), wrong)["d"].loc[wrong["trial"]]
    assert np.isfinite(found["score"]).tolist() == [True, False, False]
    assert found["note"].tolist() == [
        "",
        f"the piece begins at 2.5 s, the file ends at 0.800 s: {wrong['path'][0]}",
        f"the piece stops at 60 s, the file ends at 0.800 s: {wrong['path'][0]}",
    ]


# --- perturbed trials -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["noise@5db+trim", "opus@16k"])
def test_a_perturbed_trial_is_scored_as_a_file_of_its_own(
    spec: str, pieces: tuple[pd.DataFrame, pd.DataFrame], mixtures: Path, tmp_path: Path
) -> None:
    """As if the file lay on disk like that, whole or cut, in every batch and process; clean files are left alone."""
    _, perturbation = perturbations.split(f"set+{spec}")
    assert perturbation is not None
    cut, files = pieces
    made = [tmp_path / f"{row}.wav" for row in range(len(files))]
    for path, trial, place in zip(files["path"], files["trial"], made, strict=True):
        wave, rate = audio.decode(path)
        soundfile.write(place, perturbation(wave, rate, trial), rate, subtype="FLOAT")
    for name in ("power", "padded", "bandwidth"):
        detector = detectors(mixtures)[name]
        expected = scored(detector, files.assign(path=[str(place) for place in made]))[name]
        assert not np.isclose(expected["score"], scored(detector, files)[name]["score"].loc[expected.index]).all()
        for options in ({}, {"size": 15}, {"workers": 1}):
            found = scored(detector, cut, perturbation=perturbation, **options)[name].loc[expected.index]
            np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-9)
            assert found["seconds"].equals(expected["seconds"])


# --- scores ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of an LFCC-GMM of four components, made up."""
    model = LfccGmm(components=4)
    generator = torch.Generator().manual_seed(0)
    model.weights.fill_(0.25)
    model.means.copy_(torch.randn(model.means.shape, generator=generator, dtype=torch.float64))
    model.variances.copy_(torch.rand(model.variances.shape, generator=generator, dtype=torch.float64) + 0.5)
    place = tmp_path_factory.mktemp("weights") / "gmm.pt"
    torch.save(model.state_dict(), place)
    return place


def detectors(mixtures: Path) -> dict[str, Scorer]:
    return {
        "power": scorer("power", "Power", WHOLE),
        "gmm": scorer("gmm", "bench.models.lfcc_gmm:LfccGmm", WHOLE, mixtures, components=4),
        "silence": scorer("silence", "bench.models.probes:SilenceProbe", WHOLE),
        "bandwidth": scorer("bandwidth", "bench.models.probes:BandwidthProbe", WHOLE),
        "padded": scorer("padded", "Power", PAD),
        "duration": scorer("duration", "bench.models.probes:DurationProbe", {"window": "facts"}),
        "random": scorer("random", "bench.models.probes:Random", {"window": "none"}),
    }


@pytest.mark.parametrize("name", ["power", "gmm", "silence", "bandwidth", "padded", "duration", "random"])
def test_a_score_does_not_depend_on_what_shared_its_batch(name: str, corpus: pd.DataFrame, mixtures: Path) -> None:
    """Alone, in sevens, all together and in another order: the same to the last digits of float64."""
    detector = detectors(mixtures)[name]
    alone = scored(detector, corpus, size=1)[name]
    assert np.isfinite(alone["score"]).all()
    assert alone["score"].nunique() > 1
    batches = plan_batches(corpus, detector.recipe, 7)
    together = [gathered(score_trials([detector], corpus, [np.arange(12)[::-1]]))[name]]
    together.append(gathered(score_trials([detector], corpus, batches))[name])
    for other in together:
        exact = {"rtol": 1e-12, "atol": 1e-12} if name == "gmm" else {"rtol": 0, "atol": 0}
        np.testing.assert_allclose(other["score"].loc[alone.index], alone["score"], **exact)
        assert other["seconds"].loc[alone.index].equals(alone["seconds"])


@pytest.mark.parametrize("recipe", [WHOLE, PAD, TILE], ids=["whole", "pad", "tile"])
def test_the_number_of_decode_processes_changes_no_bit(recipe: Mapping[str, Any], corpus: pd.DataFrame) -> None:
    """0, 1 and 2 workers give equal tables, in the order of the plan, resampled files included."""
    detector = scorer("power", "Power", recipe)
    here = scored(detector, corpus, workers=0)["power"]
    for workers in (1, 2):
        pd.testing.assert_frame_equal(scored(detector, corpus, workers=workers)["power"], here, check_exact=True)


def test_detectors_of_one_recipe_share_every_decoded_file(corpus: pd.DataFrame, decoded: list[str]) -> None:
    """Three detectors, each file is decoded once, and the scores are those of each detector alone."""
    several = [scorer("a", "Power"), scorer("b", "Tiny"), scorer("c", "Tiny", scale=2.0)]
    together = scored(several, corpus)
    assert decoded == corpus["path"].tolist()
    for one in several:
        pd.testing.assert_frame_equal(scored(one, corpus)[one.name], together[one.name], check_exact=True)


def test_scores_and_extras_come_with_durations_and_notes(tmp_path: Path) -> None:
    """Columns trial, score, extras in the order of the detector, seconds, note."""
    trials = numbered(tmp_path, 3)
    (item,) = score_trials([scorer("x", "WithExtras")], trials, [np.arange(3)])
    assert isinstance(item, Scored)
    assert list(item.block) == ["trial", "score", "spoof", "bonafide", "seconds", "note"]
    assert item.block["score"].tolist() == np.sin([1.0, 2.0, 3.0]).tolist()
    assert item.block["spoof"].tolist() == (-np.sin([1.0, 2.0, 3.0])).tolist()
    assert item.block["seconds"].tolist() == [0.005] * 3
    assert item.block["note"].tolist() == [""] * 3


def test_the_facts_of_a_file_reach_a_probe(corpus: pd.DataFrame, decoded: list[str]) -> None:
    """Duration, rate and channels of the header, without decoding; nothing at all where the recipe opens no file."""
    found = scored(scorer("f", "FactsSum", {"window": "facts"}), corpus)["f"]
    for path, score in zip(corpus["path"], found["score"], strict=True):
        info = soundfile.info(path)
        assert score == pytest.approx(info.duration + info.samplerate + info.channels / 10)
    assert found["seconds"].tolist() == [soundfile.info(path).duration for path in corpus["path"]]
    absent = table(["", "nowhere.wav"])
    blind = scored(scorer("f", "FactsSum", {"window": "none"}), absent)["f"]
    assert (blind["score"].tolist(), blind["note"].tolist(), decoded) == ([0.0, 0.0], ["", ""], [])
    assert blind["seconds"].isna().all()


def test_only_batches_with_an_unknown_trial_are_decoded(tmp_path: Path, decoded: list[str]) -> None:
    """A detector is given the batches it lacks; a batch that nobody lacks is not read, a half known one is whole."""
    trials, log = numbered(tmp_path, 9), tmp_path / "log"
    known = {"a": np.ones(9, dtype=bool), "b": np.ones(9, dtype=bool)}
    known["a"][4], known["b"][7] = False, False
    pair = [scorer("a", "Tiny", log=str(log)), scorer("b", "Power")]
    found = gathered(score_trials(pair, trials, plan_batches(trials, pair[0].recipe, 3), known=known))
    assert [found["a"].index.tolist(), found["b"].index.tolist()] == [["t4", "t5", "t6"], ["t7", "t8", "t9"]]
    assert decoded == trials["path"].tolist()[3:]
    assert log_lines(log) == [[4, 5, 6]]
    assert gathered(score_trials(pair, trials, [], known=known)) == {}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("window", ["whole", "tile", "facts"])
def test_a_file_that_cannot_be_read_has_a_note_and_no_score(tmp_path: Path, window: str, workers: int) -> None:
    """Its batch mates have theirs; so has a batch of which nothing can be read, extras left out."""
    trials = numbered(tmp_path, 6)
    Path(trials["path"][1]).unlink()
    for row in (4, 5):
        Path(trials["path"][row]).write_text("this is no audio")
    recipe = {"window": window, **({"samples": 64} if window == "tile" else {})}
    detector = scorer("d", "FactsSum" if window == "facts" else "WithExtras", recipe)
    batches = [np.array([0, 1, 2]), np.array([3]), np.array([4, 5])]
    found = gathered(score_trials([detector], trials, batches, workers=workers))["d"]
    assert np.isfinite(found["score"]).tolist() == [True, False, True, True, False, False]
    assert found["seconds"].isna().tolist() == [False, True, False, False, True, True]
    assert found.loc["t2", "note"] == f"the file is missing: {trials['path'][1]}"
    assert str(found.loc["t5", "note"]).startswith("no decoder reads this file (soundfile: ")
    assert str(found.loc["t6", "note"]).endswith(trials["path"][5])
    assert found["note"].tolist()[0::2] == ["", "", found.loc["t5", "note"]]


# --- building -------------------------------------------------------------------------------------------------------


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


# --- defects --------------------------------------------------------------------------------------------------------


def test_a_score_that_is_not_finite_stops_its_detector_alone(tmp_path: Path) -> None:
    """The reason names the trial; what was scored before is there, the others of the pass go on."""
    trials = numbered(tmp_path, 8)
    found = scored([scorer("good", "Tiny"), scorer("bad", "NotFiniteAt", at=6)], trials, size=3)
    failed = found["bad"]
    assert isinstance(failed, Failed)
    assert failed.error.what == "the score of trial 't6' is not finite"
    assert failed.error.where == "detector bad"
    assert failed.error.remedy == "check its weights and audio recipe; no EER is computed from such scores"
    assert failed.details == ""
    assert found["good"].index.tolist() == trials["trial"].tolist()


def test_after_the_last_detector_has_failed_nothing_more_is_read(tmp_path: Path, decoded: list[str]) -> None:
    """A failure early in a corpus of hours costs seconds."""
    trials = numbered(tmp_path, 20)
    items = list(
        score_trials(
            [scorer("bad", "NotFiniteAt", at=3)], trials, plan_batches(trials, AudioRecipe.model_validate(TILE), 2)
        )
    )
    assert [type(item) for item in items] == [Scored, Failed]
    assert len(decoded) == 4


@pytest.mark.parametrize(
    ("model", "arguments", "what", "inside"),
    [
        ("RaisesAt", {"at": 5}, "ValueError: cannot digest 5", "raise ValueError("),
        ("NotBuilt", {}, "ValueError: this module wants a licence key", "raise ValueError("),
        ("WrongShape", {}, "score has shape (3, 1) for 3 trials", ""),
        ("ReservedExtra", {}, "no extra may be called 'seconds'", ""),
        ("Tiny", {"gain": 3}, "tests.tiny:Tiny does not take these arguments: ", ""),
        (
            "Absent",
            {},
            "tests.tiny:Absent cannot be loaded: AttributeError: module 'tests.tiny' has no attribute 'Absent'",
            "",
        ),
        ("pathlib:Path", {}, "pathlib:Path is no torch.nn.Module", ""),
    ],
)
def test_a_defect_of_a_detector_stops_it_alone(
    tmp_path: Path, model: str, arguments: dict[str, Any], what: str, inside: str
) -> None:
    """Whatever it raises, while it is built or while it scores; a defect of its own comes with the traceback."""
    trials = numbered(tmp_path, 8)
    found = scored([scorer("bad", model, **arguments), scorer("good", "Tiny")], trials, size=3)
    failed = found["bad"]
    assert isinstance(failed, Failed)
    assert failed.error.what.startswith(what)
    assert (inside in failed.details) if inside else failed.details == ""
    assert found["good"].index.tolist() == trials["trial"].tolist()


def test_weights_that_do_not_fit_stop_their_detector_alone(tmp_path: Path) -> None:
    """As a `WeightsError`, which says what does not fit."""
    trials = numbered(tmp_path, 2)
    torch.save({"other": torch.ones(1)}, tmp_path / "w.pt")
    found = scored([scorer("bad", "Trainable", weights=tmp_path / "w.pt"), scorer("good", "Tiny")], trials)
    assert isinstance(found["bad"].error, WeightsError)
    assert "1 tensors missing (weight)" in found["bad"].error.what
    assert len(found["good"]) == 2


def test_a_decode_process_that_dies_is_told_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed for memory, or by a decoder that crashes: the pass ends, it does not hang or show a traceback."""
    trials = numbered(tmp_path, 4)

    def crash(path: str, recipe: AudioRecipe, *rest: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(audio, "prepare", crash)
    with pytest.raises(ScoringError, match=r"decoding ended: DataLoader worker \(pid\(?s?\)? ?\d+\)") as caught:
        scored(scorer("d", "Tiny"), trials, workers=1)
    assert caught.value.remedy is not None
    assert "--workers 0" in caught.value.remedy


@pytest.mark.parametrize("host", [False, True])
@pytest.mark.parametrize("most", [1, 3, 7])
def test_out_of_memory_halves_the_batch_and_goes_on(tmp_path: Path, host: bool, most: int) -> None:
    """With the GPU's exception and with the text of the CPU allocator; scores are the same, and what fits is kept for
    the batches to come."""
    trials, log = numbered(tmp_path, 16), tmp_path / "log"
    found = scored(scorer("d", "OutOfMemory", most=most, host=host, log=str(log)), trials, size=8)["d"]
    assert found["score"].tolist() == np.sin(np.arange(1.0, 17.0)).tolist()
    sizes = [len(line) for line in log_lines(log)]
    tried, fits = {7: ([8], 4), 3: ([8, 4], 2), 1: ([8, 4, 2], 1)}[most]
    assert sizes == [*tried, *[fits] * (16 // fits)]


def test_a_trial_that_does_not_fit_alone_is_an_error(tmp_path: Path) -> None:
    """Nothing is left to halve."""
    failed = scored(scorer("d", "OutOfMemory", most=0, host=False), numbered(tmp_path, 4))["d"]
    assert failed.error.what == "one trial alone does not fit into memory"
    assert failed.error.where == "detector d on cpu"
    assert failed.error.remedy == "use another --device, or a machine with more memory"


def test_what_a_pass_takes_and_gives_can_be_sent_to_another_process(tmp_path: Path) -> None:
    """Pickled and back, arguments and results are what they were: any executor can score a slice of the batches."""
    trials = numbered(tmp_path, 6)
    given = (
        [scorer("good", "Tiny"), scorer("bad", "RaisesAt", at=3)],
        trials,
        plan_batches(trials, AudioRecipe.model_validate(TILE), 2),
    )
    scorers, list_, batches = pickle.loads(pickle.dumps(given))
    first, second = (gathered(score_trials(scorers, list_, part)) for part in (batches[:1], batches[1:]))
    assert pd.concat([first["good"], second["good"]]).index.tolist() == trials["trial"].tolist()
    failed = pickle.loads(pickle.dumps(second["bad"]))
    assert (failed.error.what, failed.details) == (second["bad"].error.what, second["bad"].details)


def test_the_adapter_version_is_an_attribute_of_the_class() -> None:
    """1 where it has none; a class that is not there is an error of the card."""
    assert scoring.model_version("tests.tiny:Newer", "d") == 2
    assert scoring.model_version("tests.tiny:Tiny", "d") == 1
    with pytest.raises(CardError, match="detector card d"):
        scoring.model_version("tests.tiny:Absent", "d")
