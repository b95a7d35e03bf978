"""What of a step is not finite, and whose."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mtl_cli.training.spans import within


class Faults(NamedTuple):
    """Tasks whose loss, or else whose gradient, is not finite; none, where it is the update as a whole."""

    losses: tuple[str, ...] = ()
    gradients: tuple[str, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.losses, *self.gradients)

    def __str__(self) -> str:
        said = [f"the loss of {task}" for task in self.losses] + [f"the gradient of {task}" for task in self.gradients]
        return f"{' and '.join(said) or 'the update'} {'are' if len(said) > 1 else 'is'} not finite"

    def beside(self, more: "Faults") -> "Faults":
        """These, and those that were found without their tasks."""
        return Faults((*self.losses, *more.losses), (*self.gradients, *more.gradients))


@within("checks")
def largest(tensors: Sequence[Tensor], like: Tensor) -> Tensor:
    """The largest absolute number in all of them; 0 without any. Shape: ()"""
    held = [tensor for tensor in tensors if tensor.numel()]
    if not held:
        return like.new_zeros(())
    if like.device.type == "cpu":  # on which torch's norm takes twelve times as long
        return torch.stack([end.to(like) for tensor in held for end in tensor.aminmax()]).abs().max()
    return nn.utils.get_total_norm(held, norm_type=torch.inf).to(like)


@within("checks")
def found(tasks: Sequence[str], losses_T: Tensor, sizes_T: Tensor) -> Faults | None:
    """Whose losses or sizes of gradients are not finite; asks the device once.

    Shapes: losses_T (T,), sizes_T (T,) the largest numbers of each task's gradients
    """
    fine = torch.stack([losses_T.isfinite(), sizes_T.isfinite()]).tolist()
    losses = tuple(task for task, good in zip(tasks, fine[0], strict=True) if not good)
    gradients = tuple(t for t, loss, good in zip(tasks, *fine, strict=True) if loss and not good)
    return Faults(losses, gradients) if losses or gradients else None


@within("checks")
def finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all numbers are; asks the device once.

    Their Euclidean norm tells, for which a device has one kernel; where the squares overflow, the largest number does.
    """
    held = [tensor for tensor in tensors if tensor.numel()]
    if not held:
        return True
    return bool(norm(held).isfinite()) or bool(largest(held, held[0].new_zeros(())).isfinite())


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all numbers; not finite where one is not, or its square overflows. Shape: ()"""
    return nn.utils.get_total_norm(tensors, foreach=True if tensors[0].device.type in ("cpu", "cuda") else None)
