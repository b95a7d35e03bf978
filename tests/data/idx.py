"""Files as MNIST's authors publish them."""

from pathlib import Path

import numpy as np


def idx(path: Path, values: np.ndarray) -> None:
    """An idx file: two zero bytes, 8 for bytes, the number of axes, each axis as four bytes, the values."""
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())
