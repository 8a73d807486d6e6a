"""Outputs as jobs leave them, made up without a detector: of any size, with any names, in any format."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.anonymizers.masks import face_mask
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import SCHEMA, AuditFile, Row, ShardResult, Stamp, Status
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.layout import OutputFormat, OutputLayout
from faceveil.transforms.inputs.match import InputFile
from faceveil.transforms.inputs.plan import ShardPlan, shard_name
from faceveil.transforms.shard.shard_format import SHARD_FORMATS
from tests.conftest import audit_of, noise_image

JOB: dict[str, Any] = {
    "method": "solid",
    "margin": 0.1,
    "coverage": 1.0,
    "shape": "ellipse",
    "score_threshold": 0.21,
    "quality": "balanced",
    "image_feature": ["image/encoded"],
    "hash_keys": None,
    "versions": {"faceveil": "0.1.0", "openvino": None},
    "settings_digest": "0" * 64,
    "digest": "1" * 64,
}
_REASONS = ("truncated", "corrupt_image", "not_an_image")


@dataclass(frozen=True)
class MadeRecord:
    """One input: a row, and the image that is written of it; None of one that was quarantined."""

    row: Row
    image: bytes | None


def made_record(key: str, number: int, faces: int = 2, size: tuple[int, int] = (320, 240)) -> MadeRecord:
    """A picture of noise whose faces are black ellipses; each number gives another one."""
    rng = np.random.default_rng(number)
    width, height = size
    sides = rng.uniform(8, min(size) / 3, faces).astype(np.float32)
    corners = rng.uniform(0, 1, (faces, 2)).astype(np.float32) * (np.array(size, np.float32) - sides[:, None])
    boxes = np.concatenate([corners, corners + sides[:, None]], axis=1).astype(np.float32)
    scores = np.sort(rng.uniform(0.21, 1, faces).astype(np.float32))[::-1].copy()
    pixels = noise_image(height, width, number)
    for box in boxes:
        rectangle, mask = face_mask(box, MaskGeometry(), height, width)
        pixels[rectangle][mask] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    status = Status.ANONYMIZED if faces else Status.NO_FACES
    return MadeRecord(Row(key, status, None, width, height, Faces(boxes, scores)), file.getvalue())


def made_failure(key: str, reason: str, detail: str | None = None) -> MadeRecord:
    """An input that was quarantined."""
    return MadeRecord(Row(key, Status.QUARANTINED, reason, None, None, Faces.none(), detail=detail), None)


def made_output(
    folder: Path,
    shards: Sequence[Sequence[MadeRecord]],
    output_format: OutputFormat = "tfrecord",
    ignored: dict[str, Any] | None = None,
    complete: bool = True,
    **job: Any,
) -> OutputLayout:
    """Writes an output and its audit trail as a job's workers and its last step do."""
    told = {**JOB, "num_shards": {"data": len(shards)}, **job}
    if output_format != "tfrecord":
        told["format"] = output_format
    layout = OutputLayout(str(folder), str(audit_of(folder)), told["settings_digest"], output_format)
    results = [_write_shard(layout, number, len(shards), records) for number, records in enumerate(shards)]
    if complete:
        write_manifest(folder, told, results, ignored or {})
    else:
        lock = {
            "host": "gone",
            "pid": None,
            "time": 0,
            "job": {"job": told, "model": {"name": "m", "sha256": "2" * 64}},
        }
        (folder / ".faceveil-lock.json").write_text(json.dumps(lock))
    return layout


def _write_shard(layout: OutputLayout, number: int, count: int, records: Sequence[MadeRecord]) -> ShardResult:
    shard_format = SHARD_FORMATS[layout.format]
    files = tuple(InputFile("data", r.row.key, r.row.key, 1, "v", "image") for r in records)
    plan = ShardPlan("data", number, count, "image", files)
    name, result = plan.name, ShardResult(plan.name, "data")
    rows = AuditFile("data", "solid", with_files=shard_format.has_files)
    with shard_format.opened(plan, layout) as writer:
        for record in records:
            place = None if record.image is None else writer.add(record.row, _composed(record, layout))
            rows.add(record.row, place)
            result.count(record.row)
        result.bytes, result.sha256 = writer.nbytes, writer.sha256
    rows.publish(layout.audit_path(name), Stamp(layout.settings_digest, result, "image", ()))
    shard_format.settle(name, layout)
    return result


def _composed(record: MadeRecord, layout: OutputLayout) -> bytes:
    assert record.image is not None
    if SHARD_FORMATS[layout.format].has_files:
        return record.image
    return Example.empty().with_features({"image/encoded": record.image, "image/filename": record.row.key.encode()})


