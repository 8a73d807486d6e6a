"""What the launcher asks of Dataflow, and what it does not even ask for."""

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from apache_beam.internal.gcp import auth
from apache_beam.io.filesystems import FileSystems

from faceveil.pipeline.cli import main
from faceveil.pipeline.lock import lock_path
from faceveil.transforms import storage
from tests.conftest import ROOT
from tests.dataflow.cloud import BUCKET, PROJECT, REGION, Cloud, running_cloud
from tests.dataflow.service import Job

IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/faceveil/worker:1"
GS = f"gs://{BUCKET}"
FLEXRS = ("--flexrs_goal=COST_OPTIMIZED",)
GPU = "worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Iterator[Cloud]:
    """A service that takes jobs and never gets to them."""
    with running_cloud(tmp_path_factory.mktemp("cloud")) as cloud, pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.environment.items():
            patch.setenv(name, value)
        # Beam keeps the first credentials that a process finds.
        patch.setattr(auth._Credentials, "_credentials_init", False)
        cloud.upload(photos / "things", "photos")
        yield cloud
    FileSystems.set_options(None)


@dataclass(frozen=True)
class Submitted:
    """A job that was submitted, and what the command has printed."""

    job: Job
    printed: str


@pytest.fixture(scope="module")
def submitted(cloud: Cloud) -> Submitted:
    """From configs/dataflow.yaml, to GS/out."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert launch(cloud) == 0
    return Submitted(last_job(cloud), printed.getvalue())


def launch(cloud: Cloud, *flags: str, config: str = "dataflow.yaml", output: str = f"{GS}/out") -> int:
    given = ["--config", str(ROOT / "configs" / config), "--input", f"{GS}/photos/**", "--output", output]
    where = [f"--project={PROJECT}", f"--region={REGION}", f"--dataflow_endpoint={cloud.dataflow.endpoint}"]
    return main(["run", *given, *where, *(flags or usual_flags())])


def usual_flags() -> list[str]:
    return [f"--temp_location={GS}/temp", f"--sdk_container_image={IMAGE}", "--no_wait"]


def last_job(cloud: Cloud) -> Job:
    return list(cloud.dataflow.jobs.values())[-1]


def test_where_the_job_is_and_how_to_cancel_it_is_told(submitted: Submitted) -> None:
    job, printed = submitted.job, submitted.printed
    assert printed.startswith(f"Dataflow job {job.id}\n")
    assert f"https://console.cloud.google.com/dataflow/jobs/{REGION}/{job.id}?project={PROJECT}" in printed
    assert f"gcloud dataflow jobs cancel {job.id} --project {PROJECT} --region {REGION}" in printed
    # Airflow's operators look for this, and read no further.
    assert printed.endswith(f"\nCreated job with id: [{job.id}]\n")


def test_machines_without_gpus_are_asked_for(submitted: Submitted) -> None:
    job = submitted.job
    assert job.request["type"] == "JOB_TYPE_BATCH"
    assert job.request["labels"] == {"application": "faceveil"}
    pool = job.pool
    assert pool["machineType"] == "n2-standard-8"
    assert pool["workerHarnessContainerImage"] == IMAGE
    assert [image["containerImage"] for image in pool["sdkHarnessContainerImages"]] == [IMAGE]
    assert pool["numThreadsPerWorker"] == 2
    assert pool["autoscalingSettings"] == {
        "algorithm": "AUTOSCALING_ALGORITHM_BASIC",
        "maxNumWorkers": 20,
    }
    environment = job.request["environment"]
    assert {
        "no_use_multiple_sdk_containers",
        "use_runner_v2",
        "min_cpu_platform=Intel Ice Lake",
    } <= set(environment["experiments"])
    assert "use_multiple_sdk_containers" not in environment["experiments"]
    assert environment.get("serviceOptions", []) == []
    # With an image of our own nothing has to be installed when a worker starts.
    assert [package["name"] for package in pool.get("packages", [])] == ["submission_environment_dependencies.txt"]
    assert job.options["sdk_location"] == "default"


@pytest.mark.usefixtures("submitted")
def test_the_models_are_staged(cloud: Cloud, default_detector: tuple[str, ...]) -> None:
    staged = cloud.files("temp")
    models = [name for name in staged if name.startswith("faceveil-models/") and name.endswith("/saved_model.pb")]
    expected = {(Path(folder) / "saved_model.pb").read_bytes() for folder in default_detector}
    assert {staged[name] for name in models} == expected


def test_no_credentials_leave_this_machine(cloud: Cloud, submitted: Submitted) -> None:
    job = submitted.job
    account = json.loads(Path(cloud.environment["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())
    assert job.headers["authorization"] == "Bearer a-token"
    told = {"the request": json.dumps(job.request).encode(), **cloud.files("temp"), **cloud.files("out")}
    for secret in ("a-token", account["private_key"].splitlines()[1], "credentials.json"):
        assert [name for name, content in told.items() if secret.encode() in content] == []


def test_gpus_are_asked_for(cloud: Cloud) -> None:
    # On whatever engine: which machines are asked for does not depend on it, and TensorFlow takes long to load.
    assert launch(cloud, *usual_flags(), "--engine=openvino", config="dataflow_gpu.yaml", output=f"{GS}/gpu") == 0
    job = last_job(cloud)
    assert job.pool["machineType"] == "g2-standard-8"
    assert job.pool["diskType"].endswith("pd-balanced")
    assert job.request["environment"]["serviceOptions"] == [GPU]
    assert "no_use_multiple_sdk_containers" in job.request["environment"]["experiments"]


def test_a_job_that_was_left_running_keeps_its_output(
    cloud: Cloud, submitted: Submitted, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, jobs = submitted.job, list(cloud.dataflow.jobs)
    waiting = usual_flags()[:-1]
    assert launch(cloud, *waiting) == 4
    told = capsys.readouterr().err
    assert f"Dataflow job {job.id} is writing to it" in told
    assert f"gcloud dataflow jobs cancel {job.id}" in told
    with monkeypatch.context() as refusing:
        refusing.setattr(cloud.dataflow, "refusal", (403, "PERMISSION_DENIED"))
        assert launch(cloud) == 5
    assert "may still be writing there; its state is unknown" in capsys.readouterr().err
    assert launch(cloud, *usual_flags(), "--method=pixelate") == 4
    assert f"Dataflow job {job.id} is writing to it" in capsys.readouterr().err
    # Nothing but the very job that runs can be submitted again: it is told as it was the first time.
    assert launch(cloud) == 0
    assert capsys.readouterr().out == submitted.printed
    assert list(cloud.dataflow.jobs) == jobs
    job.state = "JOB_STATE_CANCELLED"
    assert launch(cloud) == 0
    assert last_job(cloud) is not job


@pytest.mark.parametrize(
    ("shards", "flags", "workers"),
    [(3, [], 2), (3, ["--max_num_workers=1"], 1), (1, [], 1), (3, ["--num_workers=7", "--max_num_workers=9"], 7)],
)
def test_a_job_begins_with_a_machine_for_every_two_shards(
    cloud: Cloud, shards: int, flags: list[str], workers: int
) -> None:
    output = f"{GS}/workers-{workers}-{shards}"
    assert launch(cloud, *usual_flags(), f"--num_shards={shards}", *flags, output=output) == 0
    assert last_job(cloud).pool["numWorkers"] == workers


def test_the_service_itself_refuses_a_second_job_on_an_output(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    output = f"{GS}/twice"
    assert launch(cloud, output=output) == 0
    job = last_job(cloud)
    assert job.request["name"].startswith("faceveil-")
    storage.delete([lock_path(output)])  # as if the other machine's had not been seen yet
    capsys.readouterr()
    assert launch(cloud, output=output) == 4
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"faceveil: {output}: a Dataflow job named {job.request['name']} is active already")
    assert last_job(cloud) is job
    job.state = "JOB_STATE_CANCELLED"
    assert launch(cloud, output=output) == 0
    assert last_job(cloud).request["name"] == job.request["name"]


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        ([f"--sdk_container_image={IMAGE}"], 2, "--temp_location: is required with Dataflow"),
        (["--temp_location=/tmp/x", f"--sdk_container_image={IMAGE}"], 2, "must be in Cloud Storage"),
        ([f"--temp_location={GS}/temp"], 2, "--sdk_container_image: is required with Dataflow"),
        ([f"--temp_location={GS}/temp", "--setup_file=missing/setup.py"], 2, "missing/setup.py: there is no such file"),
        ([*usual_flags(), "--region="], 2, "--region: is required with Dataflow"),
        ([*usual_flags(), "--project="], 2, "--project: is required with Dataflow"),
        ([*usual_flags(), "--project=12345"], 2, "not project number"),
        ([*usual_flags(), "--job_name=A_Name"], 2, "Invalid job_name"),
        ([*usual_flags(), *FLEXRS, f"--dataflow_service_options={GPU}"], 2, "--flexrs_goal COST_OPTIMIZED: "),
        ([*usual_flags(), *FLEXRS, f"--experiments={GPU}"], 2, f"no machines with GPUs; leave out it or {GPU}"),
        ([*usual_flags(), "--machine_typ=n2"], 2, "did you mean machine_type"),
        ([*usual_flags(), "--input=photos/**"], 2, "--input photos/**: is on this machine"),
        ([*usual_flags(), "--records_output=records"], 2, "--records_output records: is on this machine"),
        ([*usual_flags(), f"--model={GS}/no/model"], 5, f"{GS}/no/model"),
        ([*usual_flags(), "--output=gs://no-such-bucket/out"], 5, "gs://no-such-bucket"),
        ([*usual_flags(), "--temp_location=gs://no-such-bucket/temp"], 5, "gs://no-such-bucket"),
        ([*usual_flags(), "--staging_location=gs://no-such-bucket/staging"], 5, "gs://no-such-bucket"),
        ([*usual_flags(), "--input=gs://no-such-bucket/**"], 5, "gs://no-such-bucket"),
    ],
)
def test_mistakes_are_found_before_anything_is_submitted(
    cloud: Cloud, capsys: pytest.CaptureFixture[str], flags: list[str], status: int, message: str
) -> None:
    before = list(cloud.dataflow.jobs)
    assert launch(cloud, *flags, output=f"{GS}/other") == status
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("faceveil: ")]
    assert message in line
    assert list(cloud.dataflow.jobs) == before


@pytest.mark.parametrize("flags", [[], ["--runner=DirectRunner"]])
def test_only_dataflow_can_be_left_alone(flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--input", "*.jpg", "--output", str(tmp_path), "--no_wait", *flags]) == 2
    assert "--no_wait: goes with --runner DataflowRunner" in capsys.readouterr().err
