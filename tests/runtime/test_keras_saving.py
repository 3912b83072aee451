"""Models saved without TensorFlow are whole."""

from __future__ import annotations

import os
import subprocess
import sys

import keras
import numpy as np

from fixtures.commands import ROOT

ON_JAX = """
import sys

import keras
import numpy as np
from wsl_extraction.runtime import keras_saving

model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="one")])
model.set_weights([np.arange(12.0).reshape(4, 3), np.ones(3)])
keras_saving.save(model, sys.argv[1])
assert "tensorflow" not in sys.modules
# From then on Keras finds it again, as what reads text needs it.
from keras.src.utils import module_utils

assert module_utils.tensorflow._available is None
"""


def test_another_backend_saves_without_tensorflow(tmp_path):
  path = tmp_path / "model.keras"
  subprocess.run(
      [sys.executable, "-c", ON_JAX, str(path)], check=True, timeout=120,
      env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)})
  model = keras.saving.load_model(path)
  assert isinstance(model, keras.Sequential)
  kernel, bias = model.get_weights()
  np.testing.assert_array_equal(kernel, np.arange(12).reshape(4, 3))
  np.testing.assert_array_equal(bias, np.ones(3))
