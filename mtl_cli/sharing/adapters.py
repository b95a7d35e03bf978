"""One backbone, with small layers of each task's own between its stages."""

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from mtl_cli.backbones.base import BackboneFactory, Features, StageSpec
from mtl_cli.contracts import slot
from mtl_cli.sharing.base import needs_stages
from mtl_cli.sharing.lending import TrunkATask, chosen, run
from mtl_cli.sharing.options import Adapters


class Adapter(nn.Module):
    """x + U relu(D x) at every place, U zero at the start. Shapes: (B, C, H, W), (B, L, D) or (B, D) -> the same"""

    def __init__(self, stage: StageSpec, width: int) -> None:
        super().__init__()
        if stage.kind == "map":
            self.down: nn.Module = nn.Conv2d(stage.channels, width, 1)
            self.up: nn.Conv2d | nn.Linear = nn.Conv2d(width, stage.channels, 1)
        else:
            self.down = nn.Linear(stage.channels, width)
            self.up = nn.Linear(width, stage.channels)
        nn.init.zeros_(self.up.weight)
        assert self.up.bias is not None
        nn.init.zeros_(self.up.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Adds what the bottleneck makes of them."""
        adapted: Tensor = features + self.up(functional.relu(self.down(features)))
        return adapted


class AdaptersSharing(TrunkATask):
    """A backbone that runs once a task, with a residual bottleneck of the task's own after each stage.

        x_s <- x_s + U_ts relu(D_ts x_s) after stage s,  U_ts zero at the start

    Shapes: inputs (B, ...) -> Features of (B, ...)
    Raises: ConfigError: the backbone is one opaque stage, or lacks one that is named.
    Note:   batch norm keeps running statistics for each task. With `backbone.freeze` only adapters learn in the frozen
            stages. Both papers put adapters inside of blocks; here they stand after whole stages.
    Source: Houlsby, Giurgiu, Jastrzebski et al., Parameter-efficient transfer learning for NLP, ICML 2019, section 2.1.
            On maps: Rebuffi, Bilen, Vedaldi, Learning multiple visual domains with residual adapters, NeurIPS 2017,
            section 3.
    """

    def __init__(self, option: Adapters, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        needs_stages(factory.spec, "sharing=adapters adapts stages")
        super().__init__(factory, tasks)
        stages = chosen(option.at, factory.spec)
        self.adapters = nn.ModuleDict(
            {slot(task): nn.ModuleDict({s.name: Adapter(s, option.width) for s in stages}) for task in tasks}
        )

    def passed(self, inputs: Tensor, key: str) -> Features:
        """One pass, with the task's adapters after its stages."""
        adapters = cast(nn.ModuleDict, self.adapters[key])

        def adapted(name: str, features: Tensor) -> Tensor:
            return adapters[name](features) if name in adapters else features

        return run(self.backbone, self.running(key), inputs, adapted)
