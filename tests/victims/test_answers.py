"""Answers of services as they are, read by number or by name."""

from __future__ import annotations

import functools

import ml_dtypes
import numpy as np
import pytest
import scipy.special

import wsl_extraction as wsl
from wsl_extraction.data.convert import parts_of
from wsl_extraction.errors import InputError
from wsl_extraction.oracle import settings
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.outputs import VictimFailed, VictimMismatch
from wsl_extraction.oracle.responders import Live
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveals import Label, LabelScore, Scores, TopK
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.victims import convert
from wsl_extraction.victims.function import Function

X = np.random.default_rng(0).normal(size=(40, 6))
NAMES = ("ant", "bee", "cat", "dog", "elk", "fox")


def scores(rows):
  return scipy.special.softmax(2 * np.asarray(rows), axis=1)


def best(rows, k=3):
  return np.argsort(-scores(rows), axis=1)[:, :k]


def named(rows):
  return [NAMES[one] for one in best(rows, 1)[:, 0]]


def loaded(function, num_classes=6, **options):
  return Function(function, num_classes=num_classes, **options).load(
      parts_of(X), Runtime())


def owner(victim, reveal):
  return Oracle(Live(victim, reveal, is_owner=True))


LABELS = {
    "numbers": lambda rows: best(rows, 1)[:, 0],
    "a column": lambda rows: best(rows, 1),
    "a list": lambda rows: best(rows, 1)[:, 0].tolist(),
    "floats": lambda rows: best(rows, 1)[:, 0].astype(float),
    "names": named,
    "an array of names": lambda rows: np.array(named(rows)),
    "objects": lambda rows: np.array(named(rows), object),
    "bytes": lambda rows: np.array(named(rows)).astype("S"),
}


@pytest.mark.parametrize("form", LABELS)
def test_labels_by_number_and_by_name(form):
  victim = loaded(LABELS[form], outputs="label", class_names=NAMES)
  assert set(victim.quantities) == {Quantity.LABELS}
  response = owner(victim, Label()).query(X)
  np.testing.assert_array_equal(response.top_classes, X.argmax(axis=1))
  assert set(response.arrays) == {"classes"}
  with pytest.raises(InputError, match=r"'scores' needs .*gives labels: ch"):
    Live(victim, Scores())


def pairs(rows):
  table = scores(rows)
  return [[(NAMES[one], table[row, one]) for one in classes]
          for row, classes in enumerate(best(rows))]


TOP = {
    "dictionaries": lambda rows: [dict(row) for row in pairs(rows)],
    "pairs": pairs,
    "pairs in any order": lambda rows: [row[::-1] for row in pairs(rows)],
    "arrays": lambda rows: (
        best(rows), np.take_along_axis(scores(rows), best(rows), axis=1)),
    "arrays of names": lambda rows: (
        np.array(NAMES)[best(rows)],
        np.take_along_axis(scores(rows), best(rows), axis=1)),
}


@pytest.mark.parametrize("form", TOP)
@pytest.mark.parametrize("reveal", [Label(), LabelScore(), TopK(2), TopK(3)])
def test_the_best_few_are_what_a_victim_of_all_scores_would_reveal(
    form, reveal):
  victim = loaded(TOP[form], outputs="top_k", k=3, class_names=NAMES)
  whole = loaded(scores)
  response, expected = (
      owner(one, reveal).query(X) for one in (victim, whole))
  assert set(response.arrays) == set(expected.arrays)
  for name, array in expected.arrays.items():
    np.testing.assert_allclose(response.arrays[name], array, rtol=1e-12)
  np.testing.assert_allclose(
      response.probabilities(), expected.probabilities(), rtol=1e-9)


def test_label_and_score_of_a_service():
  victim = loaded(lambda rows: [row[0] for row in pairs(rows)],
                  outputs="top_k", k=1, class_names=NAMES)
  response = owner(victim, LabelScore()).query(X)
  np.testing.assert_array_equal(response.top_classes, X.argmax(axis=1))
  np.testing.assert_allclose(response.values[:, 0], scores(X).max(axis=1))


def test_no_more_is_revealed_than_the_service_gives():
  victim = loaded(TOP["arrays"], outputs="top_k", k=3)
  with pytest.raises(InputError, match="choose the reveal 'top_k:3'"):
    Live(victim, TopK(4))
  with pytest.raises(InputError, match=r"'scores' needs .*gives the best sc"):
    Live(victim, Scores())
  assert settings.richest(victim).reveal == TopK(3)
  assert settings.richest(loaded(LABELS["numbers"], outputs="label")
                          ).reveal == Label()


def test_rounding_and_a_store_keep_the_named_classes(tmp_path):
  victim = loaded(lambda rows: [{NAMES[2]: 0.0, NAMES[4]: 0.0}] * len(rows),
                  outputs="top_k", k=2, class_names=NAMES, decimals=2)
  reveal = TopK(2)
  with ResponseStore(tmp_path / "r.sqlite", reveal, 6, {}) as store:
    response = Oracle(Live(victim, reveal), None, store).query(X[:3])
  np.testing.assert_array_equal(response.classes, [[2, 4]] * 3)
  np.testing.assert_array_equal(response.values, 0)
  # Declared decimals are those of the response, as if the oracle rounded.
  assert Live(victim, reveal).resolution == 0.01


