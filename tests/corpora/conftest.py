"""How the tests of the readers lay out a corpus on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest

Lay: TypeAlias = Callable[[Mapping[str, str | bytes]], Path]


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    """Write files (relative path -> content) into an empty folder, which is returned."""

    def write(files: Mapping[str, str | bytes]) -> Path:
        for name, content in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path

    return write
