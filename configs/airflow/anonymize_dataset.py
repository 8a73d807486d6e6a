"""Anonymizes the faces in a data set, and fails unless the manifest accounts for every input.

Every run is told where its data is and how to hide faces; docs/airflow.md says what has to be set up before. A task
that is retried goes on where the last attempt has stopped.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.apache.beam.operators.beam import BeamRunPythonPipelineOperator
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.providers.google.cloud.operators.dataflow import DataflowStartFlexTemplateOperator
from airflow.sdk import Context, ObjectStoragePath, Param, dag, task

# faceveil has an environment of its own: its packages and Airflow's do not agree.
_PYTHON = os.environ.get("FACEVEIL_PYTHON", "python3")
_CONFIGS = Path(__file__).resolve().parents[1]
_TASKS = {
    "DirectRunner": "anonymize_here",
    "DataflowRunner": "anonymize_on_dataflow",
    "FlexTemplate": "anonymize_by_template",
}
_METHODS = ["blur", "pixelate", "bar", "solid", "synthesize"]
_PARAMS = {
    "input": Param(
        type="array",
        items={"type": "string", "minLength": 1},
        minItems=1,
        description="Globs of images and TFRecord files, local or gs://, such as `gs://bucket/photos/**`. SPLIT=GLOB "
        "puts files into a split of that name.",
    ),
    "output": Param(
        type="string",
        minLength=1,
        description="Folder for the shards and manifest.json, local or gs://; the audit trail lies beside it.",
    ),
    "method": Param(
        "blur",
        type="string",
        enum=_METHODS,
        description="What is done to a face; synthesize needs a salt_file in the options.",
    ),
    "runner": Param(
        "DirectRunner",
        type="string",
        enum=list(_TASKS),
        description="Where the job runs: on Airflow's worker, on Dataflow, or on Dataflow from the Flex Template.",
    ),
    "options": Param(
        {},
        type="object",
        description='Further options of `faceveil run`, and of Beam, without dashes, such as {"quality": "thorough"}.',
    ),
}
_JOB = {"input": "{{ params.input }}", "output": "{{ params.output }}", "method": "{{ params.method }}"}


class _RunOnDataflow(BeamRunPythonPipelineOperator):
    """Submits the job, leaves its worker slot while the job runs, and has the same command tell the result then."""

    def execute(self, context: Context) -> None:
        """Submits the job, or finds it running, or its output complete."""
        self._run(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        """Fails where the job has failed, or where the command says so of its result."""
        super().execute_complete(context, event)
        # With these the command would begin again.
        begins_again = ("overwrite", "retry_quarantined", "update")
        options = self.default_pipeline_options
        self.default_pipeline_options = {name: options[name] for name in options if name not in begins_again}
        self._run(context)

    def _run(self, context: Context) -> None:
        try:
            # As it is written: Airflow has put a warning around it that is for other callers.
            super().execute.__wrapped__(self, context)
        except TaskDeferred:
            # The command names no job where the output is complete; then it has told the result.
            if self.dataflow_job_id:
                raise


def _launch(context: Context, **_: Any) -> dict[str, Any]:
    """Asks for a job from the Flex Template.

    https://cloud.google.com/dataflow/docs/reference/rest/v1b3/projects.locations.flexTemplates/launch
    """
    params, variables = context["params"], context["var"]["value"]
    environment = {"tempLocation": variables.faceveil_temp_location}
    if account := variables.get("faceveil_service_account", None):
        environment["serviceAccountEmail"] = account
    return {
        "launchParameter": {
            "jobName": "faceveil",
            "containerSpecGcsPath": variables.faceveil_template,
            "parameters": {
                # All parameters are texts.
                **{name: str(value) for name, value in params["options"].items()},
                # The template takes one glob; several go into a configuration file, which `options` can name.
                "input": params["input"][0],
                "output": params["output"],
                "method": params["method"],
                # Not in the environment: the template requires it, and its launcher is `faceveil run`, which checks it.
                "sdk_container_image": variables.faceveil_image,
            },
            "environment": environment,
        }
    }


@dag(
    schedule=None,
    params=_PARAMS,
    render_template_as_native_obj=True,
    # A job whose machine has died holds its output for three minutes more; the retries outlast that.
    default_args={"retries": 4, "retry_delay": timedelta(minutes=1), "retry_exponential_backoff": 2},
    tags=["faceveil"],
    doc_md=__doc__,
)
def anonymize_dataset() -> None:
    """The whole run: one of three ways to anonymize, then the check of what came out."""

    @task.branch(retries=0)
    def choose_runner(params: dict[str, Any]) -> str:
        return _TASKS[params["runner"]]

    here = BeamRunPythonPipelineOperator(
        task_id=_TASKS["DirectRunner"],
        runner="DirectRunner",
        py_interpreter=_PYTHON,
        # The command is `python -m faceveil run`; the operator knows of files only, and puts its "file" last.
        py_options=["-m", "faceveil"],
        py_file="run",
        default_pipeline_options="{{ params.options }}",
        pipeline_options={"config": str(_CONFIGS / "local.yaml"), **_JOB},
    )
    on_dataflow = _RunOnDataflow(
        task_id=_TASKS["DataflowRunner"],
        runner="DataflowRunner",
        py_interpreter=_PYTHON,
        py_options=["-m", "faceveil"],
        py_file="run",
        default_pipeline_options="{{ params.options }}",
        pipeline_options={
            "config": str(_CONFIGS / "dataflow.yaml"),
            "temp_location": "{{ var.value.faceveil_temp_location }}",
            "sdk_container_image": "{{ var.value.faceveil_image }}",
            "service_account_email": "{{ var.value.get('faceveil_service_account', none) }}",
            "labels": {"application": "faceveil"},
            # Not the operator's: named after the output, so that the service refuses a second job on it.
            "job_name": None,
            "no_wait": True,
            **_JOB,
        },
        dataflow_config={
            "project_id": "{{ var.value.faceveil_project }}",
            "location": "{{ var.value.faceveil_region }}",
        },
        deferrable=True,
    )
    by_template = DataflowStartFlexTemplateOperator(
        task_id=_TASKS["FlexTemplate"],
        project_id="{{ var.value.faceveil_project }}",
        location="{{ var.value.faceveil_region }}",
        body=_launch,
        deferrable=True,
    )

    # What is wrong with a manifest stays wrong.
    @task(retries=0, trigger_rule="none_failed_min_one_success")
    def check_manifest(params: dict[str, Any]) -> dict[str, int]:
        output = ObjectStoragePath(params["output"])
        manifest = json.loads((output / "manifest.json").read_text())
        totals = manifest["totals"]
        accounted = totals["anonymized"] + totals["no_faces"] + totals["quarantined"]
        if totals["records"] != accounted:
            raise ValueError(f"{output}: {totals['records']} records were read, {accounted} are accounted for")
        written = sum(shard["records"] for shard in manifest["shards"])
        if written != totals["anonymized"] + totals["no_faces"]:
            raise ValueError(f"{output}: the shards hold {written} records, which the totals do not say")
        for shard in manifest["shards"]:
            if "file" not in shard:
                continue  # it is a file for each image, which the audit trail names
            size = (output / shard["file"]).stat().st_size
            if size != shard["bytes"]:
                raise ValueError(f"{output}: {shard['file']} has {size} bytes, not {shard['bytes']}")
        return totals

    choose_runner() >> [here, on_dataflow, by_template] >> check_manifest()


anonymize_dataset()
