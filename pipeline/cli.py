"""The command ``faceveil``: its sub-commands and exit statuses.

What takes a second to load (Beam, TensorFlow, NumPy) is imported where a job begins: help and refusals come at once.
"""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import faceveil
from faceveil.pipeline.caller import TooManyQuarantinedError, answer_error, answer_manifest
from faceveil.pipeline.completion_command import add_completion_command, run_completion_command
from faceveil.pipeline.console import say, say_result, speaks_json
from faceveil.pipeline.doctor_command import add_doctor_command, run_doctor_command
from faceveil.pipeline.ending import MEMORY_ADVICE, exit_status, hint, tell_end, was_interrupted
from faceveil.pipeline.evaluate_command import add_evaluate_command, run_evaluate_command
from faceveil.pipeline.inspect_command import (
    add_inspect_command,
    add_report_command,
    run_inspect_command,
    run_report_command,
)
from faceveil.pipeline.logs import add_log_arguments, set_up_logs
from faceveil.pipeline.models_command import add_models_command, run_models_command
from faceveil.pipeline.option_parsing import add_arguments, add_command, build_options
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import FIELDS
from faceveil.pipeline.preview_command import add_preview_command, run_preview_command
from faceveil.pipeline.report import format_report, quarantined_share
from faceveil.pipeline.runners.remote_job import LeftRunning
from faceveil.pipeline.train_detector_command import add_train_detector_command, run_train_detector_command
from faceveil.pipeline.verify_command import add_verify_command, run_verify_command
from faceveil.transforms.errors import (
    AccessError,
    AccountingError,
    Error,
    ModelError,
    OutOfMemoryError,
    OutputError,
    WorkerDiedError,
)
from faceveil.transforms.runtime.memory import is_out_of_memory

DONE, BUG, WRONG_OPTIONS, TOO_MANY_QUARANTINED, OUTPUT_TAKEN, UNREACHABLE = 0, 1, 2, 3, 4, 5

