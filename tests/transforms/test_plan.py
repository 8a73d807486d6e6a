from collections import Counter
from pathlib import Path

import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that
from hypothesis import given
from hypothesis import strategies as st

from transforms.inputs import Input, InputFile, InputSummary, SplitSummary, stable_place, summarize_inputs
from transforms.plan import PlanShards, ShardPlan, SplitLayout, lay_out, plan_images, shard_of


def image(key: str, path: str = "") -> InputFile:
    return InputFile("data", key, path or key, 100, 0.0, "image")


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
    ],
)
def test_number_of_shards(images: int, image_bytes: int, shard_bytes: int, num_shards: int | None, shards: int) -> None:
    summary = InputSummary({"data": SplitSummary(images, image_bytes, tfrecords=2)})
    assert lay_out(summary, shard_bytes, num_shards) == {"data": SplitLayout(shards, 2)}


@given(st.text(), st.integers(1, 1000))
def test_a_key_has_one_shard_in_range(key: str, shards: int) -> None:
    assert 0 <= shard_of(stable_place(key), shards) < shards
    assert shard_of(stable_place(key), shards) == shard_of(stable_place(key), shards)


def test_shards_are_even() -> None:
    sizes = Counter(shard_of(stable_place(f"images/{n}.jpg"), 10) for n in range(10_000))
    assert min(sizes.values()) > 850
    assert max(sizes.values()) < 1150


def test_files_of_one_key_are_made_distinct() -> None:
    layout = {"data": SplitLayout(1, 0)}
    plan = plan_images((("data", 0), [image("b"), image("a", "2/a"), None, image("a", "1/a")]), layout)
    assert [(file.key, file.path) for file in plan.files] == [("a", "1/a"), ("a~2", "2/a"), ("b", "b")]


def test_plans_every_file_once_and_every_shard(tmp_path: Path) -> None:
    for n in range(40):
        (tmp_path / f"{n}.jpg").write_bytes(bytes(10))
    for name in ("q.tfrecord", "p.tfrecord"):
        (tmp_path / name).write_bytes(b"")
    inputs = [Input("data", f"{tmp_path}/*")]
    layout = lay_out(summarize_inputs(inputs, "elsewhere"), 100, 30)

    def check(plans: list[ShardPlan]) -> None:
        by_name = {plan.name: plan for plan in plans}
        assert sorted(by_name) == [f"data-{n:05d}-of-00032" for n in range(32)]
        planned = [file.key for plan in plans for file in plan.files]
        assert sorted(planned) == sorted(path.name for path in tmp_path.iterdir())
        assert [file.key for file in by_name["data-00030-of-00032"].files] == ["p.tfrecord"]
        assert [file.key for file in by_name["data-00031-of-00032"].files] == ["q.tfrecord"]
        for plan in plans:
            assert [file.key for file in plan.files] == sorted(file.key for file in plan.files)

    with TestPipeline() as pipeline:
        assert_that(pipeline | PlanShards(inputs, layout), check)
