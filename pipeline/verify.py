"""Looking at an output again: what can be checked, the job that does it, and its result."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

import faceveil
from faceveil.pipeline.access import check_access
from faceveil.pipeline.audit_directory import check_disk, find_audit_directory, holds_audit_trail
from faceveil.pipeline.detection import ResolvedModel, detector_config, resolve_models
from faceveil.pipeline.ending import on_sudden_end
from faceveil.pipeline.lock import HeldLock, hold_lock, refuse_live
from faceveil.pipeline.mend import forget_mending, manifest_copy, mend_output, resume_mending
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.pipeline.prepare import check_runner
from faceveil.pipeline.progress_bar import Size, local_progress_bar
from faceveil.pipeline.restart import allow_restart, memory_shortages, run_id, want_restart
from faceveil.pipeline.runners.kinds import is_direct, processes, works_here
from faceveil.pipeline.runners.local import DirectRunner
from faceveil.pipeline.runners.staging import staged_models
from faceveil.pipeline.runners.submit import submit, wait
from faceveil.pipeline.verify_options import VerifyOptions
from faceveil.transforms import storage
from faceveil.transforms.anonymizers import SYNTHESIZE
from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.detectors.detector import DetectorConfig
from faceveil.transforms.detectors.quality import Quality
from faceveil.transforms.errors import AccessError, MemoryPressureError, WorkerDiedError
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.layout import (
    FINDINGS_NAME,
    MANIFEST_NAME,
    SAMPLE_NAME,
    OutputLayout,
    is_audit_file,
    shard_ending,
)
from faceveil.transforms.limits import Limits
from faceveil.transforms.manifest import read_manifest
from faceveil.transforms.runtime.child_process import safe_children
from faceveil.transforms.shard.worker import Anonymization
from faceveil.transforms.verification.findings import Problem
from faceveil.transforms.verification.mend_record import Mending
from faceveil.transforms.verification.reading import READERS, WrittenShard
from faceveil.transforms.verification.records import Expected
from faceveil.transforms.verification.residual import INSIDE
from faceveil.transforms.verification.summary import choose_records
from faceveil.transforms.verification.unaccounted import unaccounted_files
from faceveil.transforms.verify_shards import VerifyOutput, VerifyShards, WriteFindings

_LOGGER = logging.getLogger(__name__)

_LARGER = 4
"""What is written of an image may be so much larger than ``--max_image_bytes``, which is about what was read."""

_FACES = "faces"

_UNACCOUNTED = "_unaccounted.json"
_MAX_NAMED, _MAX_LOGGED = 10_000, 5
"""Files that no job has written, told by name in a file, and in the log."""

_SMALL = Quality(32)
"""How an image is shown to nobody: no larger than tells that it can be decoded."""


@dataclass(frozen=True)
class Verified:
    """An output that was looked at.

    Attributes:
        content: of the file of results.
        place: the folder of the findings by name.
    """

    content: dict[str, Any]
    place: str


@dataclass(frozen=True)
class _Output:
    """An output as its manifest tells it, and where it and its audit trail lie."""

    manifest: dict[str, Any]
    sha256: str
    layout: OutputLayout
    has_trail: bool
    is_whole: bool
    """Whether the manifest is there, and not gone while shards are mended."""

    @property
    def job(self) -> dict[str, Any]:
        job: dict[str, Any] = self.manifest["job"]
        return job

    @property
    def shards(self) -> list[WrittenShard]:
        ending = shard_ending(self.layout.format, self.layout.compression)
        return [
            WrittenShard(
                shard["name"] if "name" in shard else shard["file"].removesuffix(ending),
                *(shard[name] for name in ("split", "records", "faces", "bytes", "sha256")),
            )
            for shard in self.manifest["shards"]
        ]


def verify_output(options: VerifyOptions) -> Verified:
    """Looks at an output again, and writes what is found beside its audit trail.

    Raises:
        OptionError: there is no finished output, or nothing that could be checked.
        OutputError: a job is writing to the output, or another verify.
        AccessError: the output cannot be read, or changes, or the findings cannot be written.
        ModelError: a model cannot be loaded.
    """
    beam_options = PipelineOptions(list(options.beam_flags))
    check_access(options.detection, beam_options)
    storage.check_readable(options.output)
    refuse_live(options.output)
    output = _find_output(options)
    audit_directory = output.layout.audit_directory
    check_runner(beam_options, replace(options.detection, output=options.output, records_output=audit_directory))
    check_disk(output.layout.audit_directory)
    name = SAMPLE_NAME if options.sample else FINDINGS_NAME
    findings = replace(output.layout, audit_directory=storage.join(output.layout.audit_directory, name))
    with ExitStack() as stack:
        stack.enter_context(hold_lock(findings.audit_directory, on_sudden_end))
        lock = stack.enter_context(hold_lock(options.output, on_sudden_end)) if options.action else None
        if lock:
            output = _settled(options, output, findings)
        content = _look(options, beam_options, output, findings, lock)
    return Verified(content, findings.audit_directory)


def _settled(options: VerifyOptions, output: _Output, findings: OutputLayout) -> _Output:
    """The output when what a mending has left that was killed is put in order."""
    if output.is_whole:
        forget_mending(findings)
        return output
    resume_mending(_mending(options, output, findings), output.manifest)
    return _find_output(options)


def _look(
    options: VerifyOptions,
    beam_options: PipelineOptions,
    output: _Output,
    findings: OutputLayout,
    lock: HeldLock | None,
) -> dict[str, Any]:
    """Looks, mends if the output's lock is held for that, and returns the content of the file of results."""
    not_checked = _not_checked(output, options)
    looks = not any(why.startswith(_FACES) for why in not_checked)
    models = resolve_models(options.detection.detector.models) if looks else []
    second = options.second_opinion if looks else None
    others = resolve_models(second.detector.models) if second else []
    settings = _settings(output.job, options, models, others)
    said = {
        "manifest_sha256": output.sha256,
        "settings": settings,
        "looks_for_faces": looks,
        "not_checked": not_checked,
        "sample": _sample(output, options),
    }
    expected = Expected(_roles(output.job), _geometry(output.job), looks, output.has_trail)
    config = staged_models(_config(options, beam_options, output.job, models, others), beam_options)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    verify = VerifyShards(config, output.layout, findings, expected, digest, run_id())
    path = f"{findings.audit_directory}.json"
    storage.delete([path, *_old_findings(findings, output.shards, options.sample)])
    said["problems"] = _unaccounted(output, findings)
    _run(_chosen(output, options), verify, WriteFindings(path, said), beam_options)
    if _manifest_sha256(options.output) != output.sha256:
        raise AccessError(f"{options.output}: its manifest changed while it was looked at; run the same command again")
    content: dict[str, Any] = json.loads(storage.read_bytes(path))
    bare = {shard["name"] for shard in content["shards"] if shard["residual_records"]}
    if lock and bare:
        shards = [shard for shard in output.shards if shard.name in bare]
        mending = _mending(options, output, findings)
        mend_output(shards, verify, mending, output.manifest, lock, lambda job: _submit(job, beam_options))
        content = json.loads(storage.read_bytes(path))
    return content


