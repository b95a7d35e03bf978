"""What a command asks of a checkpoint, beside the checkpoint's own configuration. Imports no torch."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from msgspec import Struct

from mtl_cli.options import ConfigError, convert, nearest, shown, tag, text
from mtl_cli.schema import ASKED, Config, beneath
from mtl_cli.shipping.options import FORMATS, ExportOptions, FormatOption

MODULES = {"eval": "mtl_cli.commands.evaluate", "export": "mtl_cli.commands.export"}
"""Whose `run` answers."""

EXAMPLES = {"eval": "eval.split=test", "export": "export.format=onnx"}


def of_checkpoint(command: str, told: Any, config: Config, folders: list[Path]) -> Any:
    """The typed section of that command. Raises: ConfigError: one line: the key, the value, the nearest right one."""
    if not isinstance(told, dict):
        way_out = f"should be a section with keys of its own: {EXAMPLES[command]}"
        raise ConfigError(f"{shown(command, told)} {way_out}")
    return _export(told, config, folders) if command == "export" else convert(told, ASKED[command], command)


def _export(told: dict[str, Any], config: Config, folders: list[Path]) -> ExportOptions:
    typed = dict(told)
    name = told.get("format")
    if isinstance(name, str) and name != "???":
        if name not in FORMATS:
            raise ConfigError(f"export.format={text(name)} is not known: {nearest(name, list(FORMATS))}")
        typed["format"] = FORMATS.convert(beneath(name, "format", "export.format", folders), "export.format")
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
