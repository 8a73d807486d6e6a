"""The options of ``faceveil verify``, checked before anything heavy is loaded."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

from faceveil.pipeline.option_parsing import check_flags, refuse_unknown
from faceveil.pipeline.option_values import OptionError, Range, parse_path, parsed_value
from faceveil.pipeline.options import FIELDS, JobOptions
from faceveil.transforms.verification import Action

CAREFUL = {"quality": "thorough", "score_threshold": 0.3}
"""How verify looks where nothing else is said. docs/notes/verify.md says how the threshold was chosen."""

_HOW = frozenset({"model", "verifier", "quality", "detect_size"})
"""Options that say which detector looks, and how."""


@dataclass(frozen=True)
class VerifyOptions:
    """What a user can say about a second look.

    Attributes:
        detection: the detector, as a job's options name it.
        chosen: names of the options about detection that were given.
        output: what is looked at.
        records_output: its audit trail; None for where it usually is.
        max_residual: share of the records that may have faces outside their masks, 0 to 1.
        sample: how many records are looked at; None for all.
        seed: of that choice.
        action: what is done to records with such faces; None for nothing.
        beam_flags: Beam's options.
    """

    detection: JobOptions
    chosen: frozenset[str]
    output: str
    records_output: str | None
    max_residual: float
    sample: int | None
    seed: int
    action: Action | None
    beam_flags: tuple[str, ...]

    @property
    def second_opinion(self) -> JobOptions | None:
        """How another detector looks, whose agreement counts: as a job does by default, unless the user says how."""
        if self.chosen & _HOW:
            return None
        return replace(self.detection, quality=JobOptions().quality)

    @classmethod
    def parse(cls, given: argparse.Namespace, rest: Sequence[str]) -> VerifyOptions:
        """From a command line.

        Raises:
            OptionError: naming the option, the value and what is allowed.
        """
        refuse_unknown(rest, "")
        named = {name: value for name, value in vars(given).items() if name in FIELDS}
        output = parsed_value(named.pop("output"), parse_path, None, "OUTPUT")
        records_output = named.pop("records_output")
        if given.sample and (given.fix or given.drop):
            raise OptionError(f"--{'fix' if given.fix else 'drop'}: needs all records looked at; leave out --sample")
        if not output:
            raise OptionError("OUTPUT: is empty; name the output of a job")
        return cls(
            detection=JobOptions(**{**CAREFUL, **check_flags(named)}),
            chosen=frozenset(named),
            output=output,
            records_output=records_output and parsed_value(records_output, parse_path, None, "--records_output"),
            max_residual=parsed_value(given.max_residual, float, Range(0, 1), "--max_residual"),
            sample=given.sample and parsed_value(given.sample, int, Range(1), "--sample"),
            action="fix" if given.fix else "drop" if given.drop else None,
            seed=parsed_value(given.seed, int, Range(0), "--seed"),
            beam_flags=tuple(rest),
        )
