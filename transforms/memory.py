"""What this process does with memory that it has freed."""

from __future__ import annotations

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_IN_HEAP = 32 * 2**20
"""The most that glibc allows."""

_KEPT = 128 * 2**20


def keep_freed_memory() -> None:
    """Has glibc keep freed memory at hand, up to 128 MiB of each of its heaps, for the next image.

    By default it gives the pages of an image's arrays back to the system and asks for as many for the next one, which
    the system clears first. Where the C library is another one, nothing happens. The parameters' numbers are those of
    ``malloc.h`` (https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html).
    """
    with contextlib.suppress(AttributeError, OSError):
        set_parameter = ctypes.CDLL(None).mallopt
        set_parameter(_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP)
        set_parameter(_M_TRIM_THRESHOLD, _KEPT)
