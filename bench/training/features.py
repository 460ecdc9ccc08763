"""What frozen encoders give for a list of clips: computed once, kept on disk, shared by all detectors that read it.

Rows are computed in fixed batches; of a batch that lacks a row all are computed again. So the bytes do not depend on
who filled the file and how often that was interrupted. The files are those of `bench.training.tables`.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench import environment
from bench.cards import AudioRecipe
from bench.errors import StoreError
from bench.models.extractor import HOP, RECEPTIVE_FIELD
from bench.models.wav2vec2 import SIZES, Reading
from bench.progress import Display
from bench.recipes import Stage
from bench.training.loading import Clips, batches, in_order
from bench.training.tables import Table, make_room, open_table
from bench.trials import PIECE

VERSION = 2  # goes up whenever the code changes a value: decoding, resampling, the window, the backbone
FLUSH_SECONDS = 5.0  # of work that a kill may cost


def constant(stage: Stage, recipe: AudioRecipe) -> bool:
    """Whether the training clips of a stage are the same in every epoch, and all of one length."""
    changed = stage.crop != "first" or stage.pieces is not None or stage.augmentation is not None
    return recipe.samples is not None and not changed


class Features:
    """The inputs of a stage on one list, of all its readings. Nobody removes them until they are closed or gone."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tables

    def read(self, rows: np.ndarray) -> tuple[Tensor, ...]:
        """Of each reading the values of these rows of the list (n,), in their order: float32 (n, T, D).

        Raises:
            StoreError: a row is not what was written. It is marked, so that the next `kept` computes it again.
        """
        try:
            return tuple(table.read(rows) for table in self._tables)
        except StoreError:
            self.close()  # the error may keep this object alive, and who computes the rows again needs the lock
            raise

    def close(self) -> None:
        """Let others remove them. Nothing can be read behind it."""
        for table in self._tables:
            table.close()


def kept(
    folder: Path,
    readings: Sequence[Reading],
    clips: Clips,
    dataset_digest: str,
    files: str | None,
    *,
    limit: int,
    batch_size: int,
    device: torch.device,
    workers: int,
    display: Display,
    name: str = "",
) -> Features | None:
    """The values of readings on a list, computed as far as they are not in `folder` yet.

    Where another process is computing the same, it is waited for.

    Args:
        clips: unchanged ones of a fixed window, see `constant`.
        dataset_digest, files: identity of the list, see `bench.corpora.Dataset`.
        limit: bytes that all kept features may take. What was not used for longest makes room, never what is in use.
        batch_size: rows a forward pass. It is part of the key: only what was computed with the same one is shared.
        device: where the backbones are.
        name: of the list, for the display.
    Returns:
        None where they do not fit, which a note tells: the encoders have to be run in each epoch.
    Raises:
        StoreError: the folder cannot be written, or the disk became full. What is computed so far is gone on with.
        DataError: as `batches`.
    """
    assert clips.augment is None and clips.pieces is None and clips.crop == "first" and not clips.double, "fixed clips"
    assert clips.recipe.samples is not None and clips.recipe.samples >= RECEPTIVE_FIELD, "a fixed window"
    title = f"features of {' and '.join(dict.fromkeys(map(_called, readings)))}{name and f': {name}'}"
    frames = (clips.recipe.samples - RECEPTIVE_FIELD) // HOP + 1
    facts = [_facts(reading, clips, dataset_digest, files, batch_size) for reading in readings]
    keys = [hashlib.sha256(json.dumps(fact, sort_keys=True).encode()).hexdigest() for fact in facts]
    found = {key: (reading, fact) for key, reading, fact in zip(keys, readings, facts, strict=True)}
    hardware = environment.hardware(str(device))
    with ExitStack() as opened:
        tables: dict[str, Table] = {}
        for key in sorted(found):  # in one order everywhere, or two processes might wait for each other
            reading, fact = found[key]
            shape = (len(clips.trials), frames, reading.backbone.architecture.width)
            wait = partial(display.note, f"{title}: another process is computing them, waiting for it")
            tables[key] = open_table(folder, {"key": key, **fact, "hardware": hardware}, shape, wait)
            opened.callback(tables[key].close)
        lacking = [(found[key][0], table) for key, table in tables.items() if not table.complete]
        if lacking:
            if reason := make_room(folder, list(tables.values()), limit):
                display.note(f"{title}: not kept but computed in each epoch; {reason}")
                return None
            _fill(lacking, clips, batch_size, device, workers, display, title)
        opened.pop_all()
    return Features([tables[key] for key in keys])


