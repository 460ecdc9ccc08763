"""Fixtures of all tests of training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
import torch

from bench.corpora import Dataset
from tests.training import toys


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other take ten times as long on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Dataset]:
    """The datasets `train`, 13 trials, and `dev`, 10 trials."""
    root = tmp_path_factory.mktemp("corpora")
    return {"train": toys.corpus(root, "train", 6, 7), "dev": toys.corpus(root, "dev", 5, 5, seed=5)}
