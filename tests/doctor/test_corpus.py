"""Audits of tiny corpora: what is told of them, and to whom."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench import audio, doctor
from bench.doctor import Audit, Finding
from bench.errors import UsageError
from bench.progress import Silent
from bench.trials import digest
from tests.tiny import RATE, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def examine(world: World, *datasets: str, limit: int | None = None) -> list[Audit]:
    return doctor.examine(world.workspace(limit=limit), datasets, Silent())


def kinds(audit: Audit) -> dict[str, Finding]:
    return {finding.kind: finding for finding in audit.findings}


def errors(audit: Audit) -> dict[str, Finding]:
    return {finding.kind: finding for finding in audit.of("error")}


def test_a_healthy_corpus(world: World) -> None:
    """Counts, digest, rates, channels, decoders and durations by class are those of the files."""
    world.dataset("d", range(5))
    for number, seconds in ((1, 0.5), (3, 2.0)):
        wave = np.full((int(8_000 * seconds), 2), number / 100)
        soundfile.write(world.data / "audio" / f"{number}.wav", wave, 8_000)
    (found,) = examine(world, "d")
    facts = found.facts
    assert (facts["trials"], facts["files"], facts["labels"]) == (5, 5, {"bonafide": 2, "spoof": 3})
    assert facts["digest"] == digest(world.workspace().dataset("d").trials)
    assert facts["rates"] == {"bonafide": {8_000: 2}, "spoof": {16_000: 3}}
    assert facts["channels"] == {"bonafide": {2: 2}, "spoof": {1: 3}}
    assert facts["decoders"] == {"soundfile": 5, "PyAV alone": 0}
    assert facts["seconds"] == {"bonafide": (0.5, 1.25, 2.0), "spoof": pytest.approx((0.005, 0.005, 0.005))}
    assert found.healthy and found.files == 5
    text = found.text().plain
    assert "5 trials: 2 bona fide, 3 spoof" in text
    assert "bonafide: 2 files at 8,000 Hz (2 of 2 channels); 0.50 to 2.00 s, median 1.25 s" in text
    assert "every file is there and decodes" in text


def test_a_corpus_of_pieces(world: World) -> None:
    """Durations are those of the trials, while files, missing and undecodable ones too, count once."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 20_000)
    for number, seconds in ((1, 2.5), (2, 1.0)):
        soundfile.write(world.audio(number), noise[: int(8_000 * seconds)], 8_000)
    world.audio(3).write_text("no audio")
    rows = [("1", 0, 1), ("1", 1, 2), ("1", 2, ""), ("2", 0.5, 1), ("3", 0, 1), ("3", 1, ""), ("4", 0, 1), ("4", 1, "")]
    lines = [f"audio/{name}.wav,{name}/{start},spoof,{start},{stop}" for name, start, stop in rows]
    (world.data / "cut.csv").write_text("\n".join(["path,trial,label,start,stop", *lines]))
    world.dataset("d", [0], arguments={"file": "cut.csv"})
    (found,) = examine(world, "d")
    assert (found.facts["trials"], found.facts["files"], found.facts["rates"]) == (8, 4, {"spoof": {8_000: 2}})
    assert found.facts["seconds"] == {"spoof": (0.5, 0.75, 1.0)}
    assert set(errors(found)) == {"missing", "undecodable"}
    assert errors(found)["missing"].examples == (str(world.data / "audio" / "4.wav"),)
    assert errors(found)["undecodable"].examples[0].startswith(str(world.data / "audio" / "3.wav"))
    assert kinds(found)["not listed"].examples == (str(world.data / "audio" / "0.wav"),)
    (world.data / "cut.csv").write_text("path,label,start\naudio/2.wav,spoof,7\n")
    (found,) = examine(world, "d")
    assert errors(found)["outside"].examples == (
        f"{world.data / 'audio' / '2.wav'}: the piece begins at 7 s, the file ends at 1.000 s",
    )


