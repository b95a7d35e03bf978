"""Files that are there whole or not at all."""

import os
from pathlib import Path


def write_atomic(path: Path, content: str | bytes) -> None:
    """Writes `content` beside `path`, then puts it in its place; where that fails, `path` stays as it was."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
