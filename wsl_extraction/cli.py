"""Flags, gin files and one-line errors: common code of the commands.

Exit status: 0 done, 2 input that cannot be used (one line on the standard
error says what, where, and what to do), 130 interrupted, 1 a defect.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import io
import pathlib
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from absl import flags

from wsl_extraction import cli_hints, cli_sources
from wsl_extraction.cli_gin import built, configure
from wsl_extraction.cli_output import say, show, show_warnings, usage
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.outputs import BadAnswer, VictimFailed
from wsl_extraction.report import stages
from wsl_extraction.runtime import backend, devices, files
from wsl_extraction.runtime.runtime import Runtime, cache_folder

if TYPE_CHECKING:
  from wsl_extraction.data.examples import Dataset
  from wsl_extraction.data.split import Parts
  from wsl_extraction.experiment import Experiment
  from wsl_extraction.victims.victim import Victim

FLAGS = flags.FLAGS

flags.DEFINE_multi_string(
    "gin_file", [], "A gin file that describes the experiment; repeatable, "
    "later ones win. May be given without the flag's name. Looked for here, "
    "then beside the installed package.")
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
flags.DEFINE_boolean(
    "debug", False, "Shows the traceback of what ends in one line otherwise, "
    "such as a victim that fails.")
SHARED = ("gin_file", "gin_bindings", "seed", "data_dir", "cache_dir")
_NOTHING: Mapping[str, str] = MappingProxyType({})


def launch(main: Callable[[], None], define_flags: Callable[[], None],
           reads: Sequence[str] = SHARED,
           instead: Mapping[str, str] = _NOTHING) -> int:
  """Runs `main` as a command.

  Args:
    main: Does the work, with the flags parsed. What it needs of Keras it
      imports itself, after `start`: so --help and misspelt flags are answered
      at once, and a wrong backend is named before anything tries to use it.
    define_flags: Defines the command's own flags. One whose help begins with
      "Gone" is not listed by --help.
    reads: The shared flags that the command reads.
    instead: Says of others what to give, by their names.

  Returns:
    The exit status.
  """
  if isinstance(sys.stdout, io.TextIOWrapper):
    # In a locale without "±" the table is shown with "?" in its place.
    sys.stdout.reconfigure(errors="replace")
  show_warnings()
  try:
    _run(main, define_flags, reads, instead)
    return 0
  except KeyboardInterrupt:
    say("interrupted; run the same command again to go on")
    status = 130
  except InputError as error:
    if FLAGS["debug"].value:
      traceback.print_exc()
    say(f"error: {cli_hints.one_line(error)}")
    status = 2
  # TensorFlow complains of iterators over Python data that outlive Python; one
  # of a broken training is kept by a reference cycle.
  gc.collect()
  return status


def _run(main: Callable[[], None], define_flags: Callable[[], None],
         reads: Sequence[str], instead: Mapping[str, str]) -> None:
  shared = list(FLAGS)
  define_flags()
  FLAGS.set_gnu_getopt()  # flags may come after a gin file
  try:
    unparsed = FLAGS(sys.argv)[1:]
  except flags.Error as error:
    raise InputError(f"{cli_hints.one_line(error)}; see --help") from error
  if FLAGS.help:
    own = [name for name in FLAGS if name not in shared]
    show(usage(main.__globals__["__doc__"], (*own, *reads, "debug", "help")))
    return
  for name in SHARED:
    if name not in reads and not FLAGS[name].using_default_value:
      raise InputError(instead.get(
          name, f"--{name} means nothing to this command; leave it out"))
  for argument in unparsed:
    if not argument.endswith(".gin") or "gin_file" not in reads:
      raise InputError(f"unexpected argument {argument!r}; see --help")
  FLAGS["gin_file"].value = [*FLAGS.gin_file, *unparsed]
  main()


def start() -> None:
  """Starts the backend, once the gin files of the flags can be read.

  Raises:
    InputError: No gin file is named, one of them or a binding is wrong, or the
      backend cannot be used.
  """
  check_files()
  load_backend()


def load_backend() -> None:
  """Starts the backend; says so at once to a terminal, as it takes seconds.

  Raises:
    InputError: It cannot be used.
  """
  backend.check_backend()
  if sys.stderr is not None and sys.stderr.isatty():
    say(f"loading {backend.title()} ...")
  backend.start_backend()


def check_files() -> None:
  """Makes sure that gin files and bindings can be read; imports nothing.

  Raises:
    InputError: No gin file is named, or as for `cli_sources.check`.
  """
  check_described()
  cli_sources.check_macros(
      cli_sources.check(FLAGS.gin_file, FLAGS.gin_bindings))


def results_folder() -> pathlib.Path:
  """The folder of --workdir, or one below runs/ named after the gin file.

  The results of gin/cifar10/mixmatch.gin are in runs/cifar10/mixmatch, those
  of own.gin in runs/own. Of several gin files the last one counts.

  Raises:
    InputError: Neither is given.
  """
  if FLAGS.workdir:
    return files.expanded(FLAGS.workdir)
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


def experiment() -> Experiment:
  """Reads the flags' gin files and bindings and constructs the experiment.

  Networks that are made afterwards have its precision.

  Raises:
    InputError: They cannot be used.
  """
  # Before what is slow to import: misspelt names need what the files import.
  bindings = list(FLAGS.gin_bindings)
  if FLAGS.seed is not None:
    bindings.append(f"Experiment.seed = {FLAGS.seed}")
  configure(FLAGS.gin_file, bindings)

  from wsl_extraction.experiment import Experiment

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
  return dataclasses.replace(victim, quantities={
      name: _named_failures(function)
      for name, function in victim.quantities.items()})


def _named_failures(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
  """A victim's function whose exceptions end the command in one line."""
  def answer(rows: Any) -> Any:
    try:
      return function(rows)
    except (InputError, BadAnswer):
      raise
    except Exception as error:
      said = " ".join(str(error).split())[:200]
      cause = ": ".join(filter(None, (type(error).__name__, said)))
      raise VictimFailed(
          f"the victim failed on a batch of {len(rows)} rows ({cause}); mend "
          "it, then run the same command again (--debug shows where)"
          ) from error

  return answer


@contextlib.contextmanager
def without_traces(path: pathlib.Path) -> Iterator[None]:
  """Removes the folders above `path` that were made for it in vain."""
  new = [folder for folder in path.parents if not folder.exists()]
  try:
    yield
  except BaseException:
    with contextlib.suppress(OSError):  # one is not empty
      for folder in new:
        folder.rmdir()
    raise
