"""Files of the formats that tensorflow-io reads, by other writers, with names of people in them; and their pixels."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenEXR
import pydicom
import skimage
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

Array = NDArray[Any]
PATIENT = "Roe^Jane Elisabeth"
NAMES = (b"Roe^Jane", b"Elisabeth", b"doe-owner", b"doe-comment")
_DATA = Path(skimage.__file__).parent / "data"

FACE = np.asarray(Image.open(_DATA / "astronaut.png").convert("RGB"))
CAT = np.asarray(Image.open(_DATA / "chelsea.png").convert("RGB"))
GREY = np.asarray(Image.fromarray(FACE).convert("L"))
DEEP = GREY.astype(np.uint16) * 257  # 16 bits
LIGHT = np.where(FACE <= 10, FACE / 255 / 12.92, ((FACE / 255 + 0.055) / 1.055) ** 2.4).astype(np.float32) * 40
"""Linear light, in a unit of its own."""


def dicom(values: Array, colours: str, bits: int = 8, syntax: str = uid.ExplicitVRLittleEndian, **more: Any) -> bytes:
    """A DICOM file of a person, by pydicom.

    Args:
        values: uint8 or uint16 ``[H, W]``, ``[H, W, 3]`` or with frames before.
        colours: the photometric interpretation.
        bits: of each value.
        syntax: the transfer syntax.
        more: elements by their keyword.
    """
    samples = 3 if values.shape[-1] == 3 else 1
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = more.get("SOPClassUID", uid.SecondaryCaptureImageStorage)
    meta.MediaStorageSOPInstanceUID = uid.generate_uid(entropy_srcs=["faceveil"])
    meta.TransferSyntaxUID = syntax
    is_big = syntax == uid.ExplicitVRBigEndian
    kinds = {"is_implicit_VR": syntax == uid.ImplicitVRLittleEndian, "is_little_endian": not is_big}
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128), **kinds)
    made.PatientName = made.OtherPatientNames = PATIENT
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.ReferencedStudySequence = pydicom.Sequence([pydicom.Dataset()])
    made.ReferencedStudySequence[0].Rows = 7  # not the picture's
    made.Rows, made.Columns = values.shape[-3:-1] if samples == 3 else values.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = samples, colours, 0
    if samples == 3:
        made.PlanarConfiguration = 0
    made.BitsAllocated, made.BitsStored, made.HighBit = values.dtype.itemsize * 8, bits, bits - 1
    pixels = values.astype(values.dtype.newbyteorder(">")).tobytes() if is_big else values.tobytes()
    made.PixelData = more.pop("compressed", pixels)
    if uid.UID(syntax).is_compressed:
        made["PixelData"].is_undefined_length = True
    for name, value in more.items():
        setattr(made, name, value)
    output = io.BytesIO()
    made.save_as(output, enforce_file_format=True)
    return output.getvalue()


def dicom_of(compressed: bytes, syntax: str, colours: str) -> bytes:
    """A DICOM file whose pixels are the astronaut's, compressed by Pillow."""
    return dicom(FACE, colours, syntax=syntax, compressed=encapsulate([compressed]))


def dicom_of_run_lengths() -> bytes:
    """The same in run lengths, by pydicom."""
    made = pydicom.dcmread(io.BytesIO(dicom(FACE, "RGB")))
    made.compress(uid.RLELossless, generate_instance_uid=False)
    output = io.BytesIO()
    made.save_as(output)
    return output.getvalue()


def pillow(values: Array, image_format: str, **options: Any) -> bytes:
    """An image file by Pillow."""
    output = io.BytesIO()
    Image.fromarray(values).save(output, image_format, **options)
    return output.getvalue()


def openexr(channels: dict[str, Array], **header: Any) -> bytes:
    """An OpenEXR file, by the format's own library."""
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, "owner": "doe-owner", **header}
    return _written(".exr", lambda path: OpenEXR.File(header, channels).write(path))


def openexr_of_parts() -> bytes:
    """An OpenEXR file of two parts."""
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    parts = [OpenEXR.Part({**header, "name": name}, {"RGB": LIGHT}, name) for name in ("left", "right")]
    return _written(".exr", lambda path: OpenEXR.File(parts).write(path))


def radiance() -> bytes:
    """A Radiance file by OpenCV, with a comment."""
    data = _written(".hdr", lambda path: cv2.imwrite(path, LIGHT[..., ::-1]))
    return data.replace(b"#?RADIANCE\n", b"#?RADIANCE\n# by doe-comment\n", 1)


