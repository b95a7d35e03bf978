import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mtl_cli.data.base import MISSING, Frame
from mtl_cli.options import ConfigError
from tests.data.table.files import put, source

PEOPLE = """age,city,since,wage,moved,part
31,Bern,2020-01-01,100.5,yes,train
,Basel,2020-01-02,,no,test
45,Bern,,-1,NaN,train
52,,2020-01-04,90,no,val
28,Genf,2020-01-05,80,yes,test
"""
INPUTS = {"numbers": ["age"], "categories": ["city"], "dates": ["since"]}


def refused(*args, **options) -> str:
    with pytest.raises(ConfigError) as caught:
        source(*args, **options).load()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_columns_become_inputs_and_labels_as_the_tasks_read_them(tmp_path):
    put(tmp_path, "t.csv", PEOPLE)
    its = source(tmp_path, {"wage": "numbers", "moved": "classes"}, **INPUTS, split="part", codes={"wage": [-1]})
    loaded = its.load()
    inputs = loaded.train.inputs
    assert isinstance(inputs, Frame)
    assert inputs.names == ("age", "since", "city")
    assert inputs.numbers["age"].tolist() == [31, 45]
    assert inputs.dates["since"].isnan().tolist() == [False, True]
    assert inputs.categories["city"].classes == ("Basel", "Bern", "Genf")
    assert loaded.train.columns["wage"].values.isnan().tolist() == [False, True]
    assert loaded.train.columns["moved"].values.tolist() == [1, MISSING]
    assert loaded.test.columns["moved"].classes == ("no", "yes")
    assert loaded.val is not None
    assert loaded.val.columns["wage"].values.tolist() == [90]
    assert [its.where("test", i) for i in (0, 1)] == ["t.csv, row 2", "t.csv, row 5"]
    assert its.where("val", 0) == "t.csv, row 4"


def test_a_file_of_its_own_is_test_and_shares_the_words(tmp_path):
    put(tmp_path, "t.csv", "n,w,y\n1,a,10\n2,b,9\n")
    pq.write_table(pa.table({"y": [9.0, 10.0, None], "w": ["c", "a", "b"], "n": [1, 2, 3]}), tmp_path / "test.parquet")
    its = source(tmp_path, {"y": "classes"}, numbers=["n"], categories=["w"], test_path="test.parquet")
    loaded = its.load()
    assert loaded.train.columns["y"].classes == loaded.test.columns["y"].classes == ("9", "10")
    assert loaded.train.columns["y"].values.tolist() == [1, 0]
    assert loaded.test.columns["y"].values.tolist() == [0, 1, MISSING]
    words = [its.classes[code] for its in [loaded.test.inputs.categories["w"]] for code in its.values]
    assert words == ["c", "a", "b"]
    assert its.where("test", 2) == "test.parquet, row 3"
    assert its.where("train", 1) == "t.csv, row 2"


def test_words_of_two_files_stand_in_one_order(tmp_path):
    put(tmp_path, "t.csv", "n,y\n1,b\n2,d\n")
    put(tmp_path, "u.csv", "n,y\n1,c\n2,a\n")
    loaded = source(tmp_path, {"y": "classes"}, numbers=["n"], test_path="u.csv").load()
    assert loaded.train.columns["y"].classes == ("a", "b", "c", "d")
    assert (loaded.train.columns["y"].values.tolist(), loaded.test.columns["y"].values.tolist()) == ([1, 3], [2, 0])


def test_a_share_is_kept_for_test_alike_in_every_class(tmp_path):
    put(tmp_path, "t.csv", "n,y\n" + "".join(f"{i},{'ab'[i % 4 == 0]}\n" for i in range(80)))
    its = source(tmp_path, {"y": "classes"}, numbers=["n"], test=0.25)
    loaded = its.load()
    assert torch.bincount(loaded.test.columns["y"].values).tolist() == [15, 5]
    rows = loaded.test.inputs.numbers["n"].long().tolist()
    assert [its.where("test", i) for i in range(20)] == [f"t.csv, row {row + 1}" for row in rows]
    again = source(tmp_path, {"y": "classes"}, numbers=["n"], test=0.25).load()
    assert again.digest == loaded.digest
    assert torch.equal(again.test.inputs.numbers["n"], loaded.test.inputs.numbers["n"])


def test_a_class_of_one_row_stays_in_train(tmp_path):
    put(tmp_path, "t.csv", "n,y,z\n" + "".join(f"{i},c{min(i, 8)},d{i // 20}\n" for i in range(40)))
    loaded = source(tmp_path, {"y": "classes", "z": "classes"}, numbers=["n"], test=0.5).load()
    assert len(loaded.train.columns["y"].values.unique()) == 9
    assert len(loaded.train.inputs) + len(loaded.test.inputs) == 40


