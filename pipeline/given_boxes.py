"""From ``--boxes`` to annotated boxes that every worker can reach: read once, checked, and held against the inputs."""

from __future__ import annotations

import atexit
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from faceveil.pipeline.box_options import is_box_file
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.box_files import BoxFileError, read_box_file
from faceveil.transforms.inputs.match import Input, InputFile
from faceveil.transforms.shard.given import BoxSource

_LOGGER = logging.getLogger(__name__)
_AT_ONCE = 4096
_OF_RECORD = re.compile(r"(.*)#\d+", re.DOTALL)


class AnnotationFile:
    """A file of annotated boxes, read whole, and which of the inputs it names.

    The boxes that are wanted are written into a temporary folder, which goes with this process.

    Args:
        options: the job's, with such a file.

    Attributes:
        source: for the workers.
        description: what decides about the output.

    Raises:
        AccessError: the file cannot be read.
        OptionError: it is no such file, or has no box of a class.
    """

    def __init__(self, options: JobOptions) -> None:
        self._path, self._replace = str(options.boxes), options.boxes_mode == "replace"
        try:
            read = read_box_file(self._path, options.box_classes, partial(shown_keys, inputs=options.inputs))
        except BoxFileError as error:
            raise OptionError(f"--boxes {error}") from error
        except AccessError as error:
            raise AccessError(f"--boxes {error}") from error
        self._table = read.table
        self._named = read.keys
        # Which records a TFRecord file has is not known yet, but whether any of them is named is.
        files = (match[1] for key in read.keys if (match := _OF_RECORD.fullmatch(key)))
        self._record_files = {name for file in dict.fromkeys(files) for name in shown_keys(file, options.inputs)}
        self._waiting: list[str] = []
        self._images = self._images_found = self._files_found = 0
        self._first = ""
        folder = tempfile.mkdtemp(prefix="faceveil-boxes-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        self._table.save(folder)
        self.source = BoxSource(self._replace, table=folder)
        self.description: dict[str, Any] = {
            "sha256": self._table.digest,
            "images": len(self._named),
            "boxes": len(self._table.boxes),
        }

    def note(self, file: InputFile) -> None:
        """Adds an input; a file that is copied has no boxes."""
        if file.kind == "other":
            return
        self._first = min(self._first or file.key, file.key)
        self._files_found += file.key in self._record_files
        if file.kind == "image":
            self._waiting.append(file.key)
            if len(self._waiting) == _AT_ONCE:
                self._look_up()

    def _look_up(self) -> None:
        self._images += len(self._waiting)
        self._images_found += int(self._table.holds(self._waiting).sum())
        self._waiting.clear()

    def check_inputs(self) -> None:
        """Says how many of the inputs are named, once all were noted.

        Raises:
            OptionError: none is, so the keys must be others.
        """
        self._look_up()
        if not self._images_found and not self._files_found:
            raise OptionError(
                f"--boxes {self._path}: names none of the inputs. Its first key is {self._named[0]}, the inputs have "
                f"{self._first}; keys are as in the audit trail: with the split before and #0, #1, … behind, if there "
                "are any"
            )
        if not self._images:
            return
        images = sum(_OF_RECORD.fullmatch(key) is None for key in self._named)
        _LOGGER.info("--boxes names %d of the %d image files", self._images_found, self._images)
        if self._replace and self._images_found < self._images:
            _LOGGER.warning(
                "--boxes_mode replace: image files that it does not name will be quarantined: %d",
                self._images - self._images_found,
            )
        if images > self._images_found:
            _LOGGER.warning("--boxes names images that are not among the inputs: %d", images - self._images_found)


def shown_keys(key: str, inputs: Sequence[Input]) -> Iterator[str]:
    """The keys of records, as they are shown, that a key in a file of boxes means: another where names are hidden.

    Example usage::

        >>> from faceveil.transforms.inputs.keys import KeyHash
        >>> list(shown_keys("a.tfrecord#3", [Input("data", "*")]))
        ['a.tfrecord#3']
        >>> hidden = [Input("train", "*", named=True, key_hash=KeyHash(b"salt"))]
        >>> list(shown_keys("train/x#3", hidden))  # an image of that name, or a record of the file x
        ['train/6aeaf9ad2271b6e5485d2be7c10138db', 'train/555eb18440ae9c41f5d150d5628fa2b2#3']
    """
    first = inputs[0]
    if first.key_hash is None:
        yield key
        return
    split, _, path = key.partition("/") if first.named else ("", "", key)
    for given in {each.split: each for each in inputs}.values():
        if given.split == split or not given.named:
            yield given.shown(path)
            if match := _OF_RECORD.fullmatch(path):
                yield given.shown(match[1]) + path[len(match[1]) :]


def resolve_boxes(options: JobOptions) -> AnnotationFile | None:
    """Reads the file of ``--boxes``; None where there is none, or features hold the boxes.

    Raises:
        AccessError: as ``AnnotationFile``.
        OptionError: as ``AnnotationFile``.
    """
    return AnnotationFile(options) if options.boxes and is_box_file(options.boxes) else None


def box_source(options: JobOptions, file: AnnotationFile | None) -> BoxSource | None:
    """Where the boxes of a job come from, if it has any."""
    if file or not options.boxes:
        return file.source if file else None
    return BoxSource(options.boxes_mode == "replace", options.boxes, options.box_classes)
