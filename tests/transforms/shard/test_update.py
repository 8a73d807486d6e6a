"""Planning updates: shards are made without a model here, by what is planned, and have to hold what the inputs are."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceveil.transforms.errors import OutputError
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import Row, ShardResult, Status, read_stamp
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.formats.tfrecord import frame
from faceveil.transforms.inputs.match import Input, add_digests, list_inputs
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.inputs.shard_layout import Addition, Layout, SplitLayout
from faceveil.transforms.shard.contents import content_digest
from faceveil.transforms.shard.read import Source, read_sources
from faceveil.transforms.shard.record import Outcome
from faceveil.transforms.shard.resume import finished_shard, kept_records, restamp, with_kept
from faceveil.transforms.shard.shard_format import SHARD_FORMATS
from faceveil.transforms.shard.update import Update, UpdateOptions, plan_update
from faceveil.transforms.shard.write import write_shard

BASE: Layout = {"data": SplitLayout(3, 2)}
BEGUN = UpdateOptions(complete=False, same_inputs=True)
GOES_ON = UpdateOptions(complete=False)
COMPLETE = UpdateOptions(complete=True)


class Job:
    """A job on a folder, which makes shards by copying."""

    def __init__(self, top: Path) -> None:
        self.top, self.layout, self.made = top, BASE, 0
        self.output = OutputLayout(str(top / "out"), str(top / "audit"), "settings")
        (top / "in").mkdir(parents=True)

    def write(self, name: str, content: str) -> Path:
        """An image, or a file of as many records as the content has letters."""
        path = self.top / "in" / name
        data = [f"{content}{letter}".encode() for letter in content]
        path.write_bytes(b"".join(map(frame, data)) if name.endswith(".tfrecord") else b"\xff\xd8" + content.encode())
        return path

    def update(self, options: UpdateOptions, shards: int = 10**6) -> Update:
        """Plans, and makes so many shards before it is killed."""
        files = list_inputs([Input("data", f"{self.top}/in/**")])
        update = plan_update(files, self.layout, self.output, options)
        self.layout = update.layout
        for plan in [plan for plan in update.plans if not plan.finished][:shards]:
            self._make(plan)
        return update

    def _make(self, plan: ShardPlan) -> None:
        assert finished_shard(plan, self.output) is None
        if restamp(plan, self.output, "blur", False):
            return
        sources = read_sources(plan, FeatureRoles(), 10**6)
        records = with_kept(sources, kept_records(plan, self.output, with_quarantined=True))
        result = ShardResult(plan.name, plan.split, inputs_digest=plan.inputs_digest)
        write_shard(plan, map(self._copied, records), self.output, result, "blur", lambda _: None)()

    def _copied(self, record: Source | Outcome) -> Outcome:
        if isinstance(record, Outcome):
            return record
        self.made += 1
        data = record.serialized or Path(record.path).read_bytes()
        row = Row(record.key, Status.NO_FACES, None, 1, 1, Faces.none())
        return Outcome(row, data, content_digest(data, b"") if record.serialized is None else "")

    def published(self) -> list[tuple[str, bytes | None]]:
        """What the shards hold, and none but the layout's."""
        names = [name for split, sizes in self.layout.items() for name, _ in sizes.names(split)]
        assert {f"{name}.tfrecord" for name in names} == {path.name for path in (self.top / "out").iterdir()}
        assert {f"{name}.parquet" for name in names} == {path.name for path in (self.top / "audit").iterdir()}
        stamps = {name: read_stamp(self.output.audit_path(name)) for name in names}
        read = SHARD_FORMATS["tfrecord"].read_back
        return sorted(
            (row.key, data)
            for name, stamp in stamps.items()
            if stamp
            for row, data in read(name, self.output, stamp.result)
        )

    def expected(self) -> list[tuple[str, bytes | None]]:
        """The same by the files."""
        found: list[tuple[str, bytes | None]] = []
        for path in (self.top / "in").iterdir():
            if path.suffix == ".tfrecord":
                [file] = list_inputs([Input("data", str(path))])
                plan = ShardPlan("data", 0, 1, "tfrecord", (file,))
                sources = [each for each in read_sources(plan, FeatureRoles(), 10**6) if isinstance(each, Source)]
                found += [(source.key, source.serialized) for source in sources]
            else:
                found.append((path.name, path.read_bytes()))
        return sorted(found)

    def digest(self) -> str:
        """That of the versions of all files that the shards tell."""
        stamps = [read_stamp(str(path)) for path in (self.top / "audit").glob("*.parquet")]
        return add_digests(stamp.result.inputs_digest for stamp in stamps if stamp)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Complete, of six images and two files of records."""
    job = Job(tmp_path / "job")
    for number in range(6):
        job.write(f"{number}.jpg", "abc"[: number % 3 + 1])
    job.write("x.tfrecord", "ab")
    job.write("y.tfrecord", "c")
    job.update(BEGUN)
    job.made = 0
    assert job.published() == job.expected()
    return job


def touch(path: Path) -> None:
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 10))


def rewritten(update: Update) -> list[str]:
    return [plan.name for plan in update.plans if not plan.finished]


def test_without_changes_nothing_is_made(job: Job) -> None:
    update = job.update(COMPLETE)
    assert (rewritten(update), update.layout, job.made) == ([], BASE, 0)


def test_only_new_and_changed_files_are_read(job: Job) -> None:
    job.write("new.jpg", "new")
    job.write("1.jpg", "changed")
    job.write("more.tfrecord", "def")
    (job.top / "in" / "2.jpg").unlink()
    (job.top / "in" / "y.tfrecord").unlink()
    update = job.update(COMPLETE)
    assert job.published() == job.expected()
    assert job.made == 2 + 3
    assert update.changes.added == 2
    assert (update.changes.changed, update.changes.removed, update.changes.touched) == (1, 2, 0)
    assert update.layout["data"].added == (Addition(1, 1),)
    assert {name for name in rewritten(update) if "added" in name} == {
        "data-added001-00000-of-00002",
        "data-added001-00001-of-00002",
    }
    # Of a file of records that is gone, the shards stay, empty, and those of others keep their numbers.
    assert (job.top / "out" / "data-00004-of-00005.tfrecord").stat().st_size == 0
    assert rewritten(job.update(COMPLETE)) == []


def test_a_touch_is_no_change_and_rewrites_no_shard(job: Job) -> None:
    written = {path: path.stat().st_mtime_ns for path in (job.top / "out").iterdir()}
    for path in (job.top / "in").iterdir():
        touch(path)
    update = job.update(COMPLETE)
    assert (update.changes.changed, update.changes.touched, job.made) == (0, 8, 0)
    assert {path: path.stat().st_mtime_ns for path in (job.top / "out").iterdir()} == written
    assert rewritten(job.update(COMPLETE)) == []


def test_other_bytes_of_the_same_size_are_a_change(job: Job) -> None:
    for name, content in (("2.jpg", "xyz"), ("x.tfrecord", "bc")):
        before = (job.top / "in" / name).stat()
        path = job.write(name, content)
        assert path.stat().st_size == before.st_size
        os.utime(path, (0, before.st_mtime + 1))
    update = job.update(COMPLETE)
    assert (update.changes.changed, update.changes.touched) == (2, 0)
    assert job.published() == job.expected()


def test_a_file_that_holds_other_things_than_it_did_moves(job: Job) -> None:
    """Named without an ending, it may turn from an image into records."""
    job.write("thing.jpg", "image").rename(job.top / "in" / "thing")
    job.update(COMPLETE)
    job.write("thing.tfrecord", "ab").rename(job.top / "in" / "thing")
    job.update(COMPLETE)
    expected = {key: data for key, data in job.expected() if key != "thing"}
    assert {key: data for key, data in job.published() if not key.startswith("thing")} == expected
    assert [key for key, _ in job.published() if key.startswith("thing")] == ["thing#0", "thing#1"]


def test_files_of_one_key_are_known_by_their_content(tmp_path: Path) -> None:
    """When the first of them is withdrawn the second gets its key, and may have its size and time too."""
    job = Job(tmp_path / "job")
    inputs = []
    for folder, content in (("a", "Anna"), ("b", "Emma")):
        (job.top / folder).mkdir()
        for name, data in (("1.jpg", b"\xff\xd8" + content.encode()), ("1.tfrecord", frame(content.encode()))):
            (job.top / folder / name).write_bytes(data)
            os.utime(job.top / folder / name, (0, 0))
        inputs.append(Input("data", f"{job.top}/{folder}/*"))

    def update(options: UpdateOptions, inputs: list[Input]) -> None:
        planned = plan_update(list_inputs(inputs), job.layout, job.output, options)
        job.layout = planned.layout
        for plan in planned.plans:
            if not plan.finished:
                job._make(plan)

    update(BEGUN, inputs)
    assert [key for key, _ in job.published()] == ["1.jpg", "1.tfrecord#0", "1~2.jpg", "1~2.tfrecord#0"]
    update(COMPLETE, inputs[1:])
    assert job.published() == [("1.jpg", b"\xff\xd8Emma"), ("1.tfrecord#0", b"Emma")]
    update(COMPLETE, inputs)
    assert [data for _, data in job.published()] == [b"\xff\xd8Anna", b"Anna", b"\xff\xd8Emma", b"Emma"]


@pytest.mark.parametrize("change", ["cut", "remove"])
def test_a_complete_output_without_its_audit_trail_is_refused(job: Job, change: str) -> None:
    path = Path(job.output.audit_path("data-00001-of-00005"))
    path.unlink() if change == "remove" else path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(OutputError, match=r"lacks what the audit trail says of 1 of its shards, such as data-00001-of"):
        job.update(COMPLETE)
    job.output = replace(job.output, audit_directory=str(job.top / "elsewhere"))
    with pytest.raises(OutputError, match=r"of 5 of its shards.* --records_output"):
        job.update(COMPLETE)
    # Of one that is not, they are to be made.
    job.output = replace(job.output, audit_directory=str(job.top / "audit"))
    job.update(GOES_ON)
    assert job.published() == job.expected()
    assert job.layout == BASE


def test_a_shard_that_is_gone_is_made_again(job: Job) -> None:
    (job.top / "out" / "data-00003-of-00005.tfrecord").unlink()
    update = job.update(COMPLETE)
    assert rewritten(update) == ["data-00003-of-00005"]
    assert job.published() == job.expected()


def test_shards_still_to_be_made_take_new_files_but_not_any_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faceveil.transforms.shard.update.MAX_IMAGES", 5)
    job = Job(tmp_path / "job")
    for number in range(30):
        job.write(f"{number:02}.jpg", "x")
    job.update(BEGUN, shards=2)
    for number in range(30, 90):
        job.write(f"{number:02}.jpg", "x")
    update = job.update(GOES_ON)
    assert job.published() == job.expected()
    [third] = [plan for plan in update.plans if plan.name == "data-00002-of-00005"]
    assert len(third.files) == 10
    left = sum(len(plan.files) for plan in update.plans if plan.addition)
    assert update.layout["data"].added == (Addition(-(-left // 5), 0),)


NAMES = [*(f"{number}.jpg" for number in range(7)), *(f"{letter}.tfrecord" for letter in "pqrs")]
CONTENTS = st.text("abcd", min_size=1, max_size=4)
CHANGE = st.tuples(st.sampled_from(["write", "write", "remove", "touch"]), st.sampled_from(NAMES), CONTENTS)
STEP = st.tuples(st.lists(CHANGE, max_size=4), st.integers(0, 4))


@settings(max_examples=20, deadline=None)
@given(first=st.dictionaries(st.sampled_from(NAMES), CONTENTS, min_size=1), steps=st.lists(STEP, max_size=4))
def test_whatever_changes_and_whenever_it_is_killed_the_output_is_what_the_inputs_are(
    first: dict[str, str], steps: list[tuple[list[tuple[str, str, str]], int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        job = Job(Path(folder) / "job")
        records = sum(name.endswith(".tfrecord") for name in first)
        job.layout = {"data": SplitLayout(min(3, len(first) - records), records)}
        for name, content in first.items():
            job.write(name, content)
        time = 1
        complete = False
        for changes, killed_after in steps:
            for change, name, content in changes:
                path, time = job.top / "in" / name, time + 1
                if change == "write":
                    os.utime(job.write(name, content), (time, time))
                elif path.exists():
                    path.unlink() if change == "remove" and len(list(path.parent.iterdir())) > 1 else touch(path)
            killed = job.update(COMPLETE if complete else GOES_ON, killed_after)
            complete = complete and not rewritten(killed)
            if random.Random(time).random() < 0.5:  # noqa: S311  else it is killed once more
                layout = job.layout
                job.update(COMPLETE if complete else BEGUN)
                assert job.layout == layout
                complete = True
                assert job.published() == job.expected()
        job.update(COMPLETE if complete else GOES_ON)
        assert job.published() == job.expected()
        assert job.digest() == add_digests(file.digest for file in list_inputs([Input("data", f"{job.top}/in/**")]))
        made = job.made
        assert rewritten(job.update(COMPLETE)) == []
        assert job.made == made
        shutil.rmtree(job.top)
