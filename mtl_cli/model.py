"""The model: sharing and heads."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch._functorch import config as functorch_config
from torch.func import functional_call

from mtl_cli.backbones.base import Features
from mtl_cli.backbones.statistics import Statistics
from mtl_cli.contracts import slot
from mtl_cli.sharing.base import Sharing
from mtl_cli.tasks.base import Head
from mtl_cli.tasks.heads import MANY, batched, joined


class Pass(NamedTuple):
    """What one forward pass gives: each task's output (B, width), and the features that it was read from.

    views: of the trunk's tensor, one that each task alone reads, in the tasks' order, or all in one, (T, B, D).
        None: it was not asked for, or cannot be had.
    """

    outputs: dict[str, Tensor]
    features: dict[str, Features]
    views: list[Tensor] | None = None


class How(NamedTuple):
    """How a pass is made.

    at_once: many linear heads on one vector are one product, as one backward pass of all losses follows.
    viewed: each task reads a view of the vector, where that is the trunk's tensor.
    partial: the inputs are fewer than those of other passes: they would have a compiled pass compiled anew.
    """

    at_once: bool = False
    viewed: bool = False
    partial: bool = False


PLAINLY = How()
Run = Callable[[Tensor, Sequence[str], str], dict[str, Features]]


class MultiTaskModel(nn.Module):
    """Inputs of one part to an output for each of the named tasks.

    With several parts and `statistics="part"` each part has running statistics of its own: they take the place of
    the sharing's for the length of a call, so that no strategy or backbone knows of parts.

    Shapes: inputs (B, ...) -> {task: (B, width)}
    """

    def __init__(self, sharing: Sharing, heads: Mapping[str, Head], part_of: Mapping[str, str], per_part: bool) -> None:
        super().__init__()
        self.sharing = sharing
        self.heads = nn.ModuleDict({slot(task): head for task, head in heads.items()})
        self._headed = tuple(heads)
        self.part_of = dict(part_of)
        parts = list(dict.fromkeys(part_of.values()))
        own = parts if per_part and len(parts) > 1 else []
        statistics = {slot(part): Statistics(sharing) for part in own}
        self.statistics = nn.ModuleDict({part: found for part, found in statistics.items() if found.by_name()})
        self._in_training: Run = self._features
        self._compiled: Run | None = None

    def forward(self, inputs: Tensor, tasks: Sequence[str], part: str) -> dict[str, Tensor]:
        """The outputs of those tasks, computing only what they need."""
        return self.run(inputs, tasks, part).outputs

    def run(self, inputs: Tensor, tasks: Sequence[str], part: str, how: How = PLAINLY) -> Pass:
        """The outputs and the features."""
        features = self._pass(how)(inputs, tasks, part)
        if how.viewed and self._reads_trunk(features):
            return self._viewed(features)
        outputs = self._at_once(features) if how.at_once and len(features) >= MANY else None
        return Pass(outputs or self.sharing.outputs(features, self.heads_by_task()), features)

    def run_together(
        self, inputs: Sequence[Tensor], tasks: Sequence[Sequence[str]], part: str, how: How = PLAINLY
    ) -> list[Pass]:
        """One forward pass of several parts' inputs; each part's features are read by its own tasks alone.

        It is the caller's to know that rows do not see one another, and that all tasks read the same features.

        Args:   part: whose running statistics are used.
        """
        features = self._pass(how)(torch.cat(list(inputs)), [task for its in tasks for task in its], part)
        whole, found, start = next(iter(features.values())), [], 0
        for rows, its in zip(inputs, tasks, strict=True):
            own = whole.rows(start, start + len(rows))
            start += len(rows)
            read = dict.fromkeys(its, own)
            found.append(Pass(self.sharing.outputs(read, self.heads_by_task()), read))
        return found

    @property
    def compiled(self) -> bool:
        """Whether passes in training mode run compiled."""
        return self._in_training is self._compiled

    def compile_training(self) -> None:
        """From here on passes in training mode run the sharing compiled, but for an epoch's last, smaller batch.

        Evaluation stays as it was, bit for bit.

        Heads do not: a tensor that they read, such as the trunk's, would have no gradient of its own.
        """
        functorch_config.donated_buffer = False  # each task has a backward pass of its own over one graph
        self._compiled = self._compiled or torch.compile(self._features)
        self._in_training = self._compiled

    def train_eagerly(self) -> None:
        """From here on passes in training mode run as they are written; what was compiled is kept for another time."""
        self._in_training = self._features

    def ready(self, tasks: Sequence[str]) -> "MultiTaskModel":
        """What is shipped for those tasks, made of this model's own modules: all heads, their parts' statistics."""
        part_of = {task: part for task, part in self.part_of.items() if task in tasks}
        heads = {task: cast(Head, head) for task, head in self.heads_by_task().items()}
        model = MultiTaskModel(self.sharing.ready(list(part_of)), heads, part_of, per_part=False)
        kept = {slot(part) for part in part_of.values()} & set(self.statistics)
        model.statistics = nn.ModuleDict({part: self.statistics[part] for part in self.statistics if part in kept})
        return model

    def heads_by_task(self) -> dict[str, nn.Module]:
        """Each task's head, also of tasks that are not shipped: a sharing may let heads read one another."""
        return {task: self.heads[slot(task)] for task in self._headed}

    def _pass(self, how: How) -> Run:
        return self._in_training if self.training and not how.partial else self._features

    def _viewed(self, features: dict[str, Features]) -> Pass:
        """Heads on views of the one vector: by one batched product, where they are alike."""
        vector = next(iter(features.values())).vector
        view = vector.expand(len(features), *vector.shape)
        outputs = batched([self.heads[slot(task)] for task in features], view)
        if outputs is not None:
            return Pass(dict(zip(features, outputs.unbind(), strict=True)), features, [view])
        read = {task: found.viewed() for task, found in features.items()}
        views = [found.vector for found in read.values()]
        return Pass(self.sharing.outputs(read, self.heads_by_task()), features, views)

    def _reads_trunk(self, features: Mapping[str, Features]) -> bool:
        """Whether each head reads its own task's features alone, and the vector of all is the trunk's tensor."""
        trunk = next(iter(features.values())).trunk
        one = trunk is not None and all(f.trunk is trunk and f.vector is trunk for f in features.values())
        return one and type(self.sharing).outputs is Sharing.outputs

    def _at_once(self, features: Mapping[str, Features]) -> dict[str, Tensor] | None:
        """The outputs by one product; None: tasks read several features, or their heads are not such as have one."""
        one, *others = features.values()
        if type(self.sharing).outputs is not Sharing.outputs or any(found is not one for found in others):
            return None
        outputs = joined([self.heads[slot(task)] for task in features], one.vector)
        return None if outputs is None else dict(zip(features, outputs, strict=True))

    def _features(self, inputs: Tensor, tasks: Sequence[str], part: str) -> dict[str, Features]:
        if slot(part) not in self.statistics:
            found: dict[str, Features] = self.sharing(inputs, tasks)
            return found
        statistics = self.statistics[slot(part)]
        assert isinstance(statistics, Statistics)
        return functional_call(self.sharing, statistics.by_name(), (inputs, tasks))  # type: ignore[no-any-return]  # torch's is untyped


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Within it the model is in training or evaluation mode; at the end each module is in its own again."""
    modes = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
