"""A method that wraps another: its inner choice gets the YAML of its name beneath it, and is checked like any."""

from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta
from omegaconf import OmegaConf

from mtl_cli import beneath, schema
from mtl_cli.aggregation.options import AGGREGATIONS, Db
from mtl_cli.options import ConfigError, Option, Share, Table

CONF = Path(__file__).parent.parent / "conf"


class Smooth(Option, tag="smooth"):
    """Another method's weights, smoothed."""

    alpha: Annotated[Share, Meta(description="share of the past")]
    inner: Annotated[Option, Meta(description="the method", extra={"group": "aggregation"})]


@pytest.fixture
def _wrapping(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [(AGGREGATIONS.struct(name), "nowhere:Nothing") for name in AGGREGATIONS]
    monkeypatch.setitem(schema.TABLES, "aggregation", Table("aggregation", *lines, (Smooth, "nowhere:Nothing")))


def raw(inner: Any) -> dict[str, Any]:
    """A whole configuration whose aggregation wraps `inner`."""
    found: dict[str, Any] = {}
    for group, name in (("backbone", "mlp"), ("sharing", "hard"), ("weighting", "fixed"), ("optimizer", "adamw"),
                        ("scheduler", "none"), ("device", "cpu")):  # fmt: skip
        found[group] = beneath.section(CONF / group / f"{name}.yaml")
    places = {
        "runs_dir": "r",
        "data_dir": "d",
        "cache_dir": None,
        "run_dir": None,
        "resume": None,
        "init_from": None,
        "plots": False,
        "tensorboard": False,
    }
    data = {"seed": 0, "limit": None, "validation": 0.1, "held_out": 0.1, "download": False, "statistics": "part"}
    data |= {"sampling": "uniform", "memory": None, "workers": None}
    task = OmegaConf.to_container(OmegaConf.load(CONF / "task" / "digits.yaml"))
    assert isinstance(task, dict)
    found |= {"task": "digits", "name": None, "seed": 0, "plugins": [], "regularizer": {}, "tasks": task["tasks"]}
    found |= {"data": {**data, **task["data"]}, "trainer": beneath.section(CONF / "trainer" / "default.yaml"), **places}
    return {**found, "aggregation": {"name": "smooth", "alpha": 0.9, "inner": inner}}


@pytest.mark.usefixtures("_wrapping")
def test_a_wrapped_method_has_its_own_defaults_and_what_is_said_of_it() -> None:
    named, told = (schema.check(raw(inner), [CONF]).aggregation for inner in ("db", {"name": "db", "beta": 0.5}))
    assert isinstance(named, Smooth)
    assert isinstance(told, Smooth)
    assert named.inner == Db(beta=0.9, sigma=0.0)
    assert told.inner == Db(beta=0.5, sigma=0.0)


@pytest.mark.usefixtures("_wrapping")
@pytest.mark.parametrize(
    ("inner", "words"),
    [
        ("bd", "aggregation.inner.name=bd is not known: did you mean db?"),
        ({"name": "db", "beta": 2}, "aggregation.inner.beta=2"),
        ({"name": "db", "bata": 0.1}, "aggregation.inner.bata=0.1"),
    ],
)
def test_a_mistake_in_a_wrapped_method_is_named_by_its_whole_key(inner: Any, words: str) -> None:
    with pytest.raises(ConfigError) as found:
        schema.check(raw(inner), [CONF])
    assert words in str(found.value)
