"""The DAG's tasks on Dataflow, with stand-ins for the service and for Cloud Storage.

What a job's workers would do is done on this machine. The output has to be, byte for byte, that of the command.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.clusters import jobs
from tests.conftest import ROOT
from tests.dataflow.cloud import BUCKET, PROJECT, REGION, Cloud, running_cloud
from tests.dataflow.rpc import JobRpc, serving_rpc
from tests.dataflow.service import Job

GS = f"gs://{BUCKET}"
VARIABLES = {
    "project": PROJECT,
    "region": REGION,
    "temp_location": f"{GS}/temp",
    "image": f"{REGION}-docker.pkg.dev/{PROJECT}/faceveil/worker:1",
    "template": f"{GS}/templates/faceveil.json",
    "service_account": f"workers@{PROJECT}.iam.gserviceaccount.com",
}
OPTIONS = {"num_shards": jobs.SHARDS, "quality": "fast"}
_WAIT_SECONDS = 120
_FEW = 80
"""Photos, where what is checked is how a job is found again, and each takes requests to the emulator."""
Command = Callable[..., str]
"""Runs a program of Airflow's environment, with more environment variables; what it has printed."""


def check(command: Command, folder: Path, photos: Path, local: Path, count: int) -> None:
    """Runs the DAG on both.

    Args:
        command: of Airflow's environment.
        folder: for outputs and credentials.
        photos: the inputs.
        local: what the command has made of them.
        count: how many there are.
    """
    stand_ins = folder / "stand-ins"
    stand_ins.mkdir()
    workers = Workers(stand_ins)
    with running_cloud(stand_ins, workers) as cloud, serving_rpc(cloud.dataflow) as rpc:
        workers.cloud, workers.rpc = cloud, rpc
        service = Service(command, cloud, rpc)
        _check_template(service, f"{photos}/*", folder / "by-template", local, count)
        cloud.upload(jobs.write_photos(folder / "few-photos", _FEW), "photos")
        _check_job(service, workers, f"{GS}/photos/*")


class Workers:
    """Does what a job's workers would, on this machine."""

    cloud: Cloud
    rpc: JobRpc

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, job: Job) -> None:
        """Begins once somebody waits for the job."""
        told, deadline = len(self.rpc.states), time.monotonic() + _WAIT_SECONDS
        while len(self.rpc.states) == told:
            assert time.monotonic() < deadline, "nobody waits for the job"
            time.sleep(0.1)
        if job.launch:
            self._run_template(job.launch)
        else:
            self._run_staged(job)

    def _run_template(self, launch: dict[str, dict[str, str]]) -> None:
        parameters = dict(launch["parameters"])
        if parameters["method"] == "bar":
            raise RuntimeError("there are no machines")
        del parameters["sdk_container_image"]
        self.run("-m", "faceveil", "run", *flags(parameters))

    def _run_staged(self, job: Job) -> None:
        pipeline, options, metrics = (self._folder / f"{job.id}.{name}" for name in ("pb", "options", "metrics"))
        blob = self.cloud.bucket.blob(job.options["pipelineUrl"].removeprefix(f"{GS}/"))
        pipeline.write_bytes(blob.download_as_bytes())
        options.write_text(json.dumps(job.options))
        self.run(ROOT / "tests" / "dataflow" / "run_staged.py", pipeline, options, metrics)

    def run(self, *arguments: object) -> None:
        """Runs a program with Python to its end."""
        environment = {**self.cloud.environment, **jobs.ENVIRONMENT}
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr[-4000:])


def flags(options: Mapping[str, object]) -> list[str]:
    """Options as a command takes them."""
    return [f"--{name}={value}" for name, value in options.items()]


