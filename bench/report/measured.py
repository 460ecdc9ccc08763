"""What the pages know of a cell: its result, and its scores made small enough to draw and to hand from process to
process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.comparison import ranks
from bench.det import Counts, Curve, Floats, curve_of
from bench.results import Result, ranked
from bench.scored import Scored

POINTS = 200  # of a drawn DET curve
BINS = 60
PROBE = "shortcut probe"
NOT_LISTENING = (PROBE, "chance")  # families of detectors that hear no speech
LEAST, LARGEST = 1e-290, 1e300  # of a histogram: distances of larger scores may be no number, nor smaller ones parted


@dataclass(frozen=True, eq=False)
class Drawn:
    """A cell's scores as a curve and as a histogram.

    far, frr: error rates at up to `POINTS` vertices of the DET curve, from the lowest threshold to the highest, (P,);
            every curve has the vertex of its EER.
    edges: of the bins (BINS + 1,), from the 0.1 to the 99.9 percentile; scores outside fall into the bins at the ends.
    bonafide, spoof: trials in each bin (BINS,).
    """

    far: Floats
    frr: Floats
    edges: Floats
    bonafide: Counts
    spoof: Counts


@dataclass(frozen=True, eq=False)
class Measured:
    """A current cell. drawn: None without numbers."""

    result: Result
    drawn: Drawn | None

    @property
    def dataset(self) -> str:
        return self.result.cell.dataset

    @property
    def detector(self) -> str:
        return self.result.cell.detector


def draw(trials: Scored) -> Drawn:
    """The curve and the histogram of trials of both classes."""
    curve = curve_of(trials.values, trials.labels)
    chosen = _vertices(curve)
    values = np.clip(trials.values, -LARGEST, LARGEST)
    low, high = np.percentile(values, [0.1, 99.9])
    edges = np.linspace(low, high if high - low > LEAST else low + 1.0, BINS + 1)
    inside = np.clip(values, edges[0], edges[-1])
    bonafide, spoof = (np.histogram(inside[trials.labels == label], edges)[0] for label in (1, 0))
    return Drawn(curve.far[chosen], curve.frr[chosen], edges, bonafide, spoof)


def _vertices(curve: Curve) -> Counts:
    """Vertices that tell a curve on probit axes: where FRR or FAR moves by an equal share of its logit range."""
    floor = 0.5 / max(curve.n_bonafide, curve.n_spoof)
    moved = sum(
        np.abs(np.diff(np.log((np.clip(rate, floor, 1 - floor)) / (1 - np.clip(rate, floor, 1 - floor)))))
        for rate in (curve.frr, curve.far)
    )
    way = np.concatenate(([0.0], np.cumsum(moved)))
    steps = np.searchsorted(way, np.linspace(0.0, way[-1], POINTS - 1))
    return np.unique(np.append(steps, curve.crossing))


@dataclass(frozen=True)
class Line:
    """One cell among all of the site: enough to rank and to plot it without its scores.

    rank: in its trial list, None where it has none. speed: audio seconds in a second of forward time. trials, leakage:
    as in `bench.results.Result`. digest: '' for a blocked cell.
    """

    dataset: str
    digest: str
    detector: str
    title: str
    family: str
    eer: float | None
    rank: int | None
    leakage: str
    speed: float | None
    parameters: int | None


def lines(found: Sequence[Measured]) -> list[Line]:
    """One for each cell, in the order of `bench.results.ranked`."""
    ordered = ranked(one.result for one in found)
    places = ranks(ordered)
    return [_line(result, places.get((result.cell.dataset, result.cell.detector))) for result in ordered]


def _line(result: Result, rank: int | None) -> Line:
    detector = result.cell.manifest.get("detector", {})
    return Line(
        dataset=result.cell.dataset,
        digest=result.digest,
        detector=result.cell.detector,
        title=title(result),
        family=str(detector.get("family") or ""),
        eer=result.eer,
        rank=rank,
        leakage=result.leakage,
        speed=speed(result),
        parameters=detector.get("parameters"),
    )


def family(result: Result) -> str:
    """The family on the detector's card; '' where none is told."""
    return str(result.cell.manifest.get("detector", {}).get("family") or "")


def title(result: Result) -> str:
    """The detector's title; its name where no manifest tells one (blocked, imported)."""
    return str(result.cell.manifest.get("detector", {}).get("title") or result.cell.detector)


def speed(result: Result) -> float | None:
    """Seconds of audio in a second of forward time; None where nothing was measured, as for an import."""
    value = (result.cell.manifest.get("timings") or {}).get("audio_seconds_per_second")
    return None if value is None else float(value)