def write_manifest(folder: Path, job: dict[str, Any], results: Sequence[ShardResult], ignored: dict[str, Any]) -> None:
    """Writes ``manifest.json`` and the examples of ignored files."""
    names = ("records", "anonymized", "no_faces", "quarantined", "faces", "reencoded", "fallback_faces")
    totals = {name: sum(getattr(result, name) for result in results) for name in names}
    reasons, per_image = Counter[str](), Counter[int]()
    for result in results:
        reasons.update(result.reasons)
        per_image.update(result.faces_per_image)
    key = "name" if job.get("format") == "images" else "file"
    manifest = {
        "schema": 1,
        "job": job,
        "model": {"name": "centerface-int8", "sha256": "2" * 64},
        "totals": {**totals, "ignored": sum(told["files"] for told in ignored.values())},
        "ignored": {ending: {k: v for k, v in told.items() if k != "examples"} for ending, told in ignored.items()},
        "quarantined_for": dict(sorted(reasons.items())),
        "faces_per_image": {str(faces): per_image[faces] for faces in sorted(per_image)},
        "splits": {"data": totals},
        "shards": [
            {
                key: f"{r.name}.tfrecord" if key == "file" else r.name,
                "split": "data",
                "bytes": r.bytes,
                "records": r.records,
            }
            for r in results
        ],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))
    (audit_of(folder) / "_ignored.json").write_text(json.dumps(ignored))


def made_large_output(folder: Path, shards: int, per_shard: int, samples: int = 3) -> None:
    """An output of many rows, made up by the column; only the first few shards have images."""
    first = [
        [made_record(f"sample/{n}-{m}.png", 100 * n + m, faces=1 + 40 * m) for m in range(4)] for n in range(samples)
    ]
    made_output(folder, first)
    results = []
    for path in sorted(audit_of(folder).glob("*.parquet")):
        number = int(path.name.split("-")[1])
        name = shard_name("data", number, shards)
        (folder / f"{path.stem}.tfrecord").rename(folder / f"{name}.tfrecord")
        path.rename(audit_of(folder) / f"{name}.parquet")
        written = first[number]
        result = ShardResult(name, "data", bytes=(folder / f"{name}.tfrecord").stat().st_size)
        for record in written:
            result.count(record.row)
        results.append(result)
    names = {number: shard_name("data", number, shards) for number in range(samples, shards)}
    results += [_write_rows(audit_of(folder), name, number, per_shard) for number, name in names.items()]
    write_manifest(folder, {**JOB, "num_shards": {"data": shards}}, results, {})


def _write_rows(folder: Path, name: str, seed: int, count: int) -> ShardResult:
    rng = np.random.default_rng(seed)
    failed = rng.random(count) < 0.01
    faces: Any = np.where(failed, 0, rng.geometric(0.4, count) - 1)
    offsets = np.concatenate([[0], np.cumsum(faces)]).astype(np.int32)
    total = int(offsets[-1])
    sides = rng.gamma(2, 30, total).astype(np.float32) + 4
    corners = rng.uniform(0, 900, (2, total)).astype(np.float32)
    scores = rng.uniform(0.21, 1, total).astype(np.float32)
    columns = [corners[0], corners[1], corners[0] + sides, corners[1] + sides, scores]
    points = pa.nulls(total, SCHEMA.field("faces").type.value_type.field("keypoints").type)
    fields = [SCHEMA.field("faces").type.value_type.field(n) for n in range(6)]
    structs = pa.StructArray.from_arrays([*map(pa.array, columns), points], fields=fields)
    status: Any = np.where(failed, "quarantined", np.where(faces > 0, "anonymized", "no_faces"))
    places: list[tuple[list[Any], pa.DataType]] = [([f"{name}.tfrecord"] * count, pa.string())]
    places += [(values, pa.int32()) for values in (list(range(count)), [1024] * count, [768] * count)]
    table = pa.table(
        [
            [f"photos/{seed:05d}/{place:05d}.jpg" for place in range(count)],
            ["data"] * count,
            status.tolist(),
            [_REASONS[place % 3] if bad else None for place, bad in enumerate(failed)],
            ["of some detail " * 20 if bad else None for bad in failed],
            *(
                pa.array([None if bad else v for bad, v in zip(failed, value, strict=True)], kind)
                for value, kind in places
            ),
            pa.ListArray.from_arrays(pa.array(offsets), structs),
            ["solid"] * count,
            [False] * count,
            pa.array([[]] * count, SCHEMA.field("other_images").type),
            pa.array(np.zeros(count, np.int32)),
        ],
        schema=SCHEMA,
    )
    pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
    reasons = Counter(_REASONS[place % 3] for place in np.flatnonzero(failed))
    per_image = {int(n): int(times) for n, times in zip(*np.unique(faces[~failed], return_counts=True), strict=True)}
    result = ShardResult(name, "data", count, int(((faces > 0) & ~failed).sum()), int(((faces == 0) & ~failed).sum()))
    result.quarantined, result.faces, result.bytes = int(failed.sum()), total, 64_000_000
    result.faces_per_image, result.reasons = per_image, dict(reasons)
    return result
