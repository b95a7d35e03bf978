"""Layers that see a whole batch where several processes have its rows: dropout and batch norm."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import batch_norm, pad

from mtl_cli.options import ConfigError
from mtl_cli.processes import Portion, Processes

Drawn = Literal["places", "channels", "samples"]
DROPPED: dict[type[nn.Module], Drawn] = {
    nn.Dropout: "places",
    nn.Dropout1d: "channels",
    nn.Dropout2d: "channels",
    nn.Dropout3d: "channels",
}
"""Layers that multiply by a draw, and what of a map they draw for."""
REFUSED = (nn.AlphaDropout, nn.FeatureAlphaDropout)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Pass:
    """Which rows of its batch the forward pass under way has."""

    def __init__(self) -> None:
        self.portion = Portion(0, 0, 0)


def spread(model: nn.Module, processes: Processes, synchronised: bool) -> Pass:
    """Replaces a model's layers by such as do what one process does with the whole batch; alone, changes nothing.

    Names of parameters and buffers stay. What is given back is to be told each pass's rows.

    Args:   synchronised: whether batch norm is over all processes' rows, or over each one's own.
    Raises: ConfigError: a layer draws in a way that cannot be shared out.
    """
    told = Pass()
    if not processes.grouped:
        return told
    from torchvision.ops import StochasticDepth  # not at the top: a second, which one process alone need not wait for

    dropped = {**DROPPED, StochasticDepth: "samples"}
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if isinstance(module, REFUSED):
            raise ConfigError(f"{name} ({type(module).__name__}) cannot be shared out: train in one process")
        if type(module) in dropped:
            model.set_submodule(name, SpreadDropout(module, told, dropped[type(module)]))
        if isinstance(module, NORMS):
            model.set_submodule(name, SpreadBatchNorm(module, processes if synchronised else None))
    return told


class SpreadDropout(nn.Module):
    """Draws for the whole batch, which all processes do alike, and takes the draws of its own rows.

    Args:
        inner: what multiplies by a draw.
        told: which rows these are.
        drawn: what of a map it draws for.
    Shapes: (rows, ...) -> the same
    Raises: ValueError: the input is not of those rows.
    """

    def __init__(self, inner: nn.Module, told: Pass, drawn: Drawn) -> None:
        super().__init__()
        self._told = told
        self._drawn = drawn
        self.inner = inner

    def forward(self, inputs: Tensor) -> Tensor:
        """Its own rows, some of it dropped."""
        if not self.training:
            return inputs
        start, rows, total = self._told.portion
        if inputs.shape[0] != rows:
            raise ValueError(f"dropout should see the {rows} rows of the pass first. Found {tuple(inputs.shape)}")
        rest = inputs.shape[1:] if self._drawn == "places" or inputs.dim() < 3 else self._apart(inputs)
        ones = inputs.new_ones(total, *rest)
        if ones.dim() == 4 and inputs.is_contiguous(memory_format=torch.channels_last):
            ones = ones.contiguous(memory_format=torch.channels_last)
        drawn: Tensor = self.inner(ones)
        return inputs * drawn[start : start + rows]

    def _apart(self, inputs: Tensor) -> tuple[int, ...]:
        """A sample's shape for a draw: its channels', or, where whole samples are dropped, a one."""
        channels = 1 if self._drawn == "samples" else inputs.shape[1]
        return (channels, *[1] * (inputs.dim() - 2))


class SpreadBatchNorm(nn.BatchNorm2d):
    """Batch norm over the rows of all processes, or of this one alone, which may have none.

        m = sum x / n,  v = sum (x - m)^2 / n,  y = (x - m) / sqrt(v + eps) w + b,  sums over all rows and places

    torch.nn.SyncBatchNorm does this on GPUs only. Gradients go through both sums, so they are those of one process.

    Args:
        like: whose parameters and statistics it takes over.
        processes: whose sums are added up; None: nobody's.
    Shapes: (B, C, ...) of any number of dimensions -> the same
    """

    def __init__(self, like: nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d, processes: Processes | None) -> None:
        super().__init__(like.num_features, like.eps, like.momentum, like.affine, like.track_running_stats)
        self._processes = processes
        self.weight, self.bias = like.weight, like.bias
        self.running_mean, self.running_var = like.running_mean, like.running_var
        self.num_batches_tracked = like.num_batches_tracked
        self.train(like.training)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """The rows, normalised."""
        if not self.training:
            return super().forward(input)
        if self._processes is not None:
            return self._over_all(input, self._processes)
        if input.numel() > input.shape[1] or self.running_mean is None:
            return super().forward(input)
        weights = self.running_mean, self.running_var, self.weight, self.bias
        return batch_norm(input, *weights, eps=self.eps)  # one number a channel, or none, has no statistics of its own

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002  # torch's name
        """Any number of dimensions will do."""

    def _over_all(self, given: Tensor, processes: Processes) -> Tensor:
        x = given.to(torch.promote_types(given.dtype, torch.float32))
        over = [0, *range(2, x.dim())]
        shape = (1, -1, *[1] * (x.dim() - 2))
        count = x.new_tensor([x.numel() // x.shape[1]])
        sums = _Sum.apply(torch.cat([x.sum(over), count]), processes.add)
        n = sums[-1].detach()
        mean = sums[:-1] / n
        centred = x - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(over), processes.add) / n
        self._track(mean.detach(), variance.detach() * (n / (n - 1)))
        y = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        normalised: Tensor = y.to(given.dtype)
        return normalised

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        """Moves the running statistics."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.mul_(1 - share).add_(mean, alpha=share)
        self.running_var.mul_(1 - share).add_(variance, alpha=share)


