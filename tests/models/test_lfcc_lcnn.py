"""LFCC-LCNN against the logits of the organisers' code and against its definition in float64."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.fft import dct
from torch import Tensor, nn
from torch.nn import functional

from bench import weights
from bench.errors import WeightsError
from bench.models.lfcc_lcnn import LFCC, LfccLcnn
from bench.registry import detectors
from bench.scorer import build_model

TIME = np.arange(40_000) / 16_000
CLIPS = {
    "noise": 0.1 * np.random.RandomState(1).randn(40_000),
    "loud noise": 0.5 * np.random.RandomState(3).randn(31_999),
    "sine": 0.3 * np.sin(2 * np.pi * 220 * TIME),
    "silence": np.zeros(20_000),
    "shortest": 0.2 * np.random.RandomState(2).randn(2400),
    "burst": np.where(TIME < 0.5, 0.2, 0) * np.random.RandomState(4).randn(40_000),
}
# Logits of bona fide from the organisers' model.py (github.com/asvspoof-challenge/2021, commit 9b33f5e, on torch 2.11,
# whose `fft` and `stft` replaced the calls that are gone) with the tensors of `draw`, one clip at a time on a CPU.
GOLDEN = {
    "noise": 0.4231628,
    "loud noise": 0.4363913,
    "sine": -0.3429737,
    "silence": -0.2966131,
    "shortest": 0.1997056,
    "burst": -0.1415377,
}


def draw() -> dict[str, Tensor]:
    """Weights by a seeded rule, large enough for every clip to score differently; the front end is left as built."""
    random = np.random.RandomState(7)
    tensors = {}
    for name, old in sorted(LfccLcnn().state_dict().items()):
        values = random.standard_normal(tuple(old.shape))
        if name.endswith("running_var"):
            values = np.exp(0.3 * values)
        elif old.ndim > 1:
            values *= 1 / np.sqrt(values[0].size)
        elif old.is_floating_point():
            values *= 0.1
        tensors[name] = old if name.startswith("m_frontend") else torch.from_numpy(np.asarray(values)).to(old.dtype)
    return tensors


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return draw()


@pytest.fixture(scope="module")
def model(tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> LfccLcnn:
    """Loaded as the harness loads a released file."""
    file = tmp_path_factory.mktemp("weights") / "la_trained_network.pt"
    torch.save(tensors, file)
    network = LfccLcnn()
    weights.load_into(network, weights.read(file), file)
    return network.eval()


@torch.inference_mode()
def scores(model: LfccLcnn, clips: Sequence[NDArray[np.float64]]) -> NDArray[np.float32]:
    """Clips of any lengths as one batch."""
    waves = [torch.from_numpy(clip).float() for clip in clips]
    batch = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    result: NDArray[np.float32] = model(batch, torch.tensor([len(wave) for wave in waves])).scores.numpy()
    return result


def reference_lfcc(wave: NDArray[np.float64]) -> NDArray[np.float64]:
    """The definition, frame by frame: (N,) -> (N // 160 + 1, 60)."""
    corners, bins = np.linspace(0, 4000, 22), np.arange(256) * 4000 / 255
    bank = np.stack([np.interp(bins, corners[i : i + 3], [0, 1, 0], left=0, right=0) for i in range(20)])
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(320) / 320)
    emphasised = np.append(wave[:1], wave[1:] - 0.97 * wave[:-1])
    padded = np.pad(emphasised, 160)  # the 320 samples of a frame lie around its centre
    rows = []
    for start in range(0, len(wave) + 1, 160):
        power = np.abs(np.fft.rfft(padded[start : start + 320] * window, 1024)[:256]) ** 2
        cepstra = dct(np.log10(bank @ power + 2**-23), type=2, norm="ortho")
        rows.append([np.log10(power.sum() / 1024 + 2**-23), *cepstra[1:]])
    static = np.array(rows)

    def delta(x: NDArray[np.float64]) -> NDArray[np.float64]:
        repeated: NDArray[np.float64] = np.concatenate([x[:1], x, x[-1:]])
        return repeated[2:] - repeated[:-2]

    return np.concatenate([static, delta(static), delta(delta(static))], axis=1)


