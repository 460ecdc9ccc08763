"""Features of frozen encoders: who shares them, what a kill, a damaged disk or another process may do, their room."""

from __future__ import annotations

import copy
import errno
import fcntl
import json
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench import audio
from bench.cards import AudioRecipe
from bench.errors import AudioError, StoreError
from bench.models import wav2vec2
from bench.models.wav2vec2 import Backbone, Reading, architecture
from bench.progress import Silent
from bench.recipes import Stage
from bench.training import features, tables
from bench.training.features import Features, constant, kept
from bench.training.loading import Clips
from bench.trials import digest, validate

TINY: dict[str, Any] = {
    "layers": 3,
    "width": 16,
    "feed_forward": 16,
    "heads": 2,
    "conv_width": 4,
    "taps": 4,
    "groups": 2,
}
WINDOW = AudioRecipe(window="pad", samples=1200, epsilon=1e-7)  # 3 frames
ROWS, SIZE = 10, 4  # utterances, and how many of them a forward pass: batches of 4, 4 and 2
ROW = 4 * 3 * TINY["width"]  # bytes
MANY = 1 << 30


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Ten files of noise, some shorter than the window and some longer."""
    return write_noise(tmp_path_factory.mktemp("audio"))


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return encoder()


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each forward pass of any reading."""
    rows: list[int] = []
    real = Reading.__call__

    def counted(self: Reading, wave: Tensor) -> Tensor:
        rows.append(len(wave))
        return real(self, wave)

    monkeypatch.setattr(Reading, "__call__", counted)
    return rows


class Told(Silent):
    """What a display is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.begun: list[tuple[str, int]] = []
        self.done = self.ended = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, what: str, total: int) -> None:
        self.begun.append((what, total))

    def advance(self, count: int) -> None:
        self.done += count

    def end(self) -> None:
        self.ended += 1


class Halt(Told):
    """Ends the work at a batch."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def advance(self, count: int) -> None:
        super().advance(count)
        if self.done > self.at:
            raise KeyboardInterrupt


def write_noise(folder: Path, rows: int = ROWS) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    for row in range(rows):
        soundfile.write(folder / f"{row}.wav", generator.uniform(-0.5, 0.5, 1000 + 50 * row), 16_000)
    ids = [f"t{row}" for row in range(rows)]
    paths = [str(folder / f"{row}.wav") for row in range(rows)]
    return validate(pd.DataFrame({"trial": ids, "path": paths, "label": "bonafide"}), "list")


def encoder(layers: int | None = None, **changes: Any) -> Backbone:
    built = Backbone({**TINY, **changes}, layers)
    built.initialise(0)
    return built.eval()


def keep(
    folder: Path, readings: Sequence[Reading], trials: pd.DataFrame, recipe: AudioRecipe = WINDOW, **changes: Any
) -> Features | None:
    clips = Clips(trials, recipe)
    options: dict[str, Any] = {"limit": MANY, "batch_size": SIZE, "workers": 0, "display": Silent(), **changes}
    told, files = options.pop("digest", digest(trials)), options.pop("files", None)
    return kept(folder, readings, clips, told, files, device=torch.device("cpu"), **options)


def got(found: Features | None, rows: Sequence[int] = range(ROWS)) -> tuple[Tensor, ...]:
    """Rows of kept features, which others may remove from then on."""
    assert found is not None
    values = found.read(np.array(rows))
    found.close()
    return values


def values_file(folder: Path) -> Path:
    (place,) = folder.glob("*/features.f32")
    return place


def listed(folder: Path) -> set[str]:
    """The names of the folders that hold features."""
    return {place.parent.name for place in folder.glob("*/features.f32")}


def direct(reading: Reading, trials: pd.DataFrame) -> Tensor:
    """The values of the whole list, in the same batches, without the cache or the loader."""
    wave = torch.from_numpy(np.stack([audio.prepare(path, WINDOW).wave for path in trials["path"]]))
    with torch.no_grad():
        return torch.cat([reading(rows) for rows in torch.split(wave, SIZE)])


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_the_values_are_those_of_a_forward_pass_bit_for_bit(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone
) -> None:
    """Of every reading in its order, rows in any order and as often as wanted, float32 (n, frames, width)."""
    readings = [Reading(backbone), Reading(backbone, (1, 2)), Reading(backbone, (0, 0))]
    found = keep(tmp_path, readings, trials)
    assert found is not None
    rows = np.array([7, 0, 9, 7, 3])
    for reading, values in zip(readings, found.read(rows), strict=True):
        assert (values.shape, values.dtype) == ((5, 3, TINY["width"]), torch.float32)
        assert torch.equal(values, direct(reading, trials)[rows])
    assert found.read(np.array([], dtype=int))[0].shape == (0, 3, TINY["width"])


