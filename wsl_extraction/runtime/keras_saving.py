"""Saving Keras models without importing TensorFlow for it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import keras


def save(model: keras.Model, path: str | os.PathLike) -> None:
  """Writes a model to a `.keras` file.

  Args:
    model: The model.
    path: The file, which ends in `.keras`.
  """
  with without_tensorflow():
    model.save(path)


def call_once(model: keras.Model) -> keras.Model:
  """Calls a model on symbolic inputs, unless it was called before.

  Keras refuses to export a model to ONNX that was loaded and never called.

  Args:
    model: A built model of one input.

  Returns:
    The same model.
  """
  shape = getattr(model, "input_shape", None)
  if isinstance(shape, tuple) and not getattr(model, "_called", True):
    model(keras.KerasTensor(shape, dtype=model.inputs[0].dtype),
          training=False)
  return model


@contextlib.contextmanager
def without_tensorflow() -> Iterator[None]:
  """Lets Keras write configurations without importing TensorFlow.

  Keras asks of each value in a configuration whether it is one of TensorFlow's
  types, and imports TensorFlow to ask: seconds and hundreds of megabytes in a
  process of another backend. A module that was never imported has made none of
  the values, so there Keras is told that it is absent. Where Keras has changed
  nothing is done.
  """
  lazy = _lazy_tensorflow()
  if ("tensorflow" in sys.modules
      or getattr(lazy, "_available", ...) is not None):
    yield
    return
  lazy._available = False
  try:
    yield
  finally:
    lazy._available = None


def _lazy_tensorflow() -> Any:
  try:
    from keras.src.utils import module_utils
  except ImportError:
    return None
  return getattr(module_utils, "tensorflow", None)
