"""What shells complete, asked of bash itself; other shells check their scripts where they are installed."""

import shutil
import subprocess
import sys

import pytest

ASK = """
eval "$FACEVEIL_COMPLETION"
complete -p faceveil >/dev/null
COMP_WORDS=(faceveil "$@")
COMP_CWORD=$#
COMPREPLY=()
_shtab_faceveil
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str) -> str:
    command = [sys.executable, "-m", "faceveil", "completion", shell]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def for_bash() -> str:
    return script("bash")


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("re", "report"),
        ("evaluate ", "anonymizers detector privacy"),
        ("run --score_t", "--score_threshold"),
        ("run --method ", "bar blur pixelate solid synthesize"),
        ("run --format p", "parquet"),
        ("verify --log_format ", "json text"),
        ("run --config /etc/pass", "/etc/passwd"),
    ],
)
def test_bash_completes_commands_options_and_values(line: str, completed: str, for_bash: str) -> None:
    words = line.split(" ")
    command = ["bash", "--norc", "-c", ASK, "bash", *words]
    environment = {"FACEVEIL_COMPLETION": for_bash, "PATH": "/usr/bin:/bin"}
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert set(ended.stdout.split()) >= set(completed.split())
    assert all(each.startswith(words[-1]) for each in ended.stdout.split())


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_their_script(shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    ended = subprocess.run([shell, "-n"], input=script(shell), capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
