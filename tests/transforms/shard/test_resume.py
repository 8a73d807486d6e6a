import logging
from dataclasses import replace
from pathlib import Path

import pytest

from faceveil.transforms.errors import AccessError
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import Row, ShardResult, Status
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.inputs.match import Input, InputFile, list_inputs
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.quarantine import Reason
from faceveil.transforms.shard.read import Source
from faceveil.transforms.shard.record import Outcome
from faceveil.transforms.shard.resume import changed_inputs, kept_records, with_kept
from faceveil.transforms.shard.write import write_shard

KEYS = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
QUARANTINED = "b.jpg"


def finished(key: str, quarantined: bool = False) -> Outcome:
    if quarantined:
        return Outcome(Row(key, Status.QUARANTINED, Reason.EMPTY, None, None, Faces.none()), None)
    return Outcome(Row(key, Status.NO_FACES, None, 10, 20, Faces.none()), f"record of {key}".encode())


@pytest.fixture
def output(tmp_path: Path) -> OutputLayout:
    (tmp_path / "out" / "records").mkdir(parents=True)
    return OutputLayout(str(tmp_path / "out"), str(tmp_path / "out" / "records"), "settings")


@pytest.fixture
def inputs(tmp_path: Path) -> list[Input]:
    (tmp_path / "in").mkdir()
    for key in KEYS:
        (tmp_path / "in" / key).write_bytes(b"\xff\xd8 " + key.encode())
    return [Input("data", f"{tmp_path}/in/*.jpg")]


def files(inputs: list[Input]) -> tuple[InputFile, ...]:
    return tuple(sorted((file for file in list_inputs(inputs, 0) if file), key=lambda file: file.key))


@pytest.fixture
def plan(inputs: list[Input], output: OutputLayout) -> ShardPlan:
    """A shard that was written, its second record quarantined."""
    plan = ShardPlan("data", 0, 1, "image", files(inputs))
    records = [finished(key, key == QUARANTINED) for key in KEYS]
    write_shard(plan, records, output, ShardResult(plan.name, "data"), "blur", lambda _: None)()
    return plan


def kept(plan: ShardPlan, output: OutputLayout) -> list[tuple[str, bytes | None]]:
    return [(item.row.key, item.serialized) for item in kept_records(plan, output)]


def test_all_records_but_the_quarantined_ones_are_kept(plan: ShardPlan, output: OutputLayout) -> None:
    assert kept(plan, output) == [(key, f"record of {key}".encode()) for key in KEYS if key != QUARANTINED]


@pytest.mark.parametrize("change", [{"size": 999}, {"version": "another"}, {"key": "renamed.jpg"}])
def test_the_record_of_a_file_that_has_changed_is_not_kept(
    plan: ShardPlan, output: OutputLayout, change: dict[str, object]
) -> None:
    first, *others = plan.files
    changed = replace(plan, files=(replace(first, **change), *others))  # type: ignore[arg-type]
    assert [key for key, _ in kept(changed, output)] == ["c.jpg", "d.jpg"]


def test_of_a_shard_that_is_damaged_or_gone_nothing_is_kept(plan: ShardPlan, output: OutputLayout) -> None:
    shard = Path(output.shard_path(plan.name))
    data = bytearray(shard.read_bytes())
    data[20] ^= 1
    shard.write_bytes(data)
    assert kept(plan, output) == []
    shard.unlink()
    assert kept(plan, output) == []


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_of_a_shard_without_a_readable_records_file_nothing_is_kept(
    plan: ShardPlan, output: OutputLayout, content: bytes | None
) -> None:
    path = Path(output.audit_path(plan.name))
    path.unlink() if content is None else path.write_bytes(content)
    assert kept(plan, output) == []


def test_of_a_shard_with_other_settings_nothing_is_kept(plan: ShardPlan, output: OutputLayout) -> None:
    assert kept(plan, replace(output, settings_digest="others")) == []


def sources(*keys: str) -> list[Source]:
    return [Source(key, f"/in/{key}", None, 0) for key in keys]


def test_kept_records_take_the_places_of_their_sources() -> None:
    mixed = list(with_kept(sources(*KEYS), iter([finished("a.jpg"), finished("d.jpg")])))
    assert [item.row.key if isinstance(item, Outcome) else f"{item.key}, to do" for item in mixed] == [
        "a.jpg",
        "b.jpg, to do",
        "c.jpg, to do",
        "d.jpg",
    ]


def test_a_kept_record_without_its_input_is_an_error_that_names_it() -> None:
    with pytest.raises(AccessError, match=r"^c.jpg: is no longer among the inputs"):
        list(with_kept(sources("a.jpg", "b.jpg"), iter([finished("a.jpg"), finished("c.jpg")])))


@pytest.mark.usefixtures("plan")
def test_what_has_changed_since_is_told_by_name(inputs: list[Input], output: OutputLayout, tmp_path: Path) -> None:
    assert changed_inputs(inputs, output, complete=True, repaired=False) == []
    (tmp_path / "in" / "a.jpg").write_bytes(b"\xff\xd8 longer than before")
    (tmp_path / "in" / "c.jpg").unlink()
    (tmp_path / "in" / "new.jpg").write_bytes(b"\xff\xd8")
    told = ["a.jpg: was changed, it had 8 bytes and has 21", "new.jpg: was added", "c.jpg: was removed"]
    assert changed_inputs(inputs, output, complete=True, repaired=False) == told
    # What is new may belong to a shard that is still to come.
    assert changed_inputs(inputs, output, complete=False, repaired=False) == [told[0], told[2]]


@pytest.mark.usefixtures("plan")
def test_only_what_was_quarantined_may_be_repaired(inputs: list[Input], output: OutputLayout, tmp_path: Path) -> None:
    (tmp_path / "in" / QUARANTINED).write_bytes(b"\xff\xd8 repaired by now")
    assert changed_inputs(inputs, output, complete=True, repaired=True) == []
    [told] = changed_inputs(inputs, output, complete=True, repaired=False)
    assert told.startswith(f"{QUARANTINED}: was changed")
    (tmp_path / "in" / QUARANTINED).unlink()
    assert changed_inputs(inputs, output, complete=True, repaired=True) == []
    (tmp_path / "in" / "a.jpg").unlink()
    assert changed_inputs(inputs, output, complete=True, repaired=True) == ["a.jpg: was removed"]


def test_without_finished_shards_all_is_new(inputs: list[Input], output: OutputLayout) -> None:
    told = [f"{key}: was added" for key in KEYS]
    assert changed_inputs(inputs, output, complete=True, repaired=False) == told
    Path(output.audit_directory).rmdir()
    assert changed_inputs(inputs, output, complete=True, repaired=False) == told


def test_records_files_of_others_and_damaged_ones_do_not_count(
    plan: ShardPlan, inputs: list[Input], output: OutputLayout, caplog: pytest.LogCaptureFixture
) -> None:
    records = Path(output.audit_directory)
    (records / "data-00001-of-00002.parquet").write_bytes(b"garbage")
    for name in ("a note.txt", "notes.txt"):  # listed before and after
        (records / name).write_bytes(b"garbage")
    with caplog.at_level(logging.WARNING):
        assert changed_inputs(inputs, output, complete=True, repaired=False) == []
    [warning] = caplog.messages
    assert "data-00001-of-00002.parquet: cannot be read" in warning
    others = replace(output, settings_digest="others")
    assert len(changed_inputs(inputs, others, complete=True, repaired=False)) == len(plan.files)
