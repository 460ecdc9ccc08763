"""The results folder: what is written where, what survives a kill, a full disk or another run, and what is refused."""

from __future__ import annotations

import errno
import json
import os
import shutil
import string
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import cellwriter
from bench import store as store_module
from bench.cellwriter import CellWriter
from bench.errors import StoreError, UsageError
from bench.files import atomically, read_parquet, write_json, write_parquet
from bench.store import Cell, Store
from bench.trials import digest, validate
from tests.tiny import files_below

IDS = [f"t{number}" for number in range(6)]
KEY = "0123456789ab" + "c" * 52
FACTS = {"finished": "2030-01-01T00:00:00+00:00"}


def trial_list(ids: Sequence[str] = IDS) -> pd.DataFrame:
    labels = ["bonafide" if row % 2 else "spoof" for row in range(len(ids))]
    return validate(pd.DataFrame({"trial": ids, "label": labels, "path": "x.wav"}), "list")


def manifest(key: str = KEY, detector: str = "det", dataset: str = "set", trials: int = len(IDS)) -> dict[str, Any]:
    return {"key": key, "dataset": {"name": dataset, "trials": trials}, "detector": {"name": detector}}


def block(scores: Mapping[str, float], **extras: float) -> pd.DataFrame:
    """Scores as the scoring pass gives them: NaN is a file that could not be read, and then there are no extras."""
    values = np.array(list(scores.values()))
    notes = ["" if np.isfinite(score) else f"{trial}.wav is damaged" for trial, score in scores.items()]
    columns: dict[str, Any] = {"trial": list(scores), "score": values}
    columns |= {name: np.where(np.isfinite(values), value, np.nan) for name, value in extras.items()}
    return pd.DataFrame({**columns, "seconds": 1.0, "note": notes})


def writer(store: Store, **about: Any) -> CellWriter:
    return CellWriter(store, manifest(**about), trial_list())


def finished(store: Store, scores: Mapping[str, float] | None = None, **about: Any) -> Cell:
    cell = writer(store, **about)
    cell.add(block(scores or dict.fromkeys(IDS, 1.0)))
    return cell.finish({**FACTS, "finished": about.get("key", "")})


def put_json(store: Store, detector: str, key: str, **fields: Any) -> None:
    """A cell.json, bare."""
    folder = store.cell_folder("set", detector, key)
    write_json(folder / "cell.json", {**manifest(key, detector), **fields})


# --- one cell -------------------------------------------------------------------------------------------------------


