"""The same photos in many encodings: of the faces that are found in the photos, how many are found in each of them.

    python -m benchmarks.encodings --data ../shared/data/wider-unseen --photos 60

A face counts as found where a box overlaps it by half (IoU). Looked for are those of 24 px and more with a score of 0.5
and more: re-encoding alone moves scores near the threshold.
"""

from __future__ import annotations

import argparse
import functools
import io
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import tifffile
from numpy.typing import NDArray
from PIL import Image

from faceveil.evaluation.detect import find_faces
from faceveil.pipeline.detection import detector_config, resolve_models
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.arrays import FloatArray
from faceveil.transforms.codecs import jpeg_markers, probe, stored
from faceveil.transforms.codecs.orientation import orientation_exif
from faceveil.transforms.detectors.detector import Detector
from faceveil.transforms.detectors.nms import iou
from faceveil.transforms.runtime.pool import usable_cores

_SCORE, _SMALLEST, _IOU = 0.5, 24, 0.5

_Pixels = NDArray[Any]
_Encode = Callable[[_Pixels], bytes]


def _pillow(image_format: str, mode: str = "RGB", **options: object) -> _Encode:
    def encode(rgb: _Pixels) -> bytes:
        return _save(Image.fromarray(rgb).convert(mode), image_format, **options)

    return encode


def _save(image: Image.Image, image_format: str, **options: object) -> bytes:
    output = io.BytesIO()
    image.save(output, image_format, **options)
    return output.getvalue()


def _turned(orientation: int, image_format: str) -> _Encode:
    """Stored so that only the orientation tag makes it upright."""

    def encode(rgb: _Pixels) -> bytes:
        image = Image.fromarray(np.ascontiguousarray(stored(rgb, orientation)))
        return _save(image, image_format, exif=b"Exif\0\0" + orientation_exif(orientation))

    return encode


def _grey(rgb: _Pixels) -> _Pixels:
    return np.asarray(Image.fromarray(rgb).convert("L"))


def _alpha_only(image_format: str, **options: object) -> _Encode:
    """Black, and as transparent as the photo is bright."""

    def encode(rgb: _Pixels) -> bytes:
        return _save(Image.fromarray(np.dstack([np.zeros_like(rgb), 255 - _grey(rgb)])), image_format, **options)

    return encode


def _cmyk_without_adobe(rgb: _Pixels) -> bytes:
    inks = np.dstack([np.zeros_like(rgb), 255 - _grey(rgb)])
    jpeg = _save(Image.fromarray(255 - inks, "CMYK"), "JPEG", quality=90)
    kept = (jpeg[start:end] for marker, start, end in jpeg_markers.segments(jpeg) if marker != jpeg_markers.APP14)
    return jpeg[:2] + b"".join(kept)


def _tiff(change: Callable[[_Pixels], _Pixels] = lambda rgb: rgb, **options: Any) -> _Encode:
    def encode(rgb: _Pixels) -> bytes:
        output = io.BytesIO()
        tifffile.imwrite(output, change(rgb), **options)
        return output.getvalue()

    return encode


def _ten_bits(rgb: _Pixels, bright: bool = False) -> _Pixels:
    values = _grey(rgb).astype(np.uint16) << 2
    if bright:
        values[0, 0] = 0xFFFF
    return values


def _sixteen(rgb: _Pixels) -> _Pixels:
    return rgb.astype(np.uint16) * 257


def _heic(bits: int) -> _Encode:
    def encode(rgb: _Pixels) -> bytes:
        height, width, _ = rgb.shape
        output = io.BytesIO()
        mode, values = ("RGB", rgb) if bits == 8 else ("RGB;16", rgb.astype(np.uint16) * 257)
        pillow_heif.from_bytes(mode, (width, height), values.tobytes()).save(output, quality=90)
        return output.getvalue()

    return encode


def _changed(change: Callable[[_Pixels], _Pixels]) -> _Encode:
    def encode(rgb: _Pixels) -> bytes:
        return _save(Image.fromarray(change(rgb)), "PNG")

    return encode


