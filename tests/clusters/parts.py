"""What the checks need beside faceveil: runners from Maven, wheels and Go modules, kept in `.clusters/`."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.conftest import ROOT

FOLDER = ROOT / ".clusters"
_JOB_SERVERS = Path(__file__).parent / "job-servers"


def command(name: str, what: str) -> str:
    """The path of a command.

    Raises:
        SystemExit: it is not installed.
    """
    path = shutil.which(name)
    if not path:
        raise SystemExit(f"error: this check needs {what}, and the command `{name}` is not here; install it first")
    return path


def venv(name: str) -> Path:
    """A virtual environment with the packages of `requirements/<name>.txt`; made again when these change.

    Raises:
        SystemExit: a package cannot be had.
    """
    folder = FOLDER / name
    requirements = Path(__file__).parent / "requirements" / f"{name}.txt"
    wanted = "\n".join([sys.version, requirements.read_text()])
    made = folder / "made-of"
    if not made.exists() or made.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", folder], f"a virtual environment in {folder}")
        uv, python = [sys.executable, "-m", "uv"], folder / "bin" / "python"
        install = [*uv, "pip", "install", "--quiet", "--python", python, "--no-deps", "--no-build-isolation"]
        for lock in (ROOT / "requirements-build.txt", requirements):
            _run([*install, "--require-hashes", "-r", lock], f"{lock.name} from the package index")
        _run([*uv, "pip", "check", "--quiet", "--python", python], f"{name}, all of it")
        made.write_text(wanted)
    return folder


def site_packages(folder: Path) -> Path:
    """Where the packages of a virtual environment are."""
    [found] = (folder / "lib").glob("python*/site-packages")
    return found


def prism() -> Path:
    """Beam's Prism at the version of the installed SDK, built by Go.

    Raises:
        SystemExit: Go is missing, or the module cannot be had.
    """
    version = importlib.metadata.version("apache-beam")
    folder = FOLDER / f"prism-{version}"
    if not (folder / "prism").exists():
        go = command("go", "Go")
        module = f"github.com/apache/beam/sdks/v2/go/cmd/prism@v{version}"
        _run([go, "install", module], f"{module} from the Go module proxy", {"GOBIN": str(folder)})
    return folder / "prism"


def job_server(name: str) -> Path:
    """A job server of Beam with all it needs in one jar, put together by Maven from `job-servers/<name>.xml`.

    Raises:
        SystemExit: Maven or Java is missing, or a library cannot be had.
    """
    description = _JOB_SERVERS / f"{name}.xml"
    folder = FOLDER / f"{name}-job-server"
    jar = folder / f"{name}-job-server.jar"
    if not jar.exists() or jar.stat().st_mtime < description.stat().st_mtime:
        command("java", "Java 17")
        maven = command("mvn", "Maven")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        # Maven writes beside the description, so it gets one of its own.
        shutil.copy(description, folder / "pom.xml")
        package = [maven, "--batch-mode", "--quiet", "--file", folder / "pom.xml", "package"]
        _run(package, f"the libraries of {name}.xml")
        shutil.move(folder / "target" / jar.name, jar)
    return jar


def _run(arguments: Sequence[object], what: str, environment: Mapping[str, str] | None = None) -> None:
    print(f"getting {what}", flush=True)
    ended = subprocess.run(
        [str(argument) for argument in arguments], env={**os.environ, **(environment or {})}, check=False
    )
    if ended.returncode:
        raise SystemExit(f"error: {what}: cannot be had; what the command above says tells why")
