"""Files of the user's own: their scores, where these lie among stored ones, what is told when something is wrong."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from bench import audio, cli, clips, imports, results, scales, terminal
from bench.clips import Clips, ClipScore, Trouble
from bench.errors import UsageError
from bench.files import write_json
from bench.progress import Silent
from tests.tiny import TILE, WHOLE, World, card, files_below

RATE = 16_000


pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """With a detector `det` that gives file n the score sin(n), and a dataset `set` of the files 1 to 10."""
    (tmp_path / "world").mkdir()
    made = World(tmp_path / "world")
    made.detector("det")
    made.dataset("set", range(1, 11))
    return made


def score(world: World, *files: str | Path, detectors: str = "det", datasets: str = "", **options: Any) -> Clips:
    return clips.score(
        world.workspace(**options),
        files,
        [detectors] if detectors else [],
        [datasets] if datasets else [],
        Silent(),
    )


def wav(place: Path, frames: int = 80, rate: int = RATE) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(os.fsencode(place), np.full(frames, 7, dtype=np.int16), rate, format="WAV", subtype="PCM_16")
    return place


def lower(scores: Sequence[float], score: float) -> float:
    """The definition: share that is lower, half of a tie."""
    return sum(1.0 if other < score else 0.5 if other == score else 0.0 for other in scores) / len(scores)


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in files_below(folder)}


def read(*lines: str) -> str:
    """Text as one line, wherever a terminal broke it."""
    return " ".join(" ".join(lines).split())


# --- a score and what it is compared with -----------------------------------------------------------------------------


def test_a_score_and_its_place_in_a_stored_cell(world: World) -> None:
    """The score of the file, and the shares of 5 bona fide and 5 spoofed trials below it, with the EER and the list."""
    cell = world.cell("det", "set")
    found = score(world, world.audio(11, "mine"))
    (one,) = found.scores
    assert (one.detector, one.score, one.seconds) == ("det", math.sin(11), 0.005)
    (there,) = one.comparisons
    assert (there.dataset, there.key, there.n_bonafide, there.n_spoof) == ("set", cell.key, 5, 5)
    assert there.digest == cell.manifest["dataset"]["digest"]
    assert there.lower_bonafide == lower([math.sin(n) for n in (1, 3, 5, 7, 9)], math.sin(11))
    assert there.lower_spoof == lower([math.sin(n) for n in (2, 4, 6, 8, 10)], math.sin(11))
    measured = results.evaluate_cell(world.workspace().store, cell).metrics
    assert measured is not None
    assert there.eer == measured["eer"]
    assert (found.ok, found.troubles) == (True, [])


def test_a_trial_of_the_cell_ties_with_itself(world: World) -> None:
    """Half of a tie counts as lower: of 5 distinct scores the k-th lowest is above (k - 1/2) / 5."""
    world.cell("det", "set")
    shares = {
        number: score(world, world.audio(number)).scores[0].comparisons[0].lower_bonafide for number in (1, 3, 5, 7, 9)
    }
    ranked = sorted(shares, key=lambda number: math.sin(number))
    assert [shares[number] for number in ranked] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])


@given(st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=12), st.integers(-5, 5).map(float))
def test_the_share_of_lower_scores(scores: list[float], value: float) -> None:
    """It is what counting gives, and the shares of a score and of its negative add up to 1."""
    share = scales.share_lower(np.sort(np.array(scores)), value)
    assert share == pytest.approx(lower(scores, value))
    mirrored = scales.share_lower(np.sort(-np.array(scores)), -value)
    assert share is not None
    assert mirrored == pytest.approx(1 - share)


def test_a_cell_of_one_class_tells_no_more_than_it_has(world: World) -> None:
    """The share among the absent class and the EER are None, and dashes in the table."""
    world.dataset("real", range(21, 31, 2))
    world.cell("det", "real")
    (there,) = score(world, world.audio(11, "mine")).scores[0].comparisons
    assert (there.n_bonafide, there.n_spoof, there.lower_spoof, there.eer) == (5, 0, None, None)
    assert there.lower_bonafide == lower([math.sin(n) for n in range(21, 31, 2)], math.sin(11))


def test_only_scores_that_the_detector_would_give_again_are_compared_with(world: World, tmp_path: Path) -> None:
    """No cell of other arguments, another detector or an import: it says that there is none, and what makes one."""
    world.detector("other")
    world.cell("other", "set")
    world.cell("det", "set")
    world.detector("det", arguments={"scale": 2.0})
    lines = tmp_path / "scores.txt"
    lines.write_text("".join(f"{number} {number}.0\n" for number in range(1, 11)))
    imports.import_scores(world.workspace(), lines, "det", "set")
    found = score(world, world.audio(11, "mine"))
    (one,) = found.scores
    assert (one.score, one.comparisons) == (2 * math.sin(11), ())
    told = read(*clips.footer(found))
    assert "No complete scores of det, as it is now, are stored on any dataset" in told
    assert "`bench run --detectors det --datasets ...` makes them" in told
    assert found.ok, "nothing that was asked for went wrong"


def test_the_newest_of_several_lists_of_a_dataset_counts(world: World) -> None:
    """A corpus that has grown has two cells of one scorer: that which was finished last is compared with."""
    old = world.cell("det", "set")
    world.dataset("set", range(1, 15))
    new = world.cell("det", "set")
    for cell, finished, expected in ((old, "2001-01-01", 14), (old, "2999-01-01", 10)):
        assert cell.path is not None
        write_json(cell.path / "cell.json", {**cell.manifest, "finished": finished})
        (there,) = score(world, world.audio(11, "mine")).scores[0].comparisons
        assert there.n_bonafide + there.n_spoof == expected
    assert old.key != new.key


def test_an_incomplete_cell_counts_once_it_was_accepted(world: World) -> None:
    """Scores with a hole are compared with only where --allow-missing said so, and the counts tell what there is."""
    world.audio(4).write_text("no audio")
    world.cell("det", "set")
    assert score(world, world.audio(11, "mine")).scores[0].comparisons == ()
    world.cell("det", "set", allow_missing=True)
    (there,) = score(world, world.audio(11, "mine")).scores[0].comparisons
    assert (there.n_bonafide, there.n_spoof) == (5, 4)


def test_datasets_choose_what_is_compared_with(world: World) -> None:
    """Names and globs of stored datasets; what a detector has nothing of is said; one not stored is an error."""
    world.dataset("more", range(21, 31))
    world.detector("other")
    world.run("det", "set,more")
    world.run("other", "set")
    mine = world.audio(11, "mine")

    def compared(datasets: str) -> dict[str, list[str]]:
        found = score(world, mine, detectors="det,other", datasets=datasets)
        return {one.detector: [there.dataset for there in one.comparisons] for one in found.scores}

    assert compared("") == {"det": ["more", "set"], "other": ["set"]}
    assert compared("s*") == {"det": ["set"], "other": ["set"]}
    assert compared("more") == {"det": ["more"], "other": []}
    judges = score(world, mine, detectors="det,other", datasets="more,set").judges
    assert [(judge.name, judge.missing) for judge in judges] == [("det", ()), ("other", ("more",))]
    with pytest.raises(UsageError, match="no stored dataset is called 'sett'\n  remedy: did you mean set"):
        score(world, mine, datasets="sett")


def test_damaged_stored_scores_are_told_and_the_rest_goes_on(world: World) -> None:
    """The score stands without that comparison; it fails the command only if the dataset was asked for."""
    cell = world.cell("det", "set")
    assert cell.path is not None
    (cell.path / "scores.parquet").write_bytes(b"damaged")
    for datasets, ok in (("", True), ("set", False)):
        found = score(world, world.audio(11, "mine"), datasets=datasets)
        assert (len(found.scores), found.ok) == (1, ok)
        (trouble,) = found.troubles
        assert trouble.name == "stored scores of det on set"
        assert trouble.reason.startswith("not readable")
        assert trouble.remedy == f"delete the folder {cell.path} and run again"


def test_nothing_is_written(world: World) -> None:
    """Not a byte of the results changes, and no results folder is made."""
    mine = world.audio(11, "mine")
    score(world, mine)
    assert not world.results.exists()
    world.cell("det", "set")
    before = tree(world.root)
    assert score(world, mine).scores[0].comparisons
    assert tree(world.root) == before


# --- decisions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (None, None),
        ({"threshold": 0.9}, "spoof"),
        ({"threshold": 0.9092}, "spoof"),
        ({"threshold": -1.0}, "bona fide"),
        ({"column": "spoof", "threshold": -0.95}, "bona fide"),
        ({"column": "absent"}, None),
    ],
)
def test_the_decision_is_that_of_the_card(decision: Mapping[str, Any] | None, expected: str | None) -> None:
    """Bona fide iff the card's column exceeds its threshold; none without a threshold or without the column."""
    about = card(model="WithExtras", decision=decision)
    row = {"trial": "a.wav", "score": 0.9, "spoof": -0.9, "bonafide": 0.9, "seconds": 1.0, "note": ""}
    one = clips._clip_score(about, row)
    assert (one.score, one.extras, one.decision) == (0.9, {"spoof": -0.9, "bonafide": 0.9}, expected)


