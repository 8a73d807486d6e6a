"""Jobs on Google Cloud Dataflow: what is checked before one is submitted, and what is known of one that runs."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from apache_beam.internal.gcp.auth import get_service_credentials
from apache_beam.metrics import MetricsFilter
from apache_beam.metrics.metric import MetricResult
from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from apache_beam.runners.runner import PipelineResult
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import GoogleAPIError, NotFound
from google.auth.exceptions import GoogleAuthError
from google.cloud import dataflow

from faceveil.pipeline.lock import read_lock
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.pipeline.runners.remote_job import RemoteJob
from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError, OutputError
from faceveil.transforms.formats.audit import Status
from faceveil.transforms.inputs.inventory import is_inventory
from faceveil.transforms.inputs.paths import read_path_list
from faceveil.transforms.shard.progress import Progress

_PLANNED_BYTES = 4_000_000
"""Of plans, in a graph: the service takes 10 MB in all, as text."""
_NO_ANSWER = (GoogleAPIError, GoogleAuthError, OSError)
# By name: the client's own names would load all of it, which a run elsewhere has no need of (deferred.py).
_ENDED = frozenset(f"JOB_STATE_{name}" for name in ("DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED"))


def is_chosen(beam_options: PipelineOptions) -> bool:
    """Whether a job is to run on Dataflow.

    Example usage::

        >>> is_chosen(PipelineOptions(["--runner=DataflowRunner"])), is_chosen(PipelineOptions([]))
        (True, False)
    """
    runner = beam_options.view_as(StandardOptions).runner
    return runner is not None and runner.lower().removesuffix("runner") == "dataflow"


def check_planned(packed: Sequence[bytes]) -> None:
    """Refuses shards whose plans are too large to travel in the graph of a job.

    Raises:
        OptionError: they are.
    """
    nbytes = sum(map(len, packed))
    if nbytes > _PLANNED_BYTES:
        raise OptionError(
            f"--runner DataflowRunner: the plan of the {len(packed)} shards has {nbytes} bytes, and a job there "
            f"holds {_PLANNED_BYTES}; update with fewer new inputs at a time, or with another --runner"
        )


def check_options(options: JobOptions, beam_options: PipelineOptions) -> None:
    """Refuses what would fail only when the job is submitted, or on its workers.

    Sets the region where it can be found elsewhere, as Beam would, and a name that follows from the output.

    Raises:
        OptionError: naming the option and what it needs.
    """
    cloud = beam_options.view_as(GoogleCloudOptions)
    if not cloud.project:
        raise OptionError("--project: is required with Dataflow, the id of the Google Cloud project that pays")
    if not cloud.region:
        cloud.region = DataflowRunner().get_default_gcp_region()
    if not cloud.region:
        raise OptionError("--region: is required with Dataflow, such as europe-west4; best the one of the buckets")
    if not cloud.temp_location:
        raise OptionError("--temp_location: is required with Dataflow, a folder such as gs://bucket/temp")
    if not cloud.job_name:
        # So that the service itself refuses a second job on the same output.
        cloud.job_name = f"faceveil-{hashlib.sha256(options.output.encode()).hexdigest()[:16]}"
    _check_places(options, cloud)
    _check_worker_software(beam_options)
    _check_machines(beam_options)
    _check_with_beam(beam_options)


def _check_places(options: JobOptions, cloud: GoogleCloudOptions) -> None:
    for name in ("temp_location", "staging_location"):
        place = getattr(cloud, name)
        if place and not place.startswith("gs://"):
            raise OptionError(f"--{name} {place}: must be in Cloud Storage with Dataflow, such as gs://bucket/temp")
    places = [("input", given.pattern) for given in options.inputs]
    for given in options.inputs:
        if given.is_list and not storage.is_local(given.pattern) and not is_inventory(given.pattern):
            places += [("input", line) for line in read_path_list(given.pattern) if line]
    places += [("output", options.output), ("records_output", options.records_output or options.output)]
    for name, place in places:
        if storage.is_local(place):
            raise OptionError(f"--{name} {place}: is on this machine, where Dataflow's workers cannot reach it")


def _check_worker_software(beam_options: PipelineOptions) -> None:
    setup = beam_options.view_as(SetupOptions)
    if setup.setup_file and not os.path.isfile(setup.setup_file):
        raise OptionError(f"--setup_file {setup.setup_file}: there is no such file")
    image = beam_options.view_as(WorkerOptions).sdk_container_image
    if not (image or setup.setup_file or setup.extra_packages):
        raise OptionError(
            "--sdk_container_image: is required with Dataflow, an image made from configs/Dockerfile; or --setup_file "
            "./setup.py, which makes every worker install faceveil when it starts"
        )


def _check_machines(beam_options: PipelineOptions) -> None:
    cloud = beam_options.view_as(GoogleCloudOptions)
    asked = [*(cloud.dataflow_service_options or ()), *(beam_options.view_as(DebugOptions).experiments or ())]
    gpus = next((option for option in asked if option.startswith("worker_accelerator")), None)
    # The other goal is what a job without one has.
    if gpus and cloud.flexrs_goal == "COST_OPTIMIZED":
        raise OptionError(f"--flexrs_goal COST_OPTIMIZED: FlexRS has no machines with GPUs; leave out it or {gpus}")


def _check_with_beam(beam_options: PipelineOptions) -> None:
    """Beam's own checks of names and numbers, without those that ask the cloud."""
    validator = PipelineOptionsValidator(beam_options, DataflowRunner())
    cloud = beam_options.view_as(GoogleCloudOptions)
    errors = validator.validate_gcs_path(cloud, "temp_location")
    # What it says of endpoints is left out: it takes no address with a port.
    errors += [error for error in validator.validate_cloud_options(cloud) if "endpoint" not in error]
    errors += validator.validate_num_workers(beam_options.view_as(WorkerOptions))
    if errors:
        raise OptionError(errors[0].rstrip("."))


