"""The stand-in's one method for clients that speak gRPC only, as Airflow's triggers do: `GetJob`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
from google.cloud import dataflow

from tests.dataflow.service import DataflowService


@dataclass
class JobRpc:
    """What answers.

    Attributes:
        service: whose jobs they are.
        address: where, on loopback.
        states: all that were told, in order.
        refusals: how many requests are refused before the first is answered, as by a service that is overloaded.
    """

    service: DataflowService
    address: str = ""
    states: list[str] = field(default_factory=list)
    refusals: int = 0

    def get_job(self, request: dataflow.GetJobRequest, context: grpc.ServicerContext) -> dataflow.Job:
        """https://cloud.google.com/dataflow/docs/reference/rpc/google.dataflow.v1beta3#jobsv1beta3"""
        if self.refusals:
            self.refusals -= 1
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests")
        job = self.service.jobs.get(request.job_id)
        if job is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such job")
        assert job
        described = job.described()
        self.states.append(described["currentState"])
        return dataflow.Job.from_json(json.dumps(described))


@contextlib.contextmanager
def serving_rpc(service: DataflowService) -> Iterator[JobRpc]:
    """Serves while the block runs."""
    rpc = JobRpc(service)
    get_job = grpc.unary_unary_rpc_method_handler(
        rpc.get_job, dataflow.GetJobRequest.deserialize, dataflow.Job.serialize
    )
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("google.dataflow.v1beta3.JobsV1Beta3", {"GetJob": get_job}),)
    )
    rpc.address = f"localhost:{server.add_insecure_port('localhost:0')}"
    server.start()
    try:
        yield rpc
    finally:
        server.stop(None).wait()
