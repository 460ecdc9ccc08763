"""Command line options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

FOLDER = click.Path(path_type=Path, file_okay=False)

data_root = click.option(
    "--data-root",
    envvar="BENCH_DATA",
    show_envvar=True,
    type=FOLDER,
    default="data",
    help="Folder of all corpora.",
)
results = click.option(
    "--results",
    envvar="BENCH_RESULTS",
    show_envvar=True,
    type=click.Path(path_type=Path),
    default="results",
    help="Folder of all results.",
)
device = click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")
workers = click.option(
    "--workers", type=click.IntRange(min=0), help="Processes that decode ahead (default: by device)."
)
batch_size = click.option(
    "--batch-size", type=click.IntRange(min=1), help="Utterances of 4 s a batch (default: by device)."
)


def places(command: F) -> F:
    """Options every command that looks for files shares."""
    options = [
        data_root,
        click.option(
            "--data",
            "data",
            multiple=True,
            metavar="NAME=PATH",
            help="Place of one dataset; a NAME without a card stands for your own CSV list or real/fake folder.",
        ),
        click.option(
            "--weights",
            envvar="BENCH_WEIGHTS",
            show_envvar=True,
            multiple=True,
            type=FOLDER,
            default=("weights",),
            help="Folder that is searched for checkpoints by file name (repeatable).",
        ),
        click.option(
            "--cards", envvar="BENCH_CARDS", show_envvar=True, type=FOLDER, help="Folder with cards of your own."
        ),
        results,
    ]
    for option in reversed(options):
        command = option(command)
    return command


def trains(command: F) -> F:
    """Options every command that trains shares."""
    seeds = click.option(
        "--seeds",
        type=click.IntRange(min=1),
        default=1,
        help="Train each recipe with so many seeds, its own and those that follow it.",
    )
    cache = click.option(
        "--feature-cache",
        type=click.FloatRange(min=0),
        default=32,
        metavar="GB",
        help="Most that outputs of frozen encoders may take in the results folder; 0 keeps none.",
    )
    return seeds(cache(command))
