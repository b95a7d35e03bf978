"""Experts of which each task selects k."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mtl_cli.backbones.base import BackboneFactory, Features, Spec
from mtl_cli.contracts import slot
from mtl_cli.options import ConfigError
from mtl_cli.sharing.base import Sharing
from mtl_cli.sharing.experts import GateReader, experts, mixed
from mtl_cli.sharing.options import DselectK
from mtl_cli.sharing.selection import Selection


class DselectKSharing(Sharing):
    """A backbone as the stem of all tasks, E experts on its vector, and for each task a sparse mixture of k of them.

        f_t(x) = sum_e q_te f_e(h(x)),  q_t as in `Selection`
        penalty = entropy times how undecided the active tasks' selectors are (`Selection.penalty`)

    h: the stem's vector. f_e: expert e. q_t: the same for every sample, or by what gates read of it.

    Shapes: inputs (B, ...) -> Features of (B, ...), their vector (B, hidden[-1])
    Raises: ConfigError: k is more than the experts, or gates read a stage that the backbone does not have.
    Note:   in the paper experts read the input; here a stem is before them, as in mmoe. What ships for some tasks has
            the experts that they select alone, where the selection is the same for every sample.
            In the authors' code the penalty on codes without an expert has weight 1, entropy is of the codes with one,
            both are sums over samples, what is read by sample has a bias, and a starts within 0.05 of zero; here
            `entropy` weighs both, which are means, entropy is of all codes, no bias, and a within gamma / 100.
    Source: Hazimeh, Zhao, Chowdhery, Sathiamoorthy, Chen, Mazumder, Hong, Chi, DSelect-k: differentiable selection in
            the mixture of experts with applications to multi-task learning, NeurIPS 2021, sections 3.1 to 3.3.
    """

    def __init__(self, option: DselectK, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        super().__init__()
        if option.k > option.experts:
            raise ConfigError(f"sharing.k={option.k} selects more than sharing.experts={option.experts}: take fewer")
        self._option = option
        self._spec = Spec(option.hidden[-1], factory.spec.stages, factory.spec.opaque)
        self.stem = factory()
        self.reader = GateReader(option.gate_at, factory.spec)
        self.experts = experts(option.experts, factory.spec.width, option.hidden)
        read = self.reader.width if option.by_sample else None
        self.selections = nn.ModuleDict(
            {slot(task): Selection(option.experts, option.k, option.gamma, read) for task in tasks}
        )

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """One pass through stem and experts, mixed for each task."""
        stem = self.stem(inputs)
        return selected(stem, self.reader(stem), self.experts, self.selections, tasks, range(len(self.experts)))

    def spec(self, task: str) -> Spec:  # the same for every task
        """The stem's stages, and the experts' width."""
        return self._spec

    def last_stage(self) -> list[nn.Parameter]:
        """The experts."""
        return list(self.experts.parameters())

    def penalty(self, features: Mapping[str, Features], heads: Mapping[str, nn.Module]) -> Tensor | None:
        """How undecided the active tasks' selectors are; none with a weight of zero."""
        if self._option.entropy == 0:
            return None
        terms = [
            cast(Selection, self.selections[slot(task)]).penalty(found.aux["selectors"])
            for task, found in features.items()
        ]
        return self._option.entropy * torch.stack(terms).sum()

    def ready(self, tasks: Sequence[str]) -> Sharing:
        """Itself, or with the experts alone that those tasks select for every sample."""
        if self._option.by_sample:
            return self
        with torch.no_grad():
            nothing = torch.empty(1, 0)
            weights = [self.selections[slot(task)](nothing)[0][0] for task in tasks]
        running = [e for e, used in enumerate(torch.stack(weights).ne(0).any(0).tolist()) if used]
        return Selected(self, running) if running else self  # none, where every selector is on a code of no expert

    def decides(self) -> dict[str, Tensor]:
        """The codes that are the same for every sample."""
        return {
            name: p for name, p in self.named_parameters() if name.startswith("selections.") and name.endswith(".z")
        }


class Selected(Sharing):
    """What ships of it: those experts alone. Shapes: inputs (B, ...) -> Features of (B, ...)"""

    def __init__(self, whole: DselectKSharing, running: Sequence[int]) -> None:
        super().__init__()
        self.stem, self.reader, self.experts, self.selections = (
            whole.stem,
            whole.reader,
            whole.experts,
            whole.selections,
        )
        self._spec = whole.spec(next(iter(whole.selections)))
        self._running = running

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """One pass through stem and those experts, mixed for each task."""
        stem = self.stem(inputs)
        return selected(stem, self.reader(stem), self.experts, self.selections, tasks, self._running)

    def spec(self, task: str) -> Spec:  # the same for every task
        """As it was trained."""
        return self._spec

    def last_stage(self) -> list[nn.Parameter]:
        """None: it is not trained."""
        return []


def selected(
    stem: Features,
    read: Tensor,
    every: nn.ModuleList,
    selections: nn.ModuleDict,
    tasks: Sequence[str],
    running: Sequence[int],
) -> dict[str, Features]:
    """Each task's mixture of the experts that run."""
    made = [every[e](stem.vector) for e in running]
    found: dict[str, Features] = {}
    for task in tasks:
        weights, selectors = selections[slot(task)](read)
        weights_BE = weights[:, list(running)].expand(stem.vector.shape[0], -1)
        found[task] = Features(
            mixed(made, weights_BE), stem.stages, None, {"selectors": selectors.expand(read.shape[0], -1, -1)}
        )
    return found
