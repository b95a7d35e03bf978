"""Whether all parts of a batch may go through one forward pass: where each gets what a pass of its own gives it."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mtl_cli.model import MultiTaskModel, Pass
from mtl_cli.training.layers import find

NEAR = 1e-4
"""How far outputs may be apart by rounding, relative to the largest."""
SEE_EACH_OTHER = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Together(NamedTuple):
    """alike: outputs are those of a pass a part. layered: and every shared parameter is that of a layer."""

    alike: bool
    layered: bool


APART = Together(alike=False, layered=False)


def tried(model: MultiTaskModel, examples: Mapping[str, Tensor], shared: frozenset[str]) -> Together:
    """Tries it on a few rows of each part, in training mode; moves running statistics and random numbers.

    A sample must not see another, nothing may be drawn, and all tasks must read the same features.

    Args:   shared: names of the shared parameters.
    """
    like = {(rows.shape[1:], rows.dtype, rows.device) for rows in examples.values()}
    if len(examples) < 2 or len(like) > 1 or model.statistics:
        return APART
    if any(isinstance(module, SEE_EACH_OTHER) and module.training for module in model.modules()):
        return APART
    tasks = {part: [task for task, its_part in model.part_of.items() if its_part == part] for part in examples}
    first, device = next(iter(examples)), next(iter(examples.values())).device
    before = _drawn(device)
    every = model.run(torch.cat(list(examples.values())), list(model.part_of), first)
    if len({id(found) for found in every.features.values()}) > 1 or not torch.equal(before, _drawn(device)):
        return APART
    together = model.run_together(list(examples.values()), [tasks[part] for part in examples], first)
    apart = [model.run(rows, tasks[part], part) for part, rows in examples.items()]
    if not all(_near(run, other) for run, other in zip(together, apart, strict=True)):
        return APART
    layers = find([output for run in together for output in run.outputs.values()], _of(model, shared))
    found = {name for layer in layers for name in (layer.weight, layer.bias)}
    return Together(alike=True, layered=shared <= found)


def _of(model: nn.Module, names: frozenset[str]) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if name in names}


def _near(first: Pass, second: Pass) -> bool:
    pairs = [(first.outputs[task], second.outputs[task]) for task in second.outputs]
    return all(bool((a - b).abs().max() <= NEAR * b.abs().max()) for a, b in pairs)


def _drawn(device: torch.device) -> Tensor:
    """Where the random numbers of that device stand."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
