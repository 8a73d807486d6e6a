"""Which detectors look at a job's images, and how: what ``--model``, ``--verifier`` and ``--quality`` mean together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from faceveil.transforms.detectors.quality import FAST_QUALITIES, QUALITIES, Quality, QualityName

_PROPOSER = "yunet-s"


@dataclass(frozen=True)
class DetectorChoice:
    """What finds faces.

    Attributes:
        models: by name or folder.
        verifies: whether the last of them looks again at each face that the others find.
        shares_views: whether they share the views of an image, instead of each seeing all of them.
        quality: how closely images are looked at.
    """

    models: tuple[str, ...]
    verifies: bool
    shares_views: bool
    quality: Quality


def choose_detector(
    models: Sequence[str] | None, verifier: str | None, quality: QualityName, detect_size: int | None, int8: bool
) -> DetectorChoice:
    """What finds faces where these are asked for.

    Args:
        models: as ``--model`` names them; None for the default.
        verifier: as ``--verifier`` names it; None for the default.
        quality: how closely images are looked at.
        detect_size: in pixels, instead of the quality's.
        int8: whether the default detectors may compute in eight bits.

    Example usage::

        >>> choose_detector(None, None, "balanced", None, int8=True).models
        ('yunet-s', 'centerface-covered-int8')
        >>> choose_detector(None, None, "thorough", None, int8=False).models
        ('centerface', 'centerface-covered')
    """
    suffix = "-int8" if int8 else ""
    alone, covered = f"centerface{suffix}", f"centerface-covered{suffix}"
    if models is None and verifier is None:
        if quality == "thorough":
            return DetectorChoice((alone, covered), False, True, _looks(QUALITIES[quality], detect_size))
        verifier = covered
    chosen = tuple(models or (_PROPOSER,))
    looks = _looks((FAST_QUALITIES if chosen[0] == _PROPOSER else QUALITIES)[quality], detect_size)
    return DetectorChoice((*chosen, verifier) if verifier else chosen, verifier is not None, False, looks)


def _looks(quality: Quality, detect_size: int | None) -> Quality:
    return replace(quality, detect_size=detect_size) if detect_size else quality
