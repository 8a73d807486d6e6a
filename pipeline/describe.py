"""What a job is: everything that decides about its output, and one digest of it all."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from typing import Any

from faceveil.pipeline.detection import ResolvedModel
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.inputs.keys import KeyHash
from faceveil.transforms.inputs.shard_layout import Layout
from faceveil.transforms.inputs.summary import InputSummary
from faceveil.transforms.manifest import JobDescription

# Another release of these may decode, compute, mask or encode a little differently.
_VERSIONED = (
    "faceveil",
    "openvino",
    "tensorflow",
    "opencv-python-headless",
    "pillow",
    "pillow-heif",
    "simplejpeg",
    "pyarrow",
)
_LATER_VERSIONED = ("tensorflow-io",)
"""Told only where it is installed."""
LIMITS = ("max_pixels", "max_image_bytes")
"""Options that decide which images are quarantined and about nothing else."""
RAISABLE = (*LIMITS, "allow_label_maps")
"""Options that may be raised, but not lowered, when what was quarantined is tried again."""
_DECISIVE_OPTIONS = (
    *("method", "strength", "coverage", "margin", "shape"),
    *("score_threshold", "quality", "detect_size", "classes", "engine", "precision"),
    *("image_feature", "drop_features", "allow_features", "keep_metadata"),
    *LIMITS,
)
_LATER_OPTIONS = ("strict_features", "allow_label_maps", "copy_others", "tfds")
"""Told only where they are given, so that all other jobs are what they were before there were these options."""
ADDED = "added_shards"
"""Of a job that has been updated: by split, how many shards of images and of records each update has added."""
_BOX_OPTIONS = ("boxes", "boxes_mode", "box_classes")
"""Told only together, for the same reason."""


def describe_job(
    options: JobOptions,
    summary: InputSummary,
    layout: Layout,
    model: dict[str, Any],
    generator: ResolvedModel | None = None,
    boxes: dict[str, Any] | None = None,
    updated: bool = False,
    columns: Mapping[str, str] | None = None,
) -> JobDescription:
    """The job as its manifest and its lock file tell it.

    Args:
        options: the job's options.
        summary: what the inputs hold.
        layout: the shards.
        model: the detector's name and sha256.
        generator: what draws new faces, if any are drawn.
        boxes: the annotated boxes of a file, if there is one.
        updated: whether the output has taken in other inputs than it began with.
        columns: the types of features, where the output's format needs any.

    Returns:
        A description that is equal for two jobs exactly when their outputs are, on the same kind of CPU. Where the
        data lies does not count.
    """
    job: dict[str, Any] = {name: getattr(options, name) for name in _DECISIVE_OPTIONS}
    job["shape"] = options.geometry.shape
    job["shares_views"] = options.detector.shares_views
    if options.detector.verifies:
        job["verifies"] = True
    for name in _LATER_OPTIONS:
        if getattr(options, name):
            job[name] = True
    if options.format != "tfrecord":
        job["format"] = options.format
    if options.shard_compression != "none":
        job["compression"] = options.shard_compression
    if columns:
        job["columns"] = dict(columns)
    if options.boxes:
        job["boxes"] = boxes or {"feature": options.boxes}
        job["boxes_mode"], job["box_classes"] = options.boxes_mode, options.box_classes
    key_hash = options.key_hash
    job["hash_keys"] = key_hash.fingerprint if key_hash else None
    job["generator"] = generator and {"name": generator.name, "sha256": generator.sha256}
    if generator is not None and (salt := options.face_salt):
        job["fallback_method"] = options.fallback_method
        job["salt_fingerprint"] = KeyHash(salt).hashed("\0faces")
    job["versions"] = {name: _version(name) for name in _VERSIONED}
    job["versions"] |= {name: found for name in _LATER_VERSIONED if (found := _version(name))}
    job["inputs_digest"] = summary.digest
    first = {split: sizes for split, sizes in layout.items() if sizes.shards or not sizes.added}
    job["num_shards"] = {split: sizes.shards for split, sizes in first.items()}
    part_bytes = next((sizes.part_bytes for sizes in layout.values()), None)
    if any(sizes.tfrecord_shards for sizes in first.values()):
        job["tfrecord_shards"] = {split: sizes.tfrecord_shards for split, sizes in first.items()}
    if part_bytes:
        # Told only where files are divided, so that all other jobs are what they were before any were.
        job["part_bytes"] = part_bytes
    if updated:
        added = {
            split: [[more.image_shards, more.tfrecord_shards] for more in sizes.added]
            for split, sizes in layout.items()
        }
        job[ADDED] = added
    settings = {name: value for name, value in job.items() if name not in _RETRIED_WITH}
    job["settings_digest"] = _digest(settings, model)
    job["digest"] = _digest(job, model)
    # As JSON gives it back, so that it can be compared with what was written.
    return JobDescription(json.loads(json.dumps(job)), model)


def _digest(job: dict[str, Any], model: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps({"job": job, "model": model}, sort_keys=True).encode()).hexdigest()


def _version(name: str) -> str | None:
    """None for an extra that is not installed, which decides about the output too."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def differences(old: dict[str, Any], new: JobDescription) -> list[str]:
    """What another job's description says differently, one line each.

    Args:
        old: ``{"job": …, "model": …}`` from a lock file or a manifest.
        new: this job.

    Example usage::

        >>> old = {"job": {"method": "blur", "digest": "a"}, "model": {"name": "m"}}
        >>> differences(old, JobDescription({"method": "bar", "digest": "b"}, {"name": "m"}))
        ['method: blur there, bar here']
    """
    there, here = _told(old.get("job", {}), old.get("model")), _told(new.job, new.model)
    lines = []
    for name in differing(old, new):
        if name == "inputs_digest":
            lines.append("inputs: files were added, removed or changed")
        elif name == "versions":
            changed = {k: v for k, v in here[name].items() if (there.get(name) or {}).get(k) != v}
            lines.append(f"versions: other than {changed} there")
        elif name == "columns":
            lines.append(f"columns: {_differing_columns(there.get(name) or {}, here[name] or {})}")
        elif name == "num_shards":
            shards = f"{there.get(name)} there, {here[name]} here"
            lines.append(f"num_shards: {shards} (--num_shards and --shard_bytes decide)")
        else:
            lines.append(f"{name}: {there.get(name)} there, {here[name]} here")
    return lines