def test_the_footer_tells_the_rule_of_each_decision(world: World) -> None:
    """Thresholds by detector, and which detectors decide nothing."""
    world.detector("extra", "WithExtras", decision={"column": "bonafide", "threshold": 0.25})
    world.detector("wrong", decision={"column": "margin"})
    found = score(world, world.audio(2, "mine"), detectors="det,extra,wrong")
    assert [one.decision for one in found.scores] == [None, "bona fide", None]
    told = read(*clips.footer(found))
    assert "Bona fide where extra bonafide > 0.25: thresholds of the detectors, not chosen for your files." in told
    assert "No decision by det, wrong: the card has no threshold for what it gives." in told


# --- what is heard ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "frames", "rate", "heard"),
    [
        ({"window": "tile", "samples": 8000}, 4000, RATE, "repeated to 0.50 s"),
        ({"window": "pad", "samples": 8000}, 4000, RATE, "zero-padded to 0.50 s"),
        ({"window": "tile", "samples": 8000}, 8001, RATE, "first 0.50 s"),
        ({"window": "pad", "samples": 8000}, 8000, RATE, "all of it"),
        ({"window": "tile", "samples": 8000}, 4000, 8000, "all of it"),
        ({"window": "tile", "samples": 8000}, 22050, 44100, "all of it"),
        ({"window": "tile", "samples": 8000}, 22047, 44100, "repeated to 0.50 s"),
        ({"window": "tile", "samples": 2007}, 2007, RATE, "all of it"),  # whose seconds round to a little more
        ({"window": "whole"}, 4000, RATE, "all of it"),
    ],
)
def test_what_a_detector_has_heard(
    recipe: Mapping[str, Any], frames: int, rate: int, heard: str, world: World, tmp_path: Path
) -> None:
    """A file shorter than the window is said to be repeated or padded, a longer one cut, after resampling."""
    world.detector("det", "Power", audio=recipe)
    place = wav(tmp_path / "a.wav", frames, rate)
    (one,) = score(world, place).scores
    assert (one.heard, one.seconds) == (heard, frames / rate)
    given = len(audio.resample(audio.decode(place)[0], rate, RATE))
    window = one.recipe.samples or given
    assert (
        heard.split()[0]
        in {-1: ("repeated", "zero-padded"), 0: ("all",), 1: ("first",)}[(given > window) - (given < window)]
    )


