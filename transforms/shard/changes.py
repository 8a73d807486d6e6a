"""Which inputs are other ones than those that the shards of an output were made of."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from faceveil.transforms.formats.audit import StampedFile
from faceveil.transforms.inputs.match import InputFile
from faceveil.transforms.storage.base import REQUESTS_AT_ONCE

FileVersion = tuple[str, int, str]
"""Key, size and version of a file."""

_REPEATED = re.compile(r"(.*)~(?:[2-9]|[1-9]\d+)(\.[^./]*)?", re.DOTALL)
"""A key that was numbered, if what it is without the number is another file's."""


@dataclass(frozen=True)
class Changes:
    """How many inputs differ from those that an output was made of.

    Attributes:
        added: new ones.
        changed: with another content.
        removed: those that are gone.
        touched: with another time, but the content that they had.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0
    touched: int = 0


def compare_files(
    files: Sequence[InputFile],
    told: Iterable[StampedFile],
    shared: Collection[str],
    digest_of: Callable[[InputFile], str],
) -> tuple[set[FileVersion], Changes]:
    """Finds out which files hold what they held.

    Only those are read that have the size that they had, and another time or a shared key.

    Args:
        files: those that are there, with distinct keys.
        told: those that shards were made of; one of records may be told by several.
        shared: keys, see ``shared_keys``.
        digest_of: identifies what a file holds, empty where nothing does.

    Returns:
        What was told of those that hold the same, and how many do not.
    """
    known: defaultdict[str, set[FileVersion]] = defaultdict(set)
    contents: dict[FileVersion, str] = {}
    for each in told:
        before = each[:3]
        known[each.key].add(before)
        if each.content:  # of a file of records told by its first shard alone
            contents[before] = each.content
    same: set[FileVersion] = set()
    unsure: list[tuple[InputFile, FileVersion]] = []
    for file in files:
        for before in known.get(file.key, ()):
            if before == (file.key, file.size, file.version) and file.key not in shared:
                same.add(before)
            elif before[1] == file.size and before in contents:
                unsure.append((file, before))
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        digests = pool.map(digest_of, (file for file, _ in unsure))
        same |= {
            before for (_, before), digest in zip(unsure, digests, strict=True) if digest and digest == contents[before]
        }
    counts = Counter[str]()
    for file in files:
        if file.key not in known:
            counts["added"] += 1
        elif not known[file.key] <= same:
            counts["changed"] += 1
        elif (file.key, file.size, file.version) not in known[file.key]:
            counts["touched"] += 1
    return same, Changes(**counts, removed=len(known.keys() - {file.key for file in files}))


def shared_keys(raw: Sequence[InputFile], distinct: Iterable[InputFile], told: Iterable[StampedFile]) -> frozenset[str]:
    """Keys that several files have had, or have now.

    They are numbered by their paths, so when one of the files is removed, the others get other numbers: size and time
    may be equal by chance, and then only the content tells whose record it is.

    Args:
        raw: the files that are there.
        distinct: the same, numbered.
        told: those that shards were made of.
    """
    times = Counter(file.key for file in raw)
    keys = {file.path: file.key for file in distinct}
    shared = {keys[file.path] for file in raw if times[file.key] > 1}
    before = {file.key for file in told}
    for key in before:
        if (match := _REPEATED.fullmatch(key)) and (first := match[1] + (match[2] or "")) in before:
            shared |= {key, first}
    return frozenset(shared)
