"""An ONNX graph."""

from collections.abc import Mapping
from pathlib import Path

import onnx
import onnxruntime
import torch
from torch import Tensor

from mtl_cli.shipping.base import Answers, Format
from mtl_cli.shipping.pt2 import program
from mtl_cli.shipping.shipped import Shipped, unit_images

ERRORS_ONLY = 3


class OnnxFormat(Format):
    """Metadata is in its metadata_props. All in one file: protobuf holds 2 GB at most."""

    suffix = ".onnx"
    tolerance = 1e-4
    packages = ("torch", "onnx", "onnxscript", "onnxruntime")

    def write(self, shipped: Shipped, metadata: Mapping[str, str], path: Path) -> None:
        with torch.no_grad():
            names = list(shipped(unit_images(shipped.example(2))))
        made = torch.onnx.export(program(shipped), input_names=["inputs"], output_names=names, verbose=False)
        assert made is not None
        model = made.model_proto
        _bare(model.graph)
        onnx.helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model)
        onnx.save_model(model, path)

    def load(self, path: Path) -> Answers:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]

        def answer(inputs: Tensor) -> Mapping[str, Tensor]:
            found = session.run(names, {"inputs": inputs.numpy()})
            return {name: torch.from_numpy(array) for name, array in zip(names, found, strict=True)}

        return answer


def _bare(graph: onnx.GraphProto) -> None:
    """Takes out how the graph came about, with the paths of the machine that it was made on."""
    for described in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del described.metadata_props[:]
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
