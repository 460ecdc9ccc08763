"""What holds for a whole site."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.errors import UsageError


@dataclass(frozen=True)
class Site:
    """base_url: the address where the site will be read, with a `/` at its end; '' where nobody says: links are
    relative anyway, but badges and citations need one.

    scores: whether the score of every trial is published beside its cell.
    """

    base_url: str = ""
    scores: bool = False


def address(text: str) -> str:
    """The address of a site as `Site.base_url` has it, with the `/` at its end.

    Raises:
        UsageError: no web address, or one with a user, a question or a place in a page.
    """
    try:
        parts = urlsplit(text)
        plain = parts.scheme in ("http", "https") and parts.hostname and not (parts.username or parts.password)
    except ValueError:
        plain = None
    if not plain or set(text) & set("?#\\\"'<> ") or not text.isprintable():
        raise UsageError(f"{text!r} is no address of a site", remedy="give one such as https://example.org/leaderboard")
    return text if text.endswith("/") else f"{text}/"
