"""Paths as users write them, alone or in a list."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.inputs.globs import escape_glob

_FILE_URL = re.compile(r"file://(?:localhost)?(?=/)", re.IGNORECASE)
_ENCODED = re.compile(r"(?:%[0-9a-f]{2})+", re.IGNORECASE)


def as_path(text: str, *, glob: bool = False) -> str:
    """The path that a user means: ``~`` is expanded, which a shell leaves alone in quotes, and ``file:///`` taken off.

    A path that begins with a tilde and is there as it stands is taken as it stands.

    Args:
        text: as it was given.
        glob: whether special characters count; what a URL encodes stands for itself.

    Example usage::

        >>> as_path("file:///photos/a%20b.jpg"), as_path("file:///photos/%5B1%5D/*.jpg", glob=True)
        ('/photos/a b.jpg', '/photos/[[]1]/*.jpg')
    """
    if _FILE_URL.match(text):

        def decoded(encoded: re.Match[str]) -> str:
            plain = unquote(encoded[0], errors="surrogateescape")
            return escape_glob(plain) if glob else plain

        return _ENCODED.sub(decoded, _FILE_URL.sub("", text))
    if text.startswith("~") and not os.path.lexists(text.split("/")[0]):
        return os.path.expanduser(text)
    return text


def read_path_list(path: str) -> list[str]:
    """The paths or globs that a text file holds, one in each line; empty lines do not count.

    Raises:
        AccessError: it cannot be read, or there are none.
    """
    try:
        data = storage.read_bytes(path)
    except OSError as error:
        raise AccessError(f"--input @{path}: cannot be read: {error.strerror or error}") from error
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    lines = [as_path(line.removesuffix("\r"), glob=True) for line in text.split("\n")]
    if "\0" in text:
        raise AccessError(f"--input @{path}: is no list of paths, one in each line, but holds binary data")
    if not any(lines):
        raise AccessError(f"--input @{path}: holds no path; it has to list paths or globs, one in each line")
    return lines
