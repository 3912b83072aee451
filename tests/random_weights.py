"""Networks in which every layer counts."""

import numpy as np


def randomised(model, seed=0):
  """Gives every variable a value that leaves no layer without effect."""
  rng = np.random.default_rng(seed)
  for weight in model.weights:
    shape, name = weight.shape, weight.name
    if name in ("gamma", "moving_variance"):
      value = rng.uniform(0.5, 1.5, shape)
    elif name == "kernel":
      value = rng.normal(0, np.sqrt(1 / np.prod(shape[:-1])), shape)
    else:
      value = rng.normal(0, 0.1, shape)
    weight.assign(value.astype("float32"))
  return model
