import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
WEIGHTS = ("centerface.onnx", "centerface_covered.npz", "centerface_covered_int8.json", "centerface_int8.json")


def test_the_wheel_holds_all_that_a_worker_needs_and_no_more(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("evaluation", "faceveil", "pipeline", "tests", "training", "transforms"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "NOTICE", "README.md", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, source)
    command = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([sys.executable, *command, tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {
        "faceveil/__init__.py",
        "faceveil/py.typed",
        *(f"faceveil/transforms/detectors/{name}" for name in WEIGHTS),
    } <= set(names)
    cards = {name.removesuffix(".md") for name in names if name.endswith(".md")}
    assert {re.sub(r"(_int8)?\.\w+$", "", name) for name in names if name.endswith((".npz", ".onnx"))} == cards
    licences = {name.rsplit("/", 1)[1] for name in names if "/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}
    packages = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert packages == {"faceveil"}
    modules = {name for name in names if name.endswith(".py")}
    for package in ("evaluation", "pipeline", "training", "transforms"):
        here = {f"faceveil/{path.relative_to(ROOT)}" for path in (ROOT / package).rglob("*.py")}
        assert {name for name in here if not name.startswith("faceveil/training/shipped/")} <= modules
    assert not any(name.startswith("faceveil/training/shipped/") for name in names)
    # All that the package offers is found in it, however it is on the path.
    script = "import faceveil; print([getattr(faceveil, name) for name in faceveil.__all__] and faceveil.__file__)"
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    found = subprocess.run([sys.executable, "-P", "-c", script], env=environment, capture_output=True, text=True)
    assert found.stdout.startswith(str(wheel)), found.stderr


def test_set_up_says_what_to_install_where_no_python_fits(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "requirements-build.txt", "requirements-dev.txt", "setup.py"):
        shutil.copy(ROOT / name, tmp_path)
    too_old, without_venv = tmp_path / "too-old", tmp_path / "without-venv"
    too_old.write_text("#!/bin/sh\nexit 1\n")
    without_venv.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 0\necho "ensurepip is not available" >&2\nexit 1\n')
    for stub in (too_old, without_venv):
        stub.chmod(0o755)
    pythons = f"no-such-python {too_old} {without_venv}"
    ended = subprocess.run(["make", "setup", f"PYTHON={pythons}"], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 2
    assert f"no Python 3.11, 3.12 or 3.13 here makes a virtual environment (tried {pythons}" in ended.stderr
    assert f"{without_venv} cannot make one" in ended.stderr
    assert "apt-get install python3-venv" in ended.stderr
    assert not (tmp_path / ".venv" / "ready").exists()
