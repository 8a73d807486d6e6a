"""Standard output and error, which may be closed, full, or unable to spell a path: that is no job's failure."""

from __future__ import annotations

import codecs
import io
import itertools
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

LOG_FORMATS = ("text", "json")
_LOG_FORMAT = "--log_format"
_PREFIX = "faceveil: "
"""Of messages among those of other programs; as JSON, a field says the same."""


class _State:
    """Of this process."""

    result_lost = False
    as_json = False


def choose_format(arguments: Sequence[str]) -> None:
    """Has everything said as JSON if a command line asks for it; so the process that only waits for others knows."""
    pairs = itertools.pairwise(arguments)
    _State.as_json = f"{_LOG_FORMAT}=json" in arguments or (_LOG_FORMAT, "json") in pairs


def speaks_json() -> bool:
    """Whether everything is said as JSON."""
    return _State.as_json


def shows_bars() -> bool:
    """Whether somebody sees a bar that moves."""
    return sys.stderr.isatty() and not _State.as_json


def json_line(severity: str, logger: str, message: str, seconds: float, fields: Mapping[str, Any]) -> str:
    """One message as a line of JSON, by the names that Cloud Logging knows.

    See https://cloud.google.com/logging/docs/structured-logging.

    Args:
        severity: as Python's logging names it.
        logger: what says it.
        message: for people.
        seconds: since 1970, when it was said.
        fields: for programs.

    Example usage::

        >>> json_line("INFO", "faceveil", "on", 0.5, {"records": 3})
        '{"time": "1970-01-01T00:00:00.500Z", "severity": "INFO", "logger": "faceveil", "message": "on", "records": 3}'
    """
    whole, rest = divmod(round(seconds * 1000), 1000)
    told = time.strftime(f"%Y-%m-%dT%H:%M:%S.{rest:03}Z", time.gmtime(whole))
    spelt = message.encode("utf-8", "backslashreplace").decode()  # half a pair of surrogates is no JSON to others
    return json.dumps({"time": told, "severity": severity, "logger": logger, "message": spelt, **fields})


def open_missing_streams() -> None:
    """Opens those of the three standard streams that are closed, on nothing.

    Else the next file to be opened would get the number of one of them, and what libraries print would go into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  open as long as the process is


def spell_everything() -> None:
    """Has what a stream's encoding lacks, as in a path that is not UTF-8, spelt out instead of refused."""
    codecs.register_error("faceveil.spelt", _spell)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="faceveil.spelt")


def _spell(error: UnicodeError) -> tuple[str, int]:
    """Spells bytes of a path as ``\\xff``, as keys are, and other characters as Python does."""
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    spelt = (
        f"\\x{ord(character) - 0xDC00:02x}"
        if 0xDC80 <= ord(character) <= 0xDCFF  # what stands for a byte, https://peps.python.org/pep-0383/
        else character.encode("ascii", "backslashreplace").decode()
        for character in missing
    )
    return "".join(spelt), error.end


def say(text: str, severity: str = "ERROR", **fields: Any) -> None:
    """Prints on standard error, if that is possible.

    Args:
        text: for people.
        severity: how bad it is; only as JSON is it told.
        fields: for programs; only as JSON are they told.
    """
    if _State.as_json:
        text = json_line(severity, "faceveil", text.removeprefix(_PREFIX), time.time(), fields)
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _give_up(sys.stderr)


def say_result(text: str, fields: Mapping[str, Any] | None = None) -> None:
    """Prints on standard output; if that cannot be written, on standard error.

    Args:
        text: for people.
        fields: the same for programs, which are told instead where everything is said as JSON.
    """
    if _State.as_json and fields is not None:
        text = json.dumps(fields)
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader has read enough
        _give_up(sys.stdout)
    except OSError as error:
        _give_up(sys.stdout)
        _State.result_lost = True
        say(f"faceveil: standard output cannot be written: {error}\n{text}")


def flush_streams() -> bool:
    """Writes what is still to be written; whether standard output took all, or was closed by its reader."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            _give_up(stream)
            if stream is sys.stdout and not isinstance(error, BrokenPipeError):
                _State.result_lost = True
                say(f"faceveil: standard output cannot be written: {error}")
    return not _State.result_lost


def _give_up(stream: TextIO) -> None:
    """Leads a stream that cannot be written to nothing, lest Python fails at its end with what is left to write."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)
