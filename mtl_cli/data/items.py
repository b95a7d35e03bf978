"""What is to be predicted, as it is read."""

from typing import NamedTuple

from torch import Tensor


class Fault(NamedTuple):
    """An item that cannot be read. behind: how many items of its batch come before it. line: what is told of it."""

    behind: int
    line: str


class Items(NamedTuple):
    """A batch of items that could be read, with names or numbers, and those between them that could not be.

    Shapes: inputs (B, ...), as a shipped model's `answers` takes them
    """

    names: list[str] | list[int]
    inputs: Tensor
    faults: list[Fault]

    def __len__(self) -> int:
        return len(self.names)

    def until(self, fault: Fault) -> "Items":
        """Those before it."""
        return Items(self.names[: fault.behind], self.inputs[: fault.behind], [])