def test_labels_whose_differences_float32_would_lose_are_refused(tmp_path):
    put(tmp_path, "t.csv", "n,y\n" + "".join(f"1,{1_600_000_000 + i}\n" for i in range(100)))
    assert "t.csv, column y: labels of 1.6e+09 +- 28.8661 are too far" in refused(
        tmp_path, {"y": "numbers"}, numbers=["n"]
    )
    for step in (0, 100_000):  # all alike, or far apart
        put(tmp_path, "t.csv", "n,y\n" + "".join(f"1,{1_600_000_000 + step * i}\n" for i in range(100)))
        source(tmp_path, {"y": "numbers"}, numbers=["n"]).load()


def test_only_named_columns_are_looked_at(tmp_path):
    put(tmp_path, "t.csv", "n,odd,y\n" + "1,x,0\n2,inf,1\n" * 4)
    assert source(tmp_path, {"y": "classes"}, numbers=["n"]).load().train.inputs.names == ("n",)


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("n,y\n1,2\nabc,3\n", {}, "t.csv, row 2, column n: 'abc' is no number"),
        ("n,y\n1,2\n3,abc\n", {}, "t.csv, row 2, column y: 'abc' is no number"),
        ("n,y\n1,2\n3,1e300\n", {}, "t.csv, row 2, column y: 1e+300 is beyond what a float32 holds"),
        ("n,y\n1,2\ninf,3\n", {}, "t.csv, row 2, column n: 'inf' is infinite"),
        ("n,y\n1,2\n3,4\n", {"numbers": ["m"]}, "t.csv has no column 'm': choose from n, y"),
        ("n,x\n1,2\n3,4\n", {}, "t.csv has no column 'y'"),
        ("n,y\n1,2\n3,4\n", {"codes": {"no": ["-1"]}}, "t.csv has no column 'no'"),
        ("n,y\n1,2\n3,4\n", {"split": "part"}, "t.csv has no column 'part'"),
        ("n,y,s\n1,2,train\n3,4,dev\n", {"split": "s"}, "t.csv, row 2, column s: dev should be train, val or test"),
        ("n,y,s\n1,2,train\n3,4,\n", {"split": "s"}, "t.csv, row 2, column s: it is empty"),
        ("n,y,s\n1,2,train\n3,4,train\n", {"split": "s"}, "t.csv, column s: no row is test"),
        ("n,y\n1,2\n", {}, "t.csv keeps none of its 1 rows for test"),
        ("n,y\n1,2\n3,4\n", {"test": 0.0}, "t.csv keeps none of its 2 rows for test"),
        ("n,y\n1,\n3,\n", {}, "t.csv, column y: no row of train has a label"),
        ("n,y\n1,2\n3,4\n", {"numbers": ["n", "y"]}, "t.csv: column y is an input and a target"),
        ("n,y\n1,2\n3,4\n", {"split": "y"}, "t.csv: column y is an input and a target"),
        ("n,y\n1,2\n3,4\n", {"dates": ["n"]}, "t.csv: column n has 2 uses"),
        ("n,y\n1,2\n3,4\n", {"numbers": []}, "t.csv has no input"),
        ("n,y\n1,2\n3,4\n", {"test_path": "t.csv"}, "test_path=t.csv should be another file"),
        ("n,y\n1,2\n3,4\n", {"test_path": "no.csv"}, "no.csv is not a file"),
        (
            "d,y\n2020-01-01,1\n31.12.2020,2\n",
            {"numbers": [], "dates": ["d"]},
            "t.csv, row 2, column d: '31.12.2020' is no date",
        ),
    ],
)
def test_what_is_wrong_is_one_line_with_file_row_and_column(tmp_path, content, options, said):
    put(tmp_path, "t.csv", content)
    assert refused(tmp_path, {"y": "numbers"}, **{"numbers": ["n"], **options}).startswith(said)


def test_of_many_columns_an_error_lists_a_few(tmp_path):
    put(tmp_path, "t.csv", ",".join(f"c{i}" for i in range(500)) + "\n" + ",".join("1" * 500) + "\n")
    assert "and 488 more" in refused(tmp_path, {"c0": "numbers"}, numbers=["zzz"])


def test_an_error_in_the_test_file_names_that_file(tmp_path):
    put(tmp_path, "t.csv", "n,y\n1,2\n3,4\n")
    put(tmp_path, "u.csv", "n,y\nx,2\n")
    line = refused(tmp_path, {"y": "numbers"}, numbers=["n"], test_path="u.csv")
    assert line.startswith("u.csv, row 1, column n: 'x'")
