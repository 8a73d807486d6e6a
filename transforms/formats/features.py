"""What the features of an Example are to the job: images, dropped ones, and ones that pass unseen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from faceveil.transforms.formats import BOX_SIDES

_MAIN_PREFIX = "image"
FACE_INDEX = "index"
"""Of features that hold several images: in which of them each face is."""
_FACE_FEATURES = ("count", "bbox/xmin", "bbox/ymin", "bbox/xmax", "bbox/ymax", "score", FACE_INDEX)


@dataclass(frozen=True)
class FeatureRoles:
    """The features that a user has named.

    Attributes:
        images: hold images that are anonymized, one or several each; the first is the main one, which the audit trail's
            columns speak of.
        dropped: are left out of the output.
        allowed: pass as they are, even if they hold images.
        strict: whether all features that are not named here are left out too.
        hides_names: whether no name in a file becomes a feature.
    """

    images: tuple[str, ...] = ("image/encoded",)
    dropped: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    strict: bool = False
    hides_names: bool = False

    def is_left_out(self, name: str) -> bool:
        """Whether a feature of an Example that is read is not in the one that is written."""
        return name in self.dropped or (self.strict and name not in self.images and name not in self.allowed)

    def keeps_checksums(self, name: str) -> bool:
        """Whether a feature's checksums of an original image stay; where all that stays has to be allowed, none do."""
        return self.is_left_out(name) or name in self.images or (name in self.allowed and not self.strict)

    def prefixes(self) -> Iterator[str]:
        """What the names of the face features of each image begin with: of the main one ``image``, else its name."""
        yield _MAIN_PREFIX
        yield from self.images[1:]

    def written(self) -> list[str]:
        """The names of all features that the job writes into an Example."""
        return [*self.images, *(name for prefix in self.prefixes() for name in self.face_features(prefix))]

    @staticmethod
    def face_features(prefix: str) -> list[str]:
        """The names of the features that tell the faces of an image, by what they begin with."""
        return [f"{prefix}/face/{name}" for name in _FACE_FEATURES]


@dataclass(frozen=True)
class BoxFeatures:
    """The features of annotated boxes, laid out as TensorFlow's Object Detection API has them.

    https://github.com/tensorflow/models/blob/master/research/object_detection/g3doc/using_your_own_dataset.md

    Attributes:
        prefix: what the names of the four sides begin with.

    Example usage::

        >>> BoxFeatures("image/object/bbox").sides[0], BoxFeatures("image/object/bbox").labels
        ('image/object/bbox/xmin', ('image/object/class/text', 'image/object/class/label'))
    """

    prefix: str

    @property
    def sides(self) -> tuple[str, ...]:
        """Of floats, 0 to 1 of the stored image: left, top, right and bottom."""
        return tuple(f"{self.prefix}/{side}" for side in BOX_SIDES)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes' names, of bytes, and their numbers; any of the two may be missing."""
        folder = self.prefix.rpartition("/")[0]
        return tuple("/".join(filter(None, (folder, "class", name))) for name in ("text", "label"))
