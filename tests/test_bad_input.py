"""Bad input, tried as processes: status 2, one line, nothing left behind."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import pathlib
from collections.abc import Callable

import pytest

from fixtures import bad_files, commands


@dataclasses.dataclass(frozen=True)
class Case:
  """One command that must be refused.

  Attributes:
    said: What its line must contain.
    command: The binary.
    arguments: Beside --gin_file and the place of the results.
    prepare: Puts files into the folder where it runs, given the folder of
      models and the finished run.
    bare: Whether to leave --gin_file and the place of the results out.
    environ: Changes of the environment.
    prefix: What runs the command.
  """

  said: tuple[str, ...]
  command: str = "train"
  arguments: tuple[str, ...] = ()
  prepare: Callable[[pathlib.Path, pathlib.Path], None] | None = None
  bare: bool = False
  environ: tuple[tuple[str, str], ...] = ()
  prefix: tuple[str, ...] = ()


def bound(*bindings: str, said: tuple[str, ...], **others) -> Case:
  """A case of bindings in gin's full form, without the modules' names."""
  modules = {
      "Experiment": "experiment", "Learning": "learning",
      "Function": "function", "KerasFile": "keras_file", "Split": "split"}
  full = [f"{modules[b.split('.')[0]]}.{b}" if b.split(".")[0] in modules else b
          for b in bindings]
  return Case(said, arguments=tuple(f"--gin_bindings={b}" for b in full),
              **others)


def gin_text(text: str) -> Callable[[pathlib.Path, pathlib.Path], None]:
  def prepare(folder: pathlib.Path, _: pathlib.Path) -> None:
    (folder / "own.gin").write_text(commands.GIN + text)

  return prepare


RESNET = ("surrogate/recipe.Recipe.network = @resnet_v2.resnet_v2",)
OWN = ("--gin_file=own.gin", "--workdir=new")
FLAGS = {
    "unknown flag": Case(("wrkdir", "--help"), arguments=("--wrkdir=x",)),
    "superfluous argument": Case(("'more'", "--help"), arguments=("more",)),
    "neither gin file nor workdir": Case(
        ("--gin_file=gin/rotation.gin",), bare=True),
    "no output": Case(("--output=runs/",), "label", bare=True),
    "no surrogate": Case(("give --surrogate or",), "evaluate", bare=True),
    "no gin file": Case(("--gin_file=gin/rotation.gin",), bare=True,
                        arguments=("--workdir=new",)),
    "missing gin file": Case(("no gin file nowhere.gin", "give"), bare=True,
                             arguments=("--gin_file=nowhere.gin",
                                        "--workdir=new")),
    "seed": Case(("--seed=abc", "--help"), arguments=("--seed=abc",)),
    "label budget 0": Case(("--budget=0", "--help"), "label", ("--budget=0",)),
    "no run folder": Case(("new is no run folder", "give one"), "evaluate",
                          ("--workdir=new",), bare=True),
    "unknown backend": Case(
        ("KERAS_BACKEND is 'foo'", "tensorflow, jax, torch"),
        environ=(("KERAS_BACKEND", "foo"),)),
}
GIN = {
    "unclosed bracket": Case(
        ("own.gin", "line 32", "not closed"), arguments=OWN, bare=True,
        prepare=gin_text("split.Split.pool = (3\n")),
    "misspelt name": Case(
        ("own.gin", "Lerning", "line 31", "check the spelling"), arguments=OWN,
        bare=True, prepare=gin_text("learning.Lerning.steps = 3\n")),
    "two values": bound(
        "Experiment.budget = 3 4", said=("budget = 3 4", "mend the syntax")),
    "misspelt parameter": bound(
        "Learning.step = 3", said=("'step'", "check the spelling")),
    "misspelt parameter of a network": bound(
        *RESNET, "resnet_v2.resnet_v2.dept = 8", said=("resnet_v2", "'dept'")),
    "misspelt parameter of an optimizer": bound(
        "keras.optimizers.SGD.learning_rat = 0.1",
        said=("Recipe.optimizer", "learning_rat", "(in SGD)", "mend")),
    "misspelt parameter of a victim's optimizer": bound(
        "import wsl_extraction.victims.trained",
        "Experiment.victim = @wsl_extraction.victims.trained.Trained()",
        "wsl_extraction.victims.trained.Trained.recipe = "
        "@victim/recipe.Recipe()", "victim/recipe.Recipe.steps = 1",
        "victim/recipe.Recipe.network = @resnet_v2.resnet_v2",
        "victim/recipe.Recipe.optimizer = @victim/keras.optimizers.SGD",
        "victim/keras.optimizers.SGD.learning_rat = 0.1", command="label",
        said=("Recipe.optimizer", "learning_rat", "(in victim/SGD)", "mend")),
    "undefined macro": bound(
        "surrogate/Recipe.steps = %NOWHERE", said=("NOWHERE", "mend")),
}
SETTINGS = {
    "budget 0": bound("Experiment.budget = 0", said=("budget is 0", "give")),
    "budget negative": bound(
        "Experiment.budget = -1", said=("budget is -1", "give")),
    "budget of a word": bound(
        "Experiment.budget = 'many'", said=("budget is 'many'", "give")),
    "budget too large": bound(
        "Experiment.budget = 65", said=("65", "pool of 64", "lower it")),
    "reveal unknown": bound(
        "Experiment.reveal = 'all'",
        said=("reveal is 'all'", "give label, label_score, top_k:3,")),
    "reveal too little": bound(
        "Learning.objective = @distillation.LogitMatching()",
        said=("reveal is 'scores'", "needs 'logits'", "raise it")),
    "no k": bound("Experiment.reveal = 'top_k'",
                  said=("reveal is 'top_k'", "give", "top_k:3")),
    "k of 0": bound("Experiment.reveal = 'top_k:0'",
                    said=("reveal is 'top_k:0'", "give", "top_k:3")),
    "k too large": bound(
        "Experiment.reveal = 'top_k:11'", command="label",
        said=("k is 11", "from 1 to 10")),
    "access of before": bound(
        "Experiment.access = 'label'",
        said=("access is gone", "write Experiment.reveal = 'label'")),
    "k of before": bound(
        "Experiment.k = 3", command="label",
        said=("k is gone", "write Experiment.reveal = 'top_k:3'")),
    "steps of before": bound(
        "Learning.steps = 3", command="label",
        said=("Learning.steps is gone", "write surrogate/recipe.Recipe.steps")),
    "depth": bound(*RESNET, "resnet_v2.resnet_v2.depth = 9",
                   said=("Recipe.network", "depth 9", "8 and 11")),
    "batch size": bound("surrogate/Recipe.unlabeled_batch_size = 'a'",
                        said=("unlabeled_batch_size is 'a'", "give")),
    "victim without brackets": bound(
        "Experiment.victim = @function.Function",
        said=("Experiment.victim", "@trained.Trained()")),
    "probabilities as logits": bound(
        "Function.outputs = 'logits'", said=("sums to 1", "'probabilities'")),
    "logits as probabilities": bound(
        "Function.function = @numpy_victim.logits", command="label",
        said=("declared to give probabilities", "outputs='logits'")),
    "dtype of responses": bound(
        "Experiment.response_dtype = 'int8'",
        said=("'int8'", "choose one of log16, float16,")),
}
MIXMATCH = ("from wsl_extraction.objectives import mixmatch",
            "Learning.objective = @mixmatch.MixMatch()")
STRATEGIES = {
    "alpha 0": bound(*MIXMATCH, "mixmatch.MixMatch.alpha = 0",
                     said=("MixMatch.alpha is 0", "above 0")),
    "alpha negative": bound(*MIXMATCH, "mixmatch.MixMatch.alpha = -0.75",
                            said=("MixMatch.alpha is -0.75", "above 0")),
    "no guesses": bound(*MIXMATCH, "mixmatch.MixMatch.guesses = 0",
                        said=("MixMatch.guesses is 0", "1 or more")),
    "unlabelled batch empty": bound(
        *MIXMATCH, "surrogate/Recipe.unlabeled_batch_size = 0",
        said=("MixMatch has no unlabelled", "unlabeled_batch_size")),
    "nothing left unlabelled": bound(
        *MIXMATCH, "Experiment.budget = 64",
        said=("MixMatch has no unlabelled", "below the size of the pool")),
    "unequal batches interleaved": bound(
        *MIXMATCH, "mixmatch.MixMatch.interleave = True",
        "surrogate/Recipe.unlabeled_batch_size = 4",
        said=("interleave", "(4)", "(8)", "equal")),
    "more rounds than queries": bound(
        "Learning.rounds = 33", said=("rounds is 33", "32 queries", "fewer")),
    "a strategy by its name": bound(
        "Learning.strategy = 'entropy'",
        said=("Learning.strategy is 'entropy'", "@random.Random()")),
}
DATA = {
    "unknown data set": bound(
        "Experiment.dataset = 'cifar01'", said=("'cifar01'", "mean cifar10?")),
    "empty folder": bound(
        "Experiment.dataset = './images'", said=("images", "class folders"),
        prepare=lambda folder, _: (folder / "images").mkdir()),
    "unreadable folder": bound(
        "Experiment.dataset = './images'", command="label",
        said=("images", "Permission denied", "check"),
        prefix=bad_files.UNPRIVILEGED,
        prepare=lambda folder, _: (folder / "images").mkdir(mode=0)),
    "images of several sizes": bound(
        "Experiment.dataset = './images'",
        said=("differ in size", "image_size"),
        prepare=bad_files.images_of_two_sizes),
    "NaN": bound("Experiment.dataset = 'data.npz'",
                 said=("data.npz", "nan in image 7"),
                 prepare=bad_files.nan_pool),
}
ALL = {**FLAGS, **GIN, **SETTINGS, **STRATEGIES, **DATA, **{
    name: Case(**fields) for name, fields in bad_files.CASES.items()}}


def run_case(case: Case, folder: pathlib.Path,
             shared: pathlib.Path) -> commands.Outcome:
  folder.mkdir()
  if case.prepare:
    case.prepare(folder, shared)
  words = commands.command(case.command)
  if not case.bare:
    place = {"train": ["--workdir=new/run"], "label": ["--output=new/l.sqlite"],
             "evaluate": []}[case.command]
    words += [f"--gin_file={shared / 'base.gin'}", *place]
  words = [*case.prefix, *words, *case.arguments]
  return commands.run(words, folder, commands.environment(
      shared, INTRUDED=str(folder / "intruded"), **dict(case.environ)))


@pytest.fixture(name="outcomes", scope="module")
def fixture_outcomes(request, tmp_path_factory):
  """The outcomes of the cases that were selected, two processes at a time."""
  selected = [item.callspec.params["name"] for item in request.session.items
              if item.path == request.path and hasattr(item, "callspec")]
  shared = tmp_path_factory.mktemp("shared")
  commands.write_modules(shared)
  if set(selected) & set(bad_files.CASES):
    bad_files.make_shared(shared)
  base = tmp_path_factory.mktemp("cases")
  with concurrent.futures.ThreadPoolExecutor(2) as threads:
    yield {name: threads.submit(
        run_case, ALL[name], base / name.replace(" ", "_"), shared)
        for name in selected}


@pytest.mark.parametrize("name", ALL)
def test_refused_in_one_line_and_without_traces(name, outcomes):
  case, outcome = ALL[name], outcomes[name].result()
  assert outcome.status == 2, outcome.stderr
  assert not outcome.stdout
  lines = outcome.stderr.splitlines()
  assert len(lines) == 1, outcome.stderr
  assert lines[0].startswith("error: ")
  for part in case.said:
    assert part in lines[0], lines[0]
  assert outcome.after == outcome.before
