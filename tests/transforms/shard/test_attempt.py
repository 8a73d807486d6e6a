import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError, MemoryPressureError, OutOfMemoryError
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.runtime.machine import oom_kills
from faceveil.transforms.shard.attempt import Care, attempt_marker
from tests.faulty_proxy import FaultyProxy
from tests.object_stores import Server
from tests.transforms.test_anonymize_shards import output

NAME = "data-00000-of-00001"
TOLD = pytest.mark.skipif(oom_kills() is None, reason="this system does not tell when memory has run out")


def marker_of(folder: Path) -> Path:
    [marker] = (folder / "records").iterdir()
    return marker


def die(folder: Path, run: str, **changed: Any) -> Care:
    """An attempt_marker that leaves its marker behind, as only one does that dies; the care that it took."""
    with attempt_marker(output(folder), NAME, run) as care:
        content = json.loads(marker_of(folder).read_text())
    marker = folder / "records" / f".{NAME}.attempt"
    marker.write_text(json.dumps(content | changed))
    return care


def test_only_who_dies_leaves_a_mark(tmp_path: Path) -> None:
    with attempt_marker(output(tmp_path), NAME, "a") as care:
        assert care == Care()
        marker = marker_of(tmp_path)
    with pytest.raises(KeyError), attempt_marker(output(tmp_path), NAME, "a"):
        raise KeyError
    assert not marker.exists()


def test_a_death_within_a_run_is_a_crash_and_one_of_the_whole_run_is_none(tmp_path: Path) -> None:
    assert die(tmp_path, "a") == Care()
    assert die(tmp_path, "b") == Care()
    assert die(tmp_path, "b") == Care(tried=True)
    # What is known of the shard stays known, however often the job is killed.
    assert die(tmp_path, "c") == Care(tried=True)
    with attempt_marker(output(tmp_path), NAME, "d") as care:
        assert care == Care(tried=True)
    assert die(tmp_path, "e") == Care()


def test_an_attempt_in_a_bucket_is_told_from_its_like(
    connect: Callable[..., FaultyProxy], object_store: Server
) -> None:
    if not object_store.has_versions:
        pytest.skip("this emulator does not check generations")
    connect()
    folder = f"{object_store.scheme}://outputs/attempts"
    there = OutputLayout(folder, f"{folder}/records", "")
    path = there.attempt_path(NAME)
    with attempt_marker(there, NAME, "a") as care:
        assert care == Care()
        left = storage.read_bytes(path)
    assert not storage.exists(path)
    storage.write_bytes(path, left)  # as if it had died
    with attempt_marker(there, NAME, "a") as care:
        assert care == Care(tried=True)


@TOLD
def test_after_memory_has_run_out_one_thing_is_done_at_a_time(tmp_path: Path) -> None:
    kills = oom_kills()
    assert kills is not None
    die(tmp_path, "a", oom_kills=kills - 1)
    assert die(tmp_path, "b", oom_kills=kills - 1) == Care(alone=True)
    # Of another run, in which there may be more of it; in the same one it has not helped.
    assert die(tmp_path, "c", oom_kills=kills - 1) == Care(alone=True)
    with pytest.raises(OutOfMemoryError, match="one image was worked on at a time"):
        die(tmp_path, "c")
    # What the kernel has killed before it was started again counts for nothing.
    for boot in ("0", "another", "~"):
        die(tmp_path, "d", oom_kills=kills - 1, boot=boot, alone=False)
        assert die(tmp_path, "e") == Care()


def test_an_attempt_that_ran_out_of_memory_says_so_itself(tmp_path: Path) -> None:
    with pytest.raises(MemoryPressureError, match="it did"), attempt_marker(output(tmp_path), NAME, "a"):
        raise OutOfMemoryError("it did")
    with pytest.raises(OutOfMemoryError, match="again") as raised, attempt_marker(output(tmp_path), NAME, "a"):
        raise OutOfMemoryError("again")
    assert not isinstance(raised.value, MemoryPressureError)
    with attempt_marker(output(tmp_path), NAME, "b") as care:
        assert care == Care(alone=True)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"run": "a"}'])
def test_a_marker_that_says_nothing_is_no_crash(tmp_path: Path, content: str) -> None:
    die(tmp_path, "a")
    marker_of(tmp_path).write_text(content)
    assert die(tmp_path, "a") == Care()


def test_no_attempt_begins_where_none_can_be_marked(tmp_path: Path) -> None:
    (tmp_path / "records").write_text("in the way")
    with pytest.raises(AccessError), attempt_marker(output(tmp_path), NAME, "a"):
        pytest.fail("it has begun")
