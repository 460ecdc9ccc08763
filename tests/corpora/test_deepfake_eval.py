"""bench.corpora.deepfake_eval: files and pieces of a split, where they lie, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from bench import audio, corpora
from bench.corpora import deepfake_eval
from bench.errors import Blocked, DataError, UsageError
from bench.inventory import list_datasets
from bench.registry import datasets
from bench.trials import spans
from tests.corpora.conftest import Lay
from tests.tiny import World

DATASETS = datasets()
HEADER = "Filename,Language,Ground Truth,Finetuning Set\n"
ROWS = 'a.mp3,en,Real,Train\nb.wav,"ru, uk",Fake,Test\nc.flac,,real,test\nd.m4a,en,Fake,\n'
LENGTHS = [4, 10, 13, 30, 50]
SIBLINGS = [f"deepfake-eval-2024{part}-{n}s" for part in ("", "-train") for n in LENGTHS]
RATE = 8_000


def listed(rows: str = ROWS, place: str = "deepfake-eval-2024") -> dict[str, str | bytes]:
    return {f"{place}/audio-metadata-publish.csv": HEADER + rows}


def save(root: Path, name: str, seconds: float) -> Path:
    file = root / "deepfake-eval-2024" / "audio-data" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, np.random.default_rng(len(name)).normal(0, 0.1, round(RATE * seconds)), RATE)
    return file


def load(root: Path, name: str = "deepfake-eval-2024", **arguments: Any) -> corpora.Dataset:
    card = DATASETS[name]
    return corpora.load(card.model_copy(update={"arguments": card.arguments | arguments}), root)


def pieces(root: Path, seconds: float, **arguments: Any) -> list[tuple[str, ...]]:
    table = load(root, seconds=seconds, **arguments).trials
    return [tuple(row) for row in table[["trial", "label", "start", "stop"]].itertuples(index=False)]


def test_whole_files_of_a_split(lay: Lay) -> None:
    """By the column `Finetuning Set` in any letter case; ids are stems, whatever the suffix; no audio is needed."""
    root = lay(listed())
    test, train = load(root).trials, load(root, "deepfake-eval-2024-train").trials
    assert dict(zip(test["trial"], test["label"], strict=True)) == {"b": "spoof", "c": "bonafide"}
    assert dict(zip(train["trial"], train["label"], strict=True)) == {"a": "bonafide"}
    assert test["path"].tolist() == [f"{root}/deepfake-eval-2024/audio-data/{name}" for name in ("b.wav", "c.flac")]
    assert "start" not in test


@pytest.mark.parametrize("place", ["deepfake-eval-2024", "Deepfake-Eval-2024", "."])
def test_every_accepted_layout_is_one_dataset(place: str, lay: Lay) -> None:
    """Below the data root under its usual names, or the folder itself given for it."""
    root = lay(listed(place=place) | {f"{place}/audio-data/{name}": "x" for name in ("b.wav", "c.flac")})
    assert corpora.missing_audio(load(root).trials) == []


def test_a_converted_file_is_found_by_its_stem(lay: Lay) -> None:
    """The name in the list goes first; the id is the same either way."""
    folder = "deepfake-eval-2024/audio-data"
    root = lay(listed() | {f"{folder}/{name}": "x" for name in ("b.flac", "b.wav", "c.opus", "c.txt")})
    table = load(root).trials
    assert [Path(path).name for path in table["path"]] == ["b.wav", "c.opus"]
    assert table["trial"].tolist() == ["b", "c"]


def test_files_are_cut_into_consecutive_pieces(lay: Lay) -> None:
    """Pieces of N seconds, the last one to the end of the file and shorter; a shorter file is one piece."""
    root = lay(listed())
    save(root, "b.wav", 2.5)
    save(root, "c.flac", 0.4)
    assert pieces(root, 1) == [
        ("b/1s/0001", "spoof", "0", "1"),
        ("b/1s/0002", "spoof", "1", "2"),
        ("b/1s/0003", "spoof", "2", ""),
        ("c/1s/0001", "bonafide", "0", ""),
    ]
    assert [row[2:] for row in pieces(root, 0.7)][:4] == [("0", "0.7"), ("0.7", "1.4"), ("1.4", "2.1"), ("2.1", "")]
    table = load(root, seconds=1).trials
    found = [audio.decode(path, span)[0] for path, span in zip(table["path"], spans(table), strict=True)]
    whole = [audio.decode(path)[0] for path in dict.fromkeys(table["path"])]
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate(whole))


@given(duration=st.floats(0.001, 400), seconds=st.sampled_from([0.5, *LENGTHS]))
def test_pieces_are_as_many_as_fit(duration: float, seconds: float) -> None:
    """As many as AntiDeepfake's script makes, ceil(duration / N), but a rest below 0.1 s is no piece of its own."""
    ends = list(deepfake_eval._ends(duration, seconds))
    assert [end for _, end in ends] == [begin for begin, _ in ends[1:]] + [""]
    assert [float(begin) for begin, _ in ends] == [seconds * number for number in range(len(ends))]
    rest = duration - seconds * (len(ends) - 1)
    assert rest >= 0.1 - 1e-9 or len(ends) == 1
    assert rest < seconds + 0.1 + 1e-9
    if duration % seconds > 0.1:
        assert len(ends) == math.ceil(duration / seconds)