def test_detectors_that_open_no_audio_say_so(world: World) -> None:
    """A recipe of facts hears the header, one of none nothing; seconds come from whoever knows them."""
    world.detector("facts", "FactsSum", audio={"window": "facts"})
    world.detector("blind", "FactsSum", audio={"window": "none"})
    found = score(world, world.audio(1, "mine"), detectors="blind,facts")
    assert [(one.heard, one.seconds) for one in found.scores] == [("none of it", None), ("its header", 0.005)]
    heading = next(clips.blocks(found))
    assert "1.wav, 0.01 s\nheard: none of it by blind; its header by facts" in str(heading)


def test_equal_recipes_share_a_pass(world: World, decoded: list[str]) -> None:
    """Each file is decoded once for two detectors of one recipe; scores are by file and then detector, as given."""
    world.detector("long", audio=WHOLE)
    world.detector("twin")
    mine = [world.audio(number, "mine", frames) for number, frames in ((3, 900), (2, 80))]
    found = score(world, *mine, detectors="twin,long,det", batch_size=1)
    assert sorted(decoded) == ["2", "2", "3", "3"]
    expected = [(str(place), name) for place in mine for name in ("twin", "long", "det")]
    assert [(one.file, one.detector) for one in found.scores] == expected


# --- files ------------------------------------------------------------------------------------------------------------