class _Sum(Function):
    """The sum over all processes; so is its gradient, as each one's loss is a part of the whole."""

    @staticmethod
    def forward(ctx: object, tensor: Tensor, add: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.add = add  # type: ignore[attr-defined]  # torch's context takes any name
        return add(tensor.clone())

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        summed: Tensor = ctx.add(gradient.clone())  # type: ignore[attr-defined]  # torch's context takes any name
        return summed, None


class Gathered(Function):
    """The rows of all processes, in order; of a loss that each of them computes whole and counts as one part of many.

    So a row's gradient is the sum of all these parts', which are equal: `size` times this one's.
    """

    @staticmethod
    def forward(ctx: object, rows: Tensor, portion: Portion, processes: Processes) -> Tensor:
        ctx.told = portion, processes.size  # type: ignore[attr-defined]  # torch's context takes any name
        every = rows.new_zeros(portion.total, *rows.shape[1:])
        every[portion.start : portion.start + portion.rows] = rows
        return processes.add(every)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None, None]:
        portion, size = ctx.told  # type: ignore[attr-defined]  # torch's context takes any name
        own: Tensor = gradient[portion.start : portion.start + portion.rows]
        return own * size, None, None


class Gather:
    """Samples of several passes, a row each: of all processes from their own, and back.

    Args:   portions: which rows of all processes' each pass has.
    """

    def __init__(self, processes: Processes, portions: Sequence[Portion]) -> None:
        self._processes = processes
        self._portions = tuple(portions)

    def every(self, own: Tensor) -> Tensor:
        """All processes' rows, pass by pass. Shapes: (..., B, D) -> (..., all B, D)"""
        if not self._processes.grouped:
            return own
        pieces = own.split([portion.rows for portion in self._portions], dim=-2)
        padded = [
            pad(piece, (0, 0, start, total - start - rows))
            for piece, (start, rows, total) in zip(pieces, self._portions, strict=True)
        ]
        return self._processes.add(torch.cat(padded, dim=-2))

    def own(self, every: Tensor) -> Tensor:
        """This process's of them. Shapes: (all B, D) -> (B, D)"""
        pieces = every.split([portion.total for portion in self._portions])
        return torch.cat([p[q.start : q.start + q.rows] for p, q in zip(pieces, self._portions, strict=True)])
