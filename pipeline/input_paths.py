"""What an ``--input`` says: a split or a path, a glob or a list of them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from faceveil.transforms import storage
from faceveil.transforms.inputs.globs import is_glob, translate_glob
from faceveil.transforms.inputs.keys import KeyHash
from faceveil.transforms.inputs.match import Input
from faceveil.transforms.inputs.paths import as_path

_SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]*")
_LIST = "@"


def parse_input(
    text: str, key_hash: KeyHash | None = None, exclude: Sequence[str] = (), copy_others: bool = False
) -> Input:
    """The input that ``[SPLIT=]GLOB`` or ``[SPLIT=]@FILE`` means.

    What is there as a path is one, whatever signs it holds: ``date=2024-01-01/**`` is the folder ``date=2024-01-01``
    where there is such a folder, else the split ``date``. ``./date=2024-01-01/**`` is a path in any case.

    Example usage::

        >>> parse_input("train=photos/*.jpg"), parse_input("./train=1/*.jpg").pattern, parse_input("@list.txt").is_list
        (Input(split='train', pattern='photos/*.jpg', named=True, key_hash=None, is_list=False, exclude=(), \
copy_others=False), \
'./train=1/*.jpg', True)
    """
    name, separator, pattern = text.partition("=")
    named = bool(separator) and _SPLIT_NAME.fullmatch(name) is not None and not is_path(text)
    split, pattern = (name, pattern) if named else ("data", text)
    is_list = pattern.startswith(_LIST)
    path = as_path(pattern[1:]) if is_list else as_path(pattern, glob=True)
    return Input(split, path, named, key_hash, is_list, tuple(exclude), copy_others)


def named_input(split: str, pattern: str) -> str:
    """How a split is given whose name is no part of a path for sure.

    Example usage::

        >>> named_input("train", "photos/*.jpg")
        'train=photos/*.jpg'
    """
    text = f"{split}={pattern}"
    return f"{split}=./{pattern}" if is_path(text) and not pattern.startswith((_LIST, "/", "~")) else text


def is_path(text: str) -> bool:
    """Whether the first part of a relative path is there, or is a glob of what is there."""
    first = text.partition("/")[0]
    if not first or not storage.is_local(text) or not is_glob(first):
        return os.path.lexists(first)
    expression = translate_glob(first)
    return any(expression.fullmatch(name) for name in os.listdir("."))
