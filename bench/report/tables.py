"""A table of a page, to take away: the same rows as CSV and as JSON beside it.

Numbers are full floats and fractions, as everywhere in JSON; a page rounds them. A cell without a value is empty in
CSV and null in JSON.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Files: TypeAlias = dict[str, bytes]  # path below the site's root -> content

# What a text begins with that spreadsheets take for a formula or pass over on the way to one (OWASP, CSV injection);
# and the apostrophe, so that what is put before such a text can be taken away again.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


@dataclass(frozen=True)
class Table:
    """name: file name without suffix, unique in its page. columns: name -> what it means, in the order of the CSV.

    rows: a mapping each, with all columns; text, numbers, booleans and None.
    """

    name: str
    columns: Mapping[str, str]
    rows: Sequence[Mapping[str, Any]]

    def files(self, folder: str) -> Files:
        """Both files in a folder of the site, '' for its root."""
        place = f"{folder}/{self.name}" if folder else self.name
        return {f"{place}.csv": self.csv().encode(), f"{place}.json": self.json().encode()}

    def csv(self) -> str:
        """RFC 4180 with a header.

        A text that begins with one of `FORMULA` has an apostrophe before it: who takes one away from every text that
        begins with one has the texts as they are.
        """
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\r\n")
        writer.writerow(map(_plain, self.columns))
        writer.writerows([_plain(row[name]) for name in self.columns] for row in self.rows)
        return out.getvalue()

    def json(self) -> str:
        rows = [{name: row[name] for name in self.columns} for row in self.rows]
        return json.dumps({"columns": dict(self.columns), "rows": rows}, ensure_ascii=False, allow_nan=False, indent=1)


def _plain(value: Any) -> Any:
    """A value for CSV; speaker and file names are untrusted."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
