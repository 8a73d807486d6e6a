"""The PTransforms that look at the shards of an output again, and add up what they find."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.typehints import with_input_types, with_output_types
from apache_beam.utils.shared import Shared

from faceveil.transforms import storage
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.metrics import NAMESPACE
from faceveil.transforms.shard.attempt import attempt_marker
from faceveil.transforms.shard.progress import ProgressFile
from faceveil.transforms.shard.worker import Anonymization, RecordSandbox, Worker
from faceveil.transforms.verification import Action
from faceveil.transforms.verification.findings import ShardFindings, read_outside
from faceveil.transforms.verification.mend import Mended, is_as_told, mend_shard, settle
from faceveil.transforms.verification.mend_record import Mending
from faceveil.transforms.verification.reading import WrittenShard
from faceveil.transforms.verification.records import CheckedRecord, Expected
from faceveil.transforms.verification.shards import trial_sandbox, verified_before, verify_shard
from faceveil.transforms.verification.summary import sum_findings

_LOGGER = logging.getLogger(__name__)


@with_input_types(WrittenShard)
@with_output_types(ShardFindings)
@dataclass(eq=False)
class VerifyShards(beam.PTransform):  # type: ignore[misc]
    """Looks at every shard again, unless an earlier run has and the shard is the same, and yields what it finds.

    Attributes:
        config: which detector looks, and how; nothing is anonymized.
        output: what is looked at.
        findings: where what is found is written, a file for each shard.
        expected: what the job has said of its records.
        digest: of all that decides about what is found.
        run: identifies this run of the job, restarts after crashes included.
        progress_directory: where local workers tell how far they are; None elsewhere.
    """

    config: Anonymization
    output: OutputLayout
    findings: OutputLayout
    expected: Expected
    digest: str
    run: str = ""
    progress_directory: str | None = None
    _shared: Shared = field(default_factory=Shared, repr=False)

    def expand(self, shards: beam.PCollection[WrittenShard]) -> beam.PCollection[ShardFindings]:
        """Builds the graph."""
        return shards | "Spread" >> beam.Reshuffle() | "VerifyShard" >> beam.ParDo(_VerifyShardDoFn(self))

    def load(self) -> Worker:
        """Loads the model into this process, where a local run will then find it.

        Raises:
            ModelError: the model cannot be loaded.
        """
        worker: Worker = self._shared.acquire(functools.partial(Worker, self.config))
        return worker


@with_input_types(WrittenShard)
@with_output_types(ShardFindings)
class _VerifyShardDoFn(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: VerifyShards) -> None:
        self._job = job
        self._records = Metrics.counter(NAMESPACE, "verified")
        self._faces = Metrics.counter(NAMESPACE, "residual_faces")

    def setup(self) -> None:
        """Gets the process's model and threads."""
        self._worker = self._job.load()
        self._progress = ProgressFile(self._job.progress_directory)
        self._sandbox: RecordSandbox | None = None

    def process(self, shard: WrittenShard) -> Iterator[ShardFindings]:
        """Looks at one shard, or finds that it was looked at."""
        job = self._job
        places = shard, job.output, job.findings
        found = verified_before(*places, job.expected, job.digest)
        if found is not None:
            self._progress.resumed(found.records, found.residual_faces, found.problem_records)
        else:
            tried = self._sandbox is not None
            with attempt_marker(job.findings, shard.name, job.run, tried) as care:
                if care.tried and not self._sandbox:
                    _LOGGER.warning("%s: an earlier attempt crashed; records are tried in a sandbox", shard.name)
                    self._sandbox = trial_sandbox(job.config, self._worker.pool.threads)
                sandbox = self._sandbox if care.tried else None
                said = job.expected, job.digest, self._count
                found = verify_shard(*places, self._worker, *said, care.alone, sandbox)
        yield found

    def finish_bundle(self) -> None:
        """Ends the sandbox, if there was a reason for one."""
        self.teardown()

    def teardown(self) -> None:
        """Ends the sandbox of a bundle that has failed."""
        if self._sandbox:
            self._sandbox.end()
            self._sandbox = None

    def _count(self, record: CheckedRecord) -> None:
        faces = sum(len(finding.faces) for finding in record.findings)
        self._records.inc()
        self._faces.inc(faces)
        self._progress.count(record.residual_row)


