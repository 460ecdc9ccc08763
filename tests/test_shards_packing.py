"""Loose files into shards: what lies in them, read by tools of others, and what a kill leaves."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench import corpora
from bench.corpora import Dataset
from bench.errors import DataError, StoreError, UsageError
from bench.progress import Silent
from bench.shards import member, packing
from bench.shards.packing import Form, Packed, pack
from bench.shards.reading import content
from bench.trials import digest, validate
from tests.tiny import World, files_below

FORMS: tuple[Form, ...] = ("tar", "parquet")


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.dataset("set", range(1, 11))
    return world


def made(world: World, form: Form = "tar", name: str = "set", shard_bytes: int = 700, out: str = "out") -> Packed:
    return pack(world.workspace().dataset(name), world.root / out, Silent(), form=form, shard_bytes=shard_bytes)


def contents(folder: Path) -> dict[str, bytes]:
    return {place.name: place.read_bytes() for place in files_below(folder)}


def opened(world: World, packed: Packed, name: str = "set") -> Dataset:
    return world.workspace(data={name: packed.folder}).dataset(name)


def test_a_tar_is_a_tar(world: World) -> None:
    """Python's tarfile reads each file of the corpus under its trial id, in the order of the list, three a shard."""
    packed = made(world)
    assert [shard.name for shard in packed.manifest.shards] == [f"set-0000{number}.tar" for number in range(4)]
    found = {}
    for shard in packed.manifest.shards:
        with tarfile.open(packed.folder / shard.name) as tar:
            for info in tar:
                file = tar.extractfile(info)
                assert file is not None
                found[info.name] = file.read()
    assert list(found) == [f"{number}.wav" for number in range(1, 11)]
    assert all(found[name] == (world.data / "audio" / name).read_bytes() for name in found)


def test_parquet_is_what_the_hub_has(world: World) -> None:
    """pyarrow reads trial, label and the audio as bytes and path, of the type that the hub shows as audio."""
    packed = made(world, "parquet")
    table = pq.read_table([packed.folder / shard.name for shard in packed.manifest.shards])
    rows = table.to_pylist()
    trials = world.workspace().dataset("set").trials
    assert [(row["trial"], row["label"]) for row in rows] == list(zip(trials["trial"], trials["label"], strict=True))
    for row, path in zip(rows, trials["path"], strict=True):
        assert row["audio"] == {"bytes": Path(path).read_bytes(), "path": Path(path).name}
    told = json.loads(table.schema.metadata[b"huggingface"])
    assert told["info"]["features"]["audio"] == {"_type": "Audio"}


