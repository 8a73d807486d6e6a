"""The options of a job, each declared once: its flag, its key in a configuration file, its help and its bounds."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import yaml
from apache_beam.options.pipeline_options import PipelineOptions

from transforms import storage
from transforms.anonymizers import METHODS
from transforms.anonymizers.masks import Shape
from transforms.codecs.exif import KEEPABLE
from transforms.detectors.engine import EngineName, Precision
from transforms.detectors.views import QUALITIES, Quality, QualityName
from transforms.features import FeatureRoles
from transforms.inputs import Input
from transforms.keys import KeyHash
from transforms.limits import Limits

SALT = "FACEVEIL_SALT"
_SIZE_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]*")


class OptionError(ValueError):
    """An option or a key of the configuration file is unknown, missing or has a value that is not allowed."""


@dataclass(frozen=True)
class _Between:
    """The numbers that an option may have."""

    low: float
    high: float = math.inf
    above_low: bool = False

    def holds(self, value: float) -> bool:
        return (self.low < value if self.above_low else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        lower = f"more than {self.low:g}" if self.above_low else f"at least {self.low:g}"
        return lower if math.isinf(self.high) else f"{lower} and at most {self.high:g}"


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


def _option(
    default: Any,
    group: str,
    help_text: str,
    parse: Any = str,
    allowed: Any = None,
    metavar: str | None = None,
) -> Any:
    metadata = {"group": group, "help": help_text, "parse": parse, "allowed": allowed, "metavar": metavar}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class JobOptions:
    """Everything a user can say about a job; what is not here is Beam's."""

    input: tuple[str, ...] = _option(
        (),
        "data",
        "globs of images (JPEG, PNG, WebP, …) and TFRecord files, quoted; ** includes sub-folders; NAME=GLOB puts the "
        "files into a split of that name",
        metavar="[SPLIT=]GLOB",
    )
    output: str = _option("", "data", "folder for the shards and manifest.json, local or gs://", metavar="DIR")
    records_output: str | None = _option(
        None,
        "data",
        "folder for the audit trail, not for publication (default: OUTPUT/records)",
        metavar="DIR",
    )
    overwrite: bool = _option(False, "data", "remove what an earlier job has written to the output", parse=bool)
    retry_quarantined: bool = _option(
        False,
        "data",
        "make those inputs of a finished job again that were quarantined, repaired or with higher limits",
        parse=bool,
    )
    hash_keys: bool = _option(
        False,
        "data",
        f"write hashes instead of the names of files; the environment variable {SALT} holds their secret salt",
        parse=bool,
    )
    image_feature: tuple[str, ...] = _option(
        FeatureRoles.images,
        "data",
        "features that hold images in tf.train.Examples; each is anonymized, the first is the main one",
    )
    drop_features: tuple[str, ...] = _option((), "data", "features that are left out of the Examples that are written")
    allow_features: tuple[str, ...] = _option(
        (),
        "data",
        "features that pass as they are, even images: nobody looks at them, so faces in them get out",
    )
    shard_bytes: int = _option(
        256 * 2**20,
        "data",
        "size of the images that make a shard, such as 256MiB",
        parse_size,
        _Between(1),
        "SIZE",
    )
    num_shards: int | None = _option(
        None, "data", "number of shards of images, instead of --shard_bytes", int, _Between(1, 99_999), "N"
    )
    max_quarantined: float = _option(
        0.01,
        "data",
        "share of the inputs that may be quarantined before the job ends with status 3",
        float,
        _Between(0, 1),
        "SHARE",
    )
    max_pixels: int = _option(
        Limits.max_pixels, "data", "images of more pixels, by their header, are quarantined", int, _Between(1), "N"
    )
    max_image_bytes: int = _option(
        Limits.max_image_bytes,
        "data",
        "larger image files and Examples are quarantined",
        parse_size,
        _Between(1),
        "SIZE",
    )
    image_timeout: float = _option(
        Limits.image_timeout,
        "data",
        "seconds that one step of the work on an image may take before it is stopped and the image quarantined",
        float,
        _Between(0, above_low=True),
        "SECONDS",
    )

    method: str = _option("blur", "anonymization", "what is done to a face", allowed=tuple(METHODS))
    strength: float = _option(
        0.2,
        "anonymization",
        "size of an averaged cell relative to the masked region, for blur and pixelate: 0.2 leaves 5 × 5 averages",
        float,
        _Between(0, 1, above_low=True),
        "SHARE",
    )
    coverage: float = _option(
        1.0,
        "anonymization",
        "share of a face's height that is masked, from the top",
        float,
        _Between(0, 1, above_low=True),
        "SHARE",
    )
    margin: float = _option(
        0.1,
        "anonymization",
        "how much larger than the detected box a mask is, 0.1 being a tenth",
        float,
        _Between(0, 10),
        "SHARE",
    )
    shape: Shape = _option(
        "ellipse",
        "anonymization",
        "the mask's shape; an ellipse goes around the box",
        allowed=get_args(Shape),
    )
    keep_metadata: tuple[str, ...] = _option(
        (),
        "anonymization",
        "EXIF to keep beside the orientation: dates, exposure (times and lens settings); all other metadata always go",
        allowed=tuple(KEEPABLE),
    )

    model: tuple[str, ...] | None = _option(
        None,
        "detection",
        "the detector: a name from `faceveil models`, or a SavedModel's folder; several find the union of their faces "
        "(default: centerface-int8; with --engine tensorflow or a --precision, centerface)",
    )
    engine: EngineName = _option(
        "auto",
        "detection",
        "what runs the detector; auto takes OpenVINO where it can",
        allowed=get_args(EngineName),
    )
    precision: Precision = _option(
        "auto",
        "detection",
        "numbers the detector computes with; auto takes bfloat16 where the CPU has it",
        allowed=get_args(Precision),
    )
    score_threshold: float = _option(
        0.21,
        "detection",
        "least score of a face; lower finds more",
        float,
        _Between(0, 1, above_low=True),
        "SCORE",
    )
    quality: QualityName = _option(
        "balanced",
        "detection",
        "how closely images are looked at: fast shows them once and small, thorough several times, in parts and turned",
        allowed=get_args(QualityName),
    )
    detect_size: int | None = _option(
        None,
        "detection",
        "longer side in px at which a whole image is shown, instead of the quality's; larger finds smaller faces",
        int,
        _Between(32, 8192),
        "PX",
    )
    classes: tuple[int, ...] | None = _option(
        None, "detection", "detected classes that count as faces (default: all)", int, _Between(0), "N"
    )

    @property
    def models(self) -> tuple[str, ...]:
        """The detectors, by name or folder."""
        if self.model is not None:
            return self.model
        # Eight bits are faster where OpenVINO computes with them; TensorFlow only imitates them.
        eight_bits = self.engine != "tensorflow" and self.precision == "auto"
        return ("centerface-int8" if eight_bits else "centerface",)

    @property
    def looks(self) -> Quality:
        """How closely images are looked at."""
        quality = QUALITIES[self.quality]
        return replace(quality, detect_size=self.detect_size) if self.detect_size else quality

    @property
    def limits(self) -> Limits:
        """What an image may cost."""
        return Limits(self.max_pixels, self.max_image_bytes, self.image_timeout)

    @property
    def features(self) -> FeatureRoles:
        """What the features of Examples are."""
        return FeatureRoles(self.image_feature, self.drop_features, self.allow_features)

    @property
    def key_hash(self) -> KeyHash | None:
        """What hides the names of files, if they are to be hidden.

        Raises:
            OptionError: they are, but there is no salt.
        """
        if not self.hash_keys:
            return None
        salt = os.environ.get(SALT)
        if not salt:
            raise OptionError(
                f"--hash_keys: needs a secret salt in the environment variable {SALT}, such as "
                "`openssl rand -hex 32` gives; keep it, for a rerun needs the same"
            )
        return KeyHash(os.fsencode(salt))

    @property
    def inputs(self) -> list[Input]:
        """The globs with their splits.

        Raises:
            OptionError: the names of files are to be hidden, but there is no salt.
        """
        key_hash = self.key_hash
        parsed = []
        for text in self.input:
            name, separator, pattern = text.partition("=")
            named = bool(separator) and _SPLIT_NAME.fullmatch(name) is not None
            split, pattern = (name, pattern) if named else ("data", text)
            parsed.append(Input(split, pattern, named, key_hash))
        return parsed


