"""The loop that trains every detector with a gradient: one stage of a recipe.

On accelerate: mixed precision, several processes through `accelerate launch`, accumulation and clipping. A batch is
that of all processes together; each takes its share of the rows. What is random in a step (dropout) is seeded by its
number, and what is random in an utterance by epoch and trial, so a training that was killed goes on from its last state
as if nothing had happened: on a CPU in float32 to the same bits.

Frozen modules are in evaluation mode: dropout, batch norm and layer drop of an encoder that is not trained stay off.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, broadcast
from torch import Tensor, nn

from bench import metrics
from bench.errors import DataError, ScoringError
from bench.models import Loss
from bench.progress import Display
from bench.training.averaging import add_to_average, estimate_norms
from bench.training.inputs import Feed, Inputs, Setting
from bench.training.loading import derived, shuffled
from bench.training.objective import Objective, explained, optimiser, trained_modules
from bench.training.schedule import Course, Progress, learning_rate
from bench.training.state import (
    learned_names,
    optimiser_tensors,
    part_of,
    read_tensors,
    restore_optimiser,
    write_tensors,
)
from bench.trials import is_bonafide

SAVE_SECONDS = 300.0  # of training that a kill can cost
CHECK_STEPS = 50  # between two looks at the loss on a GPU, which each wait for it
LOSSES_AN_EPOCH = 20  # points of the curve of the training loss
STATE_FILE, BEST_FILE, LAST_FILE = "state.safetensors", "best.safetensors", "last.safetensors"


class StageTraining:
    """One stage on its way. `run` carries it out, from its last state where there is one.

    Args:
        detector: with the weights that the stage begins with.
        before: names of what earlier stages have trained: part of the state. done: their records.
        device: `cpu`, or accelerate picks the GPU. folder: where the state lies.
    """

    def __init__(
        self,
        detector: nn.Module,
        setting: Setting,
        *,
        before: Sequence[str],
        done: Sequence[Mapping[str, Any]],
        folder: Path,
        device: str,
        workers: int,
    ) -> None:
        self.setting, self.stage, self._detector = setting, setting.stage, detector
        self._done, self._folder = done, folder
        groups = trained_modules(detector, setting.name)
        self._trained = [module for modules in groups.values() for module in modules]
        self.learned = self.learned_by(detector, setting.name, before)
        self.precision = "fp32" if device == "cpu" and self.stage.precision == "fp16" else self.stage.precision
        # A stage may have another precision than the one before, and a training another device.
        AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
        self._accelerator = Accelerator(
            cpu=device == "cpu",
            mixed_precision="no" if self.precision == "fp32" else self.precision,
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        # fp32 is the reference, here as in scoring: no TF32 in convolutions or products.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        self.main = self._accelerator.is_main_process
        self._rates = {name: _two(self.stage.learning_rate[name]) for name in groups}
        # Validation is what scoring will be, in full precision, whatever the precision of training.
        self._validated = Objective(detector, setting.name, setting.options).to(self._accelerator.device)
        objective, adam = Objective(detector, setting.name, setting.options), optimiser(self.stage.optimiser, groups)
        self._objective, self._optimiser = self._accelerator.prepare(objective, adam)
        self._feed = Feed(setting, self._accelerator.device, workers)
        self._progress = Progress()
        self._average: dict[str, Tensor] = {}
        self._steps = self._count_steps()

    @staticmethod
    def learned_by(detector: nn.Module, name: str, before: Sequence[str]) -> list[str]:
        """The names of what a stage and those before it train."""
        groups = trained_modules(detector, name)
        now = learned_names(detector, [module for modules in groups.values() for module in modules])
        return [own for own in detector.state_dict() if own in {*before, *now}]

    # --- where it stands ----------------------------------------------------------------------------------------------

    def _rows(self, epoch: int) -> list[np.ndarray]:
        """The batches of an epoch, of all processes together."""
        setting, count = self.setting, len(self.setting.training.trials)
        found = shuffled(self.stage, setting.seconds, count, (setting.seed, setting.name, epoch))
        return [rows for rows in found if len(rows) >= self._accelerator.num_processes]

    def _count_steps(self) -> int:
        """Optimiser steps of the whole stage, as far as no patience ends it."""
        by_length = self.stage.batch_seconds is not None  # then epochs differ
        epochs = [len(self._rows(epoch)) for epoch in range(self.stage.epochs if by_length else 1)]
        if not min(epochs):
            size = self.stage.batch_size or self._accelerator.num_processes
            raise DataError(
                f"{len(self.setting.training.trials)} training trials do not fill a batch of {size}",
                where=f"stage {self.setting.name}",
                remedy="give the stage more trials, or a smaller `batch_size`",
            )
        steps = sum(epochs) if by_length else self.stage.epochs * epochs[0]
        return steps if self.stage.steps is None else min(steps, self.stage.steps)

    def _restore(self, place: Path) -> None:
        tensors, facts = read_tensors(place)
        self._put(part_of(tensors, "model"))
        if facts["progress"] is None:
            return  # the stage before has ended there
        restore_optimiser(self._optimiser, part_of(tensors, "optimiser"))
        if facts["scaler"] is not None:
            self._accelerator.scaler.load_state_dict(facts["scaler"])
        told = facts["progress"]
        course = Course(**told.pop("course"))
        losses, recent = [(step, loss) for step, loss in told.pop("losses")], tuple(told.pop("recent"))
        self._progress = Progress(**told, course=course, losses=losses, recent=recent)
        self._average = {
            name: value.to(self._accelerator.device) for name, value in part_of(tensors, "average").items()
        }

    def _learned_tensors(self) -> dict[str, Tensor]:
        state = self._detector.state_dict()
        return {name: state[name] for name in self.learned}

    def save_end(self) -> None:
        """Write that the next stage begins with the weights that this one has kept."""
        if self.main:
            tensors = {f"model/{name}": value for name, value in self._learned_tensors().items()}
            facts = {"stage": self.setting.number + 1, "done": self._done, "progress": None}
            write_tensors(self._folder / STATE_FILE, tensors, facts)

    def _save(self) -> None:
        """Write the state. A process that is not the main one has the same and writes nothing."""
        if not self.main:
            return
        tensors = {f"model/{name}": value for name, value in self._learned_tensors().items()}
        tensors |= {f"optimiser/{name}": value for name, value in optimiser_tensors(self._optimiser).items()}
        tensors |= {f"average/{name}": value for name, value in self._average.items()}
        progress = {**vars(self._progress), "course": self._progress.course.as_dict()}
        scaler = self._accelerator.scaler
        facts = {
            "stage": self.setting.number,
            "done": self._done,
            "progress": progress,
            "scaler": None if scaler is None else scaler.state_dict(),
        }
        write_tensors(self._folder / STATE_FILE, tensors, facts)

    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        """Values of learned tensors into the detector, in place."""
        state = self._detector.state_dict()
        with torch.no_grad():
            for name, value in tensors.items():
                state[name].copy_(value)

    # --- the loop -----------------------------------------------------------------------------------------------------

    def run(self, display: Display, log: Callable[[str], None]) -> dict[str, Any]:
        """Train the stage to its end, and what it did, for the record; the detector then has the weights that it keeps.

        Raises:
            AudioError: a file that cannot be decoded.
            ScoringError: a loss that is not finite, or no memory for one step. The last good state is kept.
            StoreError: the state cannot be written.
        """
        if (place := self._folder / STATE_FILE).is_file():
            self._restore(place)
        at = self._progress
        started, self._saved = time.perf_counter() - at.seconds, time.perf_counter()
        if at.step:
            log(f"{self.setting.name}: goes on behind step {at.step:,}, epoch {at.epoch + 1}")
        while not self._over():
            rows = self._rows(at.epoch)
            display.begin(self._heading(), sum(map(len, rows[at.batch :])))
            try:
                self._epoch(rows, display, log, started)
            finally:
                display.end()
        self._finish()
        seconds = round(time.perf_counter() - started, 1)
        return self._record(seconds)

    def _over(self) -> bool:
        at = self._progress
        return at.step >= self._steps or at.epoch >= self.stage.epochs or at.course.over(self.stage)

    def _heading(self) -> str:
        return f"training {self.setting.title}, epoch {self._progress.epoch + 1} of {self.stage.epochs} at most"

    def _epoch(self, rows: list[np.ndarray], display: Display, log: Callable[[str], None], started: float) -> None:
        at, every = self._progress, self.stage.validate_every
        point = max(len(rows) // LOSSES_AN_EPOCH, 1)
        pending: list[tuple[Tensor, int]] = []
        on_gpu = self._accelerator.device.type == "cuda"
        for passes, count in self._batches(rows):
            pending.append((self._step(passes, count), count))
            at.step, at.batch = at.step + 1, at.batch + 1
            display.advance(count)
            last = at.batch == len(rows) or at.step == self._steps
            validate = last if every is None else at.step % every == 0 or at.step == self._steps
            look = validate or last or not on_gpu or at.step % CHECK_STEPS == 0 or at.step % point == 0
            # Clocks differ between processes, and to look is something that they do together.
            save = look and time.perf_counter() - self._saved > SAVE_SECONDS
            if look:
                self._take(pending, point)
            at.seconds = time.perf_counter() - started
            if last:
                at.epoch, at.batch = at.epoch + 1, 0
            if validate:
                self._validate(log)
            if validate or save:
                self._save()
                self._saved = time.perf_counter()
            if last or (validate and at.course.over(self.stage)):
                return

    def _batches(self, rows: list[np.ndarray]) -> Iterator[tuple[list[Inputs], int]]:
        """What is left of an epoch: the forward passes of each step of this process, and the rows of all processes."""
        processes, index = self._accelerator.num_processes, self._accelerator.process_index
        left = rows[self._progress.batch :]
        shares = [whole[index::processes] for whole in left]
        passes = [np.array_split(share, min(self.stage.accumulate, len(share))) for share in shares]
        loaded = self._feed.training([piece for pieces in passes for piece in pieces], self._progress.epoch)
        for pieces, whole in zip(passes, left, strict=True):
            yield [next(loaded) for _ in pieces], len(whole)

    def _step(self, passes: list[Inputs], count: int) -> Tensor:
        """One optimiser step over so many rows of all processes; its loss, whose mean over the processes is theirs."""
        at, setting = self._progress, self.setting
        for group, (first, last) in zip(self._optimiser.param_groups, self._rates.values(), strict=True):
            group["lr"] = learning_rate(self.stage.schedule, first, last, at.step, self._steps, at.epoch)
        for module in self._trained:
            module.train()
        total = torch.zeros((), device=self._accelerator.device)
        copies = 2 if setting.training.double else 1
        share = copies * count / self._accelerator.num_processes  # a process may have a row more or less
        for number, inputs in enumerate(passes):
            seed = derived(setting.seed, setting.name, at.step, number, self._accelerator.process_index)
            torch.default_generator.manual_seed(seed)  # `torch.manual_seed` walks the stack where there is no GPU
            if self._accelerator.device.type == "cuda":
                torch.cuda.manual_seed(seed)
            alone = number + 1 < len(passes)
            together = self._accelerator.no_sync(self._objective) if alone else contextlib.nullcontext()
            with together, explained(setting.name, len(inputs.labels)):
                loss = _passed(self._objective, inputs).value * (len(inputs.labels) / share)
                self._accelerator.backward(loss)
            total = total + loss.detach()
        if self.stage.clip_norm is not None:
            self._accelerator.clip_grad_norm_(self._objective.parameters(), self.stage.clip_norm)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        return total

    def _take(self, pending: list[tuple[Tensor, int]], point: int) -> None:
        """Look at the losses of the last steps: into the sums and the curve, or an error."""
        at = self._progress
        first = at.step - len(pending) + 1
        for step, (loss, rows) in enumerate(pending, start=first):
            value = float(self._accelerator.reduce(loss, "mean"))
            if not math.isfinite(value):
                raise ScoringError(
                    f"the training loss of step {step:,} (epoch {at.epoch + 1}) is {value}",
                    where=f"stage {self.setting.name}",
                    remedy=f"the last good state is kept in {self._folder}; a lower learning rate, `clip_norm` or "
                    "fp32, in a card that extends this one, may help",
                )
            at.total, at.rows = at.total + value * rows, at.rows + rows
            at.recent = (at.recent[0] + value * rows, at.recent[1] + rows)
            if step % point == 0:
                at.losses.append((step, at.recent[0] / at.recent[1]))
                at.recent = (0.0, 0)
        pending.clear()

    # --- validation ---------------------------------------------------------------------------------------------------

    def _validate(self, log: Callable[[str], None]) -> None:
        """One point of the curve: the losses, the dev EER, and whether this is the best so far."""
        at, stage = self._progress, self.stage
        training_loss = at.total / at.rows
        at.total, at.rows = 0.0, 0
        validation_loss, eer = self._validation() if self.setting.validation is not None else (None, None)
        told = {"training loss": training_loss, "validation loss": validation_loss, "validation EER": eer}
        value = told[stage.monitor]
        if value is None:
            raise ScoringError(
                f"the loss tells no scores, and the stage watches the {stage.monitor}",
                where=f"stage {self.setting.name}",
                remedy="let it watch the validation loss",
            )
        # Two GPUs may differ in the last bit: all processes go by the value of the main one, or they would part.
        value = float(broadcast(torch.tensor(value, dtype=torch.float64, device=self._accelerator.device)))
        best = at.course.add(value, ties=stage.ties)
        at.curve.append(
            {
                "stage": self.setting.name,
                "epoch": at.epoch if at.batch == 0 else at.epoch + 1,
                "step": at.step,
                "learning_rate": {
                    name: group["lr"] for name, group in zip(self._rates, self._optimiser.param_groups, strict=True)
                },
                "training_loss": training_loss,
                "validation_loss": validation_loss,
                "validation_eer": eer,
                "best": best,
                "seconds": round(at.seconds, 1),
            }
        )
        log(_line(at.curve[-1]))
        if best:
            self._keep_best()

    def _keep_best(self) -> None:
        now = self._learned_tensors()
        if self.stage.keep == "average":
            self._progress.averaged += 1
            add_to_average(self._average, now, self._progress.averaged)
        elif self.stage.keep == "best" and self.main:
            # Before the state that counts it: what is trained anew from an older state comes to the same weights.
            write_tensors(self._folder / BEST_FILE, now)

    @torch.no_grad()
    def _validation(self) -> tuple[float, float | None]:
        """Mean loss over the validation utterances, and the EER of their scores where the stage gives any."""
        setting = self.setting
        assert setting.validation is not None, "called with one"
        self._detector.eval()
        labels = is_bonafide(setting.validation.trials)
        total, scores, scored = 0.0, np.zeros(len(labels)), False
        for inputs in self._feed.validation():
            with explained(setting.name, len(inputs.labels)):
                found = _passed(self._validated, inputs)
            total += float(found.value) * len(inputs.rows)
            if found.scores is not None:
                scores[inputs.rows], scored = found.scores.double().cpu().numpy(), True
        loss = total / len(labels)
        if not math.isfinite(loss) or not np.isfinite(scores).all():
            what = "score" if math.isfinite(loss) else "loss"
            raise ScoringError(
                f"a validation {what} behind step {self._progress.step:,} is not finite",
                where=f"stage {setting.name}",
                remedy=f"the last good state is kept in {self._folder}; lower the learning rate",
            )
        if not scored or labels.all() or not labels.any():
            return loss, None
        return loss, metrics.eer(scores, labels).eer

    # --- the end ------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """The weights that the stage keeps into the detector; those at its end, where they are others, into a file."""
        self._accelerator.wait_for_everyone()
        self._detector.eval()
        course, last = self._progress.course, self._folder / LAST_FILE
        if self.main and (self.stage.keep == "last" or (self.stage.keep == "best" and not course.since)):
            last.unlink(missing_ok=True)
        elif self.main:
            write_tensors(last, self._detector.state_dict())
        if self.stage.keep == "best":
            self._put(read_tensors(self._folder / BEST_FILE)[0])
        elif self.stage.keep == "average":
            self._put(self._average)
            inputs = self._feed.training(self._rows(0), 0)
            estimate_norms(self._trained, (_passed(self._validated, batch) for batch in inputs))
            self._detector.eval()
        self._accelerator.wait_for_everyone()  # the main process will remove what the others have just read

    def _record(self, seconds: float) -> dict[str, Any]:
        at, setting = self._progress, self.setting
        return {
            "stage": setting.name,
            "epochs": at.epoch,
            "steps": at.step,
            "planned_steps": self._steps,
            "best": None if self.stage.keep == "last" else at.curve[at.course.best],
            "averaged": at.averaged or None,
            "stopped_early": at.course.over(self.stage),
            "trained_parameters": sum(p.numel() for p in self._detector.parameters() if p.requires_grad),
            "precision": self.precision,
            "features_kept": setting.features is not None,
            "processes": self._accelerator.num_processes,
            "device": str(self._accelerator.device),
            "curve": at.curve,
            "losses": at.losses,
            "seconds": seconds,
        }


def _passed(objective: nn.Module, inputs: Inputs) -> Loss:
    found: Loss = objective(inputs.tensors, inputs.labels, read=inputs.read)
    return found


def _two(rate: float | tuple[float, float]) -> tuple[float, float]:
    return rate if isinstance(rate, tuple) else (rate, rate)


def _line(point: Mapping[str, Any]) -> str:
    """A validation in one line of the log."""
    eer = point["validation_eer"]
    told = [f"training loss {point['training_loss']:.6f}"]
    if point["validation_loss"] is not None:
        told.append(f"dev loss {point['validation_loss']:.6f}")
    if eer is not None:
        told.append(f"dev EER {100 * eer:.2f} %")
    best = ", best so far" if point["best"] else ""
    return f"{point['stage']}, epoch {point['epoch']}, step {point['step']:,}: {', '.join(told)}{best}"