def _written(ending: str, write: Callable[[str], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{ending}"
        write(str(path))
        return path.read_bytes()


def shown(light: Array) -> Array:
    """What Reinhard's global operator makes of light, in sRGB; as docs/images.md says, in the plainest words."""
    light = light.astype(np.float64)
    luminance = light @ [0.2126, 0.7152, 0.0722] if light.ndim == 3 else light
    scaled = 0.18 * luminance / np.exp(np.mean(np.log(1e-6 + luminance)))
    ratio = scaled * (1 + scaled / scaled.max() ** 2) / (1 + scaled) / np.where(luminance, luminance, 1)
    linear = np.clip(light * (ratio[..., np.newaxis] if light.ndim == 3 else ratio), 0, 1)
    encoded: Array = np.rint(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))
    return encoded


def _radiance_light() -> Array:
    return np.asarray(cv2.imdecode(np.frombuffer(RADIANCE, np.uint8), cv2.IMREAD_UNCHANGED))[..., ::-1]


def _jpeg_pixels(data: bytes) -> Array:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


JPEG = pillow(FACE, "JPEG", quality=95)
RADIANCE = radiance()
HALF = LIGHT.astype(np.float16)
SOUND: dict[str, tuple[bytes, Array, int]] = {
    "rgb.dcm": (dicom(FACE, "RGB"), FACE, 0),
    "implicit.dcm": (dicom(FACE, "RGB", syntax=uid.ImplicitVRLittleEndian), FACE, 0),
    "big.dcm": (dicom(DEEP, "MONOCHROME2", 16, uid.ExplicitVRBigEndian), DEEP, 0),
    "IM0001": (dicom(GREY, "MONOCHROME2"), GREY, 0),
    "inverted.dicom": (dicom(GREY, "MONOCHROME1"), 255 - GREY, 1),
    "twelve.dcm": (dicom(DEEP >> 4, "MONOCHROME2", 12), (DEEP >> 4) << 4, 0),
    "jpeg.dcm": (dicom_of(JPEG, uid.JPEGBaseline8Bit, "YBR_FULL_422"), _jpeg_pixels(JPEG), 2),
    "j2k.dcm": (dicom_of(pillow(FACE, "JPEG2000", no_jp2=True), uid.JPEG2000Lossless, "YBR_RCT"), FACE, 0),
    "runs.dcm": (dicom_of_run_lengths(), FACE, 0),
    "cat.dcm": (dicom(CAT, "RGB"), CAT, 0),
    "zip.exr": (openexr({"RGB": HALF}), shown(HALF), 1),
    "piz.exr": (openexr({"RGB": LIGHT}, compression=OpenEXR.PIZ_COMPRESSION), shown(LIGHT), 1),
    "plain.exr": (
        openexr({"RGBA": np.dstack([HALF, HALF[..., :1]])}, compression=OpenEXR.NO_COMPRESSION),
        shown(HALF),
        1,
    ),
    "grey.exr": (openexr({"Y": LIGHT[..., 1].copy()}), shown(LIGHT[..., 1]), 1),
    "sky.hdr": (RADIANCE, shown(_radiance_light()), 1),
    "photo.jp2": (pillow(FACE, "JPEG2000", comment="doe-comment"), FACE, 0),
    "photo.j2k": (pillow(FACE, "JPEG2000", no_jp2=True, comment="doe-comment"), FACE, 0),
    "grey.jp2": (pillow(GREY, "JPEG2000"), GREY, 0),
    "deep.jp2": (pillow(DEEP, "JPEG2000"), DEEP, 0),
}
"""By name: a file, the pixels to expect, and by how many levels they may differ."""
_MIDDLE = len(SOUND["zip.exr"][0]) * 3 // 4
BROKEN = SOUND["zip.exr"][0][:_MIDDLE] + bytes(200) + SOUND["zip.exr"][0][_MIDDLE + 200 :]
"""All there, and damaged within: what the decoder does with it ends the process."""
CT = {"SOPClassUID": uid.CTImageStorage, "Modality": "CT"}
CUT = ("rgb.dcm", "jpeg.dcm", "runs.dcm", "j2k.dcm", "zip.exr", "plain.exr", "sky.hdr", "photo.jp2", "photo.j2k")
REFUSED: dict[str, tuple[bytes, str]] = {
    "film.dcm": (dicom(np.stack([FACE] * 2), "RGB", NumberOfFrames=2), "multiple_frames"),
    "slice.dcm": (dicom(GREY, "MONOCHROME2", **CT), "unsupported_image"),
    "parts.exr": (openexr_of_parts(), "multiple_frames"),
    "depth.exr": (openexr({"Z": LIGHT[..., 0]}), "unsupported_image"),
    "alpha.jp2": (pillow(np.dstack([FACE, GREY]), "JPEG2000"), "unsupported_image"),
    **{
        f"cut-{part}-{name}": (SOUND[name][0][: len(SOUND[name][0]) * part // 100], "truncated")
        for name in CUT
        for part in (50, 99)
    },
}
"""By name: a file, and why it is quarantined."""
