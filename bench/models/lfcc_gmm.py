"""LFCC-GMM, the spectral baseline of ASVspoof 2021 (github.com/asvspoof-challenge/2021, LA/Baseline-LFCC-GMM).

Linear-frequency cepstra, one Gaussian mixture a class, score = mean frame log-likelihood of bona fide minus that of
spoof.

Features follow the organisers' Python re-write: 30 ms Hamming frames every 15 ms, 1024-point power spectrum, 70
triangular filters from 0 to 4000 Hz, log10(power + 2.2204e-16), 20 coefficients of the orthonormal DCT-II including the
0th, then differences x[t + 1] - x[t - 1] of these and of the differences, edges repeated: 60 dimensions. Deviations:

- filters have exact corner frequencies (torchaudio) where the re-write rounds corners to bins of the spectrum;
- what is left behind the last full frame is dropped, as in the Matlab original, where the re-write fills a last frame
  with zeros; a file shorter than one frame is zero-padded to one.

The published error rates are those of the Matlab original, which takes 19 coefficients, halves the differences (57
dimensions) and lets EM see every frame of every training file. Here EM sees a random sample, see `fit`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torchaudio.functional import create_dct, linear_fbanks

from bench.errors import DataError, UsageError

RATE = 16_000
FRAME = 480
HOP = 240
SPECTRUM = 1024
BAND_HZ = 4_000
FILTERS = 70
COEFFICIENTS = 20
DIMENSIONS = 3 * COEFFICIENTS
FLOOR = 2.2204e-16
CHUNK = 4096  # frames at once: 512 components of two classes then take 34 MB

CLASSES = ("spoof", "bona fide")  # index = label


class LfccGmm(nn.Module):
    """Two diagonal Gaussian mixtures over LFCC frames.

    The mixtures are buffers, float64 because log-likelihoods of near-constant dimensions cancel in float32:
    `weights` (2, components), `means` and `variances` (2, components, 60), class 0 = spoof. They are NaN until `fit` or
    `load_state_dict`, so that an untrained detector has no finite score.
    """

    version = 1
    weights: Tensor
    means: Tensor
    variances: Tensor
    window: Tensor
    filters: Tensor
    dct: Tensor

    def __init__(self, components: int = 512) -> None:
        super().__init__()
        if components < 1:
            raise UsageError(f"a mixture needs at least one component, not {components}")
        self.components = components
        for name, shape in (("weights", ()), ("means", (DIMENSIONS,)), ("variances", (DIMENSIONS,))):
            self.register_buffer(name, torch.full((2, components, *shape), math.nan, dtype=torch.float64))
        bins = SPECTRUM // 2 + 1
        filters = linear_fbanks(bins, 0.0, float(BAND_HZ), FILTERS, RATE)[: SPECTRUM * BAND_HZ // RATE + 1]
        window = torch.hamming_window(FRAME, periodic=False, dtype=torch.float64)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", filters.double(), persistent=False)
        self.register_buffer("dct", create_dct(COEFFICIENTS, FILTERS, "ortho").double(), persistent=False)

    def forward(self, wave: Tensor, lengths: Tensor) -> Tensor:
        """Scores (B,) float64 of whole files at 16 kHz, float32 in [-1, 1], zero behind `lengths` (B,)."""
        frames, counts = self.lfcc(wave, lengths)
        ratios = torch.cat([self._log_likelihoods(part) for part in torch.split(frames, CHUNK)]).diff(dim=1)[:, 0]
        return torch.stack([part.mean() for part in torch.split(ratios, counts)])

    def lfcc(self, wave: Tensor, lengths: Tensor) -> tuple[Tensor, list[int]]:
        """Frames of all rows, one after the other, (sum of counts, 60) float64, and how many each row has.

        Args:
            wave: (B, T) float32 at 16 kHz, zero behind `lengths`.
            lengths: (B,) real samples a row, on the CPU; frames reach into real samples only.
        """
        wave = nn.functional.pad(wave, (0, max(FRAME - wave.shape[1], 0)))
        counts = (lengths - FRAME).clamp(min=0) // HOP + 1
        pieces = wave.unfold(1, FRAME, HOP)  # (B, frames, FRAME), a view
        real = torch.arange(pieces.shape[1]) < counts[:, None]
        # Places are counted on the CPU: a device that is asked for them would be waited for.
        row, frame = (place.to(wave.device, non_blocking=True) for place in real.nonzero(as_tuple=True))
        static = torch.cat([self._cepstra(part) for part in torch.split(pieces[row, frame], CHUNK)])

        last = counts.cumsum(0).repeat_interleave(counts) - 1
        first = last - counts.repeat_interleave(counts) + 1
        here = torch.arange(len(static))
        after, before = (
            place.to(wave.device, non_blocking=True)
            for place in (torch.minimum(here + 1, last), torch.maximum(here - 1, first))
        )
        delta = static[after] - static[before]
        return torch.cat([static, delta, delta[after] - delta[before]], dim=1), counts.tolist()

    def _cepstra(self, frames: Tensor) -> Tensor:
        """(N, FRAME) samples -> (N, COEFFICIENTS)."""
        spectrum = torch.fft.rfft(frames.to(self.window.dtype) * self.window, SPECTRUM)[:, : len(self.filters)]
        power = spectrum.real.square() + spectrum.imag.square()
        return torch.log10(power @ self.filters + FLOOR) @ self.dct

    def _log_likelihoods(self, frames: Tensor) -> Tensor:
        """(N, 60) -> natural log-likelihood of each frame under both classes, (N, 2).

        log w - (60 log 2π + Σ log v + Σ (x - m)² / v) / 2 with the square multiplied out: one matrix product for all
        components of both classes.
        """
        precision = 1 / self.variances
        constant = (self.variances.log() + self.means.square() * precision).sum(-1) + DIMENSIONS * math.log(2 * math.pi)
        factors = torch.cat([self.means * precision, -precision / 2], dim=-1).flatten(0, 1)
        logs = torch.cat([frames, frames.square()], dim=1) @ factors.T
        return torch.logsumexp(logs.view(len(frames), 2, -1) + self.weights.log() - constant / 2, dim=-1)

    def fit(
        self,
        utterances: Iterable[tuple[Tensor, int]],
        seed: int,
        *,
        iterations: int = 10,
        frames_per_class: int = 200_000,
    ) -> None:
        """Estimates both mixtures: k-means initialisation and EM of scikit-learn. Equal arguments, equal mixtures.

        At its peak scikit-learn holds six arrays of frames x components x 8 bytes: 5 GB for 200,000 frames and 512
        components. The train list of ASVspoof 2019 LA has some 0.6 million bona fide and 5 million spoof frames, all of
        which the organisers' Matlab original uses; hence the sample.

        Args:
            utterances: pairs of a waveform (T,) float32 at 16 kHz and its label, 1 = bona fide, 0 = spoof; read once.
            seed: of the drawn frames and of the initialisation.
            iterations: EM iterations at most; the organisers stop after 10.
            frames_per_class: a uniform sample of so many frames a class is used, all frames where there are fewer.

        Raises:
            UsageError: fewer frames or iterations asked for than a mixture needs.
            DataError: a label other than 0 and 1, a class without a file, fewer frames than components.
        """
        if frames_per_class < self.components:
            raise UsageError(
                f"frames_per_class is {frames_per_class}, fewer than the {self.components} components",
                remedy="raise frames_per_class in the recipe, or lower components",
            )
        if iterations < 1:
            raise UsageError(f"iterations is {iterations}", remedy="EM needs at least one iteration")
        generator = np.random.default_rng(seed)
        samples = [_FrameSample(frames_per_class, generator) for _ in CLASSES]
        for wave, label in utterances:
            if label not in (0, 1):
                raise DataError(f"label {label!r} of a training utterance is neither 1 (bona fide) nor 0 (spoof)")
            wave = wave.to(self.window.device)
            frames, _ = self.lfcc(wave[None], torch.tensor([len(wave)]))
            samples[label].add(frames.cpu().numpy())

        drawn = [sample.frames() for sample in samples]
        for name, frames_of_class in zip(CLASSES, drawn, strict=True):
            if len(frames_of_class) < self.components:
                raise DataError(
                    f"{len(frames_of_class)} {name} frames cannot train {self.components} components",
                    remedy=f"train on more {name} files, or with fewer components"
                    if len(frames_of_class)
                    else f"the training list needs {name} files",
                )
        for label, frames_of_class in enumerate(drawn):
            mixture = _mixture(frames_of_class, self.components, iterations, seed)
            self.weights[label] = torch.from_numpy(mixture.weights_)
            self.means[label] = torch.from_numpy(mixture.means_)
            self.variances[label] = torch.from_numpy(mixture.covariances_)


def _mixture(frames: NDArray[np.float64], components: int, iterations: int, seed: int) -> GaussianMixture:
    mixture = GaussianMixture(components, covariance_type="diag", max_iter=iterations, random_state=seed)
    # The threads of k-means add up in the order they finish: one thread, or two runs differ.
    with warnings.catch_warnings(), threadpool_limits(1, user_api="openmp"):
        # Stopping after a fixed number of iterations is the organisers' design, not a failure to converge.
        warnings.filterwarnings("ignore", message="Best performing initialization", category=ConvergenceWarning)
        return mixture.fit(frames)


class _FrameSample:
    """A uniform sample of at most `size` rows of a stream, without holding the stream: each row draws a random key and
    the smallest keys stay. Rows keep the order of the stream."""

    def __init__(self, size: int, generator: np.random.Generator) -> None:
        self._size = size
        self._generator = generator
        self._rows: list[NDArray[np.float64]] = []
        self._keys: list[NDArray[np.float64]] = []
        self._held = 0
        self._limit = math.inf  # a key at or above it has `size` smaller ones

    def add(self, rows: NDArray[np.float64]) -> None:
        keys = self._generator.random(len(rows))
        chosen = keys < self._limit
        self._rows.append(rows[chosen])
        self._keys.append(keys[chosen])
        self._held += int(chosen.sum())
        if self._held > 2 * self._size:
            self._shrink()

    def frames(self) -> NDArray[np.float64]:
        """The sample, (at most `size`, 60)."""
        if self._held > self._size:
            self._shrink()
        return np.concatenate(self._rows) if self._rows else np.empty((0, DIMENSIONS))

    def _shrink(self) -> None:
        keys = np.concatenate(self._keys)
        kept = np.sort(np.argpartition(keys, self._size)[: self._size])
        self._rows, self._keys = [np.concatenate(self._rows)[kept]], [keys[kept]]
        self._held, self._limit = self._size, float(keys[kept].max())
