"""The self-supervised backbone of the detectors: wav2vec 2.0, XLS-R, MMS and HuBERT encoders on the modules of
transformers. Baevski et al., arXiv 2006.11477; Babu et al. (XLS-R), arXiv 2111.09296; Hsu et al. (HuBERT), 2106.07447.

HuBERT's encoder is the same network with other weights, so one class serves all of them. The blocks are run one by one
here, because `hidden_states[-1]` of transformers is the last block before the final norm in version 5 and behind it in
version 4, and because a detector that takes layers 0 to 10 should not pay for 24.

Parameters lie on the device `meta` until a checkpoint is loaded or `Backbone.initialise` draws random ones: a backbone
without weights cannot give a score. Names of tensors are transformers'; `BackboneDetector` knows fairseq's.

Shapes: B rows, N samples, T = (N - 400) // 320 + 1 frames, D width of the model.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.errors import CardError, WeightsError
from bench.models import extractor
from bench.models.extractor import HOP, KERNELS, RECEPTIVE_FIELD, STRIDES

if TYPE_CHECKING:
    from transformers import Wav2Vec2Model

MOST = 1 << 16  # of any size on a card or in a checkpoint, which is believed before it is loaded
MOST_BLOCKS = 200


@dataclass(frozen=True)
class Architecture:
    """The size of a backbone. The default is XLS-R 300M.

    layers: transformer blocks. width, feed_forward: of a block. heads: of attention. conv_width: channels of the
    convolutional extractor. group_norm: the extractor normalises over time in its first layer only and blocks are
    post-norm (wav2vec 2.0 base); otherwise a layer norm a frame and pre-norm blocks. taps, groups: of the positional
    convolution.
    """

    layers: int = 24
    width: int = 1024
    feed_forward: int = 4096
    heads: int = 16
    conv_width: int = 512
    conv_bias: bool = True
    group_norm: bool = False
    taps: int = 128
    groups: int = 16

    def network(self) -> Wav2Vec2Model:
        """Transformers' model, with random weights: as the authors evaluate, so nothing is dropped or masked."""
        from transformers import Wav2Vec2Config, Wav2Vec2Model  # seconds: not for listing cards

        config = Wav2Vec2Config(
            num_hidden_layers=self.layers,
            hidden_size=self.width,
            intermediate_size=self.feed_forward,
            num_attention_heads=self.heads,
            conv_dim=(self.conv_width,) * len(KERNELS),
            conv_kernel=KERNELS,
            conv_stride=STRIDES,
            conv_bias=self.conv_bias,
            feat_extract_norm="group" if self.group_norm else "layer",
            do_stable_layer_norm=not self.group_norm,
            num_conv_pos_embeddings=self.taps,
            num_conv_pos_embedding_groups=self.groups,
            hidden_dropout=0.0,
            attention_dropout=0.0,
            activation_dropout=0.0,
            feat_proj_dropout=0.0,
            layerdrop=0.0,
            attn_implementation="sdpa",  # type: ignore[call-arg]  # taken by the base class
        )
        return Wav2Vec2Model(config)


SIZES = {
    "wav2vec2-base": Architecture(12, 768, 3072, 12, conv_bias=False, group_norm=True),
    "xls-r-300m": Architecture(),
    "xls-r-1b": Architecture(48, 1280, 5120, 16),
    "xls-r-2b": Architecture(48, 1920, 7680, 16),
    "hubert-xlarge": Architecture(48, 1280, 5120, 16, conv_bias=False),
}


def architecture(size: str | Mapping[str, Any]) -> Architecture:
    """The architecture a card names, or describes by the fields in which it differs from XLS-R 300M.

    Raises:
        CardError: no such size, or no such field.
    """
    if isinstance(size, str):
        if size not in SIZES:
            raise CardError(f"no backbone is called {size!r}", remedy=f"known: {', '.join(SIZES)}")
        return SIZES[size]
    try:
        found = replace(Architecture(), **size)
    except TypeError as error:
        raise CardError(f"a backbone does not have these fields: {error}") from None
    for name, value in asdict(found).items():
        fits = type(value) is bool if name in ("conv_bias", "group_norm") else type(value) is int and 0 < value <= MOST
        if not fits:
            raise CardError(f"a backbone cannot have {name}: {value!r}")
    if found.width % found.heads or found.width % found.groups:
        raise CardError(f"the width {found.width} of a backbone must be a multiple of its heads and of its groups")
    return found


