"""Where the pages of a site lie. Paths are below the site's root, with `/`, and good on every file system and in a URL.

    index.html  methods.html
    datasets/<dataset>/index.html          every trial list of that name, the one with most cells first
    datasets/<dataset>/compare.html        pairs of detectors on the first list; compare-<digest12>.html on another
    detectors/<detector>/index.html
    cells/<dataset>/<detector>/index.html
    assets/                                style, scripts, the script bundle of the figures
    data/                                  tables of the front page, leaderboard.json and its schema

Tables of a page lie beside it.
"""

from __future__ import annotations

import hashlib
import posixpath
import re

FRONT = "index.html"
METHODS = "methods.html"
ASSETS = "assets"
DATA = "data"
PAGE = "index.html"

_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
# Names that Windows keeps for devices, with or without a suffix.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def slug(name: str) -> str:
    """A name as one path component that needs no escaping: itself where it is plain, else its plain letters and a hash.

    Capitals count as not plain: file systems that do not tell them apart must not merge two names.
    """
    if _PLAIN.fullmatch(name) and not name.endswith(".") and not _DEVICES.fullmatch(name):
        return name
    readable = re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-")[:60]
    return f"{readable or 'name'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def dataset(name: str) -> str:
    return f"datasets/{slug(name)}/{PAGE}"


def comparison(name: str, digest: str = "") -> str:
    """The compare page of a trial list; digest: of a list that is not the first of its name."""
    return f"datasets/{slug(name)}/compare{f'-{digest[:12]}' if digest else ''}.html"


def detector(name: str) -> str:
    return f"detectors/{slug(name)}/{PAGE}"


def cell(dataset: str, detector: str) -> str:
    return f"cells/{slug(dataset)}/{slug(detector)}/{PAGE}"


def beside(page: str, file: str) -> str:
    """A file in the folder of a page."""
    return posixpath.join(posixpath.dirname(page), file)


def relative(target: str, page: str) -> str:
    """The link from one page to another file of the site."""
    return posixpath.relpath(target, posixpath.dirname(page) or ".")
