"""A tree of stages that is learned."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mtl_cli.backbones.base import Backbone, BackboneFactory, Features, Spec
from mtl_cli.contracts import Group, slot
from mtl_cli.draws import generator
from mtl_cli.sharing.base import Sharing, needs_stages
from mtl_cli.sharing.found_tree import FoundTree, Paths, along, in_words
from mtl_cli.sharing.options import Ltb


class LtbSharing(Sharing):
    """Nodes at every stage; each draws its parent in the stage before, and each task its node in the last.

        training:    x_j^s = s_j(sum_i d_ji x_i^(s-1)),  d_j = softmax((l_j + g) / tau),  g Gumbel noise
        evaluation:  d_j one at the largest l_j: each task has one path, and all paths are a tree

    x_j^s: the output of node j at stage s, all nodes of a stage equal at the start. l: learned, zero at the start; in
    the warm-up they stay. tau falls from `temperature` to `last_temperature`, by one factor in every step after it.

    Shapes: inputs (B, ...) -> Features of (B, ...)
    Raises: ConfigError: the backbone is one opaque stage.
    Note:   one draw a step, whatever its micro-batches and parts. A stage of a task is the mixture that leads to it. A
            node has a neck of its own, so tasks mix vectors. The paper trains the tree that was found anew: `learned`
            says it in the words of sharing=tree.
    Source: Guo, Lee, Ulbricht, Learning to branch for multi-task learning, ICML 2020, sections 3.1 to 3.3, equations 4
            to 6.
    """

    def __init__(self, option: Ltb, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        super().__init__()
        needs_stages(factory.spec, "sharing=ltb branches at stages")
        nodes = option.nodes or len(tasks)
        self._spec = factory.spec
        self._stages = [stage.name for stage in factory.spec.stages]
        self._tasks = tuple(tasks)
        self._option = option
        self.networks = nn.ModuleList(factory() for _ in range(nodes))
        drawn = nodes > 1
        self.parents = nn.ParameterDict({name: torch.zeros(nodes, nodes) for name in self._stages[1:] if drawn})
        self.leaves = nn.ParameterDict({slot(task): torch.zeros(nodes) for task in tasks if drawn})
        self.register_buffer("temperature", torch.tensor(option.temperature), persistent=False)
        self.register_buffer("learns", torch.tensor(1.0), persistent=False)
        rows = nodes * (len(self._stages) - 1) + len(tasks)
        self.register_buffer("noise", torch.zeros(rows, nodes), persistent=False)
        self._seed = int(torch.randint(2**31, ()))

    def before_step(self, step: int, steps: int) -> None:
        """The temperature and the draws of this step, and whether branching learns yet."""
        option, warm = self._option, round(self._option.warmup * steps)
        passed = max(0, step - warm) / max(1, steps - warm)
        self.get_buffer("temperature").fill_(
            option.temperature * (option.last_temperature / option.temperature) ** passed
        )
        self.get_buffer("learns").fill_(float(step >= warm))
        noise = self.get_buffer("noise")
        exponential = torch.empty(noise.shape, dtype=torch.float64).exponential_(
            generator=generator(self._seed, "branching", step)
        )
        noise.copy_(-exponential.log())

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """All nodes with drawn mixtures in training; in evaluation the paths of those tasks."""
        if not self.training or len(self.networks) == 1:
            return along(self.networks, self.paths(), inputs, tasks)
        networks = cast(Sequence[Backbone], self.networks)
        outputs = [network.stages[self._stages[0]](inputs) for network in networks]
        levels, draws = [torch.stack(outputs)], []
        *parents, leaves = self.get_buffer("noise").split(
            [len(networks)] * (len(self._stages) - 1) + [len(self._tasks)]
        )
        for name, noise in zip(self._stages[1:], parents, strict=True):
            draws.append(self._drawn(self.parents[name], noise))
            given = torch.tensordot(draws[-1].to(levels[-1].dtype), levels[-1], dims=1)
            levels.append(torch.stack([n.stages[name](x) for n, x in zip(networks, given.unbind(), strict=True)]))
        vectors = torch.stack([n.neck(x) for n, x in zip(networks, levels[-1].unbind(), strict=True)])
        drawn = {t: self._drawn(self.leaves[slot(t)], leaves[i]) for i, t in enumerate(self._tasks) if t in tasks}
        return {task: self._mixed(drawn[task], vectors, levels, draws) for task in tasks}

    def spec(self, task: str) -> Spec:  # the same for every task
        """The backbone's own."""
        return self._spec

    def last_stage(self) -> list[nn.Parameter]:
        """The nodes of the last stage; in training all tasks mix them."""
        last = [cast(Backbone, network).stages[self._stages[-1]] for network in self.networks]
        return [p for stage in last for p in stage.parameters()]

    def groups(self) -> list[Group]:
        """The logits, with their own learning rate and no decay."""
        logits = [*self.parents.values(), *self.leaves.values()]
        return [Group(logits, self._option.lr_factor, decay=False)] if logits else []

    def paths(self) -> Paths:
        """Each task's node at every stage, where every node has its likeliest parent."""
        parents = {name: logits.argmax(1).tolist() for name, logits in self.parents.items()}
        found: Paths = {}
        for task in self._tasks:
            path = [int(self.leaves[slot(task)].argmax()) if self.leaves else 0]
            for name in reversed(self._stages[1:]):
                path.insert(0, parents[name][path[0]] if parents else 0)
            found[task] = tuple(path)
        return found

    def ready(self, tasks: Sequence[str]) -> Sharing:
        """The tree that was found."""
        return FoundTree(self.networks, self.paths(), self._spec)

    def decides(self) -> dict[str, Tensor]:
        """The logits."""
        return {name: p for name, p in self.named_parameters() if name.startswith(("parents.", "leaves."))}

    def learned(self) -> list[str]:
        """The tree that was found, and the words that train it anew."""
        return in_words(self._stages, self.paths())

    def _drawn(self, logits: Tensor, noise: Tensor) -> Tensor:
        """A relaxed draw over the last dimension; in the warm-up the logits stay as they are."""
        held = logits.detach() + self.get_buffer("learns") * (logits - logits.detach())
        return ((held + noise) / self.get_buffer("temperature")).softmax(-1)

    def _mixed(self, leaf: Tensor, vectors: Tensor, levels: list[Tensor], draws: list[Tensor]) -> Features:
        """What a task gets by its draw of a leaf, and at each stage by the draws that lead to it."""
        stages: dict[str, Tensor] = {}
        reach = leaf.to(vectors.dtype)
        vector = torch.tensordot(reach, vectors, dims=1)
        for i in range(len(levels) - 1, -1, -1):
            stages[self._stages[i]] = torch.tensordot(reach.to(levels[i].dtype), levels[i], dims=1)
            if i > 0:
                reach = reach @ draws[i - 1].to(reach.dtype)
        return Features(vector, {name: stages[name] for name in self._stages}, None, {})
