"""Class weights, given or balanced."""

from torch import Tensor

from mtl_cli.options import ConfigError, Option
from mtl_cli.tasks.options import ClassLossOption


def class_weights(task: str, loss: Option, counts_C: Tensor) -> tuple[float, ...]:
    """One weight a class, or none for equal ones.

    balanced: w_c = N / (C N_c), N_c the labels of class c in train

    Shapes: counts_C (C,)
    Raises: ConfigError: as many weights as classes are needed, or balanced lacks a class.
    """
    given = loss.class_weights if isinstance(loss, ClassLossOption) else None
    key = f"tasks.{task}.loss.class_weights"
    if given is None:
        return ()
    if given == "balanced":
        if (counts_C == 0).any():
            raise ConfigError(f"{key}=balanced needs every class in train. Found {counts_C.tolist()} labels")
        weights_C = counts_C.sum() / (len(counts_C) * counts_C.double())
        return tuple(weights_C.tolist())
    if len(given) != len(counts_C):
        raise ConfigError(f"{key}={given} should have one weight a class. Found {len(given)} for {len(counts_C)}")
    return tuple(float(weight) for weight in given)
