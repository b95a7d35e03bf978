"""Task relationships, learned as a covariance of the tasks' weights."""

import torch
from torch import Tensor, nn

from mtl_cli.options import ConfigError
from mtl_cli.regularizers.base import Held, Parameters, Regularizer, Relations
from mtl_cli.regularizers.options import Mtrl


class MtrlRegularizer(Regularizer):
    """weight / 2 * tr(W Omega^-1 W^T); Omega = (W^T W)^(1/2) / tr((W^T W)^(1/2)), renewed every n steps.

    W (P, T): a column for each task, its weights in the layers that all tasks have in one shape: the hidden layers of
    heads, or networks of their own. Omega (T, T) starts as I / T and is mixed with a little of it, so that it has an
    inverse. In a step without some tasks Omega is its block of the others, their covariance under the same prior.

    Raises: ConfigError: there is no such layer.
    Note:   heads' last layers are left out: what their outputs mean differs. The paper renews Omega where W has been
            optimised; here W moves on between two renewals. Its first penalty is regularizer=[l2].
    Source: Zhang, Yeung, A convex formulation for learning task relationships in multi-task learning, UAI 2010,
            equations 4, 5 and 9.
    """

    option: Mtrl
    omega: Tensor

    def begin(self, held: Held) -> None:
        """Finds the layers. Raises: ConfigError: tasks have none of one shape before their heads' last."""
        self._tasks = tuple(held.own)
        self._columns = _columns(held)
        if not self._columns:
            raise ConfigError(
                "regularizer=[mtrl] needs a layer that every task has in one shape before its head's last, and there "
                "is none: set tasks.NAME.head=mlp for every task, or take sharing=independent or soft"
            )
        count = len(self._tasks)
        self.register_buffer("omega", torch.eye(count, dtype=torch.float64) / count)

    def penalty(self, held: Held) -> Tensor:
        """The penalty on the active tasks' weights."""
        rows = [self._tasks.index(task) for task in held.own]
        inverse_TT = torch.linalg.inv(self._safe()[rows][:, rows])
        weights_PT = torch.stack([_flat(self._columns[task]) for task in held.own], dim=1)
        gramian_TT = weights_PT.T @ weights_PT
        penalty: Tensor = (gramian_TT * inverse_TT.to(gramian_TT)).sum()
        return 0.5 * self.option.weight * penalty

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Renews Omega after every `every` steps."""
        if (step + 1) % self.option.every:
            return
        weights_PT = torch.stack([_flat(its).double() for its in self._columns.values()], dim=1)
        squares_T, vectors_TT = torch.linalg.eigh(weights_PT.T @ weights_PT)
        root_TT = (vectors_TT * squares_T.clamp_min(0).sqrt()) @ vectors_TT.T
        trace = root_TT.trace()
        if bool(trace > 0):
            self.omega.copy_(root_TT / trace)

    def relations(self) -> Relations:
        """Omega as correlations."""
        omega_TT = self._safe()
        scale_T = omega_TT.diagonal().rsqrt()
        return Relations(self._tasks, omega_TT * scale_T[:, None] * scale_T)

    def _safe(self) -> Tensor:
        """Omega with a share of I / T in it. Shapes: (T, T)"""
        count, ridge = len(self._tasks), self.option.ridge
        return (1 - ridge) * self.omega + ridge / count * torch.eye(count, dtype=self.omega.dtype)


def _columns(held: Held) -> dict[str, list[nn.Parameter]]:
    """By task, its weights in the layers that every task has in one shape, but for heads' last layers."""
    last = {name for its in held.own.values() for name in _last_of_heads(its)}
    names = {id(parameter): name for its in held.own.values() for name, parameter in its.items()}
    found: dict[str, list[nn.Parameter]] = {task: [] for task in held.own}
    for of_tasks in held.corresponding().values():
        shapes = {parameter.shape for parameter in of_tasks.values()}
        weights = all(parameter.dim() > 1 for parameter in of_tasks.values())
        inner = not any(names[id(parameter)] in last for parameter in of_tasks.values())
        if weights and inner and len(of_tasks) == len(held.own) and len(shapes) == 1:
            for task, parameter in of_tasks.items():
                found[task].append(parameter)
    return found if all(found.values()) else {}


def _last_of_heads(its: Parameters) -> list[str]:
    """The name of a head's last weight."""
    return [name for name, parameter in its.items() if name.startswith("heads.") and parameter.dim() > 1][-1:]


def _flat(parameters: list[nn.Parameter]) -> Tensor:
    return torch.cat([parameter.flatten() for parameter in parameters])
