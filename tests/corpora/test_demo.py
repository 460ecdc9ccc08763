"""bench.corpora.demo: the corpus on disk, its promises about fairness, and what making it leaves behind."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from sklearn.metrics import roc_auc_score, roc_curve

from bench import corpora, registry
from bench.corpora import demo
from bench.errors import Blocked, DataError
from bench.models.lfcc_gmm import LfccGmm
from bench.models.probes import BandwidthProbe, SilenceProbe
from bench.trials import digest, is_bonafide

DATASETS = {"train": "demo-train", "dev": "demo-dev", "eval": "demo"}
TINY = {"eval": demo.SPLITS["eval"]._replace(bonafide=2, spoof=1)}


@pytest.fixture(scope="module")
def root(demo_run: tuple[Path, object]) -> Path:
    """A data root with the whole corpus in it, as `bench demo` makes it."""
    return demo_run[0] / "data"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Short files one by one are faster on one thread than on threads that wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the corpus three files small, for tests of the making."""
    monkeypatch.setattr(demo, "SPLITS", TINY)


@pytest.fixture(scope="module")
def held_out(root: Path) -> tuple[pd.DataFrame, list[torch.Tensor]]:
    """The eval list and its audio."""
    table = read(root, "eval")
    return table, waves(table)


def read(root: Path, split: str) -> pd.DataFrame:
    """The trial table of a split, as its card says."""
    return corpora.load(registry.datasets()[DATASETS[split]], root).trials


def waves(table: pd.DataFrame) -> list[torch.Tensor]:
    return [torch.from_numpy(soundfile.read(path, dtype="float32")[0]) for path in table["path"]]


def eer_percent(scores: list[float], table: pd.DataFrame) -> float:
    """From the curve of scikit-learn, an oracle apart from bench.metrics."""
    far, hit, _ = roc_curve(is_bonafide(table), scores)
    nearest = int(np.argmin(np.abs(far - (1 - hit))))
    return float(50 * (far[nearest] + 1 - hit[nearest]))


def scores(detector: torch.nn.Module, audio: list[torch.Tensor]) -> list[float]:
    with torch.no_grad():
        return [float(detector(wave[None], torch.tensor([len(wave)]))[0]) for wave in audio]


@pytest.mark.parametrize("split", DATASETS)
def test_a_split_holds_what_its_card_counts(root: Path, split: str) -> None:
    """Every list loads through its card without a warning, and all its audio is there."""
    dataset = corpora.load(registry.datasets()[DATASETS[split]], root)
    assert dataset.warnings == ()
    assert corpora.missing_audio(dataset.trials) == []


def test_the_lists_never_change_silently() -> None:
    """Ids and labels are pinned: whoever changes what is heard must raise VERSION, and these digests with it."""
    tables = {
        name: pd.DataFrame(
            [(row.trial, "spoof" if row.attack else "bonafide") for row in demo.plan(name)], columns=["trial", "label"]
        )
        for name in demo.SPLITS
    }
    assert {name: digest(table)[:12] for name, table in tables.items()} == {
        "train": "e20167156730",
        "dev": "7eeb6f355278",
        "eval": "fc9a7e7eb477",
    }


def test_a_list_read_back_is_the_plan(root: Path) -> None:
    """The protocols say of every trial what was made."""
    table = read(root, "eval").set_index("trial")
    for row in demo.plan("eval"):
        expected = ("spoof" if row.attack else "bonafide", f"DEMO_{row.speaker:04d}", row.attack)
        assert tuple(table.loc[row.trial, ["label", "speaker", "attack"]]) == expected


def test_the_cards_stay_out_of_all() -> None:
    """`--datasets all` never scores synthetic data; train and dev are siblings of the eval list."""
    known = registry.datasets()
    assert not [name for name in DATASETS.values() if known[name].listed]
    assert {known[name].sibling_of for name in ("demo-train", "demo-dev")} == {"demo"}


def test_speakers_of_the_splits_are_disjoint() -> None:
    """No voice is heard in two splits."""
    voices = [{row.speaker for row in demo.plan(name)} for name in demo.SPLITS]
    assert len(set.union(*voices)) == sum(map(len, voices))


@pytest.mark.parametrize("split", DATASETS)
def test_attacks_are_spread_evenly(split: str) -> None:
    """Attacks have equally many trials, every source and every speaker has equally many spoofs, never two alike."""
    spoofs = [row for row in demo.plan(split) if row.attack]
    for what in ([row.attack for row in spoofs], [row.source for row in spoofs], [row.speaker for row in spoofs]):
        assert len(set(Counter(what).values())) == 1
    assert len({(row.source, row.attack) for row in spoofs}) == len(spoofs)
    assert {row.attack for row in spoofs} == set(demo.SPLITS[split].attacks)


def test_eval_has_attacks_that_training_has_not() -> None:
    """Two of the five attacks of eval are unseen, as in the real corpus."""
    train, held_out = demo.SPLITS["train"].attacks, demo.SPLITS["eval"].attacks
    assert set(held_out) - set(train) == {"A04", "A05"}


def test_the_audio_is_that_of_asvspoof(root: Path) -> None:
    """16 kHz mono FLAC of 16 bit, 1.5 to 3 s."""
    for path in read(root, "dev")["path"]:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.format, info.subtype) == (16_000, 1, "FLAC", "PCM_16")
        assert 1.49 < info.duration <= 3


