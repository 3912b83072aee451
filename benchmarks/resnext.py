"""The WSL oracle: ResNeXt-101 32x16d at 224 pixels, beside torch's own.

torch writes a state dict of random weights, normalisation included, in the
format of 2019; `torchvision.TorchvisionFile` reads and converts it. "split"
computes each group of a convolution by itself, "grouped" leaves that to the
backend, "torch" is benchmarks/resnext_torch.py with its channels last. Images
have 4 x 4 tiles of random colours. Without torch the weights are Keras' own,
and there is nothing to compare logits with. KERAS_BACKEND chooses the backend.
Memory is the process's peak: three networks of 0.72 GiB.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import resource
import sys
import tempfile
import time

import numpy as np
import timing

_SIZES = {"depth": 101, "groups": 32, "width_per_group": 16}
_QUICK = {"depth": 14, "groups": 4, "width_per_group": 8}


def _images(count: int, side: int) -> np.ndarray:
  tiles = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), "uint8")
  return tiles.repeat(side // 4, 1).repeat(side // 4, 2)


def _victims(path: pathlib.Path, images: np.ndarray, notes: list[str]):
  from wsl_extraction.data.examples import Examples, image_dataset
  from wsl_extraction.data.split import Split
  from wsl_extraction.runtime.runtime import Runtime
  from wsl_extraction.victims.torchvision import TorchvisionFile
  labels = np.arange(len(images), dtype=np.int32)
  dataset = image_dataset("blocks", Examples(images, labels), None,
                          tuple(map(str, range(1000))))
  parts = Split(private=0, pool=1, test=1)(dataset)
  made = {}
  for name in ("split", "grouped"):
    source = TorchvisionFile(path=str(path), split_groups=name == "split")
    for way in ("converted", "found again")[:2 if name == "split" else 1]:
      made.pop(name, None)  # or it would be in memory twice
      start = time.perf_counter()
      made[name] = source.load(parts, Runtime(cache=path.parent)).predict
      notes.append(f"{name}: {way} in {time.perf_counter() - start:.1f} s")
  return made


def _beside_torch(folder: pathlib.Path, images: np.ndarray, sizes,
                  notes: list[str]):
  import resnext_torch
  import torch

  from wsl_extraction.networks import resnext
  module = resnext_torch.randomised(resnext_torch.ResNeXt(1000, **sizes))
  path = folder / "random.pth"
  torch.save(module.state_dict(), path, _use_new_zipfile_serialization=False)
  module.to(memory_format=torch.channels_last)

  def answer(rows: np.ndarray) -> np.ndarray:
    return resnext_torch.logits(
        module, rows, resnext.IMAGENET_MEAN, resnext.IMAGENET_STD)

  made = {"torch": answer, **_victims(path, images, notes)}
  answers = {}
  for name, predict in made.items():
    start = time.perf_counter()
    answers[name] = predict(images)
    notes.append(f"{name}: first batch in {time.perf_counter() - start:.1f} s")
  notes.append(f"torch's logits: from {answers['torch'].min():.2f} to "
               f"{answers['torch'].max():.2f}, deviation between images "
               f"{answers['torch'].std(0).mean():.3f}")
  for name in ("split", "grouped"):
    furthest = np.abs(answers[name] - answers["torch"]).max()
    notes.append(
        f"{name}: logits differ from torch's by {furthest:.1e} at most")
  return made


def _alone(images: np.ndarray, side: int, sizes):
  from wsl_extraction.networks.resnext import resnext
  from wsl_extraction.victims.victim import in_batches
  made = {name: in_batches(resnext((side, side, 3), 1000, seed=0,
                                   split_groups=name == "split", **sizes))
          for name in ("split", "grouped")}
  for predict in made.values():
    predict(images)
  return made


def main() -> None:
  args = timing.arguments(__doc__, rounds=5)
  from wsl_extraction.runtime import backend
  backend.start_backend()
  sizes, side, count = (_QUICK, 32, 2) if args.quick else (_SIZES, 224, 4)
  images, notes = _images(count, side), []
  with tempfile.TemporaryDirectory() as folder:
    if importlib.util.find_spec("torch"):
      made = _beside_torch(pathlib.Path(folder), images, sizes, notes)
    else:
      made = _alone(images, side, sizes)
    turns = {name: lambda predict=predict: timing.rate(
        len(images), lambda: predict(images)) for name, predict in made.items()}
    rates = timing.in_turns(turns, args.rounds)
  unit = 1 if sys.platform == "darwin" else 1024
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
  notes.append(f"peak memory {peak / 2**30:.1f} GiB")
  backend = os.environ.get("KERAS_BACKEND", "tensorflow")
  timing.publish(
      args, f"The WSL oracle on {backend}",
      timing.table(["", "images/s", "ratio to grouped"], [
          [name, timing.spread(figures, ",.2f"),
           timing.spread(figures / rates["grouped"], ".2f")]
          for name, figures in rates.items()]),
      "\n".join(f"- {note}" for note in notes))


if __name__ == "__main__":
  main()
