"""Which files a job reads: globs in, files with their split, key and kind out."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.globs import fixed_prefix, is_glob, translate_glob
from faceveil.transforms.keys import KeyHash
from faceveil.transforms.stores.object_store import StoredFile

IMAGE_ENDINGS = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".mpo",
        ".png",
        ".apng",
        ".webp",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".gif",
        ".avif",
        ".heic",
        ".heif",
        ".jp2",
        ".ppm",
        ".pgm",
        ".pbm",
    ]
)
# As people name them: x.tfrecord, x.tfrecords.gz, x.tfrec, TFDS' x-train.tfrecord-00000-of-00001, and the bare
# train-00000-of-01024 of TensorFlow's ImageNet scripts.
_TFRECORD_NAME = re.compile(r"(\.tfrec(ords?)?(-\d+-of-\d+)?|-\d{5}-of-\d{5})(\.gz|\.gzip)?$", re.IGNORECASE)

Kind = Literal["image", "tfrecord"]


@dataclass(frozen=True)
class Input:
    """One glob of a split.

    Attributes:
        split: the split's name; ``data`` when none was given.
        pattern: ``*`` and ``?`` match within a name, ``**`` any folders, none included, ``[…]`` one of several
            characters; ``\\[`` or ``[[]`` is a bracket itself. Case is ignored after the first of these. A path
            that exists as it stands is taken as it stands; of a folder, everything below it.
        named: whether the user named the split, which then is part of every key.
        key_hash: what hides the names of files in their keys; None where they may be seen.
    """

    split: str
    pattern: str
    named: bool = False
    key_hash: KeyHash | None = None


@dataclass(frozen=True)
class InputFile:
    """One matched file.

    Attributes:
        split: the split it belongs to.
        key: its path below its glob's fixed prefix, or the hash of that; behind ``<split>/`` where splits are named.
        path: where it is.
        size: in bytes.
        version: of its content, see ``StoredFile``.
        kind: what it holds, by its ending.
        place: where it belongs in its split, from 0 to 2**64 - 1. It follows from the key as it is shown: were it that
            of a name that is hidden, the number of a shard would refute most names that somebody guesses.
    """

    split: str
    key: str
    path: str
    size: int
    version: str
    kind: Kind
    place: int = 0

    @property
    def digest(self) -> str:
        """Identifies this version of the file, wherever it lies; 64 hexadecimal digits."""
        identity = f"{self.split}\0{self.key}\0{self.size}\0{self.version}"
        return hashlib.sha256(identity.encode()).hexdigest()


def add_digests(digests: Iterable[str]) -> str:
    """One digest for several files or sets of files: a sum, so neither order nor grouping matters.

    Example usage::

        >>> parts = ["ff", add_digests(["01", "02"])]
        >>> add_digests(parts) == add_digests(["01", "02", "ff"]), int(add_digests(parts), 16)
        (True, 258)
    """
    return f"{sum(int(digest or '0', 16) for digest in digests) % 2**256:064x}"


MOST_SAMPLED = 4
"""TFRecord files of a split that are looked into before a job begins."""


@dataclass
class SplitSummary:
    """How much one split holds; all that planning needs to know before it sees a path."""

    images: int = 0
    image_bytes: int = 0
    tfrecords: int = 0
    tfrecord_bytes: int = 0
    first_tfrecords: list[InputFile] = field(default_factory=list)
    """At most ``MOST_SAMPLED``, for a look at what is in them."""


@dataclass
class InputSummary:
    """What all globs matched, in a size that does not grow with it.

    Attributes:
        splits: by name.
        ignored: files whose ending is no known image or TFRecord.
        digest: identifies the set of files by key, size and version, whatever the order.
    """

    splits: dict[str, SplitSummary] = field(default_factory=dict)
    ignored: int = 0
    digest: str = ""


def kind_of(path: str) -> Kind | None:
    """What a file holds, judged by its name; None for what is ignored.

    Example usage::

        >>> kind_of("a/B.JPG"), kind_of("x.tfrecord-00000-of-00004"), kind_of("notes.txt")
        ('image', 'tfrecord', None)
    """
    if os.path.splitext(path)[1].lower() in IMAGE_ENDINGS:
        return "image"
    return "tfrecord" if _TFRECORD_NAME.search(path) else None


def bare_name(path: str) -> bytes:
    """The name of a file without its folders and the ending that says what it holds.

    Example usage::

        >>> bare_name("a/anna.jpg"), bare_name("gs://b/anna.tfrecord-00000-of-00004.gz")
        (b'anna', b'anna')
    """
    name = path.rpartition("/")[2]
    short = os.path.splitext(name)[0] if kind_of(path) == "image" else _TFRECORD_NAME.sub("", name)
    return os.fsencode(short or name)


def list_inputs(inputs: Sequence[Input], number: int) -> Iterator[InputFile | None]:
    """The files that a glob matches, None for each one that is ignored.

    A file that an earlier glob matches too belongs to that one, so that no file is read twice.

    Args:
        inputs: all globs of the job.
        number: which of them to list.

    Raises:
        AccessError: the place cannot be listed.
    """
    [*earlier, own] = [_literal_or_glob(given.pattern) for given in inputs[: number + 1]]
    pattern, prefix, expression = own
    split = inputs[number]
    found: Iterable[StoredFile] = storage.list_files(prefix) if expression else [_single(pattern)]
    for file in found:
        if expression and not expression.fullmatch(file.path):
            continue
        if any(e.fullmatch(file.path) if e else p == file.path for p, _, e in earlier):
            continue
        kind = kind_of(file.path)
        if kind is None:
            yield None
            continue
        key = file.path[len(prefix) :]
        # A name that is not UTF-8 cannot be a key in JSON or Parquet: its odd bytes are spelt out, such as \\xff.
        key = key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        shown = split.key_hash.hashed(key) if split.key_hash else key
        shown = f"{split.split}/{shown}" if split.named else shown
        yield InputFile(split.split, shown, file.path, file.size, file.version, kind, stable_place(shown))


def _single(path: str) -> StoredFile:
    file = storage.find(path)
    if file is None:
        raise AccessError(f"{path}: does not exist")
    return file


def stable_place(key: str) -> int:
    """A number from 0 to 2**64 - 1 for a key: a hash, so that places are even and mixed, and the same everywhere.

    Example usage::

        >>> stable_place("a.jpg") >> 56
        80
    """
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])


def _literal_or_glob(pattern: str) -> tuple[str, str, re.Pattern[str] | None]:
    """The pattern, its fixed prefix, and its expression; no expression where it is one file's own path."""
    if storage.is_local(pattern) and os.path.isdir(pattern):
        folder = pattern.rstrip("/") + "/"
        return folder, folder, re.compile(re.escape(folder) + ".*", re.DOTALL)
    if not is_glob(pattern):
        if pattern.endswith("/"):
            return pattern, pattern, re.compile(re.escape(pattern) + ".*", re.DOTALL)
        return pattern, pattern[: pattern.rfind("/") + 1], None
    if storage.is_local(pattern) and os.path.isfile(pattern):
        return pattern, pattern[: pattern.rfind("/") + 1], None
    return pattern, fixed_prefix(pattern), translate_glob(pattern)


def summarize_inputs(inputs: Sequence[Input], output: str) -> InputSummary:
    """Lists every glob once and adds up what is there.

    Args:
        inputs: all globs of the job.
        output: where the job writes; no input may lie there.

    Raises:
        AccessError: a place cannot be listed, a glob matches no image and no TFRecord file, or one in the output.
    """
    own = _absolute(output).rstrip("/") + "/"
    summary = InputSummary()
    digest = ""
    for number, given in enumerate(inputs):
        split = summary.splits.setdefault(given.split, SplitSummary())
        matched = 0
        ignored = 0
        for file in list_inputs(inputs, number):
            if file is None:
                ignored += 1
                continue
            if _absolute(file.path).startswith(own):
                raise AccessError(
                    f"--input {given.pattern}: matches {file.path} in --output {output}, so the job would anonymize "
                    "its own output; write elsewhere or narrow the glob"
                )
            matched += 1
            if file.kind == "image":
                split.images += 1
                split.image_bytes += file.size
            else:
                split.tfrecords += 1
                split.tfrecord_bytes += file.size
                if len(split.first_tfrecords) < MOST_SAMPLED:
                    split.first_tfrecords.append(file)
            digest = add_digests([digest, file.digest])
        if not matched:
            raise AccessError(_nothing_matched(given, number, ignored))
        summary.ignored += ignored
    summary.digest = digest
    return summary


def _absolute(path: str) -> str:
    return os.path.abspath(path) if storage.is_local(path) else path


def _nothing_matched(given: Input, number: int, ignored: int) -> str:
    if ignored:
        return (
            f"--input {given.pattern}: matches {ignored} files, none with the ending of an image or a TFRecord "
            f"file; images end in {' '.join(sorted(IMAGE_ENDINGS))}"
        )
    hint = " that no earlier --input has matched" if number else ""
    return f"--input {given.pattern}: matches no file{hint}; quote the glob, and use ** to include sub-folders"