FIELDS = {option.name: option for option in dataclasses.fields(JobOptions)}


def _takes_several(option: dataclasses.Field[Any]) -> bool:
    return "tuple" in str(option.type)


def add_arguments(parser: argparse.ArgumentParser, only: Collection[str] = ()) -> None:
    """Adds every option to a parser, or those of some groups only, as text; ``build_options`` turns it into values."""
    groups: dict[str, Any] = {}
    for name, option in FIELDS.items():
        if only and option.metadata["group"] not in only:
            continue
        group = groups.setdefault(option.metadata["group"], parser.add_argument_group(option.metadata["group"]))
        help_text = option.metadata["help"].replace("%", "%%")
        if option.default not in (None, (), "", False):
            default = " ".join(option.default) if isinstance(option.default, tuple) else option.default
            help_text += f" (default: {default})"
        if option.metadata["parse"] is bool:
            group.add_argument(f"--{name}", action="store_true", default=argparse.SUPPRESS, help=help_text)
            continue
        allowed = option.metadata["allowed"]
        metavar = f"{{{','.join(allowed)}}}" if isinstance(allowed, tuple) else option.metadata["metavar"]
        several: dict[str, Any] = {"nargs": "+", "action": "extend"} if _takes_several(option) else {}
        group.add_argument(f"--{name}", default=argparse.SUPPRESS, help=help_text, metavar=metavar or "NAME", **several)


