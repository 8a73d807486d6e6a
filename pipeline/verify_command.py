"""``faceveil verify``: looks at an output again, and says what a job has missed or somebody has changed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from faceveil.pipeline.console import say_result
from faceveil.pipeline.logs import add_log_arguments
from faceveil.pipeline.option_parsing import add_arguments, add_command
from faceveil.pipeline.verify_options import CAREFUL, VerifyOptions

FINE, NOT_FINE = 0, 3

_EXAMPLES = """\
examples:
  faceveil verify anonymized
  faceveil verify anonymized --sample 1000
  faceveil verify anonymized --fix
  faceveil verify anonymized --model yunet-s --score_threshold 0.4
  faceveil verify gs://bucket/anonymized --runner DataflowRunner --project … --temp_location gs://bucket/temp …

exit status: 0, or 3 if faces lie outside the masks in more of the records than --max_residual allows, or if anything is
not what a job has written; see `faceveil --help` for others. A run that was killed is taken up by the same command.
"""


def add_verify_command(commands: Any) -> None:
    """Adds the sub-command to the parser's."""
    parser = add_command(
        commands,
        "verify",
        "look at an output again",
        "Looks at the output of a finished job again, more closely than the job did: for faces outside its masks, "
        "changed files, wrong counts, metadata and hidden data. Writes what it finds beside the audit trail.",
        _EXAMPLES,
    )
    data = parser.add_argument_group("data")
    data.add_argument("output", metavar="OUTPUT", help="the --output of a finished job, local or gs://")
    data.add_argument("--records_output", metavar="DIR", help="its audit trail (default: OUTPUT.audit)")
    data.add_argument(
        "--max_residual",
        default="0.01",
        metavar="SHARE",
        help="share of the records that may have faces outside their masks before the command ends with status 3 "
        "(default: %(default)s)",
    )
    data.add_argument(
        "--sample", metavar="N", help="look at so many records alone, chosen at random, and tell how sure the share is"
    )
    data.add_argument("--seed", default="0", metavar="N", help="of the choice of --sample (default: %(default)s)")
    mend = parser.add_argument_group("mending").add_mutually_exclusive_group()
    mend.add_argument("--fix", action="store_true", help="mask the faces that are found, in the output itself")
    mend.add_argument("--drop", action="store_true", help="take records with such faces out of the output")
    add_arguments(parser, only=["detection"], defaults=CAREFUL)
    add_log_arguments(parser)


def run_verify_command(given: argparse.Namespace, rest: Sequence[str]) -> int:
    """Runs the sub-command and returns its exit status.

    Args:
        given: its own options.
        rest: Beam's.

    Raises:
        OptionError: an option's value is not allowed, or there is no finished output.
        OutputError: a job is writing to the output, or another verify.
        AccessError: the output cannot be read, or the findings not be written.
        ModelError: a model cannot be loaded.
    """
    options = VerifyOptions.parse(given, rest)
    from faceveil.pipeline.verify import verify_output
    from faceveil.pipeline.verify_report import find_examples, format_findings, is_fine

    verified = verify_output(options)
    if not given.quiet:
        told = {name: value for name, value in verified.content.items() if name != "shards"}
        examples = find_examples(verified.content, verified.place)
        said = format_findings(verified.content, options.output, verified.place, examples)
        say_result(said, told | {"place": verified.place})
    return FINE if is_fine(verified.content, options.max_residual) else NOT_FINE
