"""``faceveil doctor``: what works on this machine, what is missing, and how to get it."""

from __future__ import annotations

import argparse
from typing import Any

from faceveil.pipeline.console import say_result

_FAILED = 5


def add_doctor_command(commands: Any) -> None:
    """Adds the sub-command to the parser's."""
    commands.add_parser(
        "doctor",
        help="tell what works on this machine, and what is missing",
        description="Tries libraries, engines, formats, file systems and folders, and tells what does not work and "
        "what to do. It builds nothing and asks no server. Ends with status 5 where no job can run.",
        allow_abbrev=False,
    )


def run_doctor_command(given: argparse.Namespace) -> int:
    """Runs the sub-command and returns its exit status."""
    del given  # it has no options
    from faceveil.pipeline.doctor import diagnose

    failed = 0
    for finding in diagnose():
        failed += finding.state == "failed"
        say_result(f"{finding.state:8} {finding.what}: {finding.told}")
    return _FAILED if failed else 0