@with_input_types(ShardFindings)
@with_output_types(int)
@dataclass(eq=False)
class WriteFindings(beam.PTransform):  # type: ignore[misc]
    """Adds up what was found in all shards and writes it; yields the number of shards.

    Attributes:
        path: where it is written.
        said: what is known before any shard is looked at.
    """

    path: str
    said: dict[str, Any]

    def expand(self, results: beam.PCollection[ShardFindings]) -> beam.PCollection[int]:
        """Builds the graph."""
        # As for the manifest, a default for no shards would cost a look through every module that is loaded.
        collected = results | "CollectFindings" >> beam.combiners.ToList().without_defaults()
        return collected | "WriteFindings" >> beam.Map(_write, self.path, self.said).with_output_types(int)

    def write(self, results: list[ShardFindings]) -> None:
        """Writes it without a pipeline.

        Raises:
            AccessError: it cannot be written.
        """
        _write(results, self.path, self.said)


def _write(results: list[ShardFindings], path: str, said: dict[str, Any]) -> int:
    storage.write_bytes(path, json.dumps(sum_findings(results, said), indent=2).encode() + b"\n")
    return len(results)


@with_output_types(int)
@dataclass(eq=False)
class VerifyOutput(beam.PTransform):  # type: ignore[misc]
    """The whole job, from the shards to what was found in all; takes a pipeline's start.

    Attributes:
        shards: that are looked at; at least one.
        verify: what looks at them.
        write: what adds up.
    """

    shards: Sequence[WrittenShard]
    verify: VerifyShards
    write: WriteFindings

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[int]:
        """Builds the graph."""
        shards = begin | "Shards" >> beam.Create(list(self.shards), reshuffle=False)
        return shards | "VerifyShards" >> self.verify | "WriteFindings" >> self.write


@with_input_types(WrittenShard)
@with_output_types(Mended)
@dataclass(eq=False)
class MendShards(beam.PTransform):  # type: ignore[misc]
    """Mends shards in which faces were found outside the masks, and yields what was done to each.

    Attributes:
        verify: what has found them.
        mending: how.
    """

    verify: VerifyShards
    mending: Mending

    def expand(self, shards: beam.PCollection[WrittenShard]) -> beam.PCollection[Mended]:
        """Builds the graph."""
        return shards | "Spread" >> beam.Reshuffle() | "MendShard" >> beam.ParDo(_MendShardDoFn(self))


@with_input_types(WrittenShard)
@with_output_types(Mended)
class _MendShardDoFn(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: MendShards) -> None:
        self._job = job

    def setup(self) -> None:
        """Gets the process's model and threads."""
        self._worker = self._job.verify.load()

    def process(self, shard: WrittenShard) -> Iterator[Mended]:
        """Mends one shard, unless an attempt of before has."""
        mending = self._job.mending
        settle(shard.name, mending)
        if is_as_told(shard, mending):
            outside = read_outside(mending.findings.audit_path(shard.name))
            yield mend_shard(shard, outside, mending, self._worker)


@with_input_types(Mended)
@with_output_types(int)
@dataclass(eq=False)
class WriteMended(beam.PTransform):  # type: ignore[misc]
    """Adds to the file of results what was done; yields the number of shards.

    Attributes:
        path: of that file.
        action: what was asked for.
    """

    path: str
    action: Action

    def expand(self, results: beam.PCollection[Mended]) -> beam.PCollection[int]:
        """Builds the graph."""
        collected = results | "CollectMended" >> beam.combiners.ToList().without_defaults()
        return collected | "WriteMended" >> beam.Map(_add_mended, self.path, self.action).with_output_types(int)


def _add_mended(results: list[Mended], path: str, action: Action) -> int:
    content = json.loads(storage.read_bytes(path))
    totals = {name: sum(getattr(mended, name) for mended in results) for name in ("records", "faces", "failed")}
    content["mended"] = {"action": action, **totals}
    storage.write_bytes(path, json.dumps(content, indent=2).encode() + b"\n")
    return len(results)


@with_output_types(int)
@dataclass(eq=False)
class MendOutput(beam.PTransform):  # type: ignore[misc]
    """The whole job of mending; takes a pipeline's start.

    Attributes:
        shards: that are mended; at least one.
        mend: what does it.
        write: what adds up.
    """

    shards: Sequence[WrittenShard]
    mend: MendShards
    write: WriteMended

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[int]:
        """Builds the graph."""
        shards = begin | "Shards" >> beam.Create(list(self.shards), reshuffle=False)
        return shards | "MendShards" >> self.mend | "WriteMended" >> self.write