class Backbone(nn.Module):
    """An encoder of speech, without weights until some are loaded.

    Args:
        size: a name of `SIZES`, or the fields in which it differs from XLS-R 300M.
        layers: how many blocks are built, all by default: those beyond the last one needed are neither loaded nor run.
    """

    def __init__(self, size: str | Mapping[str, Any], layers: int | None = None) -> None:
        super().__init__()
        full = architecture(size)
        if layers is not None and not 0 < layers <= full.layers:
            raise CardError(f"{layers} of {full.layers} blocks of a backbone cannot be built")
        self.architecture = replace(full, layers=full.layers if layers is None else layers)
        self.cut = range(self.architecture.layers, full.layers)  # blocks that a checkpoint has and this does not
        with torch.device("meta"):
            source = self.architecture.network()
        self.feature_extractor = source.feature_extractor
        self.feature_projection = source.feature_projection
        self.encoder = source.encoder
        self.masked_spec_embed = source.masked_spec_embed  # in every checkpoint; used by pre-training only

    def initialise(self, seed: int) -> None:
        """Random weights as transformers draws them, without touching the global random state."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            source = self.architecture.network()
        self.load_state_dict(source.state_dict(), assign=True)

    def names_in(self, keys: Collection[str]) -> tuple[dict[str, str], set[str]]:
        """Own name -> name in a pre-trained model with these keys, and the keys that may be left out: heads of its own.

        Raises:
            WeightsError: there is no backbone among the keys.
        """
        naming = Naming(keys)
        unused = {key for key in keys if HEADS.match(key) or naming.unused(key, self.cut)}
        return {own: naming(own) for own in self.state_dict()}, unused

    def forward(self, wave: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The last hidden state, behind the final norm of pre-norm models, (B, T, D), and the real frames (B, T) bool.

        Args:
            wave: (B, N) float32 at 16 kHz, N >= 400, zero behind `lengths`.
            lengths: (B,) real samples a row, int64 on the CPU; None: all of them.
        """
        hidden = torch.empty(0)
        for block in self.blocks(wave, lengths):
            hidden = block
        if not self.architecture.group_norm:
            norm = self.encoder.layer_norm
            hidden = norm(hidden.to(norm.weight.dtype))  # autocast gives other types
        return hidden.float(), self.frames(hidden.shape[1], wave, lengths)

    def blocks(self, wave: Tensor, lengths: Tensor | None = None) -> Iterator[Tensor]:
        """Output of each block before any final norm, (B, T, D), first block first. Arguments as in `forward`.

        They are of the type that the blocks compute in: who adds many up does so in float32. Frames behind the end of a
        row hold no values of interest; no frame of a row depends on other rows.

        Raises:
            ValueError: fewer samples than one frame, or rows of unequal lengths for a model whose extractor normalises
                over time, see `each_length`.
        """
        hidden, _ = self.feature_projection(self._extract(wave.to(self.feature_projection.projection.weight.dtype)))
        attend = None
        if lengths is not None and int(lengths.min()) < wave.shape[1]:
            if self.architecture.group_norm:
                raise ValueError("this extractor normalises over time: rows of one batch must have equal lengths")
            real = self.frames(hidden.shape[1], wave, lengths)
            hidden = hidden * real[..., None]  # what the positional convolution sees behind the end of a file: zeros
            attend = real[:, None, None]
        hidden = hidden + self.encoder.pos_conv_embed(hidden)
        if self.architecture.group_norm:
            hidden = self.encoder.layer_norm(hidden)
        for layer in self.encoder.layers:
            output = layer(hidden, attention_mask=attend)
            hidden = output[0] if isinstance(output, tuple) else output  # transformers 4 gives a tuple
            yield hidden

    def _extract(self, wave: Tensor) -> Tensor:
        """What the convolutional extractor makes of samples (B, N): (B, T, its channels)."""
        if self.architecture.group_norm:
            maps: Tensor = self.feature_extractor(wave)
            return maps.mT
        return extractor.extract(self.feature_extractor.conv_layers, wave)

    def lower_precision(self) -> None:
        """See `LowerPrecision`. Weights must have been loaded."""
        positional = self.encoder.pos_conv_embed.conv
        if parametrize.is_parametrized(positional):  # its norm is taken of exact weights, and once
            parametrize.remove_parametrizations(positional, "weight")
        self.bfloat16()

    def frames(self, count: int, wave: Tensor, lengths: Tensor | None) -> Tensor:
        """Which of `count` frames have their whole receptive field in real samples: (B, count) bool."""
        if lengths is None:
            return torch.ones(len(wave), count, dtype=torch.bool, device=wave.device)
        real = (lengths.to(wave.device, non_blocking=True) - RECEPTIVE_FIELD).clamp(min=0) // HOP + 1
        return torch.arange(count, device=wave.device) < real[:, None]


