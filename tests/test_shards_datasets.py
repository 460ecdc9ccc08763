"""A dataset from a pack against the same from loose files, where packs are found, and damaged ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import audio, corpora, doctor, inventory, passes
from bench.errors import BenchError, Blocked, DataError
from bench.progress import Silent
from bench.report.audible import Recordings
from bench.shards.packing import Form, Packed, pack
from bench.workspace import Options, Workspace
from tests.tiny import WHOLE, World, card, score_bytes

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.dataset("set", range(1, 11))
    world.detector("det")
    return world


def packed(world: World, name: str = "set", form: Form = "tar", **places: Any) -> Packed:
    folder = corpora.pack_folder(world.data, name)
    return pack(world.workspace(**places).dataset(name), folder, Silent(), form=form, shard_bytes=700)


def uploaded(found: Packed, address: str) -> str:
    for place in found.folder.iterdir():
        with fsspec.open(f"{address}/{place.name}", "wb") as file:
            file.write(place.read_bytes())
    return address


def take_away(world: World, what: str = "set.csv") -> None:
    (world.data / what).rename(world.root / "gone")


@pytest.mark.parametrize("form", ["tar", "parquet", "memory"])
def test_packed_is_loose(world: World, form: str) -> None:
    """The same digest, table, cell key and bytes of scores, of fixed windows and whole files, by workers too."""
    world.detector("whole", model="Power", audio=WHOLE)
    loose = world.workspace().dataset("set")
    scores = {name: world.scores(name, "set", batch_size=3) for name in ("det", "whole")}
    found = packed(world, form="parquet" if form == "parquet" else "tar")
    place = uploaded(found, "memory://packs/set") if form == "memory" else found.folder
    options: dict[str, Any] = {"data": {"set": place}, "results": world.root / "other"}
    same = world.workspace(**options).dataset("set")
    assert (same.digest, same.pack) == (loose.digest, str(place))
    pd.testing.assert_frame_equal(same.trials.drop(columns="path"), loose.trials.drop(columns="path"))
    assert list(same.trials) == list(loose.trials)
    assert passes.cell_key(card(), same, None) == passes.cell_key(card(), loose, None)
    take_away(world, "audio")
    assert corpora.missing_audio(same.trials) == []
    workers = 2 if form == "memory" else 0
    for name, count in (("det", workers), ("whole", 0)):
        assert score_bytes(world.cell(name, "set", batch_size=3, workers=count, **options)) == scores[name]


def test_real_corpora(shared: Path, tmp_path: Path) -> None:
    """Table, facts and samples of real speech in FLAC and WAV of several rates."""
    workspace = Workspace(Options(data_root=shared / "corpora"))
    forms: tuple[tuple[str, Form], ...] = (("itw", "tar"), ("asvspoof2019-la-dev", "parquet"), ("mlaad-en", "tar"))
    for name, form in forms:
        loose = workspace.dataset(name)
        done = pack(loose, tmp_path / name, Silent(), form=form)
        same = Workspace(Options(data_root=tmp_path / "none", data={name: done.folder})).dataset(name)
        pd.testing.assert_frame_equal(same.trials.drop(columns="path"), loose.trials.drop(columns="path"))
        assert same.facts() == loose.facts()
        for one, other in zip(same.trials["path"][::6], loose.trials["path"][::6], strict=True):
            np.testing.assert_array_equal(audio.decode(one)[0], audio.decode(other)[0])


def own_list(world: World) -> Path:
    for number in range(1, 5):
        world.audio(number)
    place = world.root / "calls.csv"
    rows = [f"data/audio/{n}.wav,{'real' if n % 2 else 'fake'},{n / 1e3 if n > 2 else ''}" for n in range(1, 5)]
    place.write_text("\n".join(["path,label,start", *rows]))
    return place


def test_a_users_own_files_keep_their_key(world: World) -> None:
    """Also those of a sample of them, and when the loose files are gone."""
    place = own_list(world)
    loose = world.workspace(data={"calls": place}).dataset("calls")
    sample = world.workspace(data={"calls": place}, limit=2).evaluated("calls")
    files, of_sample = loose.files, sample.files
    found = packed(world, "calls", data={"calls": place})
    take_away(world, "audio")
    same = world.workspace(data={"calls": found.folder}).dataset("calls")
    assert same.own_files and same.files == files is not None
    assert world.workspace(data={"calls": found.folder}, limit=2).evaluated("calls").files == of_sample
    address = uploaded(found, "memory://own/calls")
    assert world.workspace(data={"calls": address}).dataset("calls").files == files
    table = pq.read_table(found.folder / "trials.parquet").to_pandas()
    table.loc[0, "audio:stamp"] += "1"
    rewrite(found.folder, table)
    with pytest.raises(DataError, match="fingerprint of the user's own files is not that of the trials") as caught:
        world.workspace(data={"calls": found.folder}).dataset("calls")
    assert caught.value.where == str(found.folder / "pack.json")


def test_loose_files_go_first(world: World) -> None:
    """They may be newer; the pack below the data root stands in where the list, or all of its audio, is not here."""
    found = packed(world)
    assert world.workspace().dataset("set").pack is None
    (world.data / "audio" / "3.wav").unlink()
    assert world.workspace().dataset("set").pack is None
    take_away(world, "audio")
    assert world.workspace().dataset("set").pack == str(found.folder)
    (world.data / "set.csv").unlink()
    workspace = world.workspace()
    assert workspace.dataset("set").pack == str(found.folder) and workspace.missing_audio("set") == []
    entries = {entry.name: entry.state for entry in inventory.list_datasets(world.workspace(data={}))}
    assert entries["set"] == "ready, 10 trials, packed"


def test_a_named_pack_is_taken(world: World) -> None:
    """Whatever is loose; its siblings, which it does not hold, are looked for below the data root."""
    found = packed(world)
    world.dataset("set-part", range(1, 5), sibling_of="set")
    workspace = world.workspace(data={"set": found.folder})
    assert workspace.dataset("set").pack == str(found.folder)
    assert workspace.dataset("set-part").pack is None
    with pytest.raises(Blocked, match="there is no pack here") as caught:
        world.workspace(data={"set": "memory://nothing"}).dataset("set")
    assert caught.value.where == "memory://nothing/pack.json"
    with pytest.raises(DataError, match="nowhere") as refused:
        world.workspace(data={"set": "nowhere://x"}).dataset("set")
    assert refused.value.where == "nowhere://x/pack.json"


def test_a_pack_of_another_dataset(world: World) -> None:
    """Is refused by its name."""
    found = packed(world)
    world.dataset("other", [1])
    with pytest.raises(DataError, match="this is a pack of 'set', not of 'other'") as caught:
        world.workspace(data={"other": found.folder}).dataset("other")
    assert caught.value.remedy == "give it with --data set=..., or name the pack of other"


def test_missing_shards(world: World) -> None:
    """Their trials are missing, with the remedy of a pack; the rest is scored, and doctor tells which."""
    found = packed(world)
    (found.folder / "set-00001.tar").unlink()
    workspace = world.workspace(data={"set": found.folder})
    assert workspace.missing_audio("set") == [3, 4, 5]
    assert "copy the pack at" in workspace.dataset("set").card.obtain
    cell = world.cell("det", "set", data={"set": found.folder})
    assert cell.status == "incomplete"
    notes = cell.scores()["note"].tolist()
    assert [bool(note) for note in notes] == [row in (3, 4, 5) for row in range(10)]
    assert notes[3].startswith("the file is missing: its shard is not here: shard://")
    (audit,) = doctor.examine(workspace, ["set"], Silent())
    (finding,) = audit.of("error")
    assert (finding.kind, finding.count, finding.examples[0]) == ("missing", 3, "set-00001.tar/4.wav")
    for place in found.folder.glob("*.tar"):
        place.unlink()
    (outcome,) = world.run("det", "set", data={"set": found.folder}, results=world.root / "r")
    assert outcome.planned.reason.startswith("none of the 10 audio files of set is here, the first is shard://")


def test_doctor_compares_shards(world: World) -> None:
    """A shard whose bytes changed is an error even where all of it decodes; a remote one is not read for its hash."""
    found = packed(world)
    places: list[Path | str] = [found.folder, uploaded(found, "memory://doctor/set")]
    kinds = [[one.kind for one in audit(world, place).findings] for place in places]
    assert "damaged shard" not in kinds[0] and "not hashed" in kinds[1] and "not listed" not in kinds[0]
    shard = found.folder / "set-00002.tar"
    data = bytearray(shard.read_bytes())
    data[-1] = 1  # behind the last member
    shard.write_bytes(data)
    (found.folder / "set-00000.tar").write_bytes(b"cut")
    findings = {one.kind: one for one in audit(world, found.folder).findings}
    assert findings["damaged shard"].what == "2 of 4 shards not as packed"
    first, second = findings["damaged shard"].examples
    assert first.startswith("set-00000.tar: 3 bytes instead of 10,240")
    assert second.startswith("set-00002.tar: sha256 ")
    assert findings["truncated"].examples[0].startswith("set-00000.tar/1.wav: truncated: its shard holds 0 of its 204")


def audit(world: World, place: Path | str) -> doctor.Audit:
    (found,) = doctor.examine(world.workspace(data={"set": place}), ["set"], Silent())
    return found


def test_the_error_browser_plays_packed_files(world: World) -> None:
    """The copy is the file, byte for byte, and its place says nothing of this machine."""
    world.dataset("set", range(1, 11), redistributable=True)
    loose = (world.data / "audio" / "4.wav").read_bytes()
    digest = world.workspace().dataset("set").digest
    packed(world)
    take_away(world)
    corpus = Recordings(world.data, {}, world.cards).corpus("set", digest)
    assert corpus.place("4") == "set-00001.tar/4.wav"
    assert corpus.clip("4").audio == loose


# --- damaged packs ---------------------------------------------------------------------------------------------------


def rewrite(folder: Path, table: pd.DataFrame | pa.Table) -> None:
    """Another trials.parquet, with the manifest that is of it."""
    place = folder / "trials.parquet"
    columns = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    pq.write_table(columns, place)
    manifest = json.loads((folder / "pack.json").read_text())
    manifest["table"] = hashlib.sha256(place.read_bytes()).hexdigest()
    (folder / "pack.json").write_text(json.dumps(manifest))


def refused(world: World, place: Path) -> BenchError:
    with pytest.raises(BenchError) as caught:
        world.workspace(data={"set": place}).dataset("set")
    assert caught.value.where and caught.value.where.startswith(str(place)) and caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda told: told.update(format=2), "format: Input should be 1"),
        (lambda told: told.pop("digest"), "digest: Field required"),
        (
            lambda told: told.update(digest="0" * 64),
            "its trials are not those of the digest that pack.json tells (0000",
        ),
        (lambda told: told.update(trials=11), "10 trials instead of the 11 that pack.json tells"),
        (lambda told: told.update(table="0"), "not the trial list that pack.json is of"),
        (lambda told: told.update(files="0"), "fingerprint of the user's own files is not that of the trials"),
        (lambda told: told["shards"].pop(), "the audio of trial '10' is at no place inside a shard of the pack"),
        (lambda told: told["shards"][0].update(bytes=600), "the audio of trial '1' is at no place inside a shard"),
        (lambda told: told["shards"][1].update(name="../x.tar"), "shards.1.name: Value error, no plain file name"),
        (lambda told: told["shards"][1].update(name="/etc/passwd"), "no plain file name"),
        (lambda told: told["shards"][1].update(name=".."), "no plain file name"),
        (lambda told: told["shards"][1].update(bytes=-1), "shards.1.bytes: Input should be greater"),
    ],
)
def test_manifests_that_are_wrong(world: World, change: Change, message: str) -> None:
    """Each is refused with the field, the file and the remedy, before any shard is opened."""
    folder = packed(world).folder
    told = json.loads((folder / "pack.json").read_text())
    change(told)
    (folder / "pack.json").write_text(json.dumps(told))
    assert message in refused(world, folder).what


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("audio:offset", -512, "is at no place inside a shard"),
        ("audio:offset", 2**62, "is at no place inside a shard"),
        ("audio:size", 10**9, "is at no place inside a shard"),
        ("audio:size", -1, "is at no place inside a shard"),
        ("audio:shard", 4, "is at no place inside a shard"),
        ("audio:shard", -1, "is at no place inside a shard"),
        ("audio:crc", 2**32, "is at no place inside a shard"),
        ("audio:name", "a\nb", "is at no place inside a shard"),
        ("audio:offset", 1.5, "column 'audio:offset' is not one column of whole numbers"),
        ("audio:name", None, "column 'audio:name' is not one column of texts"),
        ("trial", "2", "trial '2' is listed twice"),
        ("label", "spoof", "its trials are not those of the digest"),
    ],
)
def test_tables_that_are_wrong(world: World, column: str, value: Any, message: str) -> None:
    """Nothing in trials.parquet leads out of a shard."""
    folder = packed(world).folder
    table = pq.read_table(folder / "trials.parquet").to_pandas()
    table[column] = [value, *table[column].tolist()[1:]]
    rewrite(folder, table)
    assert message in refused(world, folder).what


def test_tables_that_are_none(world: World) -> None:
    """No parquet, no such column, a column twice, no file."""
    folder = packed(world).folder
    table = pq.read_table(folder / "trials.parquet")
    rewrite(folder, table.drop_columns(["audio:crc"]))
    assert refused(world, folder).what == "no column 'audio:crc'"
    rewrite(folder, table.append_column("trial", table["trial"]))
    assert refused(world, folder).what.startswith("not readable: Multiple matches for FieldRef.Name(trial)")
    (folder / "trials.parquet").write_bytes(b"PAR1")
    assert refused(world, folder).what == "not the trial list that pack.json is of"
    told = json.loads((folder / "pack.json").read_text())
    (folder / "pack.json").write_text(json.dumps({**told, "table": hashlib.sha256(b"PAR1").hexdigest()}))
    assert refused(world, folder).what.startswith("not readable: ")
    (folder / "trials.parquet").unlink()
    assert refused(world, folder).what == "the trial list of the pack is missing"
    (folder / "pack.json").write_text("[" * 100_000)
    assert refused(world, folder).what.startswith("not readable: ")


def test_offsets_that_are_wrong_are_told_by_trial(world: World) -> None:
    """A place inside the shard that is another one's is no other audio under this id: the checksum says so."""
    folder = packed(world).folder
    table = pq.read_table(folder / "trials.parquet").to_pandas()
    table["audio:offset"] = table["audio:offset"].to_numpy()[[1, 0, *range(2, 10)]]
    rewrite(folder, table)
    notes = world.cell("det", "set", data={"set": folder}).scores()["note"].tolist()
    assert [bool(note) for note in notes] == [True] * 2 + [False] * 8
    assert notes[0].startswith("the shard does not hold the file that was packed here: shard://")
