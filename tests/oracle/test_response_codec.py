"""What the label store keeps of a response, and how precisely."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
import scipy.special
from hypothesis import strategies as st

from fixtures import oracles
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.response import Quantity, Response
from wsl_extraction.oracle.response_codec import (
    DTYPES,
    ResponseCodec,
    table_layout,
)
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveals import Logits, Scores, TopK
from wsl_extraction.oracle.side_reveals import Both, Gradients, Leaf, PowerTrace


def kept(scores, dtype="log16"):
  """Scores [n, c] as they come back."""
  scores = np.atleast_2d(scores)
  codec = ResponseCodec(Scores(), scores.shape[1], dtype)
  return codec.decode(codec.encode(Response(
      scores.shape[1], Quantity.PROBABILITIES, {"values": scores}))).values


@hypothesis.given(st.lists(st.floats(-31.9, 0), min_size=1, max_size=9),
                  st.sampled_from(["float32", "float64"]))
def test_log16_keeps_scores_to_half_a_step(logarithms, dtype):
  scores = np.exp(logarithms).astype(dtype)
  # Half of 1/2048, and what float32 loses on the way.
  np.testing.assert_allclose(kept(scores)[0], scores, rtol=2.45e-4)


@hypothesis.given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_log16_keeps_the_order(scores):
  assert (np.diff(kept(np.sort(scores))[0]) >= 0).all()


def test_log16_at_its_ends():
  np.testing.assert_array_equal(
      kept(np.array([0, 1, -1e-7, 1 + 1e-6], np.float32))[0], [0, 1, 0, 1])
  least = np.exp(-(2**16 - 2) / 2048)
  np.testing.assert_allclose(kept([1e-14, 1e-30, 5e-324])[0], least, rtol=1e-6)


def test_log16_keeps_the_distillation_target_of_confident_victims():
  """At temperature 1.5, beside float16, which loses the small scores."""
  rng = np.random.default_rng(0)
  logits = rng.normal(scale=3, size=(200, 1000))
  logits[:, 7] += 25
  target = scipy.special.softmax(logits / 1.5, axis=1)
  scores = scipy.special.softmax(logits, axis=1).astype(np.float32)
  gaps = {}
  for dtype in DTYPES:
    powers = kept(scores, dtype).astype(np.float64) ** (1 / 1.5)
    heated = powers / powers.sum(axis=1, keepdims=True)
    gaps[dtype] = scipy.special.rel_entr(heated, target).sum(axis=1).max()
  assert gaps["log16"] < 3e-6
  assert gaps["float16"] > 100 * gaps["log16"]
  assert (kept(scores, "float16") == 0).mean() > 0.3
  assert (kept(scores) > 0).all()


def test_top_scores_are_kept_with_their_classes():
  oracle = oracles.oracle(lambda x: x, 4, 4, "top_k:2")
  response = oracle.query(
      np.array([[1.0, 3.0, 2.0, -9.0], [0.0, 0.0, 8.0, 1.0]]))
  codec = ResponseCodec(TopK(2), 4, "log16")
  restored = codec.decode(codec.encode(response))
  np.testing.assert_array_equal(restored.classes, [[1, 2], [2, 3]])
  np.testing.assert_allclose(restored.values, response.values, rtol=2.5e-4)
  assert codec.row_bytes == 2 * 2 + 2 * 2


@pytest.mark.parametrize("reveal, scale, arrays", [
    (Both(Logits(), Gradients()), Quantity.LOGITS, {
        "values": np.arange(6.0).reshape(2, 3),
        "gradients": np.arange(24.0).reshape(2, 3, 4)}),
    (Leaf(), None, {"leaves": np.array([2**40, -1])}),
    (PowerTrace(), None, {"traces": np.arange(10, dtype=np.float32
                                              ).reshape(2, 5)}),
    (Both(TopK(2), Leaf()), Quantity.PROBABILITIES, {
        "classes": np.array([[2, 0], [1, 2]], np.int32),
        "values": np.array([[0.5, 0.25], [1.0, 0.0]]),
        "leaves": np.array([7, 8])}),
])
def test_every_kind_of_response_comes_back(reveal, scale, arrays):
  codec = ResponseCodec(reveal, 3, "float64")
  restored = codec.decode(codec.encode(Response(3, scale, arrays)))
  assert restored.scale is scale
  assert restored.arrays.keys() == arrays.keys()
  for name, array in arrays.items():
    np.testing.assert_array_equal(restored.arrays[name], array)


def test_responses_that_cannot_be_kept_are_refused():
  with pytest.raises(InputError, match="is 'int8'; choose one of log16, "
                     "float16, float32, float64"):
    ResponseCodec(Scores(), 3, "int8")
  with pytest.raises(InputError, match="'log16', which keeps scores; for the "
                     "reveal 'logits' choose float16"):
    ResponseCodec(Logits(), 3, "log16")


@pytest.mark.parametrize("classes, dtype", [
    (1000, "log16"), (1000, "float32"), (1500, "float16"), (2500, "float16"),
    (21_841, "float16")])
def test_files_are_little_larger_than_their_responses(
    tmp_path, classes, dtype):
  count = 1500 if classes < 5000 else 250
  scores = np.full((count, classes), 1 / classes, np.float32)
  with ResponseStore(tmp_path / "s", Scores(), classes, {}, dtype) as store:
    oracle = oracles.oracle(lambda x: scores[:len(x)], classes, 1,
                            quantity="probabilities", store=store)
    for start in range(0, count, 250):
      oracle.query(np.arange(start, start + 250)[:, None])
  size = (tmp_path / "s").stat().st_size
  assert size / count < 1.15 * ResponseCodec(Scores(), classes, dtype).row_bytes
  if classes == 1000 and dtype == "log16":
    assert size / count * 1_281_167 < 2.6 * 2**30


def test_small_rows_lie_in_the_index():
  assert table_layout(20) == (4096, "WITHOUT ROWID")
  assert table_layout(2000) == (4096, "")
  assert table_layout(3000) == (16384, "")