def _mending(options: VerifyOptions, output: _Output, findings: OutputLayout) -> Mending:
    assert options.action
    job = output.job
    expected = Expected(_roles(job), _geometry(job), looks=True, has_rows=True)
    draws, with_given = job["method"] == SYNTHESIZE, "boxes" in job
    return Mending(options.action, output.layout, findings, job["method"], draws, with_given, expected)


def _find_output(options: VerifyOptions) -> _Output:
    """The output, if there is a finished one."""
    try:
        manifest = read_manifest(options.output)
    except ValueError as error:
        raise OptionError(str(error)) from error
    is_whole = manifest is not None
    manifest = manifest or _interrupted_mending(options)
    if manifest is None:
        raise OptionError(
            f"{options.output}: holds no {MANIFEST_NAME}, so no job has finished there; run it to its end"
        )
    if not is_whole and not options.action:
        raise OptionError(f"{options.output}: its mending was interrupted; go on with --fix or --drop")
    try:
        job, written = manifest["job"], manifest["job"].get("format", "tfrecord")
        if written not in READERS:
            known = ", ".join(READERS)
            raise OptionError(
                f"{options.output}: was written with --format {written}; verify knows {known}, so nothing was checked"
            )
        named = JobOptions(output=options.output, records_output=options.records_output, format=written)
        folder = find_audit_directory(named)
        has_trail = holds_audit_trail(folder)
        written_as = written, job.get("compression", "none"), job.get("columns") or {}
        layout = OutputLayout(options.output, folder, job["settings_digest"], *written_as)
        sha256 = _manifest_sha256(options.output) if is_whole else ""
        output = _Output(manifest, sha256, layout, has_trail, is_whole)
        _ = output.shards, _roles(job), _geometry(job)
    except (KeyError, TypeError) as error:
        raise OptionError(f"{options.output}: its {MANIFEST_NAME} lacks what this version needs: {error}") from error
    if not has_trail and written == "images":
        raise OptionError(
            f"{options.output}: there is no audit trail in {folder}, and nothing else says which images belong to it; "
            "--records_output names another place"
        )
    return output


