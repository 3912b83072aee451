"""Surrogates as files for other programs: ONNX, SavedModel and Keras.

TensorFlow writes the first two. On another backend a process of its own does,
from the `.keras` file, so that each format has one writer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

import keras
import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.runtime import files, keras_saving, silence_logs

_ROWS, _TOGETHER = 1024, 256
_CHILD = ("import sys\nfrom wsl_extraction.runtime import export\n"
          "export.write_elsewhere(*sys.argv[1:])")


@dataclasses.dataclass(frozen=True)
class Exported:
  """A file that was written, and how its answers differ from the model's.

  Attributes:
    path: The file, or the folder of a SavedModel.
    format: A key of `export_paths.FORMATS`.
    program: The program that computed the file's answers, with its version.
    rows: The number of rows that both answered.
    largest_difference: Of two answers, in the unit of the model's outputs.
    other_classes: The number of rows whose best class is another one.
  """

  path: str
  format: str
  program: str
  rows: int
  largest_difference: float
  other_classes: int


def export(model: keras.Model, form: str, path: str | os.PathLike,
           rows: Any) -> Exported:
  """Writes a model whole or not at all, and compares the file's answers.

  Args:
    model: It maps rows [n, ...] to outputs [n, c]. Layers of mixed precision
      are written in float32.
    form: A key of `export_paths.FORMATS`.
    path: The file or folder to write.
    rows: Rows [n, ...], of which at most 1,024 are compared.

  Raises:
    InputError: The model cannot be written in that format, its file does not
      answer with numbers of the right shape, or the folder cannot be written.
  """
  path = files.expanded(path)
  write = _folder if form == "saved_model" else files.atomic_write
  with write(path) as temporary:
    try:
      with _quiet():
        is_direct = form == "keras" or keras.backend.backend() == "tensorflow"
        (_write if is_direct else _by_tensorflow)(
            _float32(model), form, temporary)
        program, answer = _READERS[form](temporary)
        return _compared(model, answer, rows[:_ROWS], Exported(
            str(path), form, program, 0, 0.0, 0))
    except (InputError, OSError):
      raise
    except Exception as error:  # of whichever library
      text = " ".join(str(error).split())[-200:]
      raise InputError(
          f"the surrogate cannot be exported as {form} "
          f"({type(error).__name__}: {text}); choose another format of "
          f"{', '.join(_READERS)}") from error


def _compared(model: keras.Model, answer: Callable[[np.ndarray], np.ndarray],
              rows: Any, exported: Exported) -> Exported:
  largest, others, count = 0.0, 0, 0
  for start in range(0, len(rows), _TOGETHER):
    batch = np.asarray(rows[start:start + _TOGETHER])
    if batch.dtype == np.float64:  # which Keras rounds, too
      batch = batch.astype(keras.config.floatx())
    own = model.predict(batch, verbose=0)
    theirs = np.asarray(answer(batch))
    if theirs.shape != own.shape or not np.isfinite(theirs).all():
      raise ValueError(f"the file answers {theirs.shape} numbers, not all of "
                       f"them finite, where the model gives {own.shape}")
    difference = np.abs(own.astype(np.float64) - theirs.astype(np.float64))
    largest = max(largest, float(difference.max()))
    others += int((own.argmax(axis=1) != theirs.argmax(axis=1)).sum())
    count += len(batch)
  return dataclasses.replace(exported, rows=count, largest_difference=largest,
                             other_classes=others)


def _float32(model: keras.Model) -> keras.Model:
  """The same model with float32 in place of mixed precision."""
  text = model.to_json()
  plain = text.replace('"mixed_bfloat16"', '"float32"').replace(
      '"mixed_float16"', '"float32"')
  if plain == text:
    return model
  single = keras.models.model_from_json(plain)
  single.set_weights(model.get_weights())
  return single


def _write(model: keras.Model, form: str, path: pathlib.Path) -> None:
  if form == "keras":
    keras_saving.save(model, path)
    return
  keras_saving.call_once(model)
  model.export(path, format={"saved_model": "tf_saved_model"}.get(form, form),
               verbose=False)


def _by_tensorflow(model: keras.Model, form: str, path: pathlib.Path) -> None:
  """Has a process of that backend write the file."""
  modules = {type(layer).__module__ for layer in model._flatten_layers()}
  with tempfile.TemporaryDirectory() as folder:
    whole = os.path.join(folder, "model.keras")
    keras_saving.save(model, whole)
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, whole, form, str(path),
         *sorted(one for one in modules if not one.startswith("keras."))],
        env={**os.environ, "KERAS_BACKEND": "tensorflow",
             "CUDA_VISIBLE_DEVICES": "-1",
             "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True, text=True, stdin=subprocess.DEVNULL)
  if done.returncode:
    raise ValueError(done.stderr.strip().rpartition("\n")[2])


def write_elsewhere(whole: str, form: str, path: str, *modules: str) -> None:
  """Writes a `.keras` file in another format, for `_by_tensorflow`."""
  for name in modules:  # they register layers
    importlib.import_module(name)
  _write(keras.saving.load_model(whole, compile=False), form,
         pathlib.Path(path))


def _from_onnx(path: pathlib.Path) -> tuple[str, Callable]:
  import onnxruntime

  options = onnxruntime.SessionOptions()
  options.log_severity_level = 3
  session = onnxruntime.InferenceSession(path, options)
  (entry,) = session.get_inputs()
  kind = {"tensor(double)": np.float64, "tensor(uint8)": np.uint8}.get(
      entry.type, np.float32)
  return _named("onnxruntime"), lambda rows: session.run(
      None, {entry.name: rows.astype(kind)})[0]


def _from_saved_model(path: pathlib.Path) -> tuple[str, Callable]:
  import tensorflow as tf

  loaded = tf.saved_model.load(path)  # whose functions need it alive
  signature = loaded.serve.input_signature or ()
  kind = signature[0].dtype.as_numpy_dtype if signature else np.float32
  return _named("tensorflow"), lambda rows: loaded.serve(
      rows.astype(kind)).numpy()


def _from_keras(path: pathlib.Path) -> tuple[str, Callable]:
  loaded = keras.saving.load_model(path, compile=False)
  return _named("keras"), lambda rows: loaded.predict(rows, verbose=0)


_READERS = {"onnx": _from_onnx, "saved_model": _from_saved_model,
            "keras": _from_keras}


def _named(package: str) -> str:
  return f"{package} {metadata.version(package)}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  # tf2onnx, Grappler and Keras tell how they go about it.
  with warnings.catch_warnings(), silence_logs.silenced(
      sys.stderr), silence_logs.silenced(sys.stdout):
    warnings.simplefilter("ignore")
    yield


@contextlib.contextmanager
def _folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a path beside `path` for a folder that becomes it on success."""
  temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    yield temporary
    os.rename(temporary, path)
  except OSError as error:
    raise files.unwritable(path, error) from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
