"""mtl data: what a data set holds and what is odd about it, without training."""

import sys
from pathlib import Path

from mtl_cli.commands import sampled
from mtl_cli.commands.counted import part_facts
from mtl_cli.commands.examine import Examined, examine
from mtl_cli.config import Config
from mtl_cli.options import JobError
from mtl_cli.reporting.inspection import Found, finding_lines, part_lines, wrapped
from mtl_cli.reporting.log import spoken
from mtl_cli.reporting.wording import place
from mtl_cli.session import Session

FOLDER = "data"


def run(config: Config, session: Session) -> None:  # noqa: ARG001  # every command's
    """Reads, checks, prints and draws.

    Raises: ConfigError: the configuration is wrong. JobError: the data has errors, which have been printed.
    """
    with spoken(sys.stdout):
        examined, together = examine(config)
    _say(f"mtl data {config.task}")
    for part in examined:
        for line in ("", *part_lines(part_facts(config, part))) if part.pieces else ():
            _say(line)
    findings = [*(finding for part in examined for finding in part.findings), *together]
    errors = [finding for finding in findings if finding.error]
    warnings = [finding for finding in findings if not finding.error]
    for title, these in (("errors", errors), ("warnings", warnings)):
        for line in finding_lines(title, [Found(f.line, f.places, f.total) for f in these]):
            _say(line)
    _say("")
    told = f"{_many(len(errors), 'error')}, {_many(len(warnings), 'warning')}"
    if config.plots:
        _draw(config, examined)
    if errors:
        raise JobError(f"{config.task}: {told}")
    _say(told if findings else "nothing odd was found")


def _draw(config: Config, examined: list[Examined]) -> None:
    """A picture a part; one that cannot be drawn is told of."""
    from mtl_cli.reporting.plots.draw import draw_samples  # not at the top: matplotlib takes a second

    folder = Path(config.runs_dir).expanduser() / config.task / FOLDER
    for part in examined:
        if not part.pieces:
            continue
        try:
            path = draw_samples(config.task, sampled.shown(config, part), folder)
        except (OSError, ValueError, RuntimeError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            lines = wrapped(f"no picture of part {part.part}: {first}")
        else:
            lines = [f"picture: {place(path)}"]
        for line in lines:
            _say(line)


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
