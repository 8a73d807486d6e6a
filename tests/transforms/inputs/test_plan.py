from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from apache_beam.pvalue import TaggedOutput
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.kinds import Kind
from faceveil.transforms.formats.tfrecord import frame
from faceveil.transforms.inputs import plan
from faceveil.transforms.inputs import summary as summary_module
from faceveil.transforms.inputs.match import Input, InputFile, hash_position, list_inputs
from faceveil.transforms.inputs.plan import (
    MAX_IMAGES,
    PlanShards,
    ShardKey,
    ShardPlan,
    lay_out,
    pack_files,
    plan_group,
    shard_of,
)
from faceveil.transforms.inputs.shard_layout import SplitLayout, shard_name
from faceveil.transforms.inputs.summary import InputSummary, SplitSummary, summarize_inputs


def image(key: str, path: str = "") -> InputFile:
    return InputFile("data", key, path or key, 100, "0.0", "image")


@pytest.mark.parametrize(
    ("images", "image_bytes", "shard_bytes", "num_shards", "shards"),
    [
        (0, 0, 100, None, 0),
        (1, 0, 100, None, 1),
        (10, 1000, 100, None, 10),
        (10, 1001, 100, None, 10),
        (10, 250, 100, None, 3),
        (10, 250, 100, 7, 7),
        (3, 250, 100, 7, 3),
        (MAX_IMAGES, 250, 100_000, None, 1),
        (2 * MAX_IMAGES + 1, 250, 100_000, None, 3),
        (2 * MAX_IMAGES + 1, 250, 100_000, 1, 1),
        (0, 0, None, None, 0),
        (1, 250, None, None, 1),
        (3, 250, None, None, 1),
        (20, 250, None, None, 10),
        (200, 250, None, None, 16),
        (200, 250, None, 1, 1),
        (MAX_IMAGES, 250, None, None, 16),
        (MAX_IMAGES, 100 * 2**26, None, None, 100),
    ],
)
def test_number_of_shards(
    images: int, image_bytes: int, shard_bytes: int | None, num_shards: int | None, shards: int
) -> None:
    summary = InputSummary({"data": SplitSummary(images, image_bytes, record_files=2)})
    sizes = lay_out(summary, shard_bytes, num_shards)["data"]
    assert (sizes.image_shards, sizes.tfrecord_shards) == (shards, 2)


def write_tfrecord(path: Path, size: int) -> None:
    record = frame(bytes(1000))
    path.write_bytes(record * (size // len(record)))


@pytest.mark.parametrize(
    ("sizes", "images", "shard_bytes", "shards", "part_bytes"),
    [
        ([3], 0, None, 1, None),
        ([9], 0, None, 3, 4),
        ([9, 20, 1], 0, None, 3 + 5 + 1, 4),
        ([40, 40], 0, None, 20, 4),
        ([100, 40], 0, None, 13 + 5, 8),
        ([9], 200, None, 1, None),
        ([1] * 15 + [9], 0, None, 16, None),
        ([9, 3], 0, 5, 2 + 1, 5),
        ([9, 3], 0, 100, 2, None),
    ],
)
def test_large_tfrecord_files_are_several_shards(
    tmp_path: Path, sizes: list[int], images: int, shard_bytes: int | None, shards: int, part_bytes: int | None
) -> None:
    """Sizes are in units of 2**14 bytes here, where the job's are in 2**20."""
    for number, size in enumerate(sizes):
        write_tfrecord(tmp_path / f"{number}.tfrecord", size * 2**14)
    for number in range(images):
        (tmp_path / f"{number}.jpg").write_bytes(b"")
    with pytest.MonkeyPatch.context() as small:
        for module in (summary_module, plan):
            small.setattr(module, "PART_BYTES", tuple(size * 2**14 for size in (64, 32, 16, 8, 4)))
        given = shard_bytes and shard_bytes * 2**14
        summary = summarize_inputs([Input("data", f"{tmp_path}/*")], "elsewhere", shard_bytes=given)
        sizes_of = lay_out(summary, given, None)["data"]
    assert (sizes_of.tfrecord_shards, sizes_of.part_bytes) == (shards, part_bytes and part_bytes * 2**14)
    layout = {"data": replace(sizes_of, image_shards=0)}
    packs = [pack for group, pack in pack_files(list_inputs([Input("data", f"{tmp_path}/*.tfrecord")], 0), layout)]
    planned = list(plan_group((("data", False, 0), packs), layout))
    assert sum(made.value[1] if isinstance(made, TaggedOutput) else 1 for made in planned) == shards


def test_splits_share_the_shards_of_a_small_job() -> None:
    splits = {"train": SplitSummary(800, 1), "val": SplitSummary(199, 1), "one": SplitSummary(1, 1)}
    layout = lay_out(InputSummary(splits), None, None)
    assert {name: sizes.image_shards for name, sizes in layout.items()} == {"train": 13, "val": 4, "one": 1}
    classes = {str(number): SplitSummary(20, 1) for number in range(100)}
    assert {sizes.image_shards for sizes in lay_out(InputSummary(classes), None, None).values()} == {1}


@given(st.text(), st.integers(1, 1000))
def test_a_key_has_one_shard_in_range(key: str, shards: int) -> None:
    assert 0 <= shard_of(hash_position(key), shards) < shards
    assert shard_of(hash_position(key), shards) == shard_of(hash_position(key), shards)


def test_shards_are_even() -> None:
    sizes = Counter(shard_of(hash_position(f"images/{n}.jpg"), 10) for n in range(10_000))
    assert min(sizes.values()) > 850
    assert max(sizes.values()) < 1150


def test_files_of_one_key_are_made_distinct() -> None:
    layout = {"data": SplitLayout(1, 0)}
    [group, pack], [_, other] = [
        *pack_files([image("b"), image("a", "2/a"), image("c.d/e.f.jpg", "2/e")], layout),
        *pack_files([image("a", "1/a"), image("c.d/e.f.jpg", "1/e")], layout),
    ]
    [made] = plan_group((group, [pack, other]), layout)
    assert isinstance(made, ShardPlan)
    assert [(file.key, file.path) for file in made.files] == [
        ("a", "1/a"),
        ("a~2", "2/a"),
        ("b", "b"),
        ("c.d/e.f.jpg", "1/e"),
        ("c.d/e.f~2.jpg", "2/e"),
    ]


def test_tfrecord_files_that_have_changed_since_the_layout_end_the_job(tmp_path: Path) -> None:
    write_tfrecord(tmp_path / "a.tfrecord", 50_000)
    files = list(list_inputs([Input("data", str(tmp_path))], 0))
    layout = {"data": SplitLayout(0, 3, part_bytes=10_000)}
    [(group, pack)] = pack_files(files, layout)
    with pytest.raises(AccessError, match="are 5 shards by their sizes now and 3 by those"):
        list(plan_group((group, [pack]), layout))
    [large] = plan_group((group, [pack]), {"data": replace(layout["data"], parts={"a.tfrecord": 3})})
    assert isinstance(large, TaggedOutput)
    assert large.value[1] == 3


def test_names_of_shards_are_in_the_order_of_their_numbers() -> None:
    names = [shard_name("data", index, 100_001) for index in (0, 9, 10, 99_999, 100_000)]
    assert names == sorted(names)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["image", "tfrecord"]), st.integers(0, 2**64 - 1))))
