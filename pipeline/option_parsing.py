"""From flags and a configuration file to a job's options, every value checked; what is unknown is an error."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from faceveil.pipeline.beam_options import beam_option_names, beam_runner_names
from faceveil.pipeline.input_paths import named_input
from faceveil.pipeline.option_values import OptionError, checked_value, takes_several
from faceveil.pipeline.options import FIELDS, JobOptions
from faceveil.transforms import storage
from faceveil.transforms.anonymizers import SYNTHESIZE, WITH_STRENGTH
from faceveil.transforms.errors import AccessError
from faceveil.transforms.inputs.paths import as_path


def add_command(commands: Any, name: str, help_text: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """Adds a sub-command, whose options are not abbreviated and whose epilog keeps its lines."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return parser


def add_arguments(
    parser: argparse.ArgumentParser, only: Collection[str] = (), defaults: Mapping[str, Any] | None = None
) -> None:
    """Adds options to a parser, as text; ``build_options`` turns it into values.

    Args:
        parser: the command's.
        only: names of options and of groups of them; all if there are none.
        defaults: that the command has instead of a job's, for the help.
    """
    groups: dict[str, Any] = {}
    for name, option in FIELDS.items():
        if only and not {name, option.metadata["group"]} & set(only):
            continue
        group = groups.setdefault(option.metadata["group"], parser.add_argument_group(option.metadata["group"]))
        help_text = option.metadata["help"].replace("%", "%%")
        default = (defaults or {}).get(name, option.default)
        if default not in (None, (), "", False):
            default = " ".join(default) if isinstance(default, tuple) else default
            help_text += f" (default: {default})"
        if option.metadata["parse"] is bool:
            group.add_argument(f"--{name}", action="store_true", default=argparse.SUPPRESS, help=help_text)
            continue
        allowed = option.metadata["allowed"]
        metavar = f"{{{','.join(allowed)}}}" if isinstance(allowed, tuple) else option.metadata["metavar"]
        several: dict[str, Any] = {"nargs": "+", "action": "extend"} if takes_several(option) else {}
        group.add_argument(f"--{name}", default=argparse.SUPPRESS, help=help_text, metavar=metavar or "NAME", **several)


