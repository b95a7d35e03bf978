"""What a run may choose by probing: how maps lie in memory."""

from mtl_cli.training.average import Average
from mtl_cli.training.device import FORMATS, lay_out
from mtl_cli.training.engine import Engine
from mtl_cli.training.optimizer import lay_alike
from mtl_cli.training.options import TrainerOptions
from mtl_cli.training.probing import Choice

MEMORY_FORMAT = "memory_format"


def choices(options: TrainerOptions, engine: Engine, average: Average) -> list[Choice]:
    """Those that were left to the run, and have more than one answer; a repeatable run has none."""
    found: list[Choice] = []
    maps = any(parameter.dim() == 4 for parameter in engine.model.parameters())
    if options.memory_format == "auto" and maps and not options.deterministic:
        found.append(_memory_format(engine, average))
    return found


def _memory_format(engine: Engine, average: Average) -> Choice:
    def apply(candidate: str) -> None:
        for model in (engine.model, average.model):
            lay_out(model, FORMATS[candidate])
        lay_alike(engine.optimizer)

    return Choice(MEMORY_FORMAT, "memory format", tuple(FORMATS), apply)
