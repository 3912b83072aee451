"""Flags, gin files and one-line errors: common code of the commands.

Exit status: 0 done, 2 input that cannot be used (one line on the standard
error says what, where, and what to do), 130 interrupted, 1 a defect.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import pathlib
import re
import sys
import textwrap
import tokenize
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import gin
from absl import flags

import wsl_extraction
from wsl_extraction.errors import InputError
from wsl_extraction.report import gin_moves, stages
from wsl_extraction.runtime import devices
from wsl_extraction.runtime.runtime import Runtime, cache_folder

if TYPE_CHECKING:
  from wsl_extraction.data.examples import Dataset
  from wsl_extraction.data.split import Parts
  from wsl_extraction.experiment import Experiment
  from wsl_extraction.victims.victim import Victim

FLAGS = flags.FLAGS

flags.DEFINE_multi_string(
    "gin_file", [], "A gin file that describes the experiment; repeatable, "
    "later ones win. Looked for here, then beside the installed package.")
flags.DEFINE_multi_string(
    "gin_bindings", [], "A gin binding, such as \"Experiment.budget = 200\"; "
    "repeatable, wins over the files.")
flags.DEFINE_integer(
    "seed", None, "Short for --gin_bindings=\"Experiment.seed = SEED\".",
    lower_bound=0)
flags.DEFINE_string(
    "data_dir", None, "Where tensorflow-datasets keeps its data sets; by "
    "default $TFDS_DATA_DIR, then its own choice.")
flags.DEFINE_string(
    "cache_dir", None, "Where trained victims are kept for the next run; by "
    "default $WSL_EXTRACTION_CACHE, then ~/.cache/wsl_extraction.")
flags.DEFINE_boolean("help", False, "Shows this.", short_name="h")
_SHARED = ("gin_file", "gin_bindings", "seed", "data_dir", "cache_dir")


def launch(main: Callable[[], None], define_flags: Callable[[], None]) -> int:
  """Runs `main` as a command.

  Args:
    main: Does the work, with the flags parsed. What it needs of Keras it
      imports itself, after `start`: so --help and misspelt flags are answered
      at once, and a wrong backend is named before anything tries to use it.
    define_flags: Defines the command's own flags.

  Returns:
    The exit status.
  """
  try:
    _run(main, define_flags)
    return 0
  except KeyboardInterrupt:
    say("interrupted; run the same command again to go on")
    status = 130
  except InputError as error:
    say(f"error: {_one_line(error)}")
    status = 2
  # TensorFlow complains of iterators over Python data that outlive Python; one
  # of a broken training is kept by a reference cycle.
  gc.collect()
  return status


def _run(main: Callable[[], None], define_flags: Callable[[], None]) -> None:
  shared = list(FLAGS)
  define_flags()
  try:
    unparsed = FLAGS(sys.argv)[1:]
  except flags.Error as error:
    raise InputError(f"{_one_line(error)}; see --help") from error
  if FLAGS.help:
    own = [name for name in FLAGS if name not in shared]
    show(_usage(main.__globals__["__doc__"], own))
    return
  if unparsed:
    raise InputError(f"unexpected argument {unparsed[0]!r}; see --help")
  main()


def show(text: str) -> None:
  """Prints to the standard output, of which `| head` may have seen enough.

  Raises:
    InputError: It is a file on a full disk, say.
  """
  try:
    print(text, flush=True)
  except OSError as error:
    # Else Python tries once more when it ends, and complains.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError):
      raise InputError("cannot write to the standard output: "
                       f"{error.strerror}; send it elsewhere") from error


def _usage(description: str, own: Sequence[str]) -> str:
  """The text of --help: what the command does, and its flags."""
  lines = [description.strip(), "", "Flags:"]
  for name in (*own, *_SHARED, "help"):
    flag = FLAGS[name]
    value = "" if flag.boolean else f"={name.upper()}"
    text = textwrap.fill(flag.help.split(";\n")[0], 72)
    lines += [f"  --{name}{value}", textwrap.indent(text, " " * 6)]
  return "\n".join(lines)


def start() -> None:
  """Starts the backend, once the gin files of the flags are seen to exist.

  Raises:
    InputError: No gin file is named, one is missing, or the backend cannot be
      used.
  """
  check_files()
  devices.start_backend()


def check_files() -> None:
  """Raises InputError where no gin file is named, or one is missing."""
  check_described()
  folders = ("", *_search_path())
  for path in FLAGS.gin_file:
    if not any(os.path.exists(os.path.join(f, path)) for f in folders):
      raise InputError(f"there is no gin file {path}; give the path of one, "
                       "such as --gin_file=gin/rotation.gin")


def results_folder() -> pathlib.Path:
  """The folder of --workdir, or one below runs/ named after the gin file.

  The results of gin/cifar10/mixmatch.gin are in runs/cifar10/mixmatch, those
  of own.gin in runs/own. Of several gin files the last one counts.

  Raises:
    InputError: Neither is given.
  """
  if FLAGS.workdir:
    return pathlib.Path(FLAGS.workdir).expanduser()
  check_described()
  path = pathlib.PurePath(FLAGS.gin_file[-1]).with_suffix("")
  below = path.parts[path.parts.index("gin") + 1:] if "gin" in path.parts else (
      path.name,)
  return pathlib.Path("runs", *below)


def check_described() -> None:
  """Raises InputError where no gin file is named."""
  if not FLAGS.gin_file:
    raise InputError("no experiment is named; give --gin_file, such as "
                     "--gin_file=gin/rotation.gin")


def configure(files: Sequence[str], bindings: Sequence[str]) -> None:
  """Reads gin files and then bindings into gin's configuration.

  Bindings may use whatever the files import, and import more themselves.

  Raises:
    InputError: One of them cannot be read, with file and line.
  """
  gin.clear_config()
  logging.getLogger().addFilter(_is_worth_logging)
  for folder in _search_path():
    gin.add_config_file_search_path(folder)
  for path in files:
    _parse(f"gin file {path}", lambda path=path: gin.parse_config_file(path))
  # Bindings are parsed one by one, so that an error can name its own.
  imports: list[str] = []
  for binding in bindings:
    where = f"--gin_bindings={binding}"
    if re.match(r"(from|import)\s", binding):
      imports.append(binding)
    _parse(where, lambda binding=binding: _bind(binding, imports))


def _search_path() -> tuple[str, str]:
  """The folders below which gin files are found beside the current one."""
  package = pathlib.Path(wsl_extraction.__file__).parent
  return str(package), str(package.parent)


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
    raise InputError(f"the configuration cannot be used: {_one_line(error)}; "
                     "mend the gin file or binding") from error


def experiment() -> Experiment:
  """Reads the flags' gin files and bindings and constructs the experiment.

  Networks that are made afterwards have its precision.

  Raises:
    InputError: They cannot be used.
  """
  from wsl_extraction.experiment import Experiment  # slow to import

  bindings = list(FLAGS.gin_bindings)
  if FLAGS.seed is not None:
    bindings.append(f"Experiment.seed = {FLAGS.seed}")
  configure(FLAGS.gin_file, bindings)
  configured = built(Experiment)
  devices.set_precision(configured.precision)
  return configured


def load_data(configured: Experiment) -> tuple[Dataset, Parts]:
  """Loads an experiment's data, and shows the progress of a first reading."""
  with contextlib.ExitStack() as shown:
    return configured.data(FLAGS.data_dir, stages.FirstReading(shown))