def test_a_file_is_decoded_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pieces a file has, in whatever order they are listed."""
    for number in range(40):
        soundfile.write(world.audio(number), np.full(RATE, number / 100), RATE)
    rows = [f"audio/{n}.wav,{n}/{start},spoof,{start},{start + 0.1}" for start in (0, 0.5) for n in range(40)]
    (world.data / "cut.csv").write_text("\n".join(["path,trial,label,start,stop", *rows]))
    world.dataset("d", [0], arguments={"file": "cut.csv"})
    world.audio(0, frames=RATE)
    decoded: list[str] = []
    real = audio.decode_whole

    def decode_whole(path: str) -> audio.Decoded:
        decoded.append(Path(path).stem)
        return real(path)

    monkeypatch.setattr(audio, "decode_whole", decode_whole)
    (found,) = examine(world, "d")
    assert found.healthy
    assert sorted(map(int, decoded)) == list(range(40))
    assert found.facts["seconds"] == {"spoof": pytest.approx((0.1, 0.1, 0.1))}


def test_a_corpus_without_audio(world: World) -> None:
    """A list alone is ill: its first ten missing files are shown, all of them are in the JSON."""
    world.dataset("d", range(14), audio=False)
    (found,) = examine(world, "d")
    assert errors(found)["missing"].what == "14 of 14 audio files missing"
    text = found.text().plain
    assert "    … and 4 more (--json names all)\n    remedy: get d from its author" in text
    assert "every file is there" not in text
    record = json.loads(json.dumps(found.as_dict()))
    assert (record["healthy"], len(record["findings"][0]["examples"]), record["rates"]) == (False, 14, {})


def test_a_sample(world: World) -> None:
    """With a limit only files of the sample count, missing ones too, and the rest is not called unlisted."""
    world.dataset("d", range(20))
    sample = world.workspace(limit=4).evaluated("d").trials
    for number in range(20):
        if str(number) not in set(sample["trial"][1:]) and number != 19:
            (world.data / "audio" / f"{number}.wav").unlink()
    (found,) = examine(world, "d", limit=4)
    assert (found.name, found.facts["trials"], found.files) == ("d:4", 4, 4)
    assert errors(found)["missing"].examples == (sample["path"][0],)
    assert "not listed" not in kinds(found)


def test_siblings_are_compared(world: World) -> None:
    """The same samples in two lists of one family are told of both, and a shared file is no stray of either."""
    world.dataset("d", range(4))
    world.dataset("d-train", range(4, 8), sibling_of="d")
    wave = np.random.default_rng(1).uniform(-0.5, 0.5, 800)
    soundfile.write(world.audio(2), wave, 16_000, subtype="PCM_16")
    soundfile.write(world.audio(4), wave, 16_000, subtype="PCM_16")
    one, other = examine(world, "d,d-train")
    assert kinds(one)["duplicate: sibling"].examples == ("2 = 4 of d-train",)
    assert kinds(other)["duplicate: sibling"].examples == ("4 = 2 of d",)
    assert kinds(one)["duplicate: sibling"].severity == "warning"
    assert not {"not listed"} & (kinds(one).keys() | kinds(other).keys())
    (alone,) = examine(world, "d")
    assert "duplicate: sibling" not in kinds(alone)
    assert kinds(alone)["not listed"].count == 4


def test_absent_corpora(world: World) -> None:
    """A corpus that is not here is an error only where it was asked for by name; the remedy is told either way."""
    world.dataset("d", range(4))
    by_glob = {found.name: found for found in examine(world, "all")}
    assert by_glob["itw"].absent and by_glob["itw"].healthy
    assert by_glob["d"].healthy
    assert doctor.totals(list(by_glob.values()))["notes"] == len(by_glob["d"].of("note"))
    summary = doctor.summary(list(by_glob.values())).plain
    assert "examined: 1 dataset, 0 score files, 0 checkpoints; 4 files read" in summary
    assert "asvspoof2021-la, itw, mlaad-en (`bench list datasets` tells how to get them)" in summary
    (named,) = examine(world, "itw")
    assert not named.healthy
    assert "meta.csv of In-the-Wild is not here" in named.text().plain
    assert "remedy: `bench fetch datasets itw`" in named.text().plain


def test_what_to_do_first(world: World) -> None:
    """The summary begins with an error of what is here, before what is not, and tells its remedy."""
    world.dataset("d", range(4), audio=False)
    summary = doctor.summary(examine(world, "itw,d")).plain
    assert "found: 2 errors, 0 warnings" in summary
    assert "first: d: 4 of 4 audio files missing\n    remedy: get d from its author" in summary


def test_a_damaged_list(world: World) -> None:
    """A list that contradicts itself is the finding of its corpus, with its line; other corpora are still examined."""
    world.dataset("bad", range(4))
    world.dataset("good", range(4))
    (world.data / "bad.csv").write_text("path,label\naudio/1.wav,bonafide\naudio/2.wav,human\n")
    bad, good = examine(world, "bad,good")
    (finding,) = bad.findings
    assert (finding.kind, finding.severity) == ("list", "error")
    assert "unknown label 'human'" in finding.what
    assert "line 3" in finding.what
    assert (bad.healthy, bad.absent, good.healthy) == (False, False, True)


def test_counts_that_differ_from_the_published(world: World) -> None:
    """Another list than the published one is noted with both counts, and is no fault."""
    world.dataset("d", range(4), counts={"trials": 5, "bonafide": 2, "spoof": 3})
    (found,) = examine(world, "d")
    finding = kinds(found)["not the published list"]
    assert finding.severity == "note"
    assert finding.what == "d is not the published list: trials 4 (published 5), spoof 2 (published 3)"


def test_speakers_and_attacks(world: World) -> None:
    """Speakers of one class and attacks of fewer than ten trials are noted."""
    rows = [
        f"audio/{n}.wav,{n},{'bonafide' if n % 2 else 'spoof'},{'ab'[n > 1]},{'' if n % 2 else 'x'}" for n in range(3)
    ]
    for number in range(3):
        world.audio(number)
    (world.data / "list.csv").write_text("\n".join(["path,trial,label,speaker,attack", *rows]))
    world.dataset("d", [0], arguments={"file": "list.csv"})
    (found,) = examine(world, "d")
    assert kinds(found)["one-sided speakers"].examples == ("b",)
    assert kinds(found)["rare attacks"].examples == ("x: 2",)


def test_what_cannot_be_audited(world: World) -> None:
    """A name nobody knows is wrong usage, and so is a perturbation, whose files are those of the clean dataset."""
    world.dataset("d", range(4))
    with pytest.raises(UsageError, match="no dataset is called 'itv'"):
        examine(world, "itv")
    with pytest.raises(UsageError, match=r"the files of d\+mp3@64k are those of d") as caught:
        examine(world, "d+mp3@64k")
    assert caught.value.remedy


def test_a_decoder_that_fails_in_its_own_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of a decoder is the finding of its file, and does not end the audit."""
    world.dataset("d", range(4))
    real = audio.decode_whole

    def decode_whole(path: str) -> audio.Decoded:
        if path.endswith("/2.wav"):
            raise ValueError("a defect")
        return real(path)

    monkeypatch.setattr(audio, "decode_whole", decode_whole)
    (found,) = examine(world, "d")
    assert errors(found)["undecodable"].examples == (f"{world.data / 'audio' / '2.wav'}: ValueError: a defect",)
