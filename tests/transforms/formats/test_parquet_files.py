"""Rows of Parquet files as Examples: every type, every division, every damage; read back with TensorFlow."""

from __future__ import annotations

import io
import itertools
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.container import Declared, NumberedRecord
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.parquet_files import PARQUET_FILES, read_footer
from faceveil.transforms.inputs.match import InputFile, add_digests
from faceveil.transforms.inputs.plan import ShardPlan, plan_parts
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.shard.read import HoldsRecords, Source, load, read_records_of, read_sources
from faceveil.transforms.shard.record import Outcome
from faceveil.transforms.storage.base import StoredFile
from tests.faulty_proxy import FaultyProxy
from tests.object_stores import Server

MAX_BYTES = 10**6
ROLES = FeatureRoles(("image",))


def write(folder: Path, table: pa.Table, name: str = "x.parquet", **options: Any) -> StoredFile:
    path = folder / name
    path.unlink(missing_ok=True)
    pq.write_table(table, path, **options)
    return stored(path)


def stored(path: Path) -> StoredFile:
    file = storage.stat(str(path))
    assert file
    return file


def read(file: StoredFile, roles: FeatureRoles = ROLES, max_bytes: int = MAX_BYTES) -> list[NumberedRecord]:
    return list(PARQUET_FILES.read(file, None, max_bytes, roles))


def features(record: bytes | Quarantine) -> dict[str, Any]:
    """By TensorFlow: the lists of an Example by name, with their kinds."""
    assert isinstance(record, bytes)
    parsed = tf.train.Example.FromString(record).features.feature
    return {
        name: (str(feature.WhichOneof("kind"))[:-5], list(getattr(feature, str(feature.WhichOneof("kind"))).value))
        for name, feature in parsed.items()
    }


def refusals(records: Sequence[NumberedRecord]) -> list[tuple[int, str, str]]:
    return [(number, str(r.reason), r.detail) for number, r in records if isinstance(r, Quarantine)]


VALUES: list[tuple[pa.DataType, list[Any], tuple[str, list[list[Any] | None]]]] = [
    (pa.bool_(), [True, False], ("int64", [[1], [0]])),
    (pa.int8(), [-128, 127], ("int64", [[-128], [127]])),
    (pa.int64(), [-(2**63), 2**63 - 1], ("int64", [[-(2**63)], [2**63 - 1]])),
    (pa.uint32(), [2**32 - 1, 0], ("int64", [[2**32 - 1], [0]])),
    (pa.uint64(), [2**63 - 1, 0], ("int64", [[2**63 - 1], [0]])),
    (pa.float16(), [np.float16(0.5), np.float16(-2)], ("float", [[0.5], [-2]])),
    (pa.float32(), [0.5, math.inf], ("float", [[0.5], [math.inf]])),
    (pa.float64(), [0.1, 1e300], ("float", [[float(np.float32(0.1))], [math.inf]])),
    (pa.string(), ["a", "é\0"], ("bytes", [[b"a"], ["é\0".encode()]])),
    (pa.large_string(), ["a", ""], ("bytes", [[b"a"], [b""]])),
    (pa.string_view(), ["a", "b" * 50], ("bytes", [[b"a"], [b"b" * 50]])),
    (pa.binary(), [b"\xff\0", b""], ("bytes", [[b"\xff\0"], [b""]])),
    (pa.binary(2), [b"ab", b"cd"], ("bytes", [[b"ab"], [b"cd"]])),
    (pa.binary_view(), [b"ab", b"c" * 50], ("bytes", [[b"ab"], [b"c" * 50]])),
    (pa.dictionary(pa.int8(), pa.string()), ["a", "b"], ("bytes", [[b"a"], [b"b"]])),
    (pa.list_(pa.int32()), [[1, 2], []], ("int64", [[1, 2], []])),
    (pa.large_list(pa.float32()), [[1.5], []], ("float", [[1.5], []])),
    (pa.list_(pa.float64(), 2), [[1.0, 2.0], [3.0, 4.0]], ("float", [[1, 2], [3, 4]])),
    (pa.list_(pa.string()), [["a", ""], []], ("bytes", [[b"a", b""], []])),
    (pa.list_(pa.bool_()), [[True], []], ("int64", [[1], []])),
    (pa.json_(), ['{"a": 1}', "[]"], ("bytes", [[b'{"a": 1}'], [b"[]"]])),
    (pa.uuid(), [bytes(16), bytes(range(16))], ("bytes", [[bytes(16)], [bytes(range(16))]])),
]


