"""Per-task gradients of several forward passes: exact rows, or rows at a cheaper place."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mtl_cli.contracts import At, Column
from mtl_cli.training.graph import Usage
from mtl_cli.training.passes import Forward
from mtl_cli.training.scale import LossScale


class Gradients:
    """Adds up the gradients of the active tasks, pass by pass, one backward a task.

    rows_TP: over all shared parameters, unscaled; only if `exact`.
    own: each task's own parameters' gradients, by the parameter's name.
    at: rows at the trunk's tensor or over the last shared stage, as wanted.
    """

    def __init__(
        self,
        parameters: dict[str, nn.Parameter],
        usage: Usage,
        active: Sequence[str],
        scale: LossScale,
        exact: bool,
        wanted: frozenset[At],
        last_stage: frozenset[str],
    ) -> None:
        self._parameters = parameters
        self._usage = usage
        self._active = tuple(active)
        self._scale = scale
        self._dtype = next(iter(parameters.values())).dtype
        self.exact = exact
        self._trunk = "trunk" in wanted
        self._last = [name for name in usage.shared if name in last_stage] if "last_stage" in wanted else []
        self.columns = columns_of(parameters, usage.shared)
        self.own: dict[str, Tensor] = {}
        self.forwards: list[Forward] = []
        self._trunks: list[list[Tensor]] = [[] for _ in active]
        self._last_rows: list[dict[str, Tensor]] = [{} for _ in active]

    def add(self, forward: Forward, rows_TP: Tensor) -> None:
        """One pass more; its graph is kept only where the rows are not exact."""
        if not self.exact:
            self.forwards.append(forward)
        for t, loss in enumerate(forward.losses):
            if loss.grad_fn is None:
                continue
            last = self.exact and t == len(forward.losses) - 1
            self._add_task(t, forward, rows_TP, keep=not last)

    def last_stage_rows(self, rows_TP: Tensor) -> Tensor:
        """Rows over the last shared stage. Shapes: (T, columns of that stage)"""
        if not self._last:
            return rows_TP[:, :0]
        if self.exact:
            place = {column.name: column for column in self.columns}
            return torch.cat([rows_TP[:, place[n].start : place[n].stop] for n in self._last], 1)
        zero = {name: torch.zeros_like(self._parameters[name]) for name in self._last}
        rows = [[row.get(name, zero[name]).flatten() for name in self._last] for row in self._last_rows]
        return torch.stack([torch.cat(row) for row in rows])

    def trunk_rows(self) -> Tensor:
        """Rows at the trunk's tensor, over all passes' samples. Shapes: (T, B D)"""
        return torch.stack([torch.cat(pieces) for pieces in self._trunks])

    def combine(self, add: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """Weights (T,) to a direction (P,) by one more backward pass over the kept graphs."""

        def combined(scaled_T: Tensor) -> Tensor:
            shared = [self._parameters[name] for name in self._usage.shared]
            if not shared:
                return scaled_T.new_zeros(0)
            total = torch.stack([(torch.stack(f.losses) * scaled_T).sum() for f in self.forwards]).sum()
            total = self._scale.up(total)
            found = torch.autograd.grad(total, shared, allow_unused=True, materialize_grads=True)
            return add(self._scale.down(torch.cat([gradient.flatten() for gradient in found])))

        return combined

    def _add_task(self, t: int, forward: Forward, rows_TP: Tensor, keep: bool) -> None:
        task = self._active[t]
        own = self._usage.own[task]
        reached = self._usage.of[task]
        places = [c for c in self.columns if c.name in reached] if self.exact else []
        last = [] if self.exact else [name for name in self._last if name in reached]
        trunks = [f[task].trunk for f in forward.features if task in f] if self._trunk else []
        inputs = [self._parameters[name] for name in (*(c.name for c in places), *own, *last)]
        tensors = [*inputs, *(trunk for trunk in trunks if trunk is not None)]
        scaled = self._scale.up(forward.losses[t])
        given = torch.autograd.grad(scaled, tensors, retain_graph=keep, allow_unused=True)
        found = [None if gradient is None else self._scale.down(gradient.to(self._dtype)) for gradient in given]
        for column, gradient in zip(places, found, strict=False):
            if gradient is not None:
                rows_TP[t, column.start : column.stop].add_(gradient.flatten())
        accumulate(self.own, own, found[len(places) :])
        accumulate(self._last_rows[t], last, found[len(places) + len(own) :])
        if self._trunk:
            self._keep_trunk(t, forward, found[len(inputs) :])

    def _keep_trunk(self, t: int, forward: Forward, found: Sequence[Tensor | None]) -> None:
        task, given = self._active[t], list(found)
        for features in forward.features:
            trunk = next(iter(features.values())).trunk
            assert trunk is not None
            gradient = given.pop(0) if task in features else None
            zero = torch.zeros(trunk.numel(), device=trunk.device, dtype=self._dtype)
            self._trunks[t].append(zero if gradient is None else gradient.flatten())


def accumulate(into: dict[str, Tensor], names: Sequence[str], gradients: Sequence[Tensor | None]) -> None:
    """Adds gradients under their names."""
    for name, gradient in zip(names, gradients, strict=False):
        if gradient is not None:
            into[name] = into[name] + gradient if name in into else gradient.contiguous()


def columns_of(parameters: dict[str, nn.Parameter], names: Sequence[str]) -> tuple[Column, ...]:
    """Where each of those parameters lies in a row."""
    columns, start = [], 0
    for name in names:
        columns.append(Column(name, start, parameters[name].shape))
        start = columns[-1].stop
    return tuple(columns)