@pytest.mark.parametrize("suffix", ["mp3", "m4a", "mp4"])
def test_no_piece_is_behind_what_decodes(suffix: str, lay: Lay) -> None:
    """Headers of lossy files are wrong by some hundredths of a second; every piece has samples, and they are all."""
    av = pytest.importorskip("av")
    root = lay(listed(f"b.{suffix},en,Fake,Test\n"))
    folder = root / "deepfake-eval-2024" / "audio-data"
    folder.mkdir()
    for samples in range(RATE * 2 - 900, RATE * 2 + 900, 300):
        wave = np.random.default_rng(samples).normal(0, 3_000, (1, samples)).astype(np.int16)
        with av.open(str(folder / f"b.{suffix}"), "w") as container:
            stream = container.add_stream("mp3" if suffix == "mp3" else "aac", rate=16_000)
            stream.layout = "mono"
            frame = av.AudioFrame.from_ndarray(np.repeat(wave, 2, axis=1), format="s16", layout="mono")
            frame.sample_rate = 16_000
            resampler = av.AudioResampler(stream.format, "mono", 16_000, stream.frame_size or 576)
            for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
                container.mux(stream.encode(piece))
        table = load(root, seconds=0.5).trials
        found = [audio.decode(path, span)[0] for path, span in zip(table["path"], spans(table), strict=True)]
        np.testing.assert_array_equal(np.concatenate(found), audio.decode(table["path"][0])[0])


def test_every_length_is_a_list_of_its_own(lay: Lay) -> None:
    """Ids tell the file, the length and the number: siblings share scores by id, and no two share one here."""
    root = lay(listed("b.wav,en,Real,Test\nb_1s.wav,en,Fake,Test\n1s.wav,en,Fake,Train\n"))
    for name in ("b.wav", "b_1s.wav", "1s.wav"):
        save(root, name, 2.0)
    lists = [load(root, seconds=seconds) for seconds in (None, 0.5, 1, 2)]
    ids = [trial for dataset in lists for trial in dataset.trials["trial"]]
    assert len(set(ids)) == len(ids)
    assert len({dataset.digest for dataset in lists}) == 4


def test_a_missing_file_blocks_its_pieces(lay: Lay) -> None:
    """The list of whole files needs no audio, one of pieces cannot be made without it: why, and the file, is told."""
    root = lay(listed())
    save(root, "c.flac", 1)
    with pytest.raises(Blocked) as caught:
        load(root, "deepfake-eval-2024-4s")
    assert caught.value.what == "the list cannot be cut into pieces: 1 of 2 audio files are missing"
    assert caught.value.where == f"{root}/deepfake-eval-2024/audio-data/b.wav"
    remedy = str(caught.value.remedy)
    assert "nuriachandra/Deepfake-Eval-2024" in remedy and "complete the download: how long a file is tells" in remedy
    assert len(load(root).trials) == 2


def test_a_file_without_a_header_is_told(lay: Lay) -> None:
    """Pieces of it cannot be counted; whole files are left to the scoring pass."""
    root = lay(listed())
    save(root, "c.flac", 1)
    save(root, "b.wav", 1).write_text("no audio")
    with pytest.raises(DataError, match="a file does not tell how long it is: no decoder reads this file") as caught:
        load(root, seconds=1)
    assert caught.value.where == f"{root}/deepfake-eval-2024/audio-data/b.wav"
    assert caught.value.remedy == "it is damaged, cut short or no audio: fetch it again"
    assert len(load(root).trials) == 2


def test_a_header_that_promises_days_is_refused(lay: Lay) -> None:
    """A false number of samples must not become millions of trials."""
    root = lay(listed())
    save(root, "b.wav", 1)
    file = save(root, "c.flac", 1)
    data = bytearray(file.read_bytes())
    data[21] |= 0x0F  # the upper bits of the number of samples in STREAMINFO
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"cut into pieces, a file is said to last [\d,]{9,} s") as caught:
        load(root, seconds=1)
    assert (caught.value.where, caught.value.remedy) == (str(file), "it is damaged: fetch it again")