def read_config(path: str) -> dict[str, Any]:
    """Reads a configuration file: YAML, its keys the long flags without their dashes, of the job and of Beam.

    Raises:
        OptionError: it cannot be read or is no mapping.
    """
    try:
        place = as_path(path)
        storage.check_readable(place)
        content = yaml.safe_load(storage.read_bytes(place))
    except (AccessError, OSError, yaml.YAMLError) as error:
        raise OptionError(f"--config {path}: cannot be read: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise OptionError(f"--config {path}: must be a list of `option: value` lines")
    return content


def build_options(
    flags: Mapping[str, Any], beam_flags: Sequence[str], config_path: str | None = None
) -> tuple[JobOptions, list[str]]:
    """Merges defaults, configuration file and flags, in rising order of rank, and checks every value.

    Args:
        flags: the job's options that were given, by name.
        beam_flags: what is left of the command line; it must be Beam's.
        config_path: the configuration file, if any.

    Returns:
        The job's options, and the flags for Beam.

    Raises:
        OptionError: naming the option, the value and what is allowed.
    """
    values, config_beam_flags = _parted(read_config(config_path), f"{config_path}: ") if config_path else ({}, [])
    refuse_unknown(beam_flags, "")
    values.update(check_flags(flags))
    options = JobOptions(**values)
    _check_given(options, values.keys())
    # The last of two equal flags counts with argparse, so those of the command line come last.
    return options, [*config_beam_flags, *beam_flags]


def options_by_name(named: Mapping[str, Any], options: JobOptions | None = None) -> tuple[JobOptions, list[str]]:
    """Checks options that a Python program gives by name, the job's and Beam's together, as in a configuration file.

    Args:
        named: the options.
        options: the job's that are not among them; None for the defaults.

    Returns:
        The job's options, and the flags for Beam.

    Raises:
        OptionError: as ``build_options``.

    Example usage::

        >>> job, beam_flags = options_by_name({"input": {"train": "a/*"}, "output": "out", "direct_num_workers": 2})
        >>> job.input, beam_flags
        (('train=a/*',), ['--direct_num_workers=2'])
    """
    values, beam_flags = _parted(named)
    job = replace(options, **values) if options else JobOptions(**values)
    _check_given(job, values.keys())
    return job, beam_flags


def _parted(given: Mapping[str, Any], source: str = "") -> tuple[dict[str, Any], list[str]]:
    """The job's options by name, and flags for Beam.

    Args:
        given: both kinds by name.
        source: where, for messages; empty for a program.
    """
    values: dict[str, Any] = {}
    beam_flags: list[str] = []
    for name, value in given.items():
        if name in FIELDS:
            plain = _with_splits(value) if name == "input" and isinstance(value, Mapping) else value
            values[name] = checked_value(FIELDS[name], plain, f"{source or '--'}{name}")
        else:
            beam_flags += _as_flags(name, value)
    refuse_unknown(beam_flags, source)
    return values, beam_flags


def _with_splits(inputs: Mapping[str, Any]) -> list[str]:
    return [
        named_input(split, str(glob))
        for split, globs in inputs.items()
        for glob in (globs if isinstance(globs, (list, tuple)) else [globs])
    ]


def check_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The values of options given by name, as text or as values, within their bounds.

    Raises:
        OptionError: naming the option, the value and what is allowed.

    Example usage::

        >>> check_flags({"score_threshold": "0.5"})
        {'score_threshold': 0.5}
    """
    return {name: checked_value(FIELDS[name], value, f"--{name}") for name, value in flags.items()}


def _as_flags(name: str, value: Any) -> list[str]:
    if value is None or value is False:
        return []
    if value is True:
        return [f"--{name}"]
    if isinstance(value, list):
        return [flag for part in value for flag in _as_flags(name, part)]
    return [f"--{name}={value}"]


def refuse_unknown(beam_flags: Sequence[str], source: str) -> None:
    """Refuses flags that are not Beam's, and runners that it does not know.

    Args:
        beam_flags: what is left of a command line.
        source: where they were given, for messages; empty for a command line.

    Raises:
        OptionError: naming the flag.
    """
    stray = next((flag for flag in beam_flags[:1] if not flag.startswith("-")), None)
    if stray is not None:
        raise OptionError(f"{source}{stray}: unrecognized argument; inputs follow --input, the output --output")
    known = beam_option_names()
    for place, flag in enumerate(beam_flags):
        name, equals, value = flag.removeprefix("--").partition("=")
        if flag[:1] == "-" and not flag[1:2].isdigit() and name not in known:
            close = difflib.get_close_matches(name, [*FIELDS, "config", *known], n=1)
            hint = f"; did you mean {close[0]}?" if close else "; see `faceveil run --help`"
            raise OptionError(f"{source}{name if source else flag.partition('=')[0]}: unrecognized argument{hint}")
        if flag.startswith("--runner"):
            _check_runner(value if equals else "".join(beam_flags[place + 1 : place + 2]), source)


def _check_runner(runner: str, source: str) -> None:
    """Refuses a runner that Beam does not know; a class by its whole path it may find."""
    plain = [name.lower().removesuffix("runner") for name in beam_runner_names()]
    if "." not in runner and runner.lower().removesuffix("runner") not in plain:
        flag = f"{source}{'' if source else '--'}runner"
        raise OptionError(f"{flag} {runner}: must be one of {', '.join(beam_runner_names())}")


def _check_given(options: JobOptions, named: Collection[str]) -> None:
    """Refuses what is missing, and what was given but would do nothing."""
    options.check_required()
    for name in ("generator", "fallback_method"):
        if name in named and options.method != SYNTHESIZE:
            raise OptionError(f"--{name}: is for --method {SYNTHESIZE}, not {options.method}")
    if "boxes_mode" in named and options.boxes is None:
        raise OptionError("--boxes_mode: is for the boxes of --boxes, which names none")
    painted_by = options.fallback_method if options.method == SYNTHESIZE else options.method
    if "strength" in named and painted_by not in WITH_STRENGTH:
        raise OptionError(f"--strength: is for {' and '.join(WITH_STRENGTH)}; --method {painted_by} has none")
