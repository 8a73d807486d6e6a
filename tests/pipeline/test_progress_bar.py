import logging
import time

import pytest

from faceveil.pipeline.progress_bar import Size, Work, describe, progress_bar
from faceveil.transforms.shard.progress import Progress


def worked(*looks: tuple[float, Progress]) -> Work:
    work = Work()
    for now, progress in looks:
        work.look(progress, now)
    return work


def test_the_rest_is_estimated_by_what_this_run_has_done_since_its_first_image() -> None:
    work = worked((0, Progress()), (100, Progress(51, resumed=50)), (110, Progress(61, resumed=50)))
    assert work.rate == 1.0
    assert work.seconds_left(Size(images=101, bytes=0)) == 40.0


def test_where_images_cannot_be_counted_finished_files_are() -> None:
    size = Size(images=None, bytes=1000)
    first = Progress(1, resumed_bytes=200, bytes=200)
    assert worked((0, Progress()), (10, first)).seconds_left(size) is None
    done = Progress(30, resumed_bytes=200, bytes=600)
    assert worked((0, Progress()), (10, first), (20, done)).seconds_left(size) == 10.0


def test_nothing_is_estimated_before_something_is_done() -> None:
    for size in (Size(10, 100), Size(None, 100)):
        assert worked((5, Progress(5, resumed=5, bytes=50, resumed_bytes=50))).seconds_left(size) is None
    assert describe(Work(), None) == "0 faces, 0 quarantined"


def test_without_a_terminal_the_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    looks = iter([Progress(), Progress(1), Progress(5, faces=2)])

    def read() -> Progress:
        return next(looks, Progress(8, faces=3))

    with caplog.at_level(logging.INFO), progress_bar(Size(8, 0), read, every=0.01) as work:
        while work.progress.records < 8:
            time.sleep(0.01)
    assert work.progress.made == 8
    [said] = caplog.messages
    assert said.startswith("8 of 8 images, ")
    assert said.endswith(" images/s, 3 faces, 0 quarantined")
