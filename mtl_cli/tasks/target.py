"""From a data set's columns to a task's targets."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mtl_cli.data.base import MISSING, Column
from mtl_cli.options import ConfigError, nearest, shown, text

FORMS = ("from", "map", "is")


def column_read(target: str | dict[str, Any]) -> tuple[str, bool]:
    """The name of the column that a target reads, and whether it is mapped; what is no target, `column_of` tells."""
    return (target, False) if isinstance(target, str) else (str(target.get("from")), True)


def column_of(task: str, target: str | dict[str, Any], columns: Mapping[str, Column]) -> Column:
    """The column that a target names, mapped, or one of its classes against the rest; null is no label.

    Raises: ConfigError: no such column, a map that leaves out or invents a class, or no such class.
    """
    if isinstance(target, str):
        return _column(f"tasks.{task}.target", target, columns)
    here = f"tasks.{task}.target"
    for key in target:
        if key not in FORMS:
            raise ConfigError(f"{shown(f'{here}.{key}', target[key])} is not a key: {nearest(str(key), list(FORMS))}")
    if set(target) == {"from", "map"} and isinstance(target["map"], dict):
        source = _column(f"{here}.from", target["from"], columns)
        return _mapped(f"{here}.map", source, {str(k): v for k, v in target["map"].items()})
    if set(target) == {"from", "is"}:
        return _against_rest(f"{here}.is", _column(f"{here}.from", target["from"], columns), target["is"])
    raise ConfigError(
        f"{here}={text(target)} should be a column, {{from: column, map: {{old: new}}}} or {{from: column, is: class}}"
    )


def _column(key: str, name: Any, columns: Mapping[str, Column]) -> Column:
    if not isinstance(name, str) or name not in columns:
        raise ConfigError(f"{key}={text(name)} is no column of the data: {nearest(text(name), list(columns))}")
    return columns[name]


def _mapped(key: str, source: Column, table: dict[str, Any]) -> Column:
    if source.classes is None:
        raise ConfigError(f"{key} needs a column of classes. Found a column of numbers: take it without a map")
    for old, value in table.items():
        if old not in source.classes:
            raise ConfigError(f"{key}.{old}={text(value)} is no class: {nearest(old, list(source.classes))}")
    left_out = [name for name in source.classes if name not in table]
    if left_out:
        raise ConfigError(f"{key} should name every class. Missing: {', '.join(left_out)} (null: no label)")
    new = [table[name] for name in source.classes]
    if all(value is None or isinstance(value, int | float) for value in new):
        numbers = torch.tensor([torch.nan if value is None else float(value) for value in new])
        return Column(_look_up(numbers, source.values, torch.nan), None)
    names = tuple(dict.fromkeys(str(value) for value in table.values() if value is not None))
    codes = torch.tensor([MISSING if value is None else names.index(str(value)) for value in new])
    return Column(_look_up(codes, source.values, MISSING), names)


def _against_rest(key: str, source: Column, name: Any) -> Column:
    if source.classes is None:
        raise ConfigError(f"{key} needs a column of classes. Found a column of numbers: take it as it is")
    if not isinstance(name, str | int) or str(name) not in source.classes:
        raise ConfigError(f"{key}={text(name)} is no class: {nearest(text(name), list(source.classes))}")
    codes = torch.tensor([int(old == str(name)) for old in source.classes])
    return Column(_look_up(codes, source.values, MISSING), (f"not {name}", str(name)))


def _look_up(table: Tensor, codes: Tensor, missing: float) -> Tensor:
    found = table[codes.clamp_min(0)]
    return torch.where(codes == MISSING, torch.full_like(found, missing), found)