def test_they_are_computed_once(tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, passes: list[int]) -> None:
    """Of two readings only the one that is not there yet; a file is decoded once for both."""
    told = Told()
    one, two = Reading(backbone, (0, 1)), Reading(backbone)
    first = got(keep(tmp_path, [one], trials, display=told))
    assert (passes, told.done) == ([4, 4, 2], ROWS)
    written = (values_file(tmp_path).parent / "rows.u64").stat().st_mtime_ns
    both = got(keep(tmp_path, [two, one], trials, display=told))
    assert (passes[3:], told.done) == ([4, 4, 2], 2 * ROWS)
    assert written in [place.stat().st_mtime_ns for place in tmp_path.glob("*/rows.u64")]
    again = got(keep(tmp_path, [one, two], trials, display=told))
    assert (len(passes), len(told.begun)) == (6, 2)
    assert torch.equal(first[0], both[1])
    assert torch.equal(again[0], both[1])
    assert torch.equal(again[1], both[0])


def test_one_reading_that_is_wanted_twice_is_one(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, passes: list[int]
) -> None:
    """Two encoders that are equal, as two random ones of one seed are, share the values and not the tensors."""
    left, right = got(keep(tmp_path, [Reading(backbone), Reading(encoder())], trials))
    assert passes == [4, 4, 2]
    assert torch.equal(left, right)
    assert left.data_ptr() != right.data_ptr()