def test_files_folders_and_globs(elsewhere: Path) -> None:
    """Each file once and in the order given; folders at any depth, without hidden files and other suffixes."""
    for name in (
        "b.wav",
        "a.flac",
        "deep/er/c.MP3",
        "deep/.hidden.wav",
        "deep/notes.txt",
        "take [1].wav",
        "take 1.wav",
    ):
        wav(elsewhere / name)
    names: list[str | Path] = [
        "./b.wav",
        elsewhere / "b.wav",
        "deep",
        "*.flac",
        "**/*.MP3",
        "take [1].wav",
        "deep/notes.txt",
    ]
    found, troubles = clips.find(names)
    assert list(found) == ["b.wav", "deep/er/c.MP3", "a.flac", "take [1].wav", "deep/notes.txt"]
    assert found["b.wav"] == str(elsewhere / "b.wav")
    assert troubles == []


@pytest.mark.parametrize("name", ["no.wav", "no*", "", "no\x00.wav", "nothing/", "*/a.wav"])
def test_a_name_that_stands_for_no_file(name: str, elsewhere: Path) -> None:
    """It is told with what to do, and the others are found."""
    (elsewhere / "a.wav").touch()
    found, troubles = clips.find([name, "a.wav"])
    assert list(found) == ["a.wav"]
    assert troubles == [Trouble("file", name, "no such file or folder", "check the name; quote names with spaces")]


def test_a_folder_without_audio(elsewhere: Path) -> None:
    """It is told which suffixes audio has."""
    (elsewhere / "empty").mkdir()
    found, (trouble,) = clips.find(["empty"])
    assert (found, trouble.reason) == ({}, "no audio in this folder")
    assert trouble.remedy.startswith("audio files end in .wav, .flac, .mp3")


def test_a_name_too_long_for_a_file_system() -> None:
    """What the system says of a name is told, not raised."""
    _, (trouble,) = clips.find(["a" * 5000])
    assert (trouble.reason, trouble.remedy) == ("cannot be read: File name too long", "check name and permissions")


def test_any_name_is_scored(world: World, elsewhere: Path) -> None:
    """Spaces, quotes, line breaks, escape sequences, markup, `-` and what looks like a protocol or a format."""
    names = [
        "a b.wav",
        'it\'s "x".wav',
        "two\nlines.wav",
        "\x1b[31mred.wav",
        "[red]x[/red].wav",
        "-",
        "12:30.wav",
        "ü.raw",
    ]
    for name in names:
        wav(elsewhere / name)
    found = score(world, *names)
    assert [one.file for one in found.scores] == names
    assert found.troubles == []


def test_a_name_that_is_not_utf_8_is_told_safely(world: World, elsewhere: Path) -> None:
    """The name is shown with its odd bytes escaped, the other files are scored, and JSON holds valid text."""
    odd = os.fsdecode(b"caf\xe9.wav")
    try:
        wav(Path(odd))
    except (OSError, soundfile.SoundFileError):
        pytest.skip("this file system takes only UTF-8 names")
    found = score(world, odd, wav(elsewhere / "fine.wav"))
    (trouble,) = found.troubles
    assert (len(found.scores), found.ok, trouble.reason) == (1, False, "the file name is not UTF-8")
    told = json.dumps(clips.as_json(found), ensure_ascii=False).encode()
    assert json.loads(told)["troubles"][0]["name"] == "caf\\udce9.wav"
    _, (below,) = clips.find([elsewhere])
    assert below.reason == "the file name 'caf\\udce9.wav' is not UTF-8"


