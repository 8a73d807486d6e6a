"""A pool of Python workers, as `apache_beam.runners.worker.worker_pool_main` is one, but on one loopback address only.

    python -m tests.clusters.worker_pool 127.0.0.2:50000

Every machine of a cluster has a pool of its own under the same name. Here all are one machine, so each gets an address.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer


def main() -> None:
    server = grpc.server(ThreadPoolExecutor())
    pool = BeamFnExternalWorkerPoolServicer(use_process=True)
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    server.add_insecure_port(sys.argv[1])
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
