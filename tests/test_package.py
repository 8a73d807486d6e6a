import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_all_that_a_worker_needs_and_no_more(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("evaluation", "faceveil", "pipeline", "tests", "training", "transforms"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, source)
    command = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, source]
    subprocess.run([sys.executable, *command], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    data = {"centerface_covered.npz", "centerface_covered_int8.json", "centerface_int8.json"}
    assert {f"faceveil/transforms/detectors/{name}" for name in data} <= set(names)
    packages = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert packages == {"faceveil"}
    modules = {name for name in names if name.endswith(".py")}
    for package in ("evaluation", "pipeline", "transforms"):
        assert {f"faceveil/{path.relative_to(ROOT)}" for path in (ROOT / package).rglob("*.py")} <= modules
