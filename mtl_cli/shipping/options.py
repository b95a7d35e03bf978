"""Options of the shipping room: what a model is written as, and which part of it."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from mtl_cli.options import Option, Table


class FormatOption(Option):
    """What every format has: the packages of the extra of its name that must be installed."""

    packages: ClassVar[tuple[str, ...]] = ()


class Pt2(FormatOption, tag="pt2"):
    """A torch.export program: runs where torch is, without mtl; also what AOTInductor compiles."""


class Onnx(FormatOption, tag="onnx"):
    """An ONNX graph: runs in onnxruntime and many others, without torch."""

    packages = ("onnx", "onnxscript", "onnxruntime")


class Safetensors(FormatOption, tag="safetensors"):
    """Weights only, with what mtl needs to build their model again."""


FORMATS = Table(
    "format",
    (Pt2, "mtl_cli.shipping.pt2:Pt2Format"),
    (Onnx, "mtl_cli.shipping.onnx:OnnxFormat"),
    (Safetensors, "mtl_cli.shipping.safetensors:SafetensorsFormat"),
)


class ExportOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `mtl export` is told beside the checkpoint's own configuration."""

    format: Annotated[Option, Meta(description="what the model is written as")]
    tasks: Annotated[
        Annotated[list[str], Meta(min_length=1)] | None, Meta(description="the tasks to ship; null: all of them")
    ]


class PredictOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How `mtl predict` says what it finds."""

    format: Annotated[Literal["csv", "jsonl"], Meta(description="csv: a row an item; jsonl: with every probability")]


class PredictKeys(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `mtl predict` is told at the top: of what, into which file, and what bad items lead to."""

    input: Annotated[str, Meta(description="a table, an image or a folder of images; -: rows or paths on stdin")]
    output: Annotated[str | None, Meta(description="the file to write; null: the terminal, or a pipe")]
    on_error: Annotated[Literal["skip", "stop"], Meta(description="skip: go on after a bad item; stop: end at it")]
