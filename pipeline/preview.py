"""Some photos, anonymized as a job would, on one sheet."""

from __future__ import annotations

import argparse
import heapq
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from faceveil.pipeline.anonymizer import Anonymizer
from faceveil.pipeline.console import say, say_result
from faceveil.pipeline.contact_sheet import Tile, draw_sheet
from faceveil.pipeline.option_parsing import build_options
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import FIELDS, JobOptions
from faceveil.pipeline.report import counted, faces_with_scores
from faceveil.pipeline.terminal_pictures import protocol_of, shown_in_terminal
from faceveil.pipeline.thumbnails import draw_thumbnail
from faceveil.transforms import storage
from faceveil.transforms.anonymizers import SYNTHESIZE
from faceveil.transforms.detectors.quality import QUALITIES
from faceveil.transforms.inputs.ignored import printable
from faceveil.transforms.inputs.match import InputFile, list_inputs
from faceveil.transforms.inputs.paths import as_path
from faceveil.transforms.quarantine import Quarantine
from faceveil.transforms.shard.record import Outcome, quarantine_of

_SHEET = "faceveil-preview.png"
_MAX_PHOTOS, _MAX_COMPARED = 12, 6
_TILE, _TILE_COMPARED = 640, 440
_ALONE = 1200
"""The longer side of a picture, in pixels: of several, of several side by side, of one alone."""
_PER_LINE = 3


@dataclass(frozen=True)
class _Photo:
    """A photo that is shown."""

    key: str
    data: bytes


def preview(given: argparse.Namespace, data_options: Collection[str]) -> None:
    """Shows what would be masked, as the sub-command's arguments say.

    Args:
        given: the arguments.
        data_options: the names of options about data that the command has, too.

    Raises:
        OptionError: an option's value is not allowed, or there is no photo.
        AccessError: a photo or a model cannot be reached, or the sheet cannot be written.
        ModelError: a model cannot be loaded.
    """
    options, _ = build_options(_flags(given), [], given.config)
    place = _place(given.sheet)
    if options.boxes:
        say("--boxes: annotated boxes are not shown, only faces that a detector finds")
    photos, found = _take_photos(options, _MAX_COMPARED if given.compare else _MAX_PHOTOS)
    if found > len(photos):
        say(f"{len(photos)} of {found:,} photos are shown, by a hash of their names")
    alternatives = _alternatives(_of_images(options, data_options), given.compare)
    columns = []
    for column, (title, each) in enumerate(alternatives):
        # All methods get the same faces.
        told = title if given.compare == "quality" else None if column else ""
        columns.append(list(_tiles(photos, each, len(alternatives), told)))
    if given.compare:
        sheet = draw_sheet([title for title, _ in alternatives], list(zip(*columns, strict=True)))
    else:
        sheet = draw_sheet([], _broken_up(columns[0]))
    protocol = None if given.sheet else protocol_of(os.environ, sys.stdout.isatty())
    if protocol:
        say_result(shown_in_terminal(sheet, protocol))
    else:
        storage.write_bytes(place, sheet)
        say_result(f"see {place}")


def _flags(given: argparse.Namespace) -> dict[str, Any]:
    """The options by name, as `faceveil run` has them."""
    flags = {name: value for name, value in vars(given).items() if name in FIELDS}
    if given.photos:
        flags["input"] = given.photos
    elif not given.config:
        raise OptionError("PHOTO: is required, a photo or a quoted glob of photos")
    return {**flags, "output": _SHEET}  # a job needs one; none is written


def _of_images(options: JobOptions, data_options: Collection[str]) -> JobOptions:
    """The options without those about data sets, which have no effect on single images."""
    kept = {"anonymization", "detection"}
    counts = {name for name, field in FIELDS.items() if field.metadata["group"] in kept or name in data_options}
    without: dict[str, Any] = {name: FIELDS[name].default for name in FIELDS.keys() - counts | {"exclude"}}
    return replace(options, **without)


