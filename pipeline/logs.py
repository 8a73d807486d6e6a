"""How much a job says, and whether for people or for programs: ``--quiet`` and ``--log_format``."""

from __future__ import annotations

import argparse
import logging
import sys

from faceveil.pipeline.console import LOG_FORMATS, choose_format, json_line, speaks_json

_ONCE_MORE = (
    # What a worker raises comes back as the job's error, an unknown option as ours; Beam's log would say it before.
    "apache_beam.runners.common",
    "apache_beam.runners.worker",
    "apache_beam.options.pipeline_options",
    # That a worker has died is an error of ours, too; and so are missing credentials, where they matter.
    "apache_beam.runners.portability.fn_api_runner.worker_handlers",
    "google.auth",
)
"""Loggers that tell what the command itself tells."""


def add_log_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options to a command that runs a job."""
    group = parser.add_argument_group("messages")
    group.add_argument("--quiet", action="store_true", help="say nothing but warnings and errors")
    group.add_argument(
        "--log_format",
        choices=LOG_FORMATS,
        default="text",
        help="json: each message is a line of JSON with time, severity and message, and so is the result "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--traceback", action="store_true", help="tell also where in the code an error came from, for bug reports"
    )


def set_up_logs(given: argparse.Namespace) -> None:
    """Makes loggers say what the options ask for, on standard error."""
    log_format = getattr(given, "log_format", "text")
    choose_format([f"--log_format={log_format}"])
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_AsJson() if speaks_json() else logging.Formatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(speaks_json())
    logging.getLogger("faceveil").setLevel(logging.WARNING if getattr(given, "quiet", False) else logging.INFO)
    for name in _ONCE_MORE:
        logging.getLogger(name).setLevel(logging.CRITICAL)


class _AsJson(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """The record as a line of JSON; what was given as ``extra={"fields": …}`` becomes fields."""
        fields = dict(getattr(record, "fields", {}))
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json_line(record.levelname, record.name, record.getMessage(), record.created, fields)
