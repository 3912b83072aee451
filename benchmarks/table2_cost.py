"""What Table 2 takes at ImageNet's size, by counting: time, money and limits.

Nothing is trained. FLOPs are counted as in rotation_step.py, of the networks
and steps of gin/imagenet as they stand: forwards once, backwards twice, and
forwards once more where activations are worked out again. The least time is
that at a vendor's peak of dense products in bfloat16 (NVIDIA's H100 SXM: 989
TFLOP/s; Google's v5e: 197 TFLOP/s a chip, 256 chips a pod), which no network
reaches; convolutions stay far below. The other times are at `--share` percent
of it, an assumption until imagenet_gpu.md has been measured; so is `--price`,
of a device and hour. A step has 256 images, so that a large fleet trains
several cells of the table side by side, not one at its own speed. The limits
are what the rest must do meanwhile: cores that decode, by pipeline.md; bytes of
files, by the size of those there; rows and bytes that are stored, by
label_store_1281167.md, and the rate that the store has there.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import timing

_PEAKS = {"H100": 989e12, "v5e": 197e12}
_FLEETS = (("H100", 1), ("H100", 8), ("H100", 64), ("v5e", 256))
_PERCENT, _PRICE = 10, 2
_CELLS = {
    "ResNet-v2-50, 10%": "v2_50_10_wsl",
    "ResNet-v2-50, 10%, rotation": "v2_50_10_wsl_rotation",
    "ResNet-v2-200, 10%": "v2_200_10_wsl",
    "ResNet-v2-200, 10%, rotation": "v2_200_10_wsl_rotation",
    "ResNet-v2-50, 100%": "v2_50_100_wsl",
    "ResNet-v2-200, 100%": "v2_200_100_wsl",
}


@dataclasses.dataclass(frozen=True)
class Job:
  """Work of one kind.

  Attributes:
    name: Of it.
    flops: Of all of it.
    views: Images that are decoded for it.
    is_labelling: True where its rows are stored, and nothing is trained.
  """

  name: str
  flops: float
  views: float
  is_labelling: bool = False

  def seconds(self, fleet: tuple[str, int], percent: int) -> float:
    kind, count = fleet
    return self.flops / (_PEAKS[kind] * count * percent / 100)


@dataclasses.dataclass(frozen=True)
class Limits:
  """Figures of other pages, all a second but the sizes in bytes."""

  views_trained: float
  views_labelled: float
  rows_stored: float
  file_bytes: float

  @classmethod
  def of_pages(cls) -> Limits:
    size = re.search(r"and ([\d,]+) bytes on average", _page("pipeline"))
    assert size, "docs/speed/pipeline.md tells the size of a file"
    return cls(_figure("pipeline", "wsl_extraction, from array_record", 0),
               _figure("pipeline", "evaluation: wsl_extraction", 0),
               _figure("label_store_1281167", "written", 2),
               float(size[1].replace(",", "")))


def _page(name: str) -> str:
  return (timing.ROOT / "docs" / "speed" / f"{name}.md").read_text("utf-8")


def _figure(page: str, row: str, column: int) -> float:
  """The median in a column of a page's row."""
  cells = re.search(rf"^\| {re.escape(row)} \|(.*)$", _page(page), re.MULTILINE)
  assert cells, f"docs/speed/{page}.md has no row {row}"
  return float(cells[1].split("|")[column].split()[0].replace(",", ""))


def _surrogate(name: str, cell: str, side: int) -> Job:
  """A cell of Table 2, by its gin file."""
  import gin
  import rotation_step

  from wsl_extraction import cli_gin
  from wsl_extraction.experiment import Experiment
  gin.clear_config()
  cli_gin.configure([f"gin/imagenet/{cell}.gin"], [])
  learning: Any = cli_gin.built(Experiment).attack
  recipe = learning.recipe
  others = (recipe.unlabeled_batch_size
            if "unlabeled" in learning.objective.entries else 0)
  network = recipe.network(input_shape=(side, side, 3), num_classes=1000,
                           value_range=(0, 255), seed=0)
  images = learning.objective.images(recipe.batch_size, others)
  work = rotation_step.step_flops(network, images)
  if recipe.rematerialize:
    work += images * sum(rotation_step.forward_flops(network))
  return Job(name, recipe.steps * work,
             recipe.steps * (recipe.batch_size + others))