@pytest.mark.parametrize("window", [TILE, WHOLE], ids=["tile", "whole"])
def test_a_file_that_cannot_be_decoded_is_told_once(world: World, window: Mapping[str, Any]) -> None:
    """Whatever the number of detectors, with the reason and without its own path; the others are scored."""
    world.detector("det", audio=window)
    world.detector("twin", audio={"window": "tile", "samples": 65})
    bad = world.audio(1, "mine")
    bad.write_text("no audio")
    found = score(world, bad, world.audio(2, "mine"), detectors="det,twin")
    assert [(Path(one.file).name, one.detector) for one in found.scores] == [("2.wav", "det"), ("2.wav", "twin")]
    (trouble,) = found.troubles
    assert (trouble.kind, trouble.name, found.ok) == ("file", str(bad), False)
    assert trouble.reason.startswith("no decoder reads this file (soundfile: ")
    assert str(bad) not in trouble.reason
    assert trouble.remedy == "get an intact copy of the file, or convert it to WAV"


# --- detectors --------------------------------------------------------------------------------------------------------


def test_a_detector_without_weights_is_told_and_others_go_on(world: World) -> None:
    """Asked for by name it fails the command and says where its weights were searched; one of a glob does not."""
    mine = world.audio(2, "mine")
    found = score(world, mine, detectors="det,aasist")
    assert ([one.detector for one in found.scores], found.ok) == (["det"], False)
    (trouble,) = found.told()
    assert (trouble.kind, trouble.name) == ("detector", "aasist")
    assert trouble.reason == f"the weights AASIST.pth are not here (searched {world.root / 'weights'})"
    assert "AASIST.pth" in trouble.remedy
    found = score(world, mine, detectors="det,rawnet2-??")
    (told,) = found.told()
    assert (found.ok, told.name, told.reason) == (True, "not ready here", "rawnet2-df, rawnet2-la")
    assert told.remedy == "`bench list detectors` tells what each needs"


def test_without_a_choice_every_trained_detector_is_asked(world: World) -> None:
    """Chance, probes and networks without weights judge corpora, not files; `all` means all of them nevertheless."""
    world.detector("trained", "Trainable", arguments={"log": str(world.log)}, recipe={"train": "set"})
    mine = world.audio(2, "mine")
    found = score(world, mine, detectors="")
    assert found.scores == []
    assert not found.ok, "not one score is no success"
    reasons = {trouble.name: trouble for trouble in found.troubles}
    assert reasons["trained"].reason == "trained is not trained yet"
    assert reasons["trained"].remedy == "`bench train trained` trains it"
    assert {"aasist", "aasist-l"} < set(reasons)
    world.run("trained", "set")
    found = score(world, mine, detectors="")
    assert [(one.detector, len(one.comparisons)) for one in found.scores] == [("trained", 1)]
    assert [judge.weights for judge in found.judges] == ["trained here"]
    everything = {one.detector for one in score(world, mine, detectors="all").scores}
    assert {"det", "trained", "random", "probe-silence"} <= everything


