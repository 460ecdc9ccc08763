"""Audits of checkpoints: the published file, a strict load, and scores of known signals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from bench import audio, environment, passes
from bench.cards import DetectorCard
from bench.doctor.findings import Audit, Finding, absent, of_error
from bench.doctor.signals import RATE, SIGNALS
from bench.errors import BenchError, Blocked, ScoringError, UsageError
from bench.models import Output
from bench.weights import Checkpoint
from bench.workspace import Workspace

TOLERANCE = 1e-3  # of a score, relative where it is above 1: ports differ by 1e-5, a wrong window or weight by far more
REMEDY = "its code, its audio recipe, torch or the device changed: find out which before its scores are compared"


def examine(workspace: Workspace, card: DetectorCard, *, named: bool) -> Audit:
    """Load a detector strictly and let it score the signals of `bench.doctor.signals`.

    Raises:
        UsageError: a card that is not valid.
    """
    try:
        checkpoint = workspace.checkpoint(card)
    except UsageError:
        raise
    except Blocked as error:
        return absent("checkpoint", card.name, error, named=named)
    except BenchError as error:
        return Audit("checkpoint", card.name, (of_error("weights", error),), files=1)
    if checkpoint is None and card.recipe is not None:
        untrained = Blocked("it is trained here, and was not yet", remedy=f"`bench train {card.name}`")
        return absent("checkpoint", card.name, untrained, named=named)
    lines, findings = _origin(card, checkpoint), []
    facts: dict[str, object] = {"sha256": checkpoint.sha256 if checkpoint else None}
    try:
        scores = _scores(card, checkpoint, workspace.options.device)
    except BenchError as error:
        findings.append(of_error("load", error))
    except Exception as error:  # a detector may be a user's own code
        findings.append(Finding("load", "error", f"{type(error).__name__}: {error}", remedy="correct the detector"))
    else:
        lines.append("loads strictly" if checkpoint else "is built from its card")
        findings += _differences(card, scores)
        facts["scores"] = {name: one[0] for name, one in scores.items()}
        lines += _golden_lines(card, scores)
    if checkpoint is not None and not checkpoint.verified:
        findings.append(Finding("unverified", "note", "the card has no sha256 to compare these weights with"))
    return Audit("checkpoint", card.name, tuple(findings), tuple(lines), facts, files=1 if checkpoint else 0)


def _origin(card: DetectorCard, checkpoint: Checkpoint | None) -> list[str]:
    if checkpoint is None:
        return ["needs no weights"]
    verdict = "as published" if checkpoint.verified else "not published"
    verdict = "trained here" if card.recipe is not None else verdict
    return [f"{checkpoint.path}", f"sha256 {checkpoint.sha256}, {verdict}"]


def _scores(card: DetectorCard, checkpoint: Checkpoint | None, device: str) -> dict[str, tuple[float, float, float]]:
    """Of each signal: its score alone, alone again, and beside the other signals; nothing where no samples are read.

    Raises:
        BenchError: weights that do not fit, scores that are not one finite number a signal.
    """
    target = torch.device(environment.pick_device(device))
    model = passes.scorer(card, checkpoint).build(target)
    if not card.audio.decodes:
        return {}
    waves = [_prepared(card, make()) for make in map(SIGNALS.__getitem__, SIGNALS)]
    alone, again = ([_forward(model, [wave], target)[0] for wave in waves] for _ in range(2))
    together = _forward(model, waves, target)
    return dict(zip(SIGNALS, zip(alone, again, together, strict=True), strict=True))


def _prepared(card: DetectorCard, wave: np.ndarray) -> tuple[np.ndarray, int]:
    """The window of a signal, and how many samples of it are real."""
    resampled = audio.resample(wave, RATE, card.audio.rate)
    window = audio.fit_window(resampled, card.audio)
    return window, min(len(resampled), len(window)) if card.audio.window == "pad" else len(window)


@torch.inference_mode()
def _forward(model: torch.nn.Module, waves: Sequence[tuple[np.ndarray, int]], device: torch.device) -> list[float]:
    batch = torch.zeros(len(waves), max(len(wave) for wave, _ in waves))
    for row, (wave, _) in zip(batch, waves, strict=True):
        row[: len(wave)] = torch.from_numpy(wave)
    result = model(batch.to(device), torch.tensor([length for _, length in waves], device=device))
    scores = (result.scores if isinstance(result, Output) else result).double().cpu()
    if scores.shape != (len(waves),) or not scores.isfinite().all():
        raise ScoringError(f"the scores {scores.tolist()} of {len(waves)} signals are not one finite number each")
    return [float(score) for score in scores]


def _apart(one: float, other: float) -> bool:
    return abs(one - other) > TOLERANCE * max(1.0, abs(other))


def _differences(card: DetectorCard, scores: Mapping[str, tuple[float, float, float]]) -> Iterator[Finding]:
    for name, (alone, again, together) in scores.items():
        if alone != again:
            what = f"{name} scores {alone:.6f}, and {again:.6f} the second time"
            yield Finding("not repeatable", "warning", what, remedy="it draws numbers while it scores: it must not")
        if _apart(together, alone):
            what = f"{name} scores {alone:.6f} alone, and {together:.6f} beside another signal"
            yield Finding("batch mates", "error", what, remedy="mask what is padded: see bench/models/__init__.py")
    for golden in card.golden:
        if golden.input not in SIGNALS:
            what = f"the card has a golden score of {golden.input!r}, which is no signal"
            yield Finding("golden", "error", what, remedy=f"signals are {', '.join(SIGNALS)}")
        elif golden.input in scores and _apart(scores[golden.input][0], golden.score):
            what = f"{golden.input} scores {scores[golden.input][0]:.6f}, the card says {golden.score:.6f}"
            yield Finding("golden", "error", what, remedy=REMEDY)
    if scores and not card.golden:
        yield Finding("no golden", "note", "no golden vector on the card: only that scores are finite and repeatable")


def _golden_lines(card: DetectorCard, scores: Mapping[str, tuple[float, float, float]]) -> Iterator[str]:
    for golden in card.golden:
        if golden.input in scores:
            found = scores[golden.input][0]
            yield f"{golden.input}: score {found:.6f}, golden {golden.score:.6f}, tolerance {TOLERANCE:g}"
