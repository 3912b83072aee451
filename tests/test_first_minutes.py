"""First minutes with the commands: silence, flags, homes, failures."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

from fixtures import commands
from fixtures.gin_files import ROOT
from wsl_extraction.errors import InputError
from wsl_extraction.runtime import files, runtime

# The lines that commands write to the standard error themselves.
OURS = re.compile(
    r"(surrogate|victim|labels|parts|round \d+/\d+)  \d+/\d+ |"
    r"loading (TensorFlow|JAX|PyTorch) \.\.\.$|run \d+/\d+: |licence: |error: |"
    r"WARNING: the victim |$")
TRAINED = (
    "import wsl_extraction.victims.trained",
    "experiment.Experiment.victim = @wsl_extraction.victims.trained.Trained()",
    "wsl_extraction.victims.trained.Trained.recipe = @victim/recipe.Recipe()",
    "victim/recipe.Recipe.steps = 2",
    "victim/recipe.Recipe.network = @numpy_victim.network",
    "victim/recipe.Recipe.optimizer = @victim/keras.optimizers.SGD",
    "victim/recipe.Recipe.batch_size = 8")
# Of several trainings each has a function to trace, of which TensorFlow warns.
ROUNDS = {"tensorflow": "learning.Learning.rounds = 6",
          "jax": "learning.Learning.rounds = 1"}

SMALL = ("cells = ((2, 1), (2, 2))", "learned = ((2, 2),)", "budgets = (8,)",
         "steps = 4", "tests = 100", "needles = 5")


@pytest.fixture(name="shared", scope="module")
def fixture_shared(tmp_path_factory):
  folder = tmp_path_factory.mktemp("shared")
  commands.write_modules(folder)
  (folder / "failing.py").write_text(
      "from numpy_victim import scores\n\n"
      "def fail(images):\n  return scores(images)[:, None] + undefined_name\n")
  (folder / "table.gin").write_text(commands.GRID)
  return folder


def environment(shared: pathlib.Path, **changes: str) -> dict[str, str]:
  """As a newcomer has it, without settings of warnings."""
  environ = commands.environment(shared, **changes)
  del environ["PYTHONWARNINGS"]
  return environ


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_standard_error_holds_our_own_lines_alone(tmp_path, shared, backend):
  environ = environment(shared, KERAS_BACKEND=backend)
  base = str(shared / "base.gin")
  for words in (
      ("train", base, "--workdir=r", f"--gin_bindings={ROUNDS[backend]}",
       *(f"--gin_bindings={b}" for b in TRAINED)),
      ("evaluate", "--workdir=r"),
      ("label", base, "--output=l.sqlite"),
      ("hardness", "gin/theorem1.gin", "--workdir=t",
       *(f"--gin_bindings=Theorem1.{b}" for b in SMALL))):
    # All import a backend by the same function: two such starts tell.
    done = commands.run(commands.command(*words), tmp_path, environ,
                        cold=words[0] in ("train", "hardness"))
    assert done.status == 0 and done.stdout, done.stderr
    for line in done.stderr.splitlines():
      assert OURS.match(line), (words[0], line)


@pytest.fixture(name="seconds_of_keras", scope="module")
def fixture_seconds_of_keras(shared):
  start = time.monotonic()
  subprocess.run([sys.executable, "-c", "import keras"],
                 env=environment(shared), check=True, capture_output=True)
  return time.monotonic() - start


@pytest.mark.parametrize("text, said", [
    ("split.Split.pool = (3\n", "not closed"),
    ("include 'nowhere.gin'\n", "no gin file nowhere.gin to include"),
    ("import wsl_extraction.data.datasetz\n", "datasetz"),
    ("learning.Learning.round = 3\n", "did you mean rounds?"),
])
def test_what_the_text_tells_is_said_before_keras_is_imported(
    tmp_path, shared, seconds_of_keras, text, said):
  (tmp_path / "own.gin").write_text(commands.GIN + text)
  environ = environment(shared)
  start = time.monotonic()
  done = commands.run(
      commands.command("train", "own.gin", "--workdir=new"), tmp_path, environ,
      cold=True)
  taken = time.monotonic() - start
  assert done.status == 2 and said in done.stderr
  assert done.stderr.startswith("error: gin file own.gin")
  # Under a second where nothing else runs; the machine may be busy.
  assert taken < max(1, seconds_of_keras / 2)


def test_a_terminal_is_told_at_once_what_takes_so_long(tmp_path, shared):
  pty = pytest.importorskip("pty")
  reading, writing = pty.openpty()
  process = subprocess.Popen(
      commands.command("train", str(shared / "base.gin"), "--workdir=new",
                       "--gin_bindings=Experiment.budget = 0"),
      cwd=tmp_path, env=environment(shared), stderr=writing,
      stdout=subprocess.DEVNULL)
  os.close(writing)
  with open(reading, "rb", buffering=0) as terminal:
    shown = terminal.read(100)
    assert process.poll() is None
    assert shown.startswith(b"loading JAX ...")
    try:
      while part := terminal.read(1000):
        shown += part
    except OSError:  # Linux: the other end is closed
      pass
  assert process.wait() == 2
  assert shown.decode().splitlines()[-1].startswith("error: Experiment.budget")


def console(tmp_path: pathlib.Path, shared: pathlib.Path,
            *words: str) -> commands.Outcome:
  """The console command, as pip's script calls it."""
  return commands.run(
      [sys.executable, "-c", "import sys; sys.path.pop(0); "
       "sys.argv[0] = 'wsl-extraction'; "
       "from wsl_extraction.__main__ import main; sys.exit(main())", *words],
      tmp_path, environment(ROOT, PYTHONPATH=str(ROOT)))


