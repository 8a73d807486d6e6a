"""Values of options: ranges of numbers, sizes with units, paths."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from faceveil.transforms.errors import Error
from faceveil.transforms.inputs.paths import as_path

_SIZE_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


class OptionError(Error, ValueError):
    """An option or a key of the configuration file is unknown, missing or has a value that is not allowed."""


@dataclass(frozen=True)
class Range:
    """The numbers that an option may have, bounds included unless ``above_low``."""

    low: float
    high: float = math.inf
    above_low: bool = False

    def holds(self, value: float) -> bool:
        """Whether a number is one of them."""
        return (self.low < value if self.above_low else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        lower = f"more than {self.low:g}" if self.above_low else f"at least {self.low:g}"
        return lower if math.isinf(self.high) else f"{lower} and at most {self.high:g}"


def option_field(
    default: Any,
    group: str,
    help_text: str,
    parse: Any = str,
    allowed: Any = None,
    metavar: str | None = None,
) -> Any:
    """A field of a dataclass of options: its default, its group and words of the help, and what its values may be."""
    metadata = {"group": group, "help": help_text, "parse": parse, "allowed": allowed, "metavar": metavar}
    return dataclasses.field(default=default, metadata=metadata)


def parse_size(text: str | int) -> int:
    """A number of bytes, with or without a unit.

    Raises:
        ValueError: it is none.

    Example usage::

        >>> parse_size("256MiB"), parse_size("1.5 GB"), parse_size(4096)
        (268435456, 1500000000, 4096)
    """
    match = re.fullmatch(r"([\d.]+)\s*([a-z]*)", str(text).strip().lower())
    if not match or match[2] not in _SIZE_UNITS:
        raise ValueError("a number of bytes, such as 1000000, 256MiB or 1GB")
    return int(float(match[1]) * _SIZE_UNITS[match[2]])


def parse_path(text: Any) -> str:
    """A path as users write it: with ``~``, or as a URL of a file.

    Raises:
        ValueError: it is no text.
    """
    if not isinstance(text, str):
        raise ValueError("a text")
    return as_path(text)


def checked_value(option: dataclasses.Field[Any], value: Any, source: str) -> Any:
    """A value of the option's type within its bounds.

    Args:
        option: a field of ``JobOptions``.
        value: as text, as a configuration file gives it, of the type itself, or a ``Path``.
        source: where it was given, for the message.

    Raises:
        OptionError: naming the source, the value and what is allowed.
    """
    if value is None and option.default is None:
        return None
    parse, allowed = option.metadata["parse"], option.metadata["allowed"]
    if takes_several(option):
        parts = value if isinstance(value, (list, tuple)) else [value]
        return tuple(parsed_value(part, parse, allowed, source) for part in parts)
    return parsed_value(value, parse, allowed, source)


def parsed_value(value: Any, parse: Callable[[Any], Any], allowed: Sequence[str] | Range | None, source: str) -> Any:
    """One value of a type within its bounds.

    Args:
        value: as ``checked_value`` takes it.
        parse: the type, or what makes it of a text and raises ValueError.
        allowed: the values, the bounds, or None for any.
        source: where it was given, for the message.

    Raises:
        OptionError: naming the source, the value and what is allowed.
    """
    wanted = {str: "a text", parse_path: "a text", bool: "true or false", int: "a whole number", float: "a number"}.get(
        parse
    )
    try:
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if parse is bool or parse is str:
            if not isinstance(value, parse):
                raise ValueError(wanted)
            parsed = value
        elif isinstance(value, bool) or (parse is int and isinstance(value, float)):
            raise ValueError(wanted)
        else:
            parsed = parse(value)
    except (TypeError, ValueError) as error:
        raise OptionError(f"{source} {value}: must be {wanted or error}") from None
    if isinstance(allowed, Range):
        if not allowed.holds(float(parsed)):
            raise OptionError(f"{source} {value}: must be {allowed}")
    elif allowed is not None and parsed not in allowed:
        raise OptionError(f"{source} {value}: must be one of {', '.join(allowed)}")
    return parsed


def takes_several(option: dataclasses.Field[Any]) -> bool:
    """Whether an option takes any number of values."""
    return "tuple" in str(option.type)