def read_config(path: str) -> dict[str, Any]:
    """Reads a configuration file: YAML, its keys the long flags without their dashes, of the job and of Beam.

    Raises:
        OptionError: it cannot be read or is no mapping.
    """
    try:
        content = yaml.safe_load(storage.read_bytes(path))
    except (OSError, yaml.YAMLError) as error:
        raise OptionError(f"--config {path}: cannot be read: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise OptionError(f"--config {path}: must be a list of `option: value` lines")
    given = content.get("input")
    if isinstance(given, dict):
        content["input"] = [
            f"{split}={glob}"
            for split, globs in given.items()
            for glob in ([globs] if isinstance(globs, str) else globs)
        ]
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
    values: dict[str, Any] = {}
    config_beam_flags: list[str] = []
    for name, value in (read_config(config_path) if config_path else {}).items():
        if name in FIELDS:
            values[name] = _checked(FIELDS[name], value, f"{config_path}: {name}")
        else:
            config_beam_flags += _as_flags(name, value)
    _refuse_unknown(config_beam_flags, f"{config_path}: ")
    _refuse_unknown(beam_flags, "")
    options = JobOptions(**{**values, **check_flags(flags)})
    _check_together(options)
    # The last of two equal flags counts with argparse, so those of the command line come last.
    return options, [*config_beam_flags, *beam_flags]


def check_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The values of options given by name, as text or as values, within their bounds.

    Raises:
        OptionError: naming the option, the value and what is allowed.

    Example usage::

        >>> check_flags({"score_threshold": "0.5"})
        {'score_threshold': 0.5}
    """
    return {name: _checked(FIELDS[name], value, f"--{name}") for name, value in flags.items()}


def _as_flags(name: str, value: Any) -> list[str]:
    if value is None or value is False:
        return []
    if value is True:
        return [f"--{name}"]
    if isinstance(value, list):
        return [flag for part in value for flag in _as_flags(name, part)]
    return [f"--{name}={value}"]


def _refuse_unknown(beam_flags: Sequence[str], source: str) -> None:
    stray = next((flag for flag in beam_flags[:1] if not flag.startswith("-")), None)
    if stray is not None:
        raise OptionError(f"{source}{stray}: is no option; inputs follow --input, the output --output")
    options = PipelineOptions(list(beam_flags))
    known = options.get_all_options()
    for name in options.get_all_options(retain_unknown_options=True):
        if name not in known:
            close = difflib.get_close_matches(name, [*FIELDS, "config", *known], n=1)
            hint = f"; did you mean {close[0]}?" if close else "; see `faceveil run --help`"
            raise OptionError(f"{source}{'' if source else '--'}{name}: is no option of faceveil or Beam{hint}")


def _checked(option: dataclasses.Field[Any], value: Any, source: str) -> Any:
    """A value of the option's type within its bounds."""
    if _takes_several(option):
        parts = value if isinstance(value, (list, tuple)) else [value]
        return tuple(_checked_one(option, part, source) for part in parts)
    return _checked_one(option, value, source)


def _checked_one(option: dataclasses.Field[Any], value: Any, source: str) -> Any:
    parse, allowed = option.metadata["parse"], option.metadata["allowed"]
    if value is None and option.default is None:
        return None
    wanted = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}.get(parse)
    try:
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
    if isinstance(allowed, tuple) and parsed not in allowed:
        raise OptionError(f"{source} {value}: must be one of {', '.join(allowed)}")
    if isinstance(allowed, _Between) and not allowed.holds(float(parsed)):
        raise OptionError(f"{source} {value}: must be {allowed}")
    return parsed


def _check_together(options: JobOptions) -> None:
    for name in ("input", "output"):
        if not getattr(options, name):
            raise OptionError(f"--{name}: is required")
    for given in options.inputs:
        if not given.pattern:
            raise OptionError(f"--input {given.split}=: names a split without a glob")
    _check_features(options.features)
    if options.overwrite and options.retry_quarantined:
        raise OptionError("--retry_quarantined: keeps what is there, --overwrite removes it; use one of them")
    named = {given.named for given in options.inputs}
    if len(named) > 1:
        raise OptionError("--input: either every input names its split, as in train=GLOB, or none does")


def _check_features(roles: FeatureRoles) -> None:
    if not roles.images:
        raise OptionError("--image_feature: names no feature")
    by_option = {
        "--image_feature": roles.written(),
        "--drop_features": [*roles.images, *roles.dropped],
        "--allow_features": [*roles.written(), *roles.dropped, *roles.allowed],
    }
    for option, names in by_option.items():
        twice = next((name for name, times in Counter(names).items() if times > 1), None)
        if twice:
            raise OptionError(f"{option}: {twice} is named twice, by it or another option, or is written by faceveil")
