"""What the label store keeps of a response, and how precisely."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
import scipy.special
from hypothesis import strategies as st

from wsl_extraction.errors import InputError
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.response import Response
from wsl_extraction.oracle.response_codec import (
  DTYPES,
  ResponseCodec,
  table_layout,
)
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveals import Access


def kept(scores, dtype="log16"):
  """Scores [n, c] as they come back."""
  scores = np.atleast_2d(scores)
  every = np.arange(scores.shape[1], dtype=np.int32)
  encoding = ResponseCodec(Access.SCORES, None, scores.shape[1], dtype)
  return encoding.decode(encoding.encode(Response(
      Access.SCORES, np.broadcast_to(every, scores.shape), scores))).values


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
      kept(np.float32([0, 1, -1e-7, 1 + 1e-6]))[0], [0, 1, 0, 1])
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
  oracle = Oracle(lambda x: x, outputs="logits", input_shape=(4,),
                  num_classes=4, access="top_k", k=2)
  said = oracle.query(np.array([[1.0, 3.0, 2.0, -9.0], [0.0, 0.0, 8.0, 1.0]]))
  encoding = ResponseCodec(Access.TOP_K, 2, 4, "log16")
  again = encoding.decode(encoding.encode(said))
  np.testing.assert_array_equal(again.classes, [[1, 2], [2, 3]])
  np.testing.assert_allclose(again.values, said.values, rtol=2.5e-4)
  assert encoding.row_bytes == 2 * 2 + 2 * 2


def test_what_cannot_be_kept_is_refused():
  with pytest.raises(InputError, match="'int8'; choose log16, float16, float32"
                     " or float64"):
    ResponseCodec(Access.SCORES, None, 3, "int8")
  with pytest.raises(InputError, match="'log16', which keeps scores; for "
                     "access 'logits' choose float16"):
    ResponseCodec(Access.LOGITS, None, 3, "log16")


@pytest.mark.parametrize("classes, dtype", [
    (1000, "log16"), (1000, "float32"), (1500, "float16"), (2500, "float16"),
    (21_841, "float16")])
def test_files_are_little_larger_than_their_responses(
    tmp_path, classes, dtype):
  count = 1500 if classes < 5000 else 250
  scores = np.full((count, classes), 1 / classes, np.float32)
  oracle = Oracle(lambda x: scores[:len(x)], outputs="probabilities",
                  input_shape=(), num_classes=classes)
  with ResponseStore(tmp_path / "s", {"access": "scores", "k": None,
                                   "num_classes": classes}, dtype) as store:
    for start in range(0, count, 250):
      keys = [i.to_bytes(16, "big") for i in range(start, start + 250)]
      store.answer(oracle, keys, np.zeros(250))
  size = (tmp_path / "s").stat().st_size
  assert size / count < 1.15 * ResponseCodec(
      Access.SCORES, None, classes, dtype).row_bytes
  if classes == 1000 and dtype == "log16":
    assert size / count * 1_281_167 < 2.6 * 2**30


def test_small_rows_lie_in_the_index():
  assert table_layout(20) == (4096, "WITHOUT ROWID")
  assert table_layout(2000) == (4096, "")
  assert table_layout(3000) == (16384, "")
