"""Tables in CSV and Parquet files, against what pandas reads of them."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest

from wsl_extraction.data import datasets
from wsl_extraction.data.columns import Columns
from wsl_extraction.data.split import Split
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.spaces import Vectors
from wsl_extraction.oracle.tables import Categorical, Continuous, Table

LABEL = Columns(label="income")
TABLE = """\
age, work,hours,income
39,Private,40.5,no

50,"Self, owned",,yes
1e3,?,-1,no
28,Private,0.1,yes
"""


def load(folder, text, columns: Columns | None = LABEL, name="t.csv"):
  (folder / name).write_bytes(text if isinstance(text, bytes) else
                              text.encode())
  return datasets.load(str(folder / name), columns=columns)


def test_numbers_stay_and_texts_become_their_places(tmp_path):
  dataset = load(tmp_path, TABLE)
  assert dataset.space == Table((
      Continuous("age"), Categorical("work", ("Private", "Self, owned")),
      Continuous("hours")), missing=True)
  expected = [[39, 0, 40.5], [50, 1, np.nan], [1e3, np.nan, -1], [28, 0, 0.1]]
  np.testing.assert_array_equal(dataset.train.rows, expected)
  np.testing.assert_array_equal(dataset.train.labels, [0, 1, 0, 1])
  assert dataset.class_names == ("no", "yes")
  assert dataset.space.checked(dataset.train.rows).shape == (4, 3)


@pytest.mark.parametrize("separator", ",;\t|")
@pytest.mark.parametrize("compressed", [False, True])
def test_numbers_are_those_of_pandas(tmp_path, separator, compressed):
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(30, 3)) * 10.0 ** rng.integers(-30, 30, (30, 3))
  frame = pd.DataFrame(rows, columns=["a", "b", "c d"])
  frame["income"] = np.arange(30) % 3 + 9  # 9, 10, 11: by number, not by text
  text = frame.to_csv(sep=separator, index=False).encode("utf-8-sig")
  dataset = load(tmp_path, gzip.compress(text) if compressed else text,
                 name="t.csv.gz" if compressed else "T.CSV")
  np.testing.assert_array_equal(dataset.train.rows, rows)
  assert dataset.space == Vectors(3, names=("a", "b", "c d"))
  assert dataset.class_names == ("9", "10", "11")
  np.testing.assert_array_equal(dataset.train.labels, np.arange(30) % 3)


def test_parquet_gives_the_same_as_csv(tmp_path):
  csv = load(tmp_path, TABLE)
  frame = pd.read_csv(tmp_path / "t.csv", skipinitialspace=True, na_values="?")
  frame["work"] = frame["work"].astype("category")
  frame.to_parquet(tmp_path / "t.parquet")
  parquet = datasets.load(tmp_path / "t.parquet", columns=LABEL)
  np.testing.assert_array_equal(parquet.train.rows, csv.train.rows)
  assert (parquet.space, parquet.class_names) == (csv.space, csv.class_names)


def test_true_and_false_are_one_and_zero_in_parquet(tmp_path):
  pd.DataFrame({"a": [True, False, True], "b": pd.array([1, None, 3], "Int64"),
                "income": [True, False, True]}).to_parquet(tmp_path / "t.pq")
  dataset = datasets.load(tmp_path / "t.pq", columns=LABEL)
  np.testing.assert_array_equal(
      dataset.train.rows, [[1, 1], [0, np.nan], [1, 3]])
  assert dataset.class_names == ("0", "1")


def test_named_columns_are_categories_or_left_out(tmp_path):
  text = "id,zip,code,income\n1,007,10,a\n2,12,9,b\n3,7,10,a\n"
  dataset = load(tmp_path, text, Columns(
      label="income", categorical=["zip", "code"], ignored=["id"]))
  assert dataset.space == Table((  # 007 is no number, so none is
      Categorical("zip", ("007", "12", "7")), Categorical("code", (9, 10))))
  np.testing.assert_array_equal(dataset.train.rows, [[0, 1], [1, 0], [2, 1]])


def test_a_table_is_split_as_other_data(tmp_path):
  text = "a,income\n" + "".join(f"{i},{i % 2}\n" for i in range(40))
  dataset = load(tmp_path, text)
  parts = Split(private=10, pool=20, test=10)(dataset)
  assert (len(parts.private), len(parts.pool), len(parts.test)) == (10, 20, 10)
  assert set(parts.pool.keys).isdisjoint(parts.test.keys)


MANY = "".join(f"{i},t{i},{i % 2}\n" for i in range(60))
# Text of the file -> what the one line says, and the columns asked for.
BAD = {
    "": (r"^\S+t\.csv is empty; give a table", LABEL),
    "\n\n": ("is empty", LABEL),
    "a,income\n": ("has names of columns and no rows", LABEL),
    "a,b\n1,2\n": (r"has no column 'income', which Columns\.label names; its "
                   "columns are 'a', 'b'$", LABEL),
    "a,income\n1,x\n": (r"has no column 'z', which Columns\.ignored", Columns(
        label="income", ignored=("z",))),
    "income\nx\ny\n": ("no column beside 'income'", LABEL),
    "a,b,a,income\n1,2,3,x\n": (
        r"t\.csv, line 1: columns 1 and 3 are both named 'a'; rename", LABEL),
    ",a,income\n0,1,x\n": (r"line 1: column 1 has no name; .*index=False",
                           LABEL),
    "a,income\n1,x\n\n12a,y\n3,x\n": (
        r"t\.csv, line 4, column 'a': '12a' is no number, as 2 others", LABEL),
    "a,income\n\"1\n2\",x\n5,y\n6,y\n7,x\n": (
        r"line 2, column 'a': '1\\n2' is no number", LABEL),
    "a,income\n1,x\n1e999,y\n": (
        r"line 3, column 'a': 1e999 is not finite", LABEL),
    "a,b,income\n1,,x\n2,?,y\n": (
        "column 'b' is empty in all 2 rows; leave it out", LABEL),
    "a,income\n1,x\n2,\n": (
        r"t\.csv, line 3, column 'income': the class is missing", LABEL),
    "a,income\n1,x\n2,x\n": ("column 'income' holds a single class, 'x'; give",
                             LABEL),
    "a,income\n1,x\n2,y,3\n": ("line 3: 3 values for 2 columns; mend", LABEL),
    "a,b,income\n1,2,x\n2,y\n": ("line 3: 2 values for 3 columns", LABEL),
    "a,income\n1,\"x\n2,y\n": ("line 2: unexpected end of data", LABEL),
    "a,income\n1,2.5\n2,3\n": (
        r"column 'income' holds 2 different numbers, such as 2\.5: a quantity, "
        "not classes", LABEL),
    "income,a,b\n" + MANY: ("'income' holds 60 different numbers, such as 0: a "
                            "quantity", LABEL),
    "a,income,b\n" + MANY: ("'income' holds 60 different texts in 60 rows",
                            LABEL),
    "a,b,income\n" + MANY: (
        "'b' holds 60 different texts in 60 rows, such as 't0'; leave it",
        LABEL),
}


@pytest.mark.parametrize("text", BAD)
def test_bad_csv_files_are_one_line(tmp_path, text):
  message, columns = BAD[text]
  with pytest.raises(InputError, match=message) as refused:
    load(tmp_path, text, columns)
  assert "\n" not in str(refused.value)
  assert "t.csv" in str(refused.value)


@pytest.mark.parametrize(("name", "content", "message"), [
    ("t.csv", TABLE.encode("utf-16"), r"line 1, is no UTF-8 \(byte 0xff\)"),
    ("t.csv", TABLE.encode() + b"1,\xe9,3,no\n",
     r"line 7, is no UTF-8 \(byte 0xe9\)"),
    ("t.csv.gz", b"a,income\n1,x\n", "not compressed by gzip"),
    ("t.csv.gz", gzip.compress(TABLE.encode())[:-9], "is damaged"),
    ("t.parquet", b"", "no Parquet file"),
    ("t.parquet", TABLE.encode(), "no Parquet file")])
def test_damaged_files_are_one_line(tmp_path, name, content, message):
  with pytest.raises(InputError, match=message) as refused:
    load(tmp_path, content, name=name)
  assert "\n" not in str(refused.value) and name in str(refused.value)


@pytest.mark.parametrize(("values", "message"), [
    ([1.0, np.inf], r"column 'a', row 1: inf is not finite"),
    ([[1], [2, 3]], "column 'a' holds ndarray"),
    (pd.to_datetime(["2020-01-01", "2021-01-01"]),
     "column 'a' holds Timestamp"),
    ([None, None], "'a' is empty in all 2 rows")])
def test_bad_parquet_columns_are_one_line(tmp_path, values, message):
  pd.DataFrame({"a": values, "income": ["x", "y"]}).to_parquet(
      tmp_path / "t.parquet")
  with pytest.raises(InputError, match=message):
    datasets.load(tmp_path / "t.parquet", columns=LABEL)


def test_parquet_columns_that_are_left_out_may_hold_anything(tmp_path):
  path = tmp_path / "t.parquet"
  when = pd.to_datetime(["2020-01-01", "2021-01-01", None])
  pd.DataFrame({"a": [1.0, 2, 3], "when": when, "far": [np.inf, 0, 1],
                "income": ["x", "y", "x"]}).to_parquet(path)
  dataset = datasets.load(path, columns=Columns(
      label="income", ignored=("when", "far")))
  np.testing.assert_array_equal(dataset.train.rows, [[1], [2], [3]])
  with pytest.raises(InputError, match=r"one of .*a.*when.*far.*income"):
    datasets.load(path)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "d.npz"])
def test_a_home_that_is_not_known(name):
  with pytest.raises(InputError, match="home folder that is not known"):
    datasets.load(f"~nobody-of-this-name/{name}", columns=(
        None if name == "d.npz" else LABEL))


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_files_that_are_not_there(tmp_path, name):
  with pytest.raises(InputError, match=r"cannot read .* No such file"):
    datasets.load(tmp_path / name, columns=LABEL)


def test_without_a_label_the_columns_are_listed(tmp_path):
  with pytest.raises(InputError, match=(
      r"Columns\.label to one of 'age', 'work', 'hours', 'income'")):
    load(tmp_path, TABLE, None)


@pytest.mark.parametrize(("settings", "message"), [
    ({"label": ""}, "Columns.label is ''"),
    ({"label": "a", "ignored": "a"}, "Columns.ignored is 'a'; give a list"),
    ({"label": "a", "categorical": ("a",)}, "which is Columns.label too")])
def test_columns_that_cannot_be(settings, message):
  with pytest.raises(InputError, match=message):
    Columns(**settings)


@pytest.mark.parametrize(("name", "options", "message"), [
    ("iris", {"columns": LABEL}, "iris is no CSV or"),
    ("iris", {"streamed": True, "image_size": 8}, "leave Experiment.streamed"),
    ("wine", {"image_size": 8}, "no image_size"),
    ("diabetes", {}, "a quantity to predict .* no classes; choose one of")])
def test_settings_that_tables_do_not_have(name, options, message):
  with pytest.raises(InputError, match=message):
    datasets.load(name, **options)


@pytest.mark.parametrize(("name", "of"), [
    ("iris", "iris"), ("wine", "wine"), ("breast_cancer", "breast_cancer"),
    ("digits_vectors", "digits")])
def test_tables_of_scikit_learn(name, of):
  from sklearn import datasets as sklearn_datasets

  x, y = getattr(sklearn_datasets, f"load_{of}")(return_X_y=True)
  dataset = datasets.load(name)
  np.testing.assert_array_equal(dataset.train.rows, x)
  np.testing.assert_array_equal(dataset.train.labels, y)
  assert isinstance(dataset.space, Vectors) and dataset.space.names
  assert dataset.num_classes == len(set(y))