def _place(named: str | None) -> str:
    place = as_path(named or _SHEET)
    if not place.lower().endswith(".png"):
        raise OptionError(f"--output {named}: must end in .png, which is what is written")
    if storage.is_local(place) and os.path.isdir(place):
        raise OptionError(f"--output {named}: is a folder")
    return place


def _take_photos(options: JobOptions, most: int) -> tuple[list[_Photo], int]:
    """Some of the photos that the inputs name, the same ones at each call, and how many there are."""
    found = 0

    def images() -> Iterator[InputFile]:
        nonlocal found
        for file in list_inputs(options.inputs):
            if file.kind == "image":
                found += 1
                yield file

    chosen = heapq.nsmallest(most, images(), key=lambda file: (file.place, file.key))
    if not chosen:
        globs = " ".join(options.input)
        raise OptionError(f"{globs}: holds no photos; records of TFRecord, Parquet and tar files cannot be previewed")
    return [_Photo(file.key, _read(file, options)) for file in sorted(chosen, key=lambda file: file.key)], found


def _read(file: InputFile, options: JobOptions) -> bytes:
    """A photo's bytes, of one that is too large a few more than may be; that it cannot be read, a job would tell so."""
    try:
        return storage.read_bytes(file.path, options.max_image_bytes + 1)
    except OSError as error:
        say(f"faceveil: {file.path}: cannot be read: {error}")
        return b""


def _alternatives(options: JobOptions, compare: str | None) -> list[tuple[str, JobOptions]]:
    """What is shown side by side, by the names of columns."""
    if compare is None:
        return [("", options)]
    if compare == "quality":
        return [(quality, replace(options, quality=quality, detect_size=None)) for quality in QUALITIES]
    methods = [name for name in FIELDS["method"].metadata["allowed"] if name != SYNTHESIZE]
    made = [(name, replace(options, method=name)) for name in methods]
    try:
        made.append((SYNTHESIZE, replace(options, method=SYNTHESIZE)))
    except OptionError:
        say(f"{SYNTHESIZE} is left out: it needs a secret salt, in FACEVEIL_SALT or --salt_file")
    return made


def _tiles(photos: Sequence[_Photo], options: JobOptions, columns: int, told: str | None) -> Iterator[Tile]:
    """The photos as they would be anonymized; tells what was found in them, below a title, or nothing."""
    anonymizer = Anonymizer(options)
    side = _TILE_COMPARED if columns > 1 else _ALONE if len(photos) == 1 else _TILE
    outcomes = anonymizer.outcomes((photo.data for photo in photos), (photo.key for photo in photos))
    for photo, outcome in zip(photos, outcomes, strict=True):
        if told is not None:
            say_result(f"{f'{told}: ' if told else ''}{printable(photo.key)}: {_in_words(outcome)}")
        yield _tile(photo.key, outcome, options, side)


def _in_words(outcome: Outcome) -> str:
    row = outcome.row
    if outcome.serialized is None:
        return f"would be quarantined: {printable(str(quarantine_of(row)))}"
    if not len(row.faces):
        return "no faces"
    return faces_with_scores(row.faces.scores.tolist())


def _tile(key: str, outcome: Outcome, options: JobOptions, side: int) -> Tile:
    row = outcome.row
    if outcome.serialized is None:
        return Tile(key, f"would be quarantined: {row.reason}", side)
    told = counted(len(row.faces), "face")
    try:
        thumbnail = draw_thumbnail(outcome.serialized, side)
    except Quarantine as error:
        return Tile(key, f"{told}; cannot be shown: {error.detail}", side)
    outlines = tuple(thumbnail.outlines(row.faces, options.geometry))
    is_ellipse = options.geometry.shape == "ellipse" and options.geometry.coverage == 1
    return Tile(key, told, side, thumbnail.rgb, outlines, is_ellipse)


def _broken_up(tiles: Sequence[Tile]) -> list[Sequence[Tile]]:
    """Tiles in lines of a few."""
    per_line = min(_PER_LINE, len(tiles))
    return [tiles[start : start + per_line] for start in range(0, len(tiles), per_line)]
