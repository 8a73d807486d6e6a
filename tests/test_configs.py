"""The configurations that are shipped are accepted as they are."""

import ast
from pathlib import Path

import pytest

from faceveil.pipeline.option_parsing import build_options
from faceveil.pipeline.options import FIELDS
from tests.conftest import ROOT

CONFIGS = ROOT / "configs"
METHODS = FIELDS["method"].metadata["allowed"]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_key_is_an_option(path: Path) -> None:
    options, beam_flags = build_options({"input": ["photos/**"], "output": "out"}, [], str(path))
    assert options.method in METHODS
    assert len(beam_flags) == len(set(beam_flags))


def test_airflow_offers_every_method() -> None:
    # Airflow is not installed here, so the DAG is read, not run.
    tree = ast.parse((CONFIGS / "airflow" / "anonymize_dataset.py").read_text())
    [methods] = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_METHODS"
    ]
    assert methods == list(METHODS)
