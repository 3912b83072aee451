"""Victims that are Keras models, in files of the `.keras` format or at hand."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import zipfile
from typing import Any

import keras

from wsl_extraction import checks
from wsl_extraction.data.split import Parts
from wsl_extraction.errors import InputError
from wsl_extraction.runtime import keras_saving
from wsl_extraction.victims import inputs
from wsl_extraction.victims.victim import (
    Victim,
    VictimSource,
    digest,
    in_batches,
    quantities_of,
    weights_digest,
)


@dataclasses.dataclass(frozen=True)
class KerasFile(VictimSource):
  """A model saved in the `.keras` format.

  Attributes:
    path: The file.
    outputs: What the model gives, "logits" or "probabilities".
    value_range: The range of values that it was trained on; None for the data
      set's own, for a model that begins with its preprocessing.
    batch_size: Rows that it sees at once.
  """

  path: str
  _: dataclasses.KW_ONLY
  outputs: str = "logits"
  value_range: tuple[float, float] | None = None
  batch_size: int = 256

  def __post_init__(self):
    checks.text("KerasFile.path", self.path, "the path of a .keras file")
    checks.one_of("KerasFile.outputs", self.outputs,
                  ("logits", "probabilities"))
    inputs.check_range("KerasFile.value_range", self.value_range)
    object.__setattr__(self, "batch_size", checks.whole(
        "KerasFile.batch_size", self.batch_size, 1))

  def load(self, parts, runtime):
    """Loads the model.

    Raises:
      InputError: The file cannot be read, holds code, or takes other inputs
        or gives other classes than the data has.
    """
    model = load(self.path)
    content = pathlib.Path(self.path).expanduser().read_bytes()
    return _victim(self, model, self.path, parts,
                   digest(content, self.outputs, self.value_range))


@dataclasses.dataclass(frozen=True, eq=False)
class KerasModel(VictimSource):
  """A Keras model that is at hand; its fields are those of `KerasFile`."""

  model: keras.Model
  _: dataclasses.KW_ONLY
  outputs: str = "logits"
  value_range: tuple[float, float] | None = None
  batch_size: int = 256

  def __post_init__(self):
    checks.instance("KerasModel.model", self.model, keras.Model,
                    "a Keras model")
    checks.one_of("KerasModel.outputs", self.outputs,
                  ("logits", "probabilities"))
    inputs.check_range("KerasModel.value_range", self.value_range)
    object.__setattr__(self, "batch_size", checks.whole(
        "KerasModel.batch_size", self.batch_size, 1))

  def load(self, parts, runtime):
    """Wraps the model.

    Raises:
      InputError: It takes other inputs or gives other classes than the data.
    """
    return _victim(self, self.model, "memory", parts, digest(
        self.model.to_json(), weights_digest(self.model), self.outputs,
        self.value_range))


def _victim(source: Any, model: keras.Model, path: str, parts: Parts,
            fingerprint: str) -> Victim:
  """Wraps a model of rows in any layout, with one output or one for a class."""
  answer = inputs.arranged(in_batches(model, source.batch_size),
                           getattr(model, "input_shape", None),
                           parts.space.shape)
  if answer is None:
    # Its message says which shape is wanted.
    check_fit(model, path, parts.space.shape, parts.num_classes)
    raise AssertionError("shapes that agree are arranged")
  classes = parts.num_classes
  is_single = getattr(model, "output_shape", None) == (None, 1) and (
      classes in (None, 2))
  if not is_single:
    _check_shape(model, path, "gives outputs", "output_shape", (None, classes))
  outputs = 2 if is_single else int(model.output_shape[-1])
  predict = inputs.rescaled(answer, parts.space, source.value_range)
  return Victim(parts.space, outputs,
                quantities_of(source.outputs, predict, classes=outputs),
                fingerprint,
                value_range=source.value_range or parts.space.value_range)


def load(path: str | os.PathLike) -> keras.Model:
  """Loads a `.keras` file without running code that it may hold.

  Raises:
    InputError: It is missing, damaged, no Keras file, or needs code to run.
  """
  path = pathlib.Path(path).expanduser()
  if not path.is_file():
    raise InputError(f"there is no model file {path}; give the path of a "
                     ".keras file")
  if not zipfile.is_zipfile(path) or path.suffix != ".keras":
    raise InputError(f"{path} is no .keras file; save the model with "
                     "model.save('name.keras')")
  try:
    return keras_saving.call_once(
        keras.saving.load_model(path, compile=False, safe_mode=True))
  except Exception as error:  # Keras raises whatever its parts raise
    text = " ".join(str(error).split())[:200]
    if (version := _saved_by(path)) not in (None, keras.__version__):
      raise InputError(
          f"{path} was saved by Keras {version}, and this is Keras "
          f"{keras.__version__}, which cannot load it ({text}); save it anew, "
          "or install that version") from error
    raise InputError(f"{path} cannot be loaded as a Keras model ({text}); it "
                     "is damaged, or needs code of its own, which is not run"
                     ) from error


def _saved_by(path: pathlib.Path) -> str | None:
  """The version of Keras that wrote a file; None where it does not say."""
  try:
    with zipfile.ZipFile(path) as file:
      version = json.loads(file.read("metadata.json"))["keras_version"]
  except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile):
    return None
  return version if isinstance(version, str) else None


def cached(path: pathlib.Path) -> keras.Model | None:
  """The model that was kept at `path`, if it is there and whole."""
  if not path.exists():
    return None
  try:
    return load(path)
  except InputError:
    return None  # to be made anew


def check_fit(model: keras.Model, path: str | os.PathLike,
              input_shape: tuple[int, ...], num_classes: int | None) -> None:
  """Makes sure that a model maps [n, *input_shape] to [n, c].

  Args:
    model: It.
    path: The place that messages name.
    input_shape: Of one row.
    num_classes: c; None for any.

  Raises:
    InputError: It does not.
  """
  _check_shape(model, path, "takes inputs", "input_shape",
               (None, *input_shape))
  _check_shape(model, path, "gives outputs", "output_shape",
               (None, num_classes))


def _check_shape(model: keras.Model, path: str | os.PathLike, what: str,
                 attribute: str, wanted: tuple[int | None, ...]) -> None:
  shape: Any = getattr(model, attribute, None)
  if isinstance(shape, (dict, list)) and len(shape) == 1:
    (shape,) = shape.values() if isinstance(shape, dict) else shape
  if isinstance(shape, tuple) and inputs.agree(shape, wanted):
    return
  advice = "use the data that it was made for"
  if isinstance(shape, (dict, list)):
    advice = "save a keras.Model of one of them"
  elif isinstance(shape, tuple) and len(shape) == len(wanted) == 4 and (
      shape[1:3] == wanted[1:3] and {shape[3], wanted[3]} == {1, 3}):
    advice = ("convert the data, as one of the two is grey and the other in "
              "colour")
  raise InputError(f"the model in {path} {what} of shape {shape}, the data "
                   f"needs {wanted}; {advice}")
