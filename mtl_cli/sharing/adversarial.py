"""A shared backbone that must not tell the tasks apart, beside one of each task's own."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_cli.backbones.base import BackboneFactory, Features, Spec
from mtl_cli.contracts import slot
from mtl_cli.sharing.base import Sharing, last_parameters
from mtl_cli.sharing.options import Adversarial


class Reversed(torch.autograd.Function):
    """What is given, with its gradient turned round."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:  # noqa: ARG004  # torch's signature
        """As it is."""
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004  # torch's signature
        """Turned round."""
        return -gradients[0]


class AdversarialSharing(Sharing):
    """Shared-private: heads read a shared network's features beside those of their task's own.

        f_t(x) = [s(x), p_t(x)]
        penalty = lambda CE(D(reversed(s(x))), t) + gamma mean_t |S_t^T P_t|_F^2

    s, p_t: networks that start equal. D: a linear guess of the task that a sample is of; it learns to tell tasks apart,
    and as the gradient is reversed behind it, s learns features that do not. S_t, P_t: the rows s(x), p_t(x) of task
    t's samples, each of length 1, over the square root of their count.

    Shapes: inputs (B, ...) -> Features of (B, ...), their vector (B, 2 width)
    Note:   each task needs a data set of its own, or there is nothing to guess. Over the rows of all active tasks the
            cross entropy is a mean. The paper's S and P are sums over samples of any length; here the penalty does not
            depend on the batch. Heads that read a stage read the task's own network.
    Source: Liu, Qiu, Huang, Adversarial multi-task learning for text classification, ACL 2017, equations 10 to 14.
    """

    data_set_a_task = True

    def __init__(self, option: Adversarial, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        super().__init__()
        self._option = option
        self._tasks = tuple(tasks)
        self._spec = factory.spec._replace(width=2 * factory.spec.width)
        self.shared = factory()
        self.private = nn.ModuleDict({slot(task): factory() for task in tasks})
        self.guess = nn.Linear(factory.spec.width, len(tasks)) if len(tasks) > 1 else None

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """One pass of the shared network, and one of the network of each of those tasks."""
        shared = self.shared(inputs).vector
        found: dict[str, Features] = {}
        for task in tasks:
            own = self.private[slot(task)](inputs)
            aux = {"shared": shared, "private": own.vector}
            found[task] = Features(torch.cat([shared, own.vector], dim=1), own.stages, None, aux)
        return found

    def spec(self, task: str) -> Spec:  # the same for every task
        """A task's own stages, and both vectors."""
        return self._spec

    def last_stage(self) -> list[nn.Parameter]:
        """The shared network's last stage with parameters that train."""
        return last_parameters(self.shared.stages) if len(self._tasks) > 1 else []

    def penalty(self, features: Mapping[str, Features], heads: Mapping[str, nn.Module]) -> Tensor | None:
        """How well the active tasks are told apart, reversed for the shared network; how far private repeats it."""
        terms: list[Tensor] = []
        if self._option.orthogonality > 0:
            apart = [overlap(found.aux["shared"], found.aux["private"]) for found in features.values()]
            terms.append(self._option.orthogonality * torch.stack(apart).mean())
        if self._option.strength > 0 and self.guess is not None:
            terms.append(self._option.strength * self._told_apart(self.guess, features))
        return torch.stack(terms).sum() if terms else None

    def _told_apart(self, guess: nn.Linear, features: Mapping[str, Features]) -> Tensor:
        """The cross entropy of the guess over all rows."""
        rows = [found.aux["shared"].to(guess.weight.dtype) for found in features.values()]
        tasks = [
            made.new_full((made.shape[0],), self._tasks.index(task), dtype=torch.long)
            for task, made in zip(features, rows, strict=True)
        ]
        return functional.cross_entropy(guess(Reversed.apply(torch.cat(rows))), torch.cat(tasks))


def overlap(shared: Tensor, private: Tensor) -> Tensor:
    """|S^T P|_F^2 / B^2 of rows of length 1. Shapes: (B, D), (B, D) -> ()"""
    full = torch.promote_types(shared.dtype, torch.float32)
    product = functional.normalize(shared.to(full), dim=1).T @ functional.normalize(private.to(full), dim=1)
    total: Tensor = product.square().sum() / shared.shape[0] ** 2
    return total
