"""Images of an output as files, to be looked at."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from faceveil.pipeline.console import say
from faceveil.pipeline.find_rows import FoundRow
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.written_output import WrittenOutput
from faceveil.transforms import storage
from faceveil.transforms.codecs.signatures import sniff
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.audit import Status
from faceveil.transforms.formats.kinds import ending_of
from faceveil.transforms.formats.layout import is_mirrored_name
from faceveil.transforms.inputs.ignored import printable
from faceveil.transforms.shard.written import read_written

_MAX_NAME_BYTES = 200
_ENDINGS = {"jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"), "tiff": (".tif", ".tiff"), "netpbm": (".ppm", ".pgm", ".pbm")}
_ENDINGS |= {"heif": (".heic", ".heif")}
_WRITTEN = (Status.ANONYMIZED, Status.NO_FACES)


def extract(output: WrittenOutput, found: Sequence[FoundRow], directory: str) -> int:
    """Writes the anonymized images of some inputs into a folder, under names that follow from their keys.

    Args:
        output: holds them.
        found: the inputs; those that were quarantined or copied have no image.
        directory: takes them; files that are there are not replaced, unless they are the same.

    Returns:
        How many images there are.

    Raises:
        OptionError: another file is in the way.
        AccessError: a shard is not what the job has written, or something cannot be read or written.
        OSError: a shard cannot be read.
        ValueError: a record is damaged.
    """
    by_shard: dict[str, set[str]] = {}
    for each in found:
        if each.row.status in _WRITTEN:
            by_shard.setdefault(each.shard, set()).add(each.row.key)
        else:
            say(f"{printable(each.row.key)}: was {each.row.status}, so there is no image of it")
    written = 0
    for name, keys in by_shard.items():
        left = set(keys)
        for record in read_written(name, output.layout, keys, output.image_features):
            left.remove(record.row.key)
            for number, image in enumerate(record.images):
                _write(storage.join(directory, file_name(record.row.key, image, number)), image)
                written += 1
        if left:
            raise AccessError(
                f"{output.layout.directory}: what is there of {name} is not what the job has written, so "
                f"{printable(min(left))} is not extracted"
            )
    return written


def _write(path: str, image: bytes) -> None:
    there = storage.stat(path)
    if there is None:
        storage.write_bytes(path, image)
    elif there.size != len(image) or storage.read_bytes(path) != image:
        raise OptionError(f"--extract: {path} is there already and is another file; name an empty folder")


def file_name(key: str, image: bytes, number: int = 0) -> str:
    """The name of a record's image, below the folder that it is written to: the key, with the image's ending.

    Args:
        key: the record's; what could lead elsewhere is replaced.
        image: the encoded image, whose kind decides on the ending if the key has none or another kind's.
        number: of the image among those of its record, from 0.

    Example usage::

        >>> jpeg = bytes.fromhex("ffd8ffe000104a464946")
        >>> file_name("a/b.JPG", jpeg), file_name("c.tfrecord#7", jpeg, number=1)
        ('a/b.JPG', 'c.tfrecord#7.1.jpg')
        >>> file_name("../../b.jpg", jpeg)
        '_/_/b.77c30e51.jpg'
    """
    kind = sniff(image) or "bin"
    endings = _ENDINGS.get(kind, (f".{kind}",))
    ending = ending_of(key)
    stem, ending = (key[: -len(ending)], key[-len(ending) :]) if ending in endings else (key, endings[0])
    parts = [_safe(part) for part in stem.split("/")]
    safe = "/".join(parts)
    if safe != stem or not is_mirrored_name(safe):
        safe = f"{safe}.{hashlib.sha256(key.encode()).hexdigest()[:8]}"  # apart from others that would be spelt alike
    return f"{safe}{f'.{number}' if number else ''}{ending}"


def _safe(part: str) -> str:
    """A part of a path that every disk takes as a name, and that leads nowhere else."""
    if part in ("", ".", ".."):
        return "_"
    short = part.replace("\0", "_").replace(os.sep, "_").replace("\\", "_")
    return short.encode()[:_MAX_NAME_BYTES].decode(errors="ignore")