def _differing_columns(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    names = sorted(name for name in {*there, *here} if there.get(name) != here.get(name))
    told = [f"{name} is {there.get(name, 'missing')} there, {here.get(name, 'missing')} here" for name in names]
    return "; ".join(told) or "another order"


def differing(old: dict[str, Any], new: JobDescription) -> list[str]:
    """The names of what another job's description says differently; takes what ``differences`` does."""
    there, here = _told(old.get("job", {}), old.get("model")), _told(new.job, new.model)
    names = [name for name in here if name not in _NOT_COMPARED and there.get(name) != here[name]]
    if "hash_keys" in names and "inputs_digest" in names:
        names.remove("inputs_digest")  # keys count in it, so it differs anyway
    return names


def _told(job: dict[str, Any], model: object) -> dict[str, Any]:
    later = {**dict.fromkeys((*_LATER_OPTIONS, "verifies"), False), **dict.fromkeys((*_BOX_OPTIONS, "columns", ADDED))}
    return {**later, "format": "tfrecord", "compression": "none", **job, "model": model}


# A manifest names what the workers really used; a job that has not begun only what was asked for.
_NOT_COMPARED = ("digest", "settings_digest", "engine", "precision")
# What may be another when quarantined inputs are tried again: it does not change how any other record is made.
_RETRIED_WITH = ("inputs_digest", ADDED, *RAISABLE)
