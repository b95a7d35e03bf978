"""Networks that run side by side, mixed after every stage."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from mtl_cli.backbones.base import Backbone


def run(
    networks: nn.ModuleDict, mixers: nn.ModuleDict, inputs: Tensor, wanted: Sequence[int]
) -> dict[int, dict[str, Tensor]]:
    """Of each wanted network, what every stage gives after its mixture: all run, as each is mixed from all.

    After the last stage only the wanted ones go on.

    Args:
        networks: of one shape, in the order of the tasks.
        mixers: one for each stage, in order; given all networks' features and the numbers of those to make.
        inputs: (B, ...).
        wanted: numbers of networks.
    """
    ordered = cast(list[Backbone], list(networks.values()))
    outputs: dict[int, dict[str, Tensor]] = {i: {} for i in range(len(ordered))}
    tensors = [inputs] * len(ordered)
    *_, last = mixers
    for name, mixer in mixers.items():
        tensors = [network.stages[name](x) for network, x in zip(ordered, tensors, strict=True)]
        going_on = wanted if name == last else range(len(ordered))
        tensors = mixer(tensors, going_on)
        for i, tensor in zip(going_on, tensors, strict=True):
            outputs[i][name] = tensor
    return {i: outputs[i] for i in wanted}
