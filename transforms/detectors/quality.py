"""How closely a detector looks at images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

QualityName = Literal["fast", "balanced", "thorough"]


@dataclass(frozen=True)
class Quality:
    """How closely an image is looked at.

    Attributes:
        detect_size: long side at which the whole image is shown, in pixels.
        scales: the sizes at which it is shown, as multiples of ``detect_size``, 1 first. The larger ones are for small
            faces.
        reduce_at_most: tiles show the image so that its pixels are never reduced by more than this factor; None for
            no tiles.
        smaller: sides at which the whole image is also shown, for faces that are large or fill it: of a face that fills
            the frame at 1024 px, CenterFace finds a quarter; shown at 256 px, all of it.
        mirrored: whether everything is shown mirrored too.
        turned: the size at which the whole image is also shown turned by a quarter to either side, and upside down, as
            a multiple of ``detect_size``; None for not at all.
        averaged: whether a face's score is averaged over the views that show it; if not, the best one counts.
    """

    detect_size: int
    scales: tuple[float, ...] = (1.0,)
    reduce_at_most: float | None = None
    smaller: tuple[int, ...] = ()
    mirrored: bool = False
    turned: float | None = None
    averaged: bool = False

    def fitted(self, side: int | None, stretches: bool = False) -> Quality:
        """The same for a model that sees images of one size: the whole image is shown at that, and so are tiles.

        Args:
            side: the longer one of that size, in pixels; None where the model takes any.
            stretches: whether it sees small views as large as others, so that they show nothing more.

        Example usage::

            >>> QUALITIES["thorough"].fitted(640).detect_size
            640
        """
        if side is None:
            return self
        smaller = () if stretches else self.smaller
        return replace(self, detect_size=side, scales=(1.0,), smaller=smaller, turned=self.turned and 1.0)


QUALITIES: dict[QualityName, Quality] = {
    "fast": Quality(640),
    "balanced": Quality(1056, reduce_at_most=2, smaller=(256,)),
    "thorough": Quality(
        1024, scales=(1.0, 1.75), smaller=(768, 512, 256), reduce_at_most=1, mirrored=True, turned=1.125, averaged=True
    ),
}
"""Of a detector such as CenterFace."""

FAST_QUALITIES: dict[QualityName, Quality] = {
    "fast": Quality(640),
    "balanced": Quality(832, reduce_at_most=2, smaller=(256,)),
    "thorough": Quality(1280, reduce_at_most=1, smaller=(512, 256)),
}
"""Of YuNet-s."""