class Reading(NamedTuple):
    """What a detector takes of a backbone: the mean of some blocks' outputs, or the last hidden state.

    layers: first and last block, from 0; None is the last hidden state, behind the final norm of pre-norm models.
    """

    backbone: Backbone
    layers: tuple[int, int] | None = None

    def __call__(self, wave: Tensor) -> Tensor:
        """(B, N) float32 at 16 kHz, rows of one length, -> float32 (B, T, D)."""
        if self.layers is None:
            hidden: Tensor = self.backbone(wave)[0]
            return hidden
        first, last = self.layers
        chosen = itertools.islice(self.backbone.blocks(wave), first, last + 1)
        return functools.reduce(torch.add, chosen, next(chosen).float()) / (last - first + 1)


# What a hub model of another purpose (recognition, emotions) has around its encoder.
HEADS = re.compile(r"(lm_head|classifier|projector|project_q|project_hid|quantizer|adapter)\.")

# Transformers' names to fairseq's, first match wins; the norms of the extractor depend on its kind, see `Naming`.
_TO_FAIRSEQ = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^masked_spec_embed$", "mask_emb"),
        (r"^feature_projection\.layer_norm", "layer_norm"),
        (r"^feature_projection\.projection", "post_extract_proj"),
        (r"^(feature_extractor\.conv_layers\.\d+)\.conv", r"\1.0"),
        (r"^encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original0", "encoder.pos_conv.0.weight_g"),
        (r"^encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original1", "encoder.pos_conv.0.weight_v"),
        (r"^encoder\.pos_conv_embed\.conv", "encoder.pos_conv.0"),
        (r"^(encoder\.layers\.\d+)\.attention", r"\1.self_attn"),
        (r"^(encoder\.layers\.\d+)\.layer_norm", r"\1.self_attn_layer_norm"),
        (r"^(encoder\.layers\.\d+)\.feed_forward\.intermediate_dense", r"\1.fc1"),
        (r"^(encoder\.layers\.\d+)\.feed_forward\.output_dense", r"\1.fc2"),
    )
)
# The one tensor by which a backbone is found in a file, whatever it is wrapped in.
_FAIRSEQ_MARK, _TRANSFORMERS_MARK = "post_extract_proj.weight", "feature_projection.projection.weight"
# What pre-training needs and no detector: the only tensors of a backbone that may be left out.
_PRETRAINING = frozenset(
    f"{part}.{kind}"
    for part in ("quantizer.weight_proj", "project_q", "project_hid", "final_proj")
    for kind in ("weight", "bias")
) | {"quantizer.vars", "quantizer.codevectors", "label_embs_concat"}
_BLOCK = re.compile(r"encoder\.layers\.(0|[1-9][0-9]{0,2})\.")


class Naming:
    """How a checkpoint calls the tensors of a backbone: fairseq's or transformers' names behind some prefix.

    Args:
        keys: the names in the file.
    Raises:
        WeightsError: there is no backbone in it.
    """

    def __init__(self, keys: Collection[str]) -> None:
        for mark in (_FAIRSEQ_MARK, _TRANSFORMERS_MARK):
            if found := [key for key in keys if key.endswith(mark)]:
                self.prefix = min(found, key=len).removesuffix(mark)
                break
        else:
            raise WeightsError(
                f"no wav2vec 2.0 or HuBERT encoder in it: neither {_FAIRSEQ_MARK} nor {_TRANSFORMERS_MARK}"
            )
        self._fairseq = mark == _FAIRSEQ_MARK
        self._extractor_norm = ".2.1" if f"{self.prefix}feature_extractor.conv_layers.1.2.1.weight" in keys else ".2"
        self._old_weight_norm = f"{self.prefix}encoder.pos_conv_embed.conv.weight_g" in keys
        inside = (key.removeprefix(self.prefix) for key in keys if key.startswith(self.prefix))
        self.blocks = {int(match[1]) for match in map(_BLOCK.match, inside) if match}

    def __call__(self, own: str) -> str:
        """The file's name of the backbone's tensor `own`."""
        if self._fairseq:
            norm = rf"\1{self._extractor_norm}"
            own = re.sub(r"^(feature_extractor\.conv_layers\.\d+)\.layer_norm", norm, own)
            for pattern, name in _TO_FAIRSEQ:
                if pattern.match(own):
                    own = pattern.sub(name, own)
                    break
        elif self._old_weight_norm:
            own = own.replace("parametrizations.weight.original0", "weight_g")
            own = own.replace("parametrizations.weight.original1", "weight_v")
        return self.prefix + own

    def unused(self, key: str, cut: range) -> bool:
        """Whether a tensor of the file may be left out: for pre-training, or of a block that is not built."""
        if not key.startswith(self.prefix):
            return False
        rest = key.removeprefix(self.prefix)
        block = _BLOCK.match(rest)
        return rest in _PRETRAINING or (block is not None and int(block[1]) in cut)


