from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.arrays import FloatArray
from faceveil.transforms.formats.box_table import BoxTable

images = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), st.integers(0, 4), max_size=12)


def of(counts: dict[str, int], order: np.random.Generator | None = None) -> tuple[BoxTable, dict[str, FloatArray]]:
    """A table of so many boxes for each key, each row in any place of the file; and the boxes by key."""
    numbers = np.repeat(np.arange(len(counts)), list(counts.values()))
    boxes = np.arange(4 * len(numbers), dtype=np.float32).reshape(-1, 4)
    expected = {key: boxes[numbers == number] for number, key in enumerate(counts)}
    if order is None:
        return BoxTable.of(list(counts), numbers, boxes), expected
    # Images in any order, the boxes of each in their own.
    keys = list(counts)
    moved = order.permutation(len(keys))
    rows = np.argsort(order.random(len(keys))[numbers], kind="stable") if len(numbers) else numbers
    return BoxTable.of([keys[m] for m in moved], np.argsort(moved)[numbers][rows], boxes[rows]), expected


@given(images, st.text(max_size=3), st.integers(0, 9))
def test_each_key_has_its_boxes_in_their_order_and_no_other_key_has_any(
    counts: dict[str, int], other: str, seed: int
) -> None:
    table, expected = of(counts, np.random.default_rng(seed))
    for key, boxes in expected.items():
        found = table.find(key)
        assert found is not None
        assert np.array_equal(found, boxes)
    asked = [*counts, *([other] if other.isascii() else [])]
    assert table.holds(asked).tolist() == [key in counts for key in asked]
    if other not in counts and other.isascii():
        assert table.find(other) is None


@given(images, st.integers(0, 9))
def test_the_digest_tells_what_is_in_it_whatever_the_order_of_the_file(counts: dict[str, int], seed: int) -> None:
    table, _ = of(counts)
    moved, _ = of(counts, np.random.default_rng(seed))
    assert moved.digest == table.digest
    assert of({**counts, "another": 0})[0].digest != table.digest
    if len(table.boxes):
        others = BoxTable(table.keys, table.spans, table.sizes, table.boxes + np.float32(1))
        assert others.digest != table.digest
    if len(table.keys):
        larger = BoxTable(table.keys, table.spans, table.sizes + np.int32(1), table.boxes)
        assert larger.digest != table.digest


def test_what_is_saved_is_mapped_again(tmp_path: Path) -> None:
    for number, counts in enumerate(({}, {"a": 0}, {"a": 2, "b": 1})):
        table, expected = of(counts)
        table.save(str(tmp_path / str(number)))
        again = BoxTable.open(str(tmp_path / str(number)))
        assert again.digest == table.digest
        assert not again.boxes.flags.owndata  # mapped
        for key, boxes in expected.items():
            found = again.find(key)
            assert found is not None
            assert np.array_equal(found, boxes)
        assert again.find("c") is None


def test_the_size_of_an_image_is_its_own() -> None:
    keys = [f"{number}.jpg" for number in range(20)]
    sizes = np.array([[number, 2 * number] for number in range(20)], np.int32)
    table = BoxTable.of(keys, np.zeros(0, np.int64), np.zeros((0, 4), np.float32), sizes=sizes)
    assert [table.size(key) for key in keys] == [None, *((number, 2 * number) for number in range(1, 20))]
    assert table.size("other.jpg") is None
    assert of({"a.jpg": 1})[0].size("a.jpg") is None


def test_an_image_is_found_under_all_of_its_names() -> None:
    boxes = np.ones((1, 4), np.float32)
    table = BoxTable.of(["a"], np.zeros(1, np.int64), boxes, lambda key: (f"{key}1", f"{key}2"))
    assert table.find("a") is None
    for name in ("a1", "a2"):
        found = table.find(name)
        assert found is not None
        assert found.tolist() == boxes.tolist()
