"""Data sets prepared on disk, listed by their descriptions alone.

Nothing is read but each data set's dataset_info.json, and nothing imported: so
a list takes milliseconds, where tensorflow-datasets takes seconds to start.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from wsl_extraction.data.images import decode
from wsl_extraction.errors import InputError

_DEFAULT = "~/tensorflow_datasets"
_DESCRIPTION = "dataset_info.json"
# Of a description that names none.
_OLDEST_FORMAT = "tfrecord"
_FREE_FORMAT = "array_record"
_TEMPLATES = ("", "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}")


@dataclasses.dataclass(frozen=True)
class Prepared:
  """A data set that tensorflow-datasets prepared.

  Attributes:
    name: With its configuration, if it has one: `cifar10`, `name/config`.
    version: Such as 3.0.2.
    splits: The examples of each.
    file_format: In which they are stored; "" where that is not known.
    problem: Why it cannot be used; "" where nothing is known to be wrong.
  """

  name: str
  version: str
  splits: Mapping[str, int] = dataclasses.field(default_factory=dict)
  file_format: str = ""
  problem: str = ""

  @property
  def needs_tensorflow(self) -> bool:
    """True if only TensorFlow reads it."""
    return self.file_format != _FREE_FORMAT


def folder(data_dir: str | None = None) -> pathlib.Path:
  """The folder of data sets: `data_dir`, else TFDS_DATA_DIR, else home.

  Args:
    data_dir: What the user asked for, if anything.
  """
  chosen = data_dir or os.environ.get("TFDS_DATA_DIR") or _DEFAULT
  try:
    return pathlib.Path(chosen).expanduser()
  except RuntimeError:  # "~somebody" who is nobody here
    return pathlib.Path(chosen)


def list_prepared(path: pathlib.Path) -> list[Prepared]:
  """Lists what is prepared below a folder of tensorflow-datasets.

  Raises:
    InputError: There is no such folder, or it may not be read.
  """
  where = decode.printable(path)
  try:
    os.listdir(path)
  except NotADirectoryError as error:
    raise InputError(f"{where} is a file; give the folder that holds the data "
                     "sets") from error
  except FileNotFoundError as error:
    raise InputError(f"there is no folder {where}; give --data_dir or set "
                     "TFDS_DATA_DIR where data sets are elsewhere") from error
  except OSError as error:
    raise InputError(f"{where} cannot be read ({decode.reason(error)}); give "
                     "another --data_dir") from error
  # name/version and name/configuration/version; never all that lies below.
  folders = [description.parent for description in sorted(
      description for depth in ("*/*", "*/*/*")
      for description in path.glob(f"{depth}/{_DESCRIPTION}"))]
  return [_described(path, folder) for folder in folders
          if "incomplete" not in folder.name]


def _described(root: pathlib.Path, place: pathlib.Path) -> Prepared:
  *names, version = place.relative_to(root).parts
  name, version = (
      decode.printable(part) for part in ("/".join(names), version))
  try:
    content = json.loads((place / _DESCRIPTION).read_text(encoding="utf-8"))
    splits = {decode.printable(split["name"]): _shards(split)
              for split in content["splits"]}
    form = str(content.get("fileFormat") or _OLDEST_FORMAT)
    missing = _missing(place, content)
  except (OSError, ValueError, TypeError, AttributeError, KeyError,
          RecursionError) as error:
    return Prepared(name, version, problem=(
        f"damaged ({_DESCRIPTION}: {_said(error)}); delete its folder and "
        "prepare it again"))
  return Prepared(
      name, version, {split: sum(shards) for split, shards in splits.items()},
      decode.printable(form), missing and (
          f"{missing} of its files are missing; prepare it again"))


def _shards(split: Mapping[str, Any]) -> list[int]:
  """The number of examples in each file of a split."""
  return [int(length) for length in split.get("shardLengths", ())]


def _missing(place: pathlib.Path, content: Mapping[str, Any]) -> str:
  """The number of present files out of all, or nothing."""
  there = set(os.listdir(place))
  form = content.get("fileFormat") or _OLDEST_FORMAT
  wanted = set()
  for split in content["splits"]:
    # Files of other names would only seem to be missing.
    if split.get("filepathTemplate", "") in _TEMPLATES:
      count = len(_shards(split))
      wanted |= {
          f"{content['name']}-{split['name']}.{form}-{i:05d}-of-{count:05d}"
          for i in range(count)}
  gone = len(wanted - there)
  return f"{gone} of {len(wanted)}" if gone else ""


def _said(error: Exception) -> str:
  if isinstance(error, KeyError):
    return f"it lacks {decode.printable(error)}"
  return decode.reason(error)