BAD = {
    "an unknown name": (lambda rows: ["yak"] * len(rows), "label", None,
                        "class 'yak', which is none of ant, bee,.* class_name"),
    "a number beyond": (lambda rows: [7] * len(rows), "label", None,
                        "class 7, which is none of 0 to 5"),
    "too few": (lambda rows: named(rows)[:-1], "label", None,
                "40 rows with 39 labels"),
    "too few of the best": (lambda rows: [{"ant": 1.0}] * len(rows), "top_k",
                            2, "named 1 classes of row 0; 2 are declared"),
    "logits of the best": (lambda rows: [{"ant": 7.5}] * len(rows), "top_k", 1,
                           "row 0 has the score 7.5; give probabilities"),
    "no pairs": (lambda rows: [3] * len(rows), "top_k", 1, "gave no pairs"),
    "two parts": (lambda rows: {"a": scores(rows), "b": 3}, "probabilities",
                  None, "with 2 parts, a, b; return one"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_is_told_to_the_owner_alone(case):
  function, outputs, k, message = BAD[case]
  victim = loaded(function, outputs=outputs, k=k, class_names=NAMES)
  with pytest.raises(VictimMismatch, match=message):
    owner(victim, Label()).query(X)
  if case == "logits of the best":
    return  # an answer, if a strange one
  adversary = Oracle(Live(victim, Label()), 40)
  with pytest.raises(VictimFailed) as caught:
    adversary.query(X)
  assert str(caught.value).startswith("the victim failed to answer a batch of ")
  assert caught.value.__cause__ is None and caught.value.__context__ is None
  assert adversary.ledger.left() == 0


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize("outputs, function", [
    ("probabilities", scipy.special.expit), ("logits", lambda z: z),
    ("percent", lambda z: 100 * scipy.special.expit(z))])
def test_one_sigmoid_output_is_two_classes(outputs, function, shape):
  victim = loaded(lambda rows: function(rows[:, 0]).reshape(shape),
                  num_classes=2, outputs=outputs)
  response = owner(victim, Scores()).query(X)
  second = scipy.special.expit(X[:, 0])
  np.testing.assert_allclose(
      response.values, np.stack([1 - second, second], axis=1), rtol=1e-12)


@pytest.mark.parametrize("answer", [
    lambda p: 100 * p, lambda p: np.round(100 * p, 1), lambda p: {"scores": p},
    lambda p: [p], lambda p: (p,), lambda p: p.astype(ml_dtypes.bfloat16),
    lambda p: p.astype(np.float16), lambda p: p.round(2), lambda p: p.tolist()])
def test_scores_are_told_by_themselves(answer):
  source, _ = convert.source_of(lambda rows: answer(scores(rows)), X[:16])
  assert isinstance(source, Function)
  assert source.outputs in ("probabilities", "percent")
  response = owner(source.load(parts_of(X), Runtime()), Scores()).query(X)
  np.testing.assert_allclose(response.values, scores(X), atol=6e-3)


def test_one_sigmoid_is_told_by_itself():
  for function, outputs in ((scipy.special.expit, "probabilities"),
                            (lambda z: z, "logits")):
    source, _ = convert.source_of(
        lambda rows, function=function: function(rows[:, :1]), X[:16])
    assert isinstance(source, Function)
    assert (source.outputs, source.num_classes) == (outputs, 2)


def test_label_and_top_k_services_are_copied():
  test = (X, X.argmax(axis=1))
  run = functools.partial(wsl.extract, pool=X, test=test, budget=20)
  copy = run(wsl.Function(named, outputs="label", class_names=NAMES),
             reveal="label")
  assert copy.evaluation and set(copy.evaluation.oracle) == {"accuracy_top1"}
  assert copy.evaluation.oracle["accuracy_top1"].value == 1
  copy = run(wsl.Function(TOP["dictionaries"], outputs="top_k", k=3,
                          class_names=NAMES), reveal="top_k:3")
  assert copy.evaluation and copy.evaluation.oracle["accuracy_top1"].value == 1
  assert "fidelity" in str(copy)


@pytest.mark.parametrize("options, message", [
    ({"outputs": "scores"}, r"Function\.outputs is 'scores'; choose one of lo"),
    ({"outputs": "top_k"}, r"Function\.k is None; give the number"),
    ({"class_names": "abc"}, r"Function\.class_names is 'abc'; give a list"),
    ({"class_names": ("a", "a")}, "holds 'a' twice"),
    ({"class_names": ("a", "b")}, "has 2 names, and there are 6 classes"),
    ({"decimals": -1}, r"Function\.decimals is -1"),
    ({"dtype": "int8"}, r"Function\.dtype is 'int8'; choose one of None, uin"),
    ({"value_range": (1, 0)}, r"Function\.value_range is \(1, 0\)"),
    ({"batch_size": 0}, r"Function\.batch_size is 0"),
    ({"channels_first": True}, "channels_first is True; give False, as"),
    ({"channels_first": 1}, r"Function\.channels_first is 1; give True or")])
def test_settings_that_cannot_be(options, message):
  with pytest.raises(InputError, match=message):
    loaded(scores, **options)
