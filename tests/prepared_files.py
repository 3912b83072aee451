"""Data sets as tensorflow-datasets prepares them, written without it."""

import json

import pytest


def feature(kind, **fields):
  return {"pythonClassName": f"tensorflow_datasets.core.features.{kind}",
          **fields}


def prepare(data_dir, splits, shape, name="cifar10", form="array_record"):
  """Writes a data set without TensorFlow; splits: {name: [(bytes, label)]}."""
  folder = data_dir / name / "3.0.2"
  folder.mkdir(parents=True)
  image = {"dtype": "uint8", "shape": {"dimensions": list(map(str, shape))}}
  features = {
      "image": feature("image_feature.Image", image=image),
      "label": feature("class_label_feature.ClassLabel",
                       classLabel={"numClasses": "3"})}
  (folder / "features.json").write_text(json.dumps(feature(
      "features_dict.FeaturesDict", featuresDict={"features": features})))
  (folder / "label.labels.txt").write_text("ant\nbee\ncat\n")
  template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
  (folder / "dataset_info.json").write_text(json.dumps({
      "name": name, "version": "3.0.2", "fileFormat": form,
      "splits": [
          {"name": split, "filepathTemplate": template, "numBytes": "1",
           "shardLengths": [str(len(records))]}
          for split, records in splits.items()]}))
  for split, records in splits.items():
    path = folder / f"{name}-{split}.{form}-00000-of-00001"
    write_records(path, [example(*record) for record in records], form)
  return data_dir


def example(image, label):
  from tensorflow_datasets.proto import tf_example_pb2
  record = tf_example_pb2.Example()
  record.features.feature["image"].bytes_list.value.append(image)
  record.features.feature["label"].int64_list.value.append(label)
  return record.SerializeToString()


def write_records(path, records, form):
  if form == "tfrecord":
    tf = pytest.importorskip("tensorflow")
    writer = tf.io.TFRecordWriter(str(path))
  else:
    from array_record.python import array_record_module
    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
  for record in records:
    writer.write(record)
  writer.close()
