"""The whole job, as a function for Python programs: the command ``faceveil run`` in a process of its own."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from faceveil.pipeline.caller import ANSWER, manifest_of
from faceveil.pipeline.option_parsing import options_by_name
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import FIELDS, JobOptions
from faceveil.transforms.errors import Error, WorkerDiedError
from faceveil.transforms.runtime.child_process import child_environment, module_command

_BUG, _BEAM_REFUSED, _INTERRUPTED = 1, 2, 128 + signal.SIGINT
"""Exit statuses."""


def run(options: JobOptions | None = None, **named: Any) -> dict[str, Any]:
    """Anonymizes a data set, as the command ``faceveil run`` does, and returns the manifest.

    The job runs in a process of its own: what crashes there does not crash this one, and the job is started again as
    the command starts itself. Options are checked before that. A finished job is not done again, an unfinished one is
    resumed, and another job's output is refused. Progress and what is quarantined are told on standard error. Ctrl-C
    ends the job and is raised; a job on Dataflow goes on.

    Args:
        options: what to do.
        named: the same by name, `docs/options.md` has all of them; a `Path` may stand for a text, and `input` may be a
            mapping of splits to globs. Those of Beam are taken, too, such as ``direct_num_workers=2``.

    Returns:
        The manifest, as ``manifest.json`` in the output has it.

    Raises:
        OptionError: an option is unknown, or its value does not fit.
        AccessError: an input, a model or the output cannot be reached.
        ModelError: a model cannot be loaded.
        OutputError: the output holds another job's data, or another job is writing to it.
        TooManyQuarantinedError: the job is complete, but more is quarantined than ``max_quarantined``, a share, allows.
        Error: memory ran out, or the job's process has died; calling again resumes.

    Example usage::

        manifest = run(input="photos/**", output="anonymized", method="pixelate")
        manifest["totals"]["faces"]
    """
    job, beam_flags = options_by_name(named, options)
    if job.no_wait:
        raise OptionError("--no_wait: is for the command `faceveil run`; this function waits for the manifest")
    with tempfile.TemporaryDirectory(prefix="faceveil-run-") as folder:
        config, answer = Path(folder, "options.yaml"), Path(folder, "answer.json")
        given = {name: getattr(job, name) for name, option in FIELDS.items() if getattr(job, name) != option.default}
        config.write_text(yaml.safe_dump(given), encoding="ascii")
        status = _status_of(["run", "--config", str(config), *beam_flags], {ANSWER: str(answer)})
        if status == _INTERRUPTED:
            raise KeyboardInterrupt
        with contextlib.suppress(FileNotFoundError):
            return manifest_of(_read(answer))
    if status == _BEAM_REFUSED:
        raise OptionError("an option of Beam has a wrong value; standard error says which")
    if status == _BUG:
        raise Error("a bug in faceveil ended the job; its trace is on standard error")
    raise WorkerDiedError(f"{job.output}: the job's process has died (exit status {status}); the same call resumes")


def _read(answer: Path) -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads(answer.read_bytes())
    return content


def _status_of(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """The exit status of the command; an exception that interrupts waiting for it ends it first."""
    process = subprocess.Popen(  # noqa: S603  our own
        module_command("faceveil", *command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # the report, which says less than the manifest
        env=child_environment(**environment),
    )
    try:
        return process.wait()
    except BaseException:
        # From a terminal it has got Ctrl-C itself, and the first signal counts. It frees its output within seconds.
        process.terminate()
        process.wait()
        raise
