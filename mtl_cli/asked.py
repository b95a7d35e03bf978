"""What a command asks of a checkpoint, beside the checkpoint's own configuration. Imports no torch."""

from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

from mtl_cli.beneath import beneath
from mtl_cli.config import ASKED, AT_THE_TOP, Config
from mtl_cli.options import ConfigError, convert, nearest, shown, tag, text
from mtl_cli.shipping.options import FORMATS, ExportOptions, FormatOption, PredictKeys, PredictOptions

MODULES = {
    "eval": "mtl_cli.commands.evaluate",
    "export": "mtl_cli.commands.export",
    "predict": "mtl_cli.commands.predict",
}
"""Whose `run` answers."""

KEYS = {"eval": ("eval",), "export": ("export",), "predict": ("predict", *PredictKeys.__struct_fields__)}
"""What stands in the composed configuration beside the checkpoint's own."""

EXAMPLES = {"eval": "eval.split=test", "export": "export.format=onnx", "predict": "predict.format=jsonl"}
STDIN = "-"


class Prediction(NamedTuple):
    """What to predict: a file, a folder or STDIN; where it goes, what a bad item leads to, and how to say it."""

    input: str
    output: Path | None
    on_error: str
    options: PredictOptions


def of_checkpoint(command: str, told: dict[str, Any], config: Config, folders: list[Path]) -> Any:
    """What that command is told, typed; `told` has its KEYS.

    Raises: ConfigError: one line: the key, the value, the nearest right one.
    """
    section = told[command]
    if not isinstance(section, dict):
        way_out = f"should be a section with keys of its own: {EXAMPLES[command]}"
        raise ConfigError(f"{shown(command, section)} {way_out}")
    if command == "export":
        return _export(section, config, folders)
    options = convert(section, ASKED[command], command)
    return _predict(told, options) if command == "predict" else options


def _predict(told: dict[str, Any], options: PredictOptions) -> Prediction:
    if told["input"] is None:
        way_out = "mtl predict checkpoint=RUN input=FILE (or a folder of images, or - for rows or paths on stdin)"
        raise ConfigError(f"input=??? is missing: {way_out}")
    top = {name: told[name] for name in PredictKeys.__struct_fields__}
    keys: PredictKeys = convert({**top, "input": str(told["input"])}, AT_THE_TOP["predict"], "")
    given = Path(keys.input).expanduser()
    if keys.input != STDIN and not given.exists():
        raise ConfigError(f"input={text(keys.input)} is not there: {_beside(Path(keys.input))}")
    output = None if keys.output is None else Path(keys.output).expanduser()
    if output is not None:
        if output.is_dir() or not output.parent.is_dir():
            raise ConfigError(f"output={keys.output} cannot be written: name a file in a folder that is there")
        if keys.input != STDIN and output.exists() and output.samefile(given):
            raise ConfigError(f"output={keys.output} is the input: name another file")
    return Prediction(keys.input, output, keys.on_error, options)


def _beside(path: Path) -> str:
    near = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
    close = get_close_matches(path.name, near, n=1)
    return f"did you mean {path.parent / close[0]}?" if close else "name a table, an image, a folder of images, or -"


def _export(told: dict[str, Any], config: Config, folders: list[Path]) -> ExportOptions:
    typed = dict(told)
    name = told.get("format")
    if isinstance(name, str) and name != "???":
        if name not in FORMATS:
            raise ConfigError(f"export.format={text(name)} is not known: {nearest(name, list(FORMATS))}")
        typed["format"] = FORMATS.convert(beneath(name, FORMATS, "export.format", folders), "export.format")
    if isinstance(told.get("tasks"), str):
        raise ConfigError(f"export.tasks={text(told['tasks'])} should be a list: export.tasks=[{text(told['tasks'])}]")
    options: ExportOptions = convert(typed, ExportOptions, "export")
    for task in options.tasks or ():
        if task not in config.tasks:
            raise ConfigError(
                f"export.tasks=[{text(task)}] is no task of the checkpoint: {nearest(task, list(config.tasks))}"
            )
    _installed(options.format)
    if tag(config.device) != "cpu":
        raise ConfigError(
            f"device={tag(config.device)} does not go with export, which compares on the CPU: leave it out"
        )
    return options


def _installed(option: Struct) -> None:
    missing = [name for name in option.packages if find_spec(name) is None] if isinstance(option, FormatOption) else []
    if missing:
        name = tag(option)
        raise ConfigError(f"export.format={name} needs {', '.join(missing)}: pip install 'mtl-cli[{name}]'")
