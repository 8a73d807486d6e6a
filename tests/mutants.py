"""Do the tests notice? Changes the code a little, at random but seeded places, and runs the tests that should fail.

    python -m tests.mutants [--of transforms/anonymizers/masks.py] [--each 6] [--seed 1]

The changes are Cosmic Ray's (https://cosmic-ray.readthedocs.io/en/latest/reference/operators.html), in the modules that
decide about privacy and integrity. Each is made in a copy of the checkout. First the module's own tests run, then whole
jobs. Prints every change that no test notices, and the share of those that are; fails below ``--bar``.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

from tests.conftest import ROOT
from tests.test_architecture import TESTED_BY

MODULES = (
    *(f"transforms/anonymizers/{name}.py" for name in ("bar", "geometry", "masks", "methods", "paint")),
    *(f"transforms/codecs/{name}.py" for name in ("exif", "jpeg_coefficients", "jpeg_splice", "orientation")),
    *(f"transforms/detectors/{name}.py" for name in ("merge", "nms", "views")),
    *(f"transforms/formats/{name}.py" for name in ("audit", "checksums", "features", "tfrecord")),
    *(f"transforms/inputs/{name}.py" for name in ("keys", "match", "plan", "selection")),
    *(f"transforms/shard/{name}.py" for name in ("anonymize", "attempt", "compose", "detect", "read", "record")),
    *(f"transforms/shard/{name}.py" for name in ("resume", "write")),
    "transforms/manifest.py",
    *(f"pipeline/{name}.py" for name in ("describe", "lock", "output")),
)
WHOLE_JOBS = (
    *("tests/transforms/generators/test_synthesize.py", "tests/test_end_to_end.py", "tests/test_example_features.py"),
    *("tests/test_retry.py", "tests/test_restarts.py", "tests/test_hash_keys.py"),
)
_PARAMETERISED = ("Variable", "Keyword")
_SECONDS = 600


@dataclass(frozen=True)
class Mutant:
    """One changed module.

    Attributes:
        module: its path.
        line: of the change.
        operator: what was done.
        code: the whole changed module.
    """

    module: str
    line: int
    operator: str
    code: str

    def difference(self) -> str:
        """The lines that differ."""
        before = (ROOT / self.module).read_text().splitlines()
        lines = list(difflib.unified_diff(before, self.code.splitlines(), lineterm="", n=0))[3:]
        return "\n".join(f"    {line}" for line in lines)


def mutants_of(module: str, count: int, chance: random.Random) -> Iterator[Mutant]:
    """Some of a module's mutants, each at another place."""
    source = (ROOT / module).read_text()
    ignored = set(_lines_without_behaviour(ast.parse(source)))
    places = defaultdict(list)
    tree = get_ast(source)
    for name in operator_names():
        if any(word in name for word in _PARAMETERISED):
            continue
        operator = get_operator(name)()
        occurrence = 0
        for node in ast_nodes(tree):
            for start, end in operator.mutation_positions(node):
                if start[0] not in ignored:
                    places[start, end].append((name, occurrence))
                occurrence += 1
    for start, end in chance.sample(sorted(places), min(count, len(places))):
        name, occurrence = chance.choice(places[start, end])
        changed = mutate_code(source, get_operator(name)(), occurrence)
        if changed is not None and changed != source:
            yield Mutant(module, start[0], name, changed)


def _lines_without_behaviour(tree: ast.AST) -> Iterator[int]:
    """Annotations, type variables, and decorators of classes and properties, which only tools look at."""
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.FunctionDef):
            given = node.args
            every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
            parts = [node.returns, *(argument.annotation for argument in every), *node.decorator_list]
        elif isinstance(node, ast.AnnAssign):
            parts = [node.annotation]
        elif isinstance(node, ast.ClassDef):
            parts = list(node.decorator_list)
        elif isinstance(node, ast.Assign) and isinstance(node.value, (ast.BinOp, ast.Subscript)):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            parts = [node] if names and names[0].lstrip("_")[:1].isupper() and not names[0].isupper() else []
        for part in parts:
            if part is not None:
                yield from range(part.lineno, (part.end_lineno or part.lineno) + 1)  # type: ignore[attr-defined]


def tests_of(module: str) -> str:
    """The tests that are named after a module, or are said to test it."""
    path = Path(module)
    mirrored = Path("tests") / path.parent / f"test_{path.name}"
    if (ROOT / mirrored).exists():
        return str(mirrored)
    named = TESTED_BY[".".join(path.parent.parts)]
    return f"tests/{next(test for names, test in named.items() if path.stem in names.split())}"


def is_noticed(mutant: Mutant, copy: Path) -> str | None:
    """Which tests fail for a mutant: its module's own, or whole jobs; None if none does."""
    path = copy / mutant.module
    before = path.read_text()
    path.write_text(mutant.code)
    try:
        for tests in ((tests_of(mutant.module), mutant.module), WHOLE_JOBS):
            if not _pass(tests, copy):
                return "own tests" if tests is not WHOLE_JOBS else "whole jobs"
        return None
    finally:
        path.write_text(before)


def _pass(tests: tuple[str, ...], copy: Path) -> bool:
    paths = [test if test.startswith("tests/") else f"faceveil/{test}" for test in tests]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *paths]
    environment = {**os.environ, "PYTHONPATH": str(copy), "HYPOTHESIS_MAX_EXAMPLES": "100"}
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _copy_of_checkout(folder: Path) -> Path:
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    copy = folder / "main"
    for name in filter(None, files.split("\0")):
        if (ROOT / name).exists() or (ROOT / name).is_symlink():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    if (ROOT.parent / "shared").exists():
        (folder / "shared").symlink_to((ROOT.parent / "shared").resolve())
    return copy


def main() -> None:
    """Prints what no test has noticed, and the share of what was noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", nargs="+", default=MODULES, metavar="FILE", help="modules (default: those that matter)")
    parser.add_argument("--each", type=int, default=6, metavar="N", help="changes of each module (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bar", type=float, default=0.95, metavar="SHARE", help="(%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    given = parser.parse_args()
    mutants = [
        mutant
        for module in given.of
        for mutant in mutants_of(module, given.each, random.Random(f"{given.seed} {module}"))  # noqa: S311
    ]
    found: defaultdict[str | None, int] = defaultdict(int)
    with tempfile.TemporaryDirectory(prefix="faceveil-mutants-") as name:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(given.jobs):
            copies.put(_copy_of_checkout(Path(name, str(number))))

        def tell(mutant: Mutant) -> None:
            copy = copies.get()
            noticed = is_noticed(mutant, copy)
            copies.put(copy)
            found[noticed] += 1
            if noticed is None:
                print(f"{mutant.module}:{mutant.line}: no test notices\n{mutant.difference()}", flush=True)

        with ThreadPoolExecutor(given.jobs) as pool:
            list(pool.map(tell, mutants))
    noticed = len(mutants) - found[None]
    share = noticed / max(1, len(mutants))
    print(
        f"{noticed} of {len(mutants)} noticed, {share:.0%}: {found['own tests']} by own tests, the others by whole jobs"
    )
    sys.exit(share < given.bar)


if __name__ == "__main__":
    main()
