"""LFCC features and mixtures against NumPy, SciPy and scikit-learn."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.fft import dct
from sklearn.mixture import GaussianMixture
from torch import Tensor

from bench.errors import DataError, UsageError
from bench.models.lfcc_gmm import LfccGmm, _FrameSample


def noise(samples: int, seed: int, low_pass: int = 1) -> Tensor:
    """Gaussian noise, smoothed over `low_pass` samples."""
    raw = np.random.default_rng(seed).standard_normal(samples + low_pass - 1)
    smooth = np.convolve(raw, np.ones(low_pass) / low_pass, "valid")
    return torch.from_numpy(0.1 * smooth).float()


def utterances(count: int = 6, samples: int = 8000) -> list[tuple[Tensor, int]]:
    """White noise is bona fide, smoothed noise is spoof."""
    return [(noise(samples, index, 1 + 3 * (index % 2)), 1 - index % 2) for index in range(count)]


@pytest.fixture(scope="module")
def trained() -> LfccGmm:
    model = LfccGmm(4).eval()
    model.fit(utterances(), seed=0, iterations=3, frames_per_class=150)
    return model


def scores(model: LfccGmm, waves: Iterable[Tensor]) -> Tensor:
    waves = list(waves)
    batch = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    with torch.inference_mode():
        result: Tensor = model(batch, torch.tensor([len(wave) for wave in waves]))
    return result


def reference_lfcc(wave: NDArray[np.float64]) -> NDArray[np.float64]:
    """The definition, frame by frame."""
    wave = np.pad(wave, (0, max(480 - len(wave), 0)))
    hertz = np.arange(513) * 16_000 / 1024
    corners = np.linspace(0, 4000, 72)
    bank = np.stack([np.interp(hertz, corners[i : i + 3], [0, 1, 0], left=0, right=0) for i in range(70)])
    rows = []
    for start in range(0, len(wave) - 479, 240):
        power = np.abs(np.fft.rfft(wave[start : start + 480] * np.hamming(480), 1024)) ** 2
        rows.append(dct(np.log10(bank @ power + 2.2204e-16), type=2, norm="ortho")[:20])
    static = np.stack(rows)

    def delta(x: NDArray[np.float64]) -> NDArray[np.float64]:
        padded: NDArray[np.float64] = np.concatenate([x[:1], x, x[-1:]])
        return padded[2:] - padded[:-2]

    return np.concatenate([static, delta(static), delta(delta(static))], axis=1)


@pytest.mark.parametrize("samples", [1, 100, 479, 480, 719, 720, 721, 5000])
def test_lfcc(samples: int) -> None:
    """Frames are the 60 dimensions of the definition, as many as fit into the file and at least one."""
    wave = noise(samples, samples, low_pass=2)
    frames, counts = LfccGmm(1).lfcc(wave[None], torch.tensor([samples]))
    assert counts == [max((samples - 480) // 240, 0) + 1]
    np.testing.assert_allclose(frames.numpy(), reference_lfcc(wave.double().numpy()), rtol=0, atol=2e-5)


def test_scores_are_those_of_scikit_learn(trained: LfccGmm) -> None:
    """A score is the mean over frames of the difference of scikit-learn's log-likelihoods."""
    waves = [noise(3000, 77), noise(4567, 78, 4), torch.zeros(2000), noise(10, 79)]
    for wave, score in zip(waves, scores(trained, waves), strict=True):
        frames, _ = trained.lfcc(wave[None], torch.tensor([len(wave)]))
        likelihoods = []
        for label in (0, 1):
            mixture = GaussianMixture(4, covariance_type="diag")
            mixture.weights_, mixture.means_ = trained.weights[label].numpy(), trained.means[label].numpy()
            mixture.precisions_cholesky_ = 1 / np.sqrt(trained.variances[label].numpy())
            likelihoods.append(mixture.score_samples(frames.numpy()).mean())
        assert score.item() == pytest.approx(likelihoods[1] - likelihoods[0], rel=1e-9, abs=1e-9)


def test_learns(trained: LfccGmm) -> None:
    """Unheard files of the bona fide kind score above zero, those of the spoof kind below."""
    assert (scores(trained, [noise(4000, seed) for seed in range(100, 105)]) > 0).all()
    assert (scores(trained, [noise(4000, seed, 4) for seed in range(100, 105)]) < 0).all()


