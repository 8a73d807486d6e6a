"""What a job has done: with one input, with those of a shard, with all of them."""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Iterator, Sequence

from faceveil.pipeline.audit_directory import lies_in
from faceveil.pipeline.console import say, say_result
from faceveil.pipeline.extract import extract
from faceveil.pipeline.find_rows import FoundRow, find_rows, rows_of_shard
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.report import counted, format_report
from faceveil.pipeline.report_page.write import write_page
from faceveil.pipeline.written_output import WrittenOutput, open_output
from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import Row, ShardResult, Status, read_stamp
from faceveil.transforms.inputs.ignored import printable
from faceveil.transforms.inputs.paths import as_path
from faceveil.transforms.inputs.shard_layout import layout_of

_MAX_SHARDS = 40
_MAX_FACES = 100
_MAX_QUARANTINED = 20
_SETTINGS = (
    *("method", "fallback_method", "strength", "shape", "margin", "coverage"),
    *("score_threshold", "quality", "detect_size", "boxes_mode", "keep_metadata", "engine", "precision"),
)


def inspect(given: argparse.Namespace) -> None:
    """Tells what the sub-command's arguments ask for.

    Raises:
        OptionError: there is no such output, key or shard.
        OutputError: what is there is of another version of faceveil.
        AccessError: something cannot be read or written.
    """
    output = _open(given)
    directory = as_path(given.extract) if given.extract else None
    if directory and not (given.key or given.shard):
        raise OptionError("--extract: goes with --key or --shard, which say what is written")
    if given.key and given.shard:
        raise OptionError("--shard: does not go with --key, which finds the shard by itself")
    if directory and lies_in(directory, output.layout.directory):
        raise OptionError(
            f"--extract {given.extract}: lies in the output, which is for publication; name another folder"
        )
    try:
        if given.key:
            found = find_rows(output, given.key, given.salt_file)
            say_result("\n\n".join("\n".join(_describe(each, output)) for each in found))
        elif given.shard:
            name = _shard_name(output, given.shard)
            found = rows_of_shard(output, name)
            say_result("\n".join(_describe_shard(name, found)))
        else:
            found = []
            say_result("\n".join(_describe_output(output)))
        if directory:
            say(f"{counted(extract(output, found, directory), 'image')} written to {directory}")
    except (OSError, ValueError) as error:
        if isinstance(error, OptionError):
            raise
        raise AccessError(f"{output.layout.audit_directory}: cannot be read: {error}") from error


def report(given: argparse.Namespace) -> None:
    """Writes the page about a finished job again, or prints its summary.

    Raises:
        OptionError: there is no such output, or its job is not finished.
        OutputError: what is there is of another version of faceveil.
        AccessError: something cannot be read or written.
    """
    output = _open(given)
    try:
        if given.summary:
            say_result("\n".join(_summary(output)))
            return
        if output.manifest is None:
            raise OptionError(
                f"{output.layout.directory}: its job is not finished, so there is no page yet; --summary tells"
            )
        path = as_path(given.page) if given.page else output.layout.page_path
        if lies_in(path, output.layout.directory):
            named = f"--output {given.page}" if given.page else output.layout.page_path
            raise OptionError(f"{named}: lies in the output, which is for publication; --output names another place")
        write_page(output, path)
    except (OSError, ValueError) as error:
        if isinstance(error, OptionError):
            raise
        raise AccessError(f"{output.layout.audit_directory}: cannot be read: {error}") from error
    say_result(f"see {path}")


def _open(given: argparse.Namespace) -> WrittenOutput:
    return open_output(as_path(given.job_output), as_path(given.records_output) if given.records_output else None)


