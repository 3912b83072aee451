"""The tables that come with scikit-learn."""

from __future__ import annotations

import numpy as np

from wsl_extraction.data.examples import Dataset, Examples
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.spaces import Vectors

# Name here -> the function of sklearn.datasets.
_LOADERS = {"iris": "load_iris", "wine": "load_wine",
            "breast_cancer": "load_breast_cancer",
            "digits_vectors": "load_digits"}
# Those that are not classified.
_QUANTITIES = {"diabetes": "the progress of a disease, from 25 to 346"}
NAMES = frozenset({*_LOADERS, *_QUANTITIES})


def read(name: str) -> Dataset:
  """Reads iris, wine, breast_cancer, or digits_vectors, 64 numbers in 0..16.

  Raises:
    InputError: Its target is a quantity, as that of diabetes.

  References:
    Fisher. The Use of Multiple Measurements in Taxonomic Problems. 1936 (iris).
    Forina et al. PARVUS. 1988 (wine).
    Street, Wolberg, Mangasarian. Nuclear Feature Extraction for Breast Tumor
      Diagnosis. 1993.
    Alpaydin, Kaynak. Optical Recognition of Handwritten Digits. 1998.
  """
  from sklearn import datasets

  if name in _QUANTITIES:
    raise InputError(
        f"data set {name} has a quantity to predict ({_QUANTITIES[name]}) and "
        f"no classes; choose one of {', '.join(_LOADERS)}, or write it to a "
        "CSV file with classes of your own, such as ranges of it")
  bunch = getattr(datasets, _LOADERS[name])()
  rows = np.asarray(bunch.data, np.float64)
  return Dataset(
      name, Examples(rows, np.asarray(bunch.target, np.int32)), None,
      tuple(map(str, bunch.target_names)),
      Vectors(rows.shape[1], names=tuple(map(str, bunch.feature_names))))
