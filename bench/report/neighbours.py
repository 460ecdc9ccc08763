"""A map in two dimensions of what a detector makes of trials."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from bench.det import Floats

FEWEST = 10
PERPLEXITY = 30
STEPS = 500  # 0.6 s for 400 vectors of 160 numbers


def neighbours(vectors: Sequence[Sequence[float]]) -> tuple[Floats, Floats] | None:
    """The places x and y (N,) of N vectors of equal length, by t-SNE (van der Maaten and Hinton, 2008).

    Begins with the principal components: the same vectors give the same map. None where there are fewer than `FEWEST`
    vectors, where they are not finite or of one dimension, and where all are one.
    """
    table = np.asarray(vectors, dtype=np.float32)
    if len(table) < FEWEST or table.shape[1] < 2 or not np.isfinite(table).all() or not np.ptp(table, axis=0).any():
        return None
    from sklearn.manifold import TSNE  # takes seconds to import

    perplexity = min(PERPLEXITY, (len(table) - 1) / 3)
    with threadpool_limits(1):  # sums of several threads have other last bits, and the map other places
        found = TSNE(perplexity=perplexity, init="pca", max_iter=STEPS, random_state=0).fit_transform(table)
    return found[:, 0].astype(float), found[:, 1].astype(float)