_COMMANDS = {
    "preview": run_preview_command,
    "inspect": run_inspect_command,
    "report": run_report_command,
    "models": run_models_command,
    "evaluate": run_evaluate_command,
    "train-detector": run_train_detector_command,
    "doctor": run_doctor_command,
}
_EXIT_STATUSES = """\
exit status:
  0  done
  1  a bug in faceveil
  2  wrong options or configuration
  3  done, but more was quarantined than --max_quarantined allows, or verify has found what should not be
  4  the output holds another job's data, or another job is writing to it
  5  an input, the model or storage cannot be reached, or memory ran out
  130, 143  interrupted (SIGINT), terminated (SIGTERM); the same command resumes
"""
_RUN_EXAMPLES = """\
examples:
  faceveil run --input 'photos/**' --output anonymized
  faceveil run --input 'photos/**' --output anonymized --format images --copy_others
  faceveil run --input train='train/*.jpg' val='val/*.jpg' --output anonymized --method pixelate
  faceveil run --input 'records/*.tfrecord' --output anonymized --config configs/picsellia.yaml

All options of Apache Beam are taken too, such as --runner, --direct_num_workers or --temp_location:
https://beam.apache.org/documentation/runners/capability-matrix/. A run that was killed is taken up by the same command.
With --update, that command takes in what was added, changed and removed since; with --retry_quarantined it tries again
what a finished run has quarantined.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = _parser()
    given, rest = parser.parse_known_args(arguments)
    set_up_logs(given)
    try:
        if given.command == "run":
            return _run(given, rest)
        if given.command == "verify":
            return run_verify_command(given, rest)
        if rest:
            parser.error(f"{rest[0]}: unrecognized argument of faceveil {given.command}")
        if given.command == "completion":
            return run_completion_command(given, parser)
        return _COMMANDS[given.command](given)
    except LeftRunning as left:
        return _left_running(left)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  a bug is raised again
        # An interrupted call may fail in any way.
        if was_interrupted() or isinstance(error, KeyboardInterrupt):
            tell_end()
            return exit_status()
        return _failed(error, getattr(given, "traceback", False))


def _failed(error: Exception, with_trace: bool) -> int:
    """Says what went wrong; an error that is a bug is raised, unless it has to be told as JSON.

    Args:
        error: what ended the command.
        with_trace: whether to tell also where in the code.
    """
    trace = "".join(traceback.format_exception(error))
    fields = {"traceback": trace} if with_trace else {}
    if with_trace and not speaks_json():
        say(trace)
    if isinstance(error, OptionError):
        return _fail(error, WRONG_OPTIONS, **fields)
    if isinstance(error, OutputError):
        return _fail(error, OUTPUT_TAKEN, **fields)
    if isinstance(error, AccountingError):
        return _fail(error, BUG, **fields)
    if is_out_of_memory(error):
        told = OutOfMemoryError(f"{error or 'memory ran out'}{hint()}{MEMORY_ADVICE}")
        return _fail(told, UNREACHABLE, **fields)
    if isinstance(error, WorkerDiedError):
        return _fail(WorkerDiedError(f"{error}{hint()}"), UNREACHABLE, **fields)
    if isinstance(error, (AccessError, ModelError)):
        return _fail(error, UNREACHABLE, **fields)
    if not speaks_json():
        raise error
    say(f"a bug in faceveil: {type(error).__name__}: {error}", "CRITICAL", traceback=trace)
    return BUG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="faceveil",
        description="Anonymizes the faces in image data sets, as one Apache Beam job.",
        epilog=_EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=faceveil.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = add_command(
        commands,
        "run",
        "anonymize a data set",
        "Anonymizes the faces in a data set: images and TFRecords in, sharded TFRecords or a folder of images, "
        "an audit trail and a manifest out.",
        _RUN_EXAMPLES + "\n" + _EXIT_STATUSES,
    )
    run.add_argument("--config", metavar="FILE", help="YAML file of options; flags beat what it says")
    add_arguments(run)
    add_log_arguments(run)
    add_preview_command(commands)
    add_inspect_command(commands)
    add_report_command(commands)
    add_models_command(commands)
    add_evaluate_command(commands)
    add_train_detector_command(commands)
    add_doctor_command(commands)
    add_verify_command(commands)
    add_completion_command(commands)
    return parser


def _run(given: argparse.Namespace, rest: Sequence[str]) -> int:
    flags = {name: value for name, value in vars(given).items() if name in FIELDS}
    options, beam_flags = build_options(flags, rest, given.config)
    from faceveil.pipeline.launch import run_job

    finished = run_job(options, beam_flags)
    made = finished.audit_directory, finished.seconds, finished.made, finished.page
    if not given.quiet:
        fields = {"output": options.output, "totals": finished.manifest["totals"]}
        fields |= zip(("records_output", "seconds", "made", "page"), made, strict=True)
        say_result(format_report(finished.manifest, options.output, *made), fields)
    share = quarantined_share(finished.manifest)
    if share > options.max_quarantined:
        allowed = f"--max_quarantined {options.max_quarantined:g} allows"
        told = f"{share:.1%} of the records are quarantined, more than {allowed}; the output is complete without them"
        return _fail(TooManyQuarantinedError(told, finished.manifest), TOO_MANY_QUARANTINED)
    answer_manifest(finished.manifest)
    return DONE


def _left_running(left: LeftRunning) -> int:
    job = left.job
    if job.id is None:
        told = f"job {job.name} is prepared; the Flex Template's launcher submits it"
        say_result(told, asdict(job))
        return DONE
    told = (
        f"Dataflow job {job.id}\n"
        f"  to look at it: {job.console}\n"
        f"  to cancel it:  {job.cancel_command}\n"
        "  for the result, run the same command when it has ended"
    )
    if left.interrupted:
        say(f"interrupted; the job continues: {told}", "WARNING")
        return exit_status()
    # What Beam's SDK logs, by which programs such as Airflow's operators know the id; they read no further.
    say_result(f"{told}\nCreated job with id: [{job.id}]", asdict(job))
    return DONE


def _fail(error: Error, status: int, **fields: Any) -> int:
    if not answer_error(error):
        say(f"faceveil: {error}", error=type(error).__name__, exit_status=status, **fields)
    return status