def test_a_finished_cell_is_one_folder_with_the_scores_in_the_order_of_the_trial_list(tmp_path: Path) -> None:
    """results/<dataset>/<detector>/<key12> holds cell.json and scores.parquet alone; rows are as in the trial list."""
    store = Store(tmp_path)
    cell = writer(store)
    cell.add(block({"t5": 5.0, "t1": 1.0}, margin=2.0))
    cell.flush()
    cell.add(block({"t0": 0.0, "t4": 4.0, "t3": 3.0, "t2": 2.0}, margin=2.0))
    done = cell.finish(FACTS)
    assert (done.status, done.reason, done.finished, done.key) == ("complete", "", True, KEY)
    assert done.manifest == {**manifest(), **FACTS, "status": "complete", "scored": 6, "failed": 0, "first_failure": ""}
    folder = tmp_path / "set" / "det" / KEY[:12]
    assert sorted(folder.iterdir()) == [folder / "cell.json", folder / "scores.parquet"]
    table = done.scores()
    assert list(table) == ["trial", "score", "margin", "seconds", "note"]
    assert table["trial"].tolist() == IDS
    assert table["score"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
@pytest.mark.parametrize("flushed", [False, True])
def test_the_bytes_do_not_depend_on_which_block_came_first(tmp_path: Path, order: list[int], flushed: bool) -> None:
    """Not even where a batch without a readable file, hence without extras, comes first, or all come from parts."""
    nan = float("nan")
    blocks = [
        block({"t0": nan, "t1": nan}),
        block({"t2": 1.0, "t3": nan}, margin=3.0, alpha=1.0),
        block({"t4": 1.0, "t5": 2.0}, margin=4.0, alpha=1.0),
    ]
    places = []
    for name, rows in (("reference", [1, 0, 2]), ("tested", order)):
        store = Store(tmp_path / name)
        cell = writer(store)
        for row in rows:
            cell.add(blocks[row])
            if flushed:
                cell.flush()
        cell = writer(store) if flushed and name == "tested" else cell
        places.append(cell.finish(FACTS).path)
    reference, tested = (place / "scores.parquet" for place in places if place)
    assert list(read_parquet(tested)) == ["trial", "score", "margin", "alpha", "seconds", "note"]
    assert tested.read_bytes() == reference.read_bytes()


def test_a_killed_cell_goes_on_with_its_parts(tmp_path: Path) -> None:
    """What was flushed is known to the next writer, what was not is lost, and the cell says how far it is."""
    store = Store(tmp_path)
    first = writer(store)
    first.add(block({"t0": 0.0, "t1": 1.0}))
    first.flush()
    first.add(block({"t2": 2.0}))
    cell = store.cell("set", "det", KEY)
    assert cell is not None
    assert (cell.status, cell.finished) == ("running", False)
    assert cell.reason == "interrupted or still running: 2 of 6 trials are stored"
    assert cell.remedy == "run the same command again: it goes on from there"
    second = writer(store)
    assert second.known.tolist() == [True, True, False, False, False, False]
    assert second.add(block({"t1": 1.0, "t2": 2.0, "t3": 3.0, "t4": 4.0, "t5": 5.0})) == 4
    table = second.finish(FACTS).scores()
    assert table["score"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_flood_of_scores_does_not_wait_for_the_next_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part is written as soon as many scores wait for it; the cell is the same to the byte."""
    places = []
    for name, most in (("few", 10), ("many", 2)):
        monkeypatch.setattr(cellwriter, "PART_ROWS", most)
        cell = writer(Store(tmp_path / name))
        cell.add(block({"t5": 5.0}))
        assert not list((tmp_path / name).rglob("*.parquet"))
        cell.add(block({"t1": 1.0}))
        parts = [read_parquet(place)["trial"].tolist() for place in (tmp_path / name).rglob("parts/*.parquet")]
        assert parts == ([["t5", "t1"]] if most == 2 else [])
        cell.add(block(dict.fromkeys(["t0", "t2", "t3", "t4"], 0.0)))
        places.append(cell.finish(FACTS).path)
    few, many = (place / "scores.parquet" for place in places if place)
    assert few.read_bytes() == many.read_bytes()


def test_a_table_made_of_pieces_gives_the_same_bytes(tmp_path: Path) -> None:
    """How often it was joined on the way is no part of what a file holds."""
    whole = pd.DataFrame({"trial": [f"t{row:05}" for row in range(5_000)]})
    write_parquet(tmp_path / "whole", whole)
    write_parquet(tmp_path / "joined", pd.concat([whole.iloc[:1_700], whole.iloc[1_700:]]))
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "joined").read_bytes()


def test_a_trial_keeps_its_first_score(tmp_path: Path) -> None:
    """A trial scored twice, by a batch that was half known, is there once."""
    store = Store(tmp_path)
    cell = writer(store)
    cell.add(block(dict.fromkeys(IDS, 1.0)))
    cell.add(block({"t0": 7.0}))
    assert cell.finish(FACTS).scores()["score"].tolist() == [1.0] * 6


def test_a_cell_that_lacks_a_trial_is_not_finished(tmp_path: Path) -> None:
    """`finish` refuses to leave out trials silently."""
    cell = writer(Store(tmp_path))
    for scored, message in (({}, "6 trials were never scored, the first is 't0'"), ({"t1": 1.0}, "5 trials")):
        if scored:
            cell.add(block(scored))
        with pytest.raises(StoreError, match=message):
            cell.finish(FACTS)
    assert not list(tmp_path.rglob("scores.parquet"))


def test_scores_of_other_trials_are_refused(tmp_path: Path) -> None:
    """A part or a block that names a trial of no row is an error with the folder and what to do."""
    store = Store(tmp_path)
    cell = writer(store)
    with pytest.raises(StoreError, match="trial 'x' has a score but is not in the list of this cell"):
        cell.add(block({"t0": 1.0, "x": 1.0}))
    write_parquet(store.cell_folder("set", "det", KEY) / "parts" / "a.parquet", block({"y": 1.0}))
    with pytest.raises(StoreError, match=r"(?s)trial 'y' has .*remedy: delete this folder and run again"):
        writer(store)


# --- files that could not be read -----------------------------------------------------------------------------------


def test_a_file_that_could_not_be_read_makes_the_cell_incomplete(tmp_path: Path) -> None:
    """The reason counts and names the first one in the order of the list; the next writer tries these trials again."""
    store = Store(tmp_path)
    scores = {**dict.fromkeys(IDS, 1.0), "t4": float("nan"), "t2": float("nan")}
    cell = finished(store, dict(sorted(scores.items(), reverse=True)))
    assert (cell.status, cell.finished) == ("incomplete", True)
    assert cell.reason == "2 of 6 files could not be scored; t2.wav is damaged"
    assert cell.remedy == "mend the files and run again, or accept what is there with --allow-missing"
    again = writer(store)
    assert np.flatnonzero(~again.known).tolist() == [2, 4]
    again.add(block({"t2": 9.0, "t3": 8.0, "t4": 7.0}))
    done = again.finish(FACTS)
    assert (done.status, done.scores()["score"].tolist()) == ("complete", [1.0, 1.0, 9.0, 1.0, 7.0, 1.0])


def test_a_score_counts_more_than_a_note_about_the_same_file(tmp_path: Path) -> None:
    """Whatever the order of the parts: of two runs at once one may have started before the file was mended."""
    for name, values in (("a", [float("nan"), 1.0]), ("b", [1.0, float("nan")])):
        store = Store(tmp_path / name)
        cell = writer(store)
        for value in values:
            cell.add(block({**dict.fromkeys(IDS, 1.0), "t3": value}))
        assert cell.finish(FACTS).status == "complete"


@pytest.mark.parametrize("status", ["running", "failed", "incomplete", None])
def test_scores_survive_whatever_became_of_the_manifest(tmp_path: Path, status: str | None) -> None:
    """Killed between scores.parquet and cell.json, failed in a later try, manifest lost: nothing is scored again but
    the file that could not be read, whose old notes do not count."""
    store = Store(tmp_path)
    scores = {**dict.fromkeys(IDS, 1.0), "t2": float("nan")}
    cell = finished(store, scores)
    assert cell.path is not None
    write_parquet(cell.path / "parts" / "left.parquet", block(scores))
    if status is None:
        (cell.path / "cell.json").unlink()
    else:
        write_json(cell.path / "cell.json", {**cell.manifest, "status": status})
    assert np.flatnonzero(~writer(store).known).tolist() == [2]


def test_scores_of_a_sibling_list_are_taken_over(tmp_path: Path) -> None:
    """Those of trials of this list that have a score, once, and they are stored at once."""
    store = Store(tmp_path)
    cell = writer(store)
    cell.add(block({"t0": 0.0}))
    cell.reuse(block({"other": 9.0, "t0": 8.0, "t1": 1.0, "t2": float("nan"), "t5": 5.0}))
    assert cell.known.tolist() == [True, True, False, False, False, True]
    assert writer(store).known.tolist() == cell.known.tolist()
    cell.reuse(block({"other": 9.0}))
    assert len(list(tmp_path.rglob("*.parquet"))) == 1


# --- several runs, kills, full disks --------------------------------------------------------------------------------


def test_a_part_that_vanishes_belongs_to_a_cell_another_run_has_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer and a reader that start while another run finishes find its scores instead of an error."""
    store = Store(tmp_path)
    other = writer(store)
    other.add(block(dict.fromkeys(IDS, 1.0)))
    other.flush()
    real = read_parquet

    def slow(place: Path, remedy: str | None = None) -> pd.DataFrame:
        if place.parent.name == "parts":
            other.finish(FACTS)
        return real(place, remedy)

    monkeypatch.setattr(store_module, "read_parquet", slow)
    late = writer(store)
    assert late.known.all()
    cell = store.cell("set", "det", KEY)
    assert cell is not None
    assert cell.reason == "interrupted or still running: 0 of 6 trials are stored"  # until the late one finishes too
    assert late.finish(FACTS).status == "complete"


def test_many_writers_of_one_cell_end_with_the_same_bytes(tmp_path: Path) -> None:
    """Eight writers flush and finish at the same time; none fails, and the cell is the one of a single writer."""
    reference = finished(Store(tmp_path / "one"))
    store, errors = Store(tmp_path / "many"), []

    def work() -> None:
        try:
            for _ in range(5):
                cell = writer(store)
                for trial in IDS:
                    cell.add(block({trial: 1.0}))
                    cell.flush()
                cell.finish(FACTS)
                store.cells()
        except StoreError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (cell,) = store.cells()
    assert (errors, cell.status) == ([], "complete")
    assert cell.path is not None
    assert reference.path is not None
    assert (cell.path / "scores.parquet").read_bytes() == (reference.path / "scores.parquet").read_bytes()


def test_half_written_files_are_never_seen(tmp_path: Path) -> None:
    """What a kill leaves of a write ends in .part: no cell, no part, no manifest; a failed write leaves nothing."""
    store = Store(tmp_path)
    cell = writer(store)
    cell.add(block({"t0": 0.0}))
    cell.flush()
    folder = store.cell_folder("set", "det", KEY)
    (folder / "parts" / ".0f.part").write_bytes(b"PAR1 half of it")
    (folder / ".0f.part").write_text('{"half')
    (folder.parent / ".0f.part").write_text('{"half')
    assert [found.status for found in store.cells()] == ["running"]
    assert [found.status for found in store.current()] == ["running"]
    assert writer(store).known.sum() == 1

    def half(part: Path) -> None:
        part.write_text("half")
        raise ValueError("the writer broke")

    with pytest.raises(ValueError, match="the writer broke"):
        atomically(tmp_path / "new" / "file.json", half)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_replaced_file_is_old_or_new_at_every_moment(tmp_path: Path) -> None:
    """A reader beside a writer never meets half a file."""
    place = tmp_path / "cell.json"
    texts = ["a" * 100_000, "b" * 100_000]
    write_json(place, {"text": texts[0]})
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for text in texts:
                write_json(place, {"text": text})

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert all(json.loads(place.read_text())["text"] in texts for _ in range(200))
    finally:
        stop.set()
        thread.join()


def test_a_full_disk_loses_nothing_that_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that does not fit is a StoreError with the remedy; parts before it stay, and the next run completes."""
    store = Store(tmp_path)
    cell = writer(store)
    cell.add(block({"t0": 0.0, "t1": 1.0}))
    cell.flush()

    def full(table: Any, place: Path, **options: Any) -> None:
        place.write_bytes(b"PAR1 as much as fitted")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))

    with monkeypatch.context() as patch:
        patch.setattr("pyarrow.parquet.write_table", full)
        cell.add(block({"t2": 2.0, "t3": 3.0}))
        with pytest.raises(StoreError) as caught:
            cell.flush()
    assert caught.value.what == "cannot be written: No space left on device"
    assert caught.value.remedy == "free some space and run the same command again: nothing written so far is lost"
    assert [path.suffix for path in files_below(tmp_path)].count(".part") == 0
    after = writer(store)
    assert np.flatnonzero(after.known).tolist() == [0, 1]
    after.add(block({trial: float(trial[1]) for trial in IDS}))
    assert after.finish(FACTS).scores()["score"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for 256 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        pytest.skip("no mount command")
    command = [mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if (done := subprocess.run(command, capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"no small tmpfs can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run([umount, str(place)], check=True)


def test_a_disk_that_is_really_full_is_told_as_such(small_disk: Path) -> None:
    """The same on a file system of 256 kB, for tables, for JSON and for the check before a run."""
    store = Store(small_disk / "results")
    cell = writer(store)
    cell.add(block({"t0": 0.0}))
    cell.flush()
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"0" * 4096):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC
    cell.add(block(dict.fromkeys(IDS[1:], 1.0)))
    for attempt in (cell.flush, lambda: store.block("set", "other", "why", "what"), lambda: cell.finish(FACTS)):
        with pytest.raises(StoreError, match=r"(?s)cannot be written: .*(No space left|errno 28).*free some space"):
            attempt()
    filler.unlink()
    after = writer(store)
    assert after.known.tolist() == [True, *[False] * 5]
    after.add(block(dict.fromkeys(IDS, 2.0)))
    assert after.finish(FACTS).scores()["score"].tolist() == [0.0, *[2.0] * 5]


def test_a_results_folder_that_cannot_be_written_is_told_before_anything_is_scored(tmp_path: Path) -> None:
    """A file in its place: reading finds nothing, the check says what is wrong; a good one is left as it was."""
    blocked = tmp_path / "results"
    blocked.write_text("a file")
    store = Store(blocked)
    assert (store.cells(), store.current(), store.cell("set", "det", KEY)) == ([], [], None)
    for place in (blocked, blocked / "below"):
        with pytest.raises(StoreError, match=r"cannot be written: ") as caught:
            Store(place).check_writable()
        assert caught.value.where == str(place)
        assert caught.value.remedy == "choose a folder you may write to with --results"
    Store(tmp_path / "new").check_writable()
    assert list((tmp_path / "new").iterdir()) == []


# --- damaged files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "what", "remedy"),
    [
        ('{"half', "not readable: ", "delete it and run again"),
        ("[1, 2]", "not a JSON object", "delete it and run again"),
        ("\udcff", "not readable: ", "delete it and run again"),
        ('{"status": "complete"}', "not a cell of this version: no key", "move this folder away"),
        ('{"dataset": 1, "detector": 2, "key": "", "status": ""}', "not a cell of this version", "move this folder"),
    ],
)
def test_a_damaged_manifest_is_told_with_its_place(tmp_path: Path, content: str, what: str, remedy: str) -> None:
    """Neither a traceback nor a cell that is silently left out."""
    store = Store(tmp_path)
    cell = finished(store)
    assert cell.path is not None
    (cell.path / "cell.json").write_text(content, errors="surrogateescape")
    with pytest.raises(StoreError, match=what) as caught:
        store.cell("set", "det", KEY)
    assert caught.value.where == str(cell.path / "cell.json")
    assert remedy in (caught.value.remedy or "")
    (listed,) = store.cells()
    assert (listed.dataset, listed.detector, listed.status, listed.path) == ("set", "det", "failed", cell.path)
    assert what in listed.reason
    assert str(cell.path / "cell.json") in listed.reason
    assert remedy in listed.remedy


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_a_damaged_part_is_told_with_its_place(tmp_path: Path, content: bytes) -> None:
    """For who goes on with the cell and for who looks at it; deleted, the rest is as good as before."""
    store = Store(tmp_path)
    cell = writer(store)
    cell.add(block({"t0": 0.0}))
    cell.flush()
    part = store.cell_folder("set", "det", KEY) / "parts" / "bad.parquet"
    part.write_bytes(content)
    for attempt in (lambda: writer(store), lambda: store.cell("set", "det", KEY)):
        with pytest.raises(StoreError, match=r"(?s)not readable: .*remedy: delete it and run again") as caught:
            attempt()
        assert caught.value.where == str(part)
    part.unlink()
    assert writer(store).known.sum() == 1


def test_damaged_or_missing_scores_name_the_folder_to_delete(tmp_path: Path) -> None:
    """The manifest says finished, so the remedy that works is to delete both."""
    store = Store(tmp_path)
    cell = finished(store)
    assert cell.path is not None
    remedy = f"delete the folder {cell.path} and run again"
    (cell.path / "scores.parquet").write_bytes(b"PAR1 and nothing")
    for attempt in (cell.scores, lambda: writer(store)):
        with pytest.raises(StoreError, match="not readable: ") as caught:
            attempt()
        assert (caught.value.where, caught.value.remedy) == (str(cell.path / "scores.parquet"), remedy)
    (cell.path / "scores.parquet").unlink()
    with pytest.raises(StoreError, match="the file is missing") as caught:
        cell.scores()
    assert caught.value.remedy == remedy
    shutil.rmtree(cell.path)
    assert finished(store).status == "complete"


def test_an_unfinished_cell_has_no_scores(tmp_path: Path) -> None:
    """Its parts are nobody's results."""
    cell = writer(Store(tmp_path)).close("failed", {"reason": "no memory", "remedy": "more of it"})
    assert (cell.status, cell.reason, cell.remedy) == ("failed", "no memory", "more of it")
    with pytest.raises(StoreError, match="det on set has no finished scores"):
        cell.scores()


# --- tables and trial lists -----------------------------------------------------------------------------------------


def test_equal_tables_are_equal_bytes(tmp_path: Path) -> None:
    """Whether a table was just made, read back, or cut out of another one with another index."""
    table = pd.concat([block({"t0": 1.5, "t1": float("nan")}), block({"t2": 0.1})], ignore_index=True)
    write_parquet(tmp_path / "a.parquet", table)
    write_parquet(tmp_path / "b.parquet", read_parquet(tmp_path / "a.parquet"))
    write_parquet(tmp_path / "c.parquet", pd.concat([table, table]).iloc[3:])
    contents = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 1
    back = read_parquet(tmp_path / "c.parquet")
    pd.testing.assert_frame_equal(back, table, check_dtype=True)
    assert back["score"].dtype == np.float64


def test_trial_lists_are_kept_without_paths_and_with_their_newest_attributes(tmp_path: Path) -> None:
    """The digest names the file; attributes are no part of it and can be corrected."""
    store, trials = Store(tmp_path), trial_list()
    name = digest(trials)
    store.write_trials("set", name, trials)
    assert [path.name for path in (tmp_path / "set").iterdir()] == [f"trials-{name[:12]}.parquet"]
    kept = store.trials("set", name)
    pd.testing.assert_frame_equal(kept, trials.drop(columns="path"))
    store.write_trials("set", name, trials.assign(speaker="anna"))
    assert set(store.trials("set", name)["speaker"]) == {"anna"}
    with pytest.raises(StoreError, match=r"(?s)the file is missing.*remedy: run again to write it"):
        store.trials("set", "0" * 64)


@pytest.mark.parametrize("change", [{"speaker": 5}, {"attack": None}, {"label": [["x"]] * 2}, {"codec": 0.5}])
def test_a_trial_list_of_other_types(tmp_path: Path, change: dict[str, Any]) -> None:
    """Every column is text; what is not, or lacks one, is no trial list."""
    store, place = Store(tmp_path), Store(tmp_path).trials_file("set", "d" * 64)
    table = pd.DataFrame({"trial": ["a", "b"], "label": "spoof", "speaker": "", "attack": ""})
    write_parquet(place, table)
    assert store.trials("set", "d" * 64)["trial"].tolist() == ["a", "b"]
    for damaged in (table.assign(**change), table.drop(columns="speaker")):
        write_parquet(place, damaged)
        with pytest.raises(StoreError, match="it holds no trial list"):
            store.trials("set", "d" * 64)


# --- which cell counts ----------------------------------------------------------------------------------------------


def test_the_cell_that_the_last_run_resolved_to_counts(tmp_path: Path) -> None:
    """Even where a newer one is finished, and whatever became of it."""
    store = Store(tmp_path)
    finished(store, key="a" * 64)
    finished(store, key="b" * 64)
    put_json(store, "det", "c" * 64, status="failed", reason="not finite")
    assert [cell.key[0] for cell in store.current()] == ["b"]  # no run has said so: the newest finished one
    for key in "acb":
        store.resolve("set", "det", key * 64)
        assert [cell.key[0] for cell in store.current()] == [key]
    store.resolve("set", "det", "d" * 64)
    assert [cell.key[0] for cell in store.current()] == ["b"]
    assert [cell.key[0] for cell in store.pair("set", "det")] == ["a", "b", "c"]
    assert store.pair("set", "other") == []


def test_a_blocked_pair_shows_only_while_nothing_of_it_is_finished(tmp_path: Path) -> None:
    """Blocked alone, blocked beside a failure, blocked beside a result."""
    store = Store(tmp_path)
    store.block("set", "det", "no weights", "download them")
    (cell,) = store.current()
    assert (cell.dataset, cell.detector, cell.status, cell.key, cell.path) == ("set", "det", "blocked", "", None)
    assert (cell.reason, cell.remedy, cell.manifest) == ("no weights", "download them", {})
    put_json(store, "det", "c" * 64, status="failed", reason="not finite")
    assert [cell.status for cell in store.current()] == ["blocked"]
    finished(store)
    assert [cell.status for cell in store.current()] == ["complete"]
    assert [cell.status for cell in store.cells()] == ["complete", "failed"]


def test_what_the_last_run_left_instead_of_the_current_cell(tmp_path: Path) -> None:
    """Blocked, lost or damaged where latest.json names it; nothing where the current cell is what it names."""
    store = Store(tmp_path)
    old = finished(store, key="a" * 64)
    assert store.newer(old) is None, "no run has resolved anything"
    store.resolve("set", "det", old.key)
    assert store.newer(old) is None
    store.block("set", "det", "no weights", "fetch them")
    (current,) = store.current()
    blocked = store.newer(current)
    assert blocked is not None
    assert (current.key, blocked.status, blocked.reason, blocked.remedy) == (
        *(old.key, "blocked"),
        *("no weights", "fetch them"),
    )
    store.resolve("set", "det", "b" * 64)
    lost = store.newer(old)
    assert lost is not None
    assert (lost.status, lost.reason) == ("blocked", "its cell is not here any more")
    put_json(store, "det", "b" * 64, dataset="damaged")
    damaged = store.newer(old)
    assert damaged is not None
    assert (damaged.status, damaged.reason.startswith("not a cell of this version")) == ("failed", True)


@pytest.mark.parametrize("status", ["running", "failed", "complete"])
def test_what_a_killed_run_began(tmp_path: Path, status: str) -> None:
    """Whatever was begun after the last run resolved the pair; what was begun before is what it passed over."""
    store = Store(tmp_path)
    first, second = (finished(store, key=digit * 64) for digit in "01")
    for band in ({}, {3: first, 4: second}):
        if band:
            store.resolve_band(band)
        else:
            store.resolve("set", "det", first.key)
        (current,) = store.current()
        put_json(store, "det", "c" * 64, status=status, started="2000-01-01T00:00:00+00:00")
        assert store.newer(current) is None
        put_json(store, "det", "c" * 64, status=status, started="9999-01-01T00:00:00+00:00")
        begun = store.newer(current)
        assert begun is not None
        assert (begun.key, begun.status) == ("c" * 64, status)
    put_json(store, "det", second.key, status="failed", started="9999-01-01T00:00:00+00:00")
    shutil.rmtree(store.cell_folder("set", "det", "c" * 64))
    assert store.newer(store.current()[0]) is None, "a seed of its own"


@pytest.mark.parametrize("value", [5, None, [1], {"a": 1}])
@pytest.mark.parametrize("place", ["key", "status", "dataset", "detector"])
def test_a_manifest_whose_names_are_none(tmp_path: Path, place: str, value: Any) -> None:
    """A number or a list where a name belongs is a failed cell of its own pair."""
    store = Store(tmp_path)
    finished(store, detector="other")
    about = {**manifest(), "status": "complete"}
    about[place] = {**about[place], "name": value} if place in ("dataset", "detector") else value
    write_json(store.cell_folder("set", "det", KEY) / "cell.json", about)
    damaged, other = store.current()
    assert (damaged.detector, damaged.status, other.status) == ("det", "failed", "complete")
    names = place if place in ("key", "status") else f"{place}.name"
    assert damaged.reason.startswith(f"not a cell of this version: {names}: Input should be a valid string")


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", '{"key": 1}', '{"reason": [], "remedy": ""}', '{"written": 0}', "[" * 100_000),
        *('{"band": 1}', '{"band": [1]}', '{"band": [{"key": "a"}]}', '{"band": [{"seed": "3"}]}'),
        *('{"band": [{"seed": [3]}]}', '{"band": [{"seed": 3, "key": null}]}'),
    ],
)
def test_a_damaged_latest_json_is_told_for_its_own_pair(tmp_path: Path, content: str) -> None:
    """A failed cell with the place and the remedy; the others are there."""
    store = Store(tmp_path)
    finished(store)
    finished(store, detector="other")
    place = store.pair_folder("set", "det") / "latest.json"
    place.write_text(content)
    damaged, other = store.current()
    assert (damaged.detector, damaged.status, damaged.remedy) == ("det", "failed", "delete it and run again")
    assert str(place) in damaged.reason
    assert (other.detector, other.status) == ("other", "complete")
    place.unlink()
    assert [cell.status for cell in store.current()] == ["complete", "complete"]


def test_a_pair_may_be_the_cells_of_several_seeds(tmp_path: Path) -> None:
    """The first of them stands for all; a blocked one keeps its reason; one that is gone or damaged is told as such."""
    store = Store(tmp_path)
    cells = {seed: finished(store, key=letter * 64) for seed, letter in ((3, "a"), (4, "b"), (5, "c"), (6, "d"))}
    lost = Cell("set", "det", "", "blocked", None, "training failed", "train again")
    store.resolve_band({**cells, 7: lost})
    shutil.rmtree(store.cell_folder("set", "det", "b" * 64))
    (store.cell_folder("set", "det", "c" * 64) / "cell.json").write_text("{")
    put_json(store, "det", "d" * 64, status="failed", reason="not finite")
    (cell,) = store.current()
    assert (cell.key, list(cell.band)) == ("a" * 64, [3, 4, 5, 6, 7])
    assert [member.status for member in cell.band.values()] == ["complete", "blocked", "failed", "failed", "blocked"]
    reasons = [member.reason for member in cell.band.values()]
    assert (reasons[1], reasons[3:]) == ("its cell is not here any more", ["not finite", "training failed"])
    assert reasons[2].startswith("not readable: ")
    assert (cell.band[7].remedy, cell.band[7].dataset, cell.band[7].detector) == ("train again", "set", "det")
    store.resolve("set", "det", "d" * 64)
    assert [(one.key, one.band) for one in store.current()] == [("d" * 64, {})]


def test_a_band_whose_first_seed_is_blocked(tmp_path: Path) -> None:
    """Is told by one that is not; where all are blocked it is as any blocked pair."""
    store = Store(tmp_path)
    blocked = Cell("set", "det", "", "blocked", None, "no corpus", "get it")
    second = finished(store, key="b" * 64)
    store.resolve_band({3: blocked, 4: second})
    (cell,) = store.current()
    assert (cell.key, cell.band[3].reason) == ("b" * 64, "no corpus")
    store.resolve_band({3: blocked, 4: blocked})
    (cell,) = store.current()
    assert (cell.key, cell.band) == ("b" * 64, {}), "what was finished before is not forgotten"
    shutil.rmtree(store.cell_folder("set", "det", "b" * 64))
    (cell,) = store.current()
    assert (cell.status, cell.reason, cell.remedy) == ("blocked", "no corpus", "get it")


def test_pairs_are_kept_apart_and_in_order(tmp_path: Path) -> None:
    """`current` is by dataset and detector; the folders of weights and features are no datasets."""
    store = Store(tmp_path)
    for dataset, detector in (("z", "b"), ("a", "b"), ("a", "a")):
        finished(store, dataset=dataset, detector=detector)
    store.block("weights", "weights", "why", "what")
    store.block("features", "features", "why", "what")
    assert not (tmp_path / "features").exists()
    write_json(store.weights_folder("det", KEY) / "train.json", {"detector": "det"})
    found = [(cell.dataset, cell.detector) for cell in store.current()]
    assert found == [("a", "a"), ("a", "b"), ("features", "features"), ("weights", "weights"), ("z", "b")]


# --- names ----------------------------------------------------------------------------------------------------------

HOSTILE = [
    "..",
    ".",
    "../x",
    "/etc",
    "a/../../b",
    "weights",
    "features",
    ".hidden",
    "<img src=x>",
    "a b%2F",
    "%77eights",
    "~",
    "\0",
]
names = st.one_of(st.sampled_from(HOSTILE), st.text("./%w\\~", max_size=8), st.text(max_size=20))


@settings(max_examples=300, deadline=None)
@given(names, names, names)
def test_no_name_leads_out_of_the_results_folder(dataset: str, detector: str, other: str) -> None:
    """Whatever a name holds, its folder is one level below, plain ASCII, no hidden one, tells the name, and no other
    name has it; an empty one is refused."""
    store = Store(Path("/results"))
    if not all((dataset, detector, other)):
        with pytest.raises(UsageError, match="a name cannot be empty"):
            for name in (dataset, detector, other):
                store.pair_folder("set", name)
        return
    folder = store.pair_folder(dataset, detector)
    parts = folder.relative_to("/results").parts
    assert folder.is_relative_to("/results")
    assert len(parts) == 2
    for part, name in zip(parts, (dataset, detector), strict=True):
        assert set(part) <= {*string.ascii_letters, *string.digits, *"%._-~"}
        assert part not in (".", "..", "weights", "features")
        assert not part.startswith(".")
        assert unquote(part) == name
    assert os.path.normpath(folder) == str(folder)
    assert (store.pair_folder(dataset, other) == folder) == (other == detector)
    assert store.weights_folder(detector, KEY).parent.parent == Path("/results/weights")
    assert not store.pair_folder(dataset, detector).is_relative_to("/results/weights")


@settings(max_examples=40, deadline=None)
@given(names.filter(bool), names.filter(bool))
def test_whatever_the_names_a_cell_is_written_below_the_results_folder_and_found_again(
    dataset: str, detector: str
) -> None:
    """On a real disk: nothing beside the folder changes, and the names come back as they were."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        store = Store(root / "outer" / "results")
        cell = CellWriter(store, manifest(dataset=dataset, detector=detector), trial_list())
        cell.add(block(dict.fromkeys(IDS, 1.0)))
        cell.finish(FACTS)
        store.block(dataset, f"{detector}2", "why", "what")
        found = [(cell.dataset, cell.detector, cell.status) for cell in store.current()]
        assert sorted(found) == sorted([(dataset, detector, "complete"), (dataset, f"{detector}2", "blocked")])
        assert [path.relative_to(root).parts[:2] for path in files_below(root)] == [("outer", "results")] * 3


def test_a_name_too_long_for_a_folder_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """200 bytes once encoded; a letter of another script counts several times."""
    store = Store(tmp_path)
    for name in ("a" * 201, "ß" * 34, "漢" * 23):
        with pytest.raises(UsageError, match="is too long for a folder") as caught:
            store.block("set", name, "why", "what")
        assert caught.value.remedy == "use 1 to 200 ASCII letters; a letter of another script counts as 6 or more"
    for name in ("a" * 200, "ß" * 33, "漢" * 22):
        store.block("set", name, "why", "what")
    assert len(store.current()) == 3
