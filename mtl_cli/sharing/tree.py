"""A backbone that branches where its configuration says."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from mtl_cli.backbones.base import BackboneFactory, Features, Spec
from mtl_cli.options import ConfigError, nearest
from mtl_cli.sharing.base import Sharing, needs_stages
from mtl_cli.sharing.branches import Branches, Groups, segments
from mtl_cli.sharing.options import Tree


class TreeSharing(Sharing):
    """All tasks begin with the same stages; at the named ones they part into groups, each with its own copy from there.

        f_t = s_K^(g_K(t)) o ... o s_1^(g_1(t)),  all copies of a stage equal at the start

    g_k(t): the group that task t is in at stage k; where two tasks have parted, they stay apart.

    Shapes: inputs (B, ...) -> Features of (B, ...)
    Raises: ConfigError: a stage or a task that there is not, a task left out or named twice, groups that join again.
    Note:   without branches it is hard sharing. `sharing=ltb` finds a tree, and says it in these words.
    """

    def __init__(self, option: Tree, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        super().__init__()
        needs_stages(factory.spec, "sharing=tree branches at stages")
        self._spec = factory.spec
        names = [stage.name for stage in factory.spec.stages]
        for stage in option.branches:
            if stage not in names:
                raise ConfigError(f"sharing.branches.{stage} is no stage of the backbone: {nearest(stage, names)}")
        ordered = {stage: option.branches[stage] for stage in names if stage in option.branches}
        self.tree = Branches(factory, segments(names, _checked(ordered, list(tasks)), list(tasks)))

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """The paths to those tasks."""
        found: dict[str, Features] = self.tree(inputs, tasks)
        return found

    def spec(self, task: str) -> Spec:  # the same for every task
        """The backbone's own."""
        return self._spec

    def last_stage(self) -> list[nn.Parameter]:
        """The last stage that tasks share, in each of its groups of two or more."""
        return self.tree.last_shared()


def _checked(branches: Mapping[str, Sequence[Sequence[str]]], tasks: Sequence[str]) -> dict[str, Groups]:
    """The groups at each named stage. Raises: ConfigError: they are no branching of the tasks."""
    found: dict[str, Groups] = {}
    before: Groups = (tuple(tasks),)
    for stage, given in branches.items():
        key = f"sharing.branches.{stage}"
        named = [task for group in given for task in group]
        for task in named:
            if task not in tasks:
                raise ConfigError(f"{key} names {task}, which is no task: {nearest(task, list(tasks))}")
        for task in tasks:
            if named.count(task) != 1:
                raise ConfigError(f"{key} should name each task once. Found {task} {named.count(task)} times")
        groups = tuple(tuple(group) for group in given if group)
        for group in groups:
            if not any(set(group) <= set(whole) for whole in before):
                raise ConfigError(f"{key} joins {', '.join(group)}, which parted at an earlier stage: keep them apart")
        found[stage] = before = groups
    return found
