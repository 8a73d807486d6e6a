"""The options of a job, each declared once: its flag, its key in a configuration file, its help and its bounds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, get_args

from faceveil.pipeline.box_options import check_box_options, parse_boxes, parse_class
from faceveil.pipeline.detector_choice import DetectorChoice, choose_detector
from faceveil.pipeline.input_paths import parse_input
from faceveil.pipeline.option_checks import check_feature_roles, check_format
from faceveil.pipeline.option_values import OptionError, Range, checked_value, parse_path, parse_size
from faceveil.pipeline.salt import SALT, read_salt
from faceveil.transforms.anonymizers import METHOD_NAMES, SYNTHESIZE
from faceveil.transforms.anonymizers.geometry import MaskGeometry, Shape
from faceveil.transforms.detectors.quality import QualityName
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.layout import OutputFormat
from faceveil.transforms.inputs.keys import KeyHash
from faceveil.transforms.inputs.match import Input
from faceveil.transforms.kept_exif import KEEPABLE
from faceveil.transforms.limits import Limits
from faceveil.transforms.models.engines import EngineName, Precision


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

    input: tuple[str, ...] = _option(
        (),
        "data",
        "globs of images (JPEG, PNG, WebP, …), TFRecord, Parquet and tar files, quoted; ** includes sub-folders; "
        "NAME=GLOB puts the files into a split of that name; @FILE is a list of globs or paths, one in each line, or "
        "an inventory of a bucket in Parquet",
        metavar="[SPLIT=]GLOB",
    )
    exclude: tuple[str, ...] = _option(
        (),
        "data",
        "globs of files and folders that are left out, quoted; one without a slash is of names, wherever they are",
        metavar="GLOB",
    )
    output: str = _option(
        "", "data", "folder for publication: shards and manifest.json, local or gs://", parse_path, metavar="DIR"
    )
    records_output: str | None = _option(
        None,
        "data",
        "folder for the audit trail, not for publication (default: OUTPUT.audit)",
        parse_path,
        metavar="DIR",
    )
    format: OutputFormat = _option(
        "tfrecord",
        "data",
        "what is written: sharded TFRecords of tf.train.Examples, or a folder like that of the inputs, a file for each",
        allowed=get_args(OutputFormat),
    )
    copy_others: bool = _option(
        False,
        "data",
        "with --format images: copy files of labels (.json .txt .xml .csv …) too, unless they hold pictures",
        parse=bool,
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
        "features that hold images in tf.train.Examples, or columns of Parquet files (where the only one is found); "
        "each is anonymized, the first is the main one",
    )
    drop_features: tuple[str, ...] = _option((), "data", "features that are left out of the Examples that are written")
    allow_features: tuple[str, ...] = _option(
        (),
        "data",
        "features that pass as they are, even images: they are not examined, so faces in them get out",
    )
    strict_features: bool = _option(
        False,
        "data",
        "leave out all features that neither --image_feature nor --allow_features names",
        parse=bool,
    )
    boxes: str | None = _option(
        None,
        "data",
        "annotated boxes to anonymize: the prefix of features such as image/object/bbox, or a .csv, .parquet or COCO "
        ".json file keyed as the records are",
        parse_boxes,
        metavar="PREFIX_OR_FILE",
    )
    boxes_mode: str = _option(
        "add",
        "data",
        "add anonymizes the boxes of --boxes besides detected faces, replace instead of them",
        allowed=("add", "replace"),
    )
    box_classes: tuple[str, ...] = _option(
        (), "data", "classes of --boxes that are anonymized, by name or number (default: all)", parse_class
    )
    shard_bytes: int | None = _option(
        None,
        "data",
        "size of the images, or of the part of a file of records, that make a shard, such as 256MiB; 2,500 image files "
        "at most, however small (default: 64MiB, or what gives a small job 16 shards)",
        parse_size,
        Range(1),
        "SIZE",
    )
    num_shards: int | None = _option(
        None, "data", "number of shards of images, instead of --shard_bytes", int, Range(1, 99_999), "N"
    )
    max_quarantined: float = _option(
        0.01,
        "data",
        "share of the inputs that may be quarantined before the job ends with status 3",
        float,
        Range(0, 1),
        "SHARE",
    )
    max_pixels: int = _option(
        Limits.max_pixels, "data", "images of more pixels, by their header, are quarantined", int, Range(1), "N"
    )
    max_image_bytes: int = _option(
        Limits.max_image_bytes,
        "data",
        "larger image files and Examples are quarantined",
        parse_size,
        Range(1),
        "SIZE",
    )
    image_timeout: float = _option(
        Limits.image_timeout,
        "data",
        "seconds that one step of the work on an image may take before it is stopped and the image quarantined",
        float,
        Range(0, above_low=True),
        "SECONDS",
    )

    method: str = _option(
        "blur",
        "anonymization",
        f"what is done to a face; {SYNTHESIZE} draws a new one, and needs a salt as --hash_keys does",
        allowed=(*METHOD_NAMES, SYNTHESIZE),
    )
    generator: str | None = _option(
        None,
        "anonymization",
        f"the generator for {SYNTHESIZE}: a SavedModel's folder (default: the one that comes with faceveil)",
        parse_path,
        metavar="DIR",
    )
    fallback_method: str = _option(
        "blur",
        "anonymization",
        f"what is done to faces that {SYNTHESIZE} cannot draw: in profile, at the edge, among others that overlap",
        allowed=METHOD_NAMES,
    )
    salt_file: str | None = _option(
        None,
        "data",
        f"file with the secret salt, instead of the environment variable {SALT}",
        parse_path,
        metavar="FILE",
    )
    strength: float = _option(
        1.0,
        "anonymization",
        "for blur and pixelate: 1 draws from a face's surroundings and a few bits of it; less is the size of an "
        "averaged cell relative to the mask, at your own risk: 0.2 leaves 5 × 5 averages, which tell faces apart",
        float,
        Range(0, 1, above_low=True),
        "SHARE",
    )
    coverage: float = _option(
        1.0,
        "anonymization",
        "share of a face's height that is masked, from the top",
        float,
        Range(0, 1, above_low=True),
        "SHARE",
    )
    margin: float = _option(
        0.1,
        "anonymization",
        "how much larger than the detected box a mask is, 0.1 being a tenth",
        float,
        Range(0, 10),
        "SHARE",
    )
    shape: Shape | None = _option(
        None,
        "anonymization",
        f"the mask's shape; an ellipse goes around the box (default: ellipse; with {SYNTHESIZE}, which needs to see "
        "what lies around a face, box)",
        allowed=get_args(Shape),
    )
    allow_label_maps: bool = _option(
        False,
        "anonymization",
        "mask faces in maps of labels and distances too; they are quarantined, since a mask makes their labels wrong",
        parse=bool,
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
        "(default: centerface-int8, which shares the views of --quality thorough with centerface-covered-int8; with "
        "--engine tensorflow or a --precision, those without -int8)",
        parse_path,
    )
    verifier: str | None = _option(
        None,
        "detection",
        "a second detector, named as --model is, that looks again at each face that the first finds: the mean of both "
        "scores counts (default: none)",
        parse_path,
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
        Range(0, 1, above_low=True),
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
        Range(32, 8192),
        "PX",
    )
    classes: tuple[int, ...] | None = _option(
        None, "detection", "detected classes that count as faces (default: all)", int, Range(0), "N"
    )

    no_wait: bool = _option(
        False, "running", "with --runner DataflowRunner: end once the job is submitted, and print its id", parse=bool
    )

    def __post_init__(self) -> None:
        for name, option in FIELDS.items():
            object.__setattr__(self, name, checked_value(option, getattr(self, name), f"--{name}"))
        check_feature_roles(self.features)
        check_format(self.format, self.features, self.copy_others, self.hash_keys)
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

    @property
    def limits(self) -> Limits:
        """What an image may cost."""
        return Limits(self.max_pixels, self.max_image_bytes, self.image_timeout)

    @property
    def features(self) -> FeatureRoles:
        """What the features of Examples are."""
        named = self.image_feature, self.drop_features, self.allow_features
        return FeatureRoles(*named, self.strict_features, self.hash_keys)

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
