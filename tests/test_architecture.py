"""What the folders promise: arrows go down only, no circles, small modules, one home for each name, a test for each."""

from __future__ import annotations

import ast
import functools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("transforms", "pipeline", "evaluation", "training")
NOT_INSTALLED = ROOT / "training" / "shipped"

FLOORS = (
    ("transforms.errors", "transforms.limits", "transforms.arrays", "transforms.kept_exif"),
    ("transforms.quarantine",),
    ("transforms.faces",),
    ("transforms.runtime",),
    ("transforms.storage", "transforms.models"),
    ("transforms.codecs",),
    ("transforms.formats", "transforms.anonymizers", "transforms.detectors"),
    ("transforms.generators", "transforms.inputs"),
    ("transforms.shard",),
    ("transforms.verification",),
    ("transforms.metrics",),
    ("transforms.anonymize_keyed", "transforms.anonymize_shards", "transforms.manifest", "transforms.verify_shards"),
    ("evaluation",),
    ("training",),
    ("pipeline",),
)
"""From the ground up: a module imports its own package and what lies on lower floors, nothing beside it."""

KNOWS_BEAM = {"pipeline", "transforms.storage", "transforms.inputs.plan", "transforms.manifest"}
KNOWS_BEAM |= {"transforms.inputs.planned"}
KNOWS_BEAM |= {"transforms.anonymize_keyed", "transforms.anonymize_shards", "transforms.metrics"}
KNOWS_BEAM |= {"transforms.verify_shards"}
KNOWS_NO_IMAGES = {"transforms.runtime", "transforms.storage", "transforms.models"}
IMAGE_LIBRARIES = {"cv2", "PIL", "pillow_heif", "simplejpeg"}
MAX_LINES = 400
OF_EVERY_FORMAT = {"check_profile", "chunks", "clean", "decode", "encode", "join", "open_image", "picture", "probe"}
OF_EVERY_FORMAT |= {"strip", "units", "used_bytes", "without_metadata"}
"""What modules of formats have in common, always called by their module's name, as in ``png.strip``."""

# The modules without a test by their name, and where their behaviour is tested.
TESTED_BY = {
    "transforms": {
        "arrays errors faces kept_exif limits quarantine": "transforms/shard/test_record.py",
        "metrics": "transforms/test_anonymize_shards.py",
        "verify_shards": "pipeline/test_verify.py",
    },
    "transforms.anonymizers": {
        "blocks blur cells paint pixelate scene solid style": "transforms/anonymizers/test_methods.py",
        "geometry": "transforms/anonymizers/test_masks.py",
    },
    "transforms.codecs": {
        "accounting jpeg_stream jpeg_markers": "transforms/codecs/test_jpeg_streams.py",
        "jpeg jpeg_strip": "transforms/codecs/test_jpeg_segments.py",
        "av1_frame av1_sequence": "transforms/codecs/test_av1.py",
        "bits ccitt lzw tiff_segments tiff_tags tiff_directory": "transforms/codecs/test_hidden_streams_tiff.py",
        "headers spellings": "transforms/formats/test_embedded.py",
        "heif image pillow sixteen_bits strip": "transforms/codecs/test_metadata.py",
        "hevc": "transforms/codecs/test_hidden_streams_hevc.py",
        "icc_types": "transforms/codecs/test_icc.py",
        "isobmff_boxes isobmff_items isobmff_payloads isobmff_read": "transforms/codecs/test_hidden_streams_isobmff.py",
        "isobmff_tails": "transforms/codecs/test_hidden_streams_tiles.py",
        "palettes png_chunks": "transforms/codecs/test_hidden_streams.py",
        "webp webp_streams": "transforms/codecs/test_hidden_streams_webp.py",
    },
    "transforms.detectors": {"candidates contract": "transforms/detectors/test_engine.py"},
    "transforms.formats": {
        "container": "transforms/formats/test_parquet_files.py",
        "file_names": "test_hash_keys.py",
        "layout": "transforms/test_anonymize_shards.py",
        "parquet_columns": "transforms/formats/test_parquet_files.py",
        "tfrecord_files": "transforms/inputs/test_parts.py",
    },
    "transforms.generators": {
        "network": "training/shipped/test_generator.py",
        "geometry": "transforms/generators/test_crops.py",
    },
    "transforms.inputs": {
        "keys": "test_hash_keys.py",
        "planned": "test_update.py",
        "shard_layout": "transforms/inputs/test_plan.py",
    },
    "transforms.models": {
        "engines frameworks": "transforms/detectors/test_engine.py",
        "onnx_engine": "transforms/detectors/test_onnx_load.py",
    },
    "transforms.shard": {
        "changes contents": "transforms/shard/test_update.py",
        "compose": "transforms/shard/test_anonymize.py",
        "others": "test_folders.py",
        "written": "pipeline/test_inspect_output.py",
        "shard_format": "transforms/shard/test_write.py",
        "parquet_shard tfrecord_shard webdataset_shard": "transforms/shard/test_file_shard.py",
        "worker": "transforms/test_anonymize_shards.py",
    },
    "transforms.verification": {"findings records shards unaccounted": "pipeline/test_verify.py"},
    "transforms.storage": {"base gcs s3": "transforms/storage/test_object_stores.py"},
    "pipeline": {
        "access": "test_cloud_storage.py",
        "console models_command report": "pipeline/test_cli.py",
        "doctor_command": "pipeline/test_doctor.py",
        "extract find_rows inspect_command written_output": "pipeline/test_inspect_output.py",
        "contact_sheet preview_command terminal_pictures": "pipeline/test_preview.py",
        "caller": "pipeline/test_run.py",
        "detection launch": "test_end_to_end.py",
        "planning": "test_update.py",
        "output_columns": "test_formats_of_records.py",
        "tfds_info": "test_tfds.py",
        "evaluate": "pipeline/test_evaluate_command.py",
        "data_options option_checks option_parsing option_values salt": "pipeline/test_options.py",
        "restart supervise": "test_crashes.py",
        "verify_command verify_options verify_report": "pipeline/test_verify.py",
        "train_detector_command training_options": "pipeline/test_train_detector.py",
        "anonymized_photos": "pipeline/test_evaluate_anonymizers.py",
    },
    "pipeline.report_page": {"plots style": "pipeline/report_page/test_page.py"},
    "pipeline.runners": {
        "dataflow remote_job staging": "dataflow/test_request.py",
        "local": "test_crashes.py",
    },
    "training": {
        "architectures": "training/test_anchors.py",
        "batches": "training/test_augment.py",
        "checkpoint export settings validate": "training/test_fit.py",
        "detections": "pipeline/test_evaluate_anonymizers.py",
    },
    "evaluation": {
        "group_report report": "pipeline/test_evaluate_command.py",
        "privacy_report": "pipeline/test_evaluate_privacy.py",
        "anonymizers_report": "pipeline/test_evaluate_anonymizers.py",
    },
}


