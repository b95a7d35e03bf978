"""A torch.export program."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram

from mtl_cli.shipping.base import Answers, Format
from mtl_cli.shipping.shipped import Shipped


class Pt2Format(Format):
    """Metadata is in its extra files."""

    suffix = ".pt2"
    tolerance = 1e-5
    packages = ("torch",)

    def write(self, shipped: Shipped, metadata: Mapping[str, str], path: Path) -> None:
        torch.export.save(program(shipped), path, extra_files=dict(metadata))

    def load(self, path: Path) -> Answers:
        loaded: Answers = torch.export.load(path).module()
        return loaded


def program(shipped: Shipped) -> ExportedProgram:
    """The graph, without the paths of the machine that it was made on."""
    example = shipped.given(shipped.example(2))
    batch = {0: Dim("batch")}
    shapes = {"inputs": dict.fromkeys(example, batch) if isinstance(example, dict) else batch}
    with torch.no_grad():
        exported = torch.export.export(shipped, (example,), dynamic_shapes=shapes)
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)
    return exported
