"""faceveil as people install it: the wheel and the sdist, by old and new pip and by uv, on every Python that is here.

    make test-install

Each environment gets the locked requirements and the package, nothing else. The jobs then run from a folder whose files
are named like faceveil's own, without network, and with a home that cannot be written.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, SKIMAGE_DATA
from tests.install.locks import LOCKS, Lock, check

VERSIONS = ("3.11", "3.12", "3.13")
OLDEST_PIP = {"3.11": "22.3", "3.12": "23.2", "3.13": "24.1"}
"""What came with each Python, or as old as works on it."""

OWN_MODULES = ("evaluation", "pipeline", "training", "transforms")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.file)
def test_a_lock_is_complete_and_consistent(lock: Lock) -> None:
    assert check(lock, (ROOT / lock.file).read_text()) == ""


@pytest.mark.parametrize("lock", [*LOCKS[:1], *LOCKS[2:4]], ids=lambda lock: lock.file)
@pytest.mark.parametrize(
    "name",
    [
        "protobuf",  # our own requirement
        "google-auth-httplib2",  # one of a requirement's requirements
        "cryptography",  # what the extra pyopenssl of google-auth, which BigQuery's client asks for, needs
        "colorama",  # needed on Windows only
        "importlib-metadata",  # needed on Python 3.11 only
    ],
)
def test_a_pin_that_is_taken_out_is_missed(lock: Lock, name: str) -> None:
    pins = (ROOT / lock.file).read_text()
    without = _without(pins, name)
    if without == pins:
        pytest.skip(f"{lock.file} has no use for {name}")
    assert f"+{name}==" in check(lock, without)


def test_a_pin_that_does_not_fit_is_refused() -> None:
    pins = (ROOT / LOCKS[0].file).read_text()
    assert "No solution found" in check(LOCKS[0], pins.replace("\nprotobuf==6", "\nprotobuf==7"))


def _without(pins: str, name: str) -> str:
    """A lock without the blocks of a package."""
    kept, inside = [], False
    for line in pins.splitlines(keepends=True):
        if not line.startswith((" ", "#")):
            inside = line.startswith(f"{name}==")
        if not inside:
            kept.append(line)
    return "".join(kept)


@dataclass(frozen=True)
class Installation:
    """A virtual environment with faceveil in it."""

    folder: Path

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    @property
    def faceveil(self) -> str:
        return str(self.folder / "bin" / "faceveil")


def run(*command: object, **options: Any) -> str:
    ended = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert ended.returncode == 0, f"{command}\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
    return str(ended.stdout)


def pythons() -> dict[str, str]:
    """Every Python here that faceveil runs on, by version: on the PATH, or kept by pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = {}
    for version in VERSIONS:
        for python in (f"python{version}", *map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python")))):
            try:
                said = subprocess.run(
                    [python, "-c", "import ensurepip, sys; print(sys.executable)"], capture_output=True
                )
            except OSError:
                continue
            if said.returncode == 0:
                found[version] = said.stdout.decode().strip()
                break
    return found


def _cases() -> list[tuple[str, str, str]]:
    """Version, installer and artifact: every version and every installer, in pairs."""
    ways = (("oldest pip", "wheel"), ("newest pip", "sdist"), ("uv", "wheel"))
    versions = list(pythons())
    return [(versions[number % len(versions)], *ways[number % 3]) for number in range(max(3, len(versions)))]


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"
    tracked = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    for name in filter(None, tracked):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name, follow_symlinks=False)
    run(sys.executable, "-m", "uv", "build", "--no-build-isolation", "--out-dir", folder, source)
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


