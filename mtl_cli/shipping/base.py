"""What a model can be written as."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

from torch import Tensor

from mtl_cli.shipping.options import FormatOption
from mtl_cli.shipping.shipped import Inputs, Shipped

Answers = Callable[[Inputs], Mapping[str, Tensor]]
"""Inputs as `Shipped` takes them to named outputs: what a file holds once it is loaded."""


class Recipe(NamedTuple):
    """How a model is built again from weights alone.

    text:  what a file's metadata must hold for it.
    build: a model with fresh weights, from nothing but such metadata.
    """

    text: Mapping[str, str]
    build: Callable[[Mapping[str, str]], Shipped]


class Format(ABC):
    """One kind of file; built from (option, recipe).

    tolerance: the largest error, relative to the largest number of an output but at least to 1.
    """

    suffix: ClassVar[str]
    tolerance: ClassVar[float]
    packages: ClassVar[tuple[str, ...]]
    """Whose versions decide what the file does."""
    words: ClassVar[bool] = False
    """Whether a table's categories go in as words; else by their codes."""

    def __init__(self, option: FormatOption, recipe: Recipe) -> None:
        self.recipe = recipe

    @abstractmethod
    def write(self, shipped: Shipped, metadata: Mapping[str, str], path: Path) -> None:
        """Writes a file with dynamic batch and named outputs."""

    @abstractmethod
    def load(self, path: Path) -> Answers:
        """Loads a file as its user would."""
