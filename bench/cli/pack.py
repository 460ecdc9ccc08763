"""The command that makes a pack of a dataset."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Literal

import click

from bench import terminal
from bench.cli import shared
from bench.cli.shared import FOLDER, workspace_of

UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9}


class Bytes(click.ParamType[int]):
    """`500MB`, `1GB`: whole numbers with a unit."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = re.fullmatch(r"([1-9]\d{0,5})(kB|MB|GB)", str(value))
        if found is None:
            self.fail(f"{value!r} is no size; write e.g. 500MB or 1GB", param, ctx)
        return int(found[1]) * UNITS[found[2]]


@click.command()
@click.argument("name", metavar="DATASET")
@click.option("--out", type=FOLDER, help="Folder to write (default: packs/DATASET below the data root).")
@click.option("--format", "form", type=click.Choice(["tar", "parquet"]), default="tar", help="Of the shards.")
@click.option("--shard-size", type=Bytes(), default="1GB", metavar="SIZE", help="Audio in a shard at most.")
@shared.places
def pack(name: str, out: Path | None, form: Literal["tar", "parquet"], shard_size: int, **places: Any) -> None:
    """Copy a dataset into a few large files.

    Hundred thousands of small files are slow on network disks and in object stores. A pack has the same trials, digest
    and scores. One at packs/DATASET below the data root is found where the loose files are not there; any other place,
    s3:// and the like too, is named with --data DATASET=PLACE. A killed packing goes on where it stopped.
    """
    from bench import corpora
    from bench.shards import packing

    workspace = workspace_of(places, make=True)
    dataset = workspace.dataset(name)
    folder = out or corpora.pack_folder(workspace.options.data_root, name)
    try:
        with terminal.display() as display:
            packed = packing.pack(dataset, folder, display, form=form, shard_bytes=shard_size)
    except KeyboardInterrupt:
        terminal.err.print("\ninterrupted; finished shards are kept, the same command goes on from there")
        sys.exit(130)
    manifest = packed.manifest
    shards = f"{len(manifest.shards):,} {form} shard{'' if len(manifest.shards) == 1 else 's'}"
    told = f"{manifest.trials:,} trials, {packed.files:,} files, {shards}, digest {manifest.digest[:12]}"
    terminal.out.print(f"{'packed' if packed.new else 'packed already'}: {told}", soft_wrap=True, highlight=False)
    terminal.out.print(f"{folder}", soft_wrap=True, highlight=False, markup=False)