@pytest.mark.parametrize(("kind", "values", "expected"), VALUES, ids=[str(kind) for kind, *_ in VALUES])
def test_values_of_every_type_that_an_example_can_hold(
    tmp_path: Path, kind: pa.DataType, values: list[Any], expected: tuple[str, list[Any]]
) -> None:
    null = [] if pa.types.is_fixed_size_list(kind) else [None]  # which Arrow writes, and does not read
    images = [b"i", b"j", b"k"][: 2 + len(null)]
    file = write(tmp_path, pa.table({"image": images, "x": pa.array([*values, *null], kind)}))
    found = [features(record) for _, record in read(file)]
    assert [row.pop("image") for row in found] == [("bytes", [image]) for image in images]
    assert found == [*[{"x": (expected[0], each)} for each in expected[1]], *[{} for _ in null]]
    told = [feature for feature in PARQUET_FILES.declared(file) if feature.name == "x"]
    note = "doubles become floats of 32 bits, with fewer digits" if "double" in str(kind) else ""
    assert [(feature.refusal, feature.note) for feature in told] == [("", note)]


REFUSED = {
    "timestamp": (pa.timestamp("us"), [1]),
    "date": (pa.date32(), [1]),
    "decimal": (pa.decimal128(5, 2), [None]),
    "map": (pa.map_(pa.string(), pa.int64()), [{"a": 1}]),
    "lists of lists": (pa.list_(pa.list_(pa.int64())), [[[1]]]),
    "lists in lists of structs": (pa.list_(pa.struct([("a", pa.list_(pa.int64()))])), [[{"a": [1]}]]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_an_example_cannot_hold_is_declared_and_quarantined_unless_it_is_dropped(
    tmp_path: Path, name: str
) -> None:
    kind, values = REFUSED[name]
    file = write(tmp_path, pa.table({"image": [b"1"], "x": pa.array(values, kind)}))
    [told] = [feature for feature in PARQUET_FILES.declared(file) if feature.refusal]
    assert told.advice.startswith(f"column {told.name} is of the type {str(kind).partition('<')[0]}")
    assert told.advice.endswith(f", which an Example cannot hold; --drop_features {told.name} leaves it out")
    assert refusals(read(file)) == [(0, "invalid_example", told.advice)]
    for roles in (FeatureRoles(("image",), dropped=(told.name,)), FeatureRoles(("image",), strict=True)):
        assert [features(record) for _, record in read(file, roles)] == [{"image": ("bytes", [b"1"])}]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([2**63, 1], pa.uint64()), "9223372036854775808 not in range"),
        (pa.array([[1, None], [1]]), "a list with a null, which an Example cannot hold"),
        (pa.array([["a", None], ["b"]]), "a list with a null"),
    ],
)
def test_a_value_that_an_example_cannot_hold_costs_its_row(tmp_path: Path, column: pa.Array, said: str) -> None:
    first, second = read(write(tmp_path, pa.table({"image": [b"1", b"2"], "x": column})))
    [(number, reason, detail)] = refusals([first])
    assert (number, reason) == (0, "invalid_example")
    assert said in detail
    assert features(second[1])["x"][1] in ([1], [b"b"])


