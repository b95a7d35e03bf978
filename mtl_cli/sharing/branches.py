"""Copies of a backbone's stages, arranged as a tree: at each stage tasks are parted into groups."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from mtl_cli.backbones.base import BackboneFactory, Features
from mtl_cli.contracts import slot

Groups = tuple[tuple[str, ...], ...]


class Segment(NamedTuple):
    """Stages one after the other, at which tasks are parted in the same way."""

    stages: tuple[str, ...]
    groups: Groups


def segments(stages: Sequence[str], groups: Mapping[str, Groups], tasks: Sequence[str]) -> list[Segment]:
    """The tree of a grouping that begins with one group and changes at the named stages."""
    found: list[Segment] = []
    now: Groups = (tuple(tasks),)
    for stage in stages:
        changed = stage in groups and groups[stage] != now
        now = groups.get(stage, now)
        if found and not changed:
            found[-1] = Segment((*found[-1].stages, stage), now)
        else:
            found.append(Segment((stage,), now))
    return found


class Branches(nn.Module):
    """Runs, of a tree of stages, what leads to the asked tasks.

    Shapes: inputs (B, ...) -> {task: Features of (B, ...)}
    """

    def __init__(self, factory: BackboneFactory, tree: Sequence[Segment]) -> None:
        super().__init__()
        self._groups = [segment.groups for segment in tree]
        self.segments = nn.ModuleList(
            nn.ModuleDict({slot(group[0]): factory.piece(segment.stages) for group in segment.groups})
            for segment in tree
        )

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """The features of those tasks."""
        none = Features(inputs, {}, None, {})
        found = dict.fromkeys(tasks, none)
        for groups, pieces in zip(self._groups, self.segments, strict=True):
            for group in groups:
                asked = [task for task in tasks if task in group]
                if asked:
                    before = found[asked[0]]
                    made: Features = pieces[slot(group[0])](before.vector)  # type: ignore[index]  # a ModuleDict
                    found |= dict.fromkeys(asked, made._replace(stages={**before.stages, **made.stages}, trunk=None))
        return found

    def last_shared(self) -> list[nn.Parameter]:
        """The parameters of the last stage with some that a group of two or more tasks passes."""
        for groups, pieces in reversed(list(zip(self._groups, self.segments, strict=True))):
            found: dict[str, list[nn.Parameter]] = {}
            for group in groups:
                if len(group) > 1:
                    for name, stage in pieces[slot(group[0])].stages.items():  # type: ignore[index]  # a ModuleDict
                        found.setdefault(name, []).extend(stage.parameters())
            for parameters in reversed(found.values()):
                if parameters:
                    return parameters
        return []
