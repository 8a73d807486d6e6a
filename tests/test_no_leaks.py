"""What a job writes, read by exiftool: of all that files carry beside their pixels, only what is allowed is left.

The inputs are read in the same way, as a control: there it does find what must go.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from faceveil.pipeline.cli import main
from tests.conftest import SHARED_DATA, SKIMAGE_DATA
from tests.test_end_to_end import examples, rows

pytestmark = pytest.mark.usefixtures("centerface", "exiftool")

# Of what file system and exiftool itself say, and what it computes from other tags, nothing is in the file.
NOT_IN_THE_FILE = ("SourceFile", "System:", "ExifTool:", "Composite:")
# How pixels are stored, their colours, density and orientation; groups whole where they hold nothing else.
ALLOWED_GROUPS = ("File:", "ICC", "JFIF:", "Adobe:", "PNG-pHYs:", "QuickTime:QuickTime_HEVCConfig_")
ALLOWED = {
    "IFD0": "BitsPerSample Compression ExtraSamples FillOrder ImageHeight ImageWidth InkSet JPEGTables MaxSampleValue "
    "MinSampleValue Orientation PhotometricInterpretation PlanarConfiguration Predictor PrimaryChromaticities "
    "ReferenceBlackWhite ResolutionUnit RowsPerStrip SMaxSampleValue SMinSampleValue SampleFormat SamplesPerPixel "
    "StripByteCounts StripOffsets SubfileType TileByteCounts TileLength TileOffsets TileWidth WhitePoint XResolution "
    "YCbCrCoefficients YCbCrPositioning YCbCrSubSampling YResolution "
    # What exiftool takes the strips of a JPEG-compressed TIFF for, a directory that has no others.
    "PreviewImage PreviewImageLength PreviewImageStart",
    "PNG": "BackgroundColor BitDepth BlueX BlueY ColorType Compression Filter Gamma GreenX GreenY ImageHeight "
    "ImageWidth Interlace Palette ProfileName RedX RedY SRGBRendering SignificantBits Transparency "
    "WhitePointX WhitePointY",
    "GIF": "BackgroundColor BitsPerPixel ColorResolutionDepth GIFVersion HasColorMap ImageHeight ImageWidth "
    "TransparentColor",
    "RIFF": "AlphaCompression AlphaFiltering AlphaPreprocessing HorizontalScale ImageHeight ImageWidth VP8Version "
    "VerticalScale WebP_Flags AlphaIsUsed",
    "Meta": "PrimaryItemReference",
    "QuickTime": "AV1ConfigurationVersion AuxiliaryImageType AverageFrameRate BitDepthChroma BitDepthLuma ChromaFormat "
    "ChromaSamplePosition CleanAperture ColorPrimaries ColorProfiles CompatibleBrands ConstantFrameRate "
    "ConstraintIndicatorFlags GenProfileCompatibilityFlags GeneralLevelIDC GeneralProfileIDC GeneralProfileSpace "
    "GeneralTierFlag HEVCConfigurationVersion HandlerType ImagePixelDepth ImageSpatialExtent InitialDelaySamples "
    "MajorBrand MatrixCoefficients MediaData MediaDataOffset MediaDataSize MinSpatialSegmentationIDC MinorVersion "
    "NumTemporalLayers ParallelismType QuickTime_ColorRep_0x000a Rotation SeqProfile SeqTier0 TemporalIDNested "
    "TransferCharacteristics Unknown_clli Unknown_imir VideoFullRangeFlag",
}
# What macOS says of a display beside its colours, in the profiles of four files, which then have another checksum.
OF_A_DISPLAY = (
    *("ICC_Profile:MakeAndModel", "ICC_Profile:NativeDisplayInfo", "ICC_Profile:ProfileDescriptionML"),
    *("ICC_Profile:VideoCardGamma", "ICC-header:ProfileID", "ICC-header:ProfileSize"),
)
PRIVATE = (
    *("-GPSLatitude=52.5", "-GPSLatitudeRef=N", "-Artist=Somebody Q", "-Model=Somebody Q", "-SerialNumber=Somebody Q"),
    *("-DateTimeOriginal=2024:05:06 07:08:09", "-UserComment=Somebody Q", "-XMP-dc:Creator=Somebody Q"),
    *("-IPTC:Caption-Abstract=Somebody Q", "-Comment=Somebody Q", "-ThumbnailImage<=THUMBNAIL"),
)


def tags(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Everything exiftool finds in each file, unknown and embedded things included."""
    command = ["exiftool", "-j", "-G1", "-a", "-s", "-u", "-U", "-ee3", "-m", *map(str, paths)]
    found = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)
    return {tags["SourceFile"]: tags for tags in found}


