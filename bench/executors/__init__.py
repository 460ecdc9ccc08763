"""Who scores and trains: this process, one process for each GPU of this machine, or the machines of a Ray cluster.

All of them call `bench.scoring.score_trials` on portions of one plan and give its results to this process, the only
one that writes to the store. So a run may change its executor and go on where it stopped.

    executors.job       what they have in common
    executors.local     this process on one device
    executors.devices   a process for each of several devices of this machine
    executors.cluster   Ray, `pip install 'antispoof-bench[ray]'`
    executors.handout   slices of a plan, handed out to whoever is free; what the last two share
"""

from __future__ import annotations

from bench import environment
from bench.executors.devices import Devices
from bench.executors.job import Executor, Job
from bench.executors.local import Local
from bench.workspace import Options

__all__ = ["Executor", "Job", "opened"]


def opened(options: Options) -> Executor:
    """The executor that the options ask for; enter it as a context.

    Raises:
        UsageError: a device that is not there, Ray that is not installed or cannot be reached.
    """
    if options.executor == "ray":
        from bench.executors.cluster import Cluster  # an extra

        return Cluster(options.address, options.device)
    devices = environment.pick_devices(options.device)
    return Local(devices[0]) if len(devices) == 1 else Devices(devices)
