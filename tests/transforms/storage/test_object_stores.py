"""What the job relies on in every object store, on a good day and on a bad one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from tests.faulty_proxy import FaultyProxy
from tests.object_stores import Server

Connect = Callable[..., FaultyProxy]
MIB = 2**20


@pytest.fixture
def top(object_store: Server, request: pytest.FixtureRequest) -> str:
    """A folder for this test alone."""
    return f"{object_store.scheme}://outputs/{request.node.originalname}"


@pytest.mark.parametrize("share", [0, 0.3])
def test_files_come_back_as_they_were_written(connect: Connect, top: str, share: float) -> None:
    connect(share=share, seed=1)
    contents = {"empty": b"", "small": b"12345", "large": bytes(range(256)) * (80 * 2**10)}
    for name, content in contents.items():
        storage.write_bytes(f"{top}/{name}", content)
    for name, content in contents.items():
        path = f"{top}/{name}"
        assert storage.read_bytes(path) == content
        assert storage.read_bytes(path, 4) == content[:4]
        assert storage.read_bytes(path, len(content) + 1) == content
        with storage.open_to_read(path) as file:
            assert file.read(3) == content[:3]
            assert file.read() == content[3:]
    assert {file.path: file.size for file in storage.list_files(top)} == {
        f"{top}/{name}": len(content) for name, content in contents.items()
    }
    storage.delete([f"{top}/{name}" for name in [*contents, "gone"]])
    assert not list(storage.list_files(top))


@pytest.mark.parametrize("share", [0, 0.3])
def test_the_start_of_a_file_is_read_alone(connect: Connect, object_store: Server, top: str, share: float) -> None:
    connect(share=share, seed=5)
    content = bytes(range(256)) * 4096
    for name, data in (("large", content), ("small", b"12345"), ("empty", b"")):
        storage.write_bytes(f"{top}/{name}", data)
        found = storage.stat(f"{top}/{name}")
        assert found
        assert storage.read_range(found, 0, 1000) == data[:1000]
    if object_store.has_versions:
        found = storage.stat(f"{top}/small")
        assert found
        storage.write_bytes(f"{top}/small", b"54321")
        with pytest.raises(AccessError, match="small: was changed"):
            storage.read_range(found, 0, 3)


def test_nobody_ever_sees_a_part(connect: Connect, object_store: Server, top: str) -> None:
    seen = []
    name = f"{top.rpartition('/')[2]}/x"
    connect(share=0.4, seed=2, after_write=lambda: seen.append(object_store.sizes("outputs").get(name)))
    storage.write_bytes(f"{top}/x", bytes(20 * MIB))
    assert set(seen) <= {None, 20 * MIB}
    assert object_store.sizes("outputs")[name] == 20 * MIB


def test_nothing_is_published_when_writing_fails(connect: Connect, object_store: Server, top: str) -> None:
    connect()
    with pytest.raises(KeyError), storage.atomic_write(f"{top}/x") as file:  # noqa: PT012
        file.write(bytes(20 * MIB))
        raise KeyError
    assert storage.stat(f"{top}/x") is None
    if object_store.scheme == "s3":
        assert top.split("/")[-1] not in " ".join(object_store.unfinished_uploads("outputs"))


def test_listings_in_pages_are_whole(connect: Connect, object_store: Server) -> None:
    names = [f"pages/{number:02d}.jpg" for number in range(25)]
    for name in [*names, "pages/", "pages-other/x.jpg"]:
        object_store.put("inputs", name, b"1")
    connect(page_size=4, share=0.3, seed=3)
    top = f"{object_store.scheme}://inputs"
    assert [file.path for file in storage.list_files(f"{top}/pages")] == [f"{top}/{name}" for name in names]


def test_only_one_of_many_gets_a_file_that_is_not_there(connect: Connect, object_store: Server, top: str) -> None:
    if not object_store.has_versions:
        pytest.skip("this emulator does not check generations")
    connect(share=0.3, seed=4)
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda number: storage.compare_and_swap(f"{top}/lock", b"%d" % number, None), range(4)))
    assert sum(got) == 1
    assert storage.read_bytes(f"{top}/lock") == b"%d" % got.index(True)
    found = storage.stat(f"{top}/lock")
    assert found
    with ThreadPoolExecutor(4) as pool:
        got = list(
            pool.map(lambda number: storage.compare_and_swap(f"{top}/lock", b"%d" % number, found.version), range(5, 9))
        )
    assert sum(got) == 1


def test_another_version_is_not_read(connect: Connect, object_store: Server, top: str) -> None:
    connect()
    path = f"{top}/photo"
    storage.write_bytes(path, b"before")
    before = storage.stat(path)
    assert before
    storage.write_bytes(path, b"behind")
    after = storage.stat(path)
    assert after
    assert (after.size, after.version != before.version) == (before.size, True)
    assert storage.read_bytes(path, -1, after.version) == b"behind"
    if object_store.has_versions:
        with pytest.raises(AccessError, match="photo: was changed"):
            storage.read_bytes(path, -1, before.version)
        for size in (None, before.size):
            with (
                storage.open_to_read(path, before.version, size) as file,
                pytest.raises(AccessError, match="photo: was changed"),
            ):
                file.read()
    with storage.open_to_read(path, after.version, after.size) as file:
        assert file.read() == b"behind"
    storage.delete([path])
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(path, -1, before.version)
    with storage.open_to_read(path, after.version, after.size) as file, pytest.raises(FileNotFoundError):
        file.read()


def test_other_schemes_are_refused() -> None:
    with pytest.raises(AccessError, match="hdfs://: is not supported"):
        storage.stat("hdfs://name/x")
