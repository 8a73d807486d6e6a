"""Where a job's audit trail lies: beside the output, unless the user or an earlier version has put it elsewhere."""

from __future__ import annotations

import logging
import os

from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.layout import audit_directory_beside, audit_directory_inside, is_audit_file
from faceveil.transforms.inputs.selection import real_prefix
from faceveil.transforms.storage.local import may_access

_LOGGER = logging.getLogger(__name__)


def find_audit_directory(options: JobOptions) -> str:
    """The folder of a job's audit trail: the one that is named, or that of an earlier version, or beside the output.

    Raises:
        OptionError: none is named, and there is no place beside the output.
        AccessError: the place cannot be reached, or written to in an object store.
    """
    inside = audit_directory_inside(options.output)
    if options.records_output:
        folder = options.records_output
    elif options.format == "tfrecord" and not options.overwrite and holds_audit_trail(inside):
        _LOGGER.warning(
            "%s: the audit trail of this output lies in it, where earlier versions put it; it is not for publication, "
            "so leave it out, or move it away when the job has ended",
            inside,
        )
        return inside
    else:
        folder = _beside(options.output)
    # Its files are Parquet, too, and would be read as shards.
    if options.format in ("images", "parquet") and lies_in(folder, options.output):
        raise OptionError(
            f"--records_output {folder}: lies in the output, which with --format {options.format} holds nothing but "
            "what is published; name a folder elsewhere"
        )
    storage.check_writable(folder)
    return folder


def lies_in(folder: str, output: str) -> bool:
    """Whether a folder or a file lies in an output, whatever links lead there."""
    return real_prefix(storage.join(folder, "")).startswith(real_prefix(storage.join(output, "")))


def holds_audit_trail(folder: str) -> bool:
    """Whether a folder holds files of an audit trail.

    Raises:
        AccessError: it cannot be listed.
    """
    return any(is_audit_file(os.path.basename(file.path)) for file in storage.list_folder(folder))


def _beside(output: str) -> str:
    """The folder beside an output.

    A disk that is mounted there, as containers have it, would not hold it: with the container it would be gone.
    """
    try:
        folder = audit_directory_beside(output)
        if storage.is_local(output) and os.path.ismount(output):
            raise ValueError("is a mounted disk")
    except ValueError as error:
        raise OptionError(
            f"--output {output}: {error}, so there is no place beside it for the audit trail; name a folder in it, or "
            "one for the audit trail with --records_output"
        ) from None
    return folder


def check_disk(folder: str) -> None:
    """Makes sure that a folder on disk may be written to, or made.

    Raises:
        AccessError: it may not.
    """
    if not storage.is_local(folder):
        return
    there = os.path.abspath(folder)
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if os.path.isdir(there) and not may_access(there, os.W_OK | os.X_OK):
        raise AccessError(
            f"{folder}: the audit trail cannot be written there: {there} may not be written to; --records_output names "
            "another place"
        )
