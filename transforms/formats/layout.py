"""Where a job's files lie."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from faceveil.transforms import storage
from faceveil.transforms.formats.kinds import CONVERTED_ENDINGS, IMAGE_ENDINGS, ending_of, is_known_ending
from faceveil.transforms.storage.base import split_path

OutputFormat = Literal["tfrecord", "parquet", "webdataset", "images"]
"""What a job writes: shards of Examples, of rows or of samples, or a file for each image."""

COMPRESSIONS: dict[OutputFormat, tuple[str, ...]] = {
    "tfrecord": ("none", "gzip"),
    "parquet": ("zstd", "snappy", "gzip", "none"),
    "webdataset": ("none", "gzip"),
    "images": ("none",),
}
"""How shards of each format may be compressed; what comes first is usual."""

_ENDINGS: dict[OutputFormat, str] = {"tfrecord": ".tfrecord", "parquet": ".parquet", "webdataset": ".tar"}

LONGEST_NAME = 255
"""Of a file or folder on the usual disks, in bytes."""

CONVERTED_TO = ".png"
"""The ending of images that are written in another format than they were read in."""

MANIFEST_NAME, LOCK_NAME = "manifest.json", ".faceveil-lock.json"

IGNORED_NAME = "_ignored.json"
"""Examples of what was ignored, in the audit trail; readers of folders of Parquet files skip what begins so."""

FINDINGS_NAME, SAMPLE_NAME = "_verify", "_verify_sample"
"""Folders of the audit trail, and files with ``.json`` behind them, of what a second look at an output has found."""

PAGE_NAME = "_report.html"
"""What a person reads of a job, beside its audit trail; named so for the same reason."""

_SHARD = r".+-\d{5,}-of-\d{5,}"
_PARTIAL = r"\.[0-9a-f]{8}\.partial"
_SHARD_FILE = re.compile(rf"\.?{_SHARD}\.(tfrecord|parquet|tar)(\.gz)?({_PARTIAL})?")
_AUDIT_FILE = re.compile(
    rf"\.?\.?{_SHARD}\.(parquet|attempt|files)({_PARTIAL})?|\.?{re.escape(IGNORED_NAME)}({_PARTIAL})?"
)
_PAGE_FILE = re.compile(rf"\.?{re.escape(PAGE_NAME)}({_PARTIAL})?")


@dataclass(frozen=True)
class OutputLayout:
    """Where a job writes.

    Attributes:
        directory: of the shards and the manifest.
        audit_directory: of the audit trail's files.
        settings_digest: identifies the job's settings, so that another one's shards are never taken for its own.
        format: what it writes.
        compression: how shards are compressed, one of ``COMPRESSIONS``.
        columns: of shards that are tables, see ``columns.Columns``.
    """

    directory: str
    audit_directory: str
    settings_digest: str
    format: OutputFormat = "tfrecord"
    compression: str = "none"
    columns: Mapping[str, str] = field(default_factory=dict)

    def shard_file(self, name: str) -> str:
        """The name of a shard's file in the output directory."""
        return name + shard_ending(self.format, self.compression)

    def shard_path(self, name: str) -> str:
        """Where a shard is."""
        return storage.join(self.directory, self.shard_file(name))

    def attempt_path(self, name: str) -> str:
        """Where a file says that a shard is being made; hidden from readers of the audit trail."""
        return storage.join(self.audit_directory, f".{name}.attempt")

    def journal_path(self, name: str) -> str:
        """Where the files are listed that a shard of images may have left in the output, while it is published."""
        return storage.join(self.audit_directory, f".{name}.files")

    def marks(self, name: str) -> list[str]:
        """The files that are there only while a shard is made."""
        return [self.attempt_path(name), self.journal_path(name)]

    def audit_path(self, name: str) -> str:
        """Where a shard's rows are."""
        return storage.join(self.audit_directory, f"{name}.parquet")

    @property
    def ignored_path(self) -> str:
        """Where examples of the ignored files are."""
        return storage.join(self.audit_directory, IGNORED_NAME)

    @property
    def page_path(self) -> str:
        """Where the page is that a person reads."""
        return storage.join(self.audit_directory, PAGE_NAME)


