import importlib.metadata
from dataclasses import replace

import pytest

from faceveil.pipeline.describe import describe_job, differences
from faceveil.pipeline.detection import ResolvedModel
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.inputs.shard_layout import SplitLayout
from faceveil.transforms.inputs.summary import InputSummary
from faceveil.transforms.manifest import JobDescription

OPTIONS = JobOptions(input=("in/*.jpg",), output="out")
SUMMARY = InputSummary(digest="inputs")
LAYOUT = {"data": SplitLayout(3, 1)}
MODEL = {"name": "centerface", "sha256": "0"}


def described(options: JobOptions = OPTIONS, summary: InputSummary = SUMMARY) -> JobDescription:
    return describe_job(options, summary, LAYOUT, MODEL)


def test_the_releases_of_all_that_decides_about_bytes_are_in_it() -> None:
    """What decodes, computes, masks, encodes or writes."""
    deciding = ["faceveil", "openvino", "tensorflow", "opencv-python-headless"]
    deciding += ["pillow", "pillow-heif", "simplejpeg", "pyarrow"]
    assert described().job["versions"] == {name: importlib.metadata.version(name) for name in deciding}


def test_another_release_is_another_job_and_only_that_one_is_told() -> None:
    here = described()
    versions = {**here.job["versions"], "pillow": "1.0", "pillow-heif": None}
    told = differences({"job": {**here.job, "versions": versions}, "model": here.model}, here)
    changed = {name: importlib.metadata.version(name) for name in ("pillow", "pillow-heif")}
    assert told == [f"versions: other than {changed} there"]


@pytest.mark.parametrize("job", [{}, {"versions": None}])
def test_a_description_without_versions_differs_in_all(job: dict[str, object]) -> None:
    here = described()
    without = {name: value for name, value in here.job.items() if name != "versions"}
    [told] = differences({"job": {**without, **job}, "model": here.model}, here)
    assert all(name in told for name in here.job["versions"])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"score_threshold": 0.5}, f"score_threshold: {OPTIONS.score_threshold} there, 0.5 here"),
        ({"max_pixels": 5}, "max_pixels: 150000000 there, 5 here"),
        ({"strict_features": True}, "strict_features: False there, True here"),
    ],
)
def test_what_differs_is_told_one_line_each(change: dict[str, object], line: str) -> None:
    here, there = described(replace(OPTIONS, **change)), described()  # type: ignore[arg-type]
    assert here.job["digest"] != there.job["digest"]
    assert differences({"job": there.job, "model": there.model}, here) == [line]


def test_only_limits_and_inputs_may_change_without_changing_the_settings() -> None:
    before = described()
    for other in (described(replace(OPTIONS, max_pixels=5)), described(summary=InputSummary(digest="others"))):
        assert other.job["settings_digest"] == before.job["settings_digest"]
        assert other.job["digest"] != before.job["digest"]
    assert described(replace(OPTIONS, method="bar")).job["settings_digest"] != before.job["settings_digest"]


def test_a_verifier_is_told_where_there_is_one() -> None:
    assert described().job["verifies"] is True
    assert "verifies" not in described(replace(OPTIONS, model=("centerface",))).job
    assert described(replace(OPTIONS, model=("centerface",), verifier="b")).job["verifies"] is True


def test_the_salt_counts_where_faces_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = ResolvedModel("embedded", "folder", "sha")
    drawn = []
    for salt in ("0123456789abcdef", "another0123456789"):
        monkeypatch.setenv("FACEVEIL_SALT", salt)
        options = JobOptions(input=("in/*.jpg",), output="out", method="synthesize")
        drawn.append(describe_job(options, SUMMARY, LAYOUT, MODEL, generator).job)
        assert "salt_fingerprint" not in describe_job(options, SUMMARY, LAYOUT, MODEL).job
        assert salt not in str(drawn)
    assert drawn[0]["salt_fingerprint"] != drawn[1]["salt_fingerprint"]
    assert drawn[0]["settings_digest"] != drawn[1]["settings_digest"]
    hidden = JobOptions(input=("in/*.jpg",), output="out")
    assert "salt_fingerprint" not in describe_job(hidden, SUMMARY, LAYOUT, MODEL, generator).job


def test_where_the_data_lie_does_not_count() -> None:
    elsewhere = replace(OPTIONS, input=("gs://bucket/*.jpg",), output="gs://bucket/out")
    assert described(elsewhere) == described()


def test_an_extra_that_is_not_installed_is_part_of_what_a_job_is(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = importlib.metadata.version

    def version(name: str) -> str:
        if name == "pillow-heif":
            raise importlib.metadata.PackageNotFoundError(name)
        return installed(name)

    before = described()
    monkeypatch.setattr(importlib.metadata, "version", version)
    assert described().job["versions"]["pillow-heif"] is None
    assert described().job["settings_digest"] != before.job["settings_digest"]
