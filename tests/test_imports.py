"""Score files made elsewhere: every format that is met, every refusal, and what is stored."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import imports, results
from bench.cards import DatasetCard
from bench.corpora import Dataset
from bench.errors import BenchError, Blocked, DataError, UsageError
from bench.trials import digest, validate
from tests.tiny import World, files_below


def dataset(trials: Sequence[str], labels: str) -> Dataset:
    """Trials in memory; `labels` has a letter each, b or s."""
    words = [{"b": "bonafide", "s": "spoof"}[letter] for letter in labels]
    table = validate(pd.DataFrame({"trial": list(trials), "label": words}), "here")
    card = DatasetCard(name="d", title="d", summary="d", licence="none", reader="a:b", obtain="nothing to do")
    return Dataset(card, table, digest(table), ())


LA = dataset(["LA_E_1", "LA_E_2", "LA_E_3"], "bss")
EXPECTED = [1.5, -2.0, 1e-3]
PLAIN = "LA_E_1 1.5\nLA_E_2 -2.0\nLA_E_3 1e-3\n"

FORMATS = {
    "plain": PLAIN,
    "any order": "LA_E_3 1e-3\nLA_E_1 1.5\nLA_E_2 -2.0\n",
    "no last line end": PLAIN.rstrip(),
    "blank lines": "\n\n" + PLAIN.replace("\n", "\n \n"),
    "tabs": PLAIN.replace(" ", "\t"),
    "many spaces": PLAIN.replace(" ", "    "),
    "comma without header": PLAIN.replace(" ", ","),
    "CRLF": PLAIN.replace("\n", "\r\n"),
    "byte order mark": "\ufeff" + PLAIN,
    "suffixes": PLAIN.replace(" ", ".flac "),
    "suffixes of any case": PLAIN.replace(" ", ".WAV "),
    "folders": PLAIN.replace("LA", "/data/eval/flac/LA"),
    "folders of Windows": PLAIN.replace("LA", "D:\\eval\\LA"),
    "official baseline": "LA_E_1 - bonafide 1.5\nLA_E_2 A07 spoof -2.0\nLA_E_3 A19 spoof 1e-3\n",
    "baseline in tabs": "LA_E_1\t-\tbonafide\t1.5\nLA_E_2\tA07\tspoof\t-2.0\nLA_E_3\tA19\tspoof\t1e-3\n",
    "official header": "filename\tcm-score\nLA_E_1\t1.5\nLA_E_2\t-2.0\nLA_E_3\t1e-3\n",
    "header of spaces": "trial score\n" + PLAIN,
    "columns in any order": "Score,Label,Path\n1.5,bonafide,x/LA_E_1.wav\n-2.0, spoof ,LA_E_2\n1e-3,fake,LA_E_3\n",
    "quotes": '"trial","score"\n"LA_E_1","1.5"\n"LA_E_2","-2.0"\n"LA_E_3","1e-3"\n',
    "labels that are numbers": "trial,score,label\nLA_E_1,1.5,0\nLA_E_2,-2.0,1\nLA_E_3,1e-3,1\n",
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("zipped", [False, True])
def test_formats(form: str, zipped: bool, tmp_path: Path) -> None:
    """Every format, plain or gzip, gives the scores in the order of the dataset's trials, and no note."""
    file = tmp_path / "scores"
    content = FORMATS[form].encode()
    file.write_bytes(gzip.compress(content) if zipped else content)
    scores, notes = imports.read_scores(file, LA)
    assert (scores.tolist(), notes) == (EXPECTED, [])


@pytest.mark.parametrize(
    ("trials", "lines"),
    [
        (["a b", "a"], ["a b 1", "a 2"]),
        (["a b", "a"], ["a b.wav 1", "x/a.wav 2"]),
        (["my fake 1", "my fake 2"], ["my fake 1 1", "my fake 2 2"]),
        (["real/1", "fake/1"], ["/home/me/own/real/1.wav 1", "./fake/1.wav 2"]),
        (["fake/en/x y/1", "2"], ["fake\\en\\x y\\1.wav\t1", "en/2\t2"]),
        (["1.5", "2.wav.old"], ["1.5 1", "2.wav.old 2"]),
    ],
)
def test_ids_with_spaces_and_folders(trials: list[str], lines: list[str], tmp_path: Path) -> None:
    """The whole id counts before its first word, a path before the name at its end; `fake` in an id is no label."""
    file = tmp_path / "scores"
    file.write_text("\n".join(lines))
    assert imports.read_scores(file, dataset(trials, "bs"))[0].tolist() == [1, 2]


