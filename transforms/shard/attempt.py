"""Marking shards that are being made, and what the mark that an attempt has left says about how it died.

Native codecs may crash on damaged images, or take more memory than there is, which ends the whole process and cannot be
caught. A worker leaves a marker while it makes a shard. A worker that finds one decides by it how much care to take:

* An attempt of the same run of the job: its process died and the job did not, so something in the shard has crashed it.
* An attempt of an earlier run: the job was ended as a whole, which says nothing about the shard. But what was known
  about the shard then holds.
* If the kernel has since killed a process because memory ran out, or the attempt itself has said that it did, fewer
  images must be worked on at once.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError, MemoryPressureError, OutOfMemoryError
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.runtime.machine import boot_id, oom_kills


@dataclass(frozen=True)
class Care:
    """How a shard is made.

    Attributes:
        tried: records are made in a sandbox, which may crash.
        alone: nothing else is worked on in the process at the same time.
    """

    tried: bool = False
    alone: bool = False


@dataclass(frozen=True)
class _Marker:
    """What a marker says of its attempt: the job's run, the care it took, and how often memory had run out before.

    It has a token of its own, by which storage tells it from that of another attempt.
    """

    run: str
    tried: bool
    alone: bool
    boot: str | None
    oom_kills: int | None
    token: str = ""


@contextlib.contextmanager
def attempt_marker(output: OutputLayout, name: str, run: str, tried: bool = False) -> Iterator[Care]:
    """Marks a shard as being made while the block runs; only a process that dies leaves the mark behind.

    Args:
        output: where the shard is written.
        name: the shard's.
        run: identifies this run of the job.
        tried: whether its records are made in a sandbox in any case.

    Yields:
        How it is to be made, after what is known of earlier attempts.

    Raises:
        AccessError: the output cannot be written.
        OutOfMemoryError: memory ran out although nothing else was worked on at the same time.
        MemoryPressureError: memory ran out.
    """
    path = output.attempt_path(name)
    care = Care(tried)
    mark = _Marker(run, care.tried, care.alone, boot_id(), oom_kills(), secrets.token_hex(8))
    if not storage.compare_and_swap(path, _encoded(mark), version=None):
        care = _care_after(_read(path), run)
        care = replace(care, tried=care.tried or tried)
        mark = replace(mark, tried=care.tried, alone=care.alone)
        storage.write_bytes(path, _encoded(mark))
    try:
        yield care
    except OutOfMemoryError as error:
        with contextlib.suppress(AccessError):  # the error that ended the attempt matters more
            storage.write_bytes(path, _encoded(replace(mark, run="", alone=True)))
        if care.alone:
            raise
        raise MemoryPressureError(str(error)) from error
    except BaseException:
        with contextlib.suppress(AccessError):
            storage.delete([path])
        raise
    with contextlib.suppress(AccessError):
        storage.delete([path])


def _care_after(left: _Marker | None, run: str) -> Care:
    if left is None:
        return Care()
    kills = oom_kills()
    memory = left.boot == boot_id() and left.oom_kills is not None and kills is not None and kills > left.oom_kills
    died = left.run == run
    if memory and died and left.alone:
        raise OutOfMemoryError("memory ran out although one image was worked on at a time")
    return Care(tried=left.tried or (died and not memory), alone=left.alone or memory)


def _read(path: str) -> _Marker | None:
    """The marker that an attempt has left; None where it is gone, or nothing is known of it."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        content: dict[str, Any] = json.loads(storage.read_bytes(path))
        return _Marker(**content)
    return None


def _encoded(marker: _Marker) -> bytes:
    return json.dumps(asdict(marker)).encode()
