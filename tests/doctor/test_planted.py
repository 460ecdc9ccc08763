"""Faults planted one by one in a copy of real corpora are found and called by their name; there are none without."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from bench import doctor
from bench.doctor import Audit, Finding
from bench.progress import Silent
from bench.workspace import Options, Workspace

LA = "asvspoof2019/LA"
EACH = 22  # In-the-Wild files of each class in a copy: enough for a shortcut to be more than a note
PROTOCOLS = {"train": "train.trn", "dev": "dev.trl", "eval": "eval.trl"}


def examine(root: Path, *datasets: str) -> list[Audit]:
    return doctor.examine(Workspace(Options(data_root=root)), datasets, Silent())


class Copy:
    """A copy of the small corpora that may be spoilt."""

    def __init__(self, source: Path, root: Path) -> None:
        self.source, self.root = source, root

    def asvspoof(self, *splits: str) -> None:
        """Copy some splits; `eval`, `dev`, `train`."""
        for split in splits:
            folder = f"{LA}/ASVspoof2019_LA_{split}/flac"
            shutil.copytree(self.source / folder, self.root / folder)
            self.protocol(split).parent.mkdir(exist_ok=True)
            shutil.copyfile(self.source / self.protocol(split).relative_to(self.root), self.protocol(split))

    def protocol(self, split: str) -> Path:
        return self.root / LA / "ASVspoof2019_LA_cm_protocols" / f"ASVspoof2019.LA.cm.{PROTOCOLS[split]}.txt"

    def trials(self, split: str, label: str) -> list[Path]:
        """The files of a class, in the order of the list."""
        lines = [line.split() for line in self.protocol(split).read_text().splitlines()]
        folder = self.root / LA / f"ASVspoof2019_LA_{split}" / "flac"
        return [folder / f"{fields[1]}.flac" for fields in lines if fields[-1] == label]

    def in_the_wild(self) -> None:
        """Copy some files of each class, with their lines."""
        home, place = self.source / "itw/release_in_the_wild", self.root / "itw/release_in_the_wild"
        place.mkdir(parents=True)
        head, *lines = (home / "meta.csv").read_text().splitlines()
        classes = ([line for line in lines if line.endswith(f",{label}")] for label in ("bona-fide", "spoof"))
        kept = [line for lines in classes for line in lines[:EACH]]
        (place / "meta.csv").write_text("\n".join([head, *kept]) + "\n")
        for line in kept:
            shutil.copyfile(home / line.partition(",")[0], place / line.partition(",")[0])

    def bonafide(self) -> list[Path]:
        """The bona fide files of In-the-Wild."""
        place = self.root / "itw/release_in_the_wild"
        lines = (place / "meta.csv").read_text().splitlines()
        return [place / line.partition(",")[0] for line in lines if line.endswith(",bona-fide")]


@pytest.fixture
def copy(shared: Path, tmp_path: Path) -> Copy:
    return Copy(shared / "corpora", tmp_path)


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], rate: int | None = None, **options: str) -> None:
    """Change the samples of a file, or its rate."""
    wave, own = soundfile.read(path)
    soundfile.write(path, change(wave), rate or own, **options)


def found(audit: Audit, kind: str) -> Finding:
    findings = {finding.kind: finding for finding in audit.findings}
    assert kind in findings, list(findings)
    return findings[kind]


def only_error(audit: Audit, kind: str) -> Finding:
    """The finding of this kind, which is the one error."""
    (finding,) = audit.of("error")
    assert finding.kind == kind
    assert finding.remedy
    return finding


def test_the_clean_corpora(shared: Path) -> None:
    """Nothing is wrong with the small corpora as they are: no error, no warning, and every file decodes."""
    audits = examine(shared / "corpora", "itw,mlaad-en,asvspoof2019-la,asvspoof2019-la-train,asvspoof2019-la-dev")
    assert [(audit.name, audit.files) for audit in audits] == [
        ("itw", 140),
        ("mlaad-en", 39),
        ("asvspoof2019-la", 37),
        ("asvspoof2019-la-train", 19),
        ("asvspoof2019-la-dev", 19),
    ]
    for audit in audits:
        assert (audit.of("error"), audit.of("warning")) == ([], [])
        assert "every file is there and decodes" in audit.text().plain
    itw, mlaad, *_ = audits
    # What is notable in them: the list is not the published one, and in MLAAD the sample rate tells the classes apart.
    assert "trials 140 (published 31,779)" in found(itw, "not the published list").what
    assert itw.facts["rates"] == {"bonafide": {16_000: 34, 22_050: 11}, "spoof": {16_000: 62, 22_050: 33}}
    assert mlaad.facts["rates"] == {"bonafide": {16_000: 14}, "spoof": {22_050: 25}}
    assert "EER 100.0 %" in found(mlaad, "shortcut: sample rate").what
    assert "only 14 trials of one class" in found(mlaad, "shortcut: sample rate").what


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def as_wav(path: Path, **options: str) -> Path:
    """The same recording as a WAV file."""
    wave, rate = soundfile.read(path)
    path.unlink()
    soundfile.write(path.with_suffix(".wav"), wave, rate, **options)
    return path.with_suffix(".wav")


def truncated_wav(path: Path) -> None:
    truncated(as_wav(path))


def with_nan(path: Path) -> None:
    wave, rate = soundfile.read(path)
    wave[100] = np.nan
    path.unlink()
    soundfile.write(path.with_suffix(".wav"), wave, rate, subtype="FLOAT")


FILES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing file": ("missing", Path.unlink, ".flac"),
    "empty file": ("empty", lambda path: path.write_bytes(b""), "the file is empty (0 bytes)"),
    "no samples": ("no samples", lambda path: rewrite(as_wav(path), lambda wave: wave[:0]), "holds no samples"),
    "truncated FLAC": ("undecodable", truncated, "flac decoder lost sync"),
    "truncated WAV": ("truncated", truncated_wav, "bytes of samples"),
    "garbage": ("undecodable", lambda path: path.write_bytes(bytes(range(256)) * 40), "no decoder reads this file"),
    "NaN samples": ("not finite", with_nan, "sample 100 is NaN or infinite"),
}


@pytest.mark.parametrize("fault", FILES)
def test_a_file_that_no_detector_can_be_given(copy: Copy, fault: str) -> None:
    """A file that is missing, cut short or no audio is an error, named with the reason."""
    kind, plant, reason = FILES[fault]
    copy.asvspoof("train")
    path = copy.trials("train", "spoof")[3]
    plant(path)
    (audit,) = examine(copy.root, "asvspoof2019-la-train")
    finding = only_error(audit, kind)
    assert (finding.count, finding.what) == (1, f"1 of 19 audio files {finding.what.partition('files ')[2]}")
    assert path.stem in finding.examples[0] and reason in finding.examples[0]


def test_a_duplicate_within_a_class(copy: Copy) -> None:
    """The same recording in another container counts as the same."""
    copy.asvspoof("dev")
    one, other = copy.trials("dev", "spoof")[:2]
    shutil.copyfile(one, other)
    as_wav(other)
    (audit,) = examine(copy.root, "asvspoof2019-la-dev")
    finding = found(audit, "duplicate")
    assert (finding.severity, finding.examples) == ("warning", (f"{one.stem} = {other.stem}",))


def test_a_duplicate_with_the_other_label(copy: Copy) -> None:
    """A recording that is a trial of both classes is an error."""
    copy.asvspoof("dev")
    spoof, bonafide = copy.trials("dev", "spoof")[0], copy.trials("dev", "bonafide")[0]
    shutil.copyfile(spoof, bonafide)
    (audit,) = examine(copy.root, "asvspoof2019-la-dev")
    (example,) = only_error(audit, "duplicate: other label").examples
    assert set(example.split(" = ")) == {f"{spoof.stem} (spoof)", f"{bonafide.stem} (bonafide)"}


def test_a_duplicate_across_splits(copy: Copy) -> None:
    """A training trial in the evaluation list is told of both lists."""
    copy.asvspoof("train", "eval")
    known, asked = copy.trials("train", "spoof")[0], copy.trials("eval", "spoof")[5]
    shutil.copyfile(known, asked)
    train, evaluation = examine(copy.root, "asvspoof2019-la-train,asvspoof2019-la")
    assert found(train, "duplicate: sibling").examples == (f"{known.stem} = {asked.stem} of asvspoof2019-la",)
    assert found(evaluation, "duplicate: sibling").examples == (
        f"{asked.stem} = {known.stem} of asvspoof2019-la-train",
    )


SAMPLES: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray], str]] = {
    "clipped": ("clipped", lambda wave: np.clip(20 * wave, -1, 1), "% of the samples"),
    "silent": ("silent", np.zeros_like, "4.00 s"),
    "constant offset": ("constant offset", lambda wave: 0.8 * wave + 0.05, "+5.0 %"),
}


@pytest.mark.parametrize("fault", SAMPLES)
def test_a_recording_that_is_no_good(copy: Copy, fault: str) -> None:
    """Clipped, silent and shifted recordings are warned of, with how much."""
    kind, change, told = SAMPLES[fault]
    copy.asvspoof("train")
    paths = copy.trials("train", "spoof")[:2]
    for path in paths:
        rewrite(path, change)
    (audit,) = examine(copy.root, "asvspoof2019-la-train")
    finding = found(audit, kind)
    assert (finding.severity, finding.count) == ("warning", 2)
    assert [example.partition(":")[0] for example in finding.examples] == [path.stem for path in paths]
    assert told in finding.examples[0]
    assert "duplicate" not in {one.kind for one in audit.findings}  # two silences are not the same recording


CLASSES: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray], int | None, str]] = {
    "sample rate": ("sample rate", lambda wave: wave, 8_000, "100.0 %"),
    "stereo": ("channels", lambda wave: np.stack([wave, wave], 1), None, "0.0 %"),
    "leading silence": ("leading silence", lambda wave: np.concatenate([np.zeros(8_000), wave]), None, "0.0 %"),
    "loudness": ("loudness", lambda wave: 0.05 * wave, None, "100.0 %"),
}


@pytest.mark.parametrize("fault", CLASSES)
def test_what_only_one_class_has(copy: Copy, fault: str) -> None:
    """A property of the bona fide files alone is a shortcut, warned of with the EER that it achieves."""
    name, change, rate, eer = CLASSES[fault]
    copy.in_the_wild()
    for path in copy.bonafide():
        rewrite(path, change, rate)
    (audit,) = examine(copy.root, "itw")
    finding = found(audit, f"shortcut: {name}")
    assert finding.severity == "warning"
    assert f"the classes differ in {name}, which alone has EER {eer}" in finding.what
    assert audit.healthy


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda lines: [*lines[:4], lines[4].replace("spoof", "spof"), *lines[5:]], "unknown label 'spof'"),
        (lambda lines: [*lines, lines[2]], "is listed twice, first in line 3"),
    ],
    ids=["misspelt label", "duplicate id"],
)
def test_a_list_that_contradicts_itself(copy: Copy, change: Callable[[list[str]], list[str]], told: str) -> None:
    """What the reader refuses is the finding, with file and line."""
    copy.asvspoof("eval")
    lines = copy.protocol("eval").read_text().splitlines()
    assert lines[4].endswith("spoof")
    copy.protocol("eval").write_text("\n".join(change(lines)) + "\n")
    (audit,) = examine(copy.root, "asvspoof2019-la")
    finding = only_error(audit, "list")
    assert told in finding.what
    assert f"{copy.protocol('eval')}, line " in finding.what


def test_a_file_that_no_list_names(copy: Copy) -> None:
    """An audio file beside those of the list is a note."""
    copy.asvspoof("train")
    stray = copy.trials("train", "spoof")[0].with_name("LA_T_stray.flac")
    shutil.copyfile(copy.trials("train", "spoof")[0], stray)
    (audit,) = examine(copy.root, "asvspoof2019-la-train")
    finding = found(audit, "not listed")
    assert (finding.severity, finding.examples) == ("note", (str(stray),))


def test_the_decoder_census(copy: Copy) -> None:
    """A file that only the second decoder reads is counted as such, and is no fault."""
    copy.asvspoof("train")
    path = copy.trials("train", "spoof")[0]
    wave, rate = soundfile.read(path, dtype="int16")
    with av.open(str(path), "w", format="adts") as container:
        stream = container.add_stream("aac", rate=rate)
        frame = av.AudioFrame.from_ndarray(wave[None, :], format="s16", layout="mono")
        frame.rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    (audit,) = examine(copy.root, "asvspoof2019-la-train")
    assert audit.facts["decoders"] == {"soundfile": 18, "PyAV alone": 1}
    assert "decoders: soundfile 18 files, PyAV alone 1" in audit.text().plain
    assert audit.of("error") == []
