"""`make parity`: proves on random weights that `bench.models.wav2vec2` equals genuine fairseq, block by block.

    python -m tests.parity.prove MAJOR      # the major version of transformers that must be the one imported

Every tensor of a model of fairseq is loaded strictly, under fairseq's name, into `Backbone`. Compared are the outputs
of each block and of the whole: for single files, and for a batch of them that is padded and masked here and taken one
by one there. float32 on the CPU; above `TOLERANCE` it fails. A difference is the largest absolute one, over the
deviation of what fairseq gives there: values grow from block to block, and so does what rounding makes of them. Our
convolutions are products of matrices, fairseq's are not, so no two sums have one order. Then come the files in which
fairseq and the hub keep such models: `tests.parity.files`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import torch
import transformers
from torch import Tensor, nn

from bench.models.wav2vec2 import SIZES, Backbone, BackboneDetector, infer
from bench.weights import load_into
from tests.parity import files
from tests.parity.reference import hubert, outputs, wav2vec2

TOLERANCE = 2e-5
# 201, 99 and 150 frames. An odd number fairseq makes even by a masked frame; without it, both come to the same kernels
# of torch, and differences may be exactly 0.
SAMPLES = (64_600, 32_000, 48_123)
WRAPPER = "ssl_model.model."  # what the detectors' checkpoints put before fairseq's names

MODELS: dict[str, Callable[[], nn.Module]] = {
    "wav2vec2-base": lambda: wav2vec2(12, 768, 3072, 12, conv_bias=False, group_norm=True),
    "xls-r-300m": lambda: wav2vec2(24, 1024, 4096, 16),
    "xls-r-1b": lambda: wav2vec2(3, 1280, 5120, 16),
    "xls-r-2b": lambda: wav2vec2(2, 1920, 7680, 16),
    "hubert-xlarge": lambda: hubert(3, 1280, 5120, 16),
}


class Compared(NamedTuple):
    """Largest differences of the blocks, first block first, and of the output, each over the deviation of its values;
    `size` is that of the last block."""

    what: str
    blocks: list[float]
    output: float
    size: float


def main() -> None:
    found, wanted = transformers.__version__, sys.argv[1]
    if found.partition(".")[0] != wanted:
        raise SystemExit(f"transformers {found} is imported, to be proven is version {wanted}")
    print(f"transformers {found}, torch {torch.__version__}: largest differences to fairseq, over the deviation")
    print(f"{'model':15}{'blocks':>7}  {'samples':12}{'block 1':>9}{'worst block':>15}{'output':>9}{'last block':>12}")
    differences = []
    for name, build in MODELS.items():
        for line in compare(name, build()):
            worst = max(range(len(line.blocks)), key=line.blocks.__getitem__)
            print(
                f"{name:15}{len(line.blocks):7}  {line.what:12}{line.blocks[0]:9.1e}"
                f"{f'{line.blocks[worst]:.1e} ({worst + 1})':>15}{line.output:9.1e}{line.size:12.2f}",
                flush=True,
            )
            differences += [*line.blocks, line.output]
    if not all(difference <= TOLERANCE for difference in differences):  # so put, NaN fails
        raise SystemExit(f"NOT equal: the tolerance is {TOLERANCE:g}")
    print(f"equal: {max(differences):.1e} at most, the tolerance is {TOLERANCE:g}")
    with tempfile.TemporaryDirectory() as folder:
        files.fairseq_files(Path(folder))
        files.hub_folders(Path(folder))


def compare(name: str, model: nn.Module) -> Iterator[Compared]:
    """A model of fairseq and the backbone that its tensors are loaded into, on each file and on all in one batch.

    Raises:
        AssertionError: the size read off the tensors is not that of `name`, or attention would not be SDPA.
    """
    tensors = {WRAPPER + key: value for key, value in model.state_dict().items()}
    size = infer(tensors)
    assert size == replace(SIZES[name], layers=size.layers), size
    encoder = BackboneDetector(**BackboneDetector.infer(tensors)).eval()
    load_into(encoder, tensors, Path(name))
    backbone = encoder.backbone
    assert backbone.encoder.config._attn_implementation == "sdpa"

    draw = torch.Generator().manual_seed(1)
    waves = [torch.randn(samples, generator=draw).mul_(0.1) for samples in SAMPLES]
    theirs = [outputs(model, wave[None]) for wave in waves]
    for wave, stages in zip(waves, theirs, strict=True):
        yield difference(f"{len(wave)}", ours(backbone, [wave]), [stages])
    if not size.group_norm:  # the other kind cannot be masked, and refuses to be
        yield difference("all, masked", ours(backbone, waves), theirs)


def ours(backbone: Backbone, waves: list[Tensor]) -> list[list[Tensor]]:
    """`reference.outputs` of the backbone for files in one batch, a file without its padding at a time."""
    stages: list[Tensor] = []

    def recorded(wave: Tensor, lengths: Tensor | None) -> Iterator[Tensor]:
        for block in Backbone.blocks(backbone, wave, lengths):
            stages.append(block)
            yield block

    batch = nn.utils.rnn.pad_sequence(waves, batch_first=True)
    lengths = torch.tensor([len(wave) for wave in waves])
    with patch.object(backbone, "blocks", recorded), torch.inference_mode():
        last, real = backbone(batch, lengths)
    return [[stage[row, mask][None] for stage in (*stages, last)] for row, mask in enumerate(real)]


def difference(what: str, ours: list[list[Tensor]], theirs: list[list[Tensor]]) -> Compared:
    """Over the stages of each file: those of a block after another, then the output.

    Raises:
        AssertionError: a stage of another shape, or one so even over the frames that equality would say little.
    """
    largest = []
    for here, there in zip(zip(*ours, strict=True), zip(*theirs, strict=True), strict=True):
        assert [stage.shape for stage in here] == [stage.shape for stage in there]
        assert all(stage.std(dim=1).mean() > 0.1 for stage in there)
        largest.append(max(float((a - b).abs().max() / b.std()) for a, b in zip(here, there, strict=True)))
    return Compared(what, largest[:-1], largest[-1], float(theirs[0][-2].std()))


if __name__ == "__main__":
    main()