class Service:
    """Runs the DAG with the stand-ins."""

    def __init__(self, command: Command, cloud: Cloud, rpc: JobRpc) -> None:
        self._command = command
        self.cloud = cloud
        self.rpc = rpc

    def run(self, conf: Mapping[str, object], state: str = "success") -> None:
        """Runs the DAG once.

        Raises:
            AssertionError: it does not end in this state.
        """
        given = self.cloud.environment
        connection = {
            "key_path": given["GOOGLE_APPLICATION_CREDENTIALS"],
            "project": PROJECT,
            "gcs.endpoint": given["STORAGE_EMULATOR_HOST"],
        }
        environment = {
            **{name: value for name, value in given.items() if name not in jobs.ENVIRONMENT},
            **{f"AIRFLOW_VAR_FACEVEIL_{name.upper()}": value for name, value in VARIABLES.items()},
            # gcsfs would ask by gRPC what kind of bucket it is, which the emulator does not speak.
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
            "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(
                {"conn_type": "google_cloud_platform", "extra": connection}
            ),
        }
        places = [self.cloud.dataflow.endpoint, self.rpc.address]
        arguments = ["-m", "tests.clusters.dag_run", *places, json.dumps(conf)]
        said = self._command("python", *arguments, environment=environment)
        assert f"the run's state: {state}" in said.splitlines(), said[-20000:]

    @property
    def jobs(self) -> list[Job]:
        """All jobs there have been."""
        return list(self.cloud.dataflow.jobs.values())


def _check_template(service: Service, photos: str, output: Path, local: Path, count: int) -> None:
    conf = {"input": [photos], "output": str(output), "runner": "FlexTemplate", "options": OPTIONS}
    service.run(conf)
    [job] = service.jobs
    assert job.launch
    assert job.launch.pop("jobName").startswith("faceveil-")
    parameters = {name: str(value) for name, value in OPTIONS.items()}
    parameters |= {"input": photos, "output": str(output), "method": "blur", "sdk_container_image": VARIABLES["image"]}
    assert job.launch == {
        "containerSpecGcsPath": VARIABLES["template"],
        "parameters": parameters,
        "environment": {
            "tempLocation": VARIABLES["temp_location"],
            "serviceAccountEmail": VARIABLES["service_account"],
        },
    }
    assert job.headers["authorization"] == "Bearer a-token"
    assert (service.rpc.states[0], service.rpc.states[-1]) == ("JOB_STATE_RUNNING", "JOB_STATE_DONE")
    jobs.check_same(output, local, count)
    print("dag.test() has launched the Flex Template, and waited for its job in a trigger", flush=True)

    service.run({**conf, "method": "bar", "output": f"{output}-failed"}, "failed")
    assert [job.state for job in service.jobs] == ["JOB_STATE_DONE", "JOB_STATE_FAILED", "JOB_STATE_FAILED"]
    print("a job that failed twice has failed the run", flush=True)


def _check_job(service: Service, workers: Workers, photos: str) -> None:
    before = service.jobs
    conf = {
        "input": [photos],
        "output": f"{GS}/out",
        "runner": "DataflowRunner",
    }
    options = {**OPTIONS, "dataflow_endpoint": service.cloud.dataflow.endpoint}
    service.rpc.refusals = 1  # the trigger fails, and the job goes on
    service.run({**conf, "options": {**options, "overwrite": True}})
    [job] = service.jobs[len(before) :]
    assert job.state == "JOB_STATE_DONE"
    assert job.request["environment"]["serviceAccountEmail"] == VARIABLES["service_account"]
    assert job.request["labels"]["application"] == "faceveil"
    assert job.pool["workerHarnessContainerImage"] == VARIABLES["image"]
    workers.run("-m", "faceveil", "run", "--input", photos, "--output", f"{GS}/local", *flags(OPTIONS))
    assert service.cloud.files("out") == service.cloud.files("local")
    print("dag.test() has submitted a job and, tried again, has found it and waited for it", flush=True)

    service.run({**conf, "options": options})
    assert service.jobs == [*before, job]
    print("of an output that is complete, no job was submitted", flush=True)