class Definition:
    """The network in float64, written from its description: one clip (N,) -> logit."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = {name: tensor.double() for name, tensor in tensors.items()}

    def __call__(self, wave: NDArray[np.float64]) -> float:
        x = torch.from_numpy(reference_lfcc(wave))[None]
        for layer in (0, "pool", 3, 5, 6, "pool", 9, 10, 12, 13, "pool", 16, 18, 19, 21, 22, 24, 25, "pool"):
            x = (
                functional.max_pool2d(x, 2)
                if layer == "pool"
                else self.convolved_or_normed(f"m_transform.0.{layer}", x)
            )
        frames = x.transpose(0, 1).flatten(1)  # channels, then what is left of the coefficients
        read = frames
        for layer in (0, 1):
            both = [self.recurrent(f"m_before_pooling.0.{layer}.l_blstm", read, end) for end in ("l0", "l0_reverse")]
            read = torch.cat(both, dim=1)
        mean = (read + frames).mean(0)
        return float(self.tensors["m_output_act.0.weight"][0] @ mean + self.tensors["m_output_act.0.bias"])

    def convolved_or_normed(self, name: str, x: Tensor) -> Tensor:
        if f"{name}.weight" in self.tensors:
            weight = self.tensors[f"{name}.weight"]
            x = functional.conv2d(x, weight, self.tensors[f"{name}.bias"], padding=weight.shape[2] // 2)
            return torch.maximum(x[: len(x) // 2], x[len(x) // 2 :])
        mean, variance = (self.tensors[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var"))
        return (x - mean) / torch.sqrt(variance + 1e-5)

    def recurrent(self, name: str, x: Tensor, end: str) -> Tensor:
        w_in, w_hidden, b_in, b_hidden = (
            self.tensors[f"{name}.{kind}_{end}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        backwards = end.endswith("reverse")
        hidden = cell = torch.zeros(48, dtype=torch.float64)
        states = []
        for frame in x.flip(0) if backwards else x:
            let_in, forget, new, let_out = (w_in @ frame + b_in + w_hidden @ hidden + b_hidden).chunk(4)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(let_in) * torch.tanh(new)
            hidden = torch.sigmoid(let_out) * torch.tanh(cell)
            states.append(hidden)
        return torch.stack(states[::-1] if backwards else states)


def test_logits_of_the_organisers(model: LfccLcnn) -> None:
    """Scores are those of the organisers' code, within 1e-5, whole files of any length."""
    score = scores(model, [CLIPS[name] for name in GOLDEN])
    np.testing.assert_allclose(score, list(GOLDEN.values()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CLIPS)
def test_definition(model: LfccLcnn, tensors: dict[str, Tensor], name: str) -> None:
    """The score is the logit of the definition, computed in float64, within 1e-5."""
    score = scores(model, [CLIPS[name]])[0]
    np.testing.assert_allclose(score, Definition(tensors)(CLIPS[name]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 320, 4000])
def test_lfcc(samples: int) -> None:
    """Frames are the 60 dimensions of the definition, one every 160 samples and one more."""
    wave = 0.1 * np.random.RandomState(samples).randn(samples)
    frames = LFCC()(torch.from_numpy(wave[None]).float())[0]
    np.testing.assert_allclose(frames.numpy(), reference_lfcc(wave), rtol=0, atol=1e-4)


@settings(deadline=None, max_examples=15)
@given(lengths=st.lists(st.sampled_from([1, 160, 2399, 2400, 2401, 5000, 9999]), min_size=2, max_size=5))
def test_batch_does_not_matter(model: LfccLcnn, lengths: list[int]) -> None:
    """A file scores alone as it does beside others, whatever their lengths, within 1e-5."""
    clips = [0.1 * np.random.RandomState(index).randn(length) for index, length in enumerate(lengths)]
    alone = np.concatenate([scores(model, [clip]) for clip in clips])
    np.testing.assert_allclose(scores(model, clips), alone, rtol=0, atol=1e-5)


def test_padding_would_be_heard(model: LfccLcnn) -> None:
    """Zeros behind a file are not part of it: taken for samples, they would change its score."""
    clip = CLIPS["noise"][:20_000]
    assert abs(scores(model, [clip])[0] - scores(model, [np.pad(clip, (0, 5000))])[0]) > 0.01


def test_a_very_short_file_is_filled_up(model: LfccLcnn) -> None:
    """A file of less than 2400 samples scores as with zeros behind it up to that."""
    clip = CLIPS["noise"][:1000]
    np.testing.assert_allclose(scores(model, [clip]), scores(model, [np.pad(clip, (0, 1400))]), rtol=0, atol=1e-6)


def test_filters_and_transform_come_from_the_checkpoint(tensors: dict[str, Tensor]) -> None:
    """The cepstra are made with the filters and the cosine transform of the file, not with those of the code."""
    wave = torch.from_numpy(CLIPS["shortest"][None]).float()
    before = LFCC()(wave)
    for name in ("m_frontend.0.lfcc_fb", "m_frontend.0.l_dct.weight"):
        network = LfccLcnn()
        weights.load_into(network, tensors | {name: 2 * tensors[name]}, Path("la_trained_network.pt"))
        changed = (network.m_frontend[0](wave) - before).abs().amax((0, 1))
        assert changed[0] == 0 and changed[1:20].min() > 0


@pytest.mark.parametrize("name", ["lfcc-lcnn-la", "lfcc-lcnn-df"])
def test_size(name: str) -> None:
    """Both cards describe the network of 60 tensors and 269,729 learned parameters."""
    card = detectors()[name]
    network = build_model(card.model, card.arguments, name)
    assert len(network.state_dict()) == 60
    assert sum(parameter.numel() for parameter in network.parameters()) == card.parameters == 269_729


def test_a_tensor_that_is_missing_is_named(tensors: dict[str, Tensor]) -> None:
    """A checkpoint without one of the tensors is refused, and the error names it."""
    rest = {name: tensor for name, tensor in tensors.items() if name != "m_transform.0.24.running_var"}
    with pytest.raises(WeightsError, match=r"1 tensors missing \(m_transform\.0\.24\.running_var\)"):
        weights.load_into(LfccLcnn(), rest, Path("la_trained_network.pt"))


def test_trains() -> None:
    """Training drops features and gives every weight a gradient; what the authors keep fixed is no weight."""
    network = LfccLcnn().train()
    once, again = (
        network(torch.from_numpy(CLIPS["noise"][None]).float(), torch.tensor([40_000])).scores for _ in range(2)
    )
    assert once != again
    once.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert {name for name, _ in network.named_buffers() if "running" not in name and "tracked" not in name} == {
        *(f"{side}_{kind}" for side in ("input", "output") for kind in ("mean", "std")),
        *(f"m_frontend.0.{name}" for name in ("lfcc_fb", "l_dct.weight", "window")),
    }


def without_dropout() -> LfccLcnn:
    torch.manual_seed(0)
    network = LfccLcnn().train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


def padded(*names: str, zeros: int = 0) -> tuple[Tensor, Tensor]:
    clips = [torch.from_numpy(CLIPS[name]).float() for name in names]
    lengths = torch.tensor([len(clip) for clip in clips])
    return functional.pad(nn.utils.rnn.pad_sequence(clips, batch_first=True), (0, zeros)), lengths


def test_files_of_a_batch_are_normed_together() -> None:
    """In training a batch norm sees the real values of all files, of whatever length, and no padding."""
    network = without_dropout()
    names = ("noise", "loud noise", "shortest", "sine", "loud noise")
    reference = copy.deepcopy(network)
    layers = reference.m_transform[0]
    assert isinstance(layers, nn.Sequential)
    with torch.no_grad():
        found = network(*padded(*names)).scores
        maps = [layers[:5](reference.m_frontend[0](padded(name)[0])[:, None]) for name in names]
        values = torch.cat([x[0].flatten(1) for x in maps], dim=1).double().numpy()
        further = network.train()(*padded(*names, zeros=777)).scores
    state = network.m_transform[0].get_submodule("5").state_dict()
    share = 1 - 0.9**2  # of the statistics that two equal batches have replaced
    np.testing.assert_allclose(state["running_mean"], share * values.mean(1), rtol=0, atol=1e-5)
    np.testing.assert_allclose(state["running_var"], 1 - share + share * values.var(1, ddof=1), rtol=1e-5)
    torch.testing.assert_close(further, found, rtol=0, atol=1e-6)
    torch.testing.assert_close(found[4], found[1], rtol=0, atol=1e-6)


def test_files_of_one_length_are_trained_as_a_plain_batch() -> None:
    """Logits and gradients are those of the layers one after the other on the whole batch."""
    network = without_dropout()
    wave, lengths = padded("noise", "sine", "burst")
    plain = copy.deepcopy(network)
    network(wave, lengths).scores.square().sum().backward()
    maps = plain.m_transform[0](plain.m_frontend[0](wave)[:, None])
    frames = maps.transpose(1, 2).flatten(2)
    plain.m_output_act[0]((plain.m_before_pooling[0](frames) + frames).mean(1)).square().sum().backward()
    for name, value in plain.named_parameters():
        torch.testing.assert_close(network.get_parameter(name).grad, value.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_the_front_end_stays_in_float32() -> None:
    """Under autocast the cepstra are what they are without: half precision would overflow on loud files."""
    wave = torch.from_numpy(CLIPS["loud noise"][None]).float()
    with torch.autocast("cpu", torch.float16):
        found = LFCC()(wave)
    assert torch.equal(found, LFCC()(wave))
