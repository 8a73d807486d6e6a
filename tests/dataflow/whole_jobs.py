"""Jobs on Dataflow from the command to the output: `make test-dataflow`.

Beam's own DataflowRunner stages the job in an emulator of Cloud Storage and submits it to a stand-in for the service
(service.py), which runs what was staged (run_staged.py) in an environment of its own: one made as configs/Dockerfile
says, or one with Beam alone, into which it installs what --setup_file has staged.
"""

import contextlib
import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from apache_beam.portability.api import beam_runner_api_pb2

from tests.conftest import ROOT
from tests.dataflow.cloud import BUCKET, PROJECT, REGION, Cloud, running_cloud
from tests.dataflow.dockerfile import Image, build, read_dockerfile
from tests.dataflow.service import Job

IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/faceveil/worker:1"
GS = f"gs://{BUCKET}"
UV = [sys.executable, "-m", "uv"]
PHOTOS = ("--input", f"{GS}/photos/**", "--num_shards", "3")
_WORK_SECONDS = 240
_END_SECONDS = 120


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The workers' image, as far as configs/Dockerfile can be followed here; needs a package index, as `make setup`."""
    image = Image(tmp_path_factory.mktemp("image"))
    build(read_dockerfile(ROOT / "configs" / "Dockerfile"), ROOT, image)
    return image


@pytest.fixture(scope="session")
def beam_alone(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """What stands in for Beam's own image: Beam, and nothing of ours."""
    image = Image(tmp_path_factory.mktemp("beam"))
    subprocess.run([*UV, "venv", "--quiet", "--python", "3.11", image.root / "venv"], check=True)
    # The versions of the lock, since the newest of everything would be others the next time.
    constraints = image.root / "constraints.txt"
    constraints.write_text(re.sub(r" \\\n    --hash=\S+", "", (ROOT / "requirements.txt").read_text()))
    image.variables["UV_CONSTRAINT"] = str(constraints)
    install(image, "apache-beam[gcp]")
    return image


def install(image: Image, *packages: str | Path) -> None:
    """As pip would in the container, in a tenth of the time."""
    run([*UV, "pip", "install", "--quiet", "--python", image.python, *packages], image.root, image.environment())


def run(command: list[str | Path], directory: Path, environment: dict[str, str]) -> None:
    """Runs a program to its end; its error is what it has printed last."""
    done = subprocess.run(
        command, cwd=directory, env=environment, check=False, stderr=subprocess.PIPE, text=True, timeout=_WORK_SECONDS
    )
    if done.returncode:
        raise RuntimeError(f"{command[:4]} ended with {done.returncode}:\n{done.stderr[-4000:]}")


@dataclass
class Workers:
    """Runs jobs in the environments that stand in for their images.

    Attributes:
        folder: for what a worker has on its disk.
        images: by name; what has none of these names is one of Beam's.
    """

    folder: Path
    images: dict[str, Image]
    cloud: Cloud | None = field(default=None)

    def __call__(self, job: Job) -> None:
        """Does what a worker does from its start to the job's end."""
        assert self.cloud
        image = self.images.get(job.pool["workerHarnessContainerImage"], self.images["beam"])
        disk = self.folder / job.id
        disk.mkdir()
        pipeline = self._fetch(job.options["pipelineUrl"], disk / "pipeline.pb")
        self._install(pipeline, image, disk)
        (disk / "options.json").write_text(json.dumps(job.options))
        job.metrics = disk / "metrics.json"
        ours = ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS", "NO_GCE_CHECK", "HTTPS_PROXY")
        environment = {**image.environment(), **{name: self.cloud.environment[name] for name in ours}}
        command = [image.python, ROOT / "tests" / "dataflow" / "run_staged.py"]
        run([*command, pipeline, disk / "options.json", job.metrics], disk, environment)

    def _install(self, pipeline: Path, image: Image, disk: Path) -> None:
        """As the start program of a Beam image: fetches what was staged, verifies it and installs the package."""
        proto = beam_runner_api_pb2.Pipeline.FromString(pipeline.read_bytes())
        [environment] = proto.components.environments.values()
        for dependency in environment.dependencies:
            role = beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(dependency.role_payload)
            payload = beam_runner_api_pb2.ArtifactUrlPayload.FromString(dependency.type_payload)
            staged = self._fetch(payload.url, disk / role.staged_name)
            assert hashlib.sha256(staged.read_bytes()).hexdigest() == payload.sha256
            if staged.name == "workflow.tar.gz":
                install(image, staged)

    def _fetch(self, url: str, path: Path) -> Path:
        assert self.cloud
        path.write_bytes(self.cloud.bucket.blob(url.removeprefix(f"{GS}/")).download_as_bytes())
        return path


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory, photos: Path, image: Image, beam_alone: Image) -> Iterator[Cloud]:
    """Cloud Storage with photos, and Dataflow with workers."""
    folder = tmp_path_factory.mktemp("cloud")
    workers = Workers(folder, {IMAGE: image, "beam": beam_alone})
    with running_cloud(folder, workers) as cloud:
        workers.cloud = cloud
        cloud.upload(photos, "photos")
        yield cloud


