"""Texts that come from elsewhere are shown, never obeyed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.text import printable


@given(st.text(st.characters(codec=None), max_size=20))
def test_a_shown_name_is_safe_to_print(name: str) -> None:
    """No control character, no direction mark, no lone surrogate; letters that can be shown stay."""
    shown = printable(name)
    shown.encode()
    assert shown.isprintable()
    assert shown == name or not name.isprintable()
