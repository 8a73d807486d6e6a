"""No job tells anybody of itself: every address that its processes ask the kernel for is seen, by strace."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import missing

_ADDRESS = re.compile(r'(?:inet_addr|inet_pton)\((?:AF_INET6, )?"([^"]+)"')
_CALLS = "connect,sendto,sendmsg,sendmmsg"


@pytest.fixture
def strace() -> list[str]:
    command = shutil.which("strace")
    if not command or subprocess.run([command, "true"], capture_output=True).returncode:
        missing("strace is not here, or may not look")
    return [command, "--follow-forks", f"--trace={_CALLS}"]


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--direct_running_mode=multi_processing", "--direct_num_workers=2", "--num_shards=2"],
        ["--engine=tensorflow", "--method=synthesize"],
    ],
    ids=["one process", "two processes", "TensorFlow"],
)
def test_a_local_job_connects_to_nobody_and_leaves_nothing_at_home(
    options: Sequence[str], photos: Path, tmp_path: Path, strace: list[str]
) -> None:
    job = ["-m", "faceveil", "run", "--input", f"{photos}/**", "--output", f"{tmp_path}/out", "--detect_size=320"]
    addresses = addresses_of([sys.executable, *job, *options], tmp_path, strace)
    assert addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert bool(addresses) == ("--num_shards=2" in options)  # what there is to be seen is seen


def test_neither_does_a_program_that_anonymizes_images(photos: Path, tmp_path: Path, strace: list[str]) -> None:
    script = "import faceveil, sys; faceveil.Anonymizer().anonymize(open(sys.argv[1], 'rb').read())"
    command = [sys.executable, "-c", script, str(photos / "people" / "portrait.jpeg")]
    assert addresses_of(command, tmp_path, strace) == set()


def addresses_of(command: Sequence[str], tmp_path: Path, strace: list[str]) -> set[str]:
    """What a command and its children connect to; they leave nothing in their home."""
    home, trace = tmp_path / "home", tmp_path / "trace"
    home.mkdir()
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ} | {
        "HOME": str(home),
        "FACEVEIL_CACHE": str(tmp_path / "cache"),  # empty: the models are built as well
        "FACEVEIL_SALT": "0123456789abcdef",
        # A proxy that nobody runs: what took it for loopback would wait for ever.
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }
    traced = [*strace, f"--output={trace}", *command]
    ended = subprocess.run(traced, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert list(home.iterdir()) == []
    return set(_ADDRESS.findall(trace.read_text()))
