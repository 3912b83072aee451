"""What labelling costs beside the victim: oracle and store over bare `predict`.

"predict" is one call of Keras' `predict` over all images. "labelled" is what
`label` does at its default batch size: it looks up which keys of all images are
missing from a new `ResponseStore` on disk, then queries an `Oracle` over that
store at the reveal "scores", four batches of 256 at a time. The oracle checks
the rows, charges the keys of a batch, asks the victim, and writes the responses
in one transaction with the charges of the next batch. "predict a batch" calls
Keras' `predict` for each batch of 256, as an oracle over a plain
`model.predict` would. The victim is gin/mnist5k.gin's network, untrained, over
its 5,000 digits, with 10 classes and with 1,000.
"""

from __future__ import annotations

import pathlib

import timing

_BATCH = 256
_QUERY = 4 * _BATCH


def contestants(classes: int, count: int):
  import numpy as np

  from wsl_extraction.data import datasets
  from wsl_extraction.networks.resnet_v2 import resnet_v2
  from wsl_extraction.oracle.responders import BareVictim
  from wsl_extraction.oracle.response import Quantity
  from wsl_extraction.victims.victim import in_batches
  dataset = datasets.load("mnist5k")
  images = dataset.train.rows[:count]
  network = resnet_v2((28, 28, 1), classes, depth=8, width=16, seed=0)
  victim = BareVictim(
      dataset.space, classes, {Quantity.LOGITS: in_batches(network)})

  def predict(rows=images):
    return network.predict(rows, batch_size=_BATCH, verbose=0)

  works = {
      "predict": predict,
      "labelled": lambda: _label(victim, images),
      "predict a batch": lambda: np.concatenate(
          [predict(images[start:start + _BATCH])
           for start in range(0, len(images), _BATCH)])}
  return {name: lambda work=work: timing.rate(len(images), work)
          for name, work in works.items()}


def _label(victim, images) -> None:
  from wsl_extraction.data.examples import Examples
  from wsl_extraction.oracle.oracle import Oracle
  from wsl_extraction.oracle.responders import Live
  from wsl_extraction.oracle.response_store import ResponseStore
  from wsl_extraction.oracle.reveals import Scores
  with timing.scratch() as folder, ResponseStore(
      pathlib.Path(folder) / "responses.sqlite", Scores(),
      victim.outputs) as store:
    oracle = Oracle(Live(victim, Scores()), store=store, batch_size=_BATCH)
    missing = store.missing(Examples(images).keys)
    for start in range(0, len(missing), _QUERY):
      oracle.query(images[missing[start:start + _QUERY]])


def main() -> None:
  args = timing.arguments(__doc__, rounds=9)
  from wsl_extraction.runtime import backend
  backend.start_backend()
  count = 260 if args.quick else 5000
  tables = []
  for classes in (10,) if args.quick else (10, 1000):
    turns = contestants(classes, count)
    timing.in_turns(turns, 1)
    rates = timing.in_turns(turns, args.rounds)
    tables.append(f"{classes:,} classes:\n\n" + timing.compared(
        rates, "images/s", "predict"))
  timing.publish(args, "Labelling beside predict", *tables)


if __name__ == "__main__":
  main()
