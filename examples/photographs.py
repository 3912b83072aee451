"""Writes photographs and a Keras classifier of them, to practise on.

  python examples/photographs.py

The photographs are pieces of the two that come with scikit-learn, of five
classes: my_images/temple/000.jpg and so on. The classifier, my_model.keras, is
trained for some seconds on pieces of its own; it takes values from 0 to 1 and
gives probabilities. gin/own_model.gin copies it (docs/guide/own_model.md).
"""

from __future__ import annotations

import pathlib
import sys
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_image

from wsl_extraction.runtime import backend

if TYPE_CHECKING:
  import keras

SIDE = 64
FOLDER, MODEL = pathlib.Path("my_images"), pathlib.Path("my_model.keras")
# Where pieces come from: left, top, right, bottom.
PLACES = {
    "flower": ("flower.jpg", (170, 85, 445, 355)),
    "leaves": ("flower.jpg", (0, 0, 170, 427)),
    "sky": ("china.jpg", (340, 0, 640, 200)),
    "temple": ("china.jpg", (75, 40, 345, 400)),
    "trees": ("china.jpg", (345, 250, 640, 427)),
}


def piece(photograph: Image.Image, box: tuple[int, int, int, int],
          rng: np.random.Generator) -> Image.Image:
  """Cuts a square of a box, of any brightness and colour, some mirrored."""
  left, top, right, bottom = box
  side = int(rng.integers(20, 90))
  x, y = rng.integers(left, right - side), rng.integers(top, bottom - side)
  image = photograph.crop((int(x), int(y), int(x) + side, int(y) + side))
  size = int(rng.integers(SIDE, 96))
  image = image.resize((size, size))
  for change in (ImageEnhance.Brightness, ImageEnhance.Color):
    image = change(image).enhance(float(rng.uniform(0.3, 1.0)))
  return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if (
      rng.random() < 0.5) else image


def pieces(count: int, seed: int) -> dict[str, list[Image.Image]]:
  """Cuts so many pieces of each class."""
  rng = np.random.default_rng(seed)
  cut = {}
  for name, (file, box) in PLACES.items():
    photograph = Image.fromarray(load_sample_image(file))
    cut[name] = [piece(photograph, box, rng) for _ in range(count)]
  return cut


def save(images: dict[str, list[Image.Image]], folder: pathlib.Path) -> None:
  """Writes a folder of images for each class."""
  for name, one in images.items():
    (folder / name).mkdir(parents=True)
    for number, image in enumerate(one):
      image.save(folder / name / f"{number:03}.jpg", quality=90)


def classifier(images: dict[str, list[Image.Image]]) -> keras.Model:
  """Trains a small convolutional network on pieces."""
  import keras  # once its backend is silent

  x = np.stack([np.asarray(image.resize((SIDE, SIDE)), np.float32) / 255
                for one in images.values() for image in one])
  y = np.repeat(np.arange(len(images)), [len(one) for one in images.values()])
  keras.utils.set_random_seed(0)
  model = keras.Sequential([
      keras.Input((SIDE, SIDE, 3)),
      keras.layers.Conv2D(16, 5, strides=4, activation="relu"),
      keras.layers.Conv2D(32, 3, strides=2, activation="relu"),
      keras.layers.GlobalAveragePooling2D(),
      keras.layers.Dense(len(images), activation="softmax")])
  model.compile(keras.optimizers.Adam(0.005), "sparse_categorical_crossentropy")
  model.fit(x, y, batch_size=32, epochs=20, verbose=0)
  return model


def main() -> None:
  """Writes both, unless one of them is there."""
  for path in (FOLDER, MODEL):
    if path.exists():
      sys.exit(f"error: {path} is there already; remove or rename it")
  backend.start_backend()
  save(pieces(120, seed=0), FOLDER)
  classifier(pieces(120, seed=1)).save(MODEL)
  print(f"{FOLDER}: {len(PLACES)} classes of 120; {MODEL}: written")


if __name__ == "__main__":
  main()
