"""The shards of a pack against what they were when they were written."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bench.corpora import Dataset
from bench.doctor.findings import Finding, counted
from bench.progress import Display
from bench.shards import is_address
from bench.shards.pack import Shard, read_manifest


def examine_pack(dataset: Dataset, display: Display) -> list[Finding]:
    """Shards whose bytes or sha256 are not those of the manifest; none of a dataset of loose files.

    Missing ones are told by their trials. At an address nothing is hashed: all of it would be transferred.
    """
    if dataset.pack is None:
        return []
    shards = read_manifest(dataset.pack).shards
    if is_address(dataset.pack):
        what = f"{counted(len(shards), 'shard')} at {dataset.pack}: the sha256 is compared of local packs only"
        return [Finding("not hashed", "note", what, len(shards))]
    display.begin_bytes(f"{dataset.name}: sha256 of its shards", sum(one.bytes for one in shards))
    wrong = [told for one in shards if (told := _wrong(Path(dataset.pack) / one.name, one, display))]
    display.end()
    what = f"{len(wrong):,} of {counted(len(shards), 'shard')} not as packed"
    return [Finding("damaged shard", "error", what, len(wrong), tuple(wrong), dataset.card.obtain)] if wrong else []


def _wrong(place: Path, shard: Shard, display: Display) -> str:
    """What is wrong with a shard, '' for nothing, or where it is missing."""
    try:
        size = place.stat().st_size
        if size != shard.bytes:
            return f"{shard.name}: {size:,} bytes instead of {shard.bytes:,}"
        with place.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{shard.name}: {error.strerror}"
    finally:
        display.advance(shard.bytes)
    return "" if found == shard.sha256 else f"{shard.name}: sha256 {found[:12]} instead of {shard.sha256[:12]}"
