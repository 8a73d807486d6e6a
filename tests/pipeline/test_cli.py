import subprocess
import sys
from pathlib import Path

import pytest

import faceveil

HEAVY = ("apache_beam", "cv2", "google.auth", "numpy", "openvino", "pyarrow", "tensorflow")
_SCRIPT = f"""
import sys
from faceveil.pipeline.cli import main
try:
    status = main(sys.argv[1:])
except SystemExit as ended:
    status = ended.code
print([name for name in {HEAVY} if name in sys.modules])
sys.exit(status)
"""
RUN = ["run", "--input", "in", "--output", "out"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--version"], 0, faceveil.__version__),
        (["--help"], 0, "exit status:"),
        (["run", "--help"], 0, "--score_threshold SCORE"),
        (["evaluate", "detector", "--help"], 0, "--annotations PATH"),
        (["evaluate", "privacy", "--help"], 0, "--identities GLOB"),
        (["verify", "--help"], 0, "--max_residual SHARE"),
        (["verify", "out", "--sample", "0"], 2, "--sample 0: must be at least 1"),
        (["verify", "out", "--sample", "5", "--fix"], 2, "--fix: needs all records looked at"),
        (["preview", "--help"], 0, "--compare {method,quality}"),
        (["inspect", "--help"], 0, "--extract DIR"),
        (["report", "--help"], 0, "--summary"),
        (["models"], 0, "centerface-int8"),
        (["run", "--output", "out"], 2, "--input: is required"),
        ([*RUN, "--method", "foo"], 2, "--method foo: must be one of"),
        ([*RUN, "--score_threshold", "7"], 2, "--score_threshold 7: must be more than 0 and at most 1"),
        ([*RUN, "--scorethreshold", "0.5"], 2, "did you mean score_threshold?"),
        ([*RUN, "--direct_num_wrkers=2"], 2, "did you mean direct_num_workers?"),
        ([*RUN, "--runner=Foo"], 2, "--runner Foo: must be one of DataflowRunner"),
        ([*RUN, "--config", "gone.yaml"], 2, "--config gone.yaml: cannot be read"),
        ([*RUN, "--method", "synthesize"], 2, "needs a secret salt"),
        ([*RUN, "--method", "synthesize", "--salt_file", "gone"], 2, "--salt_file gone: cannot be read"),
        (["frobnicate"], 2, "invalid choice: 'frobnicate'"),
    ],
)
def test_help_and_refusals_load_nothing_heavy(arguments: list[str], status: int, said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _SCRIPT, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={"COLUMNS": "200"})
    assert ended.returncode == status
    assert said in ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1] == "[]"
