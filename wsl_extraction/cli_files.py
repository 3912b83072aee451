"""Gin files on disk: found, decoded, and given to gin."""

from __future__ import annotations

import io
import pathlib
import re

import gin
from gin import config

import wsl_extraction
from wsl_extraction.errors import InputError
from wsl_extraction.runtime import files

_PACKAGE = pathlib.Path(wsl_extraction.__file__).parent
# Gin files are looked for in the current folder, and in these.
SEARCH_PATH = (_PACKAGE, _PACKAGE.parent)
# Marks the names of files that gin is to read by `_Text`.
_SCHEME = "wsl_extraction:"
_INCLUDE = re.compile(r"^(\s*include\s+)(['\"])([^'\"]+)\2(?=\s*(?:#.*)?$)",
                      re.MULTILINE)


def find(name: str, including: str | None = None) -> str | None:
  """Looks for a gin file.

  Args:
    name: Its path, or the end of it.
    including: The file that includes it, beside which it may be.

  Returns:
    A path of it that can be opened: below the current folder, beside the
    including file, or beside or in the installed package. None if there is
    none.
  """
  path = files.expanded(name)
  beside = [pathlib.Path(including).parent] if including else []
  for folder in (pathlib.Path(), *beside, *SEARCH_PATH):
    if (folder / path).is_file():
      return str(folder / path)
  return None


def read(path: str) -> str:
  """Returns the text of a gin file.

  Raises:
    InputError: It cannot be read, or is no UTF-8.
  """
  where = f"gin file {path}"
  try:
    content = pathlib.Path(path).read_bytes()
  except OSError as error:
    raise InputError(f"{where} cannot be read: {error.strerror}; make it "
                     "readable") from error
  if content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in content[:200]:
    raise InputError(f"{where} is no UTF-8, but UTF-16 or no text at all; save "
                     "it as UTF-8")
  return files.utf8(content, where)


def parse(path: str) -> None:
  """Has gin parse a file that was found, with all that it includes."""
  config.register_file_reader(_Text, lambda name: name.startswith(_SCHEME))
  gin.parse_config_file(_SCHEME + path)


class _Text(io.StringIO):
  """The text of a gin file whose includes name what `find` gives."""

  def __init__(self, name: str):
    self.name = name.removeprefix(_SCHEME)

    def found(include: re.Match) -> str:
      start, _, included = include.groups()
      path = find(included, self.name)
      return f"{start}{_SCHEME + path!r}" if path else include[0]

    super().__init__(_INCLUDE.sub(found, read(self.name)))
