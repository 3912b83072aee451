"""Views of ImageNet's size from JPEG files: images a second on one core.

The training view is a random part (`InceptionCrop`) brought to 224 x 224 and
mirrored, the evaluation view the middle of the image after its shorter side has
become 256. `wsl_extraction` beside tf.data with `decode_and_crop_jpeg` and
`tf.image.resize`, once antialiased as here and once not, which is TensorFlow's
default and takes fewer pixels into account. All decode the same parts of the
same files, which lie in memory; "from array_record" adds reading them. The
limit is TensorFlow's decoder alone, on these parts. Each contestant is a
process, on one thread; rates are by the process's CPU time, as other programs
may take turns on the core. "Without the extra" is what the same code does where
simplejpeg and cykooz-resizer are not installed.

"Batches" are of 32 training views, as `train` reads them: here, and by a
process of grain's that hands them over (`workers.read_ahead`), whose CPU time
counts as well. In turns with it: grain with a thread that reads ahead in the
process, and with all arrays pickled instead of in shared memory.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Iterator, Sequence

import numpy as np
import timing

from wsl_extraction.data.images.image_files import Folder

_SIDE = 224
_BATCH = 32
_READY = 4
_LIMIT = "limit: decoding the parts"
_CONTESTANTS = {
    _LIMIT: "tensorflow_parts",
    "wsl_extraction": "ours",
    "wsl_extraction, from array_record": "ours_stored",
    "wsl_extraction, without the extra": "ours_pillow",
    "tf.data, antialiased": "tensorflow_antialiased",
    "tf.data": "tensorflow",
    "Pillow, decoding whole images": "pillow",
    "batches, here": "batches_here",
    "batches, by a process": "batches_read_ahead",
    "batches, by a process with a thread": "batches_thread",
    "batches, by a process, pickled": "batches_pickled",
    "evaluation: wsl_extraction": "ours_whole",
    "evaluation: tf.data, antialiased": "tensorflow_whole_antialiased",
    "evaluation: tf.data": "tensorflow_whole",
}


class InMemory(Folder):
  """A folder that holds its files in memory; all are of one class."""

  upright = False

  def __init__(self, files: list[bytes]):
    super().__init__("", [])
    self._files = files
    self.labels = np.zeros(len(files), np.int32)

  def __len__(self) -> int:
    return len(self._files)

  def read(self, indices: Sequence[int]) -> list[bytes]:
    return [self._files[index] for index in indices]

  def examples(self, indices: Sequence[int]) -> list[tuple[bytes, int]]:
    return [(self._files[index], 0) for index in indices]

  def name(self, index: int) -> str:
    return f"image {index}"

  def facts(self) -> Iterator[object]:
    yield from self._files


def synthetic(count: int) -> list[bytes]:
  """JPEG files of ImageNet's usual size, with some detail, quality 90."""
  from PIL import Image

  rng = np.random.default_rng(0)
  files = []
  for _ in range(count):
    coarse = rng.integers(0, 256, (24, 32, 3), np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((500, 375)), np.int16)
    noise = rng.normal(0, 9, image.shape).astype(np.int16)
    stream = io.BytesIO()
    Image.fromarray(np.clip(image + noise, 0, 255).astype(np.uint8)).save(
        stream, "JPEG", quality=90)
    files.append(stream.getvalue())
  return files


def encoded(data_dir: str | None, quick: bool):
  """The images where they are stored, and held in memory."""
  from wsl_extraction.data import lazy_datasets
  from wsl_extraction.data.images import image_index
  from wsl_extraction.data.images.lazy_images import LazyImages

  stored = None
  if data_dir:
    name = ("imagenet2012" if os.path.isdir(
        os.path.join(data_dir, "imagenet2012")) else os.path.abspath(data_dir))
    stored = lazy_datasets.read(name, data_dir, _SIDE).train.rows
    stored = stored[:8 if quick else 2000]
    assert isinstance(stored, LazyImages)
    files = stored.source.read(stored.rows.tolist())
  else:
    files = synthetic(4 if quick else 95)
  source = InMemory(files)
  held = LazyImages(source, image_index.read(source, "benchmark"),
                    np.arange(len(files)), _SIDE)
  return stored or held, held


def _family_time() -> float:
  """CPU seconds of this process and of those that it has started."""
  import psutil

  children = (child.cpu_times() for child in psutil.Process().children(True))
  return time.process_time() + sum(
      times.user + times.system for times in children)


def _batches(images, way: str) -> Iterator[object]:
  """Batches as `train` reads them, without an end."""
  import grain
  from absl import flags

  from wsl_extraction.data.images.crops import InceptionCrop
  from wsl_extraction.runtime import workers
  from wsl_extraction.training import batches

  flags.FLAGS.mark_as_parsed()  # grain reads some of its own
  elements = batches.by_step(
      {"labeled": images, "labels": np.arange(len(images))}, 1 << 20, _BATCH, 0,
      crop=InceptionCrop())
  one_by_one = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
  if way == "here":
    return iter(elements.to_iter_dataset(one_by_one))
  if way == "read_ahead":
    return workers.read_ahead(elements, 1)
  threads = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
  shared = 1 << (62 if way == "pickled" else 12)
  return iter(grain.experimental.WithOptionsIterDataset(
      elements.to_iter_dataset(threads if way == "thread" else one_by_one),
      grain.experimental.DatasetOptions(min_shm_size=shared)).mp_prefetch(
          grain.MultiprocessingOptions(1, 1)))


