"""The options about what a job reads and writes: inputs, output, features, shards, limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from faceveil.pipeline.box_options import parse_boxes, parse_class
from faceveil.pipeline.option_values import Range, option_field, parse_path, parse_size
from faceveil.pipeline.salt import SALT
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.layout import COMPRESSIONS, OutputFormat
from faceveil.transforms.limits import Limits


@dataclass(frozen=True)
class DataOptions:
    """What a user can say about a job's data."""

    input: tuple[str, ...] = option_field(
        (),
        "data",
        "globs of images (JPEG, PNG, WebP, …), TFRecord, Parquet and tar files, quoted; ** includes sub-folders; "
        "NAME=GLOB puts the files into a split of that name; @FILE is a list of globs or paths, one in each line, or "
        "an inventory of a bucket in Parquet",
        metavar="[SPLIT=]GLOB",
    )
    exclude: tuple[str, ...] = option_field(
        (),
        "data",
        "globs of files and folders that are left out, quoted; one without a slash is of names, wherever they are",
        metavar="GLOB",
    )
    output: str = option_field(
        "", "data", "folder for publication: shards and manifest.json, local or gs://", parse_path, metavar="DIR"
    )
    records_output: str | None = option_field(
        None,
        "data",
        "folder for the audit trail, not for publication (default: OUTPUT.audit)",
        parse_path,
        metavar="DIR",
    )
    format: OutputFormat = option_field(
        "tfrecord",
        "data",
        "what is written: shards that are TFRecords of tf.train.Examples, Parquet tables or WebDataset's tars, or a "
        "folder like that of the inputs, a file for each",
        allowed=get_args(OutputFormat),
    )
    compression: str | None = option_field(
        None,
        "data",
        "how shards are compressed: none, gzip; of Parquet zstd, snappy, gzip, none (default: none; of Parquet zstd)",
        allowed=("none", "gzip", "zstd", "snappy"),
    )
    tfds: bool = option_field(
        False,
        "data",
        "write features.json and dataset_info.json, with which tfds.builder_from_directory reads TFRecords of image "
        "files; those of a folder of TensorFlow Datasets always get them",
        parse=bool,
    )
    copy_others: bool = option_field(
        False,
        "data",
        "with --format images: copy files of labels (.json .txt .xml .csv …) too, unless they hold pictures",
        parse=bool,
    )
    overwrite: bool = option_field(False, "data", "remove what an earlier job has written to the output", parse=bool)
    retry_quarantined: bool = option_field(
        False,
        "data",
        "make those inputs of a finished job again that were quarantined, repaired or with higher limits",
        parse=bool,
    )
    hash_keys: bool = option_field(
        False,
        "data",
        f"write hashes instead of the names of files; the environment variable {SALT} holds their secret salt",
        parse=bool,
    )
    image_feature: tuple[str, ...] = option_field(
        FeatureRoles.images,
        "data",
        "features that hold images in tf.train.Examples, or columns of Parquet files (where the only one is found); "
        "each is anonymized, the first is the main one",
    )
    drop_features: tuple[str, ...] = option_field(
        (), "data", "features that are left out of the Examples that are written"
    )
    allow_features: tuple[str, ...] = option_field(
        (),
        "data",
        "features that pass as they are, even images: they are not examined, so faces in them get out",
    )
    strict_features: bool = option_field(
        False,
        "data",
        "leave out all features that neither --image_feature nor --allow_features names",
        parse=bool,
    )
    boxes: str | None = option_field(
        None,
        "data",
        "annotated boxes to anonymize: the prefix of features such as image/object/bbox, or a .csv, .parquet or COCO "
        ".json file keyed as the records are",
        parse_boxes,
        metavar="PREFIX_OR_FILE",
    )
    boxes_mode: str = option_field(
        "add",
        "data",
        "add anonymizes the boxes of --boxes besides detected faces, replace instead of them",
        allowed=("add", "replace"),
    )
    box_classes: tuple[str, ...] = option_field(
        (), "data", "classes of --boxes that are anonymized, by name or number (default: all)", parse_class
    )
    shard_bytes: int | None = option_field(
        None,
        "data",
        "size of the images, or of the part of a file of records, that make a shard, such as 256MiB; 2,500 image files "
        "at most, however small (default: 64MiB, or what gives a small job 16 shards)",
        parse_size,
        Range(1),
        "SIZE",
    )
    num_shards: int | None = option_field(
        None, "data", "number of shards of images, instead of --shard_bytes", int, Range(1, 99_999), "N"
    )
    max_quarantined: float = option_field(
        0.01,
        "data",
        "share of the inputs that may be quarantined before the job ends with status 3",
        float,
        Range(0, 1),
        "SHARE",
    )
    max_pixels: int = option_field(
        Limits.max_pixels, "data", "images of more pixels, by their header, are quarantined", int, Range(1), "N"
    )
    max_image_bytes: int = option_field(
        Limits.max_image_bytes,
        "data",
        "larger image files and Examples are quarantined",
        parse_size,
        Range(1),
        "SIZE",
    )
    image_timeout: float = option_field(
        Limits.image_timeout,
        "data",
        "seconds that one step of the work on an image may take before it is stopped and the image quarantined",
        float,
        Range(0, above_low=True),
        "SECONDS",
    )
    salt_file: str | None = option_field(
        None,
        "data",
        f"file with the secret salt, instead of the environment variable {SALT}",
        parse_path,
        metavar="FILE",
    )

    @property
    def shard_compression(self) -> str:
        """How shards are compressed."""
        return self.compression or COMPRESSIONS[self.format][0]

    @property
    def limits(self) -> Limits:
        """What an image may cost."""
        return Limits(self.max_pixels, self.max_image_bytes, self.image_timeout)

    @property
    def features(self) -> FeatureRoles:
        """What the features of Examples are."""
        named = self.image_feature, self.drop_features, self.allow_features
        return FeatureRoles(*named, self.strict_features, self.hash_keys)
