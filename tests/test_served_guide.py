"""docs/guide/served.md: its commands, as a reader runs them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import wsl_extraction
from fixtures import commands
from fixtures.commands import ROOT

PAGE = (ROOT / "docs" / "guide" / "served.md").read_text(encoding="utf-8")


def blocks():
  """The words of the page's commands."""
  return [shlex.split(block.replace("\\\n", "").replace(
      "python ", f"{sys.executable} ", 1))
          for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)]


def test_the_page_copies_a_service_and_counts_what_it_saw(tmp_path):
  for name in ("examples", "gin"):
    (tmp_path / name).symlink_to(ROOT / name)
  environ = commands.environment(tmp_path)
  serve, train = blocks()
  with subprocess.Popen([*serve, "--port=0"], cwd=tmp_path, env=environ,
                        text=True, stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE) as service:
    assert service.stdout is not None
    address = service.stdout.readline().strip()
    assert address.endswith("/v2/models/practice"), service.stderr
    done = commands.run([
        *train, f"--gin_bindings=Served.url = '{address}'"], tmp_path, environ)
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
  assert fidelity > 70


def test_settings_that_the_page_names_are_there():
  named = re.findall(r"`(\w+)`", " ".join(
      line.split("|")[1] for line in PAGE.splitlines()
      if line.startswith("| `")))
  assert len(named) > 15
  assert set(named) <= set(wsl_extraction.Served.__dataclass_fields__)
  assert set(wsl_extraction.Served.__dataclass_fields__) - set(named) == {
      "url", "headers"}  # in the example


def test_the_example_of_an_own_service_is_read(tmp_path):
  gin = re.search(r"```text\n(from __gin__.*?)```", PAGE, re.DOTALL)
  assert gin is not None
  (tmp_path / "gin").symlink_to(ROOT / "gin")
  (tmp_path / "mine.gin").write_text(gin[1])
  environ = commands.environment(tmp_path)
  environ.pop("MY_TOKEN", None)
  done = commands.run(commands.command("train", "--gin_file=mine.gin"),
                      tmp_path, environ)
  assert done.status == 2
  assert "environment variable MY_TOKEN, the value of header Authorization, " \
         "is not set" in done.stderr