def test_fields_of_structs_are_features_and_an_image_of_hugging_face_is_one(tmp_path: Path) -> None:
    table = pa.table(
        {
            "image": [{"bytes": b"1", "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}, None],
            "objects": [{"id": [1, 2], "at": {"x": 0.5}}, None, {"id": [], "at": None}],
        }
    )
    assert [features(record) for _, record in read(write(tmp_path, table))] == [
        {
            "image": ("bytes", [b"1"]),
            "image/path": ("bytes", [b"a.jpg"]),
            "objects/id": ("int64", [1, 2]),
            "objects/at/x": ("float", [0.5]),
        },
        {"image/path": ("bytes", [b"b.jpg"])},
        {"objects/id": ("int64", [])},
    ]


def test_fields_of_structs_in_lists_are_lists_and_so_are_several_images_of_hugging_face(tmp_path: Path) -> None:
    images: list[dict[str, Any]] = [{"bytes": b"1", "path": None}, {"bytes": b"2", "path": None}]
    objects = [{"id": 1, "at": {"x": 0.5}, "name": "a"}, {"id": 2, "at": {"x": 1.5}, "name": "b"}]
    table = pa.table({"image": [images, [], None], "objects": [objects, [], None]})
    found = [features(record) for _, record in read(write(tmp_path, table))]
    assert found[0] == {
        "image": ("bytes", [b"1", b"2"]),
        "objects/id": ("int64", [1, 2]),
        "objects/at/x": ("float", [0.5, 1.5]),
        "objects/name": ("bytes", [b"a", b"b"]),
    }
    assert sorted(found[1]) == sorted([*found[0], "image/path"])
    assert [values for _, values in found[1].values()] == [[]] * 5
    assert found[2] == {}
    images[1]["path"] = "b.jpg"
    images[0]["bytes"] = None
    for column in ("image", "image/path"):
        [told] = refusals(read(write(tmp_path, pa.table({"image": [images]}))))
        assert told[2] == f"column {column}: a list with a null, which an Example cannot hold"
        images[0]["bytes"] = b"1"


def test_two_columns_that_would_be_one_feature_are_refused(tmp_path: Path) -> None:
    arrays = [pa.array([b"1"]), pa.array([{"b": 1}]), pa.array([2])]
    file = write(tmp_path, pa.Table.from_arrays(arrays, ["image", "a", "a/b"]))
    assert [feature.name for feature in PARQUET_FILES.declared(file) if feature.refusal] == ["a/b", "a/b"]
    assert "column a/b is the name of two columns" in refusals(read(file))[0][2]
    twice = write(tmp_path, pa.Table.from_arrays([pa.array([b"1"])] * 2, ["image", "image"]))
    assert "column image is the name of two columns" in refusals(read(twice))[0][2]


def test_names_with_dots_and_slashes_are_columns_like_any_other(tmp_path: Path) -> None:
    table = pa.table({"image": [b"1"], "a.b": [1], "a": [{"b": 2, "c.d": 3}], "image/format": ["jpeg"], "": [4]})
    [(_, record)] = read(write(tmp_path, table), FeatureRoles(("image",), dropped=("a/b",)))
    assert features(record) == {
        "image": ("bytes", [b"1"]),
        "a.b": ("int64", [1]),
        "a/c.d": ("int64", [3]),
        "image/format": ("bytes", [b"jpeg"]),
        "": ("int64", [4]),
    }


def test_strings_that_are_no_text_pass_as_the_bytes_they_are(tmp_path: Path) -> None:
    raw = pa.array([b"\xff\xfe", b"ok"]).view(pa.string())
    found = read(write(tmp_path, pa.table({"image": [b"1", b"2"], "x": raw})))
    assert [features(record)["x"] for _, record in found] == [("bytes", [b"\xff\xfe"]), ("bytes", [b"ok"])]


def test_rows_over_the_limit_are_quarantined(tmp_path: Path) -> None:
    file = write(tmp_path, pa.table({"image": [b"1", bytes(1000), b"3"]}))
    found = read(file, max_bytes=500)
    [(number, reason, detail)] = refusals(found)
    assert (number, reason) == (1, "too_large")
    assert detail.startswith("record 1 has 10")
    assert [features(found[n][1])["image"][1] for n in (0, 2)] == [[b"1"], [b"3"]]


def test_a_value_that_many_rows_share_is_never_held_for_all_of_them(tmp_path: Path) -> None:
    """A file of two kilobytes, whose rows are fifty gigabytes."""
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), pa.array([bytes(10_000_000)]))
    options: dict[str, Any] = {"store_schema": False, "compression": "ZSTD", "dictionary_pagesize_limit": 10**9}
    file = write(tmp_path, pa.table({"image": shared}), **options)
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    for number, record in itertools.islice(PARQUET_FILES.read(file, None, MAX_BYTES, ROLES), 20):
        assert isinstance(record, Quarantine)
        assert record.reason is Reason.TOO_LARGE
        assert record.detail.startswith(f"record {number} has 10000")
        assert pool.bytes_allocated() - before < 100_000_000


