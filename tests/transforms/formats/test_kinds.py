"""What files are, by their names."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.formats import kinds
from faceveil.transforms.formats.kinds import ending_of, judge_name, kind_of


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ("a.jpg B.JPG a/b.webp .a.jpg .hidden/a.jpg _a.jpg x.tfrecord x.tfrecords.gz train-00000-of-01024", ""),
        (
            "train train.record x.records x.tf_record x.tfr part-r-00000 train-0-of-8 a.jpg.1 a.JPG~ a.parquet a.tar",
            "",
        ),
        (
            ".DS_Store @eaDir/a.jpg/b.jpg Thumbs.db thumbs.DB desktop.ini ._a.jpg ._a .#a.jpg a/__MACOSX/b/a.jpg",
            kinds.SYSTEM,
        ),
        (
            "_SUCCESS events.out.tfevents.16.host _temporary/0/part-r-00000 .Trash-1000/files/a.jpg $RECYCLE.BIN/a.jpg",
            kinds.SYSTEM,
        ),
        ("a.json a.TXT a/b.csv a.tfrecord.json .part-00000.crc a.mp4 a.npy README.md", kinds.BY_ENDING),
        ("a.jpg.part a.crdownload .a.jpg.swp x.tfrecord.tmp", kinds.UNFINISHED),
        (".part-00000 .gitignore .git/objects/ab/cdef .a.jpg.Xy12Za .nfs000000001", kinds.HIDDEN),
        ("a.dng a.CR2 a/b.nef", kinds.RAW),
    ],
)
def test_names_that_tell(names: str, reason: str) -> None:
    told = {name: judge_name(name) for name in names.split()}
    assert {name: why for name, (_, why) in told.items()} == dict.fromkeys(names.split(), reason)
    assert all(kind is None or not why for kind, why in told.values())


@given(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=12).filter(lambda stem: stem.strip(".")))
def test_a_name_that_is_read_by_its_ending_is_not_ignored_by_it(stem: str) -> None:
    for ending in (*kinds.IMAGE_ENDINGS, ".tfrecord"):
        assert kind_of(stem + ending)
        assert judge_name(stem + ending) in ((kind_of(stem + ending), ""), (None, kinds.SYSTEM))


@given(st.text(max_size=10).filter(lambda name: "/" not in name))
def test_an_ending_is_the_system_s(name: str) -> None:
    assert kinds._ending(name) == os.path.splitext(name)[1].lower()


@given(st.text(max_size=40))
def test_endings_are_short_and_harmless(name: str) -> None:
    ending = ending_of(name)
    assert ending == "no ending" or (len(ending) < 20 and ending.isprintable() and " " not in ending)
