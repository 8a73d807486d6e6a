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
from airflow.providers.google.cloud.operators.dataflow import DataflowStartFlexTemplateOperator
from airflow.sdk import ObjectStoragePath, Param, dag, task

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
        description="Folder for the shards, the audit trail and manifest.json, local or gs://.",
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
    on_dataflow = BeamRunPythonPipelineOperator(
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
            **_JOB,
        },
        dataflow_config={
            "project_id": "{{ var.value.faceveil_project }}",
            "location": "{{ var.value.faceveil_region }}",
            "job_name": "faceveil",
        },
    )
    by_template = DataflowStartFlexTemplateOperator(
        task_id=_TASKS["FlexTemplate"],
        project_id="{{ var.value.faceveil_project }}",
        location="{{ var.value.faceveil_region }}",
        body={
            "launchParameter": {
                "jobName": "faceveil",
                "containerSpecGcsPath": "{{ var.value.faceveil_template }}",
                # The template takes one glob; several go into a configuration file, which `options` can name.
                "parameters": "{{ dict(params.options, input=params.input | first, output=params.output,"
                " method=params.method, sdk_container_image=var.value.faceveil_image) }}",
                "environment": {"tempLocation": "{{ var.value.faceveil_temp_location }}"},
            }
        },
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
            size = (output / shard["file"]).stat().st_size
            if size != shard["bytes"]:
                raise ValueError(f"{output}: {shard['file']} has {size} bytes, not {shard['bytes']}")
        return totals

    choose_runner() >> [here, on_dataflow, by_template] >> check_manifest()


anonymize_dataset()
