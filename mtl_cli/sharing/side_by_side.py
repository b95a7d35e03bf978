"""Networks that run side by side, mixed after every stage."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from mtl_cli.backbones.base import Backbone, Features
from mtl_cli.contracts import slot


def run(networks: nn.ModuleDict, mixers: nn.ModuleDict, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
    """Each task's features of its own network: all run, as each is mixed from all; after the last stage only theirs.

    Args:
        networks: of one shape, by the tasks' slots.
        mixers: one for each stage, in order; given all networks' features and the numbers of those to make.
        inputs: (B, ...).
        tasks: whose features are asked for.
    """
    ordered = cast(list[Backbone], list(networks.values()))
    wanted = [list(networks).index(slot(task)) for task in tasks]
    outputs: list[dict[str, Tensor]] = [{} for _ in ordered]
    tensors = [inputs] * len(ordered)
    *_, last = mixers
    for name, mixer in mixers.items():
        tensors = [network.stages[name](x) for network, x in zip(ordered, tensors, strict=True)]
        going_on = wanted if name == last else range(len(ordered))
        tensors = mixer(tensors, going_on)
        for i, tensor in zip(going_on, tensors, strict=True):
            outputs[i][name] = tensor
    return {
        task: Features(ordered[i].neck(tensor), outputs[i], None, {})
        for task, i, tensor in zip(tasks, wanted, tensors, strict=True)
    }
