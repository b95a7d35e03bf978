"""An ONNX graph."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

from mtl_cli.shipping.base import Answers, Format
from mtl_cli.shipping.onnx_columns import COLUMN, take_columns
from mtl_cli.shipping.pt2 import program
from mtl_cli.shipping.shipped import Inputs, Shipped

ERRORS_ONLY = 3


class OnnxFormat(Format):
    """Metadata is in its metadata_props. All in one file: protobuf holds 2 GB at most."""

    suffix = ".onnx"
    tolerance = 1e-4
    packages = ("torch", "onnx", "onnxscript", "onnxruntime")

    words = True

    def write(self, shipped: Shipped, metadata: Mapping[str, str], path: Path) -> None:
        example = shipped.given(shipped.example(2))
        with torch.no_grad():
            names = list(shipped(example))
        inputs = [f"{COLUMN}{i}" for i in range(len(example))] if isinstance(example, dict) else ["inputs"]
        made = torch.onnx.export(program(shipped), input_names=inputs, output_names=names, verbose=False)
        assert made is not None
        model = made.model_proto
        if shipped.table is not None:
            names_of = dict(zip(inputs, shipped.inputs.values(), strict=True))
            take_columns(model, shipped.table, names_of, json.loads(metadata["inputs"])["columns"])
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
        inputs = json.loads(session.get_modelmeta().custom_metadata_map["inputs"])

        def answer(given: Inputs) -> Mapping[str, Tensor]:
            found = session.run(names, _fed(given, inputs))
            return {name: torch.from_numpy(array) for name, array in zip(names, found, strict=True)}

        return answer


def _fed(given: Inputs, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs as onnxruntime takes them, by what the file says of them: words in place of their codes."""
    if isinstance(given, Tensor):
        return {inputs["name"]: given.numpy()}
    return {told["name"]: _column(given[told["name"]], told) for told in inputs["columns"]}


def _column(values: Tensor, told: Mapping[str, Any]) -> Any:
    if told["kind"] != "category":
        return values.numpy()
    words = [told["unknown"], *told["words"], told["empty_words"][-1]]
    return np.array([words[code] for code in values.tolist()], dtype=object)


def _bare(graph: onnx.GraphProto) -> None:
    """Takes out how the graph came about, with the paths of the machine that it was made on."""
    for described in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del described.metadata_props[:]
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