def test_packs_hold_every_file_once_with_those_of_its_shard(drawn: list[tuple[str, Kind, int]]) -> None:
    tfrecords = Counter(split for split, kind, _ in drawn if kind == "tfrecord")
    layout = {"a": SplitLayout(3, tfrecords["a"]), "b": SplitLayout(1, tfrecords["b"])}
    files = [
        InputFile(split, f"{number:03}", f"/{number:03}", 1, "0.0", kind, place)
        for number, (split, kind, place) in enumerate(drawn)
    ]
    with pytest.MonkeyPatch.context() as small:
        small.setattr(plan, "_PACK_FILES", 4)
        small.setattr(plan, "_WAITING_FILES", 7)
        grouped: dict[ShardKey, list[bytes]] = {}
        for group, pack in pack_files(files, layout):
            grouped.setdefault(group, []).append(pack)
    plans = [made for group, packs in grouped.items() for made in plan_group((group, packs), layout)]
    assert sorted((file for made in plans for file in made.files), key=lambda file: file.path) == files
    for made in plans:
        for file in made.files:
            assert (file.split, file.kind) == (made.split, made.kind)
            if file.kind == "image":
                assert made.index == shard_of(file.place, layout[file.split].image_shards)


def test_plans_every_file_once_and_every_shard(tmp_path: Path) -> None:
    for n in range(40):
        (tmp_path / f"{n}.jpg").write_bytes(bytes(10))
    for name in ("q.tfrecord", "p.tfrecord"):
        (tmp_path / name).write_bytes(b"")
    inputs = [Input("data", f"{tmp_path}/*")]
    layout = lay_out(summarize_inputs(inputs, "elsewhere"), 100, 30)

    def check(plans: list[ShardPlan]) -> None:
        by_name = {made.name: made for made in plans}
        assert sorted(by_name) == [f"data-{n:05d}-of-00032" for n in range(32)]
        planned = [file.key for made in plans for file in made.files]
        assert sorted(planned) == sorted(path.name for path in tmp_path.iterdir())
        assert [file.key for file in by_name["data-00030-of-00032"].files] == ["p.tfrecord"]
        assert [file.key for file in by_name["data-00031-of-00032"].files] == ["q.tfrecord"]
        for made in plans:
            assert [file.key for file in made.files] == sorted(file.key for file in made.files)

    with TestPipeline() as pipeline:
        assert_that(pipeline | PlanShards(inputs, layout), check)
