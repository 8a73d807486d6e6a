"""Why a record is quarantined: nothing of it is written, its name and reason are."""

from __future__ import annotations

from enum import StrEnum

from faceveil.transforms.errors import Error


class Reason(StrEnum):
    """The short list of reasons, as they stand in the audit trail and in the job's report."""

    UNREADABLE_FILE = "unreadable_file"
    """The file could not be opened or read."""
    EMPTY = "empty"
    """There are no bytes."""
    NOT_AN_IMAGE = "not_an_image"
    """The bytes are no image of a known format."""
    TOO_LARGE = "too_large"
    """More pixels than ``--max_pixels`` or more bytes than ``--max_image_bytes`` allow."""
    TRUNCATED = "truncated"
    """The image ends before its pixels do."""
    CORRUPT_IMAGE = "corrupt_image"
    """The header is an image's, the pixels cannot be decoded."""
    UNSUPPORTED_IMAGE = "unsupported_image"
    """A kind of image that cannot be shown to the detector, or not be written back, as it is, such as LAB."""
    MULTIPLE_FRAMES = "multiple_frames"
    """More than one frame, page or picture: an animation, a burst."""
    CORRUPT_RECORD = "corrupt_record"
    """The file of records is damaged or cut off here; what follows in that file, or in a row group, cannot be read."""
    INVALID_EXAMPLE = "invalid_example"
    """The record is no serialised tf.train.Example, or an Example cannot hold it."""
    MISSING_IMAGE = "missing_image"
    """The Example lacks an image feature, or it holds no value of bytes."""
    EMBEDDED_IMAGE = "embedded_image"
    """A feature that was not named is or may hold an image, which was not examined."""
    MISSING_BOXES = "missing_boxes"
    """The boxes of ``--boxes`` are to replace detection, and there are none of this record."""
    INVALID_BOXES = "invalid_boxes"
    """What ``--boxes`` gives of this record are no boxes of the image."""
    LABEL_MAP = "label_map"
    """Faces were found in what looks like a map of labels or distances, which painting them would make wrong."""
    RESIDUAL_FACE = "residual_face"
    """A second look found a face outside the masks, and ``verify --drop`` has taken the record out of the output."""
    DETECTION_FAILED = "detection_failed"
    """The detector failed on this image."""
    ANONYMIZATION_FAILED = "anonymization_failed"
    """Masking the faces or encoding the image again failed."""
    TIMED_OUT = "timed_out"
    """Decoding or encoding it took longer than ``--image_timeout``."""
    CRASHED = "crashed"
    """Decoding or encoding it ended the process that did so."""


class Quarantine(Error):
    """One record cannot be anonymized; the job goes on without it.

    Attributes:
        reason: why, one of ``Reason``.
        detail: more about it, may be empty.

    Example usage::

        >>> str(Quarantine(Reason.TRUNCATED, "120 of 4096 bytes"))
        'truncated: 120 of 4096 bytes'
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else str(reason))

    def __reduce__(self) -> tuple[type[Quarantine], tuple[Reason, str]]:
        return Quarantine, (self.reason, self.detail)


def too_large(detail: str) -> Quarantine:
    """What quarantines a record of too many bytes."""
    return Quarantine(Reason.TOO_LARGE, f"{detail} (--max_image_bytes allows more)")
