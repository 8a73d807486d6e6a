"""Images as bytes and as pixels: look at a header, decode, encode like the original, drop metadata.

Example usage::

    info = probe(data)
    preview = decode_for_detection(data, info, long_side=1024)
    ...                                            # no faces:
    clean = strip_metadata(data, info)
    ...                                            # faces:
    pixels = preview.pixels or decode_pixels(data, info)
    ...                                            # paint on upright(pixels.values, info.orientation)
    clean = splice(pixels, painted, data, info)    # JPEG: every other block stays as it is
    clean = clean or encode_pixels(pixels, data, info)
"""

from faceveil.transforms.codecs.decode import Preview, decode_for_detection, decode_pixels
from faceveil.transforms.codecs.encode import encode_pixels, is_lossy
from faceveil.transforms.codecs.image import ImageInfo, Pixels
from faceveil.transforms.codecs.jpeg_splice import splice
from faceveil.transforms.codecs.label_maps import kind_of_labels
from faceveil.transforms.codecs.metadata import strip_metadata
from faceveil.transforms.codecs.orientation import reoriented, stored, stored_boxes, upright
from faceveil.transforms.codecs.probe import probe

__all__ = [
    "ImageInfo",
    "Pixels",
    "Preview",
    "decode_for_detection",
    "decode_pixels",
    "encode_pixels",
    "is_lossy",
    "kind_of_labels",
    "probe",
    "reoriented",
    "splice",
    "stored",
    "stored_boxes",
    "strip_metadata",
    "upright",
]
