"""Commands that need corpora or weights: list, fetch, run, train, score, demo."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click
from rich.text import Text

from bench import terminal
from bench.cli import shared
from bench.cli.shared import workspace_of

DEMO_DETECTORS = ("lfcc-gmm-demo", "xlsr-sls-demo", "probe-*", "random")
WHAT_THE_DEMO_SHOWS = (
    "\nlfcc-gmm-demo and xlsr-sls-demo were trained here, on synthetic voices; what stands for XLS-R in the latter are "
    "two random layers. The probes look at durations, silences and bandwidth only, and random guesses. This shows that "
    "the harness works; it says nothing about detectors of real speech.\n"
)


@click.command("list")
@click.argument("kind", type=click.Choice(["detectors", "datasets"]))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@shared.places
def list_(kind: Literal["detectors", "datasets"], as_json: bool, **places: Any) -> None:
    """What exists, what is ready here, and how to get the rest."""
    from bench import inventory

    workspace = workspace_of(places)
    if kind == "detectors":
        detectors = inventory.list_detectors(workspace)
        entries, table = list[inventory.Entry](detectors), inventory.detector_table(detectors, terminal.out.width)
    else:
        entries = inventory.list_datasets(workspace)
        table = inventory.dataset_table(entries)
    if as_json:
        terminal.print_json({kind: [asdict(entry) for entry in entries]})
        return
    terminal.out.print(table)
    for remark in inventory.remarks(entries):
        terminal.print_reason(*remark)


@click.command()
@click.argument("kind", type=click.Choice(["detectors", "datasets"]))
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--dry-run", is_flag=True, help="Show what would be downloaded from where to where, and do nothing.")
@shared.places
def fetch(kind: Literal["detectors", "datasets"], names: Sequence[str], dry_run: bool, **places: Any) -> None:
    """Download checkpoints or corpora: names, globs, `all`.

    What is here is left alone. An interrupted download goes on where it stopped, and hashes are compared. Weights go to
    the first --weights folder, corpora below --data-root. What cannot be downloaded is explained step by step. Exit
    status 1 when something asked for is not here at the end.
    """
    from bench import fetch

    workspace = workspace_of(places)
    planned = fetch.plan(workspace, kind, names)
    terminal.print_fetch_plan(planned)
    if dry_run:
        outcomes = fetch.without_downloads(planned)
    else:
        try:
            with terminal.display() as display:
                outcomes = fetch.carry_out(workspace, planned, display)
        except KeyboardInterrupt:
            terminal.err.print("\ninterrupted; what has arrived is kept, the same command goes on from there")
            sys.exit(130)
    terminal.print_fetched(outcomes)
    if not all(outcome.ok for outcome in outcomes):
        sys.exit(1)


@click.command()
@click.option("--detectors", "-d", multiple=True, help="Names, globs, `all`; repeat or separate by commas.")
@click.option(
    "--datasets",
    "-s",
    multiple=True,
    help="Names, globs, `all`, each also perturbed (itw+mp3@64k); repeat or separate by commas.",
)
@click.option("--board", help="The detectors and datasets of this board of leaderboard.yml.")
@shared.leaderboard
@click.option(
    "--train",
    type=click.Choice(["missing", "never"]),
    default="missing",
    help="Train what has a recipe and no weights yet, or leave it out.",
)
@shared.trains
@shared.device
@shared.precision
@shared.batch_size
@shared.workers
@shared.placed
@click.option("--limit", type=click.IntRange(min=1), help="Score a sample of about N trials, as a dataset NAME:N.")
@click.option(
    "--allow-missing",
    is_flag=True,
    help="Give cells with unreadable files numbers over the rest; a run without it tries those files again.",
)
@click.option("--dry-run", is_flag=True, help="Show the plan and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@shared.places
def run(
    detectors: Sequence[str],
    datasets: Sequence[str],
    board: str | None,
    leaderboard: Path,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Score detectors on datasets and print EER and F1.

    A detector with a recipe and no checkpoint is trained first; with several --seeds its EER is their mean. What is
    finished is not trained or scored again; a killed run goes on where it stopped. Exit status 1 when a cell failed, or
    when something asked for by name is blocked.
    """
    from bench import matrix

    if board is not None:
        if detectors or datasets:
            raise click.UsageError("--board names detectors and datasets: leave --detectors and --datasets out")
        detectors, datasets = _of_board(leaderboard, board)
    for names, option in ((detectors, "--detectors"), (datasets, "--datasets")):
        if not names:
            raise click.UsageError(f"Missing option '{option}' (or give --board).")
    workspace = workspace_of(options, make=not dry_run)
    planned = matrix.plan(workspace, detectors, datasets)
    if dry_run:
        terminal.print_plan(workspace, planned, as_json)
        if any(pair.state == "blocked" and pair.named for pair in planned):
            sys.exit(1)
        return
    with terminal.display() as display:
        outcomes = matrix.run(workspace, planned, display)
    terminal.print_outcomes(workspace, outcomes, as_json)
    if not all(outcome.ok for outcome in outcomes) or all(outcome.cell is None for outcome in outcomes):
        sys.exit(1)


