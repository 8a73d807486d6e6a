from collections import Counter
from pathlib import Path

import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.formats.kinds import Kind
from faceveil.transforms.inputs import plan
from faceveil.transforms.inputs.match import (
    Input,
    InputFile,
    InputSummary,
    SplitSummary,
    hash_position,
    summarize_inputs,
)
from faceveil.transforms.inputs.plan import (
    MAX_IMAGES,
    PlanShards,
    ShardKey,
    ShardPlan,
    SplitLayout,
    lay_out,
    pack_files,
    plan_group,
    shard_name,
    shard_of,
)


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
        (MAX_IMAGES, 100 * 2**28, None, None, 100),
    ],
)
def test_number_of_shards(
    images: int, image_bytes: int, shard_bytes: int | None, num_shards: int | None, shards: int
) -> None:
    summary = InputSummary({"data": SplitSummary(images, image_bytes, tfrecords=2)})
    assert lay_out(summary, shard_bytes, num_shards) == {"data": SplitLayout(shards, 2)}


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
    assert [(file.key, file.path) for file in made.files] == [
        ("a", "1/a"),
        ("a~2", "2/a"),
        ("b", "b"),
        ("c.d/e.f.jpg", "1/e"),
        ("c.d/e.f~2.jpg", "2/e"),
    ]


def test_names_of_shards_are_in_the_order_of_their_numbers() -> None:
    names = [shard_name("data", index, 100_001) for index in (0, 9, 10, 99_999, 100_000)]
    assert names == sorted(names)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["image", "tfrecord"]), st.integers(0, 2**64 - 1))))
def test_packs_hold_every_file_once_with_those_of_its_shard(drawn: list[tuple[str, Kind, int]]) -> None:
    layout = {"a": SplitLayout(3, 40), "b": SplitLayout(1, 40)}
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
