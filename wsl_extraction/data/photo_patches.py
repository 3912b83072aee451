"""Natural images that come with a dependency: patches of two photographs."""

from __future__ import annotations

import itertools

import numpy as np

from wsl_extraction.data.examples import Dataset, Examples, image_dataset
from wsl_extraction.data.images import decode

NAME = "photo_patches"
_SIDE = 32
_CUTS = (32, 64, 128)  # pixels a side in the photograph
_STRIDE = 16
_ROWS = ("upper", "lower")
_COLUMNS = ("left", "middle", "right")


def read() -> Dataset:
  """Cuts scikit-learn's two photographs into patches, 32x32x3.

  Squares of 32, 64 and 128 pixels a side, every 16 pixels, are resized to 32.
  There are about 4,900; neighbours overlap. The class is the photograph and the
  sixth of it that holds the middle of the patch, such as "china upper left":
  sky, roofs, water, petals, leaves.

  References:
    Pedregosa et al. Scikit-learn: Machine Learning in Python. JMLR 2011
      (`load_sample_images`: "china" by Vinh Nguyen, "flower" by Tom Wang, CC
      BY 2.0).
  """
  from sklearn import datasets

  names, rows, labels = [], [], []
  for photograph in ("china", "flower"):
    picture = datasets.load_sample_image(f"{photograph}.jpg")  # [427, 640, 3]
    patches, sixths = _patches(picture)
    rows.append(patches)
    labels.append(sixths + len(names))
    names += [f"{photograph} {row} {column}"
              for row, column in itertools.product(_ROWS, _COLUMNS)]
  return image_dataset(
      NAME, Examples(np.concatenate(rows), np.concatenate(labels).astype(
          np.int32)), None, tuple(names))


def _patches(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  height, width = picture.shape[:2]
  patches, sixths = [], []
  for side in _CUTS:
    tops = range(0, height - side + 1, _STRIDE)
    lefts = range(0, width - side + 1, _STRIDE)
    cut = np.stack([picture[top:top + side, left:left + side]
                    for top, left in itertools.product(tops, lefts)])
    patches.append(decode.resize_arrays(cut, _SIDE))
    middle = side // 2
    sixths += [2 * (top + middle) // height * len(_COLUMNS)
               + len(_COLUMNS) * (left + middle) // width
               for top, left in itertools.product(tops, lefts)]
  return np.concatenate(patches), np.array(sixths)
