"""A page of the site as a browser reads it."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "input", "img"}


class Page(HTMLParser):
    """Its elements, text and tables; unbalanced tags are an error.

    tables: rows of cells, white space collapsed; a caption is a row of one cell. What `hidden` does not show is in it.
    """

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._tables: list[list[list[str]]] = []
        self._open: list[str] = []
        self.feed(html.decode())
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._tables.append([])
        elif tag in ("tr", "caption"):
            self._tables[-1].append([] if tag == "tr" else [""])
        elif tag in ("td", "th"):
            self._tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if "script" in self._open:
            return
        self.text += data
        if {"td", "th", "caption"} & set(self._open):
            self._tables[-1][-1][-1] += data

    @property
    def tables(self) -> list[list[list[str]]]:
        return [[[" ".join(cell.split()) for cell in row] for row in table] for table in self._tables]

    def values(self, attribute: str) -> list[str]:
        return [value for _, attrs in self.elements if (value := attrs.get(attribute)) is not None]