def _of_board(leaderboard: Path, board: str) -> tuple[Sequence[str], Sequence[str]]:
    from bench import accepted

    chosen = accepted.read(leaderboard).board(board)
    return chosen.detectors, chosen.datasets


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@shared.trains
@shared.device
@shared.workers
@shared.placed
@click.option("--dry-run", is_flag=True, help="Show what would be trained and about how long it takes, and do nothing.")
@shared.places
def train(names: Sequence[str], dry_run: bool, **options: Any) -> None:
    """Carry out the recipes of detectors: names, globs, `all`.

    What is trained is left alone; a killed training goes on from its last state. The weights lie in the results folder,
    where `bench run` finds them. Exit status 1 when a training failed or something it needs is not here.

    \b
    accelerate launch -m bench train NAME     on several GPUs
    """
    from bench import trainings

    workspace = workspace_of(options, make=not dry_run)
    planned = trainings.plan(workspace, names)
    if not dry_run:
        with terminal.display() as display:
            planned = trainings.carry_out(workspace, planned, display)
    terminal.print_trainings(workspace, planned)
    if not all(one.ok for one in planned):
        sys.exit(1)


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@click.option(
    "--detectors",
    "-d",
    multiple=True,
    help="Names, globs, `all`; repeat or separate by commas. Without it: every trained detector of `all`.",
)
@click.option("--datasets", "-s", multiple=True, help="Compare with stored scores on these only (names or globs).")
@shared.device
@shared.batch_size
@shared.workers
@click.option("--json", "as_json", is_flag=True, help="Print JSON: shares and EER as fractions.")
@shared.places
def score(
    files: Sequence[str], detectors: Sequence[str], datasets: Sequence[str], as_json: bool, **options: Any
) -> None:
    """Score audio files of your own: files, folders, globs.

    Tells the score and decision of each detector, and where the score lies among those of the stored cells of the same
    detector. Nothing is stored. Exit status 1 when a file or something asked for by name could not be scored.
    """
    from bench import clips
    from bench.text import printable

    workspace = workspace_of(options)
    try:
        with terminal.display() as display:
            found = clips.score(workspace, files, detectors, datasets, display)
    except KeyboardInterrupt:
        terminal.err.print("\ninterrupted; `bench score` stores nothing")
        sys.exit(130)
    if as_json:
        terminal.print_json(clips.as_json(found))
    else:
        if found.scores:
            terminal.out.print(*clips.blocks(found), *(Text(f"· {line}") for line in clips.footer(found)), sep="\n")
        for trouble in found.told():
            terminal.print_reason(printable(trouble.name), trouble.reason, trouble.remedy)
    if not found.ok:
        sys.exit(1)


@click.command()
@click.option("--out", "folder", type=click.Path(path_type=Path), default="site", help="Page folder.")
@shared.data_root
@shared.results
def demo(folder: Path, **places: Any) -> None:
    """Train, score and report on synthetic data: offline, on a CPU."""
    from bench import matrix, report
    from bench.report.audible import Recordings

    workspace = workspace_of(places, make=True)
    with terminal.display() as display:
        if not (corpus := workspace.options.data_root / "demo").exists():
            display.note(f"making the demo corpus in {corpus}, about 10 seconds")
        outcomes = matrix.run(workspace, matrix.plan(workspace, DEMO_DETECTORS, ["demo"]), display)
    terminal.print_outcomes(workspace, outcomes, as_json=False)
    terminal.out.print(WHAT_THE_DEMO_SHOWS)
    with terminal.display() as display:
        recordings = Recordings(workspace.options.data_root)
        site = report.write(workspace.store, folder, recordings=recordings, display=display)
    terminal.out.print(f"leaderboard: {site.index.resolve()}", soft_wrap=True, highlight=False)
    if not all(outcome.ok for outcome in outcomes):
        sys.exit(1)