def load_victim(configured: Experiment, parts: Parts) -> Victim:
  """Loads the victim or trains it, and shows under what licence it is.

  Raises:
    InputError: It cannot be had, or cannot give what is to be revealed.
  """
  from wsl_extraction.report import training_log

  victim = configured.victim.load(parts, Runtime(
      cache=cache_folder(FLAGS.cache_dir), adapt=devices.adapt,
      compile_options=devices.compile_options(),
      training_callbacks=lambda *size: [training_log.Progress(*size)]))
  configured.oracle.live(victim)  # refuses what does not go together
  if victim.licence:
    say(f"licence: {victim.licence}")
  return victim


@contextlib.contextmanager
def without_traces(path: pathlib.Path) -> Iterator[None]:
  """Removes the folders above `path` that were made for it in vain."""
  new = [folder for folder in path.parents if not folder.exists()]
  try:
    yield
  except InputError:
    with contextlib.suppress(OSError):  # one is not empty
      for folder in new:
        folder.rmdir()
    raise


def _parse(where: str, parse) -> None:
  try:
    parse()
  except tokenize.TokenError as error:
    raise InputError(f"{where}, near line {error.args[1][0]}: a bracket or "
                     "quotation mark is not closed; close it") from error
  except SyntaxError as error:
    raise InputError(f"{where}: {_one_line(error)}; mend the syntax") from error
  except (ValueError, TypeError, ImportError, AttributeError, NameError,
          OSError) as error:
    said, remedy = gin_moves.explained(str(error))
    # The file of the line is named where it is another, an included one.
    said = _one_line(said or type(error).__name__).replace(
        f" of {where.removeprefix('gin file ')})", ")")
    raise InputError(f"{where}: {said}; {remedy}") from error


# What gin adds to messages, and the short form of it.
_GINS_WORDS = (
    (r"\s+No values supplied by Gin .*?Caller supplied values for: \[.*?\]",
     ""),
    (r"\s+In call to configurable '([^']+)' \(<[^\n]*>\)"
     r"(?: in scope '([^']+)')?",
     lambda call: f" (in {'/'.join(filter(None, call.group(2, 1)))})"),
    # The line is one of the imports that `_bind` puts before a binding.
    (r"\s+In bindings string line \d+\s.*", ""),
    (r"\.?\s+In file \"([^\"]*)\", (line \d+)\s.*", r" (\2 of \1)"),
)


def _one_line(error: BaseException | str) -> str:
  text = str(error)
  for pattern, short in _GINS_WORDS:
    text = re.sub(pattern, short, text, flags=re.DOTALL)
  return re.sub(r"\s+", " ", text).strip().rstrip(".") or type(error).__name__


def say(text: str) -> None:
  """Prints a line to the standard error."""
  print(text, file=sys.stderr, flush=True)
