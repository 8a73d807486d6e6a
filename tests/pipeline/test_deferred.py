import subprocess
import sys

_SCRIPT = """
from faceveil.pipeline.deferred import defer_imports
defer_imports()
import faceveil.pipeline.cli
import sys
rare = "boto3.session", "google.cloud.bigquery.client", "google.cloud.dataflow_v1beta3", "google.pubsub_v1"
print([name for name in (*rare, "openvino", "tensorflow") if name in sys.modules])
from google.cloud import bigquery
print(bigquery.Client.__name__)
"""


def test_clients_that_no_job_needs_load_when_they_are_used() -> None:
    said = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["[]", "Client"]
