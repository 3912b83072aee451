"""Victims that are Keras models, in files of the `.keras` format or at hand."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import zipfile
from typing import Any

import keras

from wsl_extraction import checks
from wsl_extraction.data.split import Parts
from wsl_extraction.errors import InputError
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
    check_fit(model, self.path, parts.space.shape, parts.num_classes)
    content = pathlib.Path(self.path).expanduser().read_bytes()
    return _victim(self, model, parts,
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
    check_fit(self.model, "memory", parts.space.shape, parts.num_classes)
    return _victim(self, self.model, parts, digest(
        self.model.to_json(), weights_digest(self.model), self.outputs,
        self.value_range))


def _victim(source: Any, model: keras.Model, parts: Parts,
            fingerprint: str) -> Victim:
  answer = in_batches(model, source.batch_size)
  predict = inputs.rescaled(answer, parts.space, source.value_range)
  return Victim(parts.space, int(model.output_shape[-1]),
                quantities_of(source.outputs, predict), fingerprint,
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
    return keras.saving.load_model(path, compile=False, safe_mode=True)
  except Exception as error:  # Keras raises whatever its parts raise
    text = " ".join(str(error).split())[:200]
    raise InputError(f"{path} cannot be loaded as a Keras model ({text}); it "
                     "is damaged, or needs code of its own, which is not run"
                     ) from error


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
  for what, shape, wanted in (
      ("takes inputs", getattr(model, "input_shape", None),
       (None, *input_shape)),
      ("gives outputs", getattr(model, "output_shape", None),
       (None, num_classes))):
    if not _agree(shape, wanted):
      raise InputError(f"the model in {path} {what} of shape {shape}, the data "
                       f"needs {wanted}; use the data that it was made for")


def _agree(shape: object, wanted: tuple[int | None, ...]) -> bool:
  return (isinstance(shape, tuple) and len(shape) == len(wanted)
          and all(a is None or b is None or a == b
                  for a, b in zip(shape, wanted, strict=True)))
