"""Small tasks, models and batches in float64 for tests of the engine."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from mtl_cli.aggregation import base as aggregation_base
from mtl_cli.aggregation.base import Aggregation
from mtl_cli.aggregation.options import AGGREGATIONS
from mtl_cli.backbones.base import BackboneFactory
from mtl_cli.backbones.mlp import MlpBackbone
from mtl_cli.backbones.options import Mlp
from mtl_cli.contracts import LossFacts
from mtl_cli.data.base import Batch, InputSpec, Part, labelled
from mtl_cli.look import Look
from mtl_cli.model import MultiTaskModel
from mtl_cli.regularizers.base import Regularizer
from mtl_cli.sharing.base import Sharing
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.tasks.base import Task
from mtl_cli.tasks.binary import BinaryTask
from mtl_cli.tasks.classification import ClassificationTask
from mtl_cli.tasks.heads import LinearHead
from mtl_cli.tasks.losses import BinaryCrossEntropyLoss, CrossEntropyLoss, SquaredLoss
from mtl_cli.tasks.options import Binary, BinaryCrossEntropy, Classification, CrossEntropy, Linear, Mse, Regression
from mtl_cli.tasks.regression import RegressionTask
from mtl_cli.training.engine import Engine, Settings
from mtl_cli.training.graph import usage
from mtl_cli.training.methods import Methods
from mtl_cli.weighting import base as weighting_base
from mtl_cli.weighting.base import Weighting
from mtl_cli.weighting.options import WEIGHTINGS
from tests.options import default

WEIGHTING = {name: default(WEIGHTINGS, name) for name in WEIGHTINGS}
AGGREGATION = {name: default(AGGREGATIONS, name) for name in AGGREGATIONS}
SHARING = {name: default(SHARINGS, name) for name in SHARINGS}
ROWS = 24


class Data(NamedTuple):
    """Inputs (B, 6) and targets with missing labels."""

    inputs: Tensor
    targets: dict[str, Tensor]

    def single(self) -> "Data":
        """In float32."""
        targets = {name: y.float() if y.is_floating_point() else y for name, y in self.targets.items()}
        return Data(self.inputs.float(), targets)

    def batch(self, rows: Sequence[int] | slice) -> Batch:
        """Those rows as one part."""
        index = torch.arange(len(self.inputs))[rows]
        targets = {name: target[index] for name, target in self.targets.items()}
        counts = {name: int(labelled(target).sum()) for name, target in targets.items()}
        return Batch([Part("p", self.inputs[index], targets, counts)])


class Toy(NamedTuple):
    """Everything that takes a step."""

    model: MultiTaskModel
    tasks: dict[str, Task]
    engine: Engine

    def step(self, batches: Sequence[Batch], step: int, aside: Data | None = None) -> Look:
        """A step that is taken; with data held out, where a method wants to look at such."""
        wanted = any(needs.heldout for needs in self.engine.methods.needs)
        heldout = (aside or make_data(seed=7)).batch(slice(0, ROWS)) if wanted else None
        look = self.engine.step(batches, step, 9, heldout)
        assert isinstance(look, Look)
        return look

    def end_epoch(self, means: dict[str, float]) -> None:
        """What the loop tells the methods after an epoch."""
        self.engine.methods.weighting.after_epoch(means)
        self.engine.methods.aggregation.after_epoch(means)

    def parameters(self) -> dict[str, Tensor]:
        """Copies of all parameters, the weighting's too."""
        named = [*self.model.named_parameters(), *self.engine.methods.weighting.named_parameters()]
        return {name: parameter.detach().clone() for name, parameter in named}


