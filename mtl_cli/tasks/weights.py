"""Class weights, given or balanced."""

from torch import Tensor

from mtl_cli.options import ConfigError, Option, text
from mtl_cli.tasks.options import ClassLossOption


def class_weights(task: str, loss: Option, counts_C: Tensor) -> tuple[float, ...]:
    """One weight a class, or none for equal ones.

    balanced: w_c = N / (C N_c), N_c the labels of class c in train

    Shapes: counts_C (C,)
    Raises: ConfigError: as many weights as classes are needed, or balanced lacks a class.
    """
    asked = _asked(loss)
    key = f"tasks.{task}.loss.class_weights"
    if asked == "balanced":
        if (counts_C == 0).any():
            raise ConfigError(f"{key}=balanced needs every class in train. Found {counts_C.tolist()} labels")
        weights_C = counts_C.sum() / (len(counts_C) * counts_C.double())
        return tuple(weights_C.tolist())
    return _given(key, asked, len(counts_C), "class")


def tag_weights(task: str, loss: Option, counts_C: Tensor, items: int) -> tuple[float, ...]:
    """What each tag weighs where it is there, or none for as much as where it is not.

    balanced: w_c = (N - N_c) / N_c, N_c of the N labelled items in train with tag c

    Shapes: counts_C (C,)
    Raises: ConfigError: as many weights as tags are needed, or balanced lacks a tag, or items without it.
    """
    asked = _asked(loss)
    key = f"tasks.{task}.loss.class_weights"
    if asked == "balanced":
        if ((counts_C == 0) | (counts_C == items)).any():
            found = [int(count) for count in counts_C.tolist()]
            raise ConfigError(
                f"{key}=balanced needs items with and without every tag. Found {text(found)} of {items} items"
            )
        return tuple(((items - counts_C.double()) / counts_C).tolist())
    return _given(key, asked, len(counts_C), "tag")


def _asked(loss: Option) -> str | list[float] | None:
    return loss.class_weights if isinstance(loss, ClassLossOption) else None


def _given(key: str, asked: str | list[float] | None, count: int, of: str) -> tuple[float, ...]:
    if asked is None:
        return ()
    if len(asked) != count:
        raise ConfigError(f"{key}={asked} should have one weight a {of}. Found {len(asked)} for {count}")
    return tuple(float(weight) for weight in asked)
