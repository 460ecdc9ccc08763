"""Members of shards: their paths, and their bytes one by one or a batch at once."""

from __future__ import annotations

import multiprocessing
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from bench import audio
from bench.cards import AudioRecipe
from bench.errors import AudioError, DataError
from bench.shards import Member, is_address, member, place_of, reading, shard_of, storage
from bench.shards.reading import content, fetch
from bench.shards.storage import Range
from bench.trials import Span

RATE = 16_000
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def shard_at(address: str, contents: Sequence[bytes], names: Sequence[str] = (), gap: int = 512) -> list[str]:
    """Write a shard of these contents with gaps between them; the paths of its members."""
    paths, body = [], b""
    for number, one in enumerate(contents):
        body += b"\xff" * gap
        name = names[number] if names else f"{number}.bin"
        paths.append(Member(address, len(body), len(one), zlib.crc32(one), name).path)
        body += one
    with fsspec.open(address, "wb") as file:
        file.write(body)
    return paths


def read(path: str) -> bytes:
    found = member(path)
    assert found is not None
    return content(path, found)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[Range]]:
    """The ranges that are asked for together, call by call."""
    calls: list[list[Range]] = []

    def ranges(wanted: Sequence[Range]) -> list[bytes | Exception]:
        calls.append(list(wanted))
        return storage.ranges(wanted)

    monkeypatch.setattr(reading, "ranges", ranges)
    return calls


def file_of(kind: str, folder: Path) -> Path:
    """Noise of two channels in a container."""
    place = folder / f"a.{kind}"
    wave = (0.1 * np.random.default_rng(0).standard_normal((4_000, 2))).clip(-1, 1)
    if kind != "m4a":
        soundfile.write(place, wave, 22_050)
        return place
    with av.open(str(place), "w") as out:
        stream = out.add_stream("aac", rate=22_050)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave.T, np.float32), "fltp", "stereo")
        frame.rate = 22_050
        out.mux([*stream.encode(frame), *stream.encode(None)])
    return place


@given(texts, st.integers(0, 10**18 - 1), st.integers(0, 10**18 - 1), st.integers(0, 2**32 - 1), st.text())
def test_a_path_names_its_member(address: str, offset: int, size: int, crc: int, name: str) -> None:
    """Whatever characters the address and the name hold, the path tells both apart again."""
    one = Member(address, offset, size, crc, name)
    assert member(one.path) == one
    assert shard_of(one.path) == address


@given(st.text().map(os.path.normpath))
def test_no_normalised_path_is_a_member(path: str) -> None:
    """So no name of a protocol, which readers normalise, can ask for an address."""
    for name in (path, os.path.normpath(f"shard://{path}#0+1:00000000/x")):
        assert member(name) is None and shard_of(name) is None


def test_what_is_no_member() -> None:
    """A pathlib path, and a text that only begins as one."""
    path = Member("/p/s.tar", 512, 7, 1, "a.wav").path
    assert path == "shard:///p/s.tar#512+7:00000001/a.wav"
    assert member(Path(path)) is None
    assert member("shard:///p/s.tar") is None
    assert member("shard:///p/s.tar#512+-7:00000001/a.wav") is None
    assert Member("/p/s.tar", 512, 7, 1, "a/b.wav").told == "s.tar/a/b.wav"


def test_addresses_are_no_paths() -> None:
    """A place with `://` stays the text it is: as a Path it would lose a slash."""
    assert place_of("s3://b/packs/itw") == "s3://b/packs/itw" and is_address("memory://x")
    assert place_of("data/packs") == Path("data/packs") and not is_address("data/packs")
    assert not is_address(Path("s3://b"))


@pytest.mark.parametrize("base", ["", "memory://batch"])
def test_a_batch_is_one_request(base: str, tmp_path: Path, asked: list[list[Range]]) -> None:
    """Neighbours in any order are one range, and all ranges of a batch are asked for together; then nothing is."""
    folder = base or str(tmp_path)
    one = shard_at(f"{folder}/a.tar", [bytes([n]) * (n + 1) for n in range(9)])
    two = shard_at(f"{folder}/b.tar", [b"left", b"right"], gap=reading.GAP + 1)
    with fetch([*reversed(one), *two, "loose.wav"]):
        assert [read(path) for path in one] == [bytes([n]) * (n + 1) for n in range(9)]
        assert [read(path) for path in two] == [b"left", b"right"]
    ((first, *rest),) = asked
    assert first == Range(f"{folder}/a.tar", 512, 9 * 512 + 45)
    assert [(one.address, one.stop - one.start) for one in rest] == [(f"{folder}/b.tar", 4), (f"{folder}/b.tar", 5)]
    assert read(one[3]) == b"\x03\x03\x03\x03"  # by itself
    assert len(asked) == 2 and reading._ahead == {}


def test_what_is_read_ahead_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[list[Range]]
) -> None:
    """A range and a batch have a longest size; what is beyond is read when it is wanted."""
    monkeypatch.setattr(reading, "LONGEST", 1_400)
    monkeypatch.setattr(reading, "MOST", 700)
    paths = shard_at(str(tmp_path / "a.tar"), [bytes([n]) * 200 for n in range(5)])
    with fetch(paths):
        assert [one.stop - one.start for one in asked[0]] == [200 + 512 + 200, 200]
        assert [read(path)[0] for path in paths] == [0, 1, 2, 3, 4]
    assert len(asked) == 3


