"""How scoring scales over nodes of a Ray cluster, simulated on this machine. Prints rates; asserts nothing.

    python -m benchmarks.cluster [--nodes 4] [--trials 6400] [--seconds 0.1]

1. Trials/s of a detector that sleeps, which takes no core, on one node and on several: from when the last worker began
   to the last score of all, by the clock at the end of each forward pass. What it takes until then is told beside it.
2. The ceiling of the driver: trials/s of a detector that does nothing, through Ray to where they would be stored.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pandas as pd
import ray
import torch
from ray.cluster_utils import Cluster as Simulated
from torch import nn

from bench import environment
from bench.batches import Portions
from bench.cards import AudioRecipe
from bench.executors import Job
from bench.executors.cluster import Cluster
from bench.models import Facts, Output
from bench.scorer import Scorer
from bench.scoring import Failed

BATCH = 4  # trials that are slept over at once
NO_OP_ROWS = 4_096
FACTS = AudioRecipe(window="none")


class Sleeper(nn.Module):
    """A device that is busy for so many seconds a batch, and takes no core. A score is the time when it was done."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, facts: Sequence[Facts]) -> Output:
        time.sleep(self.seconds)
        done = torch.full((len(facts),), time.time(), dtype=torch.float64)
        return Output(done, {"process": torch.full((len(facts),), os.getpid())})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--trials", type=int, default=6_400)
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument("--no-op-trials", type=int, default=2_000_000)
    arguments = parser.parse_args()
    hardware = environment.hardware("cpu")
    print(f"{hardware['cpu']}, {hardware['cores']} cores, Ray {ray.__version__}, simulated nodes")
    print(f"a detector that sleeps {arguments.seconds} s for {BATCH} trials; the bare rate is that without a harness")
    bare = BATCH / arguments.seconds
    rates = {}
    for nodes in (1, arguments.nodes):
        with simulated(nodes):
            trials = arguments.trials * nodes // arguments.nodes
            rates[nodes], started = rate(trials, arguments.seconds)
            share = rates[nodes] / (bare * nodes)
            print(f"  {nodes} nodes {rates[nodes]:10.1f} trials/s, {share:.3f} of bare; all began in {started:.1f} s")
            if nodes == 1:
                most = ceiling(arguments.no_op_trials)
    ratio = rates[arguments.nodes] / (arguments.nodes * rates[1])
    print(f"  {arguments.nodes} nodes / {arguments.nodes} x one node {ratio:.3f}   (target 0.95)")
    print(f"ceiling of the driver, a detector that does nothing: {most:,.0f} trials/s")


@contextmanager
def simulated(nodes: int) -> Iterator[None]:
    """A cluster of so many nodes, to which this process is connected."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Simulated(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(nodes - 1):
        cluster.add_node(num_cpus=1)
    ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def rate(trials: int, seconds: float) -> tuple[float, float]:
    """Trials/s of all workers together, and the seconds until the last of them had begun."""
    begun = time.time()
    table = pd.concat(scored(trials, BATCH, seconds))
    settled, ended = table.groupby("process")["score"].min().max(), table["score"].max()
    return (table["score"] > settled).sum() / (ended - settled), settled - begun


def ceiling(trials: int) -> float:
    """Trials/s that one process takes in, behind the first that come."""
    arrivals = [(time.perf_counter(), len(block)) for block in scored(trials, NO_OP_ROWS, 0.0)]
    return sum(count for _, count in arrivals[1:]) / (arrivals[-1][0] - arrivals[0][0])


def scored(trials: int, batch: int, seconds: float) -> Iterator[pd.DataFrame]:
    """The blocks of scores, as they come."""
    table = pd.DataFrame({"trial": np.arange(trials).astype(str), "path": "", "label": "spoof"})
    batches = np.split(np.arange(trials), range(batch, trials, batch))
    scorer = Scorer("sleeper", "benchmarks.cluster:Sleeper", {"seconds": seconds}, FACTS)
    with Cluster(None, "cpu") as cluster:
        for done in cluster.score(Job([scorer]), Portions(table, batches, ["sleeper"])):
            for result in done.results:
                if isinstance(result, Failed):
                    raise SystemExit(str(result.error))
                yield result.block


if __name__ == "__main__":
    main()
