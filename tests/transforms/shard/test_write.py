"""What a shard is made of: exactly what was planned."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from faceveil.transforms.errors import AccountingError
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import Row, ShardResult, Stamp, StampedFile, Status, read_stamp
from faceveil.transforms.formats.kinds import Kind
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.formats.tfrecord import read_records
from faceveil.transforms.inputs.match import InputFile
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.shard.record import Outcome, quarantined
from faceveil.transforms.shard.write import write_shard


def written(folder: Path, files: list[str], records: list[str], kind: Kind = "image") -> ShardResult:
    plan = ShardPlan("data", 0, 1, kind, tuple(InputFile("data", key, key, 1, "1.0", kind) for key in files))
    finished = [Outcome(Row(key, Status.NO_FACES, None, 1, 1, Faces.none()), b"1") for key in records]
    output = OutputLayout(str(folder), str(folder / "records"), "digest")
    return write_shard(plan, finished, output, ShardResult(plan.name, "data"), "blur", lambda _: None)()


@pytest.mark.parametrize(
    "records", [["a", "b", "b#1"], ["a#0", "a#1", "b", "b#1"], ["a", "b", "b#1#0", "b#1#1"], ["a", "b#0", "b#1", "b#1"]]
)
def test_a_file_gives_one_record_or_those_of_its_own(tmp_path: Path, records: list[str]) -> None:
    assert written(tmp_path, ["a", "b", "b#1"], records).records == len(records)
    assert (tmp_path / "data-00000-of-00001.tfrecord").exists()


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (["a"], "nothing was made of b"),
        ([], "nothing was made of a"),
        (["a", "a", "b"], "a was not planned, or comes twice"),
        (["a", "b", "c"], "c was not planned, or comes twice"),
    ],
)
def test_a_file_that_is_lost_or_doubled_is_noticed(tmp_path: Path, records: list[str], said: str) -> None:
    with pytest.raises(AccountingError, match=re.escape(said)):
        written(tmp_path, ["a", "b"], records)
    assert not list(tmp_path.glob("*.tfrecord"))


def test_of_a_tfrecord_file_any_number_of_records_comes(tmp_path: Path) -> None:
    assert written(tmp_path, ["x"], [], "tfrecord").records == 0
    assert written(tmp_path, ["x"], ["x#0", "x#1"], "tfrecord").records == 2


def test_rows_say_where_records_lie_and_the_log_names_the_first_that_are_quarantined(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = ShardPlan("data", 0, 1, "tfrecord", (InputFile("data", "x", "x", 1, "1.0", "tfrecord"),))
    empty = Quarantine(Reason.EMPTY, "no bytes")
    good = [Outcome(Row(f"x#{n}", Status.NO_FACES, None, 1, 1, Faces.none()), b"%d" % n) for n in range(3)]
    records = [good[0], *(quarantined(f"x#bad-{n}", empty) for n in range(25)), *good[1:]]
    output = OutputLayout(str(tmp_path), str(tmp_path / "records"), "digest")
    with caplog.at_level(logging.WARNING):
        result = write_shard(plan, records, output, ShardResult(plan.name, "data"), "blur", lambda _: None)()
    assert (result.records, result.quarantined) == (28, 25)
    assert caplog.messages == [f"quarantined x#bad-{n}: empty: no bytes" for n in range(20)]
    rows = pq.read_table(output.audit_path(plan.name)).to_pylist()
    assert [row["index"] for row in rows] == [0, *[None] * 25, 1, 2]
    assert [row["key"] for row in rows] == [record.key for record in records]
    with open(output.shard_path(plan.name), "rb") as file:
        assert list(read_records(file)) == [b"0", b"1", b"2"]
    assert read_stamp(output.audit_path(plan.name)) == Stamp(
        "digest", result, "tfrecord", (StampedFile("x", 1, "1.0"),), parts=1
    )
