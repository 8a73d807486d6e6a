"""Asking libde265 whether HEVC's coded data lie without gaps, which its C interface alone tells.

Rows of blocks, and tiles, may be coded apart from each other, and the slice's header says where each begins. libheif's
decoder begins there, whatever lies between them, and shows nothing of it. libde265 without threads reads on where the
part before has ended, and warns when the header says something else.

Its interface is in https://github.com/strukturag/libde265/blob/master/libde265/de265.h. pillow-heif's wheels hold the
library; where pillow-heif is built from source, the system has it.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.metadata
from collections.abc import Sequence

from faceveil.transforms.codecs.accounting import Unaccounted

_DISABLE_DEBLOCKING, _DISABLE_SAO = 7, 8  # DE265_DECODER_PARAM_…: neither reads coded data
_MAX_STEPS = 1000  # calls to decode one picture; it takes a few


def is_contiguous(units: Sequence[bytes]) -> bool:
    """Whether libde265 decodes the units of one picture, one after the other, without a warning.

    Args:
        units: parameter sets, then the picture's, without their lengths.

    Raises:
        Unaccounted: libde265 is not there.
    """
    library = _library()
    decoder = library.de265_new_decoder()
    try:
        for parameter in (_DISABLE_DEBLOCKING, _DISABLE_SAO):
            library.de265_set_parameter_bool(decoder, parameter, 1)
        for unit in units:
            library.de265_push_NAL(decoder, unit, len(unit), 0, None)
        library.de265_flush_data(decoder)
        more, pictures = ctypes.c_int(1), 0
        for _ in range(_MAX_STEPS):
            if library.de265_decode(decoder, ctypes.byref(more)):
                return False
            pictures += bool(library.de265_get_next_picture(decoder))
            if not more.value:
                return pictures == 1 and not library.de265_get_warning(decoder)
        return False
    finally:
        library.de265_free_decoder(decoder)


@functools.cache
def _library() -> ctypes.CDLL:
    """The library that pillow-heif uses."""
    try:
        files = importlib.metadata.files("pillow-heif") or ()
        paths = [str(file.locate()) for file in files if file.name.startswith("libde265")]
        path = next(iter(paths), None) or ctypes.util.find_library("de265")
        if path is None:
            raise OSError("it is not installed")
        library = ctypes.CDLL(path)
    except (OSError, importlib.metadata.PackageNotFoundError) as error:
        raise Unaccounted(f"HEVC in several parts needs libde265, as pillow-heif's wheels hold it: {error}") from error
    decoder = ctypes.c_void_p
    library.de265_new_decoder.restype = decoder
    library.de265_new_decoder.argtypes = []
    library.de265_set_parameter_bool.argtypes = [decoder, ctypes.c_int, ctypes.c_int]
    library.de265_push_NAL.argtypes = [decoder, ctypes.c_char_p, ctypes.c_int, ctypes.c_int64, ctypes.c_void_p]
    library.de265_flush_data.argtypes = [decoder]
    library.de265_decode.argtypes = [decoder, ctypes.POINTER(ctypes.c_int)]
    library.de265_get_next_picture.restype = ctypes.c_void_p
    library.de265_get_next_picture.argtypes = [decoder]
    library.de265_get_warning.argtypes = [decoder]
    library.de265_free_decoder.argtypes = [decoder]
    return library
