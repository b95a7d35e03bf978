"""train.log: what a screen showed, as plain text with the time before each line."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, final


@contextmanager
def spoken(stream: TextIO) -> Iterator[None]:
    """Within it, what the rooms log is said on `stream`, a line each: that data is being decoded, say."""
    logger, handler = logging.getLogger("mtl_cli"), logging.StreamHandler(stream)
    before = logger.level
    for name, room in logging.root.manager.loggerDict.items():
        if name.startswith("mtl_cli.") and isinstance(room, logging.Logger):
            room.disabled = False  # Hydra silences what was there before it, at each job of a sweep
    logger.disabled = False
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@final
class RunLog:
    """Appends to RUN/train.log; a resume goes on in the same file."""

    def __init__(self, run_dir: Path) -> None:
        self._handler = logging.FileHandler(run_dir / "train.log", encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))

    def write(self, text: str) -> None:
        """Adds each line of `text`."""
        for line in text.splitlines() or [""]:
            self._handler.handle(logging.LogRecord("mtl", logging.INFO, "", 0, line, None, None))

    def failure(self, error: BaseException) -> None:
        """Adds the whole traceback of what ended the run."""
        self.write("".join(traceback.format_exception(error)))

    def close(self) -> None:
        """Closes the file."""
        self._handler.close()
