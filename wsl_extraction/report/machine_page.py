"""One screen of text on what a machine can run."""

from __future__ import annotations

import collections
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_WIDTH = 80
_INDENT = 11
# So that a folder of many still fits on the screen.
_MOST_DATA_SETS = 5
_IMAGENET = "imagenet2012"
_IMAGENET_SPLITS = {"train": 1_281_167, "validation": 50_000}


def page(facts: Mapping[str, Any]) -> str:
  """Lays out what `doctor` has found.

  Args:
    facts: What `doctor.examined` returns.

  Returns:
    Lines of at most 80 columns, but for commands and paths, which stay whole;
    no newline at the end. The last says whether a run is possible.
  """
  lines = []
  for name, text in _entries(facts):
    text, *commands = text.split("\n")
    lines += textwrap.wrap(
        text, _WIDTH, initial_indent=f"{name:<{_INDENT}}",
        subsequent_indent=" " * _INDENT, break_on_hyphens=False,
        break_long_words=False)
    lines += commands  # to be copied, so neither broken nor indented
  return "\n".join([*lines, _verdict(facts["problems"])])


def _entries(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
  """Pairs of margin and text, with commands below."""
  yield from _backend(facts)
  yield "versions", ", ".join(
      f"{name} {version}" for name, version in facts["versions"].items()
      if version)
  yield "machine", _machine(facts["machine"])
  yield from _data(facts["data"])
  for folder in facts["folders"]:
    yield folder["name"], _folder(folder)
  victims = facts["victims"]
  yield "victims", (f"{victims['count']} trained and kept in the cache, "
                    f"{_size(victims['bytes'])}")
  for part in facts["missing"]:
    yield "missing", (f"{part['package']} ({part['purpose']}): "
                      f"pip install {part['package']}")


def _backend(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
  backend = facts["backend"]
  others = ", ".join(backend["others"]) or "none"
  yield "backend", (
      f"{backend['name'] or 'none that works'} (KERAS_BACKEND; others "
      f"installed: {others})")
  if backend["name"]:
    yield "precision", f'{backend["precision"]} is what "auto" chooses here'
    yield "devices", _devices(facts["devices"])
  if facts["unused_gpu"]:
    yield "", ("an NVIDIA driver is there, but the backend sees no GPU: "
               "pip install 'jax[cuda12]' or 'tensorflow[and-cuda]'")


def _devices(devices: Sequence[Mapping[str, Any]]) -> str:
  """Equal ones are counted."""
  kinds = collections.Counter(
      (one["name"].split(":")[0], one["kind"], one["memory"])
      for one in devices)
  texts = []
  for (name, kind, memory), count in kinds.items():
    what = name if kind == name else f"{name} ({kind})"
    own = f", {_size(memory)} each" if memory else ""
    texts.append(f"{count} {what}{own}")
  return "; ".join(texts)


def _machine(facts: Mapping[str, Any]) -> str:
  limit = ""
  if facts["usable_cores"] != facts["cores"]:
    limit = f" ({facts['usable_cores']} usable)"
  return (f"{facts['system']}, {facts['cores']} cores{limit}, "
          f"{_size(facts['memory'])} of memory, {_size(facts['free_memory'])} "
          "free")


def _data(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
  embedded = ", ".join(facts["embedded"]) or "none"
  yield "data sets", f"inside dependencies: {embedded}"
  prepared = facts["prepared"]
  yield "", facts["problem"] or (
      f"prepared in {facts['folder']}:{'' if prepared else ' none'}")
  # ImageNet is the one to know about, wherever it comes in the alphabet.
  shown = sorted(prepared, key=lambda one: one["name"] != _IMAGENET)
  for one in shown[:_MOST_DATA_SETS]:
    yield "", "  " + _prepared(one)
  if len(prepared) > _MOST_DATA_SETS:
    yield "", f"  and {len(prepared) - _MOST_DATA_SETS} more"
  if not any(one["name"] == _IMAGENET for one in prepared):
    yield "imagenet", _how_to_get_imagenet(facts["folder"])


def _prepared(one: Mapping[str, Any]) -> str:
  name = f"{one['name']} {one['version']}: "
  if one["problem"]:
    return name + one["problem"]
  splits = ", ".join(f"{split} {count:,}"
                     for split, count in one["splits"].items())
  whole = all(one["splits"].get(split, 0) >= count
              for split, count in _IMAGENET_SPLITS.items())
  sample = "" if one["name"] != _IMAGENET or whole else " (a sample of it)"
  needs = "only TensorFlow reads it" if one["needs_tensorflow"] else (
      "read without TensorFlow")
  return f"{name}{splits}{sample}, {one['file_format']}, {needs}"


def _how_to_get_imagenet(folder: str) -> str:
  command = (
      "import tensorflow_datasets as tfds;"
      f" tfds.builder('{_IMAGENET}', data_dir={folder!r},"
      " file_format='array_record').download_and_prepare()")
  return (
      f"{_IMAGENET} is not there. Register at https://image-net.org/"
      "download-images, put ILSVRC2012_img_train.tar (148 GB) and "
      f"ILSVRC2012_img_val.tar (7 GB) into {folder}/downloads/manual, then "
      f'(TensorFlow prepares it):\npython -c "{command}"')


def _folder(facts: Mapping[str, Any]) -> str:
  if facts["problem"]:
    return f"{facts['path']} cannot be written ({facts['problem']})"
  return f"{facts['path']} can be written, {_size(facts['free'])} free"


def _size(count: int) -> str:
  """Bytes, in the largest unit of which there is one."""
  value, unit = float(count), "bytes"
  for larger in ("KiB", "MiB", "GiB", "TiB"):
    if value < 1024:
      break
    value, unit = value / 1024, larger
  return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"


def _verdict(problems: Sequence[str]) -> str:
  if not problems:
    return ("A run is possible: python -m wsl_extraction.train "
            "--gin_file=gin/rotation.gin")
  return f"No run is possible: {'; also '.join(problems)}"
