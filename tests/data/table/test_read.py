import csv
import gzip
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_cli.data.table.read import read, rows, stream
from mtl_cli.data.table.rows import Layout
from mtl_cli.options import ConfigError
from tests.data.table.files import put

Table = dict[str, list[object]]


def got(folder: Path, name: str, content: str | bytes, **layout: object) -> Table:
    table: Table = read(put(folder, name, content), name, Layout(**layout)).to_pydict()  # type: ignore[arg-type]
    return table


def line(folder: Path, name: str, content: str | bytes, **layout: object) -> str:
    with pytest.raises(ConfigError) as caught:
        got(folder, name, content, **layout)
    assert "\n" not in str(caught.value)
    return str(caught.value)


words = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\N{REPLACEMENT CHARACTER}"), max_size=5)


@settings(max_examples=150)
@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(words, min_size=n, max_size=n), min_size=1, max_size=8)))
def test_csv_reads_as_pythons_csv_module_reads_it(cells):
    file = io.StringIO(newline="")
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows([[f"c{i}" for i in range(len(cells[0]))], *cells])
    expected = list(csv.reader(io.StringIO(file.getvalue(), newline="")))[1:]
    (piece,) = stream(io.BytesIO(file.getvalue().encode()), "t.csv", Layout(), None)
    assert [list(row.values()) for row in piece.table.to_pylist()] == expected


def test_cells_stay_as_they_were_written(tmp_path):
    content = 'a,b,c\n007, 1.50 ,\nNaN,true,"x""\ny"\n'
    assert got(tmp_path, "t.csv", content) == {"a": ["007", "NaN"], "b": [" 1.50 ", "true"], "c": ["", 'x"\ny']}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "a,b\n1,2\n"),
        ("t.csv.gz", "a,b\n1,2\n"),
        ("t", "a,b\r\n1,2"),
        ("t.csv", "\ufeffa,b\n1,2\n\n\n"),
        ("t.csv", "a;b\n1;2\n"),
        ("t.csv", '"a";"b"\n1;2\n'),
        ("t.csv", "a\tb\n1\t2\n"),
        ("t.tsv", "a\tb\n1\t2\n"),
        ("t.csv", " a , b \n1,2\n"),
        ("t.jsonl", '{"a": "1", "b": "2"}\n\n'),
        ("t.jsonl.gz", '{"a": "1", "b": "2"}'),
    ],
)
def test_one_table_reads_alike_from_every_text(tmp_path, name, content):
    assert got(tmp_path, name, content) == {"a": ["1"], "b": ["2"]}


def test_a_comma_in_a_quoted_name_does_not_decide_the_delimiter(tmp_path):
    assert got(tmp_path, "t.csv", '"a, of all, here";b\n1;2\n') == {"a, of all, here": ["1"], "b": ["2"]}


def test_a_delimiter_that_is_told_is_taken(tmp_path):
    assert got(tmp_path, "t.csv", "a|b,c\n1|2\n", delimiter="|") == {"a": ["1"], "b,c": ["2"]}


def test_names_that_are_told_leave_the_first_line_a_row(tmp_path):
    assert got(tmp_path, "t.csv", "1,2\n3,4\n", columns=("a", "b")) == {"a": ["1", "3"], "b": ["2", "4"]}
    assert "2 columns, but `columns` names 3" in line(tmp_path, "t.csv", "1,2\n", columns=("a", "b", "c"))


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "latin-1", "utf-16-le"])
def test_other_encodings_are_read(tmp_path, encoding):
    content = "größe,b\n1,ä\n".encode(encoding)
    assert got(tmp_path, "t.csv", content, encoding=encoding) == {"größe": ["1"], "b": ["ä"]}


def test_json_keeps_numbers_booleans_and_null(tmp_path):
    content = '{"n": 1, "f": 0.5, "b": true, "s": "1"}\n{"n": null, "f": 2.0, "b": false}\n'
    assert got(tmp_path, "t.jsonl", content) == {"n": [1, None], "f": [0.5, 2.0], "b": [True, False], "s": ["1", None]}


def test_a_list_of_words_in_json_is_a_cell_of_tags(tmp_path):
    content = '{"tags": ["red", "round"]}\n{"tags": []}\n{"tags": "red"}\n'
    assert got(tmp_path, "t.jsonl", content) == {"tags": ["red,round", "", "red"]}


def test_json_numbers_of_both_kinds_lose_no_digit(tmp_path):
    content = f'{{"n": {10**30}}}\n{{"n": 0.5}}\n{{"n": "x"}}\n'
    assert got(tmp_path, "t.jsonl", content) == {"n": [str(10**30), "0.5", "x"]}


