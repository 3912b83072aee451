"""JPEG files of all oddities, for tests of encoded images."""

import io

import numpy as np
from PIL import Image

ORIENTATION = 0x0112


def photograph(height, width, seed=0):
  """Smooth with some detail, as a photograph is; noise is no fair test."""
  rng = np.random.default_rng(seed)
  coarse = rng.integers(0, 256, (5, 7, 3), np.uint8)
  image = Image.fromarray(coarse).resize((width, height))
  noise = rng.normal(0, 6, (height, width, 3))
  return Image.fromarray(
      np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def encode(image, kind="JPEG", **options):
  stream = io.BytesIO()
  image.save(stream, kind, **options)
  return stream.getvalue()


def jpeg(height=60, width=80, seed=0, **options):
  return encode(photograph(height, width, seed), **{"quality": 92, **options})


def turned(orientation, height=60, width=80):
  exif = Image.Exif()
  exif[ORIENTATION] = orientation
  return jpeg(height, width, exif=exif)


def oddities():
  """Name -> file; all show the same 60 x 80 photograph, some in grey."""
  image = photograph(60, 80)
  plain = encode(image, quality=92)
  return {
      "plain": plain,
      "sampled 4:4:4": encode(image, quality=92, subsampling=0),
      "sampled 4:2:2": encode(image, quality=92, subsampling=1),
      "progressive": encode(image, quality=92, progressive=True),
      "restarts": encode(image, quality=92, restart_marker_rows=1),
      "commented": encode(image, quality=92, comment=b"\xff\xc0 and \xff\xd9"),
      "stored as RGB": encode(image, quality=92, keep_rgb=True),
      "trailing bytes": plain + b"\0\0",
      "grey": encode(image.convert("L"), quality=92),
      "CMYK": encode(image.convert("CMYK"), quality=92),
      "PNG named .JPEG": encode(image, "PNG"),
      "palette": encode(image.convert("P"), "PNG"),
  }
