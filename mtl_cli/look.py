"""One step's losses and gradients of the active tasks: all that a method sees."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from mtl_cli.contracts import At, Column
from mtl_cli.draws import generator
from mtl_cli.gramian import gramian_of

PLACES: tuple[At, ...] = ("shared", "last_stage", "trunk")
"""Where gradients are looked at: the exact one first."""


class Look:
    """The losses of one step's active tasks and their gradients; global over micro-batches and processes.

    step: steps before this one, counted from the start of the run.
    tasks: names of the T active tasks, the order of every (T,) below.
    losses_T: their mean losses.
    counts_T: what each mean was divided by.
    c_T: the weighting's coefficients, where the losses are; the rows and Gramians given out are scaled by them.
    columns: where each shared parameter lies in a row; empty where only losses were asked for.
    penalties: what was added after balancing, by name.
    heldout: a look at data that is not trained on, for methods that need it.
    own: each task's unscaled gradient over its own parameters, by their names; until the step is taken.
    known_T: the coefficients on the host, float64, where they are known there.
    left_out: tasks that had labels, but whose loss or gradient was not finite.
    eps: how much of the norms' product rounding may take from an entry of the Gramian.
    kept: what a method computed for its direction or total and wants again in `after_step`, under names of its own.
    """

    def __init__(self, tasks: tuple[str, ...], losses_T: Tensor, counts_T: Tensor, seed: int, step: int) -> None:
        self.tasks = tasks
        self.losses_T = losses_T
        self.counts_T = counts_T
        self._ones = constant(1.0, losses_T)
        self._c_T = self._ones
        self.known_T: Tensor | None = None
        self._factors_T: Tensor | None = None
        self.columns: tuple[Column, ...] = ()
        self.heldout: Look | None = None
        self.step = step
        self.penalties: dict[str, Tensor] = {}
        self.kept: dict[str, Tensor] = {}
        self.own: dict[str, dict[str, Tensor]] = {}
        self.left_out: tuple[str, ...] = ()
        self.at: At = "shared"
        self.eps = torch.finfo(torch.float64).eps
        self.seed = seed
        self._jacobians: dict[At, list[Tensor]] = {}
        self._gramians: dict[tuple[At, int | None, int | None], Tensor] = {}
        self._alone: Tensor | None = None
        self._given: dict[tuple[At, int | None, int | None, bool], tuple[Tensor, Tensor]] = {}
        self._add: dict[At, Callable[[Tensor], Tensor]] = {}
        self._shares_KT: Tensor | None = None
        self._values_BD: Tensor | None = None
        self._pull_back: Callable[[Tensor], Tensor] | None = None
        self._weights_T: Tensor | None = None
        self._combine: Callable[[Tensor], Tensor] | None = None
        self._alone_combined: tuple[int, Callable[[Tensor], Tensor]] | None = None
        self._again: Callable[[], Tensor] | None = None

    @property
    def c_T(self) -> Tensor:  # noqa: N802  # a shape suffix
        """Those given, or ones."""
        return self._c_T

    @c_T.setter
    def c_T(self, c_T: Tensor) -> None:  # noqa: N802  # a shape suffix
        """Those that come from the host are known there without asking the device."""
        self._factors_T = None
        self.known_T = c_T.double() if c_T.device.type == "cpu" else None
        even = self.known_T is not None and all(c == 1 for c in self.known_T.tolist())
        self._c_T = self._ones if even else c_T.to(self.losses_T.device, non_blocking=True)

    @property
    def even(self) -> bool:
        """Whether it is known that all coefficients are 1."""
        return self._c_T is self._ones

    def hold(self, jacobians: list[Tensor], shares_KT: Tensor | None, columns: tuple[Column, ...]) -> None:
        """Keeps unscaled rows (T, P) of all shared parameters, one tensor for each independent batch, or one for all.

        shares_KT: each independent batch's share of a task's count; None where there is one batch.
        """
        self._jacobians["shared"] = jacobians
        self.eps = max(self.eps, _eps(jacobians[0]))
        self._shares_KT = shares_KT
        self.columns = columns

    def hold_combined(self, i: int, combine: Callable[[Tensor], Tensor]) -> None:
        """Says that independent batch `i`, which has no rows among those held, can be combined by factors (T,) alone.

        What is then told of the whole batch's gradients is told by the others', as if they were all.
        """
        self._alone_combined = i, combine

    def hold_sums(
        self, gramian_TT: Tensor, combine: Callable[[Tensor], Tensor], columns: tuple[Column, ...], like: Tensor
    ) -> None:
        """Keeps what rows of all shared parameters would give, without them: their Gramian, and sums of them.

        combine: factors (T,) to a direction (P,).
        """
        self._gramians["shared", None, None] = gramian_TT
        self._combine = combine
        self.eps = max(self.eps, _eps(like))
        self.columns = columns

    def hold_at(self, at: At, rows: Tensor, add: Callable[[Tensor], Tensor]) -> None:
        """Keeps unscaled rows (T, .) taken elsewhere; `add` sums their Gramians over processes."""
        self._jacobians[at] = [rows]
        self.eps = max(self.eps, _eps(rows))
        self._add[at] = add

    def hold_gramian(self, gramian_TT: Tensor) -> None:
        """Keeps an unscaled Gramian where there are no rows; it is that of every independent batch."""
        self._alone = gramian_TT.cpu().double()
        self.eps = _eps(gramian_TT)

    def hold_trunk(self, values_BD: Tensor, pull_back: Callable[[Tensor], Tensor]) -> None:
        """Keeps the trunk's values, and how a gradient (B, D) at them becomes a direction (P,)."""
        self._values_BD = values_BD
        self._pull_back = pull_back

    def combine_by(self, combine: Callable[[Tensor], Tensor]) -> None:
        """Replaces how weights become a direction: for a look that holds no rows of all shared parameters."""
        self._combine = combine

    def again_by(self, again: Callable[[], Tensor]) -> None:
        """Sets how the losses are looked at again."""
        self._again = again

    def generator(self, name: str) -> torch.Generator:
        """A CPU generator for a draw that decides weights: a function of (seed, step, name) alone."""
        return generator(self.seed, "draw", self.step, name)

    def again(self) -> Tensor:
        """The losses (T,) of the same batch, augmentation and random draws with the parameters as they are now.

        Raises: ValueError: the method did not declare `again` in its needs.
        """
        if self._again is None:
            raise ValueError("needs should declare again=True. Found again=False.")
        return self._again()

    def gramian(self, i: int | None = None, j: int | None = None, at: At | None = None, scaled: bool = True) -> Tensor:
        """G = J J^T, float64 on the CPU, not to be written to; J_i J_j^T between two independent batches.

        at: where the rows are taken; None: where the run's aggregation looks.

        Shapes: (T, T)
        """
        if self._shares_KT is None and (not scaled or self.even):
            return self._gramian(i, j, at or self.at)
        key = (at or self.at, i, j, scaled)
        c_T, gramian_TT = self._given.get(key, (None, None))
        if gramian_TT is None or c_T is not self.c_T:
            left = self._scale(i, scaled)
            right = left if i == j else self._scale(j, scaled)
            gramian_TT = torch.outer(left, right).mul_(self._gramian(i, j, key[0]))
            self._given[key] = (self.c_T, gramian_TT)
        return gramian_TT

    def block(self, start: int, stop: int) -> Tensor:
        """The Gramian of those columns of the rows over the shared parameters, float64 on the CPU. Shapes: (T, T)"""
        (whole,) = self._jacobians["shared"]
        scale_T = self._scale(None, scaled=True)
        return scale_T[:, None] * gramian_of(whole[:, start:stop], whole[:, start:stop]) * scale_T

    def moving(self) -> list[int]:
        """The tasks whose gradient is not zero, or is not seen, as all labels are in a batch that is only combined."""
        squares = self.gramian().diagonal().tolist()
        unseen = None if self._alone_combined is None else self._shares()[self._alone_combined[0]].tolist()
        return [t for t, square in enumerate(squares) if square > 0 or (unseen is not None and unseen[t] == 1)]

    def norms(self, at: At | None = None, scaled: bool = True) -> Tensor:
        """The Euclidean norm of each row. Shapes: (T,), float64 on the CPU."""
        return self.gramian(at=at, scaled=scaled).diagonal().clamp_min(0).sqrt()

    def inner(self, other: "Look") -> Tensor:
        """Inner products of these tasks' unscaled gradients with another look's, over all trained parameters.

        A task's own parameters count where both looks have the task.

        Shapes: (T, T of the other), float64 on the CPU
        """
        inner_TU = gramian_of(self.unscaled_rows(), other.unscaled_rows())
        for t, task in enumerate(self.tasks):
            if task in other.tasks:
                pairs = [(gradient, other.own[task][name]) for name, gradient in self.own[task].items()]
                inner_TU[t, other.tasks.index(task)] += sum(float((a * b).sum()) for a, b in pairs)
        return inner_TU

    def unscaled_rows(self) -> Tensor:
        """The gradients of the losses themselves over the shared parameters. Shapes: (T, P)"""
        first, *more = self._jacobians["shared"]
        return sum(more, first)

    def seen(self) -> tuple[At, Tensor] | None:
        """Where gradients were looked at, the most exact place first, and their unscaled Gramian. Shapes: (T, T)"""
        for at in PLACES:
            if at in self._jacobians or (at, None, None) in self._gramians:
                return at, self.gramian(at=at, scaled=False)
        return None

    def close(self) -> None:
        """Lets go of rows and graphs, once the step is taken; what `seen` tells stays."""
        self.seen()
        self.let_go()
        if self.heldout is not None:
            self.heldout.let_go()

    def let_go(self) -> None:
        """Lets go of rows and graphs; what was computed of them stays."""
        self._jacobians, self.own, self._values_BD, self._pull_back = {}, {}, None, None
        self._combine = self._again = self._alone_combined = None

    def row(self, t: int, i: int | None = None) -> Tensor:
        """Task t's gradient over the shared parameters, scaled by c_t. Shapes: (P,)"""
        whole = self._jacobians["shared"]
        row_P = whole[0][t] if len(whole) == 1 else sum(j[t] for j in whole) if i is None else whole[i][t]
        assert isinstance(row_P, Tensor)
        return row_P * self._scale(i, scaled=True)[t].to(row_P)

    def rows(self, i: int | None = None) -> Tensor:
        """All tasks' gradients over the shared parameters, scaled by c. Shapes: (T, P)"""
        return torch.stack([self.row(t, i) for t in range(len(self.tasks))])

    def trunk(self) -> tuple[Tensor, Tensor]:
        """The trunk's values, and each task's gradient at them scaled by c, each sample's features in a row.

        Shapes: (B, D), (T, B, D), of all processes' samples
        """
        assert self._values_BD is not None
        (rows_TN,) = self._jacobians["trunk"]
        rows_TBD = rows_TN.view(len(self.tasks), *self._values_BD.shape)
        return self._values_BD, rows_TBD * self.c_T.to(rows_TBD)[:, None, None]

    def pull_back(self, gradient_BD: Tensor) -> Tensor:
        """What a gradient at the trunk's values is over the shared parameters. Shapes: (B, D) -> (P,)"""
        assert self._pull_back is not None
        return self._pull_back(gradient_BD)

    def combine(self, weights_T: Tensor, i: int | None = None) -> Tensor:
        """sum_t w_t c_t g_t over the shared parameters; `i`: of the gradients of one independent batch.

        Shapes: weights_T (T,) -> (P,)
        """
        self.weigh(weights_T)
        whole = self._jacobians.get("shared", [])
        if i is None or len(whole) < 2:
            return self._combined(self.factors)
        if self._alone_combined is not None and self._alone_combined[0] == i:
            return self._alone_combined[1]((self.weights_T * self._scale(i, scaled=True)).to(self.losses_T))
        return (self.weights_T * self._scale(i, scaled=True)).to(whole[i]) @ whole[i]

    def total(self) -> Tensor:
        """sum_t c_t g_t over the shared parameters: the plain sum, which gives no weights. Shapes: (P,)"""
        return self._combined(self.c_T)

    @property
    def weighted(self) -> bool:
        """Whether the aggregation gave weights."""
        return self._weights_T is not None

    @property
    def weights_T(self) -> Tensor:  # noqa: N802  # a shape suffix
        """Those, or ones."""
        return torch.ones(len(self.tasks), dtype=torch.float64) if self._weights_T is None else self._weights_T

    def weigh(self, weights_T: Tensor) -> None:
        """Remembers the aggregation's weights."""
        self._weights_T = weights_T.cpu().double()
        self._factors_T = None

    @property
    def factors(self) -> Tensor:
        """c_t w_t, where the losses are. Shapes: (T,)"""
        if self._weights_T is None:
            return self.c_T
        if self._factors_T is None:
            self._factors_T = self.c_T * self._weights_T.to(self.c_T, non_blocking=True)
        return self._factors_T

    def only(self, kept: Sequence[int]) -> "Look":
        """The same look as if no other tasks had been active. It shares `kept`; what it combines, this one combines."""
        return Fewer(self, kept)

    def _gramian(self, i: int | None, j: int | None, at: At) -> Tensor:
        if self._alone is not None:
            return self._alone
        if (at, i, j) not in self._gramians:
            whole = self._jacobians[at]
            if len(whole) == 1 and (i, j) != (None, None):
                return self._gramian(None, None, at)
            if at == "shared" and self._alone_combined is not None and (i, j) == (None, None):
                self._gramians[at, i, j] = self._of_seen(self._alone_combined[0])
                return self._gramians[at, i, j]
            first, second = (sum(whole[1:], whole[0]) if k is None else whole[k] for k in (i, j))
            gramian_TT = gramian_of(first, second)
            self._gramians[at, i, j] = self._add[at](gramian_TT) if at in self._add else gramian_TT
        return self._gramians[at, i, j]

    def _of_seen(self, unseen: int) -> Tensor:
        """The whole batch's Gramian, told by the independent batches but one: each task's gradient over its share."""
        seen = [k for k in range(len(self._jacobians["shared"])) if k != unseen]
        total_TT = torch.zeros(len(self.tasks), len(self.tasks), dtype=torch.float64)
        for i in seen:
            total_TT += self._gramian(i, i, "shared")
            for j in seen[: seen.index(i)]:
                cross_TT = self._gramian(j, i, "shared")
                total_TT += cross_TT + cross_TT.T
        share_T = self._shares()[seen].sum(0)
        over_T = torch.where(share_T > 0, 1 / share_T, 0.0)
        return torch.outer(over_T, over_T).mul_(total_TT)

    def _shares(self) -> Tensor:
        """What each independent batch has of each task's count, on the host. Shapes: (K, T) float64"""
        assert self._shares_KT is not None
        self._shares_KT = self._shares_KT.cpu().double()
        return self._shares_KT

    def _combined(self, scaled_T: Tensor) -> Tensor:
        if self._combine is not None:
            return self._combine(scaled_T)
        jacobians = self._jacobians["shared"]
        total_P = scaled_T.to(jacobians[0]) @ jacobians[0]
        for jacobian_TP in jacobians[1:]:
            total_P = total_P + scaled_T.to(jacobian_TP) @ jacobian_TP
        return total_P

    def _scale(self, i: int | None, scaled: bool) -> Tensor:
        c_T = self._host() if scaled else torch.ones(len(self.tasks), dtype=torch.float64)
        if i is None or self._shares_KT is None:
            return c_T
        share_T = self._shares()[i]
        return torch.where(share_T > 0, c_T / share_T, 0.0)

    def _host(self) -> Tensor:
        """The coefficients on the host. Shapes: (T,) float64"""
        if self.known_T is None:
            self.known_T = self.c_T.cpu().double()
        return self.known_T


