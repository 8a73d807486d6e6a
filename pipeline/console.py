"""Standard output and error, which may be closed, full, or unable to spell a path: that is no job's failure."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import TextIO


class _State:
    """Of this process."""

    result_lost = False


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


def say(text: str) -> None:
    """Prints on standard error, if that is possible."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _give_up(sys.stderr)


def say_result(text: str) -> None:
    """Prints on standard output; if that cannot be written, on standard error."""
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
