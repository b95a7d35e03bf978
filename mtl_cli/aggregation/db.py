"""The gradient half of dual-balancing."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_cli.aggregation.base import Aggregation, RowMemory
from mtl_cli.aggregation.options import Db
from mtl_cli.contracts import Look, Needs
from mtl_cli.tasks.base import slot


class DualBalancing(Aggregation):
    """Smooths each task's gradient over steps, then scales all to the largest norm among them.

    m_t <- beta_k m_t + (1 - beta_k) c_t g_t, beta_k = beta / k^sigma, m_t = 0 at first
    d = max_u ||m_u|| sum_t m_t / ||m_t||

    Shapes: rows (T, P) -> (P,); state: a row (P,) and a count k of steps for each task
    Note:   k counts the steps in which the task was active; a task of norm zero adds nothing. DB-MTL takes it on
            the logarithms of the losses: the weighting that sums logs, with this.
    Source: Lin, Jiang, Ye, Zhang, Chen, Chen, Liu, Kwok, Dual-balancing for multi-task learning, arXiv 2308.12029,
            2023, algorithm 1.
    """

    needs = Needs(level="rows")

    def __init__(self, option: Db, tasks: Sequence[str]) -> None:
        super().__init__()
        self._beta = option.beta
        self._sigma = option.sigma
        self.memory = RowMemory()
        for task in tasks:
            self.register_buffer(f"steps_{slot(task)}", torch.zeros((), dtype=torch.int64))

    def direction(self, look: Look) -> Tensor:
        """The sum of the smoothed gradients at one norm."""
        total_P = torch.zeros_like(look.row(0))
        largest = total_P.new_zeros(())
        for t in range(len(look.tasks)):
            smooth_P = self._smooth(look, t)
            norm = smooth_P.norm()
            largest = torch.maximum(largest, norm)
            total_P.add_(torch.where(norm > 0, smooth_P / norm, 0.0))
        return largest * total_P

    def after_step(self, look: Look) -> None:
        """Keeps the smoothed gradients and counts the step."""
        for t, task in enumerate(look.tasks):
            self.memory.put(task, self._smooth(look, t), look.columns)
            self.get_buffer(f"steps_{slot(task)}").add_(1)

    def _smooth(self, look: Look, t: int) -> Tensor:
        task = look.tasks[t]
        k = int(self.get_buffer(f"steps_{slot(task)}")) + 1
        beta = self._beta / k**self._sigma
        past_P = self.memory.get(task)
        new_P: Tensor = (1 - beta) * look.row(t)
        return new_P if past_P is None else new_P + beta * past_P
