"""``faceveil inspect`` and ``faceveil report``: what a job has done, in the terminal and as a page."""

from __future__ import annotations

import argparse
from typing import Any

from faceveil.pipeline.option_parsing import add_command
from faceveil.pipeline.options import FIELDS

_INSPECT_EXAMPLES = """\
examples:
  faceveil inspect anonymized
  faceveil inspect anonymized --key people/anna.jpg
  faceveil inspect anonymized --key 'people/*' --extract looked-at
  faceveil inspect anonymized --shard 3

An output may be finished or not. Where names are hidden (--hash_keys), a key is a hash, or with the salt the name.
"""
_REPORT_EXAMPLES = """\
examples:
  faceveil report anonymized
  faceveil report anonymized --summary
  faceveil report gs://bucket/anonymized --output report.html

A job writes its page by itself, as _report.html beside its audit trail. It names inputs, so it is not for publication.
"""


def add_inspect_command(commands: Any) -> None:
    """Adds the sub-command to the parser's."""
    parser = add_command(
        commands,
        "inspect",
        "tell what a job has done with an image",
        "Tells what has become of single inputs of a job, of the inputs of a shard, or of all in few words.",
        _INSPECT_EXAMPLES,
    )
    _add_output(parser)
    parser.add_argument(
        "--key",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY",
        help="keys of the audit trail, which are names of files below their glob; * stands for any part of one",
    )
    parser.add_argument("--shard", metavar="SHARD", help="a shard's number or name: tells all inputs of it")
    parser.add_argument(
        "--extract", metavar="DIR", help="write the anonymized images of these inputs into a folder, as files"
    )
    parser.add_argument("--salt_file", metavar="FILE", help=FIELDS["salt_file"].metadata["help"])


def add_report_command(commands: Any) -> None:
    """Adds the sub-command to the parser's."""
    parser = add_command(
        commands,
        "report",
        "write the page about a finished job again, or print its summary",
        "Writes the page about a finished job again, from its output and its audit trail.",
        _REPORT_EXAMPLES,
    )
    _add_output(parser)
    parser.add_argument(
        "--output",
        dest="page",
        metavar="FILE.html",
        help="where to write it (default: _report.html beside the audit trail)",
    )
    parser.add_argument("--summary", action="store_true", help="print the summary only; of an unfinished job it is all")


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job_output", metavar="OUTPUT", help="the output of a job, local or gs://")
    parser.add_argument("--records_output", metavar="DIR", help="the folder of its audit trail (default: OUTPUT.audit)")


def run_inspect_command(given: argparse.Namespace) -> int:
    """Runs the sub-command and returns its exit status.

    Raises:
        OptionError: there is no such output, key or shard.
        OutputError: what is there is of another version of faceveil.
        AccessError: something cannot be read or written.
    """
    from faceveil.pipeline.inspect_output import inspect

    inspect(given)
    return 0


def run_report_command(given: argparse.Namespace) -> int:
    """Runs the sub-command and returns its exit status.

    Raises:
        OptionError: there is no such output, or its job is not finished.
        OutputError: what is there is of another version of faceveil.
        AccessError: something cannot be read or written.
    """
    from faceveil.pipeline.inspect_output import report

    report(given)
    return 0
