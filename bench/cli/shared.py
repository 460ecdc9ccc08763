"""What the commands share: options, and the workspace that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.store import Store
    from bench.workspace import Workspace

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
cards = click.option(
    "--cards", envvar="BENCH_CARDS", show_envvar=True, type=FOLDER, help="Folder with cards of your own."
)
leaderboard = click.option(
    "--leaderboard",
    envvar="BENCH_LEADERBOARD",
    show_envvar=True,
    type=click.Path(path_type=Path),
    default="leaderboard.yml",
    help="File of boards and accepted results.",
)
results = click.option(
    "--results",
    envvar="BENCH_RESULTS",
    show_envvar=True,
    type=click.Path(path_type=Path),
    default="results",
    help="Folder of all results.",
)
device = click.option(
    "--device", default="auto", help="auto (every GPU, else the CPU), cpu, cuda:N, or several: cuda:0,cuda:1."
)
precision = click.option(
    "--precision",
    type=click.Choice(["fp32", "tf32", "bf16", "auto"]),
    default="fp32",
    help="Compute in another precision where a probe of the dataset's own trials finds the same order of scores; auto "
    "is the fastest that the device has.",
)
workers = click.option(
    "--workers", type=click.IntRange(min=0), help="Processes that decode ahead (default: by device)."
)
batch_size = click.option(
    "--batch-size", type=click.IntRange(min=1), help="Utterances of 4 s a batch (default: by device)."
)


data = click.option(
    "--data",
    "data",
    multiple=True,
    metavar="NAME=PATH",
    help="Place of one dataset, or of its pack (a folder, s3://..., https://...); a NAME without a card stands for "
    "your own CSV list or real/fake folder.",
)


def placed(command: F) -> F:
    """Options every command shares whose work other machines may do."""
    executor = click.option(
        "--executor",
        type=click.Choice(["local", "ray"]),
        default="local",
        help="Score and train on this machine, or on the nodes of a Ray cluster.",
    )
    address = click.option(
        "--address",
        metavar="ADDRESS",
        help="Of the Ray cluster: auto, HOST:PORT or ray://HOST:PORT (default: RAY_ADDRESS, else a Ray of its own).",
    )
    return executor(address(command))


def places(command: F) -> F:
    """Options every command that looks for files shares."""
    options = [
        data_root,
        data,
        click.option(
            "--weights",
            envvar="BENCH_WEIGHTS",
            show_envvar=True,
            multiple=True,
            type=FOLDER,
            default=("weights",),
            help="Folder that is searched for checkpoints by file name (repeatable).",
        ),
        cards,
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


def workspace_of(options: dict[str, Any], *, make: bool = False) -> Workspace:
    from bench.workspace import Options, Workspace

    if "feature_cache" in options:
        options["feature_limit"] = int(options.pop("feature_cache") * 10**9)
    return Workspace(Options(data=named_places(options.pop("data", ())), **options), make=make)


def named_places(given: Iterable[str]) -> dict[str, Path | str]:
    """What `--data` says."""
    from bench.shards import place_of

    places: dict[str, Path | str] = {}
    for item in given:
        name, equals, path = item.partition("=")
        if not (name and equals and path):
            raise click.BadParameter(f"{item!r} is not NAME=PATH", param_hint="--data")
        places[name] = place_of(path)
    return places


def existing(root: Path) -> Store:
    """The store of a command that only reads one.

    Raises:
        UsageError: there is none.
    """
    from bench.store import Store

    if not root.is_dir():
        raise UsageError("there are no results here", where=root, remedy="run `bench run`, or name --results")
    return Store(root)
