"""Names are usable, none twice, and as YAML they are what they were."""

import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from mtl_cli.agree import NAME, RESERVED
from mtl_cli.data.guess.name import quoted, task_names

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.lists(texts | st.sampled_from(["mean", "Worst", "a b", "a_b", "é", "e"]), unique=True, max_size=8))
def test_task_names_are_usable_and_differ(columns):
    names = task_names(columns)
    assert list(names) == columns
    assert all(NAME.fullmatch(name) and name not in RESERVED for name in names.values())
    assert len({name.casefold() for name in names.values()}) == len(columns)


def test_a_task_name_keeps_what_can_be_kept():
    columns = ["größe (cm)", "a b", "a_b", "mean", "100 %", "价格", "--", "Prénom"]
    assert list(task_names(columns).values()) == [
        "große_cm", "a_b", "a_b_2", "mean_label", "100", "价格", "target", "Prenom",
    ]  # fmt: skip


@given(texts | st.sampled_from(["no", "1e5", "null", "~", "a: b", "x #y", "- z", "[a", 'q"\\', "2024-01-01", "\x85"]))
def test_a_quoted_name_is_read_as_it_was_also_between_brackets(text):
    assert yaml.safe_load(f"[{quoted(text)}, x]") == [text, "x"]
    assert yaml.safe_load(f"{{a: {quoted(text)}}}") == {"a": text}
    assert "\n" not in quoted(text)
    if "${" not in text and text != "???":
        assert OmegaConf.to_container(OmegaConf.create(f"{{a: {quoted(text)}}}")) == {"a": text}