@settings(deadline=None, max_examples=20)
@given(lengths=st.lists(st.integers(1, 6000), min_size=1, max_size=5))
def test_batch_does_not_matter(trained: LfccGmm, lengths: list[int]) -> None:
    """A file scores alone as it does beside others, whatever their lengths."""
    waves = [noise(length, index) for index, length in enumerate(lengths)]
    alone = torch.cat([scores(trained, [wave]) for wave in waves])
    torch.testing.assert_close(scores(trained, waves), alone, rtol=1e-10, atol=1e-10)


def test_chunks_do_not_matter(trained: LfccGmm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long files are worked on in pieces, which changes no score."""
    whole = scores(trained, [noise(20_000, 5), noise(9000, 6)])
    monkeypatch.setattr("bench.models.lfcc_gmm.CHUNK", 7)
    torch.testing.assert_close(scores(trained, [noise(20_000, 5), noise(9000, 6)]), whole, rtol=1e-10, atol=1e-10)


def test_training_is_reproducible(trained: LfccGmm) -> None:
    """Equal utterances and seed give equal mixtures to the last bit; another seed gives others."""
    again, other = LfccGmm(4), LfccGmm(4)
    again.fit(iter(utterances()), seed=0, iterations=3, frames_per_class=150)
    other.fit(utterances(), seed=1, iterations=3, frames_per_class=150)
    for name, tensor in trained.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
        assert not torch.equal(other.state_dict()[name], tensor)


def test_state_dict_is_the_detector(trained: LfccGmm) -> None:
    """Training makes three tensors; a detector that loads them scores identically, and not at all before."""
    fresh = LfccGmm(4).eval()
    waves = [noise(3000, 1), noise(700, 2)]
    assert scores(fresh, waves).isnan().all()
    assert sorted(trained.state_dict()) == ["means", "variances", "weights"]
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(scores(fresh, waves), scores(trained, waves))


def test_few_iterations_are_no_warning() -> None:
    """Stopping EM before it converges, as the organisers do, is silent (warnings are errors in tests)."""
    model = LfccGmm(8)
    model.fit(utterances(), seed=0, iterations=1, frames_per_class=100)
    assert model.weights.sum(1).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], r"0 spoof frames cannot train 4 components\n  remedy: the training list needs spoof files"),
        ([(noise(8000, 0), 0)], r"0 bona fide frames .*\n  remedy: the training list needs bona fide files"),
        ([(noise(8000, 0), 0), (noise(720, 0), 1)], r"2 bona fide frames cannot train 4 .*\n.*more bona fide files"),
        ([(noise(8000, 0), 2)], r"label 2 of a training utterance is neither 1 \(bona fide\) nor 0 \(spoof\)"),
    ],
)
def test_data_that_cannot_train(data: list[tuple[Tensor, int]], message: str) -> None:
    """A class without files, too few frames and an unknown label are errors that say which."""
    with pytest.raises(DataError, match=message):
        LfccGmm(4).fit(data, seed=0)


def test_arguments_that_cannot_be_meant() -> None:
    """No component, fewer frames than components and no iteration are wrong usage."""
    with pytest.raises(UsageError, match="at least one component, not 0"):
        LfccGmm(0)
    with pytest.raises(UsageError, match="frames_per_class is 3, fewer than the 4 components"):
        LfccGmm(4).fit(utterances(), seed=0, frames_per_class=3)
    with pytest.raises(UsageError, match="iterations is 0"):
        LfccGmm(4).fit(utterances(), seed=0, iterations=0)


@given(size=st.integers(1, 20), lengths=st.lists(st.integers(0, 30), max_size=8))
def test_sample_of_a_stream(size: int, lengths: list[int]) -> None:
    """The sample holds distinct rows of the stream in their order, all of them or exactly as many as asked for."""
    stream = np.arange(sum(lengths) * 60, dtype=np.float64).reshape(-1, 60)
    sample = _FrameSample(size, np.random.default_rng(0))
    for part in np.split(stream, np.cumsum(lengths)[:-1]) if lengths else []:
        sample.add(part)
    rows = sample.frames()[:, 0] / 60
    assert len(rows) == min(size, len(stream))
    assert (np.diff(rows) > 0).all()
    assert np.isin(rows, np.arange(len(stream))).all()


def test_sample_is_uniform() -> None:
    """Every row of the stream is drawn equally often, wherever it stands."""
    drawn = np.zeros(40)
    generator = np.random.default_rng(3)
    for _ in range(2000):
        sample = _FrameSample(4, generator)
        for part in np.split(np.arange(40.0)[:, None], 8):
            sample.add(part)
        drawn[sample.frames()[:, 0].astype(int)] += 1
    assert np.abs(drawn - 200).max() < 5 * np.sqrt(200 * 0.9)
