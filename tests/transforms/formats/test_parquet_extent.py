"""What lies in a Parquet file beside the values of its columns is told; of files that a job writes there is nothing."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceveil.transforms.formats.columns import arrow_schema
from faceveil.transforms.formats.layout import COMPRESSIONS
from faceveil.transforms.formats.parquet_extent import hidden_in_footer, hidden_in_pages
from tests.transforms.shard.test_file_shard import COLUMNS, PLAN, layout, record, write

MORE = "its footer says more, or something else, than a job does"


def hidden(data: bytes) -> list[str]:
    footer = data[-8 - int.from_bytes(data[-8:-4], "little") : -8]
    metadata = arrow_schema(COLUMNS).metadata
    return [*hidden_in_footer(footer, metadata), *hidden_in_pages(io.BytesIO(data), len(data), footer)]


@pytest.fixture(params=COMPRESSIONS["parquet"])
def shard(request: pytest.FixtureRequest, tmp_path: Path) -> bytes:
    output = layout(tmp_path, ("parquet", request.param))
    write(output, [record(number % 4, "parquet") for number in range(1200)])
    return Path(output.shard_path(PLAN.name)).read_bytes()


def test_of_a_shard_that_a_job_writes_there_is_nothing(shard: bytes) -> None:
    assert pq.ParquetFile(io.BytesIO(shard)).num_row_groups == 2
    assert hidden(shard) == []


def written_anew(shard: bytes, change: Callable[[pa.Table], pa.Table] = lambda table: table, **options: Any) -> bytes:
    table = change(pq.read_table(io.BytesIO(shard)))
    file = io.BytesIO()
    pq.write_table(table, file, **{"use_dictionary": False, "write_statistics": False, **options})
    return file.getvalue()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"write_statistics": True}, "its footer holds values once more"),
        ({"use_dictionary": True}, "its columns have dictionaries"),
        ({"write_page_index": True, "write_statistics": True}, "on belong neither to a column nor to the footer"),
        (
            {"change": lambda t: t.replace_schema_metadata({**t.schema.metadata, b"who": b"anna"})},
            "something else, than a job does",
        ),
        ({"change": lambda t: t.replace_schema_metadata({b"huggingface": b"{}"})}, "something else, than a job does"),
        ({"change": lambda t: t.replace_schema_metadata(None)}, "something else, than a job does"),
    ],
    ids=map(str, range(6)),
)
def test_what_other_writers_say_more_is_told(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    output = layout(tmp_path, ("parquet", "zstd"))
    write(output, [record(number, "parquet") for number in range(4)])
    shard = Path(output.shard_path(PLAN.name)).read_bytes()
    assert hidden(written_anew(shard)) == []
    assert any(said in told for told in hidden(written_anew(shard, **options)))


def test_bytes_between_the_pieces_are_told(tmp_path: Path) -> None:
    output = layout(tmp_path, ("parquet", "none"))
    write(output, [record(number, "parquet") for number in range(4)])
    shard = Path(output.shard_path(PLAN.name)).read_bytes()
    start = len(shard) - 8 - int.from_bytes(shard[-8:-4], "little")
    between = shard[:start] + b"hidden" + shard[start:]
    [told] = hidden(between)
    assert "belong neither to a column nor to the footer" in told
    # A page's header of other content than the footer's numbers: the pages lead elsewhere.
    for place in range(4, 40):
        changed = bytearray(shard)
        changed[place] ^= 0x7F
        hidden(bytes(changed))  # whatever it says, it ends
