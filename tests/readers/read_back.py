"""Reads an output as a user of a library does, and writes the pixels of its images by their names to an .npz file.

    python tests/readers/read_back.py READER OUTPUT RESULT SPLIT...

Runs where the libraries are, without this project. Each reader is written as the documentation of its library has it.
"""

from __future__ import annotations

import glob
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

Read = Iterator[tuple[str, Any]]
NAME = "image/filename"


def tf_data(output: str, split: str) -> Read:
    import tensorflow as tf

    files = sorted(glob.glob(f"{output}/{split}-*"))
    compression = "GZIP" if files[0].endswith(".gz") else ""
    features = {name: tf.io.FixedLenFeature([], tf.string) for name in ("image/encoded", NAME)}
    for record in tf.data.TFRecordDataset(files, compression_type=compression):
        example = tf.io.parse_single_example(record, features)
        image = tf.io.decode_image(example["image/encoded"], channels=3, expand_animations=False)
        yield example[NAME].numpy().decode(), image.numpy()


def tfds(output: str, split: str) -> Read:
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(output)
    count = 0
    for example in builder.as_dataset(split=split):
        count += 1
        found = example if NAME in example else {f"image/{name}": value for name, value in example["image"].items()}
        yield found[NAME].numpy().decode(), found["image/encoded"].numpy()
    assert count == builder.info.splits[split].num_examples


def datasets_parquet(output: str, split: str) -> Read:
    from datasets import load_dataset

    for row in load_dataset(output, split={"val": "validation"}.get(split, split)):
        yield row[NAME], row["image"]


def datasets_streaming(output: str, split: str) -> Read:
    from datasets import load_dataset

    files = sorted(glob.glob(f"{output}/{split}-*.parquet"))
    for row in load_dataset("parquet", data_files=files, split="train", streaming=True):
        yield row[NAME], row["image"]


def pandas(output: str, split: str) -> Read:
    import pandas as pd

    for path in sorted(glob.glob(f"{output}/{split}-*.parquet")):
        for row in pd.read_parquet(path).to_dict("records"):
            yield row[NAME], Image.open(io.BytesIO(row["image"]["bytes"]))


def duckdb(output: str, split: str) -> Read:
    import duckdb

    query = 'SELECT "image/filename", image.bytes FROM read_parquet(?)'
    for name, data in duckdb.execute(query, [f"{output}/{split}-*.parquet"]).fetchall():
        yield name, Image.open(io.BytesIO(data))


def webdataset(output: str, split: str) -> Read:
    import webdataset as wds

    shards = sorted(glob.glob(f"{output}/{split}-*.tar*"))
    for sample in wds.WebDataset(shards, shardshuffle=False).decode("pil"):
        [image] = [value for name, value in sample.items() if name in ("jpg", "png")]
        yield sample["json"][NAME], image


def datasets_webdataset(output: str, split: str) -> Read:
    from datasets import load_dataset

    files = sorted(glob.glob(f"{output}/{split}-*.tar*"))
    for sample in load_dataset("webdataset", data_files=files, split="train"):
        yield sample["json"][NAME], sample.get("jpg") or sample["png"]


def datasets_imagefolder(output: str, split: str) -> Read:
    from datasets import Image as Images
    from datasets import load_dataset

    found = load_dataset("imagefolder", data_dir=f"{output}/{split}", split="train", drop_labels=True)
    paths = [row["image"]["path"] for row in found.cast_column("image", Images(decode=False))]
    for path, row in zip(paths, found, strict=True):
        yield os.path.relpath(path, output), row["image"]


def tf_files(output: str, split: str) -> Read:
    import tensorflow as tf

    for path in sorted(glob.glob(f"{output}/{split}/**", recursive=True)):
        if os.path.isfile(path):
            image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
            yield os.path.relpath(path, output), image.numpy()


class _Files:
    """A data set as PyTorch's documentation has one of files."""

    def __init__(self, output: str, split: str) -> None:
        found = glob.glob(f"{output}/{split}/**", recursive=True)
        self._names = [os.path.relpath(path, output) for path in sorted(found) if os.path.isfile(path)]
        self._output = output

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> tuple[str, Any]:
        return self._names[index], Image.open(os.path.join(self._output, self._names[index]))


def _as_tensors(batch: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    import torch

    return [(name, torch.from_numpy(np.array(image.convert("RGB")))) for name, image in batch]


def _named(row: dict[str, Any]) -> tuple[str, Any]:
    return row[NAME], row["image"]


def _loaded(data: Any) -> Read:
    """Through a DataLoader with processes of its own, in batches."""
    from torch.utils.data import DataLoader

    for batch in DataLoader(data, batch_size=3, num_workers=2, collate_fn=_as_tensors):
        for name, image in batch:
            yield name, image.numpy()


def torch_files(output: str, split: str) -> Read:
    return _loaded(_Files(output, split))


def torch_parquet(output: str, split: str) -> Read:
    from datasets import load_dataset

    class Rows:
        def __init__(self) -> None:
            self._rows = load_dataset(output, split={"val": "validation"}.get(split, split))

        def __len__(self) -> int:
            return len(self._rows)

        def __getitem__(self, index: int) -> tuple[str, Any]:
            return _named(self._rows[index])

    return _loaded(Rows())


def torch_webdataset(output: str, split: str) -> Read:
    import webdataset as wds

    def named(sample: dict[str, Any]) -> tuple[str, Any]:
        [image] = [value for name, value in sample.items() if name in ("jpg", "png")]
        return sample["json"][NAME], image

    shards = sorted(glob.glob(f"{output}/{split}-*.tar*"))
    return _loaded(wds.WebDataset(shards, shardshuffle=False).decode("pil").map(named))


def fiftyone_images(output: str, split: str) -> Read:
    from fiftyone.utils.data import ImageDirectoryImporter

    importer = ImageDirectoryImporter(f"{output}/{split}")
    with importer:
        for path, _ in importer:
            yield os.path.relpath(path, output), Image.open(path)


def fiftyone_coco(output: str, split: str) -> Read:
    from fiftyone.utils.coco import COCODetectionDatasetImporter

    importer = COCODetectionDatasetImporter(f"{output}/{split}")
    with importer:
        for path, _, label in importer:
            image = Image.open(path)
            [face] = label["detections"].detections
            assert face.label == "face"
            # The upper left quarter, as its labels say.
            assert face.bounding_box == [0, 0, 0.5, 0.5], face.bounding_box
            yield os.path.relpath(path, output), image


READERS: dict[str, Callable[[str, str], Read]] = {
    "tf.data": tf_data,
    "tfds": tfds,
    "datasets parquet": datasets_parquet,
    "datasets parquet streaming": datasets_streaming,
    "pandas": pandas,
    "duckdb": duckdb,
    "webdataset": webdataset,
    "datasets webdataset": datasets_webdataset,
    "datasets imagefolder": datasets_imagefolder,
    "tf.data files": tf_files,
    "torch files": torch_files,
    "torch parquet": torch_parquet,
    "torch webdataset": torch_webdataset,
    "fiftyone images": fiftyone_images,
    "fiftyone coco": fiftyone_coco,
}


def main() -> None:
    """Reads what the command line names."""
    reader, output, result, *splits = sys.argv[1:]
    pixels: dict[str, Any] = {}
    for split in splits:
        for name, image in READERS[reader](output, split):
            assert name.startswith(f"{split}/"), name
            assert name not in pixels, name
            pixels[name] = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)
    arrays: dict[str, Any] = {str(number): found for number, found in enumerate(pixels.values())}
    np.savez(result, **arrays, names=np.array(list(pixels)))


if __name__ == "__main__":
    main()
