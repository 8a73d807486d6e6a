"""What a shard is made of: exactly what was planned."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from faceveil.transforms.errors import AccountingError
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import Row, ShardResult, Status
from faceveil.transforms.formats.kinds import Kind
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.inputs.match import InputFile
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.shard.record import Outcome
from faceveil.transforms.shard.write import write_shard


def written(folder: Path, files: list[str], records: list[str], kind: Kind = "image") -> ShardResult:
    plan = ShardPlan("data", 0, 1, kind, tuple(InputFile("data", key, key, 1, "1.0", kind) for key in files))
    finished = [Outcome(Row(key, Status.NO_FACES, None, 1, 1, Faces.none()), b"1") for key in records]
    output = OutputLayout(str(folder), str(folder / "records"), "digest")
    return write_shard(plan, finished, output, ShardResult(plan.name, "data"), "blur", lambda _: None)


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
