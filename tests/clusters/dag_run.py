"""Runs the DAG once by `dag.test()` with Dataflow's stand-ins in place of the service. For Airflow's environment.

    python -m tests.clusters.dag_run REST_ENDPOINT RPC_ADDRESS CONF

Operators, hooks, triggers and clients are the providers' own; only where the clients connect to is another place, which
the hooks have no setting for. Prints the run's state.
"""

import json
import sys
from datetime import timedelta

import grpc
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.google.cloud.hooks import dataflow
from google.cloud.dataflow_v1beta3.services.jobs_v1_beta3.transports import JobsV1Beta3GrpcAsyncIOTransport

rest, rpc, conf = sys.argv[1:]
build = dataflow.build
dataflow.build = lambda *given, **named: build(*given, **{**named, "client_options": {"api_endpoint": rest}})
JobsV1Beta3GrpcAsyncIOTransport.create_channel = lambda *_, **__: grpc.aio.insecure_channel(rpc)

dag = DagBag().dags["anonymize_dataset"]
for task in dag.tasks:
    task.retries, task.retry_delay = min(task.retries, 1), timedelta(seconds=1)
dag.task_dict["anonymize_by_template"].poll_sleep = 1
dag.task_dict["anonymize_on_dataflow"].dataflow_config["poll_sleep"] = 1
print(f"the run's state: {dag.test(run_conf=json.loads(conf)).state.value}", flush=True)