class Contest:
  """One contestant."""

  def __init__(self, name: str, data_dir: str | None, quick: bool):
    from wsl_extraction.data.images import jpeg
    from wsl_extraction.data.images.crops import InceptionCrop

    way = _CONTESTANTS[name]
    self._stored, self._held = encoded(data_dir, quick)
    self._crop, self._passes = InceptionCrop(), 1 if quick else 3
    self._places = np.arange(len(self._held))
    self._count, self._clock = len(self._held), time.process_time
    if way == "ours_pillow":
      jpeg.AVAILABLE = False
    if way.startswith("batches"):
      self._steps = 1 if quick else 8
      self._count, self._clock = _BATCH * self._steps, _family_time
      self._stream = _batches(self._held, way.removeprefix("batches_"))
      self._pass = lambda: [next(self._stream) for _ in range(self._steps)]
    elif way.startswith("tensorflow"):
      self._stream = self._tensorflow(
          "parts" in way, "whole" in way, "antialiased" in way)
      self._pass = self._drain
    else:
      self._pass = getattr(self, f"_{way.removesuffix('_pillow')}")
    self._pass()

  def rate(self) -> float:
    if self._clock is _family_time:
      for _ in range(_READY):  # made while others took their turns
        next(self._stream)
    start = self._clock()
    for _ in range(self._passes):
      self._pass()
    return self._passes * self._count / (self._clock() - start)

  def extra(self) -> bool:
    from wsl_extraction.data.images import jpeg

    return jpeg.AVAILABLE

  def _ours(self) -> None:
    self._held.cropped(self._crop, 0, self._places)

  def _ours_stored(self) -> None:
    self._stored.cropped(self._crop, 0, self._places)

  def _ours_whole(self) -> None:
    for place in self._places:
      self._held[place]

  def _pillow(self) -> None:
    from PIL import Image

    for file in self._held.source.read(self._places.tolist()):
      np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))

  def _drain(self) -> None:
    for _ in self._places:
      next(self._stream)

  def _tensorflow(self, parts: bool, whole: bool, antialiased: bool):
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    def resized(image, height, width):
      image = tf.image.resize(image, (height, width), antialias=antialiased)
      return tf.cast(tf.round(image), tf.uint8)

    def training(file, box, flip):
      part = tf.io.decode_and_crop_jpeg(file, box, channels=3)
      if parts:
        return part[0, 0]
      square = resized(part, _SIDE, _SIDE)
      return tf.cond(flip, lambda: square[:, ::-1], lambda: square)

    def evaluation(file, box, _):
      shorter = round(_SIDE * 256 / 224)
      size = tf.maximum(shorter, box[2:] * shorter // tf.reduce_min(box[2:]))
      image = resized(tf.io.decode_jpeg(file, channels=3), size[0], size[1])
      top, left = (size[0] - _SIDE) // 2, (size[1] - _SIDE) // 2
      return image[top:top + _SIDE, left:left + _SIDE]

    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    options.autotune.enabled = False
    images = self._held.source.read(self._places.tolist())
    flips = [box.flip for box in self._boxes()]
    sides = self._held.index.sizes
    boxes = [(0, 0, *size) for size in sides.tolist()] if whole else [
        (box.top, box.left, box.height, box.width) for box in self._boxes()]
    return iter(tf.data.Dataset.from_tensor_slices(
        (images, np.array(boxes, np.int32), flips)).repeat().map(
            evaluation if whole else training).with_options(options))

  def _boxes(self):
    for place in self._places:
      rng = np.random.default_rng([0, int(place)])
      height, width = self._held.index.sizes[place].tolist()
      yield self._crop.draw(height, width, rng)


def main() -> None:
  args = timing.arguments(
      __doc__, data_dir="of tensorflow-datasets with imagenet2012, or a folder "
      "of class folders; without it, images are made up")
  if args.worker:
    contest = Contest(args.worker, args.data_dir, args.quick)
    timing.serve({"rate": contest.rate, "extra": contest.extra})
    return
  options = ["--quick"] * args.quick
  if args.data_dir:
    options.append(f"--data_dir={args.data_dir}")
  with contextlib.ExitStack() as stack:
    ask = {name: stack.enter_context(timing.Worker(
        name, options, TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")).ask
           for name in _CONTESTANTS}
    rates = timing.in_turns(
        {name: lambda one=one: one("rate") for name, one in ask.items()},
        args.rounds)
    extra = ask["wsl_extraction"]("extra")
  held = encoded(args.data_dir, args.quick)[1]
  made = "" if args.data_dir else " They are NOT photographs but made up."
  sides = held.index.sizes.mean(0)
  timing.publish(
      args, "Images of ImageNet's size on one core",
      f"{len(held)} JPEG files, {sides[1]:.0f} x {sides[0]:.0f} pixels and "
      f"{np.mean([len(f) for f in held.source.read(range(len(held)))]):,.0f} "
      f"bytes on average.{made} simplejpeg and cykooz-resizer "
      f"{'were' if extra else 'were NOT'} installed.",
      timing.compared(rates, "images/s", "tf.data, antialiased"))


if __name__ == "__main__":
  main()
