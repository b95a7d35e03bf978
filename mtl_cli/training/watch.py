"""What the loop tells those who look: rate, time left, rows and the status file. Decides nothing."""

import time
from collections.abc import Mapping
from typing import Any

from mtl_cli.look import Look
from mtl_cli.reporting import records
from mtl_cli.reporting.screen import Pace, Screen
from mtl_cli.reporting.status import Status
from mtl_cli.training.engine import Skipped
from mtl_cli.training.options import TrainerOptions
from mtl_cli.training.progress import Progress

SHOW_EVERY = 0.2
STATUS_EVERY = 10.0


class Watch:
    """Shows a run on a screen; reads a loss off the device only as often as it is shown."""

    def __init__(self, screen: Screen, status: Status, primary: Mapping[str, str], options: TrainerOptions) -> None:
        self._screen = screen
        self._status = status
        self._primary = primary
        self._options = options
        self._show = Pace(SHOW_EVERY)
        self._write = Pace(STATUS_EVERY)
        self._steps = 0
        self._begun = (0, 0.0)
        self._samples = 0
        self._loss: float | None = None
        self._waited = False

    def begin(self, progress: Progress, per_epoch: int) -> None:
        """The training of an epoch begins, or goes on."""
        total = per_epoch * self._options.epochs
        self._steps = min(total, self._options.max_steps or total)
        self._begun = (progress.step, time.perf_counter())
        self._samples = 0

    def step(self, progress: Progress, look: Look | Skipped, samples: int, waits: bool = False) -> None:
        """A step is done. waits: whether reading its loss would wait for the device: then an earlier one is shown."""
        self._samples += samples
        show = self._show.due()
        if not waits and (show or self._waited):
            self._loss = None if isinstance(look, Skipped) else float(look.losses_T.sum())
        self._waited = waits
        if not show:
            return
        spent = time.perf_counter() - self._begun[1]
        rate = self._samples / spent
        each = spent / (progress.step - self._begun[0])
        shown = records.Progress(
            epoch=progress.epoch + 1,
            epochs=self._options.epochs,
            step=progress.step,
            steps=self._steps,
            loss=self._loss,
            samples_per_s=rate,
            seconds_left=each * (self._steps - progress.step),
        )
        self._screen.progress(shown)
        if self._write.due():
            self._status.write("running", progress.epoch, progress.step, rate)

    def epoch(self, event: Mapping[str, Any]) -> None:
        """An epoch is judged."""
        rows = tuple(
            records.TaskEpoch(task, event["train"]["loss"].get(task), metric, event["val"][task][metric])
            for task, metric in self._primary.items()
        )
        number = event["epoch"]
        self._screen.epoch(records.EpochRow(number, self._options.epochs, rows, event["score"], event["best"]))
        self._status.write("running", number, event["step"])

    def note(self, line: str) -> None:
        """Something else worth a line."""
        self._screen.note(line)
