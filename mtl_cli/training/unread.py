"""Whether steps were finite, asked of the device only when the host reads: so no step waits for one."""

from collections.abc import Callable, Iterable

from torch import Tensor

from mtl_cli.training.faults import finite
from mtl_cli.training.series import Series


class Unread:
    """What the host has not read yet of the steps since it last did.

    What is not finite stays so: a gradient that is not leaves its parameter so, running statistics keep what they were
    given, and no later step mends either. So steps only keep their losses; the rest is looked at when it is read.

    on: whether steps are taken without looking; the loop turns it off for steps that are taken again.

    Args:
        moved: gives all that steps move and that has to be finite.
        on: at first.
    """

    def __init__(self, moved: Callable[[], Iterable[Tensor]], on: bool) -> None:
        self.on = on
        self._moved = moved
        self._losses = Series()

    def note(self, losses_T: Tensor) -> None:
        """The losses of a step."""
        self._losses.add(losses_T)

    def read(self) -> bool:
        """Waits for the device: whether all was finite since the last reading."""
        losses = self._losses.taken()
        return finite([*([] if losses is None else [losses]), *self._moved()])