def _jobs(quick: bool) -> list[Job]:
  import gin
  import rotation_step

  from wsl_extraction.data.split import Split
  from wsl_extraction.networks.resnext import resnext
  side = 64 if quick else 224
  oracle = resnext((side, side, 3), 1000, depth=14 if quick else 101, groups=32,
                   width_per_group=2 if quick else 16, split_groups=False)
  jobs = [_surrogate(name, cell, side)
          for name, cell in list(_CELLS.items())[:1 if quick else None]]
  pool = gin.get_configurable(Split)().pool
  return [Job("labels of the WSL oracle",
              pool * sum(rotation_step.forward_flops(oracle)), pool, True),
          *jobs]


def _hours(seconds: float) -> str:
  return f"{seconds / 3600:.2g}"


def _times(jobs: list[Job], percent: int, price: float) -> str:
  header = ["", "EFLOP", "1 H100 at its peak, h", *(
      f"{count} {kind}, h" for kind, count in _FLEETS),
            f"price at {price:g} an hour of H100"]
  rows = [[job.name, f"{job.flops / 1e18:,.2f}",
           _hours(job.seconds(_FLEETS[0], 100)), *(
      _hours(job.seconds(fleet, percent)) for fleet in _FLEETS),
      f"{job.seconds(_FLEETS[0], percent) / 3600 * price:,.0f}"]
      for job in jobs]
  return timing.table(header, rows)


def _demands(jobs: list[Job], percent: int, limits: Limits) -> str:
  header = ["", *(f"{count} {kind}" for kind, count in _FLEETS)]
  rows = []
  for job in (jobs[0], jobs[1]):
    rates = [job.views / job.seconds(fleet, percent) for fleet in _FLEETS]
    decoded = limits.views_labelled if job.is_labelling else (
        limits.views_trained)
    rows += [[f"{job.name}: images/s", *(f"{rate:,.0f}" for rate in rates)],
             ["cores that decode them", *(
                 f"{rate / decoded:,.1f}" for rate in rates)],
             ["files, MB/s", *(
                 f"{rate * limits.file_bytes / 1e6:,.0f}" for rate in rates)]]
    if job.is_labelling:
      rows += [["decoded pixels to other hosts, MB/s", *(
          f"{rate * 224 * 224 * 3 / 1e6:,.0f}" for rate in rates)],
               ["scores to the store, MB/s", *(
          f"{rate * 2000 / 1e6:,.1f}" for rate in rates)],
               ["of the store's rows/s", *(
                   f"{rate / limits.rows_stored:.0%}" for rate in rates)]]
  return timing.table(header, rows)


def main() -> None:
  args = timing.arguments(
      __doc__, rounds=1, share="percent of a device's peak that is reached",
      price="what a device costs an hour")
  percent, price = int(args.share or _PERCENT), float(args.price or _PRICE)
  from wsl_extraction.runtime import backend
  backend.start_backend()
  limits = Limits.of_pages()
  jobs = _jobs(args.quick)
  args.figures = "counted, not measured; rates by the pages that are named"
  timing.publish(
      args, "What Table 2 takes at ImageNet's size",
      "**Not run**: no accelerator was at hand, and nothing of ImageNet's size "
      f"was trained. A device is assumed to reach {percent} % of its peak; "
      "fleets are assumed to lose nothing.",
      _times(jobs, percent, price),
      "What the rest must keep up with, for the label job and the first row of "
      "training: where a fleet has fewer cores or a slower disk, these are the "
      f"limit. One core decodes {limits.views_labelled:,.0f} whole images or "
      f"{limits.views_trained:,.0f} parts a second, a file has "
      f"{limits.file_bytes:,.0f} bytes, one owner stores "
      f"{limits.rows_stored:,.0f} rows a second.",
      _demands(jobs, percent, limits))


if __name__ == "__main__":
  main()
