"""Files that are there whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Writes `content` beside `path`, then puts it in its place; where that fails, `path` stays as it was."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise _naming(path, error) from error
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def placed(path: Path) -> Iterator[TextIO]:
    """A file beside `path` to write text into, which takes its place at the end; until then `path` stays as it was.

    What is no file, such as a pipe or a terminal, is written as it comes.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        beside.replace(path)
    except OSError as error:
        raise _naming(path, error) from error
    finally:
        beside.unlink(missing_ok=True)


def _naming(path: Path, error: OSError) -> OSError:
    """A full disk does not say which file was being written."""
    return error if error.errno not in FULL else OSError(error.errno, error.strerror, str(path))
