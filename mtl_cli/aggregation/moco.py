"""Multi-objective gradient correction."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_cli.aggregation.base import Aggregation, RowMemory
from mtl_cli.aggregation.options import Moco as MocoOption
from mtl_cli.aggregation.solvers.simplex import Shares, project
from mtl_cli.contracts import Needs, slot
from mtl_cli.gramian import gramian_of
from mtl_cli.look import Look


class Moco(Aggregation):
    """Tracks each task's gradient over steps, and combines what it tracks by weights that go towards the smallest sum.

    y_t <- y_t + beta_k (c_t g_t - y_t), y_t = 0 at first
    lambda <- project(lambda - gamma_k (Y Y^T + rho I) lambda); d = Y^T lambda
    beta_k = beta / k^beta_decay, gamma_k = gamma / k^gamma_decay

    Shapes: rows (T, P) -> (P,); state: a row (P,), a share and a count k of steps for each task, and one of all steps
    Note:   in beta_k k counts the steps in which the task was active. The update takes the y and lambda of this step,
            as the authors' code does; algorithm 1 takes those of the step before, so that its first update is zero. The
            defaults are LibMTL's, which besides scales each gradient to the length of its loss and takes a softmax in
            place of the projection. A task whose tracked gradient is zero has no weight.
    Source: Fernando, Shen, Liu, Chaudhury, Murugesan, Chen, Mitigating gradient bias in multi-objective learning: a
            provably convergent approach, ICLR 2023, algorithm 1.
    """

    needs = Needs(level="rows")
    rows_kept = 1

    def __init__(self, option: MocoOption, tasks: Sequence[str]) -> None:
        super().__init__()
        self._option = option
        self.memory = RowMemory()
        self.shares = Shares(tasks)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        for task in tasks:
            self.register_buffer(f"steps_{slot(task)}", torch.zeros((), dtype=torch.int64))

    def direction(self, look: Look) -> Tensor:
        """The combination of what is tracked."""
        tracked_TP = torch.stack([self._track(look, t) for t in range(len(look.tasks))])
        gramian_TT = gramian_of(tracked_TP, tracked_TP)
        moving = torch.nonzero(gramian_TT.diagonal() > 0).flatten()
        look.kept["moco_rows"], look.kept["moco_moving"] = tracked_TP, moving
        look.kept["moco_shares"] = self._descend(
            gramian_TT[moving][:, moving], [look.tasks[t] for t in moving.tolist()]
        )
        weights_T = torch.zeros(len(look.tasks), dtype=torch.float64)
        return weights_T.index_copy(0, moving, look.kept["moco_shares"]).to(tracked_TP) @ tracked_TP

    def after_step(self, look: Look) -> None:
        """Keeps what is tracked and the weights, and counts the step."""
        moving = [look.tasks[t] for t in look.kept["moco_moving"].tolist()]
        self.shares.put(moving, look.kept["moco_shares"])
        for task, row_P in zip(look.tasks, look.kept["moco_rows"], strict=True):
            self.memory.put(task, row_P.clone(), look.columns)
            self.get_buffer(f"steps_{slot(task)}").add_(1)
        self.get_buffer("steps").add_(1)

    def _track(self, look: Look, t: int) -> Tensor:
        task = look.tasks[t]
        k = int(self.get_buffer(f"steps_{slot(task)}")) + 1
        beta = self._option.beta / k**self._option.beta_decay
        past_P = self.memory.get(task)
        new_P: Tensor = beta * look.row(t)
        return new_P if past_P is None else new_P + (1 - beta) * past_P

    def _descend(self, gramian_TT: Tensor, tasks: Sequence[str]) -> Tensor:
        """One step on the shares of the tasks whose tracked gradient is not zero. Shapes: (T, T) of those -> (T,)"""
        if not tasks:
            return torch.zeros(0, dtype=torch.float64)
        shares_T = self.shares.of(tasks)
        gamma = self._option.gamma / (int(self.get_buffer("steps")) + 1) ** self._option.gamma_decay
        return project(shares_T - gamma * (gramian_TT @ shares_T + self._option.rho * shares_T))
