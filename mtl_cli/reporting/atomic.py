"""Files that are there whole or not at all."""

import os
from pathlib import Path


def write_atomic(path: Path, text: str) -> None:
    """Writes `text` beside `path`, then puts it in its place; where that fails, `path` stays as it was."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
