"""What a file tells about itself: text by name, the same in every format, each a JSON document."""

import json
from typing import Any

from mtl_cli import __version__
from mtl_cli.shipping.columns import PLAIN, Said, described
from mtl_cli.shipping.shipped import Shipped
from mtl_cli.tasks.base import Task


def metadata(shipped: Shipped, made_of: dict[str, Any], said: Said = PLAIN) -> dict[str, str]:
    """tasks, inputs, and what the model was made of.

    tasks: each one's kind, output names, class names in the order of its outputs, or the unit of its value.
    inputs: name, type, shape, range and how an image is brought to it; mean and std, in units of the input, are in the
        graph already. Of a table, each column, as `said` says it.
    """
    found = {
        "mtl": {"version": __version__, **made_of},
        "tasks": {name: _task(task) for name, task in shipped.tasks.items()},
        "inputs": _inputs(shipped, said),
    }
    return {name: json.dumps(value, ensure_ascii=False) for name, value in found.items()}


def _task(task: Task) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": str(task.option.__struct_config__.tag), "target": task.option.target}
    if task.fitted.classes:
        return {**told, "outputs": ["logits", "probabilities"], "classes": list(task.fitted.classes)}
    return {**told, "outputs": ["value"], "unit": "the target's own", "mean": task.fitted.mean, "std": task.fitted.std}


def _inputs(shipped: Shipped, said: Said) -> dict[str, Any]:
    if shipped.table is not None:
        return {"shape": ["batch"], "columns": described(shipped.table, shipped.inputs, said)}
    told = {"name": "inputs", "dtype": "float32", "shape": ["batch", *shipped.shape]}
    if len(shipped.shape) != 3:
        return told
    channels, height, width = shipped.shape
    resize = {"height": height, "width": width, "interpolation": "bilinear", "antialias": True, "way": said.resize}
    return {**told, "range": [0, 1], "mode": "L" if channels == 1 else "RGB", "resize": resize}