class Fewer(Look):
    """A look at some of another's tasks."""

    def __init__(self, whole: Look, kept: Sequence[int]) -> None:
        index = torch.tensor(kept, dtype=torch.int64)
        place = index.to(whole.losses_T.device, non_blocking=True)
        tasks = tuple(whole.tasks[t] for t in kept)
        super().__init__(tasks, whole.losses_T[place], whole.counts_T[place], whole.seed, whole.step)
        self.c_T = whole.c_T[place] if whole.known_T is None else whole.known_T[index].to(whole.c_T.dtype)
        self.columns = whole.columns
        self.heldout = whole.heldout
        self.kept = whole.kept
        self.at = whole.at
        self.eps = whole.eps
        self._whole = whole
        self._index = index

    def gramian(self, i: int | None = None, j: int | None = None, at: At | None = None, scaled: bool = True) -> Tensor:
        """Those tasks' rows and columns."""
        return self._whole.gramian(i, j, at, scaled)[self._index][:, self._index]

    def block(self, start: int, stop: int) -> Tensor:
        """Those tasks' rows and columns."""
        return self._whole.block(start, stop)[self._index][:, self._index]

    def row(self, t: int, i: int | None = None) -> Tensor:
        """The row of one of those tasks."""
        return self._whole.row(int(self._index[t]), i)

    def combine(self, weights_T: Tensor, i: int | None = None) -> Tensor:
        """With weight 0 for the others."""
        self.weigh(weights_T)
        every_T = torch.zeros(len(self._whole.tasks), dtype=torch.float64)
        return self._whole.combine(every_T.index_copy(0, self._index, self.weights_T), i)

    def total(self) -> Tensor:
        """With weight 0 for the others."""
        return self.combine(torch.ones(len(self.tasks), dtype=torch.float64))


def constant(value: float, like_T: Tensor) -> Tensor:
    """A tensor of that number, the same one each time, as each step wants it: not to be written to. Shapes: (T,)"""
    return _constant(value, len(like_T), like_T.dtype, like_T.device)


@lru_cache(maxsize=64)
def _constant(value: float, count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(mode=False):  # else those that come later could not differentiate with it
        return torch.full((count,), value, dtype=dtype, device=device)


def _eps(numbers: Tensor) -> float:
    """That of float64, or of float32, in which all else is multiplied."""
    return torch.finfo(torch.float64 if numbers.dtype == torch.float64 else torch.float32).eps