def test_the_console_command_lists_its_commands(tmp_path, shared):
  from wsl_extraction import __main__ as console_command

  done = console(tmp_path, shared)
  assert (done.status, done.stderr) == (0, "")
  for name in console_command.COMMANDS:
    assert re.search(rf"^  {name} +[A-Z]", done.stdout, re.MULTILINE)
    assert (ROOT / "wsl_extraction" / f"{name}.py").is_file()
  assert max(map(len, done.stdout.splitlines())) <= 80
  assert done.stdout == commands.run(
      [sys.executable, "-m", "wsl_extraction"], tmp_path,
      environment(shared)).stdout


def test_the_console_command_is_declared():
  import tomllib

  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  assert project["scripts"] == {
      "wsl-extraction": "wsl_extraction.__main__:main"}


@pytest.mark.parametrize("words, said", [
    (["trian"], "did you mean train?"),
    (["train", "gin/rotaton.gin"], "did you mean gin/rotation.gin?"),
    (["train", "gin/rotation.gin", "more"], "unexpected argument 'more'"),
    (["doctor", "own.gin"], "unexpected argument 'own.gin'"),
    (["doctor", "--seed=1"], "--seed means nothing to this command"),
    (["hardness", "--cache_dir=x"], "--cache_dir means nothing"),
    (["reproduce", "--seed=1"], "the seeds of a table are Grid.seeds"),
])
def test_misspelt_words_are_named(tmp_path, shared, words, said):
  done = console(tmp_path, shared, *words)
  assert (done.status, done.stdout, done.after) == (2, "", {})
  assert said in done.stderr and done.stderr.count("\n") == 1


def test_gin_files_are_plain_arguments_and_modules_are_here(tmp_path, shared):
  for name in ("numpy_victim.py", "base.gin"):
    shutil.copy(shared / name, tmp_path)
  (tmp_path / "more.gin").write_text(
      "from __gin__ import dynamic_registration\n"
      "from wsl_extraction import experiment\n"
      "experiment.Experiment.budget = 'no number'\n")
  done = console(tmp_path, shared, "train", "base.gin", "--seed=1", "more.gin",
                 "--workdir=new")
  assert done.status == 2
  assert done.stderr.startswith("error: Experiment.budget is 'no number'")


@pytest.mark.parametrize("name, absent", [
    ("train", ()), ("evaluate", ()), ("label", ("shard",)),
    ("reproduce", ("seed", "shard")),
    ("hardness", ("seed", "data_dir", "cache_dir")),
    ("doctor", ("seed", "gin_file", "gin_bindings")),
])
def test_help_lists_the_flags_that_the_command_reads(
    tmp_path, shared, name, absent):
  done = commands.run(commands.command(name, "--help"), tmp_path,
                      environment(shared))
  listed = set(re.findall(r"^  --(\w+)", done.stdout, re.MULTILINE))
  assert {"debug", "help"} <= listed and not listed & {*absent}
  shared_flags = {"gin_file", "gin_bindings", "seed", "data_dir", "cache_dir"}
  assert shared_flags - {*absent} <= listed


def test_a_tilde_is_the_home_folder_in_every_path(tmp_path, shared):
  home, here = tmp_path / "home", tmp_path / "here"
  home.mkdir()
  here.mkdir()
  shutil.copy(shared / "base.gin", home)
  environ = environment(shared, HOME=str(home), WSL_EXTRACTION_CACHE="~/cache")
  for words in (
      ("train", "--gin_file=~/base.gin", "--workdir=~/run",
       "--measured=~/measured"),
      ("evaluate", "--workdir=~/run", "--surrogate=~/run/surrogate.keras",
       "--output=~/scores.json")):
    done = commands.run(commands.command(*words), here, environ)
    assert done.status == 0, done.stderr
    assert not done.after
  left = {path.name for path in home.iterdir() if path.name[0] != "."}
  assert left == {"base.gin", "run", "measured", "scores.json"}


def test_paths_that_this_package_expands(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  with files.atomic_write("~/new/doctor.json") as path:
    path.write_text("{}")
  assert (tmp_path / "new" / "doctor.json").is_file()
  assert runtime.cache_folder("~/c") == tmp_path / "c"
  assert runtime.cache_folder("") == tmp_path / ".cache" / "wsl_extraction"
  with pytest.raises(InputError, match="home folder that is not known"):
    files.expanded("~nobody-of-this-name/x")


@pytest.fixture(name="open_folder")
def fixture_open_folder():
  """A folder for all users, which pytest's are not."""
  with tempfile.TemporaryDirectory() as name:
    pathlib.Path(name).chmod(0o777)
    yield pathlib.Path(name)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0
    or shutil.which("setpriv") is None, reason="root alone may become nobody")