def test_row_groups_are_small(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of parquet gets a few trials, and not a shard, with each of them."""
    monkeypatch.setattr(packing, "ROW_GROUP", 500)
    packed = made(world, "parquet", shard_bytes=10**6)
    file = pq.ParquetFile(packed.folder / "set-00000.parquet")
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [3, 3, 3, 1]
    assert file.schema_arrow.names == ["trial", "label", "audio"]


@pytest.mark.parametrize("form", FORMS)
def test_members_are_the_files(world: World, form: Form) -> None:
    """Each path of the packed table gives the bytes of the loose file; an empty file and equal ones, too."""
    for name, data in (("3", b""), ("5", b"same"), ("6", b"same")):
        (world.data / "audio" / f"{name}.wav").write_bytes(data)
    found = opened(world, made(world, form)).trials
    for packed, loose in zip(found["path"], world.workspace().dataset("set").trials["path"], strict=True):
        one = member(packed)
        assert one is not None and content(packed, one) == Path(loose).read_bytes()
        assert one.name == Path(loose).name


@pytest.mark.parametrize("form", FORMS)
def test_the_same_files_give_the_same_bytes(world: World, form: Form) -> None:
    """And a manifest that names bytes and sha256 of every shard."""
    first, second = made(world, form), made(world, form, out="again")
    assert contents(first.folder) == contents(second.folder)
    for shard in first.manifest.shards:
        data = (first.folder / shard.name).read_bytes()
        assert (shard.bytes, shard.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_a_file_of_several_trials_is_packed_once(world: World) -> None:
    """Pieces keep start and stop, and read the one copy."""
    world.corpus("pieces", [1, 3])
    lines = ["path,trial,label,start,stop", "audio/1.wav,a,bonafide,,0.002", "audio/3.wav,b,spoof,,"]
    (world.data / "pieces.csv").write_text("\n".join([*lines, "audio/1.wav,c,bonafide,0.002,"]))
    loose = world.workspace(data={"pieces": world.data / "pieces.csv"}).dataset("pieces")
    packed = pack(loose, world.root / "out", Silent())
    with tarfile.open(packed.folder / "pieces-00000.tar") as tar:
        assert tar.getnames() == ["a.wav", "b.wav"]
    assert packed.files == 2
    found = opened(world, packed, "pieces").trials
    assert found["path"].iloc[0] == found["path"].iloc[2] != found["path"].iloc[1]
    pd.testing.assert_frame_equal(found.drop(columns="path"), loose.trials.drop(columns="path"))


@pytest.mark.parametrize(
    "trial", ["../x", "/etc/x", "a//b", "..", "a\\b", "x" * 180, "ümläut/名", "50%#1+2:00000000/y"]
)
def test_odd_ids(world: World, trial: str, tmp_path: Path) -> None:
    """Any id is packed and found again; none leads a `tar x` out of its folder."""
    place = world.audio(1)
    table = validate(pd.DataFrame({"trial": [trial], "path": [str(place)], "label": ["spoof"]}), "list")
    published = {"reader": "tests.tiny:published_list", "arguments": {"file": "x"}}
    about = corpora.own_card("odd", world.data / "audio").model_copy(update=published)
    packed = pack(Dataset(about, table, digest(table), ()), tmp_path / "out", Silent())
    found = corpora.load(about, world.data, pack=packed.folder)
    assert found.trials["trial"].tolist() == [trial]
    one = member(found.trials["path"].iloc[0])
    assert one is not None and content(one.path, one) == place.read_bytes()
    with tarfile.open(packed.folder / "odd-00000.tar") as tar:
        tar.extractall(tmp_path / "x", filter="data")
        (name,) = tar.getnames()
    assert (tmp_path / "x" / name).resolve().is_relative_to(tmp_path / "x")
    assert (tmp_path / "x" / name).read_bytes() == place.read_bytes()


class Killed(BaseException):
    pass


@pytest.mark.parametrize(("form", "at"), [("tar", 1), ("tar", 5), ("tar", 10), ("parquet", 5)])
def test_a_killed_packing_goes_on(world: World, monkeypatch: pytest.MonkeyPatch, form: Form, at: int) -> None:
    """Finished shards are kept, the rest is made, nothing half-written is taken for whole."""
    whole = made(world, form, out="whole")
    real = packing._content
    read: list[str] = []

    def dies(file: Any) -> bytes:
        read.append(file.trial)
        if len(read) == at:
            raise Killed
        return real(file)

    monkeypatch.setattr(packing, "AHEAD", 1)
    monkeypatch.setattr(packing, "_content", dies)
    with pytest.raises(Killed):
        made(world, form)
    folder = world.root / "out"
    (folder / ".0123.part").write_bytes(b"what a SIGKILL leaves")
    assert not (folder / "pack.json").exists()
    kept = len(list(folder.glob(f"set-*.{form}")))
    assert kept == (at - 1) // 3
    read.clear()
    at = 0
    packed = made(world, form)
    assert packed.new and read == [str(number) for number in range(3 * kept + 1, 11)]
    assert contents(folder) == contents(whole.folder)


def test_a_killed_packing_of_other_files(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of another size, or of files that have changed since, are made again; none of them is left over."""
    monkeypatch.setattr(packing, "_table", lambda *_: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        made(world, shard_bytes=1)
    assert len(list((world.root / "out").glob("set-*.tar"))) == 10
    monkeypatch.undo()
    world.audio(2, frames=90)
    packed = made(world)
    assert contents(packed.folder) == contents(made(world, out="whole").folder)


def test_what_is_packed_already(world: World) -> None:
    """The same command again does nothing; other files, or a shard that is gone, are told."""
    first = made(world)
    before = contents(first.folder)
    again = made(world)
    assert not again.new and again.manifest == first.manifest and contents(first.folder) == before
    (first.folder / "set-00001.tar").unlink()
    with pytest.raises(UsageError, match="another pack, or a damaged one, of set") as caught:
        made(world)
    assert caught.value.remedy == "delete it, or name another folder with --out"
    assert (first.folder / "set-00000.tar").exists()


def test_a_foreign_folder_is_left_alone(world: World) -> None:
    """Nothing is written into a folder with other files in it."""
    (world.root / "out").mkdir()
    (world.root / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="this folder holds other files than a pack") as caught:
        made(world)
    assert caught.value.where == str(world.root / "out")
    assert contents(world.root / "out") == {"thesis.txt": b"mine"}


def test_missing_audio_is_refused(world: World) -> None:
    """With the count, the first file and how to get it; no folder is made."""
    for number in (3, 7):
        (world.data / "audio" / f"{number}.wav").unlink()
    with pytest.raises(DataError, match="2 of 10 trials of set have no audio file here") as caught:
        made(world)
    assert caught.value.where == str(world.data / "audio" / "3.wav")
    assert caught.value.remedy == "get set from its author"
    assert not (world.root / "out").exists()


def test_what_cannot_be_packed(world: World) -> None:
    """A perturbed dataset, one from a pack, a column of the packs' own."""
    with pytest.raises(UsageError, match=r"the files of set\+mulaw are those of set"):
        made(world, name="set+mulaw")
    packed = made(world)
    with pytest.raises(UsageError, match="set is read from a pack already") as caught:
        pack(opened(world, packed), world.root / "other", Silent())
    assert caught.value.where == str(packed.folder)
    (world.data / "set.csv").write_text("path,trial,label,audio:crc\naudio/1.wav,1,spoof,x\n")
    with pytest.raises(DataError, match="column 'audio:crc' of set is one that packs use"):
        made(world)


def test_a_file_that_changes_meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was planned is what is packed, or an error: no shard holds half of a file."""
    real = packing._shard

    def grows(*rest: Any) -> Any:
        world.audio(1, frames=99)
        return real(*rest)

    monkeypatch.setattr(packing, "_shard", grows)
    with pytest.raises(DataError, match="changed while it was packed: 242 bytes instead of 204"):
        made(world)
    assert not list((world.root / "out").glob("set-*"))


def test_a_folder_that_cannot_be_written(world: World) -> None:
    """The remedy names the option of this command."""
    (world.root / "out").write_text("a file")
    with pytest.raises(StoreError) as caught:
        made(world)
    assert caught.value.remedy == "choose a folder you may write to with --out"


def test_two_at_once(world: World) -> None:
    """The second is told that a first is at work."""
    with packing._claimed(world.root / "out"), pytest.raises(DataError, match="another process is packing here"):
        made(world)
