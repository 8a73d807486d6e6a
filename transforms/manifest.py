"""The manifest: what the job did, written last; its presence means that the output is complete."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.typehints import with_input_types, with_output_types

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError, AccountingError
from faceveil.transforms.formats.audit import ShardResult
from faceveil.transforms.formats.layout import MANIFEST_NAME, OutputLayout, shard_ending
from faceveil.transforms.formats.tfds_output import Declaration, write_info
from faceveil.transforms.inputs.ignored import without_names
from faceveil.transforms.inputs.match import add_digests
from faceveil.transforms.inputs.shard_layout import Layout
from faceveil.transforms.inputs.summary import InputSummary
from faceveil.transforms.shard.shard_format import SHARD_FORMATS

_COUNTS = ("records", "anonymized", "no_faces", "quarantined", "faces", "reencoded", "fallback_faces")


@dataclass(frozen=True)
class JobDescription:
    """What the manifest says of the job and its model, ready for JSON.

    Attributes:
        job: method, thresholds, masks, versions and the digest of them all.
        model: name and sha256.
    """

    job: dict[str, Any]
    model: dict[str, Any]

    @property
    def as_json(self) -> dict[str, Any]:
        """As a lock file holds it."""
        return {"job": self.job, "model": self.model}


def build_manifest(
    results: Iterable[ShardResult], description: JobDescription, layout: Layout, summary: InputSummary
) -> dict[str, Any]:
    """Adds up the results of all shards.

    Returns:
        The manifest of schema 1; it depends on the results alone, not on their order.

    Raises:
        AccountingError: a shard is missing or there twice, an image file was not read, or the totals do not balance.
        AccessError: files were added, removed or changed since the inputs were listed first.
    """
    shards = sorted(results, key=lambda result: result.name)
    _check_balance(shards, layout, summary)
    return compose_manifest(shards, description, list(layout), summary.ignored, without_names(summary.ignored_files))


def compose_manifest(
    shards: Sequence[ShardResult],
    description: JobDescription,
    splits: Sequence[str],
    ignored: int,
    ignored_files: dict[str, Any],
) -> dict[str, Any]:
    """The manifest of shards that are known to be all.

    Args:
        shards: sorted by name.
        description: what the job is.
        splits: their names, in the order of the inputs.
        ignored: files that are no inputs.
        ignored_files: of those, how many for which reason.
    """
    faces_per_image: Counter[int] = Counter()
    reasons: Counter[str] = Counter()
    for shard in shards:
        faces_per_image.update(shard.faces_per_image)
        reasons.update(shard.reasons)
    job = {
        **description.job,
        # Workers may differ; each kind is named once.
        **{
            name: ", ".join(sorted({getattr(shard, name) for shard in shards}))
            for name in ("engine", "precision", "device")
        },
    }
    output_format = job.get("format", "tfrecord")
    has_files = SHARD_FORMATS[output_format].has_files
    ending = shard_ending(output_format, job.get("compression", "none"))
    later = {"given_faces": "boxes", "copied": "copy_others"}
    counts = [*_COUNTS, *(name for name, option in later.items() if option in job)]
    if any(shard.converted for shard in shards):
        counts.append("converted")
    return {
        "schema": 1,
        "job": job,
        "model": description.model,
        "totals": {**_totals(shards, counts), "ignored": ignored},
        "ignored": ignored_files,
        "quarantined_for": dict(sorted(reasons.items())),
        "faces_per_image": {str(faces): faces_per_image[faces] for faces in sorted(faces_per_image)},
        "splits": {split: _totals((shard for shard in shards if shard.split == split), counts) for split in splits},
        "shards": [
            {
                # Where it is a file for each image, the audit trail names them.
                **({"name": shard.name} if has_files else {"file": shard.name + ending}),
                "split": shard.split,
                "records": shard.records - shard.quarantined,
                "faces": shard.faces,
                "bytes": shard.bytes,
                "sha256": shard.sha256,
            }
            for shard in shards
        ],
    }


def _totals(shards: Iterable[ShardResult], names: Iterable[str]) -> dict[str, int]:
    counted = list(shards)
    return {name: sum(getattr(shard, name) for shard in counted) for name in names}


def _check_balance(shards: list[ShardResult], layout: Layout, summary: InputSummary) -> None:
    expected = dict(name for split, sizes in layout.items() for name in sizes.names(split))
    names = Counter(shard.name for shard in shards)
    wrong = sorted((expected.keys() ^ names.keys()) | {name for name, times in names.items() if times > 1})
    if wrong:
        raise AccountingError(f"{len(wrong)} shards are missing, unplanned or there twice, {wrong[0]} first")
    # A shard names the versions of the files it was planned with, so none can have come, gone or changed unnoticed.
    if int(add_digests(shard.inputs_digest for shard in shards), 16) != int(summary.digest or "0", 16):
        raise AccessError(
            "inputs changed while the job ran; use --update to continue with what is there now, or --overwrite to "
            "begin anew"
        )
    for split, matched in ((split, held.files) for split, held in summary.splits.items()):
        read = sum(shard.records + shard.copied for shard in shards if shard.split == split and expected[shard.name])
        if read < matched:  # a file that holds TFRecords, whatever its name, is read as several
            raise AccountingError(f"split {split}: {matched} images were matched and {read} read")
    for shard in shards:
        if shard.records != shard.anonymized + shard.no_faces + shard.quarantined:
            raise AccountingError(f"{shard.name}: the totals do not balance: {shard}")


@with_input_types(ShardResult)
@with_output_types(int)
@dataclass(eq=False)
class WriteManifest(beam.PTransform):  # type: ignore[misc]
    """Collects the results of all shards and writes ``manifest.json``; yields the number of shards.

    Where features are declared, the output becomes a data set of TensorFlow Datasets.

    What was ignored it tells by numbers; examples by name are written to the audit trail.
    """

    output: OutputLayout
    description: JobDescription
    layout: Layout
    summary: InputSummary
    declaration: Declaration | None = None

    def expand(self, results: beam.PCollection[ShardResult]) -> beam.PCollection[int]:
        """Builds the graph."""
        given = self.output, self.description, self.layout, self.summary, self.declaration
        write = beam.Map(_write_manifest, *given)
        return (
            results
            # There is always a shard. The default for none would be a side input, whose size in memory Beam's worker
            # then finds out by looking through every module that is loaded: a second of a small job.
            | "CollectResults" >> beam.combiners.ToList().without_defaults()
            | "WriteManifest" >> write.with_output_types(int)
        )


def _write_manifest(
    results: list[ShardResult],
    output: OutputLayout,
    description: JobDescription,
    layout: Layout,
    summary: InputSummary,
    declaration: Declaration | None,
) -> int:
    manifest = build_manifest(results, description, layout, summary)
    storage.write_bytes(output.ignored_path, _json(summary.ignored_files))
    write_manifest(output.directory, manifest, declaration)
    return len(results)  # a path need not be UTF-8, as Beam wants its strings


def write_manifest(directory: str, manifest: dict[str, Any], declaration: Declaration | None = None) -> None:
    """Writes an output's manifest, which says that it is complete.

    Args:
        directory: the output.
        manifest: of it.
        declaration: of its features, where it is a data set of TensorFlow Datasets.

    Raises:
        AccessError: it cannot be written.
    """
    if declaration:
        splits: dict[str, list[tuple[int, int]]] = {split: [] for split in manifest["splits"]}
        for shard in manifest["shards"]:
            splits[shard["split"]].append((shard["records"], shard["bytes"]))
        write_info(directory, declaration, splits)
    storage.write_bytes(storage.join(directory, MANIFEST_NAME), _json(manifest))


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode() + b"\n"


def read_manifest(directory: str) -> dict[str, Any] | None:
    """The manifest of an output, None where it is not complete.

    Raises:
        AccessError: storage cannot be reached.
        ValueError: the file there is no manifest of schema 1.
    """
    path = storage.join(directory, MANIFEST_NAME)
    if not storage.exists(path):
        return None
    try:
        manifest: dict[str, Any] = json.loads(storage.read_bytes(path))
        schema = manifest["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: is no manifest of faceveil") from error
    if schema != 1:
        raise ValueError(f"{path}: has schema {schema}, this version knows 1")
    return manifest
