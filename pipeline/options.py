"""The options of a job, each declared once: its flag, its key in a configuration file, its help and its bounds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from functools import cached_property
from typing import get_args

from faceveil.pipeline.box_options import check_box_options
from faceveil.pipeline.data_options import DataOptions
from faceveil.pipeline.detector_choice import DetectorChoice, choose_detector
from faceveil.pipeline.input_paths import parse_input
from faceveil.pipeline.option_checks import check_feature_roles, check_format
from faceveil.pipeline.option_values import OptionError, Range, checked_value, option_field, parse_path
from faceveil.pipeline.salt import read_salt
from faceveil.transforms.anonymizers import METHOD_NAMES, SYNTHESIZE
from faceveil.transforms.anonymizers.geometry import MaskGeometry, Shape
from faceveil.transforms.detectors.quality import QualityName
from faceveil.transforms.inputs.keys import KeyHash
from faceveil.transforms.inputs.match import Input
from faceveil.transforms.kept_exif import KEEPABLE
from faceveil.transforms.models.engines import EngineName, Precision


@dataclass(frozen=True)
class JobOptions(DataOptions):
    """Everything a user can say about a job; what is not here is Beam's.

    Values are checked as on the command line, and may be given as there.

    Raises:
        OptionError: naming the option, the value and what is allowed.

    Example usage::

        >>> JobOptions(shard_bytes="64MiB", keep_metadata=["dates"]).shard_bytes
        67108864
        >>> JobOptions(score_threshold=2)
        Traceback (most recent call last):
        faceveil.pipeline.option_values.OptionError: --score_threshold 2: must be more than 0 and at most 1
    """

    method: str = option_field(
        "blur",
        "anonymization",
        f"what is done to a face; {SYNTHESIZE} draws a new one, and needs a salt as --hash_keys does",
        allowed=(*METHOD_NAMES, SYNTHESIZE),
    )
    generator: str | None = option_field(
        None,
        "anonymization",
        f"the generator for {SYNTHESIZE}: a SavedModel's folder (default: the one that comes with faceveil)",
        parse_path,
        metavar="DIR",
    )
    fallback_method: str = option_field(
        "blur",
        "anonymization",
        f"what is done to faces that {SYNTHESIZE} cannot draw: in profile, at the edge, among others that overlap",
        allowed=METHOD_NAMES,
    )
    strength: float = option_field(
        1.0,
        "anonymization",
        "for blur and pixelate: 1 draws from a face's surroundings and a few bits of it; less is the size of an "
        "averaged cell relative to the mask, at your own risk: 0.2 leaves 5 × 5 averages, which tell faces apart",
        float,
        Range(0, 1, above_low=True),
        "SHARE",
    )
    coverage: float = option_field(
        1.0,
        "anonymization",
        "share of a face's height that is masked, from the top",
        float,
        Range(0, 1, above_low=True),
        "SHARE",
    )
    margin: float = option_field(
        0.1,
        "anonymization",
        "how much larger than the detected box a mask is, 0.1 being a tenth",
        float,
        Range(0, 10),
        "SHARE",
    )
    shape: Shape | None = option_field(
        None,
        "anonymization",
        f"the mask's shape; an ellipse goes around the box (default: ellipse; with {SYNTHESIZE}, which needs to see "
        "what lies around a face, box)",
        allowed=get_args(Shape),
    )
    allow_label_maps: bool = option_field(
        False,
        "anonymization",
        "mask faces in maps of labels and distances too; they are quarantined, since a mask makes their labels wrong",
        parse=bool,
    )
    keep_metadata: tuple[str, ...] = option_field(
        (),
        "anonymization",
        "EXIF to keep beside the orientation: dates, exposure (times and lens settings); all other metadata always go",
        allowed=tuple(KEEPABLE),
    )

    model: tuple[str, ...] | None = option_field(
        None,
        "detection",
        "the detector: a name from `faceveil models`, a SavedModel's folder or an ONNX file; several find the union of "
        "their faces (default: yunet-s; for --quality thorough centerface-int8 and centerface-covered-int8, which "
        "share the views; with --engine tensorflow or a --precision, those without -int8)",
        parse_path,
    )
    verifier: str | None = option_field(
        None,
        "detection",
        "a second detector, named as --model is, that looks again at each face that the first finds: the mean of both "
        "scores counts (default: centerface-covered-int8 where --model is not given, else none)",
        parse_path,
    )
    engine: EngineName = option_field(
        "auto",
        "detection",
        "what runs the detector; auto takes OpenVINO where it can",
        allowed=get_args(EngineName),
    )
    precision: Precision = option_field(
        "auto",
        "detection",
        "numbers the detector computes with; auto takes bfloat16 where the CPU has it",
        allowed=get_args(Precision),
    )
    score_threshold: float = option_field(
        0.21,
        "detection",
        "least score of a face; lower finds more",
        float,
        Range(0, 1, above_low=True),
        "SCORE",
    )
    quality: QualityName = option_field(
        "balanced",
        "detection",
        "how closely images are looked at: fast shows them once and small, thorough several times, in parts and turned",
        allowed=get_args(QualityName),
    )
    detect_size: int | None = option_field(
        None,
        "detection",
        "longer side in px at which a whole image is shown, instead of the quality's; larger finds smaller faces",
        int,
        Range(32, 8192),
        "PX",
    )
    classes: tuple[int, ...] | None = option_field(
        None, "detection", "detected classes that count as faces (default: all)", int, Range(0), "N"
    )

    no_wait: bool = option_field(
        False, "running", "with --runner DataflowRunner: end once the job is submitted, and print its id", parse=bool
    )

    def __post_init__(self) -> None:
        for name, option in FIELDS.items():
            object.__setattr__(self, name, checked_value(option, getattr(self, name), f"--{name}"))
        check_feature_roles(self.features)
        check_format(self.format, self.features, self.copy_others, self.hash_keys, self.compression, self.tfds)
        check_box_options(
            [option for name, option in FIELDS.items() if getattr(self, name) != option.default], self.detects
        )
        if self.method == SYNTHESIZE and not self.detects:
            raise OptionError(f"--method {SYNTHESIZE}: draws what a detector has found; use --boxes_mode add with it")
        if self.overwrite and self.retry_quarantined:
            raise OptionError("--retry_quarantined: keeps what is there, --overwrite removes it; use one of them")
        for given in self.inputs:
            if not given.pattern:
                raise OptionError(f"--input {given.split}=: names a split without a glob")
        if len({given.named for given in self.inputs}) > 1:
            raise OptionError("--input: either every input names its split, as in train=GLOB, or none does")
        _ = self.salt

    def check_required(self) -> None:
        """Refuses options without which there is no job.

        Raises:
            OptionError: naming the one that is missing.
        """
        for name in ("input", "output"):
            if not getattr(self, name):
                raise OptionError(f"--{name}: is required")

    @property
    def geometry(self) -> MaskGeometry:
        """The masks' shape."""
        return self.geometry_of(self.method)

    def geometry_of(self, method: str) -> MaskGeometry:
        """The masks' shape with another method."""
        return MaskGeometry(self.coverage, self.margin, self.shape or ("box" if method == SYNTHESIZE else "ellipse"))

    @property
    def detector(self) -> DetectorChoice:
        """What finds faces; nothing where annotated boxes replace them all."""
        # Eight bits are faster where OpenVINO computes with them; TensorFlow only imitates them.
        int8 = self.engine != "tensorflow" and self.precision == "auto"
        choice = choose_detector(self.model, self.verifier, self.quality, self.detect_size, int8)
        return choice if self.detects else replace(choice, models=(), verifies=False)

    @property
    def detects(self) -> bool:
        """Whether a detector looks at any image: annotated boxes may replace what it finds in the main one."""
        return self.boxes_mode != "replace" or len(self.image_feature) > 1

    @cached_property
    def salt(self) -> bytes | None:
        """The secret salt; None where nothing needs one.

        Raises:
            OptionError: there is none.
        """
        if self.hash_keys:
            return read_salt(self.salt_file, "--hash_keys")
        return read_salt(self.salt_file, f"--method {SYNTHESIZE}") if self.method == SYNTHESIZE else None

    @property
    def key_hash(self) -> KeyHash | None:
        """What hides the names of files, if they are to be hidden."""
        return KeyHash(self.salt) if self.hash_keys and self.salt else None

    @property
    def face_salt(self) -> bytes | None:
        """What decides which faces are drawn, if any are."""
        return self.salt if self.method == SYNTHESIZE else None

    @cached_property
    def inputs(self) -> list[Input]:
        """The globs with their splits."""
        return [parse_input(text, self.key_hash, self.exclude, self.copy_others) for text in self.input]


FIELDS = {option.name: option for option in dataclasses.fields(JobOptions)}
