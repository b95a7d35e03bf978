"""How a text file is written is found in its beginning."""

import gzip
from pathlib import Path

import pytest

from mtl_cli.data.guess.layout import guess
from mtl_cli.options import ConfigError


def layout(tmp_path: Path, content: bytes, name: str = "a.csv"):
    path = tmp_path / name
    path.write_bytes(content)
    return guess(path, name).layout


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        (b"age,name\n1,a\n2,b\n", None),
        (b"1,a\n2,b\n", ("column1", "column2")),
        (b"id;2019;2020\n1;5;6\n2;7;8\n", None),
        (b"1,2\n3,4\n", ("column1", "column2")),
        (b"word,other\na,b\n", None),
        (b'"1, 2",x\n"a",y\n', None),
        (b" 38, Private\n 44, State\n", ("column1", "column2")),
        (b"a,b\n", None),
    ],
)
def test_a_first_line_of_data_is_no_header(tmp_path, content, columns):
    assert layout(tmp_path, content).columns == columns


def test_bytes_that_are_no_utf8_say_their_encoding(tmp_path):
    assert layout(tmp_path, "größe\n1\n".encode()).encoding == "utf-8"
    assert layout(tmp_path, "größe\n1\n".encode("cp1252")).encoding == "cp1252"
    assert layout(tmp_path, "größe\n1\n".encode("utf-16")).encoding == "utf-16"
    assert layout(tmp_path, gzip.compress("größe\n1\n".encode("cp1252")), "a.csv.gz").encoding == "cp1252"


def test_only_a_delimiter_that_is_not_found_anyway_is_told(tmp_path):
    assert layout(tmp_path, b"a|b\n1|2\n").delimiter == "|"
    assert layout(tmp_path, b"a;b\n1;2\n").delimiter is None


@pytest.mark.parametrize(("content", "name"), [(b"", "a.csv"), (b"\n\n", "a.csv"), (b"\x1f\x8b\x08broken", "a.csv.gz")])
def test_an_empty_or_broken_file_is_one_line(tmp_path, content, name):
    with pytest.raises(ConfigError, match=r"^a\.csv"):
        layout(tmp_path, content, name)
    with pytest.raises(ConfigError, match=r"^b\.csv"):
        guess(tmp_path / "b.csv", "b.csv")
