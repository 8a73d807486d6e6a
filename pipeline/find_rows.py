"""Looking up inputs in an audit trail by their keys, by a part of them, or by names that are hidden."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.salt import SALT, read_salt
from faceveil.pipeline.written_output import WrittenOutput
from faceveil.transforms.formats.audit import Place, Row, read_placed_rows
from faceveil.transforms.formats.audit_columns import read_keys
from faceveil.transforms.inputs.ignored import printable
from faceveil.transforms.inputs.keys import KeyHash

_NUMBERED = re.compile(r"(.*)(#\d+|~\d+)", re.DOTALL)
_MAX_FOUND = 1000
_ALIKE = 3


class FoundRow(NamedTuple):
    """An input's row, the name of its shard, and where it was written; None where it was not."""

    shard: str
    row: Row
    place: Place | None


def find_rows(output: WrittenOutput, wanted: Sequence[str], salt_file: str | None = None) -> list[FoundRow]:
    """The inputs of some keys.

    Args:
        output: where to look.
        wanted: keys; ``*`` stands for any part of one, unless a key is spelt so. Where names are hidden, also names.
        salt_file: holds the salt that hides them; None for the environment variable.

    Raises:
        OptionError: one of them is no key, or too many are meant.
        AccessError: the audit trail cannot be read.
        OSError: the same.
        ValueError: it is damaged.
    """
    spellings = {key: {key, *_hidden(output, key, salt_file)} for key in wanted}
    every = set().union(*spellings.values())
    patterns = {key: _pattern(key) for key in wanted if "*" in key}

    def matching(name: str) -> list[str]:
        keys = read_keys(output.layout.audit_path(name))
        return [key for key in keys if key in every or any(p.fullmatch(key) for p in patterns.values())]

    keys_of = {name: keys for name, keys in output.for_each_shard(matching) if keys}
    there = {key for keys in keys_of.values() for key in keys}
    # Who names a key that holds an asterisk means that one.
    patterns = {key: pattern for key, pattern in patterns.items() if key not in there}
    for key in wanted:
        matched = patterns[key].fullmatch if key in patterns else spellings[key].__contains__
        if not any(map(matched, there)):
            raise OptionError(f"--key {key}: {_why_not(output, key)}")
    meant = {key for key in there if key in every or any(p.fullmatch(key) for p in patterns.values())}
    if len(meant) > _MAX_FOUND:
        raise OptionError(
            f"--key: {len(meant):,} inputs are meant, and at most {_MAX_FOUND:,} are told; say more of them"
        )
    return [found for name in keys_of for found in _rows(output, name, meant)]


def rows_of_shard(output: WrittenOutput, name: str) -> list[FoundRow]:
    """All inputs of a shard, in its order.

    Raises:
        AccessError: the audit trail cannot be read.
        OSError: the same.
    """
    return list(_rows(output, name, None))


def _rows(output: WrittenOutput, name: str, keys: Collection[str] | None) -> Iterator[FoundRow]:
    for row, place in read_placed_rows(output.layout.audit_path(name)):
        if keys is None or row.key in keys:
            yield FoundRow(name, row, place)


def _pattern(key: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, re.split(r"\*+", key))), re.DOTALL)


def _hidden(output: WrittenOutput, key: str, salt_file: str | None) -> Iterator[str]:
    """How a key may be spelt in an output that hides names; nothing where there is no salt to do so."""
    fingerprint = output.job.get("hash_keys")
    if not fingerprint:
        return
    try:
        key_hash = KeyHash(read_salt(salt_file, "--key"))
    except OptionError:
        if salt_file:
            raise
        return
    if key_hash.fingerprint != fingerprint:
        raise OptionError(f"--key {key}: the salt in {salt_file or SALT} is not the one that hides this output's names")
    splits = output.job.get("num_shards") or {}
    first, _, rest = key.partition("/")
    for split, name in (("", key), *((f"{split}/", key) for split in splits), (f"{first}/", rest)):
        numbered = _NUMBERED.fullmatch(name)
        plain, number = numbered.groups() if numbered else (name, "")
        yield from (f"{split}{key_hash.hashed(name)}", f"{split}{key_hash.hashed(plain)}{number}")


def _why_not(output: WrittenOutput, key: str) -> str:
    """What may help who has named a key that is not there."""
    if output.job.get("hash_keys"):
        return f"is no key here; names are hidden in this output, so give a hash, or set {SALT} to look for names"
    last = key.rsplit("/", 1)[-1]
    ending = f"/{last}"

    def alike(name: str) -> list[str]:
        keys = read_keys(output.layout.audit_path(name))
        # A key begins below the fixed part of its glob, so of a path only the end may be one.
        return [k for k in keys if k == last or k.endswith(ending) or key.endswith(f"/{k}")][:_ALIKE]

    found = [k for _, keys in output.for_each_shard(alike) for k in keys][:_ALIKE]
    unfinished = "" if output.manifest else "; its shard may not be finished yet"
    if found:
        return f"is no key here; did you mean {', '.join(map(printable, found))}?{unfinished}"
    return (
        f"is no key here; keys are paths below the fixed part of their glob, * stands for any part of one{unfinished}"
    )
