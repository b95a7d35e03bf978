"""Where a run stands: all that a resume needs beside the model, the optimizer and the methods."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mtl_cli.look import Look
from mtl_cli.training.conflicts import Conflicts
from mtl_cli.training.tally import Tally


class Totals:
    """Sums over the steps of one epoch. What steps tell is kept as it is, and added up when it is asked for.

    So no step waits for a device, or has it add. The additions are those of the steps one after the other, whenever it
    was asked for.

    table: a row a task: sum of losses, their count, sum of c_t w_t, steps in which the task was active.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        self._tasks = tuple(tasks)
        self._table = np.zeros((len(tasks), 4))
        self._penalties: dict[str, tuple[float, int]] = {}
        self._tally = Tally()
        self._left_out = dict.fromkeys(tasks, 0)
        self._skipped: dict[str, int] = {}
        self.conflicts = Conflicts(tasks)

    def add(self, look: Look) -> None:
        """One step more."""
        self._tally.add(look)
        self.leave_out(look.left_out)
        self.conflicts.add(look)

    def leave_out(self, tasks: Sequence[str]) -> None:
        """Counts tasks whose loss or gradient was not finite."""
        for task in tasks:
            self._left_out[task] += 1

    def skip(self, reason: str) -> None:
        """Counts a step that was not taken."""
        self._skipped[reason] = self._skipped.get(reason, 0) + 1

    def left_out(self) -> dict[str, int]:
        """Steps in which each task's loss or gradient was not finite, where there were any."""
        return {task: count for task, count in self._left_out.items() if count}

    def skipped(self) -> dict[str, int]:
        """Steps that were not taken, by their reason."""
        return dict(self._skipped)

    def losses(self) -> dict[str, float]:
        """The mean loss of each task that was active."""
        return {t: row[0] / row[1] for t, row in self._rows() if row[3] > 0}

    def coefficients(self) -> dict[str, float]:
        """The mean of c_t w_t of each task that was active."""
        return {t: row[2] / row[3] for t, row in self._rows() if row[3] > 0}

    def penalties(self) -> dict[str, float]:
        """The mean of each penalty."""
        self._read()
        return {name: total / count for name, (total, count) in self._penalties.items()}

    def clear(self) -> None:
        """Starts an epoch."""
        self._tally = Tally()
        self._table[:] = 0
        self._penalties = {}
        self._left_out = dict.fromkeys(self._tasks, 0)
        self._skipped = {}
        self.conflicts.clear()

    def state_dict(self) -> dict[str, Any]:
        """Tensors by name."""
        self._read()
        return {
            "table": torch.from_numpy(self._table.copy()),
            "penalties": dict(self._penalties),
            "left_out": dict(self._left_out),
            "skipped": dict(self._skipped),
            "conflicts": self.conflicts.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from another's state."""
        self._tally = Tally()
        self._table[:] = state["table"].cpu().numpy()
        self._penalties = {name: (float(total), int(count)) for name, (total, count) in state["penalties"].items()}
        self._left_out, self._skipped = dict(state["left_out"]), dict(state["skipped"])
        self.conflicts.load_state_dict(state["conflicts"])

    def _rows(self) -> list[tuple[str, list[float]]]:
        self._read()
        return list(zip(self._tasks, self._table.tolist(), strict=True))

    def _read(self) -> None:
        """Adds up what was kept; waits for the device."""
        tally, self._tally = self._tally, Tally()
        for tasks, (losses_T, counts_T, factors_T) in tally.steps():
            rows = [self._tasks.index(task) for task in tasks]
            self._table[rows] += np.stack([losses_T * counts_T, counts_T, factors_T, np.ones_like(counts_T)], 1)
        for name, penalty in tally.penalties():
            total, count = self._penalties.get(name, (0.0, 0))
            self._penalties[name] = total + penalty, count + 1


class Progress:
    """Counts from the start of the run.

    epoch: whole epochs done. batch: batches done of the one under way. step: optimizer steps, skipped ones too.
    judged: the step of the last evaluation. best: of the best epoch so far. best_of: the best epoch of each task.
    stale: epochs since the best. skipped_in_a_row: steps. overflows: steps that were skipped for the scale of float16:
    the schedule does not count them. schedule_epochs: the length that the schedule keeps.
    """

    def __init__(self, tasks: Sequence[str], schedule_epochs: int) -> None:
        self.epoch = 0
        self.batch = 0
        self.step = 0
        self.judged = 0
        self.best: dict[str, Any] | None = None
        self.best_of: dict[str, dict[str, float]] = {}
        self.stale = 0
        self.skipped_in_a_row = 0
        self.overflows = 0
        self.schedule_epochs = schedule_epochs
        self.totals = Totals(tasks)

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""
        return {**vars(self), "totals": self.totals.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from another's state."""
        self.totals.load_state_dict(state["totals"])
        vars(self).update({name: value for name, value in state.items() if name != "totals"})
