"""A stand-in for Dataflow: the part of its REST interface that a launcher uses, and workers that run what was staged.

https://cloud.google.com/dataflow/docs/reference/rest (v1b3). It answers on loopback only, gives out access tokens as
Google's token endpoint does, and remembers all that it was asked.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

from google.cloud import dataflow
from google.protobuf import json_format

_JOBS = r"/v1b3/projects/(?P<project>[^/]+)/locations/(?P<region>[^/]+)/jobs"


@dataclass
class Job:
    """A job that was created.

    Attributes:
        request: the body of the request that created it, as the reference writes it; of a job from a Flex Template its
            name and type.
        launch: with what a Flex Template was launched, `LaunchFlexTemplateParameter`; None for other jobs.
        headers: that request's headers, their names in lower case.
        state: one of https://cloud.google.com/dataflow/docs/reference/rest/v1b3/projects.jobs#jobstate.
        metrics: the file in which its workers say how far they are, once there are any.
        stopped: set when the job is to be cancelled.
    """

    id: str
    request: dict[str, Any]
    headers: dict[str, str]
    launch: dict[str, Any] | None = None
    state: str = "JOB_STATE_PENDING"
    messages: list[dict[str, str]] = field(default_factory=list)
    metrics: Path | None = None
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def options(self) -> dict[str, Any]:
        """The pipeline options that workers get."""
        options: dict[str, Any] = self.request["environment"]["sdkPipelineOptions"]["options"]
        # Protocol buffers' JSON has floats only; the container's start program tells whole numbers from them.
        return {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in options.items()
        }

    @property
    def pool(self) -> dict[str, Any]:
        """The one pool of workers."""
        [pool] = self.request["environment"]["workerPools"]
        assert isinstance(pool, dict)
        return pool

    def say(self, importance: str, text: str) -> None:
        """Adds a message of the service."""
        importance = f"JOB_MESSAGE_{importance}"
        self.messages.append(
            {"id": str(len(self.messages)), "time": _now(), "messageText": text} | {"messageImportance": importance}
        )

    def described(self) -> dict[str, Any]:
        """The job as the service tells it."""
        known = ("name", "type", "clientRequestId")
        about = {name: value for name, value in self.request.items() if name in known}
        return {**about, "id": self.id, "currentState": self.state}


class DataflowService:
    """Serves on a free port of this machine while the block runs.

    Attributes:
        jobs: all that were created, by id.
        work: called in a thread of its own with each job; it fails where that raises. None leaves jobs running.
        refusal: an HTTP status and its name, with which every question about jobs is answered instead.
    """

    refusal: tuple[int, str] | None = None

    def __init__(self, work: Callable[[Job], None] | None = None) -> None:
        self.work = work
        self.jobs: dict[str, Job] = {}
        self._server = ThreadingHTTPServer(("localhost", 0), type("_Handler", (_Handler,), {"service": self}))
        self._threads: list[threading.Thread] = []

    @property
    def endpoint(self) -> str:
        """For ``--dataflow_endpoint``."""
        return f"http://localhost:{self._server.server_port}"

    @property
    def token_uri(self) -> str:
        """Where credentials get access tokens."""
        return f"{self.endpoint}/token"

    def __enter__(self) -> DataflowService:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        for job in self.jobs.values():
            job.stopped.set()
        for thread in self._threads:
            thread.join()
        self._server.shutdown()
        self._server.server_close()

    def create(self, request: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        """Takes a job on, unless one of that name is active: then that one is told, with the id of its own request."""
        for other in self.jobs.values():
            if other.request["name"] == request["name"] and other.state in ("JOB_STATE_PENDING", "JOB_STATE_RUNNING"):
                return other.described()
        return self._begin(request, headers, None)

    def launch(self, parameter: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        """Starts a job from a Flex Template."""
        return self._begin({"name": parameter["jobName"], "type": "JOB_TYPE_BATCH"}, headers, parameter)

    def _begin(self, request: dict[str, Any], headers: dict[str, str], launch: dict[str, Any] | None) -> dict[str, Any]:
        job = Job(f"2026-11-22_00_00_00-{len(self.jobs):03}", request, headers, launch)
        self.jobs[job.id] = job
        described = job.described()  # before anything is done
        thread = threading.Thread(target=self._run, args=(job,), daemon=True)
        self._threads.append(thread)
        thread.start()
        return described

    def _run(self, job: Job) -> None:
        job.state = "JOB_STATE_RUNNING"
        job.say("BASIC", "Starting 1 workers")
        if self.work is None:
            return
        try:
            self.work(job)
        except Exception as error:  # noqa: BLE001  whatever it is, it is the job's end
            job.say("ERROR", str(error))
            job.state = "JOB_STATE_FAILED"
        if job.state == "JOB_STATE_RUNNING":
            job.say("BASIC", "Worker pool stopped.")
            job.state = "JOB_STATE_DONE"

    def change(self, job: Job, wanted: dict[str, Any]) -> dict[str, Any]:
        """Cancels a job."""
        job.stopped.set()
        job.state = dataflow.JobState(wanted["requestedState"]).name
        return job.described()


class _Handler(BaseHTTPRequestHandler):
    service: DataflowService
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer_job(None)

    def do_PUT(self) -> None:
        self._answer_job(self._body())

    def do_POST(self) -> None:
        path = urlparse(self.path).path
        if path == "/token":
            self._body()
            self._answer({"access_token": "a-token", "token_type": "Bearer", "expires_in": 3600})
        elif not self._refused():
            headers = {name.lower(): value for name, value in self.headers.items()}
            if path.endswith("/flexTemplates:launch"):
                # Refuses fields that there are not, and parameters that are no texts.
                launch = dataflow.LaunchFlexTemplateRequest.from_json(self._body())
                parameter = json_format.MessageToDict(dataflow.LaunchFlexTemplateRequest.pb(launch))["launchParameter"]
                self._answer({"job": self.service.launch(parameter, headers)})
            else:
                job = dataflow.Job.from_json(self._body())  # with names for the numbers that clients send
                self._answer(self.service.create(json_format.MessageToDict(dataflow.Job.pb(job)), headers))

    def _refused(self) -> bool:
        if self.service.refusal:
            code, status = self.service.refusal
            self._answer({"error": {"code": code, "message": "not for you", "status": status}}, code)
        return self.service.refusal is not None

    def _answer_job(self, wanted: bytes | None) -> None:
        if self._refused():
            return None
        url = urlparse(self.path)
        match = re.fullmatch(rf"{_JOBS}(?:/(?P<id>[^/]+)(?:/(?P<about>\w+))?)?", url.path)
        assert match, self.path
        if match["id"] is None:
            active = parse_qs(url.query).get("filter") == ["3"]
            jobs = [job for job in self.service.jobs.values() if not active or job.state == "JOB_STATE_RUNNING"]
            return self._answer({"jobs": [job.described() for job in jobs]})
        job = self.service.jobs.get(match["id"])
        if job is None:
            return self._answer({"error": {"code": 404, "message": "no such job", "status": "NOT_FOUND"}}, 404)
        if wanted is not None:
            return self._answer(self.service.change(job, json.loads(wanted)))
        if match["about"] == "messages":
            return self._answer({"jobMessages": list(job.messages)})
        if match["about"] == "metrics":
            return self._answer({"metricTime": _now(), "metrics": _metrics(job)})
        return self._answer(job.described())

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _answer(self, content: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Keeps quiet."""


def _metrics(job: Job) -> list[dict[str, Any]]:
    """The users' counters, each as what is tentative and what is committed, as the service gives them."""
    if job.metrics is None or not job.metrics.exists():
        return []
    counters = json.loads(job.metrics.read_text())
    return [
        {
            "name": {"origin": "user", "name": name, "context": {"namespace": namespace, **tentative}},
            "scalar": value,
            "updateTime": _now(),
        }
        for namespace, name, value in counters
        for tentative in ({"tentative": "true"}, {})
    ]


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
