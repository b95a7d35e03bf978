"""How numbers, times and names are written."""

import math
import shlex
from pathlib import Path

NUMBER_WIDTH = 7


def number(value: float | None) -> str:
    """A loss or metric in at most NUMBER_WIDTH characters; "-" where there is none."""
    if value is None or math.isnan(value):
        return "-"
    size = abs(value)
    if math.isinf(size) or size >= 99999.5 or 0 < size < 0.0005:
        text = f"{value:.1e}"
        return text if len(text) <= NUMBER_WIDTH else f"{value:.0e}"
    digits = len(str(int(size + 0.5)))
    return f"{value:.{5 - digits}f}"


def duration(seconds: float) -> str:
    """Whole seconds as 0:07 or 1:02:03."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def shorten(name: str, width: int) -> str:
    """The name, its middle left out where it is longer than `width`: names often differ at their ends."""
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"


def place(path: Path) -> str:
    """A path as one would type it here: relative where it lies below the working directory."""
    absolute = path.absolute()
    here = Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


def quoted(path: Path) -> str:
    """`place`, in quotes where the shell needs them."""
    return shlex.quote(place(path))
