"""Weights only."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mtl_cli.options import JobError
from mtl_cli.shipping.base import Format
from mtl_cli.shipping.shipped import Shipped


class SafetensorsFormat(Format):
    """Metadata is in its header, from which, and mtl, the model is built again."""

    suffix = ".safetensors"
    tolerance = 1e-5
    packages = ("torch", "safetensors")

    def write(self, shipped: Shipped, metadata: Mapping[str, str], path: Path) -> None:
        weights = {name: tensor.contiguous() for name, tensor in shipped.model.state_dict().items()}
        save_file(weights, path, metadata={**metadata, **self.recipe.text})

    def load(self, path: Path) -> Shipped:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        shipped = self.recipe.build(metadata)
        weights = load_file(path)
        if weights.keys() != shipped.model.state_dict().keys():
            raise JobError(f"{path} does not hold the weights of the model that its metadata describes")
        shipped.model.load_state_dict(weights, strict=False)  # batch norm asks for a count that evaluation never reads
        return shipped