ENCODINGS: dict[str, _Encode] = {
    "JPEG, 4:2:0": _pillow("JPEG", quality=90),
    "JPEG, 4:2:2": _pillow("JPEG", quality=90, subsampling="4:2:2"),
    "JPEG, 4:4:4": _pillow("JPEG", quality=90, subsampling="4:4:4"),
    "JPEG, RGB": _pillow("JPEG", quality=90, keep_rgb=True),
    "JPEG, quality 30": _pillow("JPEG", quality=30),
    "JPEG, progressive": _pillow("JPEG", quality=90, progressive=True),
    "JPEG, grey": _pillow("JPEG", "L", quality=90),
    "JPEG, CMYK": _pillow("JPEG", "CMYK", quality=90),
    "JPEG, CMYK without Adobe's segment": _cmyk_without_adobe,
    **{f"JPEG, orientation {number}": _turned(number, "JPEG") for number in range(2, 9)},
    "PNG, RGB": _pillow("PNG"),
    "PNG, opaque RGBA": _pillow("PNG", "RGBA"),
    "PNG, alpha alone": _alpha_only("PNG"),
    "PNG, grey": _pillow("PNG", "L"),
    "PNG, grey with alpha": _pillow("PNG", "LA"),
    "PNG, 256 colours": _pillow("PNG", "P"),
    "PNG, 16 greys": lambda rgb: _save(Image.fromarray(_grey(rgb)).quantize(16), "PNG"),
    "PNG, black and white dots": _pillow("PNG", "1"),
    "PNG, orientation 6": _turned(6, "PNG"),
    "PNG, 16 bits": _changed(lambda rgb: _grey(rgb).astype(np.uint16) * 257),
    "PNG, 10 of 16 bits": _changed(_ten_bits),
    "PNG, 10 of 16 bits and a bright pixel": _changed(functools.partial(_ten_bits, bright=True)),
    "PNG, a tenth of the contrast": _changed(lambda rgb: rgb // 10 + 100),
    "PNG, a thirtieth of the light": _changed(lambda rgb: rgb // 30),
    "PNG, negative": _changed(lambda rgb: 255 - rgb),
    "WebP, lossy": _pillow("WEBP", quality=90),
    "WebP, lossless": _pillow("WEBP", lossless=True),
    "WebP, lossy, alpha alone": _alpha_only("WEBP", quality=90, exact=True),
    "WebP, lossless, alpha alone": _alpha_only("WEBP", lossless=True, exact=True),
    "BMP, 24 bits": _pillow("BMP"),
    "BMP, grey": _pillow("BMP", "L"),
    "BMP, 256 colours": _pillow("BMP", "P"),
    "GIF, 256 colours": _pillow("GIF"),
    "GIF, black and white dots": _pillow("GIF", "1"),
    "TIFF": _tiff(photometric="rgb"),
    "TIFF, LZW": _pillow("TIFF", compression="tiff_lzw"),
    "TIFF, deflate": _tiff(photometric="rgb", compression="zlib", predictor=True),
    "TIFF, JPEG": _pillow("TIFF", compression="jpeg"),
    "TIFF, CMYK": _pillow("TIFF", "CMYK"),
    "TIFF, tiles": _tiff(photometric="rgb", tile=(256, 256)),
    "TIFF, big-endian": _tiff(photometric="rgb", byteorder=">"),
    "TIFF, planes": _tiff(lambda rgb: np.moveaxis(rgb, -1, 0), photometric="rgb", planarconfig="separate"),
    "TIFF, BigTIFF": _tiff(photometric="rgb", bigtiff=True),
    "TIFF, 0 is white": _tiff(lambda rgb: 255 - _grey(rgb), photometric="miniswhite"),
    "TIFF, 16 bits": _tiff(_sixteen, photometric="rgb"),
    "TIFF, 10 of 16 bits": _tiff(_ten_bits, photometric="minisblack"),
    "TIFF, fax (group 4)": _pillow("TIFF", "1", compression="group4"),
    "TIFF, alpha alone": _tiff(
        lambda rgb: np.dstack([np.zeros_like(rgb), 255 - _grey(rgb)]), photometric="rgb", extrasamples=["unassalpha"]
    ),
    "AVIF": _pillow("AVIF", quality=90),
    "AVIF, alpha alone": _alpha_only("AVIF", quality=90),
    "HEIC": _heic(8),
    "HEIC, 10 bits": _heic(10),
}


def faces_found(paths: Iterable[Path], detector: Detector) -> tuple[int, Counter[str]]:
    """How many faces there are to find, and how many are found in each encoding."""
    total, found = 0, Counter[str](dict.fromkeys(ENCODINGS, 0))
    for path in paths:
        rgb = np.asarray(Image.open(path).convert("RGB"))
        faces = _boxes(_save(Image.fromarray(rgb), "PNG"), detector, _SCORE)
        faces = faces[(faces[:, 2:] - faces[:, :2]).max(axis=1, initial=0) >= _SMALLEST]
        total += len(faces)
        with ThreadPoolExecutor(usable_cores()) as pool:
            search = functools.partial(_found, rgb=rgb, faces=faces, detector=detector)
            found.update(dict(zip(ENCODINGS, pool.map(search, ENCODINGS.values()), strict=True)))
    return total, found


def _found(encode: _Encode, rgb: _Pixels, faces: FloatArray, detector: Detector) -> int:
    boxes = _boxes(encode(rgb), detector, 0)
    return int((iou(faces, boxes).max(axis=1, initial=0) >= _IOU).sum())


def _boxes(data: bytes, detector: Detector, min_score: float) -> FloatArray:
    faces = find_faces(detector, data, probe(data))
    return faces.boxes[faces.scores >= min_score]


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="a folder with images/ in it")
    parser.add_argument("--photos", type=int, default=60, metavar="N", help="how many (default: %(default)s)")
    given = parser.parse_args()
    options = JobOptions()
    models = [model.directory for model in resolve_models(options.detector.models)]
    detector = Detector(detector_config(options, models, options.score_threshold, usable_cores()))
    paths = sorted((given.data / "images").rglob("*.jpg"))
    total, found = faces_found(paths[:: max(1, len(paths) // given.photos)][: given.photos], detector)
    print(f"of {total} faces, in {len(ENCODINGS)} encodings:")
    for name, count in sorted(found.items(), key=lambda pair: pair[1]):
        print(f"{count:5d}  {name}")


if __name__ == "__main__":
    main()
