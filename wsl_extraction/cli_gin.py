"""Reading gin files and bindings, and constructing what they configure."""

from __future__ import annotations

import contextlib
import logging
import re
import tokenize
from collections.abc import Callable, Sequence

import gin

from wsl_extraction import cli_files, cli_hints, cli_sources
from wsl_extraction.errors import InputError


def configure(files: Sequence[str], bindings: Sequence[str]) -> None:
  """Reads gin files and then bindings into gin's configuration.

  Bindings may use whatever the files import, and import more themselves.

  Raises:
    InputError: One of them cannot be read, with file and line.
  """
  gin.clear_config()
  logging.getLogger().addFilter(_is_worth_logging)
  cli_sources.check(files)
  for name in files:
    path = cli_files.find(name) or name
    _parse(f"gin file {path}", lambda path=path: cli_files.parse(path))
  # Bindings are parsed one by one, so that an error can name its own.
  imports: list[str] = []
  for binding in bindings:
    where = f"--gin_bindings={binding}"
    if re.match(r"(from|import)\s", binding):
      imports.append(binding)
    _parse(where, lambda binding=binding: _bind(binding, imports))


def _is_worth_logging(record: logging.LogRecord) -> bool:
  # Gin logs as an error each place where it looks for a file in vain.
  return record.module != "resource_reader"


def _bind(binding: str, imports: Sequence[str]) -> None:
  """Parses a binding with the imports of the files, or else without.

  With imports gin resolves "module.Name", without them a bare "Name".
  """
  header = [line for line in gin.config_str().splitlines()
            if line.startswith(("from ", "import "))]
  try:
    gin.parse_config("\n".join([*header, *imports, binding]))
  except NameError:
    gin.parse_config(binding)


def _parse(where: str, parse: Callable[[], object]) -> None:
  try:
    parse()
  except InputError:
    raise
  except (SyntaxError, tokenize.TokenError) as error:
    raise cli_hints.syntax_error(where, error) from error
  except (ValueError, TypeError, ImportError, AttributeError, NameError,
          OSError) as error:
    raise cli_hints.gin_error(where, str(error) or type(error).__name__
                              ) from error


def built(configurable):
  """Constructs a configured object; what is wrong becomes an `InputError`.

  Args:
    configurable: A class, as the gin files and bindings configure it.
  """
  try:
    # Without a binding of its own gin does not know it.
    with contextlib.suppress(ValueError):
      configurable = gin.get_configurable(configurable)
    return configurable()
  except InputError as error:  # says all; gin adds where it was called
    raise InputError(str(error).split("\n  In call to")[0]) from error
  except (TypeError, ValueError, AttributeError) as error:
    raise InputError(
        f"the configuration cannot be used: {cli_hints.one_line(error)}; "
        "mend the gin file or binding") from error
