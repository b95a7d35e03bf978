"""One backward pass for each task and part of a micro-batch, then the aggregation's update."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from mtl_cli.data.base import Batch
from mtl_cli.look import Look
from mtl_cli.model import How
from mtl_cli.training.faults import Faults, finite
from mtl_cli.training.gradients import Gradients
from mtl_cli.training.kit import Kit
from mtl_cli.training.methods import Wants
from mtl_cli.training.passes import Forward, split, stacked
from mtl_cli.training.penalties import add_gradient
from mtl_cli.training.row_places import RowPlaces
from mtl_cli.training.spans import span, within
from mtl_cli.training.spread import Gather

ALL_SHARED = Wants(shared=True, trunk=False, pull_back=False, last_stage=False, rows=True, pieces=1)


class Balanced:
    """The way of methods that look at per-task gradients, and of coefficients that are known only after the last pass.

    Args:
        last_stage: names of the last shared stage's parameters.
        balanced: whether there is something shared for the aggregation to balance.
    layered: whether rows may leave layers out, where that is cheaper and nobody asks for rows.
    left_out: the parameters that rows left out in the last step.
    together: whether one batched backward pass may give the rows of all tasks.
    blurred: whether what was not finite in the last step may be so in other tasks' rows too, and has no name.
    """

    def __init__(self, kit: Kit, last_stage: frozenset[str], balanced: bool) -> None:
        self._kit = kit
        self._last_stage = last_stage
        self._balanced = balanced
        self.layered = True
        self.left_out: frozenset[str] = frozenset()
        self.together = False
        self.blurred = False
        self._memory = RowPlaces()

    def take(self, batches: Sequence[Batch], look: Look, wants: Wants) -> Faults | None:
        """Puts a gradient on every parameter that an active task reaches; or says what is not finite."""
        kit = self._kit
        penalties: dict[str, Tensor] = {}
        gradients = self._gradients(batches, look, self._memory, wants.shared or self.late(batches), wants, penalties)
        self.left_out, self.blurred = gradients.layers.names, gradients.blurred
        self._show(batches, look, wants, gradients)
        # a Gramian that is finite on the host tells enough to go on; what it does not tell is then read later
        unread = kit.unread.on and gradients.summed and bool(gradients.gramian.isfinite().all())
        if not unread:
            faults = gradients.faults(look.losses_T, kit.processes.add)
            if faults is not None or not finite(penalties.values()):
                return faults or Faults()
        kit.methods.weighting.before_step(look)
        look.c_T = kit.methods.coefficients(look)
        with span("balancing"):
            direction_P = kit.methods.aggregation.direction(look) if self._balanced else look.total()
        if unread:
            kit.unread.note(look.losses_T)
        elif not finite([look.c_T, direction_P, *kit.weighting_gradients(), *kit.statistics()]):
            return Faults()
        self._assign(look, gradients, direction_P)
        for name, gradient in penalties.items():
            add_gradient(kit.parameters[name], gradient)
        return None

    def late(self, batches: Sequence[Batch]) -> bool:
        """Whether the coefficients are known only after the last of several micro-batches."""
        return self._kit.methods.weighting.needs.reads_losses and len(batches) > 1

    def aside(self, batch: Batch, look: Look) -> None:
        """Losses and gradients of a batch that is not trained on, into `look`."""
        gradients = self._gradients([batch], look, RowPlaces(), exact=True, wants=ALL_SHARED, penalties=None)
        self._show([batch], look, ALL_SHARED, gradients)

    def faults(self, batches: Sequence[Batch], look: Look) -> Faults:
        """Whose gradients are not finite; none where they are, one by one."""
        gradients = self._gradients(batches, look, RowPlaces(), True, ALL_SHARED, penalties=None, together=False)
        return gradients.faults(look.losses_T, self._kit.processes.add) or Faults()

    def _gradients(
        self,
        batches: Sequence[Batch],
        look: Look,
        memory: RowPlaces,
        exact: bool,
        wants: Wants,
        penalties: dict[str, Tensor] | None,
        together: bool = True,
    ) -> Gradients:
        """Summed over micro-batches and processes, for each independent piece; the losses go into `look`.

        A data set a task makes this about one backward pass through all: each part's graph is gone through for its own
        tasks, and let go before the next part's forward pass.
        """
        kit = self._kit
        look.losses_T = torch.zeros_like(look.losses_T)
        gradients = Gradients(
            kit.parameters,
            kit.usage,
            look.tasks,
            kit.scale,
            memory,
            exact,
            wants,
            self._last_stage,
            self._may_leave_out(batches, exact, wants),
            together and self.together and not kit.passes.compiled,
            wants.combined if exact and _one_pass(batches) else None,
        )
        at_once = exact and len(batches) == 1 and not wants.trunk
        for batch in batches:
            for k, piece in enumerate(split(batch, wants.pieces)):
                losses: dict[str, Tensor] = {}
                for forward, add in self._forwards(piece, k, look, gradients, at_once):
                    losses |= {task: loss.detach() for task, loss in forward.losses.items()}
                    if penalties is not None:
                        penalty = kit.penalties.of_sharing(forward, look, len(batches) * wants.pieces)
                        kit.penalties.gradients(penalty, penalties)
                    add(forward)
                    del forward
                look.losses_T = look.losses_T + stacked(losses, look.tasks, look.losses_T)
        gradients.settle()
        own = self._filled(gradients.own, [name for task in look.tasks for name in kit.usage.own[task]])
        kit.processes.add_all([look.losses_T, *own, *(penalties or {}).values()])
        for tensor in gradients.rows:
            kit.processes.add(tensor)
        return gradients

    def _may_leave_out(self, batches: Sequence[Batch], exact: bool, wants: Wants) -> bool:
        """Whether rows may leave layers out: all of the batch's activations are at hand, and nobody asks for rows."""
        one_pass = _one_pass(batches) and not self._kit.processes.grouped
        return self.layered and exact and one_pass and not wants.rows and not wants.last_stage and wants.pieces == 1

    def _forwards(
        self, piece: Batch, k: int, look: Look, gradients: Gradients, at_once: bool
    ) -> Iterator[tuple[Forward, Callable[[Forward], None]]]:
        """The passes of a piece, and how the gradients of each are added up.

        at_once: whether the rows of all parts may come from one backward pass.
        """
        passes = self._kit.passes
        sizes = passes.sizes(piece, look.tasks) if at_once else None
        how = How(viewed=gradients.together)
        if sizes is not None:
            yield passes.forward(piece, look.tasks, look.counts_T), partial(gradients.add_parts, piece=k, sizes=sizes)
        elif self._kit.penalties.of_features:
            forward = passes.forward(piece, look.tasks, look.counts_T, how)
            yield forward, partial(gradients.add, piece=k)
        else:
            for forward in passes.each(piece, look.tasks, look.counts_T, how):
                yield forward, partial(gradients.add, piece=k)
                del forward

    def _show(self, batches: Sequence[Batch], look: Look, wants: Wants, gradients: Gradients) -> None:
        """Lets the look hold what the methods want to see."""
        add = self._kit.processes.add
        if gradients.summed:
            look.hold_sums(gradients.gramian, gradients.combined, gradients.columns, gradients.rows[0])
        elif gradients.exact:
            look.hold(gradients.rows, self._shares(batches, look, wants.pieces), gradients.columns)
            if gradients.combined_alone is not None:
                look.hold_combined(gradients.combined_alone, gradients.combine(add))
        else:
            look.combine_by(gradients.combine(add))
        look.own = {task: gradients.own_of(task) for task in look.tasks}
        if wants.last_stage:
            rows_TP = gradients.last_stage_rows()
            look.hold_at("last_stage", rows_TP if gradients.exact else add(rows_TP), lambda gramian_TT: gramian_TT)
        if wants.pull_back:
            self._show_trunk(look, gradients)
        elif wants.trunk:
            look.hold_at("trunk", gradients.trunk_rows(), add)

    def _show_trunk(self, look: Look, gradients: Gradients) -> None:
        """The trunk's values and gradients of all processes' samples, and the way back from there."""
        gather, values_BD = Gather(self._kit.processes, gradients.portions()), gradients.trunk_values()
        rows_TBD = gradients.trunk_rows().view(len(look.tasks), *values_BD.shape)
        back = gradients.pull_back(self._kit.processes.add)
        look.hold_at("trunk", gather.every(rows_TBD).flatten(1), lambda gramian_TT: gramian_TT)
        look.hold_trunk(gather.every(values_BD), lambda gradient_BD: back(gather.own(gradient_BD)))

    def _shares(self, batches: Sequence[Batch], look: Look, count: int) -> Tensor | None:
        if count == 1:
            return None
        pieces = [[split(batch, count)[k] for batch in batches] for k in range(count)]
        counts_KT = torch.stack([self._kit.passes.counts(piece, look.tasks) for piece in pieces])
        return self._kit.processes.add(counts_KT) / look.counts_T

    @within("balancing")
    def _assign(self, look: Look, gradients: Gradients, direction_P: Tensor) -> None:
        reached, parameters = self._kit.reached(look.tasks), self._kit.parameters
        for column in gradients.columns:
            if column.name in reached:
                parameter = parameters[column.name]
                parameter.grad = direction_P[column.start : column.stop].view(column.shape).to(parameter.dtype)
        factors_T = self._kit.own_factors(look)
        even, taken = look.even and factors_T is look.c_T, set[int]()
        for task, factor in zip(look.tasks, factors_T.unbind(), strict=True):
            for name, gradient in gradients.own_of(task).items():
                # a gradient may be that of two parameters, each of which is clipped where it lies
                fresh = even and gradient.data_ptr() not in taken
                parameters[name].grad = gradient if fresh else gradient * factor.to(gradient)
                taken.add(gradient.data_ptr())

    def _filled(self, gradients: dict[str, Tensor], names: Sequence[str]) -> list[Tensor]:
        if self._kit.processes.grouped:
            for name in names:
                gradients.setdefault(name, torch.zeros_like(self._kit.parameters[name]))
        return [gradients[name] for name in names if name in gradients]


def _one_pass(batches: Sequence[Batch]) -> bool:
    """Whether there is one micro-batch of one part."""
    return len(batches) == 1 and len(batches[0].parts) == 1
