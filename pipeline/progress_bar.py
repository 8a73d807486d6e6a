"""The progress bar of a run, wherever its workers are."""

from __future__ import annotations

import contextlib
import functools
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

from tqdm import tqdm

from faceveil.pipeline.console import shows_bars
from faceveil.pipeline.report import clock
from faceveil.transforms.shard.progress import Progress, read_progress

_LOGGER = logging.getLogger(__name__)
# Where there is no terminal, a line in the log now and then has to do; of a long job fewer of them.
_LOG_SECONDS = 30
_LOG_SHARE = 0.05
_MAX_LOG_SECONDS = 600


@dataclass(frozen=True)
class Size:
    """How much a job has to do.

    Attributes:
        images: None where TFRecord files hold a number not known before.
        bytes: of all input files.
    """

    images: int | None
    bytes: int


@dataclass
class Work:
    """What a run has done, and how fast.

    Attributes:
        progress: how far the job is.
        began: when the run began to work.
        first: when something was done first, and how far the job was then; until then models load and globs are
            matched.
        now: when the progress was looked at last.
    """

    progress: Progress = field(default_factory=Progress)
    began: float = field(default_factory=time.monotonic)
    first: tuple[float, Progress] | None = None
    now: float = field(default_factory=time.monotonic)

    def look(self, progress: Progress, now: float) -> None:
        """Takes note of how far the job is."""
        self.progress, self.now = progress, now
        if self.first is None and progress.made:
            self.first = now, progress

    @property
    def rate(self) -> float:
        """Records a second; 0 before it can be told.

        Example usage::

            >>> work = Work()
            >>> work.look(Progress(records=3, resumed=2), 1.0), work.look(Progress(records=7, resumed=2), 3.0)
            (None, None)
            >>> work.rate
            2.0
        """
        if self.first is None or self.now <= self.first[0]:
            return 0.0
        return (self.progress.made - self.first[1].made) / (self.now - self.first[0])

    def seconds_left(self, size: Size) -> float | None:
        """An estimate of how long the rest takes: by the images, or where their number is not known, by finished files.

        Example usage::

            >>> work = Work(Progress(records=50, resumed=10), first=(0.0, Progress(records=10, resumed=10)), now=20.0)
            >>> work.seconds_left(Size(images=100, bytes=0))
            25.0
        """
        if size.images is not None:
            return (size.images - self.progress.records) / self.rate if self.rate else None
        made = self.progress.bytes - self.progress.resumed_bytes
        if self.first is None or made <= 0:
            return None
        return (self.now - self.first[0]) * (size.bytes - self.progress.bytes) / made


@contextlib.contextmanager
def local_progress_bar(size: Size) -> Iterator[tuple[str, Work]]:
    """Shows how far workers on this machine are while the block runs.

    Yields:
        The directory in which workers are to say how far they are, and what is done.
    """
    with (
        tempfile.TemporaryDirectory(prefix="faceveil-progress-") as directory,
        progress_bar(size, functools.partial(read_progress, directory), every=0.5) as work,
    ):
        yield directory, work


@contextlib.contextmanager
def progress_bar(size: Size, read: Callable[[], Progress], every: float) -> Iterator[Work]:
    """Shows images a second, the time left, faces and quarantined records while the block runs.

    Args:
        size: of the job.
        read: says how far the workers are.
        every: seconds between two looks.

    Yields:
        What is done.
    """
    ended = threading.Event()
    work = Work()
    shown = threading.Thread(target=_show, args=(size, read, every, work, ended), daemon=True)
    shown.start()
    try:
        yield work
    finally:
        ended.set()
        shown.join()


def _show(size: Size, read: Callable[[], Progress], every: float, work: Work, ended: threading.Event) -> None:
    total = size.images
    bar = tqdm(
        total=total,
        unit=" images",
        bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
        if total
        else "{n_fmt} [{elapsed}{postfix}]",
        disable=not shows_bars() or not _LOGGER.isEnabledFor(logging.INFO),
    )
    logged = work.began
    over = False
    while not over:
        over = ended.wait(every)
        work.look(read(), time.monotonic())
        left = None if over else work.seconds_left(size)
        said = describe(work, left)
        if not bar.disable:
            bar.set_postfix_str(said, refresh=False)
            bar.n = work.progress.records
            bar.refresh()
        elif over or work.now - logged >= _seconds_between_lines(work.now - work.began):
            logged = work.now
            of = f" of {total}" if total else ""
            fields = asdict(work.progress) | {"images": total, "rate": work.rate, "seconds_left": left}
            _LOGGER.info("%d%s images, %s", work.progress.records, of, said, extra={"fields": fields})
    bar.close()


def _seconds_between_lines(elapsed: float) -> float:
    return min(max(_LOG_SECONDS, _LOG_SHARE * elapsed), _MAX_LOG_SECONDS)


def describe(work: Work, seconds_left: float | None) -> str:
    """What stands behind the bar; no rate before the second record is done.

    Example usage::

        >>> work = Work(Progress(10, faces=31, quarantined=1), first=(0.0, Progress()), now=2.0)
        >>> describe(work, 100)
        '5.0 images/s, about 1:40 left, 31 faces, 1 quarantined'
    """
    rate = f"{work.rate:.1f} images/s, " if work.rate else ""
    left = "" if seconds_left is None else f"about {clock(seconds_left)} left, "
    return f"{rate}{left}{work.progress.faces} faces, {work.progress.quarantined} quarantined"
