"""What a job is told about the command that it runs for."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Session(NamedTuple):
    """The call behind a job.

    command:   train, eval, export or predict.
    overrides: as the user typed them; in a sweep, those of this job.
    hydra:     the record that goes into `.hydra/`: file name -> YAML text; None where there is none to keep.
    job_dir:   the folder of this job of a sweep, which exists and is empty; None for a single run.
    words:     of a command line that is this job alone.
    """

    command: str
    overrides: list[str]
    hydra: dict[str, str] | None
    job_dir: Path | None
    words: Sequence[str] = ()
