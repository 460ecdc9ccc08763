"""BibTeX entries of the site and of what it measured of a detector. No clock: the year is that of the newest cell."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.report import places
from bench.report.measured import Measured, title
from bench.report.site import Site
from bench.text import printable

_SPECIAL = str.maketrans(
    {name: f"\\{name}" for name in "&%$#_{}"}
    | {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
)


def of_site(found: Sequence[Measured], site: Site) -> str:
    """The leaderboard as a whole, with the digests of its trial lists."""
    return _entry("bench-leaderboard", "Audio-deepfake detectors: leaderboard", places.FRONT, found, site)


def of_detector(found: Sequence[Measured], site: Site) -> str:
    """What was measured of one detector; the detector itself is cited by its paper.

    Args:
        found: its cells, at least one.
    """
    name = found[0].detector
    told = next((title(one.result) for one in found if one.result.cell.manifest), name)
    what = f"{told}: measured on audio-deepfake datasets"
    return _entry(f"bench-{places.slug(name)}", what, places.detector(name), found, site)


def _entry(key: str, what: str, page: str, found: Sequence[Measured], site: Site) -> str:
    finished = [str(one.result.cell.manifest.get("finished", "")) for one in found if one.result.metrics is not None]
    years = [time[:4] for time in finished if re.match(r"\d{4}-", time)]
    lists = sorted({(one.dataset, one.result.digest[:12]) for one in found if one.result.metrics is not None})
    note = "Trial lists and the beginnings of their SHA-256 digests: "
    told = {
        "title": f"{{{_escaped(what)}}}",
        "howpublished": _escaped("Computed from stored scores by bench report"),
        "year": max(years, default=""),
        "url": f"{site.base_url}{page.removesuffix(places.PAGE)}" if site.base_url else "",
        "note": note + f",\n{' ' * 10}".join(_escaped(f"{name} {digest}") for name, digest in lists) if lists else "",
    }
    fields = "".join(f"  {name} = {{{value}}},\n" for name, value in told.items() if value)
    return f"@misc{{{key},\n{fields}}}\n"


def _escaped(text: str) -> str:
    """Text for LaTeX, on one line."""
    return printable(text).translate(_SPECIAL)
