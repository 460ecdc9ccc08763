"""The SVG badge of a cell, for the README of a detector. (Badges of a row on a page are `bench.report.badges`.)"""

from __future__ import annotations

from html import escape
from unicodedata import east_asian_width

from bench.report import badges
from bench.report.measured import Measured
from bench.text import printable

LONGEST = 40  # characters of a dataset's name
LEFT = "bench"
HEIGHT, PADDING, CHARACTER = 20, 6, 6.5  # pixels; text is fitted to its box, whatever font there is
LEFT_PAGE, RIGHT_PAGE, TEXT = "#3d444d", "#0b57b0", "#ffffff"  # 9.9:1 and 7.0:1


def svg(measured: Measured) -> bytes | None:
    """`bench | EER 7.46 % on itw`, with what the weights may have seen where that is not nothing.

    None where there is no EER over the whole trial list, and over all seeds: a badge has no room for reservations.
    """
    result = measured.result
    if result.eer is None or result.lacking:
        return None
    dataset = printable(measured.dataset)
    seen = badges.of_leakage(result).text
    leakage = "" if seen == "held-out" else f" ({seen})"
    told = f"EER {100 * result.eer:.2f} % on "
    shown = dataset if len(dataset) <= LONGEST else f"{dataset[: LONGEST - 1]}…"
    counted = "" if result.trials is None else f" ({result.trials:,} trials, digest {result.digest[:12]})"
    title = f"{LEFT}: {told}{dataset}{leakage}{counted}"
    return _drawn(f"{told}{shown}{leakage}", title).encode()


def markdown(address: str, page: str) -> str:
    """The line of a README that shows a badge and leads to the detector's page, both by their full addresses."""
    return f"[![{LEFT}]({address})]({page})"


def _drawn(right: str, title: str) -> str:
    boxes = [round(_width(text) + 2 * PADDING) for text in (LEFT, right)]
    total = sum(boxes)
    texts = "".join(
        f'<text x="{start + PADDING}" y="14" textLength="{width - 2 * PADDING}">{escape(text)}</text>'
        for start, width, text in ((0, boxes[0], LEFT), (boxes[0], boxes[1], right))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{HEIGHT}" viewBox="0 0 {total} {HEIGHT}" '
        f'role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'
        f'<rect width="{boxes[0]}" height="{HEIGHT}" fill="{LEFT_PAGE}"/>'
        f'<rect x="{boxes[0]}" width="{boxes[1]}" height="{HEIGHT}" fill="{RIGHT_PAGE}"/>'
        f'<g fill="{TEXT}" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">{texts}</g></svg>\n'
    )


def _width(text: str) -> float:
    return sum(2 * CHARACTER if east_asian_width(one) in "WF" else CHARACTER for one in text)