def test_no_home_and_no_name(open_folder):
  """As in a container that runs with a number of its own."""
  commands.write_modules(open_folder)
  environ = environment(open_folder, TMPDIR=str(open_folder))
  del environ["WSL_EXTRACTION_CACHE"]
  environ.pop("HOME", None)
  done = commands.run(
      ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups",
       *commands.command("train", "base.gin", "--workdir=r",
                         *(f"--gin_bindings={b}" for b in TRAINED))],
      open_folder, environ)
  assert done.status == 0, done.stderr
  assert all(map(OURS.match, done.stderr.splitlines())), done.stderr
  assert list(
      open_folder.glob("wsl_extraction-54321/.cache/wsl_extraction/*/*"))
  assert not [str(path) for path in open_folder.rglob("~/**/*")]


def test_any_locale(tmp_path, shared):
  (tmp_path / "größe.gin").write_text(
      "# naïve – ± \n" + commands.GIN, encoding="utf-8")
  words = commands.command("train", "größe.gin", "--workdir=é")
  ascii_alone = environment(
      shared, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0",
      PYTHONIOENCODING="ascii")
  done = commands.run(words, tmp_path, ascii_alone)
  assert done.status == 0, done.stderr
  assert all(map(OURS.match, done.stderr.splitlines())), done.stderr
  assert done.stdout.endswith("?\n")  # the folder is called é
  unknown = environment(shared, LC_ALL="xx_XX.UTF-8")
  again = commands.run(words, tmp_path, unknown)
  assert (again.status, again.stderr) == (0, "")
  # Of the folder's name an "?" stands for each byte.
  assert again.stdout.encode("ascii", "replace").decode().rstrip("?\n") == (
      done.stdout.rstrip("?\n"))


FAILS = ("import failing", "function.Function.function = @failing.fail")


@pytest.mark.parametrize("name", ["train", "label"])
def test_a_failing_victim_is_one_line_and_leaves_nothing(
    tmp_path, shared, name):
  place = {"train": "--workdir=new/run", "label": "--output=new/l.sqlite"}[name]
  words = commands.command(name, str(shared / "base.gin"), place)
  broken = [*words, *(f"--gin_bindings={b}" for b in FAILS)]
  done = commands.run(broken, tmp_path, environment(shared))
  assert (done.status, done.stdout, done.after) == (2, "", {})
  assert re.fullmatch(
      r"error: the victim failed on a batch of \d+ rows \(NameError: name "
      r"'undefined_name' is not defined[^;]*\); mend it, .* \(--debug shows "
      r"where\)\n", done.stderr)
  if name == "label":  # which ends in the same place
    return
  shown = commands.run([*broken, "--debug"], tmp_path, environment(shared))
  assert shown.status == 2 and 'failing.py", line 4, in fail' in shown.stderr
  assert shown.stderr.splitlines()[-1] == done.stderr.strip()


@pytest.mark.parametrize("error", ["KeyError('x')", "SystemExit(3)"])
def test_after_any_exception_nothing_is_in_the_way(tmp_path, shared, error):
  """A defect, say; here in a module that the gin file imports."""
  (tmp_path / "broken.py").write_text(
      "import dataclasses\n"
      "from wsl_extraction.attacks.learning.learning import Learning\n\n"
      "@dataclasses.dataclass(frozen=True, kw_only=True)\n"
      "class Broken(Learning):\n"
      "  def run(self, oracle, knowledge, rng, runtime):\n"
      f"    raise {error}\n")
  words = commands.command("train", str(shared / "base.gin"), "--workdir=new")
  environ = environment(shared)
  environ["PYTHONPATH"] += f"{os.pathsep}{tmp_path}"
  done = commands.run(
      [*words, "--gin_bindings=import broken",
       "--gin_bindings=experiment.Experiment.attack = @broken.Broken()",
       "--gin_bindings=broken.Broken.objective = @distillation.Distillation()",
       "--gin_bindings=broken.Broken.recipe = @surrogate/recipe.Recipe()"],
      tmp_path, environ)
  assert done.status not in (0, 2), done.stderr
  assert error.split("(")[0] in done.stderr or done.status == 3
  assert "new" not in done.after


def test_a_killed_process_leaves_a_folder_for_the_mended_command(
    tmp_path, shared):
  words = commands.command("train", str(shared / "base.gin"), "--workdir=new")
  process = subprocess.Popen(
      [*words, "--gin_bindings=function.Function.function = "
       "@numpy_victim.slow"], cwd=tmp_path, env=environment(shared),
      stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
  deadline = time.monotonic() + 120
  while not (tmp_path / "waiting").exists():
    assert process.poll() is None and time.monotonic() < deadline
    time.sleep(0.05)
  process.kill()
  process.wait()
  assert (tmp_path / "new" / "config.gin").exists()
  mended = commands.run(words, tmp_path, environment(shared))
  assert mended.status == 0, mended.stderr
  assert "32 charged of a budget of 32" in mended.stdout