def infer(tensors: Mapping[str, Tensor]) -> Architecture:
    """The architecture of the backbone in a checkpoint.

    Heads cannot be seen in it: 12 for a width of 768, else 16, as in every released model.

    Raises:
        WeightsError: there is no backbone in it, or a tensor that tells its size is missing.
    """
    naming = Naming(tensors.keys())

    def shape(own: str, dimensions: int) -> torch.Size:
        name = naming(own)
        if name not in tensors:
            raise WeightsError(f"the size of the backbone cannot be told: {name} is missing")
        value, found = tensors[name], tensors[name].shape
        # Without values of its own, a few bytes of a file would say how much memory to take.
        if len(found) != dimensions or 0 in found or value.untyped_storage().nbytes() < value.nbytes:
            raise WeightsError(f"the size of the backbone cannot be told: {name} has shape {tuple(found)}")
        return found

    width, conv_width = shape("feature_projection.projection.weight", 2)
    taps = shape("encoder.pos_conv_embed.conv.parametrizations.weight.original1", 3)
    layers, heads = len(naming.blocks), 12 if width == 768 else 16
    if naming.blocks != set(range(layers)) or not 0 < layers <= MOST_BLOCKS:
        raise WeightsError(f"{layers} blocks of a backbone that are not numbered from 0 on")
    feed_forward = shape("encoder.layers.0.feed_forward.intermediate_dense.weight", 2)[0]
    if max(width, conv_width, feed_forward, *taps) > MOST or width % heads or width % taps[1]:
        raise WeightsError(f"no backbone has a width of {width} and a positional convolution of {tuple(taps)}")
    return Architecture(
        layers=layers,
        width=width,
        feed_forward=feed_forward,
        heads=heads,
        conv_width=conv_width,
        conv_bias=naming("feature_extractor.conv_layers.0.conv.bias") in tensors,
        group_norm=naming("feature_extractor.conv_layers.1.layer_norm.weight") not in tensors,
        taps=taps[2],
        groups=width // taps[1],
    )


class LowerPrecision(nn.Module):
    """Base of the detectors whose large part is backbones."""

    def lower_precision(self) -> None:
        """Put every backbone in bfloat16; what comes out of it, and all else, stays float32.

        For scoring with weights that have been loaded, not for training: the norm of the weights of the positional
        convolution is taken once and for all, so that their names are no longer those of a checkpoint.
        """
        for module in self.modules():
            if isinstance(module, Backbone):
                module.lower_precision()


class BackboneNames:
    """What a detector's one backbone, `self.backbone`, is called in a checkpoint; all other names are the authors'."""

    backbone: Backbone

    @classmethod
    def infer(cls, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """The arguments that a checkpoint tells: `backbone`."""
        return {"backbone": asdict(infer(tensors))}

    def names_in(self, keys: Collection[str]) -> tuple[dict[str, str], set[str]]:
        """Own name -> name in a checkpoint with these keys, and the keys that may be left out."""
        own = self.state_dict().keys()  # type: ignore[attr-defined]  # mixed into modules only
        if any(key.startswith("backbone.") for key in keys):  # written by this harness
            return {name: name for name in own}, set()
        naming, cut = Naming(keys), self.backbone.cut
        names = {name: naming(name.removeprefix("backbone.")) if name.startswith("backbone.") else name for name in own}
        return names, {key for key in keys if naming.unused(key, cut)}


class BackboneDetector(BackboneNames, LowerPrecision):
    """Base of the detectors with one backbone.

    Args:
        backbone: see `Backbone`; where the card has none it is read off the checkpoint.
    """

    def __init__(self, backbone: str | Mapping[str, Any]) -> None:
        super().__init__()
        self.backbone = Backbone(backbone)
