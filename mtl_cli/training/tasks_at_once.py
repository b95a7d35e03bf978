"""Gradients of all tasks of one pass: what they share is gone through once for all of them, each operation batched.

Two steps: from each loss to where the batched pass begins, `Begun`, with own parameters' gradients on the way; and on.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mtl_cli.look import constant
from mtl_cli.training.passes import Forward


class Begun(NamedTuple):
    """Where a batched pass begins, and with which gradients, (T, tensor's) each.

    own: the gradients of tasks' own parameters, one task's after another's.
    """

    at: list[Tensor]
    given: list[Tensor]
    own: list[Tensor | None]


def trunk_of(forward: Forward, tasks: Sequence[str]) -> Tensor | None:
    """The trunk's tensor, if those tasks have one."""
    (features,) = forward.features
    first, *others = (features[task].trunk for task in tasks)
    return first if all(trunk is first for trunk in others) else None


def from_views(root_T: Tensor, trunk: Tensor, views: Sequence[Tensor], own: Sequence[nn.Parameter]) -> Begun:
    """Where each task reads a view of the trunk's tensor: one backward pass of all tells every gradient there.

    views: one a task, or all in one, (T, trunk's).
    """
    found = torch.autograd.grad(root_T, [*views, *own], constant(1.0, root_T), allow_unused=True)
    arrived, given = found[: len(views)], found[len(views) :]
    if views[0].dim() > trunk.dim() and arrived[0] is not None:
        return Begun([trunk], [arrived[0]], [*given])
    return _at_trunk(trunk, arrived, given)


def from_trunk(roots: Sequence[Tensor], trunk: Tensor, own: Sequence[Sequence[nn.Parameter]]) -> Begun:
    """Where they read the tensor itself: one backward pass a task, down to there. own: each task's."""
    arrived: list[Tensor | None] = []
    given: list[Tensor | None] = []
    for root, its in zip(roots, own, strict=True):
        keep = root is not roots[-1]  # tasks may share operations without parameters behind the trunk
        at, *more = torch.autograd.grad(root, [trunk, *its], allow_unused=True, retain_graph=keep)
        arrived.append(at)
        given += more
    return _at_trunk(trunk, arrived, given)


def from_losses(roots: Sequence[Tensor], own: Sequence[nn.Parameter]) -> Begun:
    """Where there is no trunk: own parameters' gradients are those of the sum, and all else is batched."""
    found = torch.autograd.grad(roots, own, allow_unused=True, retain_graph=True) if own else ()
    eye_TT = torch.eye(len(roots), dtype=roots[0].dtype, device=roots[0].device)
    return Begun([*roots], [*eye_TT.unbind(1)], [*found])


def over_shared(begun: Begun, sought: Sequence[Any]) -> list[Tensor | None]:
    """Each task's gradients at parameters and edges; None: no task reaches it. Shapes: -> (T, sought's) each

    By torch.vmap: what `is_grads_batched` takes goes through convolutions task by task.
    """
    found: list[Tensor | None] = [None for _ in sought]
    if not sought:
        return found
    reached: list[int] = []

    def of_one(*given: Tensor) -> tuple[Tensor, ...]:
        gradients = torch.autograd.grad(begun.at, sought, given, allow_unused=True)
        reached[:] = [k for k, gradient in enumerate(gradients) if gradient is not None]
        return tuple(gradients[k] for k in reached)

    batched = torch.vmap(of_one)(*begun.given)
    for k, gradients in zip(reached, batched, strict=True):
        found[k] = gradients
    return found


def _at_trunk(trunk: Tensor, arrived: Sequence[Tensor | None], own: Sequence[Tensor | None]) -> Begun:
    gradients = torch.stack([torch.zeros_like(trunk) if at is None else at for at in arrived])
    return Begun([trunk], [gradients], [*own])