def test_a_batch_with_a_bad_member_has_the_others(tmp_path: Path) -> None:
    """What cannot be read ahead is told where it is wanted, as of a single read."""
    good = shard_at(str(tmp_path / "a.tar"), [b"one", b"", b"two"])
    gone = Member(str(tmp_path / "gone.tar"), 0, 3, 0, "x.wav").path
    with fetch([*good, gone, Member("nowhere://x/a.tar", 0, 3, 0, "x.wav").path]):
        assert [read(path) for path in good] == [b"one", b"", b"two"]
        with pytest.raises(AudioError, match="the file is missing: its shard is not here") as caught:
            read(gone)
    assert caught.value.where == gone and caught.value.remedy == "copy this shard of the pack again"


def test_damaged_shards(tmp_path: Path) -> None:
    """Cut, with other content, or at an address that nothing reads: an error that names shard, member and remedy."""
    place = tmp_path / "a.tar"
    first, last = shard_at(str(place), [b"abcdef", b"ghijkl"])
    place.write_bytes(place.read_bytes()[:-2])
    with pytest.raises(AudioError, match="truncated: its shard holds 4 of its 6 bytes") as caught:
        read(last)
    assert caught.value.where == last
    found = member(first)
    assert found is not None
    moved = found._replace(offset=found.offset + 1).path
    with fetch([moved]), pytest.raises(AudioError, match="does not hold the file that was packed here"):
        read(moved)
    with pytest.raises(AudioError, match="the pack cannot be read: ValueError: Protocol not known"):
        read(found._replace(address="nowhere://b/a.tar").path)


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "aiff", "ogg", "m4a"])
def test_samples_are_those_of_the_file(kind: str, tmp_path: Path) -> None:
    """Of every container and through every function of `bench.audio`, bit for bit and by the same decoder."""
    loose = file_of(kind, tmp_path)
    (packed,) = shard_at(str(tmp_path / "s.tar"), [loose.read_bytes()], [loose.name])
    np.testing.assert_array_equal(audio.decode(packed)[0], audio.decode(loose)[0])
    assert audio.decode_whole(packed).decoder == audio.decode_whole(loose).decoder
    assert audio.header(packed) == audio.header(loose) == next(audio.headers([packed]))
    recipe, span = AudioRecipe(window="tile", samples=5_000), Span(0.01, 0.1)
    for one, other in zip(audio.prepare(packed, recipe, span), audio.prepare(loose, recipe, span), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("name", "data"), [("a.wav", b""), ("b.wav", b"no audio"), ("c.raw", bytes(64))])
def test_refusals_are_those_of_the_file(name: str, data: bytes, tmp_path: Path) -> None:
    """An empty file, no audio, a name that soundfile has a mind of its own about: the same words."""
    loose = tmp_path / name
    loose.write_bytes(data)
    (packed,) = shard_at(str(tmp_path / "s.tar"), [data], [name])
    for look in (audio.decode, audio.header):
        with pytest.raises(AudioError) as first:
            look(loose)
        with pytest.raises(AudioError) as second:
            look(packed)
        assert (second.value.what, second.value.remedy) == (first.value.what, first.value.remedy)
        assert second.value.where == packed


def test_a_wav_that_is_cut_short(tmp_path: Path) -> None:
    """Its header promises more than the member holds: refused as a loose one, though decoders would read it."""
    loose = file_of("wav", tmp_path)
    (packed,) = shard_at(str(tmp_path / "s.tar"), [loose.read_bytes()[:-100]], ["a.wav"])
    with pytest.raises(AudioError, match="truncated: 15,900 of 16,000 bytes of samples"):
        audio.decode(packed)


def _decoded(path: str, out: str) -> None:
    np.save(out, audio.decode(path)[0])


def test_a_forked_process_reads_for_itself(tmp_path: Path) -> None:
    """A store that the parent has read from, and what the parent has read ahead, do no harm in its child."""
    loose = file_of("wav", tmp_path)
    paths = shard_at("memory://forked/s.tar", [loose.read_bytes()] * 2, ["a.wav", "b.wav"])
    with fetch(paths[:1]):
        child = multiprocessing.get_context("fork").Process(target=_decoded, args=(paths[1], f"{tmp_path}/out.npy"))
        child.start()
        child.join(60)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), audio.decode(loose)[0])


def test_files_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Local ones are looked at, a remote folder is listed once, and a store without listings is asked file by file."""
    (tmp_path / "a.tar").touch()
    local = [str(tmp_path / name) for name in ("a.tar", "b.tar")]
    shard_at("memory://there/a.tar", [b"x"])
    remote = ["memory://there/a.tar", "memory://there/b.tar", "memory://elsewhere/c.tar"]
    assert storage.present([*local, *remote]) == {local[0], remote[0]}
    system, _ = storage._remote(remote[0])
    monkeypatch.setattr(type(system), "ls", lambda *_, **__: [])
    assert storage.present(remote[:2]) == {remote[0]}

    def fails(*_: object, **__: object) -> list[str]:
        raise PermissionError("access denied")

    monkeypatch.setattr(type(system), "ls", fails)
    with pytest.raises(DataError, match="PermissionError: access denied") as caught:
        storage.present(remote[:2])
    assert caught.value.where == "memory://there" and "permissions" in str(caught.value.remedy)