@functools.cache
def modules() -> dict[str, ast.Module]:
    """All modules by name, the package's own prefix left out."""
    return {_name(path): ast.parse(path.read_text()) for path in _paths()}


def _paths() -> list[Path]:
    found = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [path for path in found if NOT_INSTALLED not in path.parents]


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.Module) -> Iterator[str]:
    """Everything that a module imports, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def edges() -> dict[str, set[str]]:
    """Which of our modules each of them imports."""
    known = modules().keys()
    return {
        name: {found for given in imports(tree) if (found := given.removeprefix("faceveil.")) in known} - {name}
        for name, tree in modules().items()
    }


def belongs(name: str, places: set[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def package_of(name: str) -> str:
    return next((place for floor in FLOORS for place in floor if name == place or name.startswith(f"{place}.")), "")


def test_arrows_go_down_only() -> None:
    floor_of = {place: number for number, floor in enumerate(FLOORS) for place in floor}
    wrong = []
    for name, found in edges().items():
        for other in found:
            here, there = package_of(name), package_of(other)
            if here and there and here != there and floor_of[there] >= floor_of[here]:
                wrong.append(f"{name} -> {other}")
    assert wrong == []


def test_every_module_has_its_floor() -> None:
    assert [name for name in modules() if name not in ("transforms",) and not package_of(name)] == []


def test_there_are_no_circles() -> None:
    # What a package's __init__ re-exports is no import of the modules that lie in it.
    left = {name: {o for o in found if not name.startswith(f"{o}.")} for name, found in edges().items()}
    while leaves := [name for name, found in left.items() if not found & left.keys()]:
        for name in leaves:
            del left[name]
    in_circles = left.keys() & set().union(*left.values()) if left else set()
    assert in_circles == set()


@pytest.mark.parametrize("library", sorted(IMAGE_LIBRARIES))
def test_what_runs_anything_knows_no_images(library: str) -> None:
    users = {name for name, tree in modules().items() if any(belongs(i, {library}) for i in imports(tree))}
    assert [name for name in users if belongs(name, KNOWS_NO_IMAGES)] == []


def test_image_code_knows_no_beam() -> None:
    users = {name for name, tree in modules().items() if any(belongs(i, {"apache_beam"}) for i in imports(tree))}
    assert [name for name in sorted(users) if not belongs(name, KNOWS_BEAM)] == []


def test_no_module_is_long() -> None:
    paths = [*_paths(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    long = {str(path): lines for path in paths if (lines := len(path.read_text().splitlines())) > MAX_LINES}
    assert long == {}


def test_no_name_is_defined_twice() -> None:
    homes = defaultdict(list)
    for name, tree in modules().items():
        for defined in _public_names(tree):
            homes[defined].append(name)
    twice = {defined: places for defined, places in homes.items() if len(places) > 1}
    for defined in OF_EVERY_FORMAT:
        twice[defined] = [place for place in twice.get(defined, []) if not belongs(place, {"transforms.codecs"})]
    assert {defined: places for defined, places in twice.items() if len(places) > 1} == {}


def _public_names(tree: ast.Module) -> set[str]:
    names = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_") and name != "main"}


def test_every_module_has_its_test_or_a_reason_why_not() -> None:
    without = set()
    for name in modules():
        place = ROOT / "tests" / Path(*name.split("."))
        if not place.is_dir() and not place.with_name(f"test_{place.name}.py").exists():
            without.add(name)
    assert without == {f"{package}.{name}" for package, named in TESTED_BY.items() for name in " ".join(named).split()}


@pytest.mark.parametrize("test", sorted({f"{p}:{t}" for p, named in TESTED_BY.items() for t in named.values()}))
def test_the_test_that_is_named_instead_exists(test: str) -> None:
    path = test.partition(":")[2]
    assert (ROOT / "tests" / path).exists()