def not_allowed(found: dict[str, Any]) -> list[str]:
    allowed = {f"{group}:{name}" for group, names in ALLOWED.items() for name in names.split()}
    return [tag for tag in found if not tag.startswith((*NOT_IN_THE_FILE, *ALLOWED_GROUPS)) and tag not in allowed] + [
        tag for tag in found if tag == "File:Comment"
    ]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos with and without a face in every format, laden with what must go, and the tricky files where there are."""
    folder = tmp_path_factory.mktemp("laden")
    thumbnail = folder / "THUMBNAIL"
    Image.open(SKIMAGE_DATA / "astronaut.png").crop((150, 0, 310, 120)).save(thumbnail, "JPEG")
    face = Image.open(SKIMAGE_DATA / "astronaut.png").convert("RGB").crop((60, 0, 400, 300))
    coffee = Image.open(SKIMAGE_DATA / "coffee.png").convert("RGB").crop((0, 0, 340, 300))
    for name, photo in (("face", face), ("coffee", coffee)):
        for ending in ("jpg", "png", "tif", "webp", "gif", "avif", "bmp", "heic"):
            _save(photo, folder / f"{name}.{ending}")
        photo.save(folder / f"{name}-lossless.webp", lossless=True)
        photo.save(folder / f"{name}-jpeg.tif", compression="jpeg")
        photo.save(folder / f"{name}.mpo", save_all=True, append_images=[face])
    made = [path for path in folder.iterdir() if path != thumbnail]
    private = [text.replace("THUMBNAIL", str(thumbnail)) for text in PRIVATE]
    command = ["exiftool", "-q", "-m", "-overwrite_original", *private, *map(str, made)]
    subprocess.run(command, capture_output=True, check=False)
    thumbnail.unlink()
    for path in made:
        path.write_bytes(path.read_bytes() + b"Somebody Q")
    if (SHARED_DATA / "tricky").exists():
        shutil.copytree(SHARED_DATA / "tricky", folder / "tricky")
    return folder


def _save(photo: Image.Image, path: Path) -> None:
    if path.suffix == ".heic":
        pillow_heif.from_pillow(photo).save(path, quality=90)
    else:
        photo.save(path)


@pytest.fixture(scope="module")
def outputs(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every image that the job wrote, as a file of its own; the job's folder is beside them."""
    folder = tmp_path_factory.mktemp("clean")
    options = ["--detect_size", "320", "--max_quarantined", "1", "--num_shards", "2", "--method", "solid"]
    assert main(["run", "--input", f"{inputs}/**", "--output", str(folder / "job"), *options]) == 0
    for key, feature in examples(folder / "job").items():
        path = folder / "files" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(feature["image/encoded"].bytes_list.value[0])
    return folder


def files(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


def test_nothing_is_left_but_what_is_allowed(inputs: Path, outputs: Path) -> None:
    written = files(outputs / "files")
    before, after = tags(files(inputs).values()), tags(written.values())
    assert len(after) == len(written)
    assert {name: found for path, name in _names(written) if (found := not_allowed(after[path]))} == {}

    laden = {name for name, path in files(inputs).items() if not_allowed(before[str(path)])}
    made = {name for name in files(inputs) if not name.startswith("tricky")}
    assert made - laden == {"face.bmp", "coffee.bmp"}  # which have no place for tags
    for name in made:
        assert b"Somebody Q" in (inputs / name).read_bytes()
        assert b"Somebody Q" not in written[name].read_bytes()
        assert b"S\0o\0m\0e\0b" not in written[name].read_bytes()


def test_profiles_are_kept(inputs: Path, outputs: Path) -> None:
    written = files(outputs / "files")
    before = tags(inputs / name for name in written)
    after = tags(written.values())
    for path, name in _names(written):
        profile = {tag: value for tag, value in before[str(inputs / name)].items() if tag.startswith("ICC")}
        kept = {tag: value for tag, value in after[path].items() if tag.startswith("ICC")}
        dropped = {tag for tag in profile if profile[tag] != kept.get(tag)}
        assert kept.keys() <= profile.keys(), name
        assert all(tag.startswith(OF_A_DISPLAY) for tag in dropped), name
        assert bool(dropped) == any("NativeDisplayInfo" in tag for tag in profile), name


def _names(written: dict[str, Path]) -> list[tuple[str, str]]:
    return [(str(path), name) for name, path in written.items()]


def test_every_made_file_comes_out_and_its_face_is_covered(inputs: Path, outputs: Path) -> None:
    status = {key: row["status"] for key, row in rows(outputs / "job").items() if not key.startswith("tricky")}
    assert {name for name, found in status.items() if found != "anonymized"} == {
        name for name in status if name.startswith("coffee")
    }
    assert "quarantined" not in status.values()
    for name, path in files(outputs / "files").items():
        if name.startswith("face") and not name.endswith(".heic"):
            image = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("L"))
            assert image[80:140, 150:190].max() < 25, name
    assert len(status) == sum(not name.startswith("tricky") for name in files(inputs))
