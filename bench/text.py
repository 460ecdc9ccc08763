"""Texts that come from elsewhere: names, reasons, messages of libraries."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""A text without what a terminal would obey or cannot show: `\n`, escape sequences, bytes not in UTF-8."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