def _interrupted_mending(options: VerifyOptions) -> dict[str, Any] | None:
    """The manifest of an output whose mending was interrupted."""
    folder = find_audit_directory(JobOptions(output=options.output, records_output=options.records_output))
    path = manifest_copy(folder)
    if not storage.exists(path):
        return None
    manifest: dict[str, Any] = json.loads(storage.read_bytes(path))
    return manifest


def _manifest_sha256(directory: str) -> str:
    try:
        return hashlib.sha256(storage.read_bytes(storage.join(directory, MANIFEST_NAME))).hexdigest()
    except OSError as error:
        raise AccessError(f"{directory}: its {MANIFEST_NAME} cannot be read: {error}") from error


def _not_checked(output: _Output, options: VerifyOptions) -> list[str]:
    """What cannot be checked, and why."""
    why = []
    if not output.has_trail:
        why.append(f"{_FACES}: there is no audit trail (--records_output), so nobody knows where masks are")
    elif output.job.get("boxes_mode") == "replace" and options.detection.model is None:
        why.append(
            f"{_FACES}: the job masked annotated boxes instead of detected faces; --model names what looks anyway"
        )
    if options.sample:
        why.append("checksums and counts of whole shards: --sample looks at some of their records")
    return why


def _settings(
    job: Mapping[str, Any], options: VerifyOptions, models: Sequence[ResolvedModel], others: Sequence[ResolvedModel]
) -> dict[str, Any]:
    """Everything that decides about what is found in a shard."""
    named = ("score_threshold", "quality", "detect_size", "classes", "engine", "precision")
    detection = options.detection
    return {
        "version": faceveil.__version__,
        "job": job["settings_digest"],
        "models": [{"name": model.name, "sha256": model.sha256} for model in models],
        "second_opinion": [{"name": model.name, "sha256": model.sha256} for model in others],
        "verifies": detection.detector.verifies,
        "shares_views": detection.detector.shares_views,
        **{name: getattr(detection, name) for name in named},
        "inside": INSIDE,
    }


def _roles(job: Mapping[str, Any]) -> FeatureRoles:
    images, dropped, allowed = (tuple(job[name]) for name in ("image_feature", "drop_features", "allow_features"))
    return FeatureRoles(images, dropped, allowed, job.get("strict_features", False), bool(job.get("hash_keys")))


def _geometry(job: Mapping[str, Any]) -> MaskGeometry:
    return MaskGeometry(job["coverage"], job["margin"], job["shape"])


