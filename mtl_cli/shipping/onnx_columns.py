"""A graph whose inputs are a table's columns, under their own names, words as text."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx

from mtl_cli.data.table.code import CategoryCode, Encoding

COLUMN = "mtl column "
"""What the exporter calls an input, before its number."""
TEXT_DOMAIN, TEXT_VERSION = "ai.onnx.ml", 2


def take_columns(
    model: onnx.ModelProto, encoding: Encoding, names: Mapping[str, str], described: Sequence[Mapping[str, Any]]
) -> None:
    """Gives the inputs their names, and puts a look-up of words in front of each category.

    Args:
        model: exported, each category an input of codes.
        encoding: of its inputs, in their order.
        names: the exporter's names -> the inputs' own, in the encoding's order.
        described: of each what the file says of it, among it the texts that are empty cells.
    """
    codes = (*encoding.numbers, *encoding.dates, *encoding.categories)
    words = {
        temporary: {
            **dict.fromkeys(told["empty_words"], code.empty),
            **{word: i + 1 for i, word in enumerate(code.words)},
        }
        for temporary, code, told in zip(names, codes, described, strict=True)
        if isinstance(code, CategoryCode)
    }
    taken = set(names.values())
    free = {name: _free(name, taken | _names(model.graph)) for name in _names(model.graph) & taken}
    _rename(model.graph, lambda name: free.get(name, name))
    _rename(model.graph, lambda name: names.get(name, name) if name not in words else name)
    for value in model.graph.input:
        if value.name in words:
            value.type.tensor_type.elem_type = onnx.TensorProto.STRING
            model.graph.node.insert(0, _look_up(names[value.name], value.name, words[value.name]))
            value.name = names[value.name]
    if words:
        model.opset_import.append(onnx.helper.make_opsetid(TEXT_DOMAIN, TEXT_VERSION))


def _look_up(name: str, coded: str, known: Mapping[str, int]) -> onnx.NodeProto:
    """From words to codes: 0 for an unknown one."""
    return onnx.helper.make_node(
        "LabelEncoder", [name], [coded], domain=TEXT_DOMAIN,
        keys_strings=list(known), values_int64s=list(known.values()), default_int64=0,
    )  # fmt: skip


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _names(graph: onnx.GraphProto) -> set[str]:
    """Of every value that the graph itself makes or holds; an inner graph's may not be the same."""
    made = {name for node in graph.node for name in node.output}
    inner = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return made.union({value.name for value in graph.initializer}, *map(_names, inner))


def _rename(graph: onnx.GraphProto, new: Callable[[str], str]) -> None:
    """Every value of the graph and of those within it."""
    for node in graph.node:
        node.input[:] = [new(name) for name in node.input]
        node.output[:] = [new(name) for name in node.output]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rename(attribute.g, new)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = new(value.name)