# --- what determines the values ---------------------------------------------------------------------------------------


def _facts(reading: Reading, clips: Clips, digest: str, files: str | None, batch_size: int) -> dict[str, Any]:
    """Everything that determines the values of a reading on a list, beside the hardware and the libraries."""
    blocks = _blocks(reading)
    return {
        "version": VERSION,
        "layers": reading.layers,
        "architecture": asdict(replace(reading.backbone.architecture, layers=blocks)),
        "weights": _weights(reading, blocks),
        "audio": clips.recipe.model_dump(),
        "list": digest,
        "trials": _trials(clips),
        "files": files,
        "batch_size": batch_size,
    }


def _blocks(reading: Reading) -> int:
    """How many blocks of its backbone a reading runs."""
    return reading.backbone.architecture.layers if reading.layers is None else reading.layers[1] + 1


def _weights(reading: Reading, blocks: int) -> str:
    """Sha256 over the tensors that a reading uses: name, type, shape and bytes of each."""
    final_norm = reading.layers is None or reading.backbone.architecture.group_norm
    hashed = hashlib.sha256()
    for name, tensor in reading.backbone.state_dict().items():
        block = re.match(r"encoder\.layers\.(\d+)\.", name)
        unused = name == "masked_spec_embed" or (name.startswith("encoder.layer_norm.") and not final_norm)
        if unused or (block is not None and int(block[1]) >= blocks):
            continue
        hashed.update(f"{name}\t{tensor.dtype}\t{tuple(tensor.shape)}\n".encode())
        hashed.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return hashed.hexdigest()


def _trials(clips: Clips) -> str:
    """Sha256 over the rows of the list in their order, and where their audio is: a list's digest knows neither.

    Two versions of a corpus, e.g. before and after a codec, may have the same trials.
    """
    table = clips.trials
    places = [str(Path(path).absolute()) for path in table["path"]]
    piece = [table[column].tolist() for column in PIECE if column in table]
    rows = zip(table["trial"].tolist(), places, *piece, strict=True)
    return hashlib.sha256("".join("\t".join(row) + "\n" for row in rows).encode(errors="surrogateescape")).hexdigest()


def _called(reading: Reading) -> str:
    """A reading in words."""
    backbone = reading.backbone
    full = replace(backbone.architecture, layers=backbone.architecture.layers + len(backbone.cut))
    size = next((name for name, size in SIZES.items() if size == full), f"a backbone of width {full.width}")
    if reading.layers is None:
        return f"{size} (last hidden state)"
    first, last = reading.layers
    return f"{size} (block {first})" if first == last else f"{size} (blocks {first} to {last})"


# --- computing them ---------------------------------------------------------------------------------------------------


def _fill(
    lacking: Sequence[tuple[Reading, Table]],
    clips: Clips,
    batch_size: int,
    device: torch.device,
    workers: int,
    display: Display,
    title: str,
) -> None:
    """Compute what is lacking, each file decoded once for all readings, and from then on share the tables."""
    # fp32 is the reference: no TF32 in convolutions or products.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    plan = in_order(len(clips.trials), batch_size)
    todo = [rows for rows in plan if not all(table.has(rows) for _, table in lacking)]
    display.begin(title, sum(map(len, todo)))
    with ExitStack() as last:
        last.callback(display.end)
        for _, table in lacking:
            last.callback(table.flush)  # also what a failure or Ctrl-C would lose
        flushed = time.monotonic()
        for batch in batches(clips, todo, workers=workers, pin=device.type == "cuda"):
            wave = batch.wave.to(device, non_blocking=True)
            for reading, table in lacking:
                if not table.has(batch.rows):
                    with torch.inference_mode():
                        table.write(batch.rows, reading(wave))
            display.advance(len(batch.rows))
            if time.monotonic() - flushed > FLUSH_SECONDS:
                for _, table in lacking:
                    table.flush()
                flushed = time.monotonic()
    for _, table in lacking:
        table.share()
