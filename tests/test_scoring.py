"""One pass: batches that are a plan and nothing else, scores that do not depend on them, defects that stay alone."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from bench import audio, perturbations
from bench.batches import Portion, Portions, plan_batches
from bench.cards import AudioRecipe
from bench.errors import ScoringError, WeightsError
from bench.models.lfcc_gmm import LfccGmm
from bench.runner import Scored
from bench.scorer import Scorer
from bench.scoring import Failed, score_trials
from tests.passing import PAD, flat, gathered, mixed, numbered, passed, pieces_of, scored, scorer, table
from tests.tiny import TILE, WHOLE, OutOfMemory, log_lines


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return mixed(tmp_path_factory.mktemp("noise"))


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


# --- pieces of files ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, pd.DataFrame]:
    return pieces_of(tmp_path_factory.mktemp("pieces"))


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


def test_consecutive_pieces_cost_one_decoding(
    pieces: tuple[pd.DataFrame, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many batches they are in; a whole file is decoded for itself."""
    cut, _ = pieces
    decode = Mock(wraps=audio._decode)
    audio._last_decoded.cache_clear()
    monkeypatch.setattr(audio, "_decode", decode)
    scored(scorer("power", "Power", PAD), cut, size=2)
    assert [Path(given.args[0].path).stem for given in decode.call_args_list] == ["0", "0", "1", "1", "2", "2"]


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
    together = [gathered(passed([detector], corpus, [np.arange(12)[::-1]]))[name]]
    together.append(gathered(passed([detector], corpus, batches))[name])
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
    (item,) = passed([scorer("x", "WithExtras")], trials, [np.arange(3)])
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
    found = gathered(passed(pair, trials, plan_batches(trials, pair[0].recipe, 3), known=known))
    assert [found["a"].index.tolist(), found["b"].index.tolist()] == [["t4", "t5", "t6"], ["t7", "t8", "t9"]]
    assert decoded == trials["path"].tolist()[3:]
    assert log_lines(log) == [[4, 5, 6]]
    assert gathered(passed(pair, trials, [], known=known)) == {}


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
    found = gathered(passed([detector], trials, batches, workers=workers))["d"]
    assert np.isfinite(found["score"]).tolist() == [True, False, True, True, False, False]
    assert found["seconds"].isna().tolist() == [False, True, False, False, True, True]
    assert found.loc["t2", "note"] == f"the file is missing: {trials['path'][1]}"
    assert str(found.loc["t5", "note"]).startswith("no decoder reads this file (soundfile: ")
    assert str(found.loc["t6", "note"]).endswith(trials["path"][5])
    assert found["note"].tolist()[0::2] == ["", "", found.loc["t5", "note"]]


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
    batches = plan_batches(trials, AudioRecipe.model_validate(TILE), 2)
    items = passed([scorer("bad", "NotFiniteAt", at=3)], trials, batches)
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
    with pytest.raises(ScoringError, match="decoding ended: a decode process died") as caught:
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


def test_a_compiled_detector_meets_one_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is not full is filled up for it, and what comes of that is dropped: scores are as ever."""
    shapes: list[int] = []

    class Shapes(torch.nn.Module):
        def forward(self, wave: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            shapes.append(len(wave))
            return wave[:, 0].double() + lengths.double()

    monkeypatch.setattr(Scorer, "build", lambda self, device: Shapes())
    trials = numbered(tmp_path, 8)
    Path(trials["path"][1]).unlink()
    plain = scored(scorer("d", "Tiny"), trials, size=3)["d"]
    assert shapes == [2, 3, 2]
    shapes.clear()
    filled = scored(replace(scorer("d", "Tiny"), compiled=True, batch_size=3), trials, size=3)["d"]
    assert shapes == [3, 3, 3]
    pd.testing.assert_frame_equal(filled, plain, check_exact=True)


def test_out_of_memory_halves_what_a_compiled_detector_meets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fills up a batch is halved with it."""
    log = tmp_path / "log"
    monkeypatch.setattr(Scorer, "build", lambda self, device: OutOfMemory(2, host=False, log=str(log)))
    compiled = replace(scorer("d", "OutOfMemory"), compiled=True, batch_size=8)
    found = scored(compiled, numbered(tmp_path, 11), size=8)["d"]
    assert found["score"].tolist() == np.sin(np.arange(1.0, 12.0)).tolist()
    assert [len(line) for line in log_lines(log)] == [8, 4, *[2] * 6]


def test_what_a_pass_takes_and_gives_can_be_sent_to_another_process(tmp_path: Path) -> None:
    """Pickled and back, arguments and results are what they were: any executor can score some of the portions."""
    trials = numbered(tmp_path, 6)
    scorers = [scorer("good", "Tiny"), scorer("bad", "RaisesAt", at=3)]
    batches = plan_batches(trials, AudioRecipe.model_validate(TILE), 2)
    portions = list(Portions(trials, batches, ["good", "bad"]))
    sent: tuple[list[Scorer], list[Portion]] = pickle.loads(pickle.dumps((scorers, portions)))
    first, second = (gathered(flat(score_trials(sent[0], part))) for part in (sent[1][:1], sent[1][1:]))
    assert pd.concat([first["good"], second["good"]]).index.tolist() == trials["trial"].tolist()
    failed = pickle.loads(pickle.dumps(second["bad"]))
    assert (failed.error.what, failed.details) == (second["bad"].error.what, second["bad"].details)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_source_without_work_just_now_keeps_nothing_back(tmp_path: Path, workers: int) -> None:
    """What is decoded is scored before the source is asked to wait, with and without decode processes."""
    trials = numbered(tmp_path, 6)
    scored_by_now: list[int | None] = []

    def source() -> Iterator[Portion | None]:
        batches = plan_batches(trials, AudioRecipe.model_validate(TILE), 2)
        for portion in Portions(trials, batches, ["d"]):
            yield portion
            while portion.number not in scored_by_now:
                yield None

    for done in score_trials([scorer("d", "Tiny")], source(), workers=workers):
        scored_by_now += [done.number]
    assert scored_by_now == [0, 1, 2]
