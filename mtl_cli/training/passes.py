"""Forward passes: a batch to its tasks' losses."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from mtl_cli.backbones.base import Features
from mtl_cli.data.base import Batch, Part
from mtl_cli.model import PLAINLY, How, MultiTaskModel
from mtl_cli.model import Pass as Run
from mtl_cli.processes import Portion
from mtl_cli.tasks.base import Task
from mtl_cli.training.spans import within
from mtl_cli.training.spread import Pass
from mtl_cli.training.together import Together


class Forward(NamedTuple):
    """One batch's share of each active task's mean loss, and the features of each part.

    losses: of the tasks that the batch has, by name; their sum over passes and processes is the mean loss.
    in_one: the same in one tensor (T,), where one backward pass of all follows: it is divided by counts at once.
    portions: which rows each part has of all processes'.
    views: each part's, as `Pass` of the model has them.
    """

    losses: dict[str, Tensor]
    in_one: Tensor | None
    features: list[dict[str, Features]]
    portions: list[Portion]
    views: list[list[Tensor] | None]


class Passes:
    """Runs a model over batches of the tasks' data; with `half` under autocast, losses in full precision.

    together: whether all parts of a batch go through one forward pass, where `may` says that they can.

    Args:
        told: is given each pass's rows.
        may: what holds of such a pass.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        tasks: Mapping[str, Task],
        half: torch.dtype | None,
        told: Pass,
        may: Together,
    ) -> None:
        self._model = model
        self._tasks = tasks
        self._half = half
        self._told = told
        self.may = may
        self.together = False
        self._labels: tuple[float, ...] = ()
        self._counts_T = torch.empty(0)

    @property
    def compiled(self) -> bool:
        """Whether they run compiled."""
        return self._model.compiled

    def active(self, batches: Sequence[Batch]) -> list[str]:
        """Tasks with a label in any of these batches, from the host's counts. In the order of the task set."""
        found = {t for batch in batches for part in batch.parts for t, n in part.labelled.items() if n > 0}
        return [task for task in self._tasks if task in found]

    def totals(self, batches: Sequence[Batch], active: Sequence[str], add: Callable[[Tensor], Tensor]) -> Tensor:
        """The counts of whole batches over all processes; from the host's, where they are numbers of labels.

        Args:   add: sums over processes.
        Shapes: (T,)
        """
        if not all(self._tasks[task].loss.counts_labels for task in active):
            return add(self.counts(batches, active))
        parts = [part for batch in batches for part in batch.parts]
        labels = tuple(sum(float(part.labelled[task]) for part in parts if task in part.labelled) for task in active)
        if labels != self._labels:
            like = next(self._model.parameters())
            self._labels = labels
            self._counts_T = torch.tensor(labels, dtype=like.dtype).to(like.device, non_blocking=True)
        return self._counts_T

    def counts(self, batches: Sequence[Batch], active: Sequence[str]) -> Tensor:
        """What each task's sum of losses is divided by, over these batches. Shapes: (T,)"""
        totals: dict[str, list[Tensor]] = {task: [] for task in active}
        for batch in batches:
            for part in batch.parts:
                for task in _present(part, active):
                    totals[task].append(self._tasks[task].count(part.targets[task]))
        none = next(self._model.parameters()).new_zeros(())
        return torch.stack([torch.stack(totals[t]).sum().to(none.dtype) if totals[t] else none for t in active])

    @within("forward")
    def forward(self, batch: Batch, active: Sequence[str], counts_T: Tensor, how: How = PLAINLY) -> Forward:
        """Each active task's loss over this batch, divided by its count in all of them."""
        parts = [part for part in batch.parts if _present(part, active)]
        together = self.together and self.may.alike and len(parts) > 1
        kept, how = batch._replace(parts=parts), how._replace(partial=batch.partial)
        runs = self._run_together(kept, active, how) if together else self._run_apart(kept, active, how)
        sums = {
            task: self._tasks[task].loss_sum(found.to(counts_T.dtype), part.targets[task])
            for part, run in zip(parts, runs, strict=True)
            for task, found in run.outputs.items()
        }
        once = how.at_once or (len(runs) == 1 and runs[0].views is not None)
        losses, in_one = _divided(sums, active, counts_T, once)
        portions = [part.portion for part in parts]
        return Forward(losses, in_one, [run.features for run in runs], portions, [run.views for run in runs])

    def sizes(self, batch: Batch, active: Sequence[str]) -> dict[str, int] | None:
        """Each task's samples, where each has a part to itself and the rows of all can come from one pass; else None.

        For that all that is shared must be the parameters of layers.
        """
        parts = [part for part in batch.parts if _present(part, active)]
        tasks = [_present(part, active) for part in parts]
        layered = self.may.layered and self._half is None and not self.compiled
        if not (self.together and layered) or len(parts) < 2 or max(map(len, tasks)) > 1:
            return None
        return {task: len(part.inputs) for (task,), part in zip(tasks, parts, strict=True)}

    def _run_together(self, batch: Batch, active: Sequence[str], how: How) -> list[Run]:
        parts, tasks = batch.parts, [_present(part, active) for part in batch.parts]
        with autocast(parts[0].inputs.device, self._half):
            return self._model.run_together([part.inputs for part in parts], tasks, parts[0].name, how)

    def _run_apart(self, batch: Batch, active: Sequence[str], how: How) -> list[Run]:
        runs = []
        for part in batch.parts:
            self._told.portion = part.portion
            with autocast(part.inputs.device, self._half):
                runs.append(self._model.run(part.inputs, _present(part, active), part.name, how))
        return runs

    def each(self, batch: Batch, active: Sequence[str], counts_T: Tensor, how: How = PLAINLY) -> Iterator[Forward]:
        """The same part by part: whoever lets go of one before the next has no more than one part's graph at a time."""
        for part in batch.parts:
            if _present(part, active):
                yield self.forward(Batch([part], batch.partial), active, counts_T, how)


