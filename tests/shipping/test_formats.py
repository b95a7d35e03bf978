"""Each format holds what was shipped: the same answers at any batch size, and what one needs to know."""

import json
import zipfile
from pathlib import Path

import pytest
import torch

from mtl_cli.sharing.options import SHARINGS
from mtl_cli.shipping.base import Format, Recipe
from mtl_cli.shipping.metadata import metadata
from mtl_cli.shipping.onnx import OnnxFormat
from mtl_cli.shipping.options import FORMATS
from mtl_cli.shipping.pt2 import Pt2Format
from mtl_cli.shipping.quiet import quiet
from mtl_cli.shipping.shipped import Shipped, unit_images
from mtl_cli.shipping.verify import Live, compare, judge
from mtl_cli.tasks.options import KINDS
from tests.options import NAMES, default
from tests.shipping.models import SHAPE, live, shipped_of

ONE_TASK = NAMES[1:2]


def made(name: str, shipped: Shipped) -> Format:
    """The format, with a recipe that needs no words: `shipped` once more, its weights lost."""

    def fresh(_: object) -> Shipped:
        again = shipped_of(live("hard" if len(shipped.model.part_of) > 1 else "independent"), tuple(shipped.tasks))
        for tensor in again.model.state_dict().values():
            tensor.zero_()
        return again

    option = default(FORMATS, name)
    found: Format = FORMATS.target(option)(option, Recipe({"config": "{}"}, fresh))
    return found


def check(asked: Live, shipped: Shipped, written: Format, file: Path) -> None:
    with quiet():
        written.write(shipped, metadata(shipped, {"step": 3}), file)
        errors = compare(asked, shipped, written.load(file))
    judge(errors, written.tolerance)


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_file_answers_as_the_live_model_with_two_parts_and_every_kind(name: str, tmp_path: Path) -> None:
    asked = live("hard")
    shipped = shipped_of(asked)
    check(asked, shipped, made(name, shipped), tmp_path / "file")


@pytest.mark.slow
@pytest.mark.parametrize("tasks", [NAMES, ONE_TASK], ids=["joint", "one"])
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("sharing", list(SHARINGS))
@pytest.mark.parametrize("name", ["pt2", "onnx"])
def test_every_sharing_and_kind_is_exported(
    name: str, sharing: str, kind: str, tasks: tuple[str, ...], tmp_path: Path
) -> None:
    asked = live(sharing, kinds=[kind])
    shipped = shipped_of(asked, tasks)
    check(asked, shipped, made(name, shipped), tmp_path / "file")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pt2", "onnx"])
def test_vectors_are_exported(name: str, tmp_path: Path) -> None:
    asked = live("cross_stitch", "mlp", shape=(3,))
    shipped = shipped_of(asked, shape=(3,))
    check(asked, shipped, made(name, shipped), tmp_path / "file")


def test_a_program_tells_its_tasks_and_nothing_of_this_machine(tmp_path: Path) -> None:
    shipped = shipped_of(live("independent"), ONE_TASK)
    file = tmp_path / "file.pt2"
    with quiet():
        made("pt2", shipped).write(shipped, metadata(shipped, {"step": 3}), file)
    found = {"tasks": "", "inputs": "", "mtl": ""}
    program = torch.export.load(file, extra_files=found)
    assert json.loads(found["tasks"]) == {
        ONE_TASK[0]: {
            "kind": "binary",
            "target": "column",
            "outputs": ["logits", "probabilities"],
            "classes": ["no", "yes"],
        }
    }
    assert json.loads(found["inputs"])["shape"] == ["batch", *SHAPE]
    assert json.loads(found["mtl"])["step"] == 3
    assert program.state_dict.keys() == shipped.state_dict().keys()
    with zipfile.ZipFile(file) as archive:
        text = b"".join(archive.read(name) for name in archive.namelist())
    assert str(Path(torch.__file__).parent).encode() not in text
    assert str(Path(__file__).parents[2]).encode() not in text


def test_a_graph_tells_its_tasks_its_batch_and_nothing_of_this_machine(tmp_path: Path) -> None:
    import onnx

    shipped = shipped_of(live("independent"), ONE_TASK)
    file = tmp_path / "file.onnx"
    with quiet():
        made("onnx", shipped).write(shipped, metadata(shipped, {"step": 3}), file)
    model = onnx.load(file)
    props = {prop.key: json.loads(prop.value) for prop in model.metadata_props}
    assert props["tasks"][ONE_TASK[0]]["classes"] == ["no", "yes"]
    assert props["inputs"] == {
        "name": "inputs",
        "dtype": "float32",
        "shape": ["batch", 3, 8, 8],
        "range": [0, 1],
        "mode": "RGB",
        "resize": {"height": 8, "width": 8, "interpolation": "bilinear", "antialias": True, "way": "stretch"},
    }
    ends = [*model.graph.input, *model.graph.output]
    assert [end.name for end in ends] == ["inputs", *(f"{ONE_TASK[0]}.{w}" for w in ("logits", "probabilities"))]
    assert {end.type.tensor_type.shape.dim[0].dim_param for end in ends} == {"batch"}
    assert str(Path(__file__).parents[2]).encode() not in file.read_bytes()
    assert str(Path(torch.__file__).parent).encode() not in file.read_bytes()


def test_a_file_of_weights_that_are_not_its_models_is_refused(tmp_path: Path) -> None:
    shipped = shipped_of(live("hard"))
    written = made("safetensors", shipped)
    file = tmp_path / "file"
    written.write(shipped, metadata(shipped, {}), file)
    other = made("safetensors", shipped_of(live("independent"), ONE_TASK))
    with pytest.raises(Exception, match="does not hold the weights"):
        other.load(file)


def test_tolerances_are_those_that_were_promised() -> None:
    assert (Pt2Format.tolerance, OnnxFormat.tolerance) == (1e-5, 1e-4)
    assert unit_images(torch.tensor([[0, 255]], dtype=torch.uint8)).tolist() == [[0.0, 1.0]]
