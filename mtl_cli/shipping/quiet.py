"""Exporters talk: what they say is held back, and what they raise becomes one line."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

from mtl_cli.options import ConfigError, JobError


@contextmanager
def quiet() -> Iterator[None]:
    """Within it nothing is printed, warned of or logged.

    Raises: JobError: the exporter failed; its first line.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    except (ConfigError, JobError, OSError):
        raise
    except Exception as error:
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        raise JobError(f"the model could not be exported: {type(error).__name__}: {first}") from error
    finally:
        logging.disable(before)