def autocast(device: torch.device, half: torch.dtype | None) -> AbstractContextManager[object]:
    """Within it passes compute in `half`, or as they are."""
    return nullcontext() if half is None else torch.autocast(device.type, half)


def _divided(
    sums: Mapping[str, Tensor], active: Sequence[str], counts_T: Tensor, at_once: bool
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Sums of losses by their counts. In one tensor a backward pass of one task would go through all heads."""
    if at_once and len(sums) == len(active):
        losses_T = torch.stack([sums[task] for task in active]) / counts_T
        return dict(zip(active, losses_T.unbind(), strict=True)), losses_T
    counts = dict(zip(active, counts_T.unbind(), strict=True))
    return {task: loss / counts[task] for task, loss in sums.items()}, None


def stacked(losses: Mapping[str, Tensor], active: Sequence[str], like: Tensor) -> Tensor:
    """Losses in the order of the active tasks, 0 for one that is not there. Shapes: (T,)"""
    if len(losses) == len(active):
        return torch.stack([losses[task] for task in active])
    none = like.new_zeros(())
    return torch.stack([losses.get(task, none) for task in active])


def split(batch: Batch, pieces: int) -> list[Batch]:
    """A batch in so many independent ones, each with its share of every part's rows."""
    if pieces == 1:
        return [batch]
    return [Batch([_piece(part, k, pieces) for part in batch.parts], batch.partial) for k in range(pieces)]


def _piece(part: Part, k: int, pieces: int) -> Part:
    """The k-th piece of all processes' rows, or what of it this one has; sizes as those of Tensor.tensor_split."""
    whole = part.portion
    size, more = divmod(whole.total, pieces)
    first, last = (j * size + min(j, more) for j in (k, k + 1))
    begin, end = (min(max(edge - whole.start, 0), whole.rows) for edge in (first, last))
    share = Portion(min(max(whole.start - first, 0), last - first), end - begin, last - first)
    targets = {task: target[begin:end] for task, target in part.targets.items()}
    return part._replace(inputs=part.inputs[begin:end], targets=targets, share=part.share and share)


def _present(part: Part, active: Sequence[str]) -> list[str]:
    return [task for task in active if task in part.targets]
