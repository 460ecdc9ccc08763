"""Files that a worker could not cope with: those that its machine lacks, and those that kill who decodes them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from bench.batches import Portion
from bench.decoding import read
from bench.errors import DataError
from bench.executors.job import Job
from bench.runner import Scored
from bench.scoring import Done
from bench.shards import is_address, shard_of
from bench.shards.storage import present


def unreadable(portions: Sequence[Portion], done: Iterable[Done]) -> list[str]:
    """The files of scored portions that have a note and cannot be reached from this machine."""
    noted = {
        trial
        for one in done
        for result in one.results
        if isinstance(result, Scored)
        for trial in result.block["trial"][result.block["note"] != ""]
    }
    files = ((trial, path) for portion in portions for trial, path in zip(portion.trials, portion.paths, strict=True))
    return unreachable(path for trial, path in files if trial in noted)


def unreachable(paths: Iterable[str]) -> list[str]:
    """Those of these files (or shards that hold them) that this machine does not have, or may not read."""
    wanted = list(paths)
    places = {path: shard_of(path) or path for path in wanted}
    remote = [place for place in places.values() if is_address(place)]
    try:
        there = present(remote)
    except DataError:  # no network, no package, no permission
        there = set()
    return [path for path in wanted if not (places[path] in there or _readable(places[path]))]


def _readable(place: str) -> bool:
    return not is_address(place) and Path(place).is_file() and os.access(place, os.R_OK)


def deadly(portions: Sequence[Portion], job: Job) -> str:
    """The first file whose decoding ends the process that tries it, '' where none does."""
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_try, args=(portions, job, there))
    process.start()
    there.close()
    path = ""
    try:
        while True:
            path = here.recv()
    except EOFError:
        process.join()
        return path


def _try(portions: Sequence[Portion], job: Job, told: Connection) -> None:
    """Tell each file before it is decoded, and '' behind the last."""
    for portion in portions:
        for row, path in enumerate(portion.paths):
            told.send(path)
            one = slice(row, row + 1)
            alone = portion._replace(trials=portion.trials[one], paths=portion.paths[one], spans=portion.spans[one])
            read(alone, job.scorers[0].recipe, job.perturbation)
    told.send("")