def test_samples_do_not_depend_on_the_order_of_making(root: Path) -> None:
    """Trials made alone and backwards are bit for bit those of the corpus."""
    paths = read(root, "eval").set_index("trial")["path"]
    rows = [row for row in demo.plan("eval") if row.source in (3, 40)]
    assert len(rows) == 6
    for row in reversed(rows):
        for _, samples in demo.render("eval", [row]):
            np.testing.assert_array_equal(samples, soundfile.read(paths[row.trial], dtype="int16")[0])


def test_both_classes_are_equally_long(root: Path) -> None:
    """Each source makes as many spoofs as every other, so durations have one distribution."""
    table = read(root, "eval")
    seconds = np.array([soundfile.info(path).frames for path in table["path"]])
    real = is_bonafide(table) == 1
    np.testing.assert_array_equal(np.sort(np.repeat(seconds[real], 2)), np.sort(seconds[~real]))


@pytest.mark.usefixtures("one_thread")
def test_what_is_not_the_attack_gives_little_away(held_out: tuple[pd.DataFrame, list[torch.Tensor]]) -> None:
    """Silence, bandwidth, level, peak and offset alone stay near chance on eval."""
    table, audio = held_out
    shortcuts = {
        "silence": scores(SilenceProbe(), audio),
        "bandwidth": scores(BandwidthProbe(), audio),
        "level": [float(wave.square().mean()) for wave in audio],
        "peak": [float(wave.abs().max()) for wave in audio],
        "offset": [float(wave.mean()) for wave in audio],
    }
    found = {name: eer_percent(values, table) for name, values in shortcuts.items()}
    assert {name: value for name, value in found.items() if not 35 <= value <= 65} == {}


@pytest.mark.usefixtures("one_thread")
def test_a_spectral_baseline_learns_it_but_not_by_heart(
    root: Path, held_out: tuple[pd.DataFrame, list[torch.Tensor]]
) -> None:
    """A small LFCC-GMM trained on train is far better than chance on eval, and not perfect."""
    train, (table, audio) = read(root, "train"), held_out
    detector = LfccGmm(16)
    detector.fit(list(zip(waves(train), is_bonafide(train).tolist(), strict=True)), seed=0)
    values = scores(detector, audio)
    assert roc_auc_score(is_bonafide(table), values) > 0.8
    assert 1 < eer_percent(values, table) < 25


@pytest.mark.usefixtures("tiny")
def test_progress_counts_every_file(tmp_path: Path) -> None:
    """`progress` is told of each file, the last call says that all are done; nothing else is left beside the corpus."""
    seen: list[tuple[int, int]] = []
    demo.make(tmp_path, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


@pytest.mark.usefixtures("tiny")
def test_two_makings_are_one(tmp_path: Path) -> None:
    """Two corpora have the same files with the same bytes."""
    contents = []
    for name in ("one", "two"):
        demo.make(tmp_path / name)
        files = [path for path in (tmp_path / name).rglob("*") if path.is_file()]
        contents.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})
    assert len(contents[0]) == 5
    assert contents[0] == contents[1]


@pytest.mark.usefixtures("tiny")
def test_a_corpus_that_is_there_is_left_alone(tmp_path: Path) -> None:
    """A second call makes nothing."""
    demo.make(tmp_path)
    demo.make(tmp_path, lambda done, total: pytest.fail("made again"))


@pytest.mark.usefixtures("tiny")
def test_an_interrupted_making_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in the middle leaves the data root as it was."""

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.make(tmp_path, interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("tiny")
def test_two_makers_at_once_end_with_one_corpus(tmp_path: Path) -> None:
    """Both calls succeed where both found nothing; the corpus is whole and no temporary folder stays."""
    together = threading.Barrier(2, timeout=30)

    def wait(done: int, total: int) -> None:
        if done == total:
            together.wait()

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(demo.make, tmp_path, wait) for _ in range(2)]:
            future.result()
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert len(read(tmp_path, "eval")) == 3


@pytest.mark.usefixtures("tiny")
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The error says what failed, where, and which option helps."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Blocked) as caught:
        demo.make(tmp_path / "file")
    text = str(caught.value)
    assert "the demo corpus cannot be made: " in text
    assert f"where: {tmp_path / 'file' / 'demo'}" in text
    assert "--data-root DIR or BENCH_DATA" in text


@pytest.mark.parametrize("readme", [None, "my own demo", demo.README.replace("version", "vision")])
def test_a_folder_of_another_kind_is_not_touched(tmp_path: Path, readme: str | None) -> None:
    """What is called demo and is not this version of the corpus is an error, and stays as it is."""
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "README.txt" if readme else tmp_path / "demo" / "notes").write_text(readme or "")
    with pytest.raises(DataError, match=r"not version \d+ of the demo corpus") as caught:
        demo.make(tmp_path)
    assert f"where: {tmp_path / 'demo'}" in str(caught.value)
    assert "made again on next use" in str(caught.value)
    assert len(list((tmp_path / "demo").iterdir())) == 1


def test_the_readme_says_that_it_is_synthetic(root: Path) -> None:
    """Whoever finds the folder learns that it is no speech and whence it comes."""
    text = (root / "demo" / "README.txt").read_text(encoding="utf-8")
    assert "Synthetic" in text
    assert "say nothing about detection quality on speech" in text