@given(
    pairs=st.lists(
        st.tuples(st.from_regex(r"[A-Za-z0-9_.-]{1,12}", fullmatch=True), st.floats(allow_nan=False, width=32)),
        min_size=1,
        unique_by=lambda pair: pair[0],
    )
)
def test_what_is_written_is_read(pairs: list[tuple[str, float]], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Finite scores come back exactly, whatever the ids; infinite ones are refused with their line."""
    source = dataset([f"T{name}x" for name, _ in pairs], "s" * len(pairs))
    file = tmp_path_factory.getbasetemp() / "scores.txt"
    file.write_text("".join(f"T{name}x {score!r}\n" for name, score in pairs))
    infinite = [line for line, (_, score) in enumerate(pairs, start=1) if np.isinf(score)]
    if infinite:
        with pytest.raises(DataError, match=f"line {infinite[0]}\\b"):
            imports.read_scores(file, source)
    else:
        assert imports.read_scores(file, source)[0].tolist() == [score for _, score in pairs]


REFUSALS = {
    "twice": (PLAIN + "LA_E_2 3\n", "trial 'LA_E_2' has two scores, the first in line 2", 4),
    "twice, once with suffix": ("LA_E_1 1\nLA_E_1.flac 1\n", "trial 'LA_E_1' has two scores, the first in line 1", 2),
    "twice, in two folders": ("a/LA_E_1 1\nb/LA_E_1 1\n", "has two scores", 2),
    "NaN": ("LA_E_1 1\nLA_E_2 nan\n", "the score nan is not finite", 2),
    "infinite": ("LA_E_1 1\n\nLA_E_2 -inf\n", "the score -inf is not finite", 3),
    "text": ("LA_E_1 high\n", "'high' is not a number", 1),
    "unknown header": ("name,value\nLA_E_1,1\n", "'value' is not a number", 1),
    "one column": ("LA_E_1 1\nLA_E_2\n", "a line needs a trial and a score", 2),
    "a protocol": ("LA_0001 LA_E_1 - - bonafide\n", "'bonafide' is not a number", 1),
    "other label": ("LA_E_1 - spoof 1\n", "the file calls trial 'LA_E_1' spoof, d calls it bonafide", 1),
    "other label, header": ("trial,score,key\nLA_E_2,1,Bona-Fide\n", "trial 'LA_E_2' Bona-Fide, d calls it spoof", 2),
    "short row": ("trial,score,label\nLA_E_1,1\n", "2 columns where the header has 3", 2),
    "other dataset": ("DF_E_1 1\nDF_E_2 2\n", "none of its 2 lines is of a trial of d", None),
    "header alone": ("trial,score\n", "none of its 0 lines", None),
    "empty": ("", "the score file is empty", None),
    "blank": ("\n \n\n", "the score file is empty", None),
    "a field without end": (f'trial,score\nLA_E_1,"{"1" * 200_000}"\n', "not readable as a table", 2),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_refusals(refusal: str, tmp_path: Path) -> None:
    """What cannot be meant is a `DataError` that says what, where, in which line, and what to do."""
    text, what, line = REFUSALS[refusal]
    file = tmp_path / "scores.txt"
    file.write_text(text)
    with pytest.raises(DataError) as caught:
        imports.read_scores(file, LA)
    assert what in caught.value.what
    assert caught.value.where == (f"{file}, line {line}" if line else str(file))
    assert caught.value.remedy


ZIPPED = gzip.compress((PLAIN + "".join(f"other{n} {n}\n" for n in range(999))).encode())
DAMAGED = {
    "cut": ZIPPED[:-12],
    "without checksum": ZIPPED[:-8],
    "corrupted": ZIPPED[:12] + b"\xff" * 8 + ZIPPED[20:],
    "two bytes": b"\x1f\x8b",
    "junk": bytes(range(128, 256)),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_files(damage: str, tmp_path: Path) -> None:
    """A gzip cut short or corrupted and binary junk are refused as unreadable, with the file."""
    file = tmp_path / "scores.gz"
    file.write_bytes(DAMAGED[damage])
    with pytest.raises(DataError, match="not readable") as caught:
        imports.read_scores(file, LA)
    assert caught.value.where == str(file)


def test_places_that_are_no_file(tmp_path: Path) -> None:
    """A file that is not there is wrong usage; a folder is unreadable."""
    with pytest.raises(UsageError, match="no such score file"):
        imports.read_scores(tmp_path / "none", LA)
    with pytest.raises(DataError, match="not readable"):
        imports.read_scores(tmp_path, LA)


def test_lines_of_other_trials_are_noted(tmp_path: Path) -> None:
    """Trials of another phase are left out, and the note counts them."""
    file = tmp_path / "scores"
    file.write_text(PLAIN + "LA_E_4 0\nLA_E_5 0\n")
    scores, notes = imports.read_scores(file, LA)
    assert (scores.tolist(), notes) == (EXPECTED, ["2 lines are of no trial of d and left out"])


# --- what is stored ---------------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.dataset("d", range(6), audio=False)
    return made


def write(world: World, scores: dict[int, float]) -> Path:
    file = world.root / "scores.txt"
    file.write_text("".join(f"{trial} {score!r}\n" for trial, score in scores.items()))
    return file


def test_the_stored_cell(world: World) -> None:
    """An import is a cell like any other, with the file's name and hash, and needs no audio."""
    file = write(world, {n: n % 2 + n / 10 for n in range(6)})
    workspace = world.workspace()
    cell, notes = imports.import_scores(workspace, file, "outside", "d")
    assert (cell.status, cell.detector, cell.dataset, notes) == ("complete", "outside", "d", [])
    assert cell.manifest["imported"] is True
    assert cell.manifest["file"]["name"] == "scores.txt"
    assert len(cell.manifest["file"]["sha256"]) == 64
    assert cell.scores()["score"].tolist() == [n % 2 + n / 10 for n in range(6)]
    assert cell.scores()["trial"].tolist() == [str(n) for n in range(6)]
    found = results.evaluate_cell(workspace.store, cell).metrics
    assert found is not None
    assert found["eer"] == 0


def test_importing_again(world: World) -> None:
    """The same scores, from a file of another form, are the same cell; others make another, which counts."""
    workspace = world.workspace()
    scores = {n: float(n) for n in range(6)}
    first, _ = imports.import_scores(workspace, write(world, scores), "x", "d")
    assert first.path is not None
    before = (first.path / "scores.parquet").read_bytes()
    again, _ = imports.import_scores(world.workspace(), write(world, dict(reversed(scores.items()))), "x", "d")
    assert (again.key, again.status) == (first.key, "complete")
    assert (first.path / "scores.parquet").read_bytes() == before
    assert len(workspace.store.pair("d", "x")) == 1
    other, _ = imports.import_scores(world.workspace(), write(world, scores | {5: 0.5}), "x", "d")
    assert other.key != first.key
    assert [cell.key for cell in workspace.store.current()] == [other.key]


def test_missing_trials(world: World) -> None:
    """A file that lacks trials is refused with their number, and taken with `allow_missing`, as an incomplete cell."""
    file = write(world, {0: 0.0, 1: 1.0, 3: 3.0, 4: 1.5})
    with pytest.raises(DataError, match="2 of 6 trials of d have no score, the first is '2'") as caught:
        imports.import_scores(world.workspace(), file, "x", "d")
    assert "--allow-missing" in str(caught.value.remedy)
    assert not world.results.exists()
    workspace = world.workspace(allow_missing=True)
    cell, _ = imports.import_scores(workspace, file, "x", "d")
    result = results.evaluate_cell(workspace.store, cell)
    assert (cell.status, result.unscored) == ("incomplete", 2)
    assert result.metrics is not None
    assert (result.metrics["n_bonafide"], result.metrics["n_spoof"]) == (2, 2)
    assert cell.scores()["note"].tolist() == ["", "", "not in the score file", "", "", "not in the score file"]


def test_scores_upside_down(world: World) -> None:
    """An AUC below 0.5 is noted; scores of one class alone have no AUC and no note."""
    _, notes = imports.import_scores(world.workspace(), write(world, {n: -(n % 2) for n in range(6)}), "x", "d")
    assert notes == ["AUC is below 0.5: if higher means more spoof in this file, negate the scores and import again"]
    one_class = write(world, {1: 0.0, 3: 1.0})
    assert imports.import_scores(world.workspace(allow_missing=True), one_class, "x", "d")[1] == []


def test_the_card_of_a_known_detector(world: World) -> None:
    """Scores under the name of a card carry what the card tells, but claim none of its weights."""
    cell, _ = imports.import_scores(world.workspace(), write(world, dict.fromkeys(range(6), 0.0)), "aasist", "d")
    assert cell.manifest["detector"]["title"] == "AASIST"
    assert cell.manifest["detector"]["weights"] is None


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "bell\x07", "x" * 201])
def test_names_that_cannot_be(name: str, world: World) -> None:
    """A name that is empty, not printable or too long for a folder is wrong usage, and nothing is stored for it."""
    file = write(world, {n: float(n) for n in range(6)})
    with pytest.raises(UsageError):
        imports.import_scores(world.workspace(), file, name, "d")
    assert not list(files_below(world.results)) or not list(world.results.glob("d/*/"))


def test_datasets_that_are_not_here(world: World) -> None:
    """A dataset nobody knows and one whose list is not here are told before the file is read."""
    errors: list[tuple[str, type[BenchError]]] = [("dd", UsageError), ("itw", Blocked)]
    for name, error in errors:
        with pytest.raises(error):
            imports.import_scores(world.workspace(), world.root / "none", "x", name)
