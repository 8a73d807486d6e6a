"""Good images where memory is bounded: whatever decoders and encoders say then, it is never the image's fault."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.transforms.codecs.samples import encode, picture

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the address space")

# MiB, for images of 1400 px; there the codecs were found to have errors of their own.
HEADROOMS = [1, 4, 10, 20, 44, 90]

# Decodes and masks an image once for its libraries to load, then in children that have only so much memory left.
SCRIPT = """
import hashlib, io, os, resource, sys
import cv2
import numpy as np
from PIL import Image
from faceveil.transforms.shard.anonymize import Masking, anonymize
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.errors import OutOfMemoryError
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.limits import Limits
from faceveil.transforms.runtime.memory import give_back_memory, is_bounded
from faceveil.transforms.shard.read import Source
from faceveil.transforms.shard.detect import DetectedImage, decode
from faceveil.transforms.shard.record import Record

cv2.setNumThreads(1)

class Stub:
    def side_needed(self, width, height):
        return 700
    def prepare(self, rgb, width, height):
        return ()

def work(path):
    source = Source("a", path, None, 8 * os.path.getsize(path))
    decoded = decode(source, FeatureRoles(), Stub(), Limits())
    face = Faces(np.array([[5, 5, 30, 30]], np.float32), np.array([0.9], np.float32), None)
    images = tuple(DetectedImage(i.data, i.info, i.pixels, face, i.faultless, i.hides_pixels) for i in decoded.images)
    [item] = anonymize([Record("a", images, None)], Masking("solid", Style()), FeatureRoles())
    return hashlib.sha256(item.serialized).hexdigest() if item.serialized else repr(item)

small, large, *headrooms = sys.argv[1:]
work(small)
for headroom in [None, *map(int, headrooms)]:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        if headroom is not None:
            give_back_memory()
            is_bounded.cache_clear()
            taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (taken + headroom * 2**20, resource.RLIM_INFINITY))
        try:
            said = work(large)
        except OutOfMemoryError:
            said = "out of memory"
        print(said, flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        print("died")
"""


def heif(image: Image.Image) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    output = io.BytesIO()
    pillow_heif.from_pillow(image).save(output)
    return output.getvalue()


FORMATS = {
    "jpeg": lambda side: encode(picture("RGB", side, side), "JPEG"),
    "progressive": lambda side: encode(picture("RGB", side, side), "JPEG", progressive=True),
    "png": lambda side: encode(picture("RGB", side, side), "PNG", compress_level=1),
    "webp": lambda side: encode(picture("RGB", side, side), "WEBP", method=0),
    "webp-lossless": lambda side: encode(picture("RGBA", side, side), "WEBP", lossless=True, method=0),
    "gif": lambda side: encode(picture("RGB", side, side).quantize(128), "GIF"),
    "tiff": lambda side: encode(picture("RGB", side, side), "TIFF", compression="tiff_lzw"),
    "bmp": lambda side: encode(picture("RGB", side, side), "BMP"),
    "avif": lambda side: encode(picture("RGB", side, side), "AVIF", speed=9),
    "heif": lambda side: heif(picture("RGB", side, side)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_good_image_is_made_as_ever_or_memory_has_run_out(name: str, tmp_path: Path) -> None:
    for size, side in (("small", 64), ("large", 1400)):
        (tmp_path / size).write_bytes(FORMATS[name](side))
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "small", tmp_path / "large", *map(str, HEADROOMS)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"MALLOC_ARENA_MAX": "1"},  # others hold addresses in store that a bound does not count
    )
    usual, *said = run.stdout.split("\n")[:-1]
    assert len(usual) == 64, usual
    assert set(said) <= {usual, "out of memory", "died"}, said
    assert "out of memory" in said or "died" in said, "the bounds are none"
