"""What a worker does, in whatever process: it scores slices in the order in which they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from bench.batches import Portion
from bench.executors.job import Job
from bench.scoring import Done, score_trials

Slice = tuple[int, Sequence[Portion]]  # its number, and what is in it


@dataclass
class _Open:
    """A slice that is not scored yet."""

    number: int
    portions: int
    done: list[Done] = field(default_factory=list)


def serve(
    job: Job,
    device: str,
    workers: int,
    receive: Callable[[], Slice | None],
    send: Callable[[int, Sequence[Done]], None],
) -> None:
    """Score slices until there are no more. The next slice is decoded while one is computed.

    Args:
        receive: the next slice, None where there is none just now, EOFError where there will be none.
        send: takes what became of a slice.

    Raises:
        ScoringError: a decode process died.
    """
    slices: deque[_Open] = deque()

    def portions() -> Iterator[Portion | None]:
        while True:
            try:
                received = receive()
            except EOFError:
                return
            if received is None:
                yield None
                continue
            slices.append(_Open(received[0], len(received[1])))
            yield from received[1]

    unbuilt: list[Done] = []
    pass_ = score_trials(job.scorers, portions(), perturbation=job.perturbation, device=device, workers=workers)
    for done in pass_:
        if done.number is None:
            unbuilt.append(done)
            continue
        current = slices[0]
        current.done.append(done)
        if len(current.done) == current.portions:
            slices.popleft()
            send(current.number, [*unbuilt, *current.done])
            unbuilt = []
    # All detectors have failed, or there is no more.
    for left in slices:
        send(left.number, [*unbuilt, *left.done])
    while True:
        try:
            if received := receive():
                send(received[0], unbuilt)
        except EOFError:
            return
