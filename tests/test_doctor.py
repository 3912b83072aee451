"""What a machine is found to have, and what is said where something lacks."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import pathlib
import types

import keras
import pytest

from fixtures import commands
from wsl_extraction import cli, doctor
from wsl_extraction.data import prepared_index
from wsl_extraction.errors import InputError
from wsl_extraction.report import machine_page
from wsl_extraction.runtime import devices, inventory


@pytest.fixture(autouse=True)
def _surroundings(tmp_path, monkeypatch):
  if not cli.FLAGS.is_parsed():
    cli.FLAGS(["tests"])
  monkeypatch.setenv("WSL_EXTRACTION_CACHE", str(tmp_path / "cache"))
  monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
  monkeypatch.chdir(tmp_path)
  before = keras.config.dtype_policy()
  yield
  keras.config.set_dtype_policy(before)


@pytest.fixture(name="flags")
def fixture_flags(monkeypatch):
  chosen = types.SimpleNamespace(cache_dir=None, data_dir=None, output=None)
  monkeypatch.setattr(doctor, "flags", types.SimpleNamespace(FLAGS=chosen))
  return chosen


def prepare(root, name, shards, form="array_record", version="1.0.0"):
  """Writes the description and empty files, named as their makers do."""
  from google.protobuf import json_format
  from tensorflow_datasets.core import naming
  from tensorflow_datasets.core.proto import dataset_info_pb2
  folder = root / name / version
  folder.mkdir(parents=True)
  base = name.split("/")[0]
  info = dataset_info_pb2.DatasetInfo(
      name=base, version=version, file_format=form)
  for split, lengths in shards.items():
    info.splits.add(name=split, shard_lengths=lengths)
    files = naming.ShardedFileTemplate(
        data_dir=folder, dataset_name=base, split=split, filetype_suffix=form)
    for path in files.sharded_filepaths(len(lengths)):
      pathlib.Path(path).touch()
  (folder / "dataset_info.json").write_text(json_format.MessageToJson(info))
  return folder


def test_prepared_data_sets_are_found(tmp_path):
  prepare(tmp_path, "cifar10", {"train": [3, 4], "test": [2]})
  prepare(tmp_path, "corrupted/brightness", {"test": [5]}, "tfrecord")
  prepare(tmp_path, "half", {"test": [5]}, version="1.0.0.incompleteXYZ")
  (tmp_path / "downloads" / "manual").mkdir(parents=True)
  first, second = prepared_index.list_prepared(tmp_path)
  assert first == prepared_index.Prepared(
      "cifar10", "1.0.0", {"train": 7, "test": 2}, "array_record")
  assert second == prepared_index.Prepared(
      "corrupted/brightness", "1.0.0", {"test": 5}, "tfrecord")
  assert (first.needs_tensorflow, second.needs_tensorflow) == (False, True)


def test_a_format_that_is_not_named_is_the_oldest(tmp_path):
  # As in tensorflow-datasets; it says so only in its code.
  folder = prepare(tmp_path, "old", {"train": [1]}, "tfrecord")
  path = folder / "dataset_info.json"
  info = json.loads(path.read_text())
  del info["fileFormat"]
  path.write_text(json.dumps(info))
  (only,) = prepared_index.list_prepared(tmp_path)
  assert (only.file_format, only.needs_tensorflow) == ("tfrecord", True)
  assert not only.problem


def test_missing_files_are_counted(tmp_path):
  folder = prepare(tmp_path, "cifar10", {"train": [1, 1, 1], "test": [1]})
  (folder / "cifar10-train.array_record-00001-of-00003").unlink()
  (only,) = prepared_index.list_prepared(tmp_path)
  assert only.problem == "1 of 4 of its files are missing; prepare it again"


@pytest.mark.parametrize("text, said", [
    ("", "Expecting value"), ("{", "Expecting property name"),
    ("[]", "list indices"), ("{}", "it lacks 'splits'"),
    ('{"name": "a", "splits": 3}', "not iterable"),
    ('{"name": "a", "splits": [3]}', "not subscriptable"),
    ('{"name": "a", "splits": [{"name": "b", "shardLengths": ["x"]}]}',
     "invalid literal"),
    ('{"name": "a", "splits": [{"name": "b", "shardLengths": [null]}]}',
     "int()"),
    ("[" * 100_000, "recursion"), ("\udcff", "utf-8")])
def test_a_damaged_description_is_one_line(tmp_path, text, said):
  folder = tmp_path / "broken" / "1.0.0"
  folder.mkdir(parents=True)
  (folder / "dataset_info.json").write_bytes(
      text.encode(errors="surrogateescape"))
  (only,) = prepared_index.list_prepared(tmp_path)
  assert only.problem.startswith("damaged (dataset_info.json: ")
  assert said in only.problem and "\n" not in only.problem
  page = machine_page.page(doctor.examined(str(tmp_path)))
  assert "broken 1.0.0: damaged (dataset_info.json:" in page
  assert page.splitlines()[-1].startswith("A run is possible")


@pytest.mark.parametrize("make, said", [
    (lambda path: None, "there is no folder"),
    (lambda path: path.touch(), "is a file; give the folder"),
    (lambda path: path.symlink_to(path), "cannot be read (Too many levels")])
def test_a_data_dir_that_cannot_be(tmp_path, make, said):
  # A name that would break a line in two.
  path = tmp_path / "da\nta"
  make(path)
  with pytest.raises(InputError, match=r"da\\nta") as caught:
    prepared_index.list_prepared(path)
  assert said in str(caught.value)
  facts = doctor.examined(str(path))
  assert not facts["problems"]
  assert facts["data"]["problem"] == str(caught.value)
  assert len(machine_page.page(facts).splitlines()) <= 26


def test_where_data_sets_are_looked_for(monkeypatch):
  import tensorflow_datasets as tfds
  theirs = tfds.core.constants.get_default_data_dir()
  assert str(prepared_index.folder()) == theirs
  monkeypatch.setenv("TFDS_DATA_DIR", "~/mine")
  assert prepared_index.folder() == pathlib.Path.home() / "mine"
  assert prepared_index.folder("here") == pathlib.Path("here")
  unknown = "~nobody_here/x"
  assert prepared_index.folder(unknown) == pathlib.Path(unknown)


def test_imagenet_is_explained_where_it_is_missing(tmp_path):
  text = " ".join(machine_page.page(doctor.examined(str(tmp_path))).split())
  for part in ("prepared in", ": none", "ILSVRC2012_img_train.tar (148 GB)",
               f"into {tmp_path}/downloads/manual, then",
               f"tfds.builder('imagenet2012', data_dir='{tmp_path}', "
               "file_format='array_record').download_and_prepare()"):
    assert part in text
  prepare(tmp_path, "imagenet2012", {"train": [95], "validation": [31]})
  for number in range(7):
    prepare(tmp_path, f"a{number}", {"train": [1]})
  text = " ".join(machine_page.page(doctor.examined(str(tmp_path))).split())
  assert "ILSVRC2012" not in text
  assert "imagenet2012 1.0.0: train 95, validation 31 (a sample of it)" in text
  assert "and 3 more" in text


def test_the_command_for_imagenet_is_python(tmp_path):
  lines = machine_page.page(doctor.examined(str(tmp_path))).splitlines()
  (command,) = [line for line in lines if line.startswith("python -c")]
  compile(command.removeprefix('python -c "').removesuffix('"'), "-", "exec")


def test_the_whole_imagenet_is_no_sample():
  one = {"name": "imagenet2012", "version": "5.1.0", "problem": "",
         "splits": {"train": 1_281_167, "validation": 50_000, "test": 100_000},
         "file_format": "tfrecord", "needs_tensorflow": True}
  data = {"embedded": [], "folder": "f", "problem": "", "prepared": [one]}
  page = " ".join(
      machine_page.page({**doctor.examined(), "data": data}).split())
  assert "(a sample" not in page and "test 100,000, tfrecord, only" in page
  assert "inside dependencies: none" in page


def test_nothing_is_left_behind(tmp_path):
  facts = doctor.examined()
  assert not list(tmp_path.iterdir())
  cache, runs = facts["folders"]
  assert cache["path"] == str(tmp_path / "cache") and runs["path"] == "runs"
  assert cache["problem"] == runs["problem"] == ""
  status = os.statvfs(tmp_path)
  assert cache["free"] == pytest.approx(
      status.f_bavail * status.f_frsize, rel=0.05)


@pytest.mark.parametrize("cache, said", [
    ("file", "Not a directory"), ("file/below", "Not a directory"),
    ("/proc/cache", "No such file or directory"),
    ("~nobody_here/x", "home folder that is not known")])
def test_no_run_without_a_cache(
    tmp_path, monkeypatch, flags, capsys, cache, said):
  (tmp_path / "file").touch()
  monkeypatch.setenv("WSL_EXTRACTION_CACHE", cache)
  with pytest.raises(SystemExit) as caught:
    doctor.main()
  assert caught.value.code == 2
  last = capsys.readouterr().out.splitlines()[-1]
  assert last.startswith("No run is possible: the cache ") and said in last
  assert "set WSL_EXTRACTION_CACHE" in last


def test_no_run_without_a_backend(monkeypatch):
  monkeypatch.setenv("KERAS_BACKEND", "theano")
  facts = doctor.examined()
  assert facts["problems"] == [
      "KERAS_BACKEND is 'theano'; set it to one of tensorflow, jax, torch"]
  page = machine_page.page(facts)
  assert "none that works" in page and "devices" not in page
  assert keras.backend.backend() in facts["backend"]["others"]


def test_a_backend_that_breaks_is_one_line(monkeypatch):
  def broken():
    raise RuntimeError("no driver\nat all")

  monkeypatch.setattr(inventory, "inventory", broken)
  (problem,) = doctor.examined()["problems"]
  assert "RuntimeError: no driver at all); mend" in problem


def test_what_is_missing_is_named_with_its_command(monkeypatch):
  spec, version = importlib.util.find_spec, importlib.metadata.version
  gone = {"grain", "tensorboard", "tensorflow_datasets", "sklearn"}

  def find(name, *rest):
    return None if name in gone else spec(name, *rest)

  def installed(name):
    if name.replace("-", "_") in gone:
      raise importlib.metadata.PackageNotFoundError(name)
    return version(name)

  monkeypatch.setattr(importlib.util, "find_spec", find)
  monkeypatch.setattr(importlib.metadata, "version", installed)
  facts = doctor.examined()
  assert facts["problems"] == ["missing: grain; pip install grain"]
  assert facts["data"]["embedded"] == ["mnist5k"]
  names = {one["package"] for one in facts["missing"]}
  assert {"tensorboard", "tensorflow-datasets"} <= names
  page = machine_page.page(facts)
  assert "tensorboard (curves of a training): pip install tensorboard" in page
  assert page.splitlines()[-1].endswith("pip install grain")


def test_devices_are_those_of_the_backend():
  (first, *_) = inventory.inventory()
  assert [one.name.split(":")[0] for one in inventory.inventory()] == [
      name.split(":")[0].lower() for name in devices.names()]
  facts = doctor.examined()
  assert facts["devices"][0]["kind"] == first.kind
  assert facts["backend"]["name"] == keras.backend.backend()
  assert facts["backend"]["precision"] == keras.config.dtype_policy().name


def test_the_memory_of_a_gpu_on_jax(monkeypatch):
  jax = pytest.importorskip("jax")
  gpus = [types.SimpleNamespace(
      platform="gpu", id=number, device_kind="NVIDIA H100",
      memory_stats=lambda: {"bytes_limit": 60 * 2**30}) for number in (0, 1)]
  monkeypatch.setattr(jax, "local_devices", lambda: gpus)
  assert inventory._of_jax() == [
      inventory.Device("gpu:0", "NVIDIA H100", 60 * 2**30),
      inventory.Device("gpu:1", "NVIDIA H100", 60 * 2**30)]


def test_the_memory_of_a_gpu_on_torch(monkeypatch):
  torch = pytest.importorskip("torch")
  monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
  monkeypatch.setattr(
      torch.cuda, "get_device_properties",
      lambda _: types.SimpleNamespace(name="NVIDIA H100", total_memory=2**36))
  assert inventory._of_torch() == [
      inventory.Device("cuda:0", "NVIDIA H100", 2**36)]


def test_the_name_of_a_gpu_on_tensorflow(monkeypatch):
  tf = pytest.importorskip("tensorflow")
  gpu = types.SimpleNamespace(
      device_type="GPU", name="/physical_device:GPU:1")
  monkeypatch.setattr(tf.config, "list_physical_devices", lambda: [gpu])
  monkeypatch.setattr(
      tf.config.experimental, "get_device_details",
      lambda _: {"device_name": "NVIDIA H100"})
  assert inventory._of_tensorflow() == [
      inventory.Device("gpu:1", "NVIDIA H100")]


def test_equal_devices_are_counted():
  gpu = {"name": "gpu:0", "kind": "H100", "memory": 60 * 2**30}
  found_here = [gpu, {**gpu, "name": "gpu:1"},
                {"name": "cpu:0", "kind": "cpu", "memory": None}]
  page = machine_page.page({**doctor.examined(), "devices": found_here})
  assert "devices    2 gpu (H100), 60.0 GiB each; 1 cpu\n" in page


@pytest.mark.parametrize("name, warned", [("cpu:0", True), ("gpu:0", False)])
def test_a_gpu_that_is_not_used(tmp_path, monkeypatch, name, warned):
  tool = tmp_path / "nvidia-smi"
  tool.touch(0o755)
  monkeypatch.setenv("PATH", str(tmp_path))
  monkeypatch.setattr(
      inventory, "inventory", lambda: [inventory.Device(name, "kind")])
  page = machine_page.page(doctor.examined())
  assert ("the backend sees no GPU" in page) is warned


def test_victims_are_counted(tmp_path):
  (tmp_path / "cache" / "victims").mkdir(parents=True)
  for number in range(2):
    path = tmp_path / "cache" / "victims" / f"{number}.keras"
    path.write_bytes(bytes(3 * 2**19))
  (path.parent / "unfinished.npz").touch()
  assert "2 trained and kept in the cache, 3.0 MiB" in machine_page.page(
      doctor.examined())


def test_as_a_command(tmp_path):
  environ = commands.environment(tmp_path)
  for changes, status, said in (
      ({}, 0, "A run is possible: "),
      ({"KERAS_BACKEND": "theano"}, 2, "No run is possible: KERAS_BACKEND is")):
    done = commands.run(
        commands.command("doctor", "--output=new/facts.json"), tmp_path,
        {**environ, **changes}, cold=True)
    assert (done.status, done.stderr) == (status, "")
    lines = done.stdout.splitlines()
    assert lines[-1].startswith(said) and len(lines) <= 26
    assert not [line for line in lines[:-1] if len(line) > 80
                and " " in line.strip() and not line.startswith("python -c")]
    written = done.after["new/facts.json"]
    assert written is not None
    facts = json.loads(written)
    assert bool(facts["problems"]) == bool(status)


def test_an_output_that_cannot_be_written(tmp_path, flags):
  (tmp_path / "file").touch()
  flags.output = str(tmp_path / "file" / "facts.json")
  with pytest.raises(InputError, match=r"cannot write .*facts\.json: "):
    doctor.main()
