"""The configurations that are shipped are accepted as they are."""

import ast
import json
from pathlib import Path
from typing import Any

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


def template_parameters() -> dict[str, dict[str, Any]]:
    template = json.loads((CONFIGS / "flex_template.json").read_text())
    return {parameter["name"]: parameter for parameter in template["parameters"]}


def test_airflow_gives_the_template_what_it_requires() -> None:
    tree = ast.parse((CONFIGS / "airflow" / "anonymize_dataset.py").read_text())
    [given] = [
        value
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "parameters"
    ]
    assert isinstance(given, ast.Dict)
    names = {key.value for key in given.keys if isinstance(key, ast.Constant)}
    assert names <= template_parameters().keys()
    required = {name for name, parameter in template_parameters().items() if not parameter.get("isOptional")}
    assert required <= names
