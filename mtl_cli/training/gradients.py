"""Per-task gradients of several forward passes: exact rows, or rows at a cheaper place."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from mtl_cli.contracts import Column
from mtl_cli.gramian import gramian_of, products_of, summed
from mtl_cli.processes import Portion
from mtl_cli.training.faults import Faults, found, largest
from mtl_cli.training.graph import Usage
from mtl_cli.training.layer_gramian import Layers, cheaper
from mtl_cli.training.layers import Layer, find
from mtl_cli.training.methods import Wants
from mtl_cli.training.part_rows import put_rows
from mtl_cli.training.passes import Forward
from mtl_cli.training.row_places import RowPlaces, columns_of, write
from mtl_cli.training.scale import LossScale
from mtl_cli.training.spans import within
from mtl_cli.training.tasks_at_once import Begun, from_losses, from_trunk, from_views, over_shared, trunk_of


class Gradients:
    """Adds up the gradients of the active tasks, pass by pass, one backward a task or one for all of a pass.

    rows: over all shared parameters, unscaled, (T, P) for each independent part; without columns if not `exact`.
    own: each task's own parameters' gradients, by the parameter's name.
    summed: whether the Gramian of the rows and sums of them are all that is asked for.
    columns: where each shared parameter lies in a row, or in a direction.
    layers: those that rows leave out.
    together: whether one batched backward pass gives the rows of all tasks of a pass, where it can.
    blurred: whether what is not finite in one task's row may be so in another's, too, as 0 times infinity is, or is
        found in no row.
    combined_alone: the independent part that has no rows: its passes are kept, and gone through once by `combine`.

    Args:
        memory: where rows are written.
        exact: whether rows over all shared parameters are taken, also where only a cheaper place is wanted.
        layered: whether rows may leave layers out: there is one pass, and nobody asks for a row.
        together: whether tasks may go together; nobody may look at cheaper places then, or back from there.
    """

    def __init__(
        self,
        parameters: dict[str, nn.Parameter],
        usage: Usage,
        active: Sequence[str],
        scale: LossScale,
        memory: RowPlaces,
        exact: bool,
        wants: Wants,
        last_stage: frozenset[str],
        layered: bool = False,
        together: bool = False,
        combined: int | None = None,
    ) -> None:
        self._parameters = parameters
        self._usage = usage
        self._active = tuple(active)
        self._scale = scale
        self._like = next(iter(parameters.values()))
        self._trunk = wants.trunk
        self._kept = wants.pull_back or not exact
        self._last = [name for name in usage.shared if name in last_stage] if wants.last_stage else []
        self.exact = exact
        self.summed = exact and wants.shared and not wants.rows and wants.pieces == 1
        self._memory = memory
        self.columns = columns_of(parameters, usage.shared)
        self.together = together and exact and not (wants.trunk or wants.pull_back or wants.last_stage)
        self.combined_alone = combined
        self.blurred = combined is not None
        self._layered = layered
        self.layers = Layers([], 0)
        self._places = self.columns if exact else ()
        # where layers may be left out, the pass tells how wide rows are
        self.rows = [] if layered else [self._new_rows(piece) for piece in range(wants.pieces)]
        self._begun: list[set[int]] = [set() for _ in range(wants.pieces)]
        self.own: dict[str, Tensor] = {}
        self._forwards: list[Forward] = []
        self._trunks: list[list[Tensor]] = [[] for _ in active]
        self._last_rows: list[dict[str, Tensor]] = [{} for _ in active]

    @within("backward")
    def add_parts(self, forward: Forward, piece: int, sizes: Mapping[str, int]) -> None:
        """A pass of all parts, each of one task alone: the rows by one backward pass for all of them.

        What is shared is layers' parameters alone. sizes: each task's samples, in the order in which the pass had them.
        """
        layers = find(forward.losses.values(), {name: self._parameters[name] for name in self._usage.shared})
        held = {name for layer in layers for name in (layer.weight, layer.bias)}
        place = {column.name: column for column in self.columns}
        if any(place.keys() & self._usage.of[task] - held for task in sizes):  # not as when it was tried
            self.add(forward, piece)
            return
        own = [name for task in self._active for name in self._usage.own[task]]
        sought: list[Any] = [*(layer.edge for layer in layers), *(self._parameters[name] for name in own)]
        total = torch.stack([forward.losses[task] for task in sizes]).sum()
        given = torch.autograd.grad(total, sought, allow_unused=True)
        accumulate(self.own, own, given[len(layers) :])
        rows_TP = self.rows[piece]
        begun = [self._active.index(task) for task in sizes]
        for name in place.keys() - held:
            rows_TP[:, place[name].start : place[name].stop].zero_()
        for layer, gradient in zip(layers, given, strict=False):
            at = [None if name is None else place[name] for name in (layer.weight, layer.bias)]
            weights, biases = ([rows_TP[t, c.start : c.stop] for t in begun] if c else [] for c in at)
            put_rows(layer, gradient, list(sizes.values()), weights, biases)
        self._begun[piece].update(begun)

    @within("backward")
    def add(self, forward: Forward, piece: int) -> None:
        """One pass more; its graph is kept only where it is gone through again."""
        if self._kept or piece == self.combined_alone:
            self._forwards.append(forward)
        if piece == self.combined_alone:
            self._add_own(forward)
            return
        if self._layered:
            self._leave_out(cheaper(forward.losses, self._parameters, self._usage))
        tasks = [task for task in self._active if task in forward.losses and forward.losses[task].requires_grad]
        if self._may_join(forward, tasks):
            self._add_tasks(tasks, forward, piece)
            return
        for task in tasks:
            self._add_task(task, forward, piece, keep=self._kept or task != tasks[-1])
        for t, task in enumerate(self._active):
            if self._trunk and task not in tasks:
                self._keep_trunk(t, forward, [None for features in forward.features if task in features])

    def settle(self) -> None:
        """After the last pass: the row of a task that none of them had is zero."""
        for rows_TP, begun in zip(self.rows, self._begun, strict=True):
            for t in set(range(len(self._active))) - begun:
                rows_TP[t].zero_()

    def faults(self, losses_T: Tensor, add: Callable[[Tensor], Tensor]) -> Faults | None:
        """Whose loss or gradients are not finite, on any process; `add` sums over them.

        A row whose square is finite is, too; without one, the row is gone through. No task is named where rows are
        blurred.
        """
        squares = self.gramian.diagonal() if self.summed else None
        sizes = []
        for t, task in enumerate(self._active):
            own = [self.own[name] for name in self._usage.own[task] if name in self.own]
            elsewhere = [*self._trunks[t], *self._last_rows[t].values()]
            fine = squares is not None and bool(squares[t].isfinite())
            rows = [] if fine else [row[t] for row in self.rows if row.shape[1]]
            rest = [squares[t]] if squares is not None and self.layers.names else []
            sizes.append(largest([*rows, *own, *elsewhere, *rest], self._like))
        told = found(self._active, losses_T, add(0 * torch.stack(sizes)))  # not a number where one is not finite
        return Faults() if told is not None and self.blurred else told

    @cached_property
    def gramian(self) -> Tensor:
        """Over all shared parameters, of one independent part. Shapes: (T, T), float64 on the CPU"""
        (rows_TP,) = self.rows
        if not self.layers.names:
            return gramian_of(rows_TP, rows_TP)
        gramian_TT = summed([*products_of(rows_TP, rows_TP), *self.layers.products()])
        return (gramian_TT + gramian_TT.T) / 2

    def combined(self, factors_T: Tensor) -> Tensor:
        """sum_t factor_t g_t, likewise. Shapes: (T,) -> (P,)"""
        (rows_TP,) = self.rows
        held_P = factors_T.to(rows_TP) @ rows_TP
        if not self.layers.names:
            return held_P
        found = {column.name: held_P[column.start : column.stop] for column in self._places}
        found |= self.layers.combined(factors_T)
        return torch.cat([found[column.name].flatten() for column in self.columns])

    def own_of(self, task: str) -> dict[str, Tensor]:
        """The gradients of that task's own parameters."""
        return {name: self.own[name] for name in self._usage.own[task] if name in self.own}

    def last_stage_rows(self) -> Tensor:
        """Rows over the last shared stage. Shapes: (T, columns of that stage)"""
        if not self._last:
            return self._like.new_zeros(len(self._active), 0)
        if self.exact:
            rows_TP = sum(self.rows[1:], self.rows[0])
            place = {column.name: column for column in self.columns}
            return torch.cat([rows_TP[:, place[n].start : place[n].stop] for n in self._last], 1)
        zero = {name: torch.zeros_like(self._parameters[name]) for name in self._last}
        rows = [[row.get(name, zero[name]).flatten() for name in self._last] for row in self._last_rows]
        return torch.stack([torch.cat(row) for row in rows])

    def trunk_rows(self) -> Tensor:
        """Rows at the trunk's tensor, over all passes' samples. Shapes: (T, B D)"""
        return torch.stack([torch.cat(pieces) for pieces in self._trunks])

    def trunk_values(self) -> Tensor:
        """The trunk's tensor, over all passes' samples. Shapes: (B, D)"""
        return torch.cat([trunk.detach().flatten(1) for trunk in self._every_trunk()]).to(self._like.dtype)

    def portions(self) -> list[Portion]:
        """Which rows of all processes' each pass had, in the order of the trunk's values."""
        return [portion for forward in self._forwards for portion in forward.portions]

    def pull_back(self, add: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """A gradient (B, D) at the trunk's tensor to a direction (P,) by one more backward pass."""

        def pulled(gradient_BD: Tensor) -> Tensor:
            trunks = list(self._every_trunk())
            pieces = gradient_BD.split([len(trunk) for trunk in trunks])
            given = [self._scale.up(p).reshape(t.shape).to(t.dtype) for p, t in zip(pieces, trunks, strict=True)]
            return self._over_shared(trunks, given, add)

        return pulled

    def combine(self, add: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """Weights (T,) to a direction (P,) by one more backward pass over the kept graphs."""

        def combined(scaled_T: Tensor) -> Tensor:
            factors = dict(zip(self._active, scaled_T.unbind(), strict=True))
            roots = [loss * factors[t] for f in self._forwards for t, loss in f.losses.items() if loss.requires_grad]
            return self._over_shared([self._scale.up(root) for root in roots], None, add)

        return combined

    @within("backward")
    def _over_shared(
        self, roots: Sequence[Tensor], given: Sequence[Tensor] | None, add: Callable[[Tensor], Tensor]
    ) -> Tensor:
        shared = [self._parameters[name] for name in self._usage.shared]
        if not shared or not roots:
            return add(self._like.new_zeros(sum(parameter.numel() for parameter in shared)))
        parts = torch.autograd.grad(
            roots, shared, given, allow_unused=True, materialize_grads=True, retain_graph=self._kept
        )
        return add(self._scale.down(torch.cat([part.flatten() for part in parts])))

    def _every_trunk(self) -> Iterator[Tensor]:
        for forward in self._forwards:
            for features in forward.features:
                trunk = next(iter(features.values())).trunk
                assert trunk is not None
                yield trunk

    def _new_rows(self, piece: int = 0) -> Tensor:
        if piece == self.combined_alone:
            return self._like.new_zeros(len(self._active), 0)
        return self._memory.take(piece, len(self._active), self._places[-1].stop if self._places else 0, self._like)

    def _leave_out(self, layers: Sequence[Layer]) -> None:
        self.layers = Layers(layers, len(self._active))
        names = [name for name in self._usage.shared if name not in self.layers.names]
        self._places = columns_of(self._parameters, names)
        self.rows = [self._new_rows()]

    def _add_own(self, forward: Forward) -> None:
        """The gradients of tasks' own parameters alone; the graph is kept."""
        own = [name for task in forward.losses for name in self._usage.own[task]]
        roots = [self._scale.up(loss) for loss in forward.losses.values() if loss.requires_grad]
        if own and roots:
            sought = [self._parameters[name] for name in own]
            given = torch.autograd.grad(roots, sought, allow_unused=True, retain_graph=True)
            accumulate(self.own, own, self._unscaled(given))

    def _add_task(self, task: str, forward: Forward, piece: int, keep: bool) -> None:
        t = self._active.index(task)
        own = self._usage.own[task]
        reached = self._usage.of[task]
        places = [column for column in self._places if column.name in reached]
        last = [] if self.exact else [name for name in self._last if name in reached]
        trunks = [f[task].trunk for f in forward.features if task in f] if self._trunk else []
        inputs = [self._parameters[name] for name in (*(c.name for c in places), *own, *last)]
        tensors = [*inputs, *(trunk for trunk in trunks if trunk is not None)]
        sought: list[Any] = [*tensors, *self.layers.edges(reached)]  # torch takes both, but is typed for either
        scaled = self._scale.up(forward.losses[task])
        given = torch.autograd.grad(scaled, sought, retain_graph=keep, allow_unused=True)
        parts = self._unscaled(given)
        if self.exact:
            self._add_row(t, piece, places, parts[: len(places)])
        accumulate(self.own, own, parts[len(places) :])
        accumulate(self._last_rows[t], last, parts[len(places) + len(own) :])
        if self._trunk:
            self._keep_trunk(t, forward, parts[len(inputs) : len(tensors)])
        self.layers.put(t, reached, parts[len(tensors) :])

    def _may_join(self, forward: Forward, tasks: Sequence[str]) -> bool:
        """Whether one batched pass pays: of several parts it would go through each for all tasks."""
        whole = len(tasks) == len(self._active) or not self._layered
        return self.together and bool(self.columns) and len(forward.features) == 1 and len(tasks) > 1 and whole

    def _add_tasks(self, tasks: Sequence[str], forward: Forward, piece: int) -> None:
        reached = frozenset[str]().union(*(self._usage.of[task] for task in tasks))
        places = [column for column in self._places if column.name in reached]
        sought: list[Any] = [*(self._parameters[c.name] for c in places), *self.layers.edges(self.layers.names)]
        begun = self._begin(tasks, forward)
        accumulate(self.own, [name for task in tasks for name in self._usage.own[task]], self._unscaled(begun.own))
        parts = self._unscaled(over_shared(begun, sought))
        into = [self._active.index(task) for task in tasks]
        found = dict(zip((column.name for column in places), parts[: len(places)], strict=True))
        write(self.rows[piece], into, self._begun[piece], self._places, found)
        self._begun[piece].update(into)
        self.layers.put_all(parts[len(places) :])

    def _begin(self, tasks: Sequence[str], forward: Forward) -> Begun:
        roots = [self._scale.up(forward.losses[task]) for task in tasks]
        own = [[self._parameters[name] for name in self._usage.own[task]] for task in tasks]
        flat = [parameter for its in own for parameter in its]
        trunk = trunk_of(forward, tasks) if self._usage.bottleneck else None
        (views,) = forward.views
        if trunk is None:
            self.blurred = True
            return from_losses(roots, flat)
        if views is None or forward.in_one is None or len(tasks) < len(self._active):
            return from_trunk(roots, trunk, own)
        return from_views(self._scale.up(forward.in_one), trunk, views, flat)

    def _unscaled(self, given: Sequence[Tensor | None]) -> list[Tensor | None]:
        return [None if part is None else self._scale.down(part.to(self._like.dtype)) for part in given]

    def _add_row(self, t: int, piece: int, places: Sequence[Column], parts: Sequence[Tensor | None]) -> None:
        """A row's first gradient is written, in one go where it is whole; more are added."""
        row_P, found = self.rows[piece][t], [part for part in parts if part is not None]
        whole = len(found) == len(self._places) > 0
        if t not in self._begun[piece]:
            self._begun[piece].add(t)
            if whole:
                torch.cat([part.flatten() for part in found], out=row_P)
                return
            row_P.zero_()
        for column, part in zip(places, parts, strict=True):
            if part is not None:
                row_P[column.start : column.stop].add_(part.flatten())

    def _keep_trunk(self, t: int, forward: Forward, parts: Sequence[Tensor | None]) -> None:
        task, given = self._active[t], list(parts)
        for features in forward.features:
            trunk = next(iter(features.values())).trunk
            assert trunk is not None
            part = given.pop(0) if task in features else None
            zero = self._like.new_zeros(trunk.numel())
            self._trunks[t].append(zero if part is None else part.flatten())


def accumulate(into: dict[str, Tensor], names: Sequence[str], gradients: Sequence[Tensor | None]) -> None:
    """Adds gradients under their names."""
    for name, gradient in zip(names, gradients, strict=False):
        if gradient is not None:
            into[name] = into[name] + gradient if name in into else gradient.contiguous()
