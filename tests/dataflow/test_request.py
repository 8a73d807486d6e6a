"""What the launcher asks of Dataflow, and what it does not even ask for."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apache_beam.internal.gcp import auth
from apache_beam.io.filesystems import FileSystems

from pipeline import lock
from pipeline.cli import main
from tests.conftest import ROOT
from tests.dataflow.cloud import BUCKET, PROJECT, REGION, Cloud, running_cloud

IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/faceveil/worker:1"
GS = f"gs://{BUCKET}"


@pytest.fixture
def cloud(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A service that takes jobs and never gets to them."""
    with running_cloud(tmp_path) as cloud:
        for name, value in cloud.environment.items():
            monkeypatch.setenv(name, value)
        # Beam keeps the first credentials that a process finds.
        monkeypatch.setattr(auth._Credentials, "_credentials_init", False)
        cloud.upload(photos / "things", "photos")
        yield cloud
    FileSystems.set_options(None)


def launch(cloud: Cloud, *flags: str, config: str = "dataflow.yaml", output: str = f"{GS}/out") -> int:
    given = ["--config", str(ROOT / "configs" / config), "--input", f"{GS}/photos/**", "--output", output]
    where = [f"--project={PROJECT}", f"--region={REGION}", f"--dataflow_endpoint={cloud.dataflow.endpoint}"]
    return main(["run", *given, *where, *(flags or usual_flags())])


def usual_flags() -> list[str]:
    return [f"--temp_location={GS}/temp", f"--sdk_container_image={IMAGE}", "--no_wait"]


def only_job(cloud: Cloud) -> Any:
    [job] = cloud.dataflow.jobs.values()
    return job


def test_machines_without_gpus_are_asked_for(
    cloud: Cloud, centerface_int8: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch(cloud) == 0
    job = only_job(cloud)
    printed = capsys.readouterr().out
    assert job.id in printed
    assert f"https://console.cloud.google.com/dataflow/jobs/{REGION}/{job.id}?project={PROJECT}" in printed
    assert f"gcloud dataflow jobs cancel {job.id} --project {PROJECT} --region {REGION}" in printed
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
    staged = cloud.files("temp")
    [model] = [name for name in staged if name.startswith("faceveil-models/") and name.endswith("/saved_model.pb")]
    assert staged[model] == (Path(centerface_int8) / "saved_model.pb").read_bytes()


@pytest.mark.usefixtures("centerface")
def test_gpus_are_asked_for(cloud: Cloud) -> None:
    assert launch(cloud, config="dataflow_gpu.yaml") == 0
    job = only_job(cloud)
    assert job.pool["machineType"] == "g2-standard-8"
    assert job.pool["diskType"].endswith("pd-balanced")
    assert job.request["environment"]["serviceOptions"] == [
        "worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver"
    ]
    assert "no_use_multiple_sdk_containers" in job.request["environment"]["experiments"]


def test_no_credentials_leave_this_machine(cloud: Cloud) -> None:
    assert launch(cloud) == 0
    account = json.loads(Path(cloud.environment["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())
    job = only_job(cloud)
    assert job.headers["Authorization"] == "Bearer a-token"
    told = {"the request": json.dumps(job.request).encode(), **cloud.files("temp"), **cloud.files("out")}
    for secret in ("a-token", account["private_key"].splitlines()[1], "credentials.json"):
        assert [name for name, content in told.items() if secret.encode() in content] == []


def test_a_job_that_was_left_running_keeps_its_output(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch(cloud) == 0
    job = only_job(cloud)
    assert launch(cloud) == 4
    told = capsys.readouterr().err
    assert f"Dataflow job {job.id} is writing to it" in told
    assert f"gcloud dataflow jobs cancel {job.id}" in told
    job.state = "JOB_STATE_CANCELLED"
    assert launch(cloud) == 0
    assert len(cloud.dataflow.jobs) == 2
    # One that the service has forgotten does not run either.
    cloud.dataflow.jobs.clear()
    assert launch(cloud) == 0


def test_whether_a_job_has_ended_must_be_known(
    cloud: Cloud, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert launch(cloud) == 0
    broken = lock.read_lock(f"{GS}/out")
    assert broken
    assert broken["remote"]["id"] == only_job(cloud).id
    monkeypatch.setattr(cloud.dataflow, "refusal", (403, "PERMISSION_DENIED"))
    assert launch(cloud) == 5
    assert "whether it has ended cannot be told" in capsys.readouterr().err


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
        ([*usual_flags(), "--machine_typ=n2"], 2, "did you mean machine_type"),
        ([*usual_flags(), "--input=photos/**"], 2, "--input photos/**: is on this machine"),
        ([*usual_flags(), "--records_output=records"], 2, "--records_output records: is on this machine"),
        ([*usual_flags(), f"--model={GS}/no/model"], 5, f"{GS}/no/model"),
        ([*usual_flags(), "--output=gs://no-such-bucket/out"], 5, "gs://no-such-bucket"),
        ([*usual_flags(), "--temp_location=gs://no-such-bucket/temp"], 5, "gs://no-such-bucket"),
        ([*usual_flags(), "--input=gs://no-such-bucket/**"], 5, "gs://no-such-bucket"),
    ],
)
def test_mistakes_are_found_before_anything_is_submitted(
    cloud: Cloud, capsys: pytest.CaptureFixture[str], flags: list[str], status: int, message: str
) -> None:
    assert launch(cloud, *flags) == status
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("faceveil: ")]
    assert message in line
    assert cloud.dataflow.jobs == {}


def test_a_refusal_of_the_service_is_told(
    cloud: Cloud, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud.dataflow, "refusal", (403, "PERMISSION_DENIED"))
    assert launch(cloud) == 5
    assert "faceveil: Dataflow did not take the job: " in capsys.readouterr().err


@pytest.mark.parametrize("flags", [[], ["--runner=DirectRunner"]])
def test_only_dataflow_can_be_left_alone(flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--input", "*.jpg", "--output", str(tmp_path), "--no_wait", *flags]) == 2
    assert "--no_wait: goes with --runner DataflowRunner" in capsys.readouterr().err
