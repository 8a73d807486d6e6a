"""Whether all inputs can have a place in one folder, before any work: a name of its own for each, below the output."""

from __future__ import annotations

import os
import unicodedata
from array import array
from collections.abc import Iterator

import numpy as np

from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.transforms import storage
from faceveil.transforms.formats.kinds import holds_records
from faceveil.transforms.formats.layout import LONGEST_NAME, converted_name, is_mirrored_name, mirrored_name
from faceveil.transforms.inputs.match import InputFile, list_inputs

_ALONE = "use --format tfrecord for these, or leave them out with --exclude"


class MirroredNames:
    """Looks at the names of a job's files with eight bytes of memory for each, and some more for each folder.

    Args:
        options: the job's.
    """

    def __init__(self, options: JobOptions) -> None:
        self._options = options
        self._on_disk = storage.is_local(options.output)
        self._ignores_case = self._on_disk and ignores_case(options.output)
        self._names = array("q")
        self._folders: set[int] = set()

    def note(self, file: InputFile) -> None:
        """Adds an input.

        Raises:
            OptionError: it can have no place there.
        """
        if holds_records(file.kind):
            raise OptionError(
                f"--format images: {file.path} holds records, whose labels and other features a folder of images has "
                f"no place for; {_ALONE}"
            )
        name = mirrored_name(file.key, file.path)
        for possible in _possible(name):
            self._note(possible, file)

    def _note(self, name: str, file: InputFile) -> None:
        if not is_mirrored_name(name):
            raise OptionError(
                f"--format images: {file.path} would have to be {name!r} in the output, which is no name of a file "
                f"there, or one of the job's own; {_ALONE}"
            )
        if self._on_disk and any(len(part.encode()) > LONGEST_NAME for part in name.split("/")):
            raise OptionError(f"--format images: {file.path}: its name is too long for a file on disk; {_ALONE}")
        spelt = self._spelt(name)
        self._names.append(hash(spelt))
        self._folders.update(map(hash, _folders(spelt)))

    def check_inputs(self) -> None:
        """Makes sure that no two inputs would be one file, or one of them a file where another needs a folder.

        Raises:
            AccessError: the inputs cannot be listed once more, to name the two.
            OptionError: they would.
        """
        hashes = np.frombuffer(self._names, np.int64)
        hashes.sort()  # in its place
        alike = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
        alike |= self._folders & set(hashes[np.isin(hashes, np.fromiter(self._folders, np.int64))].tolist())
        if not alike:
            return
        files: dict[str, str] = {}
        folders: dict[str, str] = {}
        for file in list_inputs(self._options.inputs):
            for name in map(self._spelt, _possible(mirrored_name(file.key, file.path))):
                if hash(name) in alike:
                    if name in files:
                        raise _colliding(files[name], file.path, name)
                    files[name] = file.path
                folders.update({folder: file.path for folder in _folders(name) if hash(folder) in alike})
        for name in files.keys() & folders.keys():
            raise _colliding(files[name], folders[name], name)

    def _spelt(self, name: str) -> str:
        return unicodedata.normalize("NFC", name).casefold() if self._ignores_case else name


def _possible(name: str) -> set[str]:
    """The names that a file may have: another one if its image turns out to be of a format that is not written."""
    return {name, converted_name(name)}


def _folders(name: str) -> Iterator[str]:
    """The folders in which a file lies, below the output."""
    place = 0
    while place := name.find("/", place) + 1:
        yield name[: place - 1]


def _colliding(one: str, other: str, name: str) -> OptionError:
    return OptionError(
        f"--format images: {one} and {other} would both need the name {name} in the output; put them into splits "
        "(--input a=… b=…), which are folders there, or write them to outputs of their own"
    )


def ignores_case(folder: str) -> bool:
    """Whether a disk takes two spellings of a name for one, as those of macOS do.

    Args:
        folder: on it; it may be yet to be made.
    """
    there = os.path.abspath(folder)
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    swapped = there.swapcase()
    return swapped != there and os.path.exists(swapped) and os.path.samefile(there, swapped)
