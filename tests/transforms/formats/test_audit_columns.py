"""Columns of audit files say what their rows say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import AuditFile, OtherImage, Row, ShardResult, Stamp, Status, read_rows
from faceveil.transforms.formats.audit_columns import read_columns, read_keys


def faces_of(count: int, seed: int) -> Faces:
    rng = np.random.default_rng(seed)
    return Faces(rng.uniform(0, 99, (count, 4)).astype(np.float32), rng.uniform(0, 1, count).astype(np.float32))


def row_of(number: int, counts: list[int]) -> Row:
    """A row with so many faces in its images, the main one's first; without any, one that is quarantined."""
    key = f"{number}é.jpg"
    if not counts:
        return Row(key, Status.QUARANTINED, "truncated", None, None, Faces.none(), detail="at 7")
    main, *others = counts
    images = tuple(OtherImage("right", 4, 5, faces_of(n, number + 100 * i)) for i, n in enumerate(others, 1))
    return Row(key, Status.ANONYMIZED, None, 640, 480 + number, faces_of(main, number), other_images=images)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), max_size=3), max_size=12))
def test_they_are_those_of_the_rows(tmp_path_factory: pytest.TempPathFactory, counts: list[list[int]]) -> None:
    path = str(tmp_path_factory.mktemp("audit") / "data.parquet")
    file = AuditFile("data", "blur")
    for number, each in enumerate(counts):
        file.add(row_of(number, each), None)
    file.publish(path, Stamp("0", ShardResult("data", "data"), "image", ()))
    rows, columns = list(read_rows(path)), read_columns(path)
    assert read_keys(path) == list(columns.keys) == [row.key for row in rows]
    assert list(columns.statuses) == [str(row.status) for row in rows]
    assert list(columns.reasons) == [row.reason for row in rows]
    assert list(columns.details) == [row.detail for row in rows]
    assert columns.sizes.tolist() == [[row.width or 0, row.height or 0] for row in rows]
    for number, row in enumerate(rows):
        mine = columns.faces.rows == number
        np.testing.assert_array_equal(columns.faces.boxes[mine], row.faces.boxes)
        np.testing.assert_array_equal(columns.faces.scores[mine], row.faces.scores)
        others = [image.faces.scores for image in row.other_images]
        mine = columns.other_faces.rows == number
        np.testing.assert_array_equal(
            columns.other_faces.scores[mine], np.concatenate([*others, np.zeros(0, np.float32)])
        )


def test_what_is_no_audit_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"a\.parquet: is no records file of faceveil"):
        read_columns(str(tmp_path / "a.parquet"))
    with pytest.raises(OSError, match="gone"):
        read_keys(str(tmp_path / "gone.parquet"))
