"""Finding the data sets of tensorflow-datasets that lie prepared on disk."""

from __future__ import annotations

import difflib
import os
import pathlib
import typing
from collections.abc import Iterator

from wsl_extraction.data.images import decode
from wsl_extraction.errors import InputError
from wsl_extraction.runtime.files import expanded

if typing.TYPE_CHECKING:
  import tensorflow_datasets as tfds

_EMBEDDED = ("mnist5k", "digits")
# What nobody may pass on: the user has to fetch it, after signing up.
_BY_HAND = {"imagenet2012": (
    "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar",
    "https://image-net.org/download-images")}


def is_registered(name: str) -> bool:
  """Returns whether tensorflow-datasets knows the name, prepared or not."""
  import tensorflow_datasets as tfds

  return _base(name) in tfds.list_builders(with_community_datasets=False)


def find(name: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
  """Finds a prepared data set on disk.

  Args:
    name: A name of tensorflow-datasets, or the folder of one version.
    data_dir: Where to look; else TFDS_DATA_DIR, else tensorflow-datasets' own.

  Raises:
    InputError: It is unknown, not prepared there, or damaged.
  """
  import tensorflow_datasets as tfds
  from tensorflow_datasets.core import read_only_builder, registered

  folder = expanded(
      data_dir or os.environ.get("TFDS_DATA_DIR")
      or tfds.core.constants.DATA_DIR)
  try:
    if os.path.isfile(os.path.join(name, "dataset_info.json")):
      return tfds.builder_from_directory(name)
    return read_only_builder.builder_from_files(name, data_dir=folder)
  except registered.DatasetNotFoundError as error:
    raise _not_found(name, folder) from error
  except Exception as error:  # Its parsers raise errors of many kinds.
    base = _base(name)
    if not is_registered(name) and not (base and (folder / base).is_dir()):
      raise _not_found(name, folder) from error
    raise InputError(
        f"data set {decode.printable(name)} in {decode.printable(folder)} is"
        f" damaged ({decode.reason(error)}); delete its folder and prepare it"
        " again") from error


def files(folder: str | os.PathLike) -> Iterator[str]:
  """Yields what tells one state of a prepared data set from another."""
  for path in sorted(pathlib.Path(folder).resolve().iterdir()):
    status = path.stat()
    yield f"{path} {status.st_size} {status.st_mtime_ns}"


def _not_found(name: str, folder: pathlib.Path) -> InputError:
  shown, where = decode.printable(name), decode.printable(folder)
  if is_registered(name):
    prepared = sorted(
        str(info.parent.relative_to(folder))
        for info in folder.glob(f"{_base(name)}/**/dataset_info.json"))
    there = f" (found there: {', '.join(prepared)})" if prepared else ""
    # Not the command tfds: without apache_beam it does not even start.
    command = (
        "import tensorflow_datasets as tfds;"
        f" tfds.builder({shown!r}, data_dir={where!r},"
        " file_format='array_record').download_and_prepare()")
    verb = "download"
    by_hand = ""
    if _base(name) in _BY_HAND:
      listed, address = _BY_HAND[_base(name)]
      verb = "prepare"
      by_hand = (f" download {listed} from {address} (sign up there first) into"
                 f" {decode.printable(folder / 'downloads' / 'manual')} and")
    return InputError(
        f"data set {shown} is not prepared in {where}{there}; give the data_dir"
        f" that holds it, or{by_hand} {verb} it with:"
        f' python -c "{command}"')
  import tensorflow_datasets as tfds

  known = [*_EMBEDDED, *tfds.list_builders(with_community_datasets=False)]
  near = difflib.get_close_matches(name, known, n=1)
  guess = f"; did you mean {near[0]}?" if near else ""
  return InputError(
      f"no data set named {shown!r}: give {', '.join(_EMBEDDED)}, a name of"
      " tensorflow-datasets such as cifar10, a folder of class folders, or an"
      f" .npz file{guess}")


def _base(name: str) -> str:
  """Returns the name without its version and configuration."""
  return name.split(":")[0].split("/")[0]