def make_data(seed: int = 0, missing: bool = True) -> Data:
    """Three tasks on the same rows; each lacks some labels."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(ROWS, 6, generator=generator, dtype=torch.float64)
    digit = torch.randint(0, 4, (ROWS,), generator=generator)
    odd = torch.randint(0, 2, (ROWS,), generator=generator).double()
    size = torch.randn(ROWS, generator=generator, dtype=torch.float64) * 3 + 5
    if missing:
        digit[::3], odd[1::2], size[:10] = -100, torch.nan, torch.nan
    return Data(inputs, {"digit": digit, "odd": odd, "size": size})


def make_tasks(data: Data, **weights: float) -> dict[str, Task]:
    """digit, odd and size, fitted on `data`."""
    shared: dict[str, Any] = {"part": None, "target": "x", "head": Linear(at=None)}

    def options(name: str) -> dict[str, Any]:
        return {**shared, "weight": weights.get(name, 1.0)}

    entropy = CrossEntropy(label_smoothing=0.0, class_weights=None)
    sigmoid = BinaryCrossEntropy(label_smoothing=0.0, class_weights=None)
    digit = Classification(loss=entropy, metrics=["accuracy"], primary="accuracy", **options("digit"))
    odd = Binary(loss=sigmoid, metrics=["accuracy"], primary="accuracy", **options("odd"))
    size = Regression(loss=Mse(), metrics=["r2"], primary="r2", **options("size"))
    fitted = ClassificationTask.fit("digit", digit, data.targets["digit"], tuple("0123"))
    fitted_odd = BinaryTask.fit("odd", odd, data.targets["odd"], ("0", "1"))
    fitted_size = RegressionTask.fit("size", size, data.targets["size"], ())
    return {
        "digit": ClassificationTask("digit", digit, fitted, CrossEntropyLoss(entropy, ())),
        "odd": BinaryTask("odd", odd, fitted_odd, BinaryCrossEntropyLoss(sigmoid, ())),
        "size": RegressionTask("size", size, fitted_size, SquaredLoss(Mse(), ())),
    }


def facts(tasks: dict[str, Task]) -> dict[str, LossFacts]:
    """What a weighting knows of them."""
    return {name: LossFacts(task.option.weight, task.loss.gaussian) for name, task in tasks.items()}


def make_model(
    tasks: dict[str, Task], sharing: str = "hard", dropout: float = 0.0, wrap: type[Sharing] | None = None
) -> MultiTaskModel:
    """Two hidden layers of five, in float64."""
    torch.manual_seed(1)
    factory = BackboneFactory(MlpBackbone(Mlp(hidden=[5, 5], dropout=dropout, freeze=None), InputSpec((6,))).double())
    option = SHARING[sharing]
    kind = wrap or SHARINGS.target(option)
    shared: Sharing = kind(option, factory, {n: t.width for n, t in tasks.items()})
    heads = {n: LinearHead(Linear(at=None), shared.spec(n), t.width, "head") for n, t in tasks.items()}
    return MultiTaskModel(shared.double(), {n: h.double() for n, h in heads.items()}, dict.fromkeys(tasks, "p"), True)


def make(
    data: Data,
    *,
    sharing: str = "hard",
    weighting: str | Weighting = "fixed",
    aggregation: str | Aggregation = "sum",
    model: MultiTaskModel | None = None,
    tasks: dict[str, Task] | None = None,
    regularizers: dict[str, Regularizer] | None = None,
    clip: float | None = None,
    lr: float = 0.1,
    half: torch.dtype | None = None,
    on_nonfinite: Literal["stop", "skip_task", "skip_step"] = "stop",
    examples: dict[str, Tensor] | None = None,
    synchronised: bool = True,
) -> Toy:
    """A toy with plain gradient descent."""
    tasks = tasks or make_tasks(data)
    model = model or make_model(tasks, sharing)
    if isinstance(weighting, str):
        weighting = weighting_base.make(WEIGHTING[weighting], facts(tasks)).double()
    if isinstance(aggregation, str):
        aggregation = aggregation_base.make(AGGREGATION[aggregation], list(tasks))
    assert isinstance(weighting, nn.Module)
    assert isinstance(aggregation, nn.Module)
    optimizer = torch.optim.SGD([*model.parameters(), *weighting.parameters()], lr=lr)
    used = usage(model, examples or {"p": data.inputs[:2]})
    methods = Methods(weighting, aggregation, regularizers or {})
    engine = Engine(model, tasks, methods, optimizer, used, Settings(0, clip, half, on_nonfinite, synchronised))
    return Toy(model, tasks, engine)


def furthest(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """The largest difference between two sets of tensors."""
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)