def test_the_display_says_what_of_which_list(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A size that has a name is called so, also where not all of its blocks are built."""
    monkeypatch.setitem(wav2vec2.SIZES, "tiny", architecture(TINY))
    told = Told()
    got(keep(tmp_path, [Reading(encoder(layers=2), (0, 1)), Reading(backbone)], trials, display=told, name="la-train"))
    got(keep(tmp_path, [Reading(encoder(taps=8), (1, 1))], trials, display=told))
    assert told.begun == [
        ("features of tiny (blocks 0 to 1) and tiny (last hidden state): la-train", ROWS),
        (f"features of a backbone of width {TINY['width']} (block 1)", ROWS),
    ]
    assert told.notes == []


def test_decode_processes_change_nothing(tmp_path: Path, trials: pd.DataFrame, backbone: Backbone) -> None:
    """The bytes are those of decoding in this process."""
    for name, workers in (("here", 0), ("there", 2)):
        got(keep(tmp_path / name, [Reading(backbone)], trials, workers=workers))
    assert values_file(tmp_path / "here").read_bytes() == values_file(tmp_path / "there").read_bytes()


def test_the_folder_tells_what_it_holds(tmp_path: Path, trials: pd.DataFrame, backbone: Backbone) -> None:
    """about.json has all that the key is made of, and versions and hardware, which are no part of it."""
    got(keep(tmp_path, [Reading(backbone, (0, 1))], trials, files="f"))
    (place,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert sorted(path.name for path in place.iterdir()) == ["about.json", "features.f32", "lock", "rows.u64"]
    told = json.loads((place / "about.json").read_text())
    assert place.name == told["key"][:12]
    assert told["architecture"] == {**TINY, "layers": 2, "conv_bias": True, "group_norm": False}
    assert (told["layers"], told["list"], told["files"]) == ([0, 1], digest(trials), "f")
    assert (told["audio"], told["batch_size"]) == (WINDOW.model_dump(), SIZE)
    assert {"versions", "hardware", "weights", "trials", "version"} < told.keys()


# --- what shares them -------------------------------------------------------------------------------------------------


def test_backbones_that_differ_behind_the_last_block_needed_share(
    tmp_path: Path, trials: pd.DataFrame, passes: list[int]
) -> None:
    """A detector that builds two blocks and one that fine-tuned the third read the same; the mask does not matter."""
    cut, tuned = encoder(layers=2), encoder()
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if not name.startswith("encoder.layers.2.") and not name.startswith("encoder.layer_norm."):
                parameter.copy_(cut.state_dict()[name])
        tuned.masked_spec_embed.add_(1)
    for backbone in (cut, tuned, cut):
        got(keep(tmp_path, [Reading(backbone, (0, 1))], trials))
    assert passes == [4, 4, 2]


@pytest.mark.parametrize("shared", [True, False])
def test_the_final_norm_matters_only_where_it_is_used(
    tmp_path: Path, trials: pd.DataFrame, passes: list[int], shared: bool
) -> None:
    """Not for the mean of blocks of a pre-norm model; for the last hidden state, and for blocks of a post-norm one."""
    plain, other = (encoder(group_norm=not shared) for _ in range(2))
    other.encoder.layer_norm.weight.data.add_(1)
    for backbone in (plain, other):
        got(keep(tmp_path, [Reading(backbone, (0, 2))], trials))
    assert len(passes) == (3 if shared else 6)
    for backbone in (plain, other):
        got(keep(tmp_path, [Reading(backbone)], trials))
    assert len(passes) == (9 if shared else 12)


USED = [name for name in encoder().state_dict() if name != "masked_spec_embed"]


@settings(max_examples=10, deadline=None)
@given(name=st.sampled_from(USED), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 31))
def test_one_bit_of_one_weight_makes_other_features(
    tmp_path_factory: pytest.TempPathFactory,
    trials: pd.DataFrame,
    backbone: Backbone,
    name: str,
    place: float,
    bit: int,
) -> None:
    """Whatever tensor it is in."""
    folder = tmp_path_factory.mktemp("features")
    changed = copy.deepcopy(backbone)
    flat = changed.state_dict()[name].reshape(-1).view(torch.int32)
    flat[int(place * len(flat))] ^= -(1 << 31) if bit == 31 else 1 << bit
    for each in (backbone, changed):
        keep(folder, [Reading(each)], trials[:1])
    assert len(list(folder.glob("*/features.f32"))) == 2


def swapped(trials: pd.DataFrame) -> pd.DataFrame:
    return trials.iloc[[1, 0, *range(2, ROWS)]].reset_index(drop=True)


CHANGES: dict[str, Callable[[pd.DataFrame], dict[str, Any]]] = {
    "nothing": lambda trials: {},
    "layers": lambda trials: {"layers": (0, 1)},
    "one layer": lambda trials: {"layers": (1, 1)},
    "type": lambda trials: {"backbone": encoder().bfloat16()},
    "heads": lambda trials: {"backbone": encoder(heads=4)},
    "blocks": lambda trials: {"backbone": encoder(layers=2)},
    "window": lambda trials: {"recipe": WINDOW.model_copy(update={"window": "tile"})},
    "samples": lambda trials: {"recipe": WINDOW.model_copy(update={"samples": 1201})},
    "normalisation": lambda trials: {"recipe": WINDOW.model_copy(update={"epsilon": 1e-5})},
    "list": lambda trials: {"digest": "another"},
    "files": lambda trials: {"files": "touched"},
    "order": lambda trials: {"trials": swapped(trials)},
    "part": lambda trials: {"trials": trials[:9], "digest": digest(trials)},
    "place": lambda trials: {"trials": trials.assign(path=trials["path"].iloc[::-1].tolist())},
    "pieces": lambda trials: {"trials": trials.assign(start="", stop="0.05")},
    "other pieces": lambda trials: {"trials": trials.assign(start="", stop="0.06")},
    "batch": lambda trials: {"batch_size": 5},
}


def test_features_are_shared_only_where_nothing_differs(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone
) -> None:
    """Layers, sizes, type, window, list, order, files, pieces or batch: each makes a folder of its own, used again."""
    variants = {change: make(trials) for change, make in CHANGES.items()}
    keys: dict[str, set[str]] = {}
    for _ in range(2):
        for change, changes in variants.items():
            before = listed(tmp_path)
            options = {"backbone": backbone, "layers": None, "trials": trials, **changes}
            reading = Reading(options.pop("backbone"), options.pop("layers"))
            got(keep(tmp_path, [reading], options.pop("trials"), **options), [0])
            keys.setdefault(change, set()).update(listed(tmp_path) - before)
    assert {change: len(made) for change, made in keys.items()} == dict.fromkeys(CHANGES, 1)


def test_a_relative_place_is_its_absolute_one(
    tmp_path: Path, backbone: Backbone, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same files named from another working folder are the same list; equal names elsewhere are another."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        trials = write_noise(tmp_path / folder, 2)
    relative = trials.assign(path=[f"{row}.wav" for row in range(2)])
    monkeypatch.chdir(tmp_path / "two")
    for rows in (trials, relative):
        got(keep(tmp_path / "features", [Reading(backbone)], rows), [0])
    assert len(passes) == 1
    monkeypatch.chdir(tmp_path / "one")
    got(keep(tmp_path / "features", [Reading(backbone)], relative), [0])
    assert len(passes) == 2


# --- interrupted ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, trials: pd.DataFrame, backbone: Backbone) -> bytes:
    """The bytes of the last hidden state, kept in one go."""
    folder = tmp_path_factory.mktemp("undisturbed")
    got(keep(folder, [Reading(backbone)], trials))
    return values_file(folder).read_bytes()


@pytest.mark.parametrize("at", [0, 4, 8])
def test_what_is_interrupted_goes_on_where_it_was(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, passes: list[int], undisturbed: bytes, at: int
) -> None:
    """Ctrl-C behind any batch: nothing is lost, only the rest is computed, the bytes are those of one go."""
    halted = Halt(at)
    with pytest.raises(KeyboardInterrupt):
        keep(tmp_path, [Reading(backbone)], trials, display=halted)
    done = len(passes)
    assert (done, halted.ended) == (at // SIZE + 1, 1)
    told = Told()
    values = got(keep(tmp_path, [Reading(backbone)], trials, display=told))
    assert [total for _, total in told.begun] == ([ROWS - SIZE * done] if done < 3 else [])
    assert passes == [4, 4, 2]
    assert values_file(tmp_path).read_bytes() == undisturbed == values[0].numpy().tobytes()


def test_of_two_readings_each_goes_on_where_it_was(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, passes: list[int]
) -> None:
    """The first batch is there of one of them, and is computed for the other alone."""
    one, two = Reading(backbone), Reading(backbone, (0, 1))
    with pytest.raises(KeyboardInterrupt):
        keep(tmp_path, [one], trials, display=Halt(0))
    values = got(keep(tmp_path, [one, two], trials))
    assert passes == [4, 4, 4, 4, 2, 2]
    assert torch.equal(values[0], direct(one, trials))
    assert torch.equal(values[1], direct(two, trials))


def fill_slowly(folder: Path, trials: pd.DataFrame, log: Path) -> None:
    """In a process of its own, to be killed: the number of rows of a batch into the log, and some time."""
    torch.set_num_threads(1)
    features.FLUSH_SECONDS = 0.0

    class Slow(Silent):
        def advance(self, count: int) -> None:
            with log.open("a") as file:
                file.write(f"{count}\n")
            time.sleep(0.03)

    keep(folder, [Reading(encoder())], trials, batch_size=2, display=Slow())


def test_killed_at_any_moment_it_goes_on(tmp_path: Path, backbone: Backbone, passes: list[int]) -> None:
    """SIGKILL, again and again: at most the batch at work is computed twice, and the bytes are those of one go."""
    (tmp_path / "audio").mkdir()
    rows, batches, kills = range(80), 40, 0
    trials, log, moments = write_noise(tmp_path / "audio", len(rows)), tmp_path / "log", random.Random(2)
    log.touch()
    for _ in range(5):
        before = log.read_text()
        process = multiprocessing.get_context("fork").Process(
            target=fill_slowly, args=(tmp_path / "killed", trials, log)
        )
        process.start()
        while log.read_text() == before and process.is_alive():
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.09))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    computed = len(log.read_text().split())
    killed = got(keep(tmp_path / "killed", [Reading(backbone)], trials, batch_size=2), rows)
    assert kills
    assert batches <= computed + len(passes) <= batches + kills, "every kill loses one batch at most"
    whole = got(keep(tmp_path / "whole", [Reading(backbone)], trials, batch_size=2), rows)
    assert torch.equal(killed[0], whole[0])
    assert values_file(tmp_path / "killed").read_bytes() == values_file(tmp_path / "whole").read_bytes()


def test_a_row_counts_only_once_it_is_on_the_disk(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the bytes of a row and the note that it is there lies a flush of the file: a power cut tells no lie."""
    calls: list[tuple[str, int, int]] = []  # what, first row, rows
    write, sync = os.pwrite, os.fsync

    def pwrite(file: int, content: memoryview, offset: int) -> int:
        what = Path(f"/proc/self/fd/{file}").readlink().name
        size = ROW if what == "features.f32" else 8
        calls.append((what, offset // size, len(content) // size))
        return write(file, content, offset)

    def fsync(file: int) -> None:
        calls.append((f"flush of {Path(f'/proc/self/fd/{file}').readlink().name}", 0, 0))
        sync(file)

    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(features, "FLUSH_SECONDS", 0.0)
    got(keep(tmp_path, [Reading(backbone)], trials))
    assert calls.pop(0) == ("rows.u64", 0, ROWS)  # all of them zero
    flush = ("flush of features.f32", 0, 0)
    expected = [[("features.f32", *rows), flush, ("rows.u64", *rows)] for rows in ((0, 4), (4, 4), (8, 2))]
    assert [call for call in calls if call != flush] == [call for batch in expected for call in batch if call != flush]
    for batch in expected:
        assert flush in calls[calls.index(batch[0]) : calls.index(batch[2])]


def test_a_file_that_cannot_be_decoded_is_told_and_the_rest_is_kept(
    tmp_path: Path, backbone: Backbone, passes: list[int]
) -> None:
    """The error is that of the file; mended, the batches before it are not computed again."""
    trials = write_noise(tmp_path)
    content = (tmp_path / "6.wav").read_bytes()
    (tmp_path / "6.wav").write_text("no audio")
    with pytest.raises(AudioError, match=r"(?s)no decoder reads this file.*6\.wav"):
        keep(tmp_path / "features", [Reading(backbone)], trials)
    (tmp_path / "6.wav").write_bytes(content)
    got(keep(tmp_path / "features", [Reading(backbone)], trials))
    assert passes == [4, 4, 2]


# --- damaged ----------------------------------------------------------------------------------------------------------


def damage(place: Path, *rows: int) -> None:
    """One bit of each row."""
    content = bytearray(place.read_bytes())
    for row in rows:
        content[row * ROW + 7] ^= 4
    place.write_bytes(content)


def test_a_damaged_row_is_an_error_and_computed_again(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, passes: list[int], undisturbed: bytes
) -> None:
    """Never given out; the error counts all that is damaged, and the next run computes their batches alone."""
    found = keep(tmp_path, [Reading(backbone)], trials)
    assert found is not None
    found.read(np.array([7]))
    place = values_file(tmp_path)
    damage(place, 5, 7, 9)
    assert torch.equal(found.read(np.array([4, 8]))[0], direct(Reading(backbone), trials)[[4, 8]])
    del passes[:]
    with pytest.raises(StoreError) as error:
        found.read(np.array([0, 9, 4]))
    assert str(error.value) == (
        f"3 of 10 rows of kept features are not what was written\n  where: {place}\n"
        "  remedy: run the same command again: they are computed anew; if they are damaged again, doubt the disk"
    )
    assert passes == []
    got(keep(tmp_path, [Reading(backbone)], trials))
    assert passes == [4, 2]
    assert place.read_bytes() == undisturbed


def test_a_row_is_checked_once_by_a_process(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it is first read: a checksum an epoch would cost more than the disk."""
    got(keep(tmp_path, [Reading(backbone)], trials))
    sums: list[int] = []
    real = zlib.crc32

    def crc32(content: memoryview) -> int:
        sums.append(content.nbytes)
        return real(content)

    monkeypatch.setattr(zlib, "crc32", crc32)
    found = keep(tmp_path, [Reading(backbone)], trials)
    assert found is not None
    for _ in range(3):
        found.read(np.array([3, 1, 3]))
    assert sums == [ROW, ROW]


@pytest.mark.parametrize(("size", "computed"), [(0, [4, 4, 2]), (5 * ROW - 1, [4, 2]), (8 * ROW, [2])])
def test_a_file_that_was_cut_is_made_whole(
    tmp_path: Path,
    trials: pd.DataFrame,
    backbone: Backbone,
    passes: list[int],
    undisturbed: bytes,
    size: int,
    computed: list[int],
) -> None:
    """The batches that it does not hold whole are computed again."""
    got(keep(tmp_path, [Reading(backbone)], trials))
    os.truncate(values_file(tmp_path), size)
    del passes[:]
    got(keep(tmp_path, [Reading(backbone)], trials))
    assert passes == computed
    assert values_file(tmp_path).read_bytes() == undisturbed


def test_a_file_that_is_cut_while_it_is_read_is_an_error(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, passes: list[int]
) -> None:
    """Also for rows that were read before; a file in memory would end the process instead."""
    found = keep(tmp_path, [Reading(backbone)], trials)
    assert found is not None
    found.read(np.arange(ROWS))
    os.truncate(values_file(tmp_path), 9 * ROW)
    found.read(np.arange(9))
    with pytest.raises(StoreError, match="1 of 10 rows of kept features are not what was written"):
        found.read(np.array([9]))
    del passes[:]
    got(keep(tmp_path, [Reading(backbone)], trials))
    assert passes == [2]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("about.json", b'{"key": "0123"}'),
        ("about.json", b"[1]"),
        ("about.json", b"\xff{"),
        ("about.json", b"[" * 100_000),
        ("rows.u64", b"\x01" * (8 * ROWS - 1)),
        ("rows.u64", b"\x01" * (8 * ROWS + 1)),
    ],
)
def test_what_is_not_of_this_key_is_computed_anew(
    tmp_path: Path,
    trials: pd.DataFrame,
    backbone: Backbone,
    passes: list[int],
    undisturbed: bytes,
    file: str,
    content: bytes,
) -> None:
    """Of a key that begins alike, of another version, or garbage: never read as values."""
    got(keep(tmp_path, [Reading(backbone)], trials))
    place = values_file(tmp_path)
    (place.parent / file).write_bytes(content)
    del passes[:]
    for _ in range(2):
        got(keep(tmp_path, [Reading(backbone)], trials))
    assert passes == [4, 4, 2]
    assert place.read_bytes() == undisturbed


def test_a_foreign_file_of_the_right_size_is_found_out_at_once(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, passes: list[int], undisturbed: bytes
) -> None:
    """One error for all of its rows, one run that makes it whole."""
    got(keep(tmp_path, [Reading(backbone)], trials))
    place = values_file(tmp_path)
    place.write_bytes(bytes(len(undisturbed)))
    with pytest.raises(StoreError, match="10 of 10 rows of kept features are not what was written"):
        got(keep(tmp_path, [Reading(backbone)], trials), [3])
    got(keep(tmp_path, [Reading(backbone)], trials))
    assert place.read_bytes() == undisturbed


# --- room -------------------------------------------------------------------------------------------------------------

TABLE = ROWS * ROW  # bytes of one reading on the list
NAME = f"features of a backbone of width {TINY['width']} (last hidden state): not kept but computed in each epoch; "


@pytest.fixture
def three(tmp_path: Path, trials: pd.DataFrame, backbone: Backbone) -> list[str]:
    """Keys of features of three lists; the second was used longest ago, then the third."""
    keys: list[str] = []
    for number in range(3):
        got(keep(tmp_path, [Reading(backbone)], trials, digest=f"list {number}"))
        (key,) = listed(tmp_path) - set(keys)
        keys.append(key)
    for number, seconds in ((1, 100), (2, 200), (0, 300)):
        os.utime(tmp_path / keys[number] / "lock", (seconds, seconds))
    return keys


@pytest.mark.parametrize(("tables", "left"), [(4, [0, 1, 2]), (3, [0, 2]), (2, [0]), (1, [])])
def test_what_was_not_used_for_longest_makes_room(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, three: list[str], tables: int, left: list[int]
) -> None:
    """As many as the limit asks for, and nothing of them is left behind."""
    told = Told()
    got(keep(tmp_path, [Reading(backbone)], trials, limit=tables * TABLE, display=told))
    kept_keys = {three[number] for number in left}
    assert listed(tmp_path) & set(three) == kept_keys
    assert len(list(tmp_path.glob("*/"))) == len(left) + 1
    assert told.notes == []


def test_the_lock_of_what_is_removed_goes_last(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who finds no lock there, or another one, finds nothing else that is about to be removed."""
    removed: list[str] = []
    real = Path.unlink

    def unlink(place: Path, missing_ok: bool = False) -> None:
        if place.parent.name == three[1]:
            removed.append(place.name)
        real(place, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    got(keep(tmp_path, [Reading(backbone)], trials, limit=3 * TABLE))
    assert (len(removed), removed[-1]) == (4, "lock")


def test_a_hit_is_a_use(tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, three: list[str]) -> None:
    """What was read again stays longer than what was made later."""
    got(keep(tmp_path, [Reading(backbone)], trials, digest="list 1"))
    got(keep(tmp_path, [Reading(backbone)], trials, limit=3 * TABLE))
    assert listed(tmp_path) & set(three) == {three[0], three[1]}


def test_what_is_there_is_used_whatever_the_limit(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, three: list[str], passes: list[int]
) -> None:
    """A limit is for what begins; nothing is removed for a hit."""
    got(keep(tmp_path, [Reading(backbone)], trials, digest="list 1", limit=0))
    assert (listed(tmp_path), passes) == (set(three), [])


def test_what_is_in_use_is_never_removed(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, three: list[str]
) -> None:
    """Not even where it was not used for longest; closed, or gone, it is."""
    used = keep(tmp_path, [Reading(backbone)], trials, digest="list 1")
    os.utime(tmp_path / three[1] / "lock", (100, 100))
    got(keep(tmp_path, [Reading(backbone)], trials, limit=2 * TABLE))
    assert listed(tmp_path) & set(three) == {three[1]}
    assert used is not None
    used.read(np.arange(ROWS))
    del used
    got(keep(tmp_path, [Reading(backbone)], trials, digest="list 3", limit=TABLE))
    assert not listed(tmp_path) & set(three)


def test_what_does_not_fit_is_told_with_the_numbers_and_costs_nothing(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, three: list[str], passes: list[int]
) -> None:
    """None, nothing is computed, removed or left behind; also where of two readings one would fit, or is there."""
    used = keep(tmp_path, [Reading(backbone)], trials, digest="list 0")
    before, told = sorted(tmp_path.rglob("*")), Told()
    assert keep(tmp_path, [Reading(backbone)], trials, limit=2 * TABLE - 1, display=told) is None
    assert keep(tmp_path, [Reading(backbone)], trials, limit=TABLE - 1, display=told) is None
    both = [Reading(backbone), Reading(backbone, (0, 1))]
    assert keep(tmp_path, both, trials, limit=3 * TABLE - 1, display=told) is None
    assert told.notes[:2] == [
        f"{NAME}1.9 kB do not fit into the limit of 3.8 kB, of which 1.9 kB are in use",
        f"{NAME}1.9 kB do not fit into the limit of 1.9 kB, of which 1.9 kB are in use",
    ]
    assert told.notes[2].endswith("3.8 kB do not fit into the limit of 5.8 kB, of which 1.9 kB are in use")
    assert (sorted(tmp_path.rglob("*")), passes) == (before, [])
    del used
    assert keep(tmp_path, [Reading(backbone)], trials, limit=TABLE - 1, display=told) is None
    assert told.notes[3] == f"{NAME}1.9 kB do not fit into the limit of 1.9 kB"
    assert keep(tmp_path, both, trials, digest="list 1", limit=2 * TABLE - 1) is None
    assert sorted(tmp_path.rglob("*")) == before


class Usage(NamedTuple):
    free: int


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """So many bytes of the disk are free beside those that stay free."""
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(count + tables.SPARE))


def test_a_disk_without_the_room_is_told(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is needed, what is left and what stays free; one byte more, and it is kept."""
    told = Told()
    for count in (TABLE - 1, -1):
        free(monkeypatch, count)
        assert keep(tmp_path, [Reading(backbone)], trials, display=told) is None
    told_of = "1.9 kB do not fit on the disk beside the 1.1 GB that stay free"
    assert told.notes == [f"{NAME}{told_of}: 1.9 kB are left", f"{NAME}{told_of}: 0 bytes are left"]
    assert listed(tmp_path) == set()
    free(monkeypatch, TABLE)
    assert keep(tmp_path, [Reading(backbone)], trials, display=told) is not None


def test_a_disk_without_the_room_is_given_some(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are removed for it, too, the one first that was not used for longest."""
    free(monkeypatch, TABLE - 2)
    got(keep(tmp_path, [Reading(backbone)], trials))
    assert listed(tmp_path) & set(three) == {three[0], three[2]}


def test_what_is_begun_takes_its_room_only_once(
    tmp_path: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an interrupted one has written needs no more room of the disk; all of it counts for the limit of others."""
    (tmp_path / "audio").mkdir()
    trials = write_noise(tmp_path / "audio", 64)  # 12 kB, three blocks of the disk
    with pytest.raises(KeyboardInterrupt):
        keep(tmp_path, [Reading(backbone)], trials, display=Halt(15), digest="begun")
    size = 64 * ROW
    place = values_file(tmp_path)
    assert place.stat().st_size == size
    taken = 512 * place.stat().st_blocks
    assert 0 < taken < size
    told = Told()
    with (place.parent / "lock").open() as used:
        fcntl.flock(used, fcntl.LOCK_SH)
        assert keep(tmp_path, [Reading(backbone)], trials, limit=2 * size - 1, display=told) is None
    assert told.notes == [f"{NAME}12.3 kB do not fit into the limit of 24.6 kB, of which 12.3 kB are in use"]
    free(monkeypatch, size - taken - 1)
    assert keep(tmp_path, [Reading(backbone)], trials, digest="begun") is None
    free(monkeypatch, size - taken)
    assert keep(tmp_path, [Reading(backbone)], trials, digest="begun") is not None


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_disk_that_fills_up_meanwhile_loses_nothing(
    tmp_path: Path,
    trials: pd.DataFrame,
    backbone: Backbone,
    passes: list[int],
    undisturbed: bytes,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
) -> None:
    """An error in the words of the store; run again, the batches before it are there."""
    real, full = os.pwrite, SIZE * at * ROW + 100  # the disk takes a hundred bytes of batch `at`

    def pwrite(file: int, content: memoryview, offset: int) -> int:
        if len(content) < ROW:  # of rows.u64
            return real(file, content, offset)
        if offset == full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, content[: full - offset], offset)

    told = Told()
    with monkeypatch.context() as patch, pytest.raises(StoreError) as error:
        patch.setattr(os, "pwrite", pwrite)
        keep(tmp_path, [Reading(backbone)], trials, display=told)
    assert str(error.value) == (
        f"cannot be written: No space left on device\n  where: {values_file(tmp_path).parent}\n"
        "  remedy: free some space and run the same command again: nothing written so far is lost"
    )
    assert told.done == SIZE * at
    del passes[:]
    got(keep(tmp_path, [Reading(backbone)], trials))
    assert passes == [4, 4, 2][at:]
    assert values_file(tmp_path).read_bytes() == undisturbed


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, trials: pd.DataFrame, backbone: Backbone) -> None:
    """Here a file is in its place."""
    (tmp_path / "features").touch()
    with pytest.raises(StoreError, match=r"(?s)cannot be written: .*remedy: choose a folder you may write to"):
        keep(tmp_path / "features", [Reading(backbone)], trials)


def test_only_features_are_removed(tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, three: list[str]) -> None:
    """Not what else may lie in the folder: another name, no lock, a file."""
    strangers = [tmp_path / "mine" / "features.f32", tmp_path / ("0" * 12) / "features.f32", tmp_path / ("1" * 12)]
    for stranger in strangers:
        stranger.parent.mkdir(exist_ok=True)
        stranger.write_bytes(bytes(TABLE))
    (strangers[0].parent / "lock").touch()
    got(keep(tmp_path, [Reading(backbone)], trials, limit=TABLE))
    assert all(stranger.exists() for stranger in strangers)
    assert not listed(tmp_path) & set(three)


# --- other processes --------------------------------------------------------------------------------------------------


class Pausing(Told):
    """Waits behind the first batch until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.paused, self.go = threading.Event(), threading.Event()

    def advance(self, count: int) -> None:
        super().advance(count)
        self.paused.set()
        assert self.go.wait(10)


class Noting(Told):
    """Tells when there is something to note."""

    def __init__(self) -> None:
        super().__init__()
        self.noted = threading.Event()

    def note(self, text: str) -> None:
        super().note(text)
        self.noted.set()


def in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Locks belong to open files, so a thread stands for another process."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    return thread, results


def test_who_needs_what_another_process_computes_waits_for_it(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, passes: list[int]
) -> None:
    """A note says so; it is computed once, and then read by both."""
    first, second = Pausing(), Noting()
    filling, one = in_thread(lambda: keep(tmp_path, [Reading(backbone)], trials, display=first))
    assert first.paused.wait(10)
    waiting, two = in_thread(lambda: keep(tmp_path, [Reading(backbone)], trials, display=second))
    assert second.noted.wait(10)
    assert two == []
    first.go.set()
    filling.join(10)
    waiting.join(10)
    title = f"features of a backbone of width {TINY['width']} (last hidden state)"
    assert second.notes == [f"{title}: another process is computing them, waiting for it"]
    assert (first.done, second.begun, passes) == (ROWS, [], [4, 4, 2])
    assert torch.equal(one[0].read(np.arange(ROWS))[0], two[0].read(np.arange(ROWS))[0])


def test_readings_are_locked_in_one_order(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However a detector orders them, or two processes might wait for each other."""
    places: list[str] = []
    real = tables.open_table

    def opened(folder: Path, about: Mapping[str, Any], *others: Any) -> Any:
        places.append(about["key"])
        return real(folder, about, *others)

    monkeypatch.setattr(features, "open_table", opened)
    readings = [Reading(backbone, (0, last)) for last in range(3)]
    for order in (readings, readings[::-1]):
        got(keep(tmp_path, order, trials))
    assert places[:3] == places[3:] == sorted(places[:3])


def test_what_others_completed_while_it_was_waited_for_is_read_together_with_them(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, passes: list[int]
) -> None:
    """Also by a process that was about to compute the rest."""
    got(keep(tmp_path / "whole", [Reading(backbone)], trials))
    with pytest.raises(KeyboardInterrupt):
        keep(tmp_path / "part", [Reading(backbone)], trials, display=Halt(0))
    whole, part, told = values_file(tmp_path / "whole"), values_file(tmp_path / "part"), Noting()
    with (part.parent / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        waiting, found = in_thread(lambda: keep(tmp_path / "part", [Reading(backbone)], trials, display=told))
        assert told.noted.wait(10)
        for name in ("features.f32", "rows.u64"):
            (part.parent / name).write_bytes((whole.parent / name).read_bytes())
        fcntl.flock(file, fcntl.LOCK_UN)
        waiting.join(10)
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert passes == [4, 4, 2, 4]
    assert torch.equal(got(found[0])[0], direct(Reading(backbone), trials))


def test_what_was_removed_while_it_was_waited_for_is_made_anew(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, passes: list[int]
) -> None:
    """The lock of a file that is gone locks nothing."""
    got(keep(tmp_path, [Reading(backbone)], trials))
    place, told = values_file(tmp_path).parent, Noting()
    with (place / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting, found = in_thread(lambda: keep(tmp_path, [Reading(backbone)], trials, display=told))
        assert told.noted.wait(10)
        shutil.rmtree(place)
    waiting.join(10)
    assert torch.equal(got(found[0])[0], got(keep(tmp_path, [Reading(backbone)], trials))[0])
    assert passes == [4, 4, 2] * 2


def test_an_error_leaves_nothing_locked(tmp_path: Path, trials: pd.DataFrame, backbone: Backbone) -> None:
    """Also where the error is kept, and with it all that it knows: the next run must not wait for this one."""
    with pytest.raises(KeyboardInterrupt) as interrupted:
        keep(tmp_path, [Reading(backbone)], trials, display=Halt(0), workers=1)
    found = keep(tmp_path, [Reading(backbone)], trials)
    damage(values_file(tmp_path), 2)
    with pytest.raises(StoreError) as damaged:
        got(found)
    with (values_file(tmp_path).parent / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert interrupted.tb is not None
    assert damaged.tb is not None


def test_a_process_that_was_forked_meanwhile_locks_nothing(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone
) -> None:
    """A decode process has the lock open, too, and may outlive the training it was forked for."""
    found = keep(tmp_path, [Reading(backbone)], trials)
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    try:
        got(found)
        with (values_file(tmp_path).parent / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert child.is_alive()
    finally:
        child.kill()
        child.join()


def test_without_locks_nothing_of_others_is_removed(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system that has none it cannot be told what is in use; features are kept and read all the same."""

    def flock(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert keep(tmp_path, [Reading(backbone)], trials, limit=3 * TABLE) is None
    assert listed(tmp_path) == set(three)
    for _ in range(2):
        values = got(keep(tmp_path, [Reading(backbone)], trials, limit=4 * TABLE))
        assert torch.equal(values[0], direct(Reading(backbone), trials))


# --- which stages -----------------------------------------------------------------------------------------------------


STAGE = {
    "epochs": 1,
    "monitor": "training loss",
    "batch_size": 4,
    "optimiser": {"name": "adam"},
    "learning_rate": {"head": 0.1},
}


@pytest.mark.parametrize(
    ("changes", "window", "expected"),
    [
        ({}, {"window": "pad", "samples": 9}, True),
        ({}, {"window": "tile", "samples": 9}, True),
        ({}, {"window": "whole"}, False),
        ({"crop": "random"}, {"window": "tile", "samples": 9}, False),
        ({"pieces": {"longest": 13, "seconds": (10, 13)}}, {"window": "tile", "samples": 9}, False),
        ({"augmentation": {"rawboost": 3}}, {"window": "tile", "samples": 9}, False),
    ],
)
def test_the_clips_of_a_stage_are_constant_or_not(
    changes: dict[str, Any], window: dict[str, Any], expected: bool
) -> None:
    """First samples, no pieces, no augmentation, a fixed window."""
    stage = Stage.model_validate({**STAGE, **changes})
    assert constant(stage, AudioRecipe(**window)) is expected


@pytest.mark.parametrize("changes", [{"crop": "random"}, {"double": True}])
def test_clips_that_change_are_refused(
    tmp_path: Path, trials: pd.DataFrame, backbone: Backbone, changes: dict[str, Any]
) -> None:
    """Features of another crop than the next epoch's would be wrong, silently."""
    clips = replace(Clips(trials, WINDOW), **changes)
    with pytest.raises(AssertionError, match="fixed clips"):
        kept(
            tmp_path,
            [Reading(backbone)],
            clips,
            "d",
            None,
            limit=MANY,
            batch_size=SIZE,
            device=torch.device("cpu"),
            workers=0,
            display=Silent(),
        )
    assert list(tmp_path.iterdir()) == []
