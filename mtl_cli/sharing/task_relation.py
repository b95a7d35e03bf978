"""One backbone, and outputs that learn from one another."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_cli.backbones.base import BackboneFactory, Features, Spec
from mtl_cli.contracts import slot
from mtl_cli.sharing.base import Sharing, last_parameters
from mtl_cli.sharing.options import TaskRelation


class TaskRelationSharing(Sharing):
    """Hard sharing, and a small network over all tasks' outputs that corrects each: it learns how tasks relate.

        y'_t = y_t + R_t([y_1, ..., y_T]),  R_t(y) = V_t relu(U y + u) + v_t

    y_t: what head t puts out (logits, or a value in units of its deviation). U, u: of all tasks. V_t, v_t: of task t,
    zero at the start, where this is hard sharing.

    Shapes: inputs (B, ...) -> Features of (B, ...); outputs {task: (B, width)}
    Note:   every head runs, also for one task, so that heads are shared parameters and the trunk is none. A task has
            losses on its corrected output alone.
    """

    def __init__(self, option: TaskRelation, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        super().__init__()
        self.backbone = factory()
        self.relation = nn.Linear(sum(tasks.values()), option.hidden)
        self.corrections = nn.ModuleDict({slot(task): _zero(option.hidden, width) for task, width in tasks.items()})

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """One pass, given to each task."""
        return dict.fromkeys(tasks, self.backbone(inputs)._replace(trunk=None))

    def outputs(self, features: Mapping[str, Features], heads: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """All heads on the features that they share; each asked task's output, corrected by all."""
        shared = next(iter(features.values()))
        plain = {task: head(shared) for task, head in heads.items()}
        hidden = functional.relu(self.relation(torch.cat(list(plain.values()), dim=1)))
        return {task: plain[task] + self.corrections[slot(task)](hidden) for task in features}

    def spec(self, task: str) -> Spec:  # the same for every task
        """The backbone's own."""
        return self.backbone.spec

    def last_stage(self) -> list[nn.Parameter]:
        """The backbone's last stage that has parameters."""
        return last_parameters(self.backbone.stages)


def _zero(wide_in: int, wide_out: int) -> nn.Linear:
    """A layer that gives zeros until it has learned."""
    layer = nn.Linear(wide_in, wide_out)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
