"""A process for each of several devices of this machine; slices go to whoever is free."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, TypeVar

import torch

from bench import environment
from bench.batches import Portion, Portions
from bench.cores import cores, detector_threads
from bench.errors import ScoringError
from bench.executors.handout import ATTEMPTS, Finished, Lost, hand_out
from bench.executors.job import Job
from bench.executors.suspects import deadly
from bench.executors.worker import Slice, serve
from bench.scoring import Done

T = TypeVar("T")
LEAVE_SECONDS = 5.0  # that a process may take to end by itself
POLL_SECONDS = 0.05  # until a worker without a slice looks at what else there is to do


class Devices:
    """Scores on several devices at once.

    devices: torch device names; `cpu` may be named several times, its processes share the cores.
    """

    name = "devices"

    def __init__(self, devices: Sequence[str]) -> None:
        self.devices = tuple(devices)
        self.kind = devices[0].partition(":")[0]
        self.workers = len(devices)
        self.cores = max(1, cores() // len(devices))

    def __enter__(self) -> Devices:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def memory_bytes(self) -> int:
        least = min(environment.memory_bytes(device) for device in self.devices)
        return least // self.workers if self.kind == "cpu" else least

    def hardware(self) -> Mapping[str, Any]:
        names = sorted({str(environment.hardware(device)["device"]) for device in self.devices})
        return {**environment.hardware(self.devices[0]), "device": ", ".join(names), "devices": self.workers}

    def score(self, job: Job, portions: Portions) -> Iterator[Done]:
        with closing(_Processes(job, self.devices, self.kind, self.cores)) as crew:
            yield from hand_out(portions, crew)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        return function(*arguments, self.devices[0])


class _Processes:
    """The workers of one pass: a process for each device."""

    def __init__(self, job: Job, devices: Sequence[str], kind: str, share: int) -> None:
        self._job = job
        self._decoding = job.decode_workers(kind, share)
        self._threads = detector_threads(share, self._decoding if kind == "cpu" else 0)
        self._devices = {f"{device} ({number})": device for number, device in enumerate(devices)}
        self._starts = dict.fromkeys(self._devices, 0)
        self._workers: dict[str, tuple[BaseProcess, Connection]] = {}
        self._last = ""  # why the last one was lost

    def _start(self, name: str) -> None:
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        here, there = context.Pipe()
        given = self._job, self._devices[name], self._threads, self._decoding, there
        process = context.Process(target=_work, args=given, name=name)
        process.start()
        there.close()  # so that the end of either process is the end of the pipe
        self._workers[name] = process, here
        self._starts[name] += 1

    def hire(self) -> Collection[str]:
        """Every device; a process that has died is started anew, as often as a slice is tried."""
        for name in self._devices.keys() - self._workers.keys():
            if self._starts[name] < ATTEMPTS:
                self._start(name)
        if not self._workers:
            what = f"the processes of all devices have died: {self._last}"
            raise ScoringError(what, remedy="run again: what is scored is kept")
        return list(self._workers)

    def send(self, worker: str, slice: int, portions: Sequence[Portion]) -> None:
        with suppress(OSError):  # it has died, which `wait` will tell
            self._workers[worker][1].send((slice, portions))

    def wait(self) -> Iterator[Finished | Lost]:
        by_connection = {connection: name for name, (_, connection) in self._workers.items()}
        for connection in wait(list(by_connection), timeout=1):
            name = by_connection[connection]  # type: ignore[index]  # they are all connections
            try:
                message = self._workers[name][1].recv()
            except (EOFError, OSError):
                process, _ = self._workers.pop(name)
                process.join()
                yield self._lost(name, f"the process on {name} died (exit code {process.exitcode})")
                continue
            if isinstance(message, BaseException):
                self._workers.pop(name)[0].join()
                yield self._lost(name, str(message).partition("\n")[0])
            else:
                self._starts[name] = 1  # it is of use
                yield Finished(name, *message)

    def _lost(self, name: str, reason: str) -> Lost:
        self._last = reason
        return Lost(name, reason)

    def first_bad(self, portions: Sequence[Portion]) -> str:
        return deadly(portions, self._job)

    def close(self) -> None:
        for _, connection in self._workers.values():
            connection.close()
        for process, _ in self._workers.values():
            process.join(timeout=LEAVE_SECONDS)
            if process.is_alive():  # in the middle of a batch
                process.terminate()
                process.join()


def _work(job: Job, device: str, threads: int, decoding: int, connection: Connection) -> None:
    """A worker's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    torch.set_num_threads(threads)

    slices: queue.SimpleQueue[Slice | None] = queue.SimpleQueue()

    def listen() -> None:
        with suppress(EOFError, OSError):
            while True:
                slices.put(connection.recv())
        slices.put(None)

    # A pipe holds little: if nobody read while this process sends, both ends could wait for each other forever.
    threading.Thread(target=listen, daemon=True).start()

    def receive() -> Slice | None:
        try:
            received = slices.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return None
        if received is None:
            slices.put(None)  # asked again, the answer is the same
            raise EOFError
        return received

    try:
        serve(job, device, decoding, receive, lambda number, done: connection.send((number, done)))
    except ScoringError as error:
        connection.send(error)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(1)  # the process that started this one is gone
