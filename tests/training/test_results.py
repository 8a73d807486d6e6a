from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.evaluation.measures import ImageResult
from faceveil.training.results import read_results, write_results
from faceveil.transforms.errors import ModelError


@given(counts=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=5))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, counts: list[tuple[int, int]]) -> None:
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("results") / "test.npz"
    results = [
        ImageResult(
            random.uniform(0, 99, (faces, 4)).astype(np.float32),
            random.random(faces) < 0.5,
            random.uniform(0, 99, (boxes, 4)).astype(np.float32),
            random.random(boxes).astype(np.float32),
        )
        for faces, boxes in counts
    ]
    write_results(path, results)
    read = read_results(path)
    assert len(read) == len(results)
    for one, other in zip(results, read, strict=True):
        for name in ("faces", "ignored", "boxes", "scores"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            assert getattr(one, name).dtype == getattr(other, name).dtype


def test_what_is_no_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "test.npz").write_bytes(b"PK no")
    with pytest.raises(ModelError, match=r"test\.npz"):
        read_results(tmp_path / "test.npz")