def test_parquet_keeps_its_types(tmp_path):
    table = pa.table({"n": pa.array([1, None]), "w": pa.array(["x", "y"]).dictionary_encode()})
    pq.write_table(table, tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet", "t.parquet", Layout()).schema.types == table.schema.types
    packed = gzip.compress((tmp_path / "t.parquet").read_bytes())
    (tmp_path / "t.parquet.gz").write_bytes(packed)
    assert read(tmp_path / "t.parquet.gz", "t.parquet.gz", Layout()).to_pydict() == table.to_pydict()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "", "t.csv is empty"),
        ("t.csv", "\n\n", "t.csv is empty"),
        ("t.csv", "a,b\n", "t.csv has no row"),
        ("t.jsonl", "\n", "t.jsonl is empty"),
        ("t.csv", "a,b,a\n1,2,3\n", "t.csv has 2 columns named 'a'"),
        ("t.csv", "a,b\n1,2\n3\n", "t.csv, row 2: it has 1 field, the first line has 2. Found 3"),
        ("t.csv", 'a,b\n"1\n\n1",2\n3,4,5\n', "t.csv, row 2: it has 3 fields"),
        ("t.csv", 'a,b\n1,2\n"3,4\n5,6\n', "t.csv, row 2: it has 1 field"),
        ("t.csv", b"a,b\n1,2\n3,caf\xe9\n", "t.csv, row 2, column b: caf\ufffd is not of the file's encoding"),
        ("t.csv", b"a,b\n1,2\ncaf\xe9,3,4\n", "t.csv, row 2: it has 3 fields, the first line has 2"),
        ("t.csv", b"a,caf\xe9\n1,2\n", "t.csv has a header that is not utf-8"),
        ("t.jsonl", '{"a": 1}\n\n{"a": [1, 2]}\n', "t.jsonl, row 2, column a: [1, 2] is nested"),
        ("t.jsonl", '{"a": 1}\n{"a": 1, "a": 2}\n', "t.jsonl, row 2, column a: it is there twice"),
        ("t.jsonl", '{"a": 1}\n{"a": \n', "t.jsonl, row 2"),
        ("t.jsonl", "[1]\n", "t.jsonl, row 1: [1] is no JSON object"),
        ("t.jsonl", f'{{"a": {"9" * 5000}}}\n', "t.jsonl, row 1"),
        ("t.jsonl", '{"a": "\\ud800"}\n', "t.jsonl, row 1"),
        ("t.jsonl", b'{"a": "\xff"}\n', "t.jsonl, row 1"),
        ("t.parquet", "a,b\n1,2\n", "t.parquet is damaged, or no Parquet file"),
        ("t.parquet", "", "t.parquet is damaged, or no Parquet file"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_its_row(tmp_path, name, content, said):
    assert line(tmp_path, name, content).startswith(said)


def test_bytes_that_an_encoding_lacks_are_named_by_row_and_column(tmp_path):
    assert line(tmp_path, "t.csv", b"a,b\n1,2\n3,\x81\n", encoding="cp1252").startswith("t.csv, row 2, column b")
    assert line(tmp_path, "t.csv", b"a\n1\n", encoding="utf-16").startswith("t.csv is not of encoding=utf-16")
    assert line(tmp_path, "t.csv", b"a\n1\n", delimiter="ab").startswith("delimiter=ab should be one character")
    assert line(tmp_path, "t.csv", b"a\n1\n", encoding="klingon").startswith("encoding=klingon is not known")


def test_a_file_cut_off_is_damaged(tmp_path):
    whole = gzip.compress("".join(f"{i},{i * i}\n" for i in range(20_000)).encode())
    (tmp_path / "t.csv.gz").write_bytes(whole[:-2000])
    with pytest.raises(ConfigError, match=r"t\.csv\.gz is damaged"):
        read(tmp_path / "t.csv.gz", "t.csv.gz", Layout())
    pq.write_table(pa.table({"a": list(range(5000))}), tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:-10])
    with pytest.raises(ConfigError, match=r"t\.parquet is damaged"):
        read(tmp_path / "t.parquet", "t.parquet", Layout())


def test_a_file_that_is_not_there_says_where_it_was_looked_for(tmp_path):
    put(tmp_path, "people.csv", "a\n1\n")
    for name, said in (("flats.tsv", "set path"), ("peple.csv", r"did you mean people\.csv\?")):
        with pytest.raises(ConfigError, match=f"is not a file: it was looked for at {tmp_path}.*: {said}"):
            list(rows(tmp_path / name, name, Layout(), None))


def test_rows_are_counted_over_pieces_and_past_rows_that_are_left_out(tmp_path):
    lines = ["bad" if i % 7 == 3 else f"{i},x" for i in range(1, 101)]
    lines[49] = "50,\\xff"
    content = "\n".join(["a,b", *lines]).encode().replace(b"\\xff", b"\xff")
    skipped: list[int] = []
    pieces = list(rows(put(tmp_path, "t.csv", content), "t.csv", Layout(block=64), lambda row, _: skipped.append(row)))
    assert len(pieces) > 5
    assert skipped == sorted([50, *(i for i in range(1, 101) if i % 7 == 3)])
    found = {
        int(n): cell for piece in pieces for n, cell in zip(piece.numbers, piece.table["a"].to_pylist(), strict=True)
    }
    assert found == {i: str(i) for i in range(1, 101) if i not in skipped}


def test_json_lines_that_are_left_out_keep_the_others_numbers(tmp_path):
    skipped: list[int] = []
    path = put(tmp_path, "t.jsonl", '{"a": 1}\nno\n{"a": 3}\n')
    (piece,) = rows(path, "t.jsonl", Layout(), lambda row, _: skipped.append(row))
    assert (piece.numbers.tolist(), skipped) == ([1, 3], [2])


def test_reading_can_stop_in_the_middle(tmp_path):
    reading = rows(put(tmp_path, "t.csv", "a,b\n" + "1,2\n" * 100_000), "t.csv", Layout(block=64), None)
    assert next(reading).numbers[0] == 1
    reading.close()  # waits for the thread that reads ahead


@pytest.mark.parametrize("start", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\n", b"PK\x03\x04\n"])
def test_an_image_or_a_spreadsheet_in_place_of_a_table_is_one_line(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(start + b"\xb4,\xb4,\n" * 9)
    with pytest.raises(ConfigError, match=r"a\.csv (is no text file|has a header that is not utf-8)"):
        read(tmp_path / "a.csv", "a.csv", Layout())
