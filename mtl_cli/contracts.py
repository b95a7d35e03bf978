"""What the training step and the methods know of each other: needs, a look, groups of parameters."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from mtl_cli.draws import generator

CHUNK = 65_536
"""Columns of a Gramian's partial product: float32 sums of this length are right to 1e-6."""

At = Literal["shared", "trunk", "last_stage"]


class Needs(NamedTuple):
    """What a weighting or an aggregation wants to see in a step.

    level: losses, or per-task gradients as norms, Gramian or rows.
    at: where those are taken: all shared parameters (exact), the trunk's tensor, or the last shared stage.
    batches: into how many independent parts the loaded batch is split.
    heldout: a batch that is not trained on, as `look.heldout`.
    again: the losses of the same batch after the step, by `look.again()`.
    reads_losses: whether the weighting's coefficients depend on this step's losses.
    """

    level: Literal["losses", "norms", "gramian", "rows"] = "losses"
    at: At = "shared"
    batches: int = 1
    heldout: bool = False
    again: bool = False
    reads_losses: bool = True


class Group(NamedTuple):
    """Parameters with a learning rate of their own: `lr_factor` times the network's; `decay`: weight decay applies."""

    parameters: list[nn.Parameter]
    lr_factor: float
    decay: bool


class Column(NamedTuple):
    """Where one shared parameter lies among the P columns of the rows."""

    name: str
    start: int
    shape: torch.Size

    @property
    def stop(self) -> int:
        """The column after its last."""
        return self.start + self.shape.numel()


class Look:
    """The losses of one step's active tasks and their gradients; global over micro-batches and processes.

    step: steps before this one, counted from the start of the run.
    tasks: names of the T active tasks, the order of every (T,) below.
    losses_T: their mean losses.
    counts_T: what each mean was divided by.
    c_T: the weighting's coefficients; the rows and Gramians given out are scaled by them.
    columns: where each shared parameter lies in a row; empty where only losses were asked for.
    weights_T: the aggregation's weights, if it gives such.
    penalties: what was added after balancing, by name.
    heldout: a look at data that is not trained on, for methods that need it.
    """

    def __init__(self, tasks: tuple[str, ...], losses_T: Tensor, counts_T: Tensor, seed: int, step: int) -> None:
        self.tasks = tasks
        self.losses_T = losses_T
        self.counts_T = counts_T
        self.c_T = torch.ones_like(losses_T)
        self.weights_T = torch.ones_like(losses_T)
        self.columns: tuple[Column, ...] = ()
        self.heldout: Look | None = None
        self.step = step
        self._seed = seed
        self.penalties: dict[str, Tensor] = {}
        self._jacobians: dict[At, list[Tensor]] = {}
        self._add: dict[At, Callable[[Tensor], Tensor]] = {}
        self._shares_KT: Tensor | None = None
        self._combine: Callable[[Tensor], Tensor] = self._combine_rows
        self._again: Callable[[], Tensor] | None = None

    def hold(self, jacobians: list[Tensor], shares_KT: Tensor | None, columns: tuple[Column, ...]) -> None:
        """Keeps unscaled rows (T, P) of all shared parameters, one tensor for each independent batch.

        shares_KT: each independent batch's share of a task's count; None where there is one batch.
        """
        self._jacobians["shared"] = jacobians
        self._shares_KT = shares_KT
        self.columns = columns

    def hold_at(self, at: At, rows: Tensor, add: Callable[[Tensor], Tensor]) -> None:
        """Keeps unscaled rows (T, .) taken elsewhere; `add` sums their Gramians over processes."""
        self._jacobians[at] = [rows]
        self._add[at] = add

    def combine_by(self, combine: Callable[[Tensor], Tensor]) -> None:
        """Replaces how weights become a direction: for a look that holds no rows of all shared parameters."""
        self._combine = combine

    def again_by(self, again: Callable[[], Tensor]) -> None:
        """Sets how the losses are looked at again."""
        self._again = again

    def generator(self, name: str) -> torch.Generator:
        """A CPU generator for a draw that decides weights: a function of (seed, step, name) alone."""
        return generator(self._seed, "draw", self.step, name)

    def again(self) -> Tensor:
        """The losses (T,) of the same batch, augmentation and random draws with the parameters as they are now.

        Raises: ValueError: the method did not declare `again` in its needs.
        """
        if self._again is None:
            raise ValueError("needs should declare again=True. Found again=False.")
        return self._again()

    def gramian(self, i: int | None = None, j: int | None = None, at: At = "shared", scaled: bool = True) -> Tensor:
        """G = J J^T of the rows at `at`, float64 on the CPU; J_i J_j^T between two independent batches.

        Shapes: (T, T)
        """
        whole = self._jacobians[at]
        firsts, seconds = (whole if i is None else [whole[i]]), (whole if j is None else [whole[j]])
        gramian_TT = sum((gramian_of(a, b) for a in firsts for b in seconds), torch.zeros((), dtype=torch.float64))
        if at in self._add:
            gramian_TT = self._add[at](gramian_TT)
        left, right = self._scale(i, scaled), self._scale(j, scaled)
        return left[:, None] * gramian_TT * right

    def norms(self, at: At = "shared", scaled: bool = True) -> Tensor:
        """The Euclidean norm of each row. Shapes: (T,), float64 on the CPU."""
        return self.gramian(at=at, scaled=scaled).diagonal().clamp_min(0).sqrt()

    def row(self, t: int, i: int | None = None) -> Tensor:
        """Task t's gradient over the shared parameters, scaled by c_t. Shapes: (P,)"""
        whole = self._jacobians["shared"]
        row_P = whole[i][t] if i is not None else whole[0][t] if len(whole) == 1 else sum(j[t] for j in whole)
        assert isinstance(row_P, Tensor)
        return row_P * self._scale(i, scaled=True)[t].to(row_P)

    def rows(self, i: int | None = None) -> Tensor:
        """All tasks' gradients over the shared parameters, scaled by c. Shapes: (T, P)"""
        return torch.stack([self.row(t, i) for t in range(len(self.tasks))])

    def combine(self, weights_T: Tensor) -> Tensor:
        """sum_t w_t c_t g_t over the shared parameters. Shapes: weights_T (T,) -> (P,)"""
        self.weights_T = weights_T.to(self.losses_T)
        return self._combine(self.weights_T * self.c_T)

    def _combine_rows(self, scaled_T: Tensor) -> Tensor:
        jacobians = self._jacobians["shared"]
        total_P = scaled_T.to(jacobians[0]) @ jacobians[0]
        for jacobian_TP in jacobians[1:]:
            total_P = total_P + scaled_T.to(jacobian_TP) @ jacobian_TP
        return total_P

    def _scale(self, i: int | None, scaled: bool) -> Tensor:
        c_T = self.c_T.cpu().double() if scaled else torch.ones(len(self.tasks), dtype=torch.float64)
        if i is None or self._shares_KT is None:
            return c_T
        share_T = self._shares_KT[i].cpu().double()
        return torch.where(share_T > 0, c_T / share_T, 0.0)


def gramian_of(first_TP: Tensor, second_TP: Tensor) -> Tensor:
    """A B^T, summed in float64 over chunks of columns. Shapes: (T, P), (T, P) -> (T, T), on the CPU."""
    total_TT = torch.zeros(len(first_TP), len(second_TP), dtype=torch.float64)
    for start in range(0, first_TP.shape[1], CHUNK):
        stop = start + CHUNK
        total_TT += (first_TP[:, start:stop] @ second_TP[:, start:stop].T).cpu().double()
    return total_TT
