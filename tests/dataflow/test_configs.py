"""The files in configs/ that Dataflow needs agree with the options, with the lock and with each other."""

import json
import re
import tomllib
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from faceveil.pipeline.option_parsing import build_options, check_flags
from faceveil.pipeline.options import FIELDS
from faceveil.pipeline.runners import dataflow
from tests.conftest import ROOT
from tests.dataflow.dockerfile import Instruction, read_dockerfile

CONFIGS = ROOT / "configs"
DOCKERFILE = read_dockerfile(CONFIGS / "Dockerfile")
DOCKERFILE_TEXT = (CONFIGS / "Dockerfile").read_text()
TEMPLATE = json.loads((CONFIGS / "flex_template.json").read_text())


def arguments(name: str) -> list[str]:
    return [instruction.arguments for instruction in DOCKERFILE if instruction.name == name]


def variables() -> dict[str, str]:
    return dict(argument.split("=", 1) for argument in arguments("ENV"))


@pytest.mark.parametrize("name", ["dataflow.yaml", "dataflow_gpu.yaml"])
def test_they_are_complete_but_for_what_is_the_user_s(name: str) -> None:
    flags = {"input": ["gs://bucket/**"], "output": "gs://bucket/out"}
    own = [
        "--project=a-project",
        "--region=europe-west4",
        "--temp_location=gs://bucket/temp",
        "--sdk_container_image=a/b:1",
    ]
    options, beam_flags = build_options(flags, own, str(CONFIGS / name))
    dataflow.check_options(options, PipelineOptions(beam_flags))


def pin(requirements: str, name: str) -> str:
    [version] = re.findall(rf"^{name}==(\S+)", (ROOT / requirements).read_text(), re.MULTILINE)
    return str(version)


def test_the_image_has_the_versions_of_the_lock() -> None:
    beam = pin("requirements.txt", "apache-beam")
    assert f"pip install uv=={pin('requirements-dev.txt', 'uv')}" in arguments("RUN")
    launcher = "gcr.io/dataflow-templates-base/python311-template-launcher-base:latest"
    stages = [f"apache/beam_python3.11_sdk:{beam} AS beam", f"{launcher} AS launcher", "python:3.11-slim"]
    assert arguments("FROM") == stages
    assert "--from=beam /opt/apache/beam /opt/apache/beam" in arguments("COPY")


def test_each_base_image_can_be_named_by_its_digest() -> None:
    given = {name.partition("=")[0] for name in arguments("ARG")}
    assert {"PYTHON_IMAGE", "BEAM_IMAGE", "LAUNCHER_IMAGE"} <= given
    assert all(source.startswith("${") for source in re.findall("^FROM (.+)", DOCKERFILE_TEXT, re.MULTILINE))


def test_the_gpu_s_lock_is_the_other_with_cuda() -> None:
    pins, gpu_pins = (
        set(re.findall(r"^\S+==\S+", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements.txt", "requirements-gpu.txt")
    )
    assert pins <= gpu_pins
    assert {pin.split("-")[0] for pin in gpu_pins - pins} == {"nvidia"}


def test_the_image_holds_all_that_is_installed_and_started() -> None:
    copied = {source for argument in arguments("COPY") for source in argument.split()[:-1]}
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {name.rstrip("*") for name in packages} <= copied
    main = variables()["FLEX_TEMPLATE_PYTHON_PY_FILE"].removeprefix("/opt/faceveil/")
    assert main.split("/")[0] in copied
    assert (ROOT / main).is_file()
    assert DOCKERFILE[-1] == Instruction("ENTRYPOINT", '["/opt/apache/beam/boot"]')


@pytest.mark.parametrize("parameter", TEMPLATE["parameters"], ids=lambda parameter: parameter["name"])
def test_a_template_s_parameters_are_options(parameter: dict[str, Any]) -> None:
    name = parameter["name"]
    assert name in {*FIELDS, "config", "sdk_container_image"}
    assert parameter["label"]
    regexes = [re.compile(regex) for regex in parameter.get("regexes", [])]
    option = FIELDS.get(name)
    if option is None:
        return
    # A template's launcher gives texts only, and each name once.
    assert option.metadata["parse"] is not bool
    told = re.search(r"Default: (\S+)\.$", parameter["helpText"])
    if option.default not in (None, "", ()):
        assert told
        assert told[1] == str(option.default)
        assert check_flags({name: told[1]}) == {name: option.default}
        assert all(regex.search(told[1]) for regex in regexes)
    allowed = option.metadata["allowed"]
    if isinstance(allowed, tuple):
        assert parameter["paramType"] == "ENUM"
        assert tuple(choice["value"] for choice in parameter["enumOptions"]) == allowed
