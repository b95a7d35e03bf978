"""Whether all parts of a batch may go through one forward pass: where each gets what a pass of its own gives it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mtl_cli.model import MultiTaskModel, Pass
from mtl_cli.training.layers import find
from mtl_cli.training.part_rows import agree, near
from mtl_cli.training.spread import NORMS


class Together(NamedTuple):
    """alike: outputs are those of a pass a part. layered: and layers' inputs and output gradients tell every row."""

    alike: bool
    layered: bool


APART = Together(alike=False, layered=False)


def tried(model: MultiTaskModel, examples: Mapping[str, Tensor], shared: frozenset[str]) -> Together:
    """Tries it on a few rows of each part, in training mode; moves running statistics and random numbers.

    A sample must not see another, nothing may be drawn, and all tasks must read the same features.

    Args:
        examples: rows of the parts' shape and type; others are drawn for them, as equal rows would hide what they see.
        shared: names of the shared parameters.
    """
    like = {(rows.shape[1:], rows.dtype, rows.device) for rows in examples.values()}
    if len(examples) < 2 or len(like) > 1 or model.statistics:
        return APART
    if any(isinstance(module, NORMS) and module.training for module in model.modules()):
        return APART
    examples = {part: torch.rand_like(rows) for part, rows in examples.items()}  # below 1: a code of a table is 0 still
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
    return Together(alike=True, layered=_layered(model, together, [len(rows) for rows in examples.values()], shared))


def _layered(model: nn.Module, runs: Sequence[Pass], sizes: Sequence[int], shared: frozenset[str]) -> bool:
    """Whether all that is shared are layers' parameters, and the rows of the first part and of the others are theirs.

    A layer that sees its inputs position by position, or none of a sample's, gives other rows than a part's.
    """
    parameters = {name: parameter for name, parameter in model.named_parameters() if name in shared}
    layers = find([output for run in runs for output in run.outputs.values()], parameters)
    found = {name for layer in layers for name in (layer.weight, layer.bias)}
    if not shared <= found:
        return False
    return agree(layers, [_loss(runs[:1]), _loss(runs[1:])], [sizes[0], sum(sizes[1:])], parameters)


def _loss(runs: Sequence[Pass]) -> Tensor:
    """Some loss of all their tasks: each number that they put out, times one that is drawn."""
    outputs = [output for run in runs for output in run.outputs.values()]
    return torch.stack([(output * torch.rand_like(output)).sum() for output in outputs]).sum()


def _near(first: Pass, second: Pass) -> bool:
    pairs = [(first.outputs[task], second.outputs[task]) for task in second.outputs]
    return all(near(output, other) for output, other in pairs)


def _drawn(device: torch.device) -> Tensor:
    """Where the random numbers of that device stand."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