def _describe_output(output: WrittenOutput) -> Iterator[str]:
    """All of it, in few words."""
    yield from _summary(output)
    yield f"settings: {_settings(output)}"
    yield "shards:"
    done = _results(output)
    shown = done if len(done) <= _MAX_SHARDS else done[: _MAX_SHARDS // 2]
    for result in shown:
        quarantined = f", {result.quarantined} quarantined" if result.quarantined else ""
        written = counted(result.anonymized + result.no_faces, "record")
        yield f"  {result.name}: {written}, {counted(result.faces, 'face')}{quarantined}, {result.bytes / 1e6:.1f} MB"
    if len(shown) < len(done):
        yield f"  and {len(done) - len(shown):,} more"
    yield from _describe_quarantined(output, done)


def _describe_quarantined(output: WrittenOutput, done: Sequence[ShardResult]) -> Iterator[str]:
    """What was quarantined, by name: the first ones, of as few shards as hold them."""
    rows = (
        each.row
        for result in done
        if result.quarantined
        for each in rows_of_shard(output, result.name)
        if each.row.status is Status.QUARANTINED
    )
    total = sum(result.quarantined for result in done)
    if total:
        yield "quarantined:"
    for row in itertools.islice(rows, _MAX_QUARANTINED):
        yield f"  {printable(row.key)}: {row.reason}{f', {printable(row.detail)}' if row.detail else ''}"
    if total > _MAX_QUARANTINED:
        yield f"  and {total - _MAX_QUARANTINED:,} more; --shard tells those of one"


def _results(output: WrittenOutput) -> list[ShardResult]:
    """Of the finished shards."""
    stamps = output.for_each_shard(lambda name: read_stamp(output.layout.audit_path(name)))
    return [stamp.result for _, stamp in stamps if stamp is not None]


def _summary(output: WrittenOutput) -> Iterator[str]:
    layout = output.layout
    if output.manifest is not None:
        page = layout.page_path if storage.exists(layout.page_path) else None
        yield format_report(output.manifest, layout.directory, layout.audit_directory, page=page)
        return
    done = _results(output)
    planned = sum(len(list(sizes.names(split))) for split, sizes in layout_of(output.job).items())
    state = "a job is writing to it now" if output.is_running else "its job has stopped; the same command resumes"
    yield f"{layout.directory}: unfinished, {state}"
    records, faces, quarantined = (sum(getattr(r, name) for r in done) for name in ("records", "faces", "quarantined"))
    so_far = f"{counted(records, 'record')}, {counted(faces, 'face')}, {quarantined} quarantined"
    yield f"{len(done)} of {counted(planned, 'shard')} done: {so_far}"


def _settings(output: WrittenOutput) -> str:
    job = output.job
    told = [f"{name} {_spelt(job[name])}" for name in _SETTINGS if job.get(name) not in (None, [], "")]
    return ", ".join([*told, f"detector {output.model.get('name') or 'none'}"])


def _spelt(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else " ".join(value) if isinstance(value, list) else str(value)


def _shard_name(output: WrittenOutput, named: str) -> str:
    """A finished shard by its name or its number.

    Raises:
        OptionError: there is none, or there are several.
    """
    names = output.shard_names()
    plain = named.rpartition("/")[2]
    found = [name for name in names if plain in (name, f"{name}.parquet", output.layout.shard_file(name))]
    if not found and named.isascii() and named.isdigit():
        found = [name for name in names if re.fullmatch(rf".+-0*{int(named)}-of-\d+", name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise OptionError(f"--shard {named}: each split has one; name it: {', '.join(found)}")
    examples = f", such as {names[0]}" if names else ""
    raise OptionError(f"--shard {named}: is none of the {len(names)} finished shards{examples}")


def _describe_shard(name: str, found: Sequence[FoundRow]) -> Iterator[str]:
    yield f"{name}: {counted(len(found), 'input')}"
    for each in found:
        row = each.row
        told = f": {row.reason}" if row.status is Status.QUARANTINED else ""
        faces = f" {counted(row.face_count, 'face')}" if row.status is Status.ANONYMIZED else ""
        place = "-" if each.place is None else str(each.place.index)
        yield f"  {place:>5}  {printable(row.key)}  {row.status}{faces}{told}"


def _describe(found: FoundRow, output: WrittenOutput) -> Iterator[str]:
    """One input, line by line."""
    row, place = found.row, found.place
    yield printable(row.key)
    yield f"  status:    {row.status}"
    if row.reason is not None:
        yield f"  reason:    {row.reason}{f', {printable(row.detail)}' if row.detail else ''}"
    yield f"  shard:     {found.shard}"
    if place is not None:
        where = storage.join(output.layout.directory, place.file)
        yield f"  written:   {where}{'' if place.sha256 else f', record {place.index}'}"
    if row.status is Status.COPIED:
        return
    if row.width is not None:
        yield f"  size:      {row.width} x {row.height} px, upright"
    if row.status is Status.QUARANTINED:
        return
    yield from _describe_faces("faces", row.faces, row.given_faces)
    for image in row.other_images:
        yield f"  also in {printable(image.feature)}, {image.width} x {image.height} px"
        yield from _describe_faces("faces", image.faces)
    yield from _describe_work(row, output)


def _describe_faces(title: str, faces: Faces, given: int = 0) -> Iterator[str]:
    yield f"  {title}:     {len(faces)}"
    for number, (box, score) in enumerate(zip(faces.boxes[:_MAX_FACES], faces.scores, strict=False)):
        x0, y0, x1, y1 = (float(side) for side in box)
        source = "annotated" if number < given else f"score {score:.2f}"
        yield f"    {source}, {x1 - x0:.0f} x {y1 - y0:.0f} px at {x0:.0f}, {y0:.0f}"
    if len(faces) > _MAX_FACES:
        yield f"    and {len(faces) - _MAX_FACES} more"


def _describe_work(row: Row, output: WrittenOutput) -> Iterator[str]:
    if row.fallback_faces:
        method = output.job.get("fallback_method", "another method")
        yield f"  fallback:  {counted(row.fallback_faces, 'face')} by {method}"
    if row.is_converted:
        yield f"  converted: {row.detail}"
    if row.reencoded:
        yield "  encoded:   again as a whole, so pixels outside the masks may differ a little"
    yield f"  settings:  {_settings(output)}"