@pytest.mark.parametrize("table", [pa.table({"image": pa.array([], pa.binary())}), pa.table({})])
def test_a_table_without_rows_has_no_records(tmp_path: Path, table: pa.Table) -> None:
    file = write(tmp_path, table)
    assert read(file) == []
    assert PARQUET_FILES.max_parts(file) == 1


def test_a_table_of_none_of_the_columns_that_are_kept_has_its_rows_all_the_same(tmp_path: Path) -> None:
    found = read(write(tmp_path, pa.table({"label": [1, 2]})), FeatureRoles(strict=True))
    assert found == [(0, b""), (1, b"")]


# Dividing a file.

COMPRESSIONS = st.sampled_from(["NONE", "SNAPPY", "GZIP", "ZSTD", "LZ4", "BROTLI"])


def plan_of(file: StoredFile) -> ShardPlan:
    listed = InputFile("data", "x.parquet", file.path, file.size, file.version, "parquet")
    return ShardPlan("data", 3, 9, "parquet", (listed,), listed.digest)


def read_plans(*plans: ShardPlan) -> list[tuple[str, bytes | None]]:
    found = (record for plan in plans for record in read_sources(plan, ROLES, MAX_BYTES))
    return [(record.key, record.serialized) for record in found]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=60), st.integers(-9, 9) | st.none()), max_size=60),
    st.integers(1, 20),
    st.integers(1, 12),
    COMPRESSIONS,
)
def test_any_division_gives_the_same_keys_and_records(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[bytes, int | None]],
    group_rows: int,
    count: int,
    compression: str,
) -> None:
    columns = {"image": pa.array([row[0] for row in rows], pa.binary()), "x": [row[1] for row in rows]}
    table = pa.table({**columns, "x": pa.array(columns["x"], pa.int64())})
    file = write(tmp_path_factory.getbasetemp(), table, row_group_size=group_rows, compression=compression)
    groups = -(-len(rows) // group_rows)
    assert PARQUET_FILES.max_parts(file) == max(1, groups)
    whole = read_plans(plan_of(file))
    assert [key for key, _ in whole] == [f"x.parquet#{number}" for number in range(len(rows))]
    assert [features(record or b"")["image"] for _, record in whole] == [("bytes", [row[0]]) for row in rows]
    plans = list(plan_parts((plan_of(file), count)))
    assert read_plans(*plans) == whole
    for plan in plans:
        part = plan.part
        assert part
        assert part.records == len(read_plans(plan))
        assert not part.records or count > groups or part.first % group_rows == 0
    assert [plan.index for plan in plans] == list(range(3, 3 + count))
    assert sum(plan.nbytes for plan in plans) == file.size
    assert add_digests(plan.inputs_digest for plan in plans) == add_digests([plan_of(file).inputs_digest])


def test_no_part_is_empty_if_there_are_row_groups_enough(tmp_path: Path) -> None:
    file = write(tmp_path, pa.table({"image": [b"1"] * 23}), row_group_size=2)
    for count in range(1, 13):
        assert min(part.records or 0 for part in PARQUET_FILES.divide(file, count)) > 0


# Files that are called something else, that change, or lie in a bucket.


def test_a_table_that_is_called_an_image_is_told(tmp_path: Path) -> None:
    file = write(tmp_path, pa.table({"image": [b"1", b"22"]}), "x.jpg")
    listed = InputFile("data", "x.jpg", file.path, file.size, file.version, "image")
    [source] = read_sources(ShardPlan("data", 0, 1, "image", (listed,)), ROLES, MAX_BYTES)
    assert isinstance(source, Source)
    with pytest.raises(HoldsRecords):
        load(source, ROLES, MAX_BYTES)
    found = list(read_records_of(source, ROLES, MAX_BYTES))
    assert [(record.key, features(record.serialized or b"")["image"][1]) for record in found] == [
        ("x.jpg#0", [b"1"]),
        ("x.jpg#1", [b"22"]),
    ]


def test_images_in_other_columns_hold_the_row_back(tmp_path: Path) -> None:
    png = b"\x89PNG\r\n\x1a\n" + bytes(60)
    table = pa.table({"image": [b"1"], "mask": [{"bytes": png, "path": "m.png"}]})
    [source] = read_sources(plan_of(write(tmp_path, table)), ROLES, MAX_BYTES)
    assert isinstance(source, Source)
    with pytest.raises(Quarantine, match="feature mask holds an image too") as caught:
        load(source, ROLES, MAX_BYTES)
    assert caught.value.reason is Reason.EMBEDDED_IMAGE


def test_a_file_that_is_gone_or_was_changed(tmp_path: Path) -> None:
    plan = plan_of(write(tmp_path, pa.table({"image": [b"1"] * 4}), row_group_size=1))
    plans = list(plan_parts((plan, 2)))
    write(tmp_path, pa.table({"image": [b"2"] * 5}))
    for each in (plan, *plans):
        with pytest.raises(AccessError, match=r"x\.parquet: was changed"):
            read_plans(each)
    (tmp_path / "x.parquet").unlink()
    for each in (plan, plans[0]):
        [outcome] = read_sources(each, ROLES, MAX_BYTES)
        assert isinstance(outcome, Outcome)
        assert (outcome.key, outcome.row.reason) == ("x.parquet#0", "unreadable_file")


def test_a_bucket_is_asked_for_the_footer_alone_and_then_for_row_groups(
    object_store: Server, connect: Callable[..., FaultyProxy]
) -> None:
    connect()
    buffer = io.BytesIO()
    chance = random.Random(2)  # noqa: S311
    rows = [chance.randbytes(100_000) for _ in range(100)]
    pq.write_table(pa.table({"image": rows}), buffer, row_group_size=10)
    object_store.put("inputs", "x.parquet", buffer.getvalue())
    file = storage.stat(f"{object_store.scheme}://inputs/x.parquet")
    assert file
    assert read_footer(file).num_row_groups == PARQUET_FILES.max_parts(file) == 10
    plans = list(plan_parts((plan_of(file), 3)))
    found = read_plans(*plans)
    assert [features(record or b"")["image"][1] for _, record in found] == [[row] for row in rows]


def test_declared_features_are_told_in_their_order(tmp_path: Path) -> None:
    file = write(tmp_path, pa.table({"b": [1], "a": [1.0]}))
    assert [(each.name, each.note) for each in PARQUET_FILES.declared(file)] == [
        ("b", ""),
        ("a", "doubles become floats of 32 bits, with fewer digits"),
    ]
    assert Declared("x", "is odd").advice == "column x is odd; --drop_features x leaves it out"