def shard_ending(output_format: OutputFormat, compression: str) -> str:
    """What the names of shards end with; empty where each record has a file of its own.

    Example usage::

        >>> shard_ending("tfrecord", "gzip"), shard_ending("parquet", "gzip"), shard_ending("webdataset", "none")
        ('.tfrecord.gz', '.parquet', '.tar')
    """
    is_wrapped = compression == "gzip" and output_format != "parquet"  # which compresses what is in it
    return _ENDINGS.get(output_format, "") + (".gz" if is_wrapped else "")


def mirrored_name(key: str, path: str) -> str:
    """Where the file of an input lies below the output, where that mirrors the inputs: the key, with its ending.

    Args:
        key: the input's; where names are hidden it has no ending.
        path: where the input is.

    Example usage::

        >>> mirrored_name("anna/1.JPG", "photos/anna/1.JPG"), mirrored_name("val/6a2f", "photos/anna/1.JPG")
        ('anna/1.JPG', 'val/6a2f.jpg')
    """
    ending = ending_of(path)
    is_hidden = is_known_ending(ending) and not key.lower().endswith(ending)
    return key + ending if is_hidden else key


def converted_name(name: str) -> str:
    """Where the file of an input lies whose image is written in another format, which its name tells if it can.

    Args:
        name: its ``mirrored_name``.

    Example usage::

        >>> converted_name("anna/1.dcm"), converted_name("anna/IM0001"), converted_name("anna/1.jpg")
        ('anna/1.dcm.png', 'anna/IM0001.png', 'anna/1.jpg')
    """
    ending = ending_of(name)
    keeps_its_format = ending in IMAGE_ENDINGS and ending not in CONVERTED_ENDINGS
    is_long = len(os.fsencode(name.rpartition("/")[2])) + len(CONVERTED_TO) > LONGEST_NAME
    return name if keeps_its_format or is_long else name + CONVERTED_TO


def is_mirrored_name(name: str) -> bool:
    """Whether a name is that of a file that may lie below an output: nowhere else, and none of the job's own.

    Example usage::

        >>> [is_mirrored_name(name) for name in ("a/b.jpg", "a//b.jpg", "a/../../b.jpg", "/b.jpg", "manifest.json")]
        [True, False, False, False, False]
    """
    parts = name.split("/")
    is_below = "\0" not in name and not {"", ".", ".."} & set(parts)
    return is_below and name != MANIFEST_NAME and not name.startswith(".faceveil-")


def audit_directory_beside(output: str) -> str:
    """The folder of an output's audit trail where none is named: beside it, so that it is not published with it.

    Raises:
        ValueError: there is nothing beside it, since it is a whole disk or bucket.

    Example usage::

        >>> audit_directory_beside("out"), audit_directory_beside("gs://bucket/photos/")
        ('out.audit', 'gs://bucket/photos.audit')
    """
    if not storage.is_local(output):
        if not split_path(output)[1].strip("/"):
            raise ValueError("is a whole bucket")
    elif os.path.basename(output.rstrip("/")) in ("", ".", ".."):
        output = os.path.realpath(output)
        if output == "/":
            raise ValueError("is a whole disk")
    return f"{output.rstrip('/')}.audit"


def audit_directory_inside(output: str) -> str:
    """The folder of the audit trail of versions up to 0.1: in the output."""
    return storage.join(output, "records")


def is_shard_file(name: str) -> bool:
    """Whether a file of an output directory has the name of a shard, or of a part of one that is being written.

    Example usage::

        >>> is_shard_file("data-00000-of-00001.tfrecord"), is_shard_file("photos.tfrecord")
        (True, False)
    """
    return _SHARD_FILE.fullmatch(name) is not None


def is_audit_file(name: str) -> bool:
    """Whether a file has a name that the audit trail's files have.

    Example usage::

        >>> is_audit_file("data-00000-of-00001.parquet"), is_audit_file("photos.parquet")
        (True, False)
    """
    return _AUDIT_FILE.fullmatch(name) is not None


def is_page_file(name: str) -> bool:
    """Whether a file beside an audit trail has the name of the page about it, which a user's own file may have too.

    Example usage::

        >>> is_page_file("_report.html"), is_page_file("._report.html.0123abcd.partial"), is_page_file("a.html")
        (True, True, False)
    """
    return _PAGE_FILE.fullmatch(name) is not None
