"""Commands that write or take over results: import, report."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from bench import terminal
from bench.cli import shared
from bench.cli.shared import existing, named_places, workspace_of


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--detector", required=True, help="The name the scores shall have.")
@click.option("--dataset", required=True, help="The dataset they are of.")
@click.option("--allow-missing", is_flag=True, help="Accept a file that lacks trials of the dataset.")
@shared.places
def import_(file: Path, detector: str, dataset: str, **options: Any) -> None:
    """Take over a score file made elsewhere.

    Text or gzip, higher = more bona fide: `trial score` a line, the four columns of an official baseline, or a table
    with a header such as `trial,score`. A trial is the same with or without folders and audio suffix.
    """
    from bench import imports, results

    workspace = workspace_of(options)
    cell, notes = imports.import_scores(workspace, file, detector, dataset)
    for note in notes:
        terminal.err.print(Text(note), soft_wrap=True)
    terminal.print_results([results.evaluate_cell(workspace.store, cell)])


@click.command()
@click.option("--out", "folder", type=click.Path(path_type=Path), default="site", help="Folder to write.")
@click.option("--base-url", metavar="URL", help="Where the site will be read: for badges and citations.")
@click.option("--scores", is_flag=True, help="Publish the score of every trial, too.")
@click.option("--audio/--no-audio", default=True, help="Let the worst errors be heard, where the licence allows it.")
@click.option("--serve", is_flag=True, help="Serve it to this machine alone, and follow the results.")
@click.option("--port", type=click.IntRange(1, 65535), help="Of --serve (default: 8000 or the next free one).")
@shared.results
@shared.data_root
@shared.data
@shared.cards
def report(
    folder: Path,
    base_url: str | None,
    scores: bool,
    audio: bool,
    serve: bool,
    port: int | None,
    results: Path,
    **corpora: Any,
) -> None:
    """Write the leaderboard as a static site.

    It needs no server and no network, and lies wherever you put it. Only pages that have changed are made again; what
    was deleted from the results is deleted from the site. Corpora are looked at for the audio of the error browser
    alone, and need not be here.
    """
    if port is not None and not serve:
        raise click.UsageError("--port is of --serve")
    from bench.report.audible import Recordings
    from bench.report.build import Written, write
    from bench.report.site import Site, address

    store = existing(results)
    site = Site(address(base_url) if base_url is not None else "", scores)
    places = {"data_root": corpora["data_root"], "data": named_places(corpora["data"]), "cards": corpora["cards"]}
    recordings = Recordings(**places) if audio else None

    def build() -> Written:
        started = time.monotonic()
        with terminal.shown() as display:
            written = write(store, folder, site=site, recordings=recordings, display=display)
        say(f"wrote {written.told} in {time.monotonic() - started:.1f} s")
        return written

    try:
        if serve:
            from bench.report.serve import serve as serving

            serving(store, build, port, say)
        else:
            build()
    except KeyboardInterrupt:
        terminal.err.print("\ninterrupted; every page is whole, the same command makes the rest")
        sys.exit(130)


def say(line: str) -> None:
    terminal.out.print(line, soft_wrap=True, highlight=False, markup=False)
