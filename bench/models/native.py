"""Audio classifiers of the model hub that transformers knows: wav2vec 2.0, HuBERT, WavLM, AST, Whisper, ...

A folder of the hub says everything: `config.json` the architecture and the labels, `preprocessor_config.json` how a
file becomes features. Both are taken as the audio-classification pipeline of transformers takes them, one file at a
time; the score is a difference of raw logits where the pipeline gives a probability that saturates.

Which label is bona fide is decided by its text, because {0: real, 1: fake} and {0: fake, 1: real} are both common. What
a repository asks for beyond transformers' own code (`auto_map`, kernels, quantisers) is refused, never run.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING, AutoConfig, AutoFeatureExtractor
from transformers.utils import logging

from bench import weights
from bench.errors import CardError, WeightsError
from bench.trials import BONAFIDE, LABELS, SPOOF

RATE = 16_000
SHORTEST = 400  # samples: one frame of a convolutional extractor, of a filter bank and of Whisper's spectrogram alike


def _folded(label: str) -> str:
    """`Bona_fide`, `bona-fide` and `bonafide speech` are one label."""
    return re.sub(r"(?<=.)(voice|speech|audio)$", "", re.sub(r"[\s_-]+", "", label.casefold()))


# Closed on purpose, as the labels of trial lists are: a guess that is wrong turns every number upside down.
MEANINGS: Mapping[str, str] = {
    **{_folded(spelling): meaning for spelling, meaning in LABELS.items()},
    **dict.fromkeys(("human", "authentic"), BONAFIDE),
    **dict.fromkeys(("spoofed", "deepfake", "synthetic", "synthesized", "synthesised", "cloned"), SPOOF),
    **dict.fromkeys(("ai", "aigenerated", "generated"), SPOOF),
}

# Fields that make transformers import, download or build something that is not in it, or read settings from elsewhere.
_FOREIGN = re.compile(
    "auto_map|custom_pipelines|quantization_config|configuration_files|_?(attn|experts)_implementation(_internal)?"
)
_OWN_ATTENTION = ("eager", "sdpa")


class NativeClassifier(nn.Module):
    """Whole file to the log-odds of bona fide, log sum exp of the bona fide logits minus that of the spoof logits.

    With two labels this is the difference of the two logits. Made by `from_folder`.

    Args:
        network: an audio classifier of transformers.
        extractor: the repository's feature extractor.
        bona_fide, spoof: the outputs of the network that stand for each class.
    """

    version = 1

    def __init__(self, network: nn.Module, extractor: Any, bona_fide: Sequence[int], spoof: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.extractor = extractor
        self.bona_fide = list(bona_fide)
        self.spoof = list(spoof)

    @classmethod
    def from_folder(cls, folder: Path, bona_fide: str | int | None = None) -> NativeClassifier:
        """The classifier in a folder of the hub, in float32 and without gradients. Nothing is fetched.

        Args:
            folder: with config.json, preprocessor_config.json and weights.
            bona_fide: the label that is bona fide, all others being spoof, where the labels do not tell it.

        Raises:
            WeightsError: code that is not transformers', labels that leave the classes open, another sampling rate,
                tensors that are missing, left over, of another shape or type, or not finite.
            CardError: `bona_fide` is no label of this model.
        """
        _refuse_foreign_code(folder)
        place: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        with _told(folder):
            config = AutoConfig.from_pretrained(folder, **place)
            extractor = AutoFeatureExtractor.from_pretrained(  # type: ignore[no-untyped-call]  # typed in part only
                folder, config=config, **place
            )
        outputs = _outputs(config.id2label, None if bona_fide is None else str(bona_fide), folder)
        rate = getattr(extractor, "sampling_rate", None)
        if rate != RATE:
            raise WeightsError(
                f"its feature extractor takes {rate!r} samples a second, a card of this kind gives {RATE}",
                where=folder,
                remedy="use a model made for 16 kHz",
            )
        network = _load(config, folder).requires_grad_(False)
        return cls(network, extractor, outputs[BONAFIDE], outputs[SPOOF])

    def forward(self, wave: Tensor, lengths: Tensor) -> Tensor:
        """Log-odds of bona fide (B,), natural logarithm.

        The feature extractor is given each file alone, without the padding of its batch. Files whose features have one
        shape then pass the network together; nothing in it looks across rows.

        Args:
            wave: (B, N) float32 at 16 kHz in [-1, 1], zero behind `lengths`; fewer than 400 samples are filled up with
                zeros, no feature extractor makes a frame of them.
            lengths: (B,) real samples a row, on the CPU.
        """
        samples = functional.pad(wave, (0, max(SHORTEST - wave.shape[1], 0))).cpu()
        features = [
            self.extractor(row[: max(length, SHORTEST)].numpy(), sampling_rate=RATE, return_tensors="pt")
            for row, length in zip(samples, lengths.tolist(), strict=True)
        ]
        alike: dict[tuple[torch.Size, ...], list[int]] = {}
        for row, of_file in enumerate(features):
            alike.setdefault(tuple(value.shape for value in of_file.values()), []).append(row)
        logits = [
            self.network(
                **{name: torch.cat([features[row][name] for row in rows]).to(wave.device) for name in features[rows[0]]}
            ).logits
            for rows in alike.values()
        ]
        order = torch.tensor([row for rows in alike.values() for row in rows], device=wave.device)
        ordered = torch.cat(logits)[order.argsort()]
        return ordered[:, self.bona_fide].logsumexp(1) - ordered[:, self.spoof].logsumexp(1)


def _outputs(labels: object, bona_fide: str | None, folder: Path) -> dict[str, list[int]]:
    """Which outputs of the network are `bonafide` and which are `spoof`: each is one or the other."""
    shown = f"id2label {reprlib.repr(labels)}"  # a model of sound events has hundreds
    if not isinstance(labels, dict) or labels.keys() != set(range(len(labels))):
        raise WeightsError(
            f"{shown} does not number labels 0, 1, ...", where=folder / "config.json", remedy="fetch it again"
        )
    if bona_fide is None:
        meant = [MEANINGS.get(_folded(str(labels[output]))) for output in range(len(labels))]
    else:
        meant = [BONAFIDE if str(labels[output]) == bona_fide else SPOOF for output in range(len(labels))]
        if BONAFIDE not in meant:
            raise CardError(
                f"no label of this model is called {bona_fide!r}: {shown}",
                where=folder / "config.json",
                remedy="correct the card's `arguments: {bona_fide: <label>}`",
            )
    if set(meant) != {BONAFIDE, SPOOF}:
        raise WeightsError(
            f"which label is bona fide and which is spoof cannot be told: {shown}",
            where=folder / "config.json",
            remedy="find it out from the publisher, then make a card of your own that `extends` this one, with "
            "`arguments: {bona_fide: <label>}`; all other labels then mean spoof",
        )
    return {side: [output for output, meaning in enumerate(meant) if meaning == side] for side in (BONAFIDE, SPOOF)}


def _load(config: Any, folder: Path) -> nn.Module:
    """The network with its weights in float32, every tensor of it from the file and every tensor of the file in it."""
    classifiers: Any = MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING
    if type(config) not in classifiers:
        raise WeightsError(
            f"{config.model_type!r} is no audio classifier of transformers",
            where=folder / "config.json",
            remedy="use a model of the task audio-classification",
        )
    tensors = weights.read(folder)
    with _told(folder):
        # The tensors are read above, not by transformers, which would follow adapters and file names of the repository;
        # it renames those of older versions. What does not fit is let through and told below, by name.
        network, told = classifiers[type(config)].from_pretrained(
            None,
            config=config,
            state_dict=tensors,
            dtype=torch.float32,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    assert isinstance(network, nn.Module)
    own = network.state_dict()
    problems = {
        "missing": told["missing_keys"],
        "unknown": told["unexpected_keys"],
        # In version 4 a name, in version 5 a name and both shapes.
        "of another shape": [entry if isinstance(entry, str) else entry[0] for entry in told["mismatched_keys"]],
        "of another type": [
            name
            for name in own.keys() & tensors.keys()
            if (own[name].dtype in weights.FLOATS) != (tensors[name].dtype in weights.FLOATS)
        ],
        "not finite": [name for name, value in own.items() if not value.isfinite().all()],
        "not converted": told["error_msgs"],
    }
    if any(problems.values()):
        listed = "; ".join(f"{what}: {_some(names)}" for what, names in problems.items() if names)
        raise WeightsError(
            f"these tensors are not the weights of its config.json ({listed})",
            where=folder,
            remedy="fetch the folder again; a model whose head is its publisher's own cannot be loaded",
        )
    return network


def _some(names: Sequence[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f", … ({len(listed)})" if len(listed) > 3 else "")


def _refuse_foreign_code(folder: Path) -> None:
    """Stop at the first setting that asks for more than transformers itself."""
    for file in (folder / name for name in weights.SETTINGS):
        if not file.is_file():
            continue
        try:
            todo = [json.loads(file.read_bytes())]
        except (ValueError, RecursionError):
            raise WeightsError("not readable as JSON", where=file, remedy="fetch it again") from None
        while todo:
            value = todo.pop()
            if isinstance(value, dict):
                for name, inner in value.items():
                    if _FOREIGN.fullmatch(name) and inner and inner not in _OWN_ATTENTION:
                        raise WeightsError(
                            f"refused: `{name}` asks for more than this file and transformers' own code",
                            where=file,
                            remedy="such a model needs a detector class of your own, see CONTRIBUTING.md",
                        )
                todo += value.values()
            elif isinstance(value, list):
                todo += value


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Silence on the terminal, where a table may be drawn; and what a strange folder makes transformers raise."""
    # Its logging is typed in part only, too.
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # untyped there
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # likewise
    try:
        yield
    except Exception as error:  # any field of its settings may be anything
        said = next(iter(str(error).splitlines()), "")
        raise WeightsError(
            f"transformers cannot build this model ({type(error).__name__}: {said})",
            where=folder,
            remedy="fetch the folder again; the model may need a newer transformers",
        ) from None
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # likewise
