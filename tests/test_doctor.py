"""Audits of local corpora find what was planted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench import doctor
from bench.doctor import Finding
from bench.errors import UsageError
from bench.progress import Silent
from bench.trials import digest
from tests.tiny import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def examine(world: World, *datasets: str, limit: int | None = None) -> list[Finding]:
    return doctor.examine(world.workspace(limit=limit), datasets, Silent())


def test_a_healthy_corpus(world: World) -> None:
    """Counts, digest, rates and durations by class are those of the files."""
    world.dataset("d", range(5))
    for number, seconds in ((1, 0.5), (3, 2.0)):
        soundfile.write(world.data / "audio" / f"{number}.wav", np.zeros(int(8_000 * seconds)), 8_000)
    (found,) = examine(world, "d")
    assert (found.trials, found.bonafide, found.spoof, found.healthy) == (5, 2, 3, True)
    assert found.digest == digest(world.workspace().dataset("d").trials)
    assert found.rates == {"bonafide": {8_000: 2}, "spoof": {16_000: 3}}
    assert found.seconds == {"bonafide": (0.5, 1.25, 2.0), "spoof": (0.005, 0.005, 0.005)}
    text = found.text().plain
    assert "5 trials: 2 bona fide, 3 spoof" in text
    assert "bonafide: 2 files at 8,000 Hz; 0.50 to 2.00 s, median 1.25 s" in text
    assert "every file is there and decodes" in text


def test_a_corpus_of_pieces(world: World) -> None:
    """Durations are those of the trials, while files, missing and undecodable ones too, count once."""
    for number, seconds in ((1, 2.5), (2, 1.0)):
        soundfile.write(world.audio(number), np.zeros(int(8_000 * seconds)), 8_000)
    world.audio(3).write_text("no audio")
    rows = [("1", 0, 1), ("1", 1, 2), ("1", 2, ""), ("2", 0, 1), ("3", 0, 1), ("3", 1, ""), ("4", 0, 1), ("4", 1, "")]
    lines = [f"audio/{name}.wav,{name}/{start},spoof,{start},{stop}" for name, start, stop in rows]
    (world.data / "cut.csv").write_text("\n".join(["path,trial,label,start,stop", *lines]))
    world.dataset("d", [0], arguments={"file": "cut.csv"})
    (found,) = examine(world, "d")
    assert (found.trials, found.rates) == (8, {"spoof": {8_000: 2}})
    assert found.seconds == {"spoof": (0.5, 1.0, 1.0)}
    assert found.missing == (str(world.data / "audio" / "4.wav"),)
    assert list(found.undecodable) == [str(world.data / "audio" / "3.wav")]
    (world.data / "cut.csv").write_text("path,label,start\naudio/2.wav,spoof,7\n")
    (found,) = examine(world, "d")
    path = str(world.data / "audio" / "2.wav")
    assert found.undecodable == {path: "the piece begins at 7 s, the file ends at 1.000 s"}


def test_planted_faults(world: World) -> None:
    """A missing file and undecodable ones are named, and do not hide the rest."""
    world.dataset("d", range(6))
    audio = world.data / "audio"
    (audio / "0.wav").unlink()
    (audio / "1.wav").write_bytes(b"a note")
    (audio / "2.wav").write_bytes((audio / "2.wav").read_bytes()[:-20])
    (found,) = examine(world, "d")
    assert found.missing == (str(audio / "0.wav"),)
    assert set(found.undecodable) == {str(audio / "1.wav"), str(audio / "2.wav")}
    assert "truncated" in found.undecodable[str(audio / "2.wav")]
    assert found.rates == {"bonafide": {16_000: 2}, "spoof": {16_000: 1}}
    assert not found.healthy
    text = found.text().plain
    assert f"  1 missing:\n    {audio / '0.wav'}\n  2 undecodable:\n    {audio / '1.wav'}: " in text
    assert "every file is there" not in text


def test_a_corpus_without_audio(world: World) -> None:
    """A list alone is ill: its first ten missing files are shown, all of them are in the JSON."""
    world.dataset("d", range(14), audio=False)
    (found,) = examine(world, "d")
    assert len(found.missing) == 14
    assert "    … and 4 more (--json names all)" in found.text().plain
    record = json.loads(json.dumps(found.as_dict()))
    assert (record["healthy"], len(record["missing"]), record["rates"]) == (False, 14, {})


def test_a_sample(world: World) -> None:
    """With a limit only files of the sample count, missing ones too."""
    world.dataset("d", range(20))
    sample = world.workspace(limit=4).evaluated("d").trials
    for number in range(20):
        if str(number) not in set(sample["trial"][1:]):
            (world.data / "audio" / f"{number}.wav").unlink()
    (found,) = examine(world, "d", limit=4)
    assert (found.name, found.trials, found.missing, dict(found.undecodable)) == ("d:4", 4, (sample["path"][0],), {})


def test_absent_corpora(world: World) -> None:
    """A corpus that is not here is an illness only where it was asked for by name; the remedy is told either way."""
    world.dataset("d", range(4))
    by_glob = {found.name: found for found in examine(world, "all")}
    assert by_glob["itw"].healthy
    assert by_glob["d"].healthy
    (named,) = examine(world, "itw")
    assert not named.healthy
    assert "meta.csv of In-the-Wild is not here" in named.text().plain
    assert "remedy: `bench fetch datasets itw`" in named.text().plain


def test_a_damaged_list(world: World) -> None:
    """A list that contradicts itself is the finding of its corpus, with its line; other corpora are still examined."""
    world.dataset("bad", range(4))
    world.dataset("good", range(4))
    (world.data / "bad.csv").write_text("path,label\naudio/1.wav,bonafide\naudio/2.wav,human\n")
    bad, good = examine(world, "bad,good")
    assert "unknown label 'human'" in bad.reason
    assert "line 3" in bad.reason
    assert (bad.healthy, good.healthy) == (False, True)


def test_counts_that_differ_from_the_published(world: World) -> None:
    """Another list than the published one is warned of, and is no illness."""
    world.dataset("d", range(4), counts={"trials": 5, "bonafide": 2, "spoof": 3})
    (found,) = examine(world, "d")
    assert found.healthy
    assert "warning: d is not the published list: trials 4 (published 5), spoof 2 (published 3)" in found.text().plain


def test_unknown_names(world: World) -> None:
    """A name nobody knows is wrong usage."""
    world.dataset("d", range(4))
    with pytest.raises(UsageError, match="no dataset is called 'itv'"):
        examine(world, "itv")


def test_real_corpora(shared: Path, world: World) -> None:
    """In MLAAD English the sample rate alone tells the classes apart, and the audit shows it."""
    workspace = world.workspace(data_root=shared / "corpora", cards=None)
    (found,) = doctor.examine(workspace, ["mlaad-en"], Silent())
    assert found.rates == {"bonafide": {16_000: 14}, "spoof": {22_050: 25}}
    assert found.healthy
