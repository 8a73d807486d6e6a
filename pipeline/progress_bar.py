"""The progress bar of a run, wherever its workers are."""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm

from faceveil.transforms.progress import Progress, read_progress

_LOGGER = logging.getLogger(__name__)
# Where there is no terminal, a line in the log now and then has to do.
_LOG_SECONDS = 30


@contextlib.contextmanager
def local_progress_bar(total: int | None) -> Iterator[str]:
    """Shows how far workers on this machine are while the block runs.

    Args:
        total: number of images, None where TFRecord files hold a number not known before.

    Yields:
        The directory in which workers are to say how far they are.
    """
    with (
        tempfile.TemporaryDirectory(prefix="faceveil-progress-") as directory,
        progress_bar(total, functools.partial(read_progress, directory), every=0.5),
    ):
        yield directory


@contextlib.contextmanager
def progress_bar(total: int | None, read: Callable[[], Progress], every: float) -> Iterator[None]:
    """Shows images a second, faces and quarantined records while the block runs.

    Args:
        total: number of images, None where it is not known before.
        read: says how far the workers are.
        every: seconds between two looks.
    """
    ended = threading.Event()
    shown = threading.Thread(target=_show, args=(total, read, every, ended), daemon=True)
    shown.start()
    try:
        yield
    finally:
        ended.set()
        shown.join()


def _show(total: int | None, read: Callable[[], Progress], every: float, ended: threading.Event) -> None:
    bar = tqdm(
        total=total,
        unit=" images",
        bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
        if total
        else "{n_fmt} [{elapsed}{postfix}]",
        disable=not sys.stderr.isatty(),
    )
    # The rate counts from the first image on: until then models load and globs are matched.
    first: tuple[float, int] | None = None
    rate = 0.0
    logged = time.monotonic()
    over = False
    while not over:
        over = ended.wait(every)
        progress = read()
        now, done = time.monotonic(), progress.records - progress.resumed
        if done and first is None:
            first = now, done
        elif first and done > first[1]:
            rate = (done - first[1]) / (now - first[0])
        bar.set_postfix_str(_postfix(progress, rate), refresh=False)
        bar.n = progress.records
        bar.refresh()
        if bar.disable and (over or now - logged >= _LOG_SECONDS):
            logged = now
            _LOGGER.info("%d%s images, %s", progress.records, f" of {total}" if total else "", _postfix(progress, rate))
    bar.close()


def _postfix(progress: Progress, rate: float) -> str:
    """What stands behind the bar; no rate before the second record is done.

    Example usage::

        >>> _postfix(Progress(records=10, faces=31, quarantined=1), 24.31)
        '24.3 images/s, 31 faces, 1 quarantined'
    """
    shown_rate = f"{rate:.1f} images/s, " if rate else ""
    return f"{shown_rate}{progress.faces} faces, {progress.quarantined} quarantined"