@pytest.fixture(scope="session")
def local_run(cloud: Cloud) -> dict[str, bytes]:
    """The files that a run on this machine writes."""
    launch(cloud, "local").check_returncode()
    return cloud.files("local")


def command(cloud: Cloud, output: str, *flags: str) -> list[str]:
    endpoint = f"--dataflow_endpoint={cloud.dataflow.endpoint}"
    given = ["run", *PHOTOS, "--output", f"{GS}/{output}", *flags]
    return [sys.executable, "-m", "faceveil", *given, *([endpoint] if flags else [])]


def on_dataflow(*flags: str) -> list[str]:
    where = [f"--project={PROJECT}", f"--region={REGION}", f"--temp_location={GS}/temp"]
    return ["--config", str(ROOT / "configs" / "dataflow.yaml"), *where, *flags]


def launch(cloud: Cloud, output: str, *flags: str) -> "subprocess.CompletedProcess[str]":
    """Runs the command to its end, and prints what it says."""
    started = time.monotonic()
    done = subprocess.run(
        command(cloud, output, *flags), env=cloud.environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    print(f"{output}: status {done.returncode} after {time.monotonic() - started:.0f} s\n{done.stdout}{done.stderr}")
    return done


def last_job(cloud: Cloud) -> Job:
    return list(cloud.dataflow.jobs.values())[-1]


def wait_for_end(job: Job) -> None:
    until = time.monotonic() + _WORK_SECONDS
    while job.state in ("JOB_STATE_PENDING", "JOB_STATE_RUNNING"):
        assert time.monotonic() < until
        time.sleep(0.5)


def test_workers_with_the_image_write_what_a_local_run_writes(cloud: Cloud, local_run: dict[str, bytes]) -> None:
    done = launch(cloud, "with-image", *on_dataflow(f"--sdk_container_image={IMAGE}"))
    assert done.returncode == 0
    job = last_job(cloud)
    assert job.id in done.stderr
    assert "JOB_STATE_DONE" in done.stderr
    # What the workers' counters said at the end.
    totals = json.loads(local_run["manifest.json"])["totals"]
    assert f"{totals['records']} of {totals['records']} images" in done.stderr
    assert f"{totals['faces']} faces, 0 quarantined" in done.stderr
    assert "3 shards and manifest.json" in done.stdout
    assert cloud.files("with-image") == local_run


def test_workers_that_install_what_was_staged_write_the_same(cloud: Cloud, local_run: dict[str, bytes]) -> None:
    flags = on_dataflow("--setup_file=./setup.py", "--no_wait")
    assert launch(cloud, "installed", *flags).returncode == 0
    job = last_job(cloud)
    assert {package["name"] for package in job.pool["packages"]} >= {"workflow.tar.gz"}
    wait_for_end(job)
    assert job.state == "JOB_STATE_DONE", job.messages
    written = cloud.files("installed")
    assert written.pop(".faceveil-lock.json")
    assert written == local_run
    # The same command tells the result, and cleans up.
    done = launch(cloud, "installed", *flags)
    assert done.returncode == 0
    assert "3 shards and manifest.json" in done.stdout
    assert cloud.files("installed") == local_run
    assert last_job(cloud) is job


def test_a_flex_template_submits_the_same_job(
    cloud: Cloud, image: Image, local_run: dict[str, bytes], tmp_path: Path
) -> None:
    """The launcher is run as in its container: from the image alone, with the parameters as flags."""
    job_file = f"{GS}/templates/job_object"
    parameters = [f"--input={GS}/photos/**", "--num_shards=3", f"--output={GS}/template"]
    given = [f"--project={PROJECT}", f"--region={REGION}", "--runner=DataflowRunner", "--job_name=from-a-template"]
    places = [f"--temp_location={GS}/temp", f"--staging_location={GS}/staging", f"--template_location={job_file}"]
    program = image.variables["FLEX_TEMPLATE_PYTHON_PY_FILE"]
    ours = ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS", "NO_GCE_CHECK", "HTTPS_PROXY")
    done = subprocess.run(
        [image.python, program, *parameters, *given, *places, f"--sdk_container_image={IMAGE}"],
        env={**image.environment(), **{name: cloud.environment[name] for name in ours}},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "job from-a-template is prepared" in done.stdout
    request = json.loads(cloud.files("templates")["job_object"])
    assert request["environment"]["workerPools"][0]["machineType"] == "n2-standard-8"
    job = cloud.dataflow.jobs[cloud.dataflow.create(request, {})["id"]]
    wait_for_end(job)
    assert job.state == "JOB_STATE_DONE", job.messages
    written = cloud.files("template")
    assert {name: written[name] for name in local_run if name.endswith(".tfrecord")} == {
        name: content for name, content in local_run.items() if name.endswith(".tfrecord")
    }


def test_an_interrupted_command_leaves_the_job_running(tmp_path: Path, photos: Path) -> None:
    with running_cloud(tmp_path) as idle:
        idle.upload(photos / "things", "photos")
        flags = on_dataflow(f"--sdk_container_image={IMAGE}")
        waiting = subprocess.Popen(
            command(idle, "out", *flags), env=idle.environment, cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        with contextlib.ExitStack() as stack:
            stack.callback(waiting.kill)
            assert waiting.stderr
            said = "".join(iter_until(waiting.stderr, "JOB_STATE_RUNNING"))
            waiting.send_signal(signal.SIGINT)
            said += waiting.communicate(timeout=_END_SECONDS)[1]
        print(said)
        assert waiting.returncode == 130
        job = last_job(idle)
        assert job.state == "JOB_STATE_RUNNING"
        assert f"interrupted; the job continues: Dataflow job {job.id}" in said
        assert f"gcloud dataflow jobs cancel {job.id} --project {PROJECT} --region {REGION}" in said
        again = launch(idle, "out", *flags)
        assert again.returncode == 4
        assert f"Dataflow job {job.id} is writing to it" in again.stderr


def test_a_worker_s_error_is_told_as_it_is_locally(tmp_path: Path, photos: Path) -> None:
    def fail(_: Job) -> None:
        raise RuntimeError("\nfaceveil.transforms.errors.AccessError: gs://x: cannot be read [while running 'A']")

    with running_cloud(tmp_path, fail) as broken:
        broken.upload(photos / "things", "photos")
        flags = on_dataflow(f"--sdk_container_image={IMAGE}")
        done = launch(broken, "out", *flags)
        assert done.returncode == 5
        assert "faceveil: gs://x: cannot be read" in done.stderr
        broken.dataflow.refusal = (403, "PERMISSION_DENIED")
        done = launch(broken, "other", *flags)
        assert done.returncode == 5
        assert "faceveil: Dataflow did not take the job: " in done.stderr


def test_a_job_that_is_cancelled_can_go_on(tmp_path: Path, photos: Path) -> None:
    def cancel(job: Job) -> None:
        job.state = "JOB_STATE_CANCELLED"

    with running_cloud(tmp_path, cancel) as cloud:
        cloud.upload(photos / "things", "photos")
        done = launch(cloud, "out", *on_dataflow(f"--sdk_container_image={IMAGE}"))
        assert done.returncode == 5
        job = last_job(cloud)
        assert f"faceveil: Dataflow job {job.id} did not end well; the same command resumes" in done.stderr
        assert "Traceback" not in done.stderr


def iter_until(lines: "Iterator[str]", wanted: str) -> Iterator[str]:
    for line in lines:
        yield line
        if wanted in line:
            return