@pytest.fixture(scope="session", params=_cases(), ids="-".join)
def installation(
    request: pytest.FixtureRequest, artifacts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Installation:
    version, installer, artifact = request.param
    folder = tmp_path_factory.mktemp("environment")
    python = folder / "bin" / "python"
    install: tuple[str | Path, ...]
    checked: tuple[str | Path, ...]
    if installer == "uv":
        uv = (sys.executable, "-m", "uv")
        run(*uv, "venv", "--quiet", "--clear", "--python", pythons()[version], folder)
        install = (*uv, "pip", "install", "--quiet", "--python", python)
        checked = (*uv, "pip", "check", "--quiet", "--python", python)
    else:
        run(pythons()[version], "-m", "venv", folder)
        pip = f"pip=={OLDEST_PIP[version]}" if installer == "oldest pip" else "pip"
        run(python, "-m", "pip", "install", "--quiet", "--upgrade", pip)
        install = (python, "-m", "pip", "install", "--quiet")
        checked = (python, "-m", "pip", "check")
    for lock in ("requirements-build.txt", "requirements.txt"):
        run(*install, "--no-deps", "--no-build-isolation", "--require-hashes", "-r", ROOT / lock)
    run(*install, "--no-deps", "--no-build-isolation", artifacts[artifact])
    run(*checked)
    return Installation(folder)


@pytest.fixture
def alone(tmp_path: Path) -> Callable[..., list[str]]:
    """Makes a command run without network and with a home that cannot be written, where this machine lets us."""
    home = tmp_path / "home"
    home.mkdir()
    apart = ["unshare", "--map-root-user", "--net", "--mount"]
    if subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("no namespaces can be made here, so nothing can be kept from the network")

    def command(*arguments: object) -> list[str]:
        return [*apart, sys.executable, str(Path(__file__).with_name("alone.py")), str(home), *map(str, arguments)]

    return command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with photos, and with files that are named like faceveil's packages."""
    folder = tmp_path / "work"
    folder.mkdir()
    for name in OWN_MODULES:
        (folder / f"{name}.py").write_text("raise RuntimeError('the module of the working folder was imported')\n")
    (folder / "evaluation.py").unlink()
    (folder / "evaluation").mkdir()
    (folder / "evaluation" / "__init__.py").write_text("raise RuntimeError('the package of the working folder')\n")
    (folder / "photos").mkdir()
    for number in range(12):
        name = ("astronaut.png", "coffee.png")[number % 2]
        shutil.copy(SKIMAGE_DATA / name, folder / "photos" / f"{number}-{name}")
    return folder


def totals(folder: Path) -> dict[str, int]:
    return dict(json.loads((folder / "out" / "manifest.json").read_text())["totals"])


ALL = {"records": 12, "anonymized": 6, "no_faces": 6, "quarantined": 0}


def test_no_module_of_ours_is_at_the_top_but_one(installation: Installation) -> None:
    script = """
import importlib.metadata, json
print(json.dumps([name for name, of in importlib.metadata.packages_distributions().items() if "faceveil" in of]))
"""
    assert json.loads(run(installation.python, "-c", script)) == ["faceveil"]


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--direct_running_mode=multi_processing", "--direct_num_workers=2", "--num_shards=4"],
        ["--engine=tensorflow", "--method=synthesize", "--detect_size=320"],
    ],
    ids=["one process", "two processes", "TensorFlow"],
)
def test_a_job_runs_alone(
    installation: Installation, folder: Path, alone: Callable[..., list[str]], options: Sequence[str]
) -> None:
    environment = os.environ | {
        "FACEVEIL_SALT": "0123456789abcdef",
        "http_proxy": "http://127.0.0.1:9",
        "PYTHONPATH": ".",
    }
    command = alone(installation.faceveil, "run", "--input", "photos/*", "--output", "out", *options)
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert ALL.items() <= totals(folder).items()
    assert "is built in a temporary folder, since the cache cannot be written" in ended.stderr


_PROGRAM = """
import json
import faceveil
manifest = faceveil.run(input="photos/*", output="out")
with open("photos/0-astronaut.png", "rb") as photo:
    made = faceveil.Anonymizer().anonymize(photo.read())
with open("anonymized.png", "wb") as file:
    file.write(made)
print(json.dumps(manifest["totals"]))
"""


def test_a_program_calls_it(installation: Installation, folder: Path, alone: Callable[..., list[str]]) -> None:
    (folder / "program.py").write_text(_PROGRAM)
    command = alone(installation.python, "program.py")
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == totals(folder)
    assert ALL.items() <= totals(folder).items()
    assert (folder / "anonymized.png").read_bytes()[:4] == b"\x89PNG"


def test_a_killed_job_goes_on(installation: Installation, folder: Path, alone: Callable[..., list[str]]) -> None:
    job = ["run", "--input", "photos/*", "--output", "out", "--num_shards", "6"]
    # From the second run on by `python -m`, which looks for modules in the working folder first.
    process = subprocess.Popen(alone(installation.faceveil, *job), cwd=folder, start_new_session=True)
    while not list(folder.glob("out.audit/*.parquet")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "out" / "manifest.json").exists()
    again = alone(installation.python, "-m", "faceveil", *job)
    ended = subprocess.run(again, cwd=folder, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert ALL.items() <= totals(folder).items()
