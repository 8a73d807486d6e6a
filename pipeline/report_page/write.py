"""Writing the page about a finished job, beside its audit trail and never into its output."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html import escape, unescape
from typing import Any

from faceveil.pipeline.audit_directory import lies_in
from faceveil.pipeline.report_page.figures import gather_figures
from faceveil.pipeline.report_page.gallery import draw_samples
from faceveil.pipeline.report_page.page import PageContent, Run, render_page
from faceveil.pipeline.written_output import WrittenOutput, open_output
from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.layout import PAGE_NAME, OutputLayout

_LOGGER = logging.getLogger(__name__)
MAX_PAGE_BYTES = 4_800_000
_MARK = "<!-- written by faceveil -->"
_MARK_BYTES = 4096
_RUN = re.compile(r'<meta name="faceveil-run" content="([^"]*)">')


def write_page_at_end(output: OutputLayout, seconds: float | None, made: int | None) -> str | None:
    """Writes the page of a job that has just ended; where that fails, it is told, and the job is none the worse.

    Args:
        output: where the job has written.
        seconds: that its run took; None if unknown.
        made: records that it has made; None if unknown.

    Returns:
        The page's path; None where there is none.
    """
    if lies_in(output.audit_directory, output.directory):
        # What lies there is published with the output, if nobody takes care.
        advice = f"faceveil report {output.directory} --output FILE.html"
        _LOGGER.info("no %s: the audit trail lies in the output; `%s` writes one elsewhere", PAGE_NAME, advice)
        return None
    try:
        written = open_output(output.directory, output.audit_directory)
        write_page(written, output.page_path, Run(_now(), seconds, made))
    except Exception as error:  # noqa: BLE001  the job is complete, whatever is wrong with its page
        advice = f"faceveil report {output.directory}"
        _LOGGER.warning("%s: was not written; `%s` tries again: %s", output.page_path, advice, error)
        return None
    return output.page_path


def write_page(output: WrittenOutput, path: str, run: Run | None = None) -> None:
    """Writes the page of a finished job.

    Args:
        output: the job's.
        path: the page's.
        run: the one that has finished the job; None for what the page that is there says of it.

    Raises:
        AccessError: the audit trail cannot be read, the place not be written, or holds another file.
        OSError: the audit trail cannot be read.
        ValueError: it is damaged.
    """
    if storage.exists(path) and not _is_ours(path):
        raise AccessError(f"{path}: is no report of faceveil, so it is not replaced; move it away")
    run = run or _run_of(output.layout.page_path)
    storage.write_bytes(path, make_page(output, run))


def make_page(output: WrittenOutput, run: Run | None) -> bytes:
    """The page of a finished job.

    Raises:
        AccessError: the audit trail cannot be read.
        OSError: the same.
        ValueError: it is damaged.
    """
    assert output.manifest is not None
    figures = gather_figures(output)
    content = PageContent(
        name=_name(output.layout.directory),
        manifest=output.manifest,
        ignored=_ignored(output),
        figures=figures,
        samples=draw_samples(output, figures.candidates),
        geometry=output.geometry,
        run=run,
    )
    page = _marked(content)
    while len(page) > MAX_PAGE_BYTES and content.samples:
        content = replace(content, samples=_fewer(content.samples))
        page = _marked(content)
    return page


def _name(directory: str) -> str:
    """The last part of a path, such as of the working folder."""
    path = os.path.realpath(directory) if storage.is_local(directory) else directory
    return path.rstrip("/").rpartition("/")[2]


def _fewer(samples: Sequence[Any]) -> Sequence[Any]:
    return samples[: len(samples) // 2]


def _marked(content: PageContent) -> bytes:
    """The page with what faceveil itself reads of it."""
    told = "" if content.run is None else json.dumps(vars(content.run), sort_keys=True)
    mark = f"<!DOCTYPE html>\n{_MARK}"
    page = render_page(content).replace("<!DOCTYPE html>\n", mark, 1)
    page = page.replace("<title>", f'<meta name="faceveil-run" content="{escape(told)}"><title>', 1)
    return page.encode("utf-8", "backslashreplace")


def _ignored(output: WrittenOutput) -> dict[str, Any]:
    """What was ignored, with names where the audit trail has them."""
    try:
        told: dict[str, Any] = json.loads(storage.read_bytes(output.layout.ignored_path))
    except (OSError, ValueError):
        assert output.manifest is not None
        told = output.manifest.get("ignored") or {}
    return told


def remove_page(folder: str) -> None:
    """Removes the page beside an audit trail, which no longer tells what is there; a file of a user's own stays.

    Raises:
        AccessError: it cannot be removed.
    """
    path = storage.join(folder, PAGE_NAME)
    if storage.exists(path) and _is_ours(path):
        storage.delete([path])


def _is_ours(path: str) -> bool:
    try:
        return _MARK.encode() in storage.read_bytes(path, _MARK_BYTES)
    except OSError:
        return False


def _run_of(path: str) -> Run | None:
    """What a page says of the run that has finished the job."""
    try:
        found = _RUN.search(storage.read_bytes(path).decode()) if storage.exists(path) else None
        return Run(**json.loads(unescape(found[1]))) if found and found[1] else None
    except (OSError, ValueError, TypeError):
        return None


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
