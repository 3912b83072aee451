"""docs/guide/served.md: its commands, as a reader runs them."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import wsl_extraction
from fixtures import commands, guide
from fixtures.commands import ROOT

PAGE = ROOT / "docs" / "guide" / "served.md"
TEXT = PAGE.read_text(encoding="utf-8")


# A service that asks for no patience, and a network that compiles at once.
QUICK = (["--retry_after=0"], [
    "--gin_bindings=Served.backoff = 0.001",
    "--gin_bindings=import numpy_victim",
    "--gin_bindings=surrogate/recipe.Recipe.network = @numpy_victim.network"])


def blocks():
  """The words of the page's commands that practise."""
  return [[sys.executable, *words[1:]]
          for start in ("python examples/serve.py", "python -m wsl_extraction")
          for words in guide.commands_of(guide.block(PAGE.name, start).text)]


@pytest.mark.parametrize("serving, training", [
    QUICK, pytest.param([], [], marks=pytest.mark.slow, id="as it stands")])
def test_the_page_copies_a_service_and_counts_what_it_saw(
    serving, training, tmp_path):
  for name in ("examples", "gin"):
    (tmp_path / name).symlink_to(ROOT / name)
  commands.write_modules(tmp_path)
  environ = commands.environment(tmp_path)
  serve, train = blocks()
  with subprocess.Popen([*serve, "--port=0", *serving], cwd=tmp_path,
                        env=environ, text=True, stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE) as service:
    assert service.stdout is not None
    address = service.stdout.readline().strip()
    assert address.endswith("/v2/models/practice"), service.stderr
    done = commands.run(
        [*train, f"--gin_bindings=Served.url = '{address}'", *training],
        tmp_path, environ)
    service.terminate()
    said, errors = service.communicate(timeout=30)
  assert (done.status, errors) == (0, ""), done.stderr
  seen = int(said.split()[0])
  table = " ".join(done.stdout.split())
  queries = re.search(
      r"(\d+) charged of a budget of 200, (\d+) of them rows sent again, "
      r"([\d,]+) more to measure", table)
  assert queries is not None, table
  charged, again, measured = (
      int(one.replace(",", "")) for one in queries.groups())
  assert charged + measured == seen and charged <= 200 and again > 0
  fidelity = float(re.findall(r"surrogate (?:[\d.]+% ){2}([\d.]+)%", table)[0])
  assert fidelity > (50 if training else 80)
  # The page's own figures, which do not depend on the network.
  shown = " ".join(guide.block(PAGE.name, "status     ").text.split())
  assert queries[0] in shown


def test_settings_that_the_page_names_are_there():
  named = re.findall(r"`(\w+)`", " ".join(
      line.split("|")[1] for line in TEXT.splitlines()
      if line.startswith("| `")))
  assert len(named) > 15
  assert set(named) <= set(wsl_extraction.Served.__dataclass_fields__)
  assert set(wsl_extraction.Served.__dataclass_fields__) - set(named) == {
      "url", "headers"}  # in the example


def test_the_example_of_an_own_service_is_read(tmp_path):
  own = guide.block(PAGE.name, "from __gin__")
  (tmp_path / "gin").symlink_to(ROOT / "gin")
  (tmp_path / "mine.gin").write_text(own.text)
  environ = commands.environment(tmp_path)
  environ.pop("MY_TOKEN", None)
  done = commands.run(commands.command("train", "--gin_file=mine.gin"),
                      tmp_path, environ)
  assert done.status == 2
  assert "environment variable MY_TOKEN, the value of header Authorization, " \
         "is not set" in done.stderr
