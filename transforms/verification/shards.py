"""One shard of an output through all checks: its files, its rows, its records."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from faceveil.transforms.codecs.accounting import Unaccounted
from faceveil.transforms.codecs.strip import strip
from faceveil.transforms.formats.audit import Stamp, read_placed_rows, read_stamp
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.runtime.memory import out_of_memory_errors
from faceveil.transforms.runtime.sandbox import Sandbox
from faceveil.transforms.shard.detect import DecodedImage, batch_like_shaped
from faceveil.transforms.shard.read import Source
from faceveil.transforms.shard.record import Batch, Outcome, Record, in_order, quarantined
from faceveil.transforms.shard.shard_format import SHARD_FORMATS
from faceveil.transforms.shard.worker import Anonymization, RecordSandbox, Worker
from faceveil.transforms.verification.findings import (
    FindingsFile,
    OutputFinding,
    Problem,
    ShardFindings,
    read_findings_stamp,
)
from faceveil.transforms.verification.reading import READERS, ShardReading, WrittenShard, file_sha256, files_sha256
from faceveil.transforms.verification.records import (
    CheckedRecord,
    Expected,
    SeenRecord,
    UncheckedRecord,
    check_record,
    source_of,
)


def verify_shard(
    shard: WrittenShard,
    output: OutputLayout,
    findings: OutputLayout,
    worker: Worker,
    expected: Expected,
    digest: str,
    on_record: Callable[[CheckedRecord], None],
    alone: bool = False,
    sandbox: RecordSandbox | None = None,
) -> ShardFindings:
    """Looks at one shard, and writes what it finds.

    Args:
        shard: the shard.
        output: where it lies.
        findings: where what is found is written.
        worker: the detector and the threads.
        expected: what the job has said.
        digest: of all that decides about what is found, but for the shard.
        on_record: called with each record when it is done.
        alone: whether one record is looked at at a time, for want of memory.
        sandbox: where records are tried first that may crash this process, see ``trial_sandbox``.

    Raises:
        AccessError: storage cannot be reached, or the findings not be written.
        OutOfMemoryError: memory ran out, with one record at a time too.
    """
    result = ShardFindings(shard.name, shard.split)
    rows = FindingsFile(shard.split)
    reading = ShardReading()

    def note(found: list[OutputFinding]) -> None:
        for finding in found:
            rows.add(finding)
        result.count(found)

    trail = _trail(shard, output, reading) if expected.has_rows else None
    records = READERS[output.format](shard, output, trail is not None, reading, worker)
    with out_of_memory_errors():
        # Where nobody knows the masks, what is found in them would count.
        told = replace(expected, looks=expected.looks and trail is not None)
        for checked in _checked(records, worker, told, alone, sandbox):
            result.records += 1
            result.images += checked.images
            note(checked.findings)
            on_record(checked)
    _compare(shard, trail, reading)
    for problem in reading.problems:
        note([problem])
    engines = worker.detector.engines
    result.engine = ", ".join(sorted({engine.name for engine in engines}))
    result.precision = ", ".join(sorted({engine.precision for engine in engines}))
    result.device = ", ".join(sorted({engine.device for engine in engines}))
    audit = file_sha256(output.audit_path(shard.name)) if expected.has_rows else ""
    identity = _identity(shard, digest, reading.sha256, audit)
    rows.publish(findings.audit_path(shard.name), identity, result)
    return result


def verified_before(
    shard: WrittenShard, output: OutputLayout, findings: OutputLayout, expected: Expected, digest: str
) -> ShardFindings | None:
    """What an earlier run has found in a shard, if the shard is still the same to the byte; else None.

    Takes what ``verify_shard`` does.
    """
    if shard.chosen is not None:
        return None
    found = read_findings_stamp(findings.audit_path(shard.name))
    if found is None or not found[0].startswith(f"{digest}:"):
        return None
    audit = file_sha256(output.audit_path(shard.name)) if expected.has_rows else ""
    has_files = SHARD_FORMATS[output.format].has_files
    content = files_sha256(shard, output) if has_files else file_sha256(output.shard_path(shard.name))
    return found[1] if found[0] == _identity(shard, digest, content, audit) else None


def _identity(shard: WrittenShard, digest: str, content: str, audit: str) -> str:
    said = f"{shard.records} {shard.faces} {shard.bytes} {shard.sha256}"
    return f"{digest}:{hashlib.sha256(f'{said} {content} {audit}'.encode()).hexdigest()}"


def _trail(shard: WrittenShard, output: OutputLayout, reading: ShardReading) -> Stamp | None:
    """What the audit trail says of a shard, if it has rows of it."""
    path = output.audit_path(shard.name)
    try:
        stamp = read_stamp(path)
        if stamp is not None:
            deque(read_placed_rows(path), maxlen=0)  # or damage would be found among records
            return stamp
        why = "is not there"
    except (ValueError, OSError, LookupError, TypeError) as error:
        why = f"cannot be read: {error}"
    reading.say(Problem.MISSING_ROWS, f"{shard.name}.parquet of the audit trail {why}")
    return None


def _compare(shard: WrittenShard, trail: Stamp | None, reading: ShardReading) -> None:
    """Whether a shard that was read as a whole is the one that the manifest and its rows tell of."""
    if trail is not None:
        told = trail.result
        there = told.records - told.quarantined, told.faces, told.bytes, told.sha256
        if there != (shard.records, shard.faces, shard.bytes, shard.sha256):
            reading.say(Problem.CHANGED_FILE, "the audit trail tells of another shard than the manifest")
    if shard.chosen is not None:
        return
    if reading.records != shard.records:
        reading.say(Problem.WRONG_COUNT, f"{reading.records} records, the manifest says {shard.records}")
    if reading.sha256 and reading.sha256 != shard.sha256:
        sizes = f"{reading.bytes} bytes, {shard.bytes} were written"
        reading.say(Problem.CHANGED_FILE, f"it is not what was written: its SHA-256 is {reading.sha256[:16]}…; {sizes}")


def _checked(
    records: Iterable[UncheckedRecord], worker: Worker, expected: Expected, alone: bool, sandbox: RecordSandbox | None
) -> Iterator[CheckedRecord]:
    """Takes records through all steps: decode, detect, check; they come out in their order."""
    waiting: deque[UncheckedRecord] = deque()
    max_bytes = worker.config.limits.max_image_bytes

    def sources() -> Iterator[Source | Outcome]:
        for record in records:
            waiting.append(record)
            yield source_of(record, expected, max_bytes)

    pooled = functools.partial(worker.pool.map, alone=alone)
    decoded = pooled(functools.partial(_decoded, worker=worker, sandbox=sandbox), sources())
    detected = in_order(pooled(worker.detect, batch_like_shaped(decoded, worker.detector.batch_size)))
    seen = (SeenRecord(waiting.popleft(), item) for item in detected)
    return pooled(functools.partial(check_record, expected=expected), seen)


def _decoded(source: Source | Outcome, worker: Worker, sandbox: RecordSandbox | None) -> Record[DecodedImage] | Outcome:
    if sandbox and isinstance(source, Source):
        try:
            sandbox.run(source, source.key)
        except Quarantine as error:
            return quarantined(source.key, error)
    decoded = worker.decode(source)
    if isinstance(decoded, Source):
        return quarantined(decoded.key, Quarantine(Reason.NOT_AN_IMAGE, "it holds records"))
    return decoded


def trial_sandbox(config: Anonymization, threads: int) -> RecordSandbox:
    """A process in which records that may crash this one are tried; it is not started yet.

    Args:
        config: how the detector looks.
        threads: how many records are tried at once.
    """
    return Sandbox(functools.partial(_prepare_trial, config), threads, config.limits.image_timeout)


def _prepare_trial(config: Anonymization) -> Callable[[Source], Outcome | Source]:
    return functools.partial(_try, worker=Worker(config))


def _try(source: Source, worker: Worker) -> Outcome | Source:
    """Does with a record what may end its process."""
    decoded = worker.decode(source)
    if isinstance(decoded, Record):
        [detected] = worker.detect(Batch([decoded], [0])).items
        for image in detected.images if isinstance(detected, Record) else ():
            with contextlib.suppress(Unaccounted, Quarantine):
                strip(image.data, image.info, faultless=image.faultless)
    return source
