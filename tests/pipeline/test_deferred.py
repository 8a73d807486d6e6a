import subprocess
import sys

_SCRIPT = """
from pipeline.deferred import defer_imports
defer_imports()
import pipeline.cli
import sys
print("google.cloud.bigquery.client" in sys.modules, "google.pubsub_v1" in sys.modules, "tensorflow" in sys.modules)
from google.cloud import bigquery
print(bigquery.Client.__name__)
"""


def test_clients_that_no_job_needs_load_when_they_are_used() -> None:
    said = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "False", "False", "Client"]