def test_weights_without_a_published_hash_are_called_unverified(world: World) -> None:
    """In the record and below the scores."""
    world.detector("trained", "Trainable", arguments={"log": str(world.log)}, recipe={"train": "set"})
    world.run("trained", "set")
    (made,) = world.results.glob("weights/trained/*/*.safetensors")
    (world.root / "weights").mkdir()
    (world.root / "weights" / "own.safetensors").write_bytes(made.read_bytes())
    about = {"file": "own.safetensors", "source": "here", "licence": "MIT"}
    world.detector("own", "Trainable", arguments={"log": str(world.log)}, weights=about)
    found = score(world, world.audio(2, "mine"), detectors="own")
    assert [judge.weights for judge in found.judges] == ["unverified"]
    assert "Weights unverified, no hash of them is published: own." in read(*clips.footer(found))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("NotFiniteAt", "the score of trial '{}' is not finite (detector bad)"),
        ("RaisesAt", "ValueError: cannot digest 2 (detector bad)"),
    ],
)
def test_a_defect_of_a_detector_ends_that_detector_alone(model: str, reason: str, world: World) -> None:
    """What it had scored before stays; the traceback of its own code is noted."""
    notes: list[str] = []

    class Noting(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    world.detector("bad", model, arguments={"at": 2})
    mine = [world.audio(number, "mine") for number in (1, 2, 3)]
    workspace = world.workspace(batch_size=1)
    found = clips.score(workspace, mine, ["bad,det"], [], Noting())
    assert [(Path(one.file).stem, one.detector) for one in found.scores] == [
        ("1", "bad"),
        ("1", "det"),
        ("2", "det"),
        ("3", "det"),
    ]
    (trouble,) = found.troubles
    assert (trouble.kind, trouble.name, trouble.reason) == ("detector", "bad", reason.format(mine[1]))
    assert not found.ok
    assert any("Traceback" in note for note in notes) == (model == "RaisesAt")


def test_names_that_cannot_be_meant(world: World) -> None:
    """An unknown detector or device is an error before any file is looked at."""
    with pytest.raises(UsageError, match="no detector is called 'dett'\n  remedy: did you mean det"):
        score(world, "nothing.wav", detectors="dett")
    with pytest.raises(UsageError, match="no device is called 'tpu9'"):
        score(world, "nothing.wav", device="tpu9")


def test_released_weights_score_as_the_authors_code(shared: Path, world: World) -> None:
    """AASIST-L on three files of In-the-Wild is within 1e-4 of the scores that the authors' code gave."""
    lines = (shared / "golden" / "aasist-l_itw_scores.txt").read_text().splitlines()
    expected = {file: float(value) for file, value in map(str.split, lines)}
    files = [shared / "corpora" / "itw" / "release_in_the_wild" / name for name in list(expected)[:3]]
    found = score(world, *files, detectors="aasist-l", weights=(shared / "golden" / "weights",))
    for one in found.scores:
        assert one.score == pytest.approx(expected[Path(one.file).name], abs=1e-4)
        assert one.decision == ("bona fide" if one.extras["margin"] > 0 else "spoof")
    assert [judge.weights for judge in found.judges] == ["verified"]
    assert len(found.scores) == 3


# --- for the reader ---------------------------------------------------------------------------------------------------


@given(st.floats(0, 1))
def test_a_share_never_looks_like_all_or_none_without_being_it(share: float) -> None:
    """100.0 % and 0.0 % are said of 1 and 0 alone; any other share is within 0.05 of what is printed."""
    told = clips.percent(share)
    assert (told == "100.0 %") == (share == 1)
    assert (told == "0.0 %") == (share == 0)
    if told[0] not in "<>":
        assert abs(float(told.removesuffix(" %")) - 100 * share) <= 0.05 + 1e-9
    assert clips.percent(None) == "–"


def command(world: World, *arguments: object) -> click.testing.Result:
    """`bench score` in this process; an exception that is not an exit status is the test's."""
    places = ("--data-root", world.data, "--cards", world.cards, "--results", world.results)
    given = ["score", *arguments, "--device", "cpu", "--workers", 0, *places]
    return click.testing.CliRunner().invoke(cli.main, [str(one) for one in given], catch_exceptions=False)


@pytest.mark.parametrize("width", [80, 160])
def test_what_the_command_prints(width: int, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """File, score, decision and shares; then the caution, the sentence that explains the shares, and the list."""
    monkeypatch.setattr(terminal.out, "width", width)
    world.detector("det", decision={"threshold": 0.0})
    cell = world.cell("det", "set")
    mine = wav(Path("my [1] file.wav"))  # sin(7) = 0.6570: 1 of 5 bona fide is above, sin(1), and one is a tie, sin(7)
    ran = command(world, mine, "-d", "det")
    assert ran.exit_code == 0, ran.output
    assert "my [1] file.wav, 0.01 s\nheard: first 0.00 s by det\n" in ran.stdout
    (row,) = [line.split() for line in ran.stdout.splitlines() if line.startswith("det ")]
    spoofs = lower([math.sin(n) for n in (2, 4, 6, 8, 10)], math.sin(7))
    assert row[:4] == ["det", "0.6570", "bona", "fide"]
    assert row[4] == "set"
    assert row[6:] == ["30.0", "%", f"{100 * spoofs:.1f}", "%"]
    told = read(ran.stdout)
    assert clips.CAUTION in told
    assert (
        f"my [1] file.wav by det: lower than 30.0 % of the bona fide of set, higher than {100 * spoofs:.1f} %" in told
    )
    assert f"Compared with set 5 bona fide, 5 spoofs ({cell.manifest['dataset']['digest'][:12]})." in told
    assert "Bona fide where det score > 0: thresholds" in told
    assert max(map(len, ran.stdout.splitlines())) <= width
    assert "your files: det: 1 to go" in ran.stderr


def test_the_command_prints_json(world: World) -> None:
    """Shares and EER as fractions, extras, the window and the caution; nothing else on standard output."""
    world.detector("det", "WithExtras", decision={"column": "bonafide"})
    world.cell("det", "set")
    ran = command(world, world.audio(11, "mine"), world.audio(12, "mine"), "-d", "det", "--json")
    told = json.loads(ran.stdout)
    assert [Path(one["file"]).name for one in told["scores"]] == ["11.wav", "12.wav"]
    first = told["scores"][0]
    assert first["extras"] == {"spoof": -first["score"], "bonafide": first["score"]}
    assert (first["decision"], first["heard"], first["seconds"]) == ("spoof", "first 0.00 s", 0.005)
    assert first["recipe"] == {"rate": 16000, "window": "tile", "samples": 64, "epsilon": None}
    (there,) = first["comparisons"]
    assert there["lower_bonafide"] == lower([math.sin(n) for n in (1, 3, 5, 7, 9)], math.sin(11))
    rule = {"column": "bonafide", "threshold": 0.0}
    assert told["detectors"] == [{"name": "det", "decision": rule, "weights": None, "missing": []}]
    assert (told["troubles"], told["caution"], ran.exit_code) == ([], clips.CAUTION, 0)


def test_exit_statuses(world: World, elsewhere: Path) -> None:
    """0 done; 1 a file or a named detector went wrong, or there is no score; 2 wrong usage."""
    mine = world.audio(2, "mine")
    (elsewhere / "bad.wav").write_text("no audio")
    assert command(world, mine, "-d", "det").exit_code == 0
    bad = command(world, mine, "bad.wav", "no.wav", "-d", "det")
    assert bad.exit_code == 1
    assert "bad.wav: no decoder reads this file" in bad.stdout
    assert "no.wav: no such file or folder\n  remedy: check the name" in bad.stdout
    assert "det " in bad.stdout
    assert command(world, mine, "-d", "det,aasist").exit_code == 1
    none = command(world, "no.wav", "-d", "det")
    assert (none.exit_code, clips.CAUTION in read(none.stdout)) == (1, False)
    for wrong in ((mine, "-d", "dett"), (mine, "-d", "det", "-s", "nowhere"), ("-d", "det")):
        assert command(world, *wrong).exit_code == 2


def test_ctrl_c(world: World) -> None:
    """Exit 130 without a traceback and without a claim that something was stored."""
    flag = world.root / "interrupted"
    world.detector("det", "InterruptedAt", arguments={"at": 2, "flag": str(flag)})
    ran = command(world, world.audio(2, "mine"), "-d", "det")
    assert (ran.exit_code, flag.exists()) == (130, True)
    assert "interrupted; `bench score` stores nothing" in ran.stderr
    assert "Traceback" not in ran.output


def test_hundreds_of_files(world: World, elsewhere: Path) -> None:
    """A folder of 300 is one pass with a row each, in the order of the folder, and progress counts every score."""
    for number in range(300):
        world.audio(number, "many")
    total = 0

    class Counting(Silent):
        def advance(self, count: int) -> None:
            nonlocal total
            total += count

    found = clips.score(world.workspace(), [world.data / "many"], ["det"], [], Counting())
    assert (len(found.scores), total, found.ok) == (300, 300, True)
    assert [one.file for one in found.scores] == sorted(one.file for one in found.scores)
    assert all(one.score == math.sin(int(Path(one.file).stem)) for one in found.scores)


def test_a_score_that_is_compared_with_nothing() -> None:
    """Decision, dataset, EER and shares are dashes."""
    bare = ClipScore("a.wav", "det", 1.0, {}, None, None, card().audio, extracted=False)
    table = list(clips.blocks(Clips([bare], [], [])))[1]
    with terminal.out.capture() as captured:
        terminal.out.print(table)
    assert captured.get().splitlines()[-1].split() == ["det", "1.0000", "–", "–", "–", "–", "–"]
