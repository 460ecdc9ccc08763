"""The command that audits what is here: doctor."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from bench import terminal
from bench.cli import shared
from bench.cli.shared import workspace_of
from bench.errors import StoreError, UsageError


@click.command()
@click.option(
    "--datasets", "-s", multiple=True, help="Names, globs, `all`. Without any option: every dataset that is here."
)
@click.option("--detectors", "-d", multiple=True, help="Names, globs, `all`: check their checkpoints.")
@click.option(
    "--scores",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A score file to compare with the trial list of the one dataset named; its audio is not read.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Look at a sample of about N trials of each dataset.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all examples.")
@shared.places
def doctor(
    datasets: Sequence[str], detectors: Sequence[str], scores: Sequence[Path], as_json: bool, **options: Any
) -> None:
    """Audit local corpora, score files and checkpoints.

    Of a corpus: counts, missing and damaged files, duplicates (also among siblings), clipping, silence, offset, and
    what duration, rate, silence or loudness alone tell of the class. Of a score file: everything that an import would
    refuse, inverted sign, ties. Of a checkpoint: hash, strict load, golden scores. Where the results folder is there,
    what was found in a whole dataset is kept in it, for the pages of `bench report`; nothing else is written. Exit
    status 1 when there is an error, or something asked for by name is not here.
    """
    from bench import doctor

    workspace = workspace_of(options)
    try:
        with terminal.display() as display:
            audits = list(doctor.examine_detectors(workspace, detectors, display)) if detectors else []
            if scores:
                names = list(workspace.select_datasets(datasets)) if datasets else []
                if len(names) != 1:
                    what = f"--scores needs one dataset to compare with, not {len(names)}"
                    raise UsageError(what, remedy="name it with --datasets")
                audits += doctor.examine_scores(workspace, scores, names[0])
            elif datasets or not detectors:
                chosen = datasets or ("*", *workspace.options.data)
                audits += doctor.examine(workspace, chosen, display)
    except KeyboardInterrupt:
        terminal.err.print("\ninterrupted; `bench doctor` stores nothing")
        sys.exit(130)
    if as_json:
        subjects = {"datasets": "dataset", "score_files": "score file", "checkpoints": "checkpoint"}
        told = {key: [one.as_dict() for one in audits if one.subject == kind] for key, kind in subjects.items()}
        terminal.print_json({**told, "summary": doctor.totals(audits)})
    else:
        for audit in audits:
            if not audit.absent or not audit.healthy:  # what nobody asked for by name is told in the summary
                terminal.out.print(audit.text(), soft_wrap=True)
        terminal.out.print(doctor.summary(audits), soft_wrap=True)
    try:
        if written := doctor.keep(workspace, audits):
            terminal.err.print(Text(f"kept for `bench report`: {', '.join(map(str, written))}"), soft_wrap=True)
    except StoreError as error:  # of a results folder that is only read; everything was told
        terminal.err.print(Text(f"not kept for `bench report`: {error}"), soft_wrap=True)
    if not all(audit.healthy for audit in audits):
        sys.exit(1)
