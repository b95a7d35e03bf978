"""One backbone, with small layers of each task's own between its stages."""

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from mtl_cli.backbones.base import BackboneFactory, Features, Spec, StageSpec
from mtl_cli.backbones.statistics import Statistics
from mtl_cli.contracts import slot
from mtl_cli.sharing.base import Sharing, needs_stages
from mtl_cli.sharing.hard import last_parameters
from mtl_cli.sharing.lending import chosen, run
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


class AdaptersSharing(Sharing):
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
        super().__init__()
        needs_stages(factory.spec, "sharing=adapters adapts stages")
        self.backbone = factory()
        self.statistics = nn.ModuleDict({slot(task): Statistics(self.backbone) for task in tasks})
        stages = chosen(option.at, factory.spec)
        self.adapters = nn.ModuleDict(
            {slot(task): nn.ModuleDict({s.name: Adapter(s, option.width) for s in stages}) for task in tasks}
        )

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """One pass for each of those tasks."""
        return {task: self._of(inputs, slot(task)) for task in tasks}

    def spec(self, task: str) -> Spec:  # the same for every task
        """The backbone's own."""
        return self.backbone.spec

    def last_stage(self) -> list[nn.Parameter]:
        """The backbone's last stage with parameters that train."""
        return last_parameters(self.backbone.stages)

    def _of(self, inputs: Tensor, key: str) -> Features:
        statistics, adapters = self.statistics[key], cast(nn.ModuleDict, self.adapters[key])
        assert isinstance(statistics, Statistics)

        def adapted(name: str, features: Tensor) -> Tensor:
            return adapters[name](features) if name in adapters else features

        return run(self.backbone, statistics.by_name(), inputs, adapted)