def _config(
    options: VerifyOptions,
    beam_options: PipelineOptions,
    job: Mapping[str, Any],
    models: Sequence[ResolvedModel],
    others: Sequence[ResolvedModel],
) -> Anonymization:
    """How the detectors look, and how what they find is masked."""
    threshold = options.detection.score_threshold
    detector = detector_config(options.detection, [model.directory for model in models], threshold)
    if others:
        assert options.second_opinion
        second = detector_config(options.second_opinion, [model.directory for model in others], threshold)
        detector = replace(detector, second_opinion=second)
    if not models:
        detector = DetectorConfig((), quality=_SMALL)
    roles = _roles(job)
    return Anonymization(
        detector=detector,
        method=job["fallback_method"] if job["method"] == SYNTHESIZE else job["method"],
        style=Style(_geometry(job), job["strength"]),
        # The job's own features say nothing but numbers.
        features=FeatureRoles(roles.images, allowed=(*roles.allowed, *roles.written())),
        keep_metadata=tuple(job["keep_metadata"]),
        limits=Limits(job["max_pixels"], _LARGER * job["max_image_bytes"]),
        processes=processes(beam_options),
        allow_label_maps=job.get("allow_label_maps", False),
        memory_shortages=memory_shortages(),
        format=job.get("format", "tfrecord"),
        columns=job.get("columns") or {},
    )


def _sample(output: _Output, options: VerifyOptions) -> dict[str, int] | None:
    if options.sample is None:
        return None
    of = sum(shard.records for shard in output.shards)
    return {"records": min(options.sample, of), "of": of, "seed": options.seed}


def _chosen(output: _Output, options: VerifyOptions) -> list[WrittenShard]:
    """The shards that are looked at."""
    if options.sample is None:
        return output.shards
    chosen = choose_records(output.shards, options.sample, options.seed)
    return [replace(shard, chosen=chosen[shard.name]) for shard in output.shards if shard.name in chosen]


def _old_findings(findings: OutputLayout, shards: Sequence[WrittenShard], sample: int | None) -> list[str]:
    """Files of findings that no shard of today would replace, and what attempts that were killed have left."""
    kept = set() if sample else {findings.audit_path(shard.name) for shard in shards}
    there = [file.path for file in storage.list_folder(findings.audit_directory)]
    old = [path for path in there if is_audit_file(os.path.basename(path)) and path.endswith(".parquet")]
    unaccounted = storage.join(findings.audit_directory, _UNACCOUNTED)
    return [*(path for path in old if path not in kept), unaccounted, *storage.partial_files(findings.audit_directory)]


def _unaccounted(output: _Output, findings: OutputLayout) -> dict[str, int]:
    """Files in the output that no job has written, as problems; tells some of them by name."""
    layout = output.layout
    names = list(itertools.islice(unaccounted_files(layout, output.shards), _MAX_NAMED + 1))
    if not names:
        return {}
    content = json.dumps(names[:_MAX_NAMED], indent=2).encode() + b"\n"
    storage.write_bytes(storage.join(findings.audit_directory, _UNACCOUNTED), content)
    for name in names[:_MAX_LOGGED]:
        _LOGGER.warning("%s: no job has written it there", storage.join(layout.directory, name))
    return {Problem.UNACCOUNTED_FILE: len(names)}


def _run(
    shards: Sequence[WrittenShard], verify: VerifyShards, write: WriteFindings, beam_options: PipelineOptions
) -> None:
    if not shards:
        write.write([])
        return
    if not works_here(beam_options):
        _submit(VerifyOutput(shards, verify, write), beam_options)
        return
    verify.load()  # one that does not load is noticed now, and found loaded later
    allow_restart()
    records = sum(shard.records if shard.chosen is None else len(shard.chosen) for shard in shards)
    size = Size(records, sum(shard.bytes for shard in shards))
    with local_progress_bar(size) as (directory, _):
        told = replace(verify, progress_directory=directory)
        try:
            _submit(VerifyOutput(shards, told, write), beam_options)
        except (MemoryPressureError, WorkerDiedError) as error:  # a new process knows how careful it has to be
            want_restart(for_memory=isinstance(error, MemoryPressureError))
            raise


def _submit(job: beam.PTransform, beam_options: PipelineOptions) -> None:
    """Runs a job to its end."""
    runner = DirectRunner() if is_direct(beam_options) else None
    # Beam starts its workers with `python -m`, which would look for modules in the working folder first.
    with safe_children():
        wait(submit(job, beam_options, runner))
