"""The DAG in a real Airflow: parsed, run by itself on each runner, and by a scheduler that loses the task on the way.

    python -m tests.clusters.airflow

The output has to be, byte for byte, that of the command; the DAG's last task checks the manifest.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from tests.clusters import airflow_dataflow, jobs, parts
from tests.clusters.command import run
from tests.clusters.processes import Servers, descendants, free_port, listens, parent
from tests.conftest import ROOT

DAG = "anonymize_dataset"
PARSE = """
from airflow.dag_processing.dagbag import DagBag
bag = DagBag()
assert not bag.import_errors, bag.import_errors
assert not bag.captured_warnings, bag.captured_warnings
params = bag.dags["anonymize_dataset"].params
for name in params:
    schema = params.get_param(name)
    assert schema.schema["type"] and schema.description, name
print("parsed without warnings; parameters", ", ".join(params))
"""


class Airflow:
    """An installation with a database of its own, and, once started, its API server, scheduler and DAG processor."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self._servers = servers
        self._bin = parts.venv("airflow") / "bin"
        self._port = free_port()
        self._database = folder / "airflow.db"
        self._environment = {
            **jobs.ENVIRONMENT,
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "configs" / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "2",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{self._port}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self._database}",
            "FACEVEIL_PYTHON": sys.executable,
        }

    def command(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """Runs a program of the installation to its end; what it has printed."""
        ended = subprocess.run(
            [str(self._bin / arguments[0]), *arguments[1:]],
            env={**os.environ, **self._environment, **(environment or {})},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout[-6000:]
        return ended.stdout

    def start(self) -> None:
        address = ["--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"]
        for name, *options in (["api-server", *address], ["dag-processor"], ["scheduler", "--skip-serve-logs"]):
            self._servers.start(name, [self._bin / "airflow", name, *options], self._environment)
        self._servers.wait_for("the API server", lambda: listens(self._port))
        self._servers.wait_for("the DAG", lambda: self.query("select 1 from dag where dag_id = ?", DAG))

    def kill_task(self) -> None:
        """Ends the process of the task and the job that it has started, as when a machine dies."""
        job = descendants(self._servers.pid("scheduler"), "-m faceveil run")
        for process in (parent(job[0]), *job):
            os.kill(process, signal.SIGKILL)

    def query(self, sql: str, *values: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=30)) as database:
            return database.execute(sql, values).fetchall()

    def wait_for_end(self, run: str) -> dict[str, tuple[str, int]]:
        """Waits for the end of a run; state and number of tries of each task."""

        def state() -> object:
            return self.query("select state from dag_run where run_id = ?", run)[0][0]

        self._servers.wait_for("the run's end", lambda: state() in ("success", "failed"), 420)
        found = self.query("select task_id, state, try_number from task_instance where run_id = ?", run)
        return {str(name): (str(ended), int(str(tries))) for name, ended, tries in found}


def check(folder: Path, count: int) -> None:
    photos = jobs.write_photos(folder / "photos", count)
    local = jobs.start(photos, folder / "local")
    local.wait()
    with Servers(folder / "logs") as servers:
        airflow = Airflow(servers, folder)
        airflow.command("airflow", "db", "migrate")
        airflow.command("python", "-c", PARSE)
        print("the DAG parses without warnings; its parameters have types and descriptions", flush=True)

        airflow.command("airflow", "dags", "test", DAG, "--conf", conf(photos, folder / "dag-test"))
        jobs.check_same(folder / "dag-test", local.output, count)
        print("dag.test() has run the job", flush=True)
        airflow_dataflow.check(airflow.command, folder, photos, local.output, count)

        airflow.start()
        airflow.command("airflow", "dags", "unpause", DAG)
        output = folder / "scheduled"
        airflow.command("airflow", "dags", "trigger", DAG, "--run-id", "killed", "--conf", conf(photos, output))
        servers.wait_for("eight shards", lambda: jobs.finished_shards(output) >= 8)
        airflow.kill_task()
        print(f"killed the task after {jobs.finished_shards(output)} of {jobs.SHARDS} shards", flush=True)
        tasks = airflow.wait_for_end("killed")
        assert (tasks["anonymize_here"], tasks["check_manifest"]) == (("success", 2), ("success", 1)), tasks
        jobs.check_same(output, local.output, count)
        print(f"the scheduler has tried it again: {count} records, none twice, the same bytes", flush=True)

        manifest = output / "manifest.json"
        account = json.loads(manifest.read_text())
        account["totals"]["anonymized"] -= 1
        manifest.write_text(json.dumps(account))
        airflow.command("airflow", "dags", "trigger", DAG, "--run-id", "unbalanced", "--conf", conf(photos, output))
        tasks = airflow.wait_for_end("unbalanced")
        assert (tasks["anonymize_here"], tasks["check_manifest"]) == (("success", 1), ("failed", 1)), tasks
        print("a manifest that does not balance has failed the run", flush=True)


def conf(photos: Path, output: Path) -> str:
    """A run's parameters."""
    options = {"num_shards": jobs.SHARDS, "quality": "fast"}
    return json.dumps({"input": [f"{photos}/*"], "output": str(output), "options": options})


if __name__ == "__main__":
    run(check, photos=400)
