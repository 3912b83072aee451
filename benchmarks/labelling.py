"""What labelling costs beside the victim: oracle and store over bare `predict`.

"predict" is one call of Keras' `predict` over all images. "labelled" is what
`label` does at its default batch size: the keys of all images, then batches of
256 through `LabelStore.answer`, at access "scores", into a new file on disk.
"predict a batch" calls Keras' `predict` for each batch of 256, as an oracle
over a plain `model.predict` would. The victim is gin/mnist5k.gin's network,
untrained, over its 5,000 digits, with 10 classes and with 1,000.
"""

from __future__ import annotations

import pathlib
import tempfile

import timing

_BATCH = 256


def contestants(classes: int, count: int):
  import numpy as np

  from wsl_extraction.data import datasets
  from wsl_extraction.networks.resnet_v2 import resnet_v2
  from wsl_extraction.victims.victim import in_batches
  images = datasets.load("mnist5k").train.rows[:count]
  network = resnet_v2((28, 28, 1), classes, depth=8, width=16, seed=0)
  parts = range(0, len(images), _BATCH)

  def predict(rows=images):
    return network.predict(rows, batch_size=_BATCH, verbose=0)

  works = {
      "predict": predict,
      "labelled": lambda: _label(in_batches(network), images, classes, parts),
      "predict a batch": lambda: np.concatenate(
          [predict(images[start:start + _BATCH]) for start in parts])}
  return {name: lambda work=work: timing.rate(len(images), work)
          for name, work in works.items()}


def _label(predict, images, classes, parts) -> None:
  from wsl_extraction.data.examples import Examples
  from wsl_extraction.oracle.oracle import Oracle
  from wsl_extraction.oracle.response_store import ResponseStore
  oracle = Oracle(predict, outputs="logits", input_shape=images.shape[1:],
                  num_classes=classes)
  identity = {"access": "scores", "k": None, "num_classes": classes}
  keys = Examples(images).keys
  with tempfile.TemporaryDirectory(dir=timing.ROOT) as folder, ResponseStore(
      pathlib.Path(folder) / "responses.sqlite", identity) as store:
    for start in parts:
      part = slice(start, start + _BATCH)
      store.answer(oracle, keys[part], images[part])


def main() -> None:
  args = timing.arguments(__doc__, rounds=9)
  from wsl_extraction.runtime import devices
  devices.start_backend()
  count = 260 if args.quick else 5000
  tables = []
  for classes in (10,) if args.quick else (10, 1000):
    turns = contestants(classes, count)
    timing.in_turns(turns, 1)
    rates = timing.in_turns(turns, args.rounds)
    tables.append(f"{classes:,} classes:\n\n" + timing.compared(
        rates, "images/s", "predict"))
  timing.publish(args, "Labelling beside predict", __doc__.strip(), *tables)


if __name__ == "__main__":
  main()
