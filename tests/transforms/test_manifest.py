import itertools
import json
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline

from faceveil.transforms.errors import AccessError, AccountingError
from faceveil.transforms.formats.audit import ShardResult
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.inputs.match import add_digests
from faceveil.transforms.inputs.shard_layout import SplitLayout
from faceveil.transforms.inputs.summary import InputSummary, SplitSummary
from faceveil.transforms.manifest import JobDescription, WriteManifest, build_manifest, read_manifest

LAYOUT = {"train": SplitLayout(1, 1), "val": SplitLayout(1, 0)}
SUMMARY = InputSummary({"train": SplitSummary(images=3, record_files=1), "val": SplitSummary(images=2)}, ignored=4)
DESCRIPTION = JobDescription({"method": "blur", "digest": "d"}, {"name": "centerface", "sha256": "s"})


def results() -> list[ShardResult]:
    return [
        ShardResult(
            *("train-00000-of-00002", "train", 3, 1, 1, 1, 2, 500, "aa"),
            faces_per_image={2: 1, 0: 1},
            reasons={"empty": 1},
            engine="openvino",
            reencoded=1,
            fallback_faces=2,
        ),
        ShardResult("train-00001-of-00002", "train", 1, 1, 0, 0, 1, 50, "bb", {1: 1}, engine="tensorflow"),
        ShardResult("val-00000-of-00001", "val", 2, 0, 2, 0, 0, 80, "cc", {0: 2}, engine="openvino"),
    ]


def test_adds_up_whatever_the_order() -> None:
    manifests = [build_manifest(order, DESCRIPTION, LAYOUT, SUMMARY) for order in itertools.permutations(results())]
    assert all(manifest == manifests[0] for manifest in manifests)
    manifest = manifests[0]
    assert manifest["schema"] == 1
    assert manifest["job"] == {
        **{"method": "blur", "digest": "d", "engine": "openvino, tensorflow", "device": "", "precision": ""}
    }
    assert manifest["totals"] == {
        **{
            "records": 6,
            "anonymized": 2,
            "no_faces": 3,
            "quarantined": 1,
            "faces": 3,
            "reencoded": 1,
            "fallback_faces": 2,
            "ignored": 4,
        }
    }
    assert manifest["faces_per_image"] == {"0": 3, "1": 1, "2": 1}
    assert manifest["splits"]["val"]["records"] == 2
    assert manifest["shards"][0] == {
        **{"file": "train-00000-of-00002.tfrecord", "split": "train", "records": 2, "faces": 2},
        **{"bytes": 500, "sha256": "aa"},
    }


def test_a_lost_or_doubled_shard_fails_the_job() -> None:
    with pytest.raises(AccountingError, match="val-00000-of-00001"):
        build_manifest(results()[:2], DESCRIPTION, LAYOUT, SUMMARY)
    with pytest.raises(AccountingError, match="train-00000-of-00002"):
        build_manifest([*results(), results()[0]], DESCRIPTION, LAYOUT, SUMMARY)


def test_a_lost_image_fails_the_job() -> None:
    lost = results()
    lost[0].records -= 1
    lost[0].no_faces -= 1
    with pytest.raises(AccountingError, match="3 images were matched and 2 read"):
        build_manifest(lost, DESCRIPTION, LAYOUT, SUMMARY)


@pytest.mark.parametrize("change", [-1, 1])
def test_totals_that_do_not_balance_fail_the_job(change: int) -> None:
    wrong = results()
    wrong[1].anonymized += change
    with pytest.raises(AccountingError, match="do not balance"):
        build_manifest(wrong, DESCRIPTION, LAYOUT, SUMMARY)


def test_inputs_that_changed_meanwhile_fail_the_job() -> None:
    digests = [add_digests(["1f", "2e"]), "3d", "4c"]
    summary = replace(SUMMARY, digest=add_digests(digests))
    planned = [replace(result, inputs_digest=digest) for result, digest in zip(results(), digests, strict=True)]
    assert build_manifest(planned, DESCRIPTION, LAYOUT, summary)["totals"]["records"] == 6
    planned[1].inputs_digest = "5"
    with pytest.raises(AccessError, match="inputs changed while the job ran"):
        build_manifest(planned, DESCRIPTION, LAYOUT, summary)


def test_is_written_and_read_back(tmp_path: Path) -> None:
    output = OutputLayout(str(tmp_path / "out"), str(tmp_path / "trail"), "")
    assert read_manifest(output.directory) is None
    with TestPipeline() as pipeline:
        _ = pipeline | beam.Create(results()) | WriteManifest(output, DESCRIPTION, LAYOUT, SUMMARY)
    written = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert written == read_manifest(output.directory) == build_manifest(results(), DESCRIPTION, LAYOUT, SUMMARY)


def test_names_of_ignored_files_are_in_the_audit_trail_alone(tmp_path: Path) -> None:
    reasons = {"no image or TFRecord by its first bytes": 2}
    told = {ending: {"files": 2, "reasons": reasons, "examples": [f"anna{ending}"]} for ending in (".json", ".weber")}
    summary = replace(SUMMARY, ignored=4, ignored_files=told)
    output = OutputLayout(str(tmp_path / "out"), str(tmp_path / "trail"), "")
    with TestPipeline() as pipeline:
        _ = pipeline | beam.Create(results()) | WriteManifest(output, DESCRIPTION, LAYOUT, summary)
    written = (tmp_path / "out" / "manifest.json").read_text()
    assert json.loads(written)["ignored"] == {name: {"files": 2, "reasons": reasons} for name in (".json", "other")}
    assert "anna" not in written
    assert "weber" not in written
    assert json.loads((tmp_path / "trail" / "_ignored.json").read_text()) == told


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"schema": 2}', b"\xff"])
def test_a_foreign_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"manifest\.json"):
        read_manifest(str(tmp_path))
