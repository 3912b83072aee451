"""The kinds of victims, tables, folders and gin files that people have.

A row of `TAKEN` or `REFUSED` each; what each kind has of variants stands in the
tests of the parts.
"""

from __future__ import annotations

import keras
import ml_dtypes
import numpy as np
import pytest
from keras import layers
from sklearn import linear_model, svm

from fixtures import commands, kinds
from fixtures.image_files import own_cache  # noqa: F401
from fixtures.kinds import (
    IMAGES,
    NAMES,
    answers,
    best,
    classifier,
    gin,
    keras_model,
    network,
    scores,
    student,
    warned_of,
)
from wsl_extraction.errors import InputError

TAKEN = {
    "scores of four decimals": answers(lambda x: scores(x).round(4)),
    "scores of two decimals": answers(lambda x: scores(x).round(2)),
    "percent": answers(lambda x: 100 * scores(x), outputs="percent"),
    "bfloat16": answers(lambda x: scores(x).astype(ml_dtypes.bfloat16)),
    "float16 in float32": answers(
        lambda x: scores(x).astype(np.float16).astype(np.float32)),
    "logits that look like probabilities": kinds.logits_like_probabilities,
    "one sigmoid output": kinds.one_sigmoid,
    "numbers of classes": answers(
        lambda x: scores(x).argmax(axis=1), outputs="label"),
    "names of classes": answers(
        lambda x: np.array(NAMES)[scores(x).argmax(axis=1)], outputs="label",
        class_names=NAMES),
    "label and score": answers(
        lambda x: best(x, 1), outputs="top_k", k=1, class_names=NAMES),
    "the best three": answers(
        lambda x: best(x, 3), outputs="top_k", k=3, class_names=NAMES),
    "an output in a dictionary": keras_model(
        network((6, 5, 3), lambda x: {"scores": x})),
    "a head of mixed_bfloat16": keras_model(
        network((6, 5, 3), dtype="mixed_bfloat16")),
    "a model of channels first": keras_model(
        network((3, 6, 5)), lambda x: x.transpose(0, 3, 1, 2)),
    "a model of flat inputs": keras_model(
        network((90,)), lambda x: x.reshape(-1, 90)),
    "a model of grey images without an axis": keras_model(
        network((6, 5)), lambda x: x[..., 0], IMAGES[..., :1]),
    "a function of channels first": kinds.channels_first_function,
    "a classifier without scores": classifier(svm.SVC()),
    "a classifier of decisions": classifier(linear_model.RidgeClassifier()),
    "a .skops file": kinds.skops_file,
    "a table with categories and gaps": kinds.csv_of_anything,
    "a Parquet file": kinds.parquet,
    "a DataFrame": kinds.frame,
    "test/ without classes beside val/": kinds.flat_test_folder,
    "equal images": kinds.equal_images,
    "a gin file with a byte order mark": gin("", "utf-8-sig"),
}

REFUSED = {
    "classes in another order": (warned_of(
        lambda x: scores(x)[:, ::-1]), "classes"),
    "answers that never change": (warned_of(
        lambda x: np.full((len(x), 6), 1 / 6)), "one and the same answer"),
    "pixels of another range": (kinds.another_range, r"value_range=\(0, 1\)"),
    "a model of another Keras": (kinds.of_tomorrow, r"saved by Keras 4\.2\.0"),
    "a .skops file of unknown types": (kinds.untrusted, "not trusted.*OwnTree"),
    "a pickle": (kinds.pickled, r"is no \.skops file"),
    "an image that is damaged in its middle": (
        kinds.damaged_image, "bee/0.jpg.*repair or remove it"),
    "a student that ends in softmax": (student(
        lambda input_shape, num_classes, value_range, seed: keras.Sequential([
            keras.Input(input_shape),
            layers.Dense(num_classes, activation="softmax")])), "softmax"),
    "a student of other classes": (student(
        lambda input_shape, num_classes, value_range, seed: keras.Sequential([
            keras.Input(input_shape), layers.Dense(num_classes + 1)])),
        r"gives outputs of shape \(None, 7\)"),
    "a student that is nothing": (student(
        lambda input_shape, num_classes, value_range, seed: None), "None"),
    "a gin file in UTF-16": (gin("", "utf-16"), "no UTF-8, but UTF-16"),
    "a gin file that includes itself": (
        gin("include 'own.gin'\n"), "includes itself"),
    "a text without quotation marks": (
        gin("experiment.Experiment.dataset = digits\n"), "write 'digits'"),
}


@pytest.fixture(name="folder")
def fixture_folder(tmp_path, monkeypatch):
  commands.write_modules(tmp_path)
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(tmp_path)
  return tmp_path


@pytest.mark.parametrize("kind", TAKEN)
def test_it_is_taken(kind, folder):
  TAKEN[kind](folder)


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_in_one_line(kind, folder):
  check, message = REFUSED[kind]
  with pytest.raises(InputError, match=message) as refused:
    check(folder)
  assert "\n" not in str(refused.value)
