"""Inventories of buckets instead of listings."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError, OwnOutputError
from faceveil.transforms.inputs.inventory import Inventory, Repetitions
from faceveil.transforms.inputs.match import Input, InputFile, list_inputs
from faceveil.transforms.inputs.plan import PlanShards, ShardPlan, lay_out
from faceveil.transforms.inputs.summary import summarize_inputs
from tests.faulty_proxy import FaultyProxy
from tests.object_stores import Server

Connect = Callable[..., FaultyProxy]
JPEG = b"\xff\xd8\xff\xe0" + bytes(60)
WHEN = datetime(2024, 1, 1, tzinfo=UTC)


def in_parquet(rows: Sequence[Mapping[str, Any]], row_group_size: int = 5) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(list(rows)), buffer, row_group_size=row_group_size)
    return buffer.getvalue()


def row(scheme: str, name: str, size: int, version: str, bucket: str = "inputs", **more: object) -> dict[str, object]:
    """As the services write them."""
    if scheme == "gs":
        fields = {"project": 1, "name": name, "size": size, "generation": int(version), "etag": "x", "updated": WHEN}
        return {"bucket": bucket, **fields, **more}
    return {"bucket": bucket, "key": name, "size": size, "last_modified_date": WHEN, "e_tag": version, **more}


def written(path: Path, *rows: Mapping[str, Any]) -> str:
    path.write_bytes(in_parquet(rows))
    return str(path)


def listed(path: str) -> list[tuple[str, int, str]]:
    inventory = Inventory(path)
    return [(file.path, file.size, file.version) for file in inventory.files(range(inventory.row_groups))]


def inputs(*given: str, **more: Any) -> list[Input]:
    return [Input("data", text.removeprefix("@"), is_list=text.startswith("@"), **more) for text in given]


def put_photos(server: Server, folder: str, count: int) -> list[dict[str, object]]:
    """Puts photos into the bucket; gives their rows."""
    rows = []
    for number in range(count):
        name = f"{folder}/{number % 3}/{number:02}.jpg"
        server.put("inputs", name, JPEG + bytes(number))
        found = storage.stat(f"{server.scheme}://inputs/{name}")
        assert found
        rows.append(row(server.scheme, name, found.size, found.version))
    return rows


def test_an_inventory_gives_what_a_listing_does_without_a_request_for_each_object(
    object_store: Server, connect: Connect
) -> None:
    proxy = connect()
    bucket = f"{object_store.scheme}://inputs"
    rows = put_photos(object_store, "same", 20)
    object_store.put("inputs", "lists/same.parquet", in_parquet(rows))
    by_listing = list(list_inputs(inputs(f"{bucket}/same/**")))
    before = proxy.requests
    by_inventory = list(list_inputs(inputs(f"@{bucket}/lists/same.parquet")))
    assert proxy.requests - before < len(rows) / 2  # to look at its kind, and to open and read it twice
    assert {(file.path, file.size, file.version, file.kind) for file in by_inventory} == {
        (file.path, file.size, file.version, file.kind) for file in by_listing
    }
    assert {file.key for file in by_inventory} == {f"same/{file.key}" for file in by_listing}


def test_every_row_is_planned_once_by_workers(object_store: Server, connect: Connect) -> None:
    connect()
    rows = put_photos(object_store, "planned", 20)
    object_store.put("inputs", "lists/planned.parquet", in_parquet(rows))
    given = inputs(f"@{object_store.scheme}://inputs/lists/planned.parquet", exclude=("02.jpg",))
    layout = lay_out(summarize_inputs(given, "elsewhere"), None, 4)

    def check(plans: list[ShardPlan]) -> None:
        planned = sorted(file.key for made in plans for file in made.files)
        assert planned == sorted(str(row.get("name") or row["key"]) for row in rows if "02.jpg" not in str(row))

    with TestPipeline() as pipeline:
        assert_that(pipeline | PlanShards(given, layout), check)


def test_an_object_that_was_replaced_or_removed_since_is_treated_as_ever(
    object_store: Server, connect: Connect
) -> None:
    connect()
    rows = put_photos(object_store, "old", 2)
    names = [str(row.get("name") or row["key"]) for row in rows]
    object_store.put("inputs", "lists/old.parquet", in_parquet(rows))
    files = {file.key: file for file in list_inputs(inputs(f"@{object_store.scheme}://inputs/lists/old.parquet"))}
    storage.delete([files[names[0]].path])
    object_store.put("inputs", names[1], JPEG[:-1] + b"2")
    with pytest.raises(FileNotFoundError):
        read(files[names[0]])
    if object_store.has_versions:
        with pytest.raises(AccessError, match="was changed while the job ran"):
            read(files[names[1]])


def read(file: InputFile) -> bytes:
    return storage.read_bytes(file.path, -1, file.version, file.size)


def test_only_objects_that_are_there_count(tmp_path: Path) -> None:
    path = written(
        tmp_path / "s3",
        row("s3", "a b%20c.jpg", 1, '"v1"', is_latest=True, is_delete_marker=False),
        row("s3", "a b%20c.jpg", 1, "v0", is_latest=False, is_delete_marker=False),
        row("s3", "gone.jpg", 1, "v0", is_latest=True, is_delete_marker=True) | {"size": None, "e_tag": None},
        row("s3", "folder/", 0, "v0", is_latest=True, is_delete_marker=False),
    )
    assert listed(path) == [("s3://inputs/a b%20c.jpg", 1, "v1")]
    path = written(
        tmp_path / "gs", row("gs", "a.jpg", 1, "12", timeDeleted=None), row("gs", "a.jpg", 1, "11", timeDeleted=WHEN)
    )
    assert listed(path) == [("gs://inputs/a.jpg", 1, "12")]


@given(
    st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(0, 2**40))),
    st.integers(1, 7),
)
def test_any_names_and_sizes_are_read_as_they_are(objects: list[tuple[str, int]], group_size: int) -> None:
    rows = [row("gs", name, size, str(place + 1)) for place, (name, size) in enumerate(objects)]
    with pytest.MonkeyPatch.context() as patch:
        data = in_parquet([*rows, row("gs", "last", 0, "0")], group_size)
        patch.setattr(storage, "open_to_read", lambda path: io.BytesIO(data))  # noqa: ARG005  faster than a disk
        expected = [("gs://inputs/" + name, size, str(place + 1)) for place, (name, size) in enumerate(objects)]
        assert listed("x") == [*(each for each in expected if each[0][-1] != "/"), ("gs://inputs/last", 0, "0")]


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("generation", r"needs bucket, name, size and generation \(size and generation among its metadata fields\)"),
        ("e_tag", r"needs bucket, key, size and e_tag \(Size and ETag among its optional fields\)"),
        ("size", "needs bucket, name, size and generation"),
        ("name", "needs bucket, name, .*, or bucket, key, size and e_tag"),
    ],
)
def test_what_lacks_a_column_is_refused_with_those_that_are_needed(tmp_path: Path, missing: str, said: str) -> None:
    fields = row("s3" if missing == "e_tag" else "gs", "a.jpg", 1, "1")
    fields.pop("etag", None)
    path = written(tmp_path / "list", {name: value for name, value in fields.items() if name != missing})
    with pytest.raises(AccessError, match=f"--input @{path}: has the columns bucket.*; an inventory {said}"):
        summarize_inputs(inputs(f"@{path}"), "elsewhere")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (gzip.compress(b"inputs,a.jpg,1"), "is compressed; .*: choose Parquet"),
        (b"ORC" + bytes(9), "is in ORC; .*: choose Parquet"),
        (b"PAR1" + bytes(9), "cannot be read as an inventory"),
        (in_parquet([row("gs", "a", 1, "1")])[:-60], "cannot be read as an inventory"),
        (
            in_parquet([row("gs", "a", 1, "1"), row("gs", "b", 1, "1", bucket="other")]),
            "a row has the bucket other",
        ),
        (
            in_parquet([row("gs", "a", 1, "1"), row("gs", "b", 1, "1") | {"size": None}]),
            ".* size None and generation 1",
        ),
    ],
)
def test_what_is_no_inventory_is_an_error_that_names_it(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "list").write_bytes(data)
    with pytest.raises(AccessError, match=f"--input @{tmp_path}/list: {said}"):
        summarize_inputs(inputs(f"@{tmp_path}/list"), "elsewhere")


def test_an_inventory_without_rows_is_an_error(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([row("gs", "a", 1, "1")]).slice(0, 0)
    parquet.write_table(table, tmp_path / "list")
    with pytest.raises(AccessError, match="lists no object"):
        summarize_inputs(inputs(f"@{tmp_path}/list"), "elsewhere")


def test_an_object_that_is_listed_twice_is_an_error_that_names_it(tmp_path: Path) -> None:
    first = written(tmp_path / "1", row("gs", "a.jpg", 1, "1"), row("gs", "b.jpg", 1, "1"))
    second = written(tmp_path / "2", row("gs", "c.jpg", 1, "1"))
    assert summarize_inputs(inputs(f"@{first}", f"@{second}"), "elsewhere").splits["data"].images == 3
    again = written(tmp_path / "3", row("gs", "b.jpg", 1, "2"))
    for paths in ((first, again), (first, second, first)):
        with pytest.raises(AccessError, match=f"@{first} and .*: list gs://inputs/.* twice"):
            summarize_inputs(inputs(*(f"@{path}" for path in paths)), "elsewhere")
    with pytest.raises(AccessError, match="twice"):
        summarize_inputs(inputs(f"@{written(tmp_path / '4', *[row('gs', 'a.jpg', 1, '1')] * 2)}"), "elsewhere")


@given(st.lists(st.sampled_from("abcdefgh")))
def test_repetitions_are_found(paths: list[str]) -> None:
    repetitions = Repetitions()
    for path in paths:
        repetitions.add(path)
    twice = repetitions.find(iter(paths))
    assert twice in paths if len(set(paths)) < len(paths) else twice is None


def test_files_of_earlier_inputs_are_left_to_these_and_later_ones_refused(
    object_store: Server, connect: Connect, tmp_path: Path
) -> None:
    connect()
    bucket = f"{object_store.scheme}://inputs"
    rows = put_photos(object_store, "shared", 6)
    (tmp_path / "inventory").write_bytes(in_parquet(rows))
    path = f"@{tmp_path}/inventory"
    found = [file.path.removeprefix(bucket) for file in list_inputs(inputs(f"{bucket}/shared/0/**", path), 1)]
    assert sorted(found) == [f"/shared/{n % 3}/{n:02}.jpg" for n in (1, 4, 2, 5)]
    for later in ("shared/*/*", "shared/0/00.jpg", "", "else/*"):
        with pytest.raises(AccessError, match=f"may hold files of --input {path}; give the inventory last"):
            list(list_inputs(inputs(path, f"{bucket}/{later}")))
    with pytest.raises(OwnOutputError, match="its own output"):
        summarize_inputs(inputs(path), f"{bucket}/shared")