def start_with_enough_workers(beam_options: PipelineOptions, shards: int) -> None:
    """Has a job begin with a machine for every two shards, within ``--max_num_workers``.

    Dataflow adds machines by how fast the work goes, not by how many shards wait, and a shard is minutes of work that
    says nothing: what begins with one machine stays with it for long. ``--num_workers`` is left as the user has set it.

    Args:
        beam_options: where the number is set.
        shards: of the job.
    """
    pool = beam_options.view_as(WorkerOptions)
    if not pool.num_workers and pool.max_num_workers:
        pool.num_workers = max(1, min(pool.max_num_workers, -(-shards // 2)))


def submitted_job(result: PipelineResult, beam_options: PipelineOptions) -> RemoteJob:
    """The job behind what a pipeline's ``run`` gave back."""
    cloud = beam_options.view_as(GoogleCloudOptions)
    return RemoteJob(cloud.project, cloud.region, cloud.job_name, result.job_id() if result.has_job else None)


class ProgressReader:
    """Says how far a job is, by the counters of its workers; what it said last where the service does not answer."""

    def __init__(self, result: PipelineResult) -> None:
        self._result = result
        self._last = Progress()

    def __call__(self) -> Progress:
        """Asks the service."""
        with contextlib.suppress(*_NO_ANSWER):
            counters = self._result.metrics().query(MetricsFilter().with_namespace("faceveil"))["counters"]
            self._last = _add_up(counters)
        return self._last


def _add_up(counters: Iterable[MetricResult]) -> Progress:
    counts: Counter[str] = Counter()
    for counter in counters:
        # What is under way counts as well: a shard's records are committed together, minutes later.
        counts[counter.key.metric.name] += int(counter.attempted or counter.committed or 0)
    return Progress(
        records=counts["resumed"] + sum(counts[status] for status in Status if status is not Status.COPIED),
        faces=counts["faces"],
        quarantined=counts[Status.QUARANTINED],
        resumed=counts["resumed"],
    )


def running_job(directory: str, beam_options: PipelineOptions) -> RemoteJob | None:
    """The job on Dataflow, if any, that is writing to an output after the end of the command that submitted it.

    Raises:
        AccessError: its state is unknown.
    """
    lock = read_lock(directory)
    if not lock or not lock.get("remote"):
        return None
    job = RemoteJob(**lock["remote"])
    cloud = beam_options.view_as(GoogleCloudOptions)
    if cloud.template_location and cloud.job_name == job.name:
        return None  # a template's job runs while it is prepared, and no other can have its name then
    try:
        running = _is_running(job, beam_options)
    except _NO_ANSWER as error:
        raise AccessError(
            f"{directory}: Dataflow job {job.id or job.name} may still be writing there; its state is unknown: {error}"
        ) from error
    return job if running else None


def taken_by(job: RemoteJob, directory: str) -> OutputError:
    """What is said where a job on Dataflow is writing to an output."""
    how = f"; {job.cancel_command} ends it" if job.id else ""
    return OutputError(
        f"{directory}: Dataflow job {job.id or job.name} is writing to it{how}. See {job.console}; the same "
        "command tells the result when it has ended"
    )


def _is_running(job: RemoteJob, beam_options: PipelineOptions) -> bool:
    client = _jobs_client(beam_options)
    if job.id is None:
        request = dataflow.ListJobsRequest(
            project_id=job.project,
            location=job.region,
            filter=dataflow.ListJobsRequest.Filter.ACTIVE,
        )
        return any(listed.name == job.name for listed in client.list_jobs(request))
    try:
        found = client.get_job(dataflow.GetJobRequest(project_id=job.project, location=job.region, job_id=job.id))
    except NotFound:
        return False
    return found.current_state.name not in _ENDED


def _jobs_client(beam_options: PipelineOptions) -> Any:
    # The endpoint is this command's, never one that a file in a bucket names: it gets our credentials.
    endpoint = beam_options.view_as(GoogleCloudOptions).dataflow_endpoint
    local = "localhost" in endpoint
    return dataflow.JobsV1Beta3Client(
        credentials=get_service_credentials(beam_options),
        client_options=ClientOptions(api_endpoint=endpoint if local else endpoint.removeprefix("https://")),
        transport="rest" if local else None,
    )
