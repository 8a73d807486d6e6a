"""What the features of an Example are to the job: images, dropped ones, and ones that nobody looks at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_MAIN_PREFIX = "image"
_FACE_FEATURES = ("count", "bbox/xmin", "bbox/ymin", "bbox/xmax", "bbox/ymax", "score")


@dataclass(frozen=True)
class FeatureRoles:
    """The features that a user has named.

    Attributes:
        images: hold images that are anonymized; the first is the main one, which the audit trail's columns speak of.
        dropped: are left out of the output.
        allowed: pass as they are, even if they hold images.
    """

    images: tuple[str, ...] = ("image/encoded",)
    dropped: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()

    @property
    def unseen(self) -> set[str]:
        """What is not searched for images and checksums: dropped, allowed, or anonymized anyway."""
        return {*self.images, *self.dropped, *self.allowed}

    def prefixes(self) -> Iterator[str]:
        """What the names of the face features of each image begin with: of the main one ``image``, else its name."""
        yield _MAIN_PREFIX
        yield from self.images[1:]

    def written(self) -> list[str]:
        """The names of all features that the job writes into an Example."""
        faces = [f"{prefix}/face/{name}" for prefix in self.prefixes() for name in _FACE_FEATURES]
        return [*self.images, *faces]