def test_headers_are_read_once_for_all_lengths(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """`bench list` reads ten lists of pieces; a file that has changed is looked at again."""
    root = lay(listed())
    save(root, "b.wav", 2.5)
    save(root, "c.flac", 1)
    header = Mock(wraps=audio.header)
    monkeypatch.setattr(audio, "header", header)
    for seconds in (1, 2, 0.5, 1):
        pieces(root, seconds)
    assert sorted(Path(given.args[0]).name for given in header.call_args_list) == ["b.wav", "c.flac"]
    save(root, "b.wav", 3.5)
    assert len(pieces(root, 1)) == 4 + 1


@pytest.mark.parametrize(
    ("row", "message", "remedy"),
    [
        ("x.mp3,en,Unknown,Test\n", "unknown label 'Unknown'", "make a card that extends this one with `arguments: {"),
        ("x.mp3,en,,Test\n", "unknown label ''", "correct the row, or make a card"),
        ("x.mp3,en,1,test\n", "unknown label '1'", "correct the row"),
        (
            "x.mp3,en,Real,Validation\n",
            "unknown `Finetuning Set` 'Validation'",
            "write train or test, or leave it empty",
        ),
        ("../x.mp3,en,Real,Test\n", "'../x.mp3' is not a plain file name", "names in this list have no folder"),
        ("/etc/x.mp3,en,Real,Test\n", "'/etc/x.mp3' is not a plain file name", "names in this list have no folder"),
        ("..,en,Real,Test\n", "'..' is not a plain file name", "names in this list have no folder"),
        (",en,Real,Test\n", "'' is not a plain file name", "names in this list have no folder"),
        ("c.mp3,en,Real,Test\n", "trial 'c' is listed twice, first in line 4", "give them different ids"),
        ("x.mp3,en,Real\n", "3 columns instead of the 4 of the header", "a line cut short is a broken download"),
    ],
)
def test_a_bad_row_is_refused_with_file_line_and_remedy(row: str, message: str, remedy: str, lay: Lay) -> None:
    """Labels outside the vocabulary, splits nobody knows, names that climb, two files of one id, a cut line."""
    root = lay(listed(ROWS + row))
    with pytest.raises(DataError) as caught:
        load(root)
    assert caught.value.what == message
    assert caught.value.where == f"{root}/deepfake-eval-2024/audio-metadata-publish.csv, line 6"
    assert remedy in str(caught.value.remedy)


def test_rows_without_a_truth_can_be_left_out(lay: Lay) -> None:
    """By a card that says so, in any letter case; what it does not name is still refused."""
    root = lay(listed(ROWS + "x.mp3,en,Unknown,Test\ny.mp3,en,n/a,Test\n"))
    assert load(root, without=["unknown", "N/A"]).trials["trial"].tolist() == ["b", "c"]
    with pytest.raises(DataError, match="unknown label 'n/a'"):
        load(root, without=["Unknown"])


def test_a_list_without_a_column_is_refused(lay: Lay) -> None:
    """Columns are found by name, in any order."""
    root = lay({"audio-metadata-publish.csv": "finetuning set,ground truth,filename\ntest,fake,b.wav\n"})
    assert load(root).trials["trial"].tolist() == ["b"]
    root = lay({"audio-metadata-publish.csv": "Filename,Ground Truth\nb.wav,Fake\n"})
    with pytest.raises(DataError, match="the header has no column `filename` and `finetuning set` and `ground truth`"):
        load(root)


def test_what_is_not_here_is_blocked_with_what_to_get(lay: Lay) -> None:
    """With every place that was searched, and the steps."""
    with pytest.raises(Blocked, match=r"audio-metadata-publish\.csv is not here") as caught:
        load(lay({}))
    assert "accept the terms" in str(caught.value.remedy)


@pytest.mark.parametrize("seconds", [0, -4, 0.1, math.inf, math.nan, "4"])
def test_what_is_no_length_of_a_piece_is_refused(seconds: Any, lay: Lay) -> None:
    """A number of seconds; shorter pieces than 0.1 s could not be told from the error of a header."""
    with pytest.raises(UsageError, match=r"no piece lasts .* seconds\n  remedy: `seconds` is a number above 0\.1"):
        deepfake_eval.read(lay(listed()), split="test", places=["deepfake-eval-2024"], seconds=seconds)
    with pytest.raises(UsageError, match="no split of Deepfake-Eval-2024 is called 'eval'"):
        load(lay(listed()), split="eval")


def test_the_cards() -> None:
    """Two lists of files and five lengths of pieces of each, siblings of one corpus that is in no `all`."""
    family = {name: card for name, card in DATASETS.cards.items() if name.startswith("deepfake-eval-2024")}
    assert set(family) == {"deepfake-eval-2024", "deepfake-eval-2024-train", *SIBLINGS}
    assert not any(card.listed for card in family.values())
    for name, card in family.items():
        assert card.sibling_of == (None if name == "deepfake-eval-2024" else "deepfake-eval-2024")
        assert card.arguments["split"] == ("train" if "train" in name else "test")
        assert card.arguments.get("seconds") == (int(name.rpartition("-")[2][:-1]) if name in SIBLINGS else None)
        assert any("accepted its terms" in notice for notice in card.notices)


def test_bench_list_tells_what_is_missing(tmp_path: Path) -> None:
    """Files are listed without audio; pieces wait for it, with the steps."""
    world = World(tmp_path)
    (world.data / "deepfake-eval-2024").mkdir()
    (world.data / "deepfake-eval-2024" / "audio-metadata-publish.csv").write_text(HEADER + ROWS)
    entries = {entry.name: entry for entry in list_datasets(world.workspace(cards=None))}
    assert entries["deepfake-eval-2024"].state == "no audio"
    assert entries["deepfake-eval-2024-4s"].state == "missing"
    assert entries["deepfake-eval-2024-4s"].reason.startswith("the list cannot be cut into pieces: 2 of 2")
