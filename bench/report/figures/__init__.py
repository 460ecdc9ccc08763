"""Figures: altair charts, drawn as static SVG by vl-convert, and their specification for the script in the page.

    theme     the look, and chart + data -> Figure
    drawing   specification -> SVG fit for the inside of a page
    curves, distributions, bars, points, training      the figures

One chart serves both: colours are CSS variables of the page (`theme`), so that a figure follows the page into the dark.
Data is copied into the specification as data: no name is ever part of an expression, a field name or markup. Texts are
made printable (`bench.text`). What is called a label below names one row, curve or group; labels of a figure differ.

All figures raise:

    UsageError   nothing to draw, labels that are not unique, lengths that do not fit together
    DataError    a number that is NaN or infinite, where it is not said that these are left out
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WIDE = 560  # pixels: what is wider scrolls on its own instead of being shrunk on a phone


@dataclass(frozen=True)
class Figure:
    """name: unique in its page, an HTML id. title: a sentence above it. alt: what it shows, for who does not see it.

    svg: without script, style or foreign names unescaped: goes into the page as it is. spec: Vega-Lite, for the script.
    width: of the drawing in pixels.
    """

    name: str
    title: str
    alt: str
    svg: str
    spec: Mapping[str, Any]
    width: int = 0

    @property
    def wide(self) -> bool:
        return self.width > WIDE
