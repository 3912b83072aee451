"""Victims in files of the `.keras` format."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import zipfile

import keras
import numpy as np

from wsl_extraction.data.datasets import Dataset
from wsl_extraction.data.split import Parts
from wsl_extraction.errors import InputError
from wsl_extraction.victims.victim import (
    Surroundings,
    Victim,
    digest,
    in_batches,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KerasFile:
  """A model saved in the `.keras` format.

  Attributes:
    path: The file.
    outputs: What the model gives, "logits" or "probabilities".
    value_range: The range of values that it was trained on; None for the data
      set's own, for a model that begins with its preprocessing.
    batch_size: Images that it sees at once.
  """

  path: str
  outputs: str = "logits"
  value_range: tuple[float, float] | None = None
  batch_size: int = 256

  def __call__(self, dataset: Dataset, parts: Parts,
               surroundings: Surroundings) -> Victim:
    """Loads the model.

    Raises:
      InputError: The file cannot be read, holds code, or takes other images
        or gives other classes than the data set's.
    """
    del parts, surroundings
    model = load(self.path)
    check_fit(model, self.path, dataset.input_shape, dataset.num_classes)
    low, high = dataset.value_range
    new_low, new_high = self.value_range or dataset.value_range
    answer = in_batches(model, self.batch_size)
    scale = (new_high - new_low) / (high - low)

    def predict(images: np.ndarray) -> np.ndarray:
      if (low, high) != (new_low, new_high):
        images = new_low + (images.astype(np.float32) - low) * scale
      return answer(images)

    content = pathlib.Path(self.path).read_bytes()
    return Victim(predict, self.outputs, dataset.input_shape,
                  dataset.num_classes,
                  digest(content, self.outputs, self.value_range))


def load(path: str | os.PathLike) -> keras.Model:
  """Loads a `.keras` file without running code that it may hold.

  Raises:
    InputError: It is missing, damaged, no Keras file, or needs code to run.
  """
  path = pathlib.Path(path)
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
              input_shape: tuple[int, ...], num_classes: int) -> None:
  """Raises InputError unless the model maps [n, *input_shape] to [n, c]."""
  for what, found, wanted in (
      ("takes inputs", getattr(model, "input_shape", None),
       (None, *input_shape)),
      ("gives outputs", getattr(model, "output_shape", None),
       (None, num_classes))):
    if not _agree(found, wanted):
      raise InputError(f"the model in {path} {what} of shape {found}, the data "
                       f"set needs {wanted}; use the data set it was made for")


def _agree(found: object, wanted: tuple[int | None, ...]) -> bool:
  return (isinstance(found, tuple) and len(found) == len(wanted)
          and all(a is None or b is None or a == b
                  for a, b in zip(found, wanted, strict=True)))
