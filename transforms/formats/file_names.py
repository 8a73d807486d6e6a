"""Names of files that Examples still hold where keys are hashed: found and told, not removed."""

from __future__ import annotations

import logging
import re

from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.kinds import IMAGE_ENDINGS, bare_name

_LOGGER = logging.getLogger(__name__)
_SHORTEST = 3  # letters of a name that is looked for; shorter ones stand in many a word
_LONGEST_VALUE = 2**16
_ENDINGS = "|".join(re.escape(ending) for ending in sorted(IMAGE_ENDINGS))
_IMAGE_NAME = re.compile(rf"[^\s/\\]\s?(?:{_ENDINGS})\Z".encode(), re.IGNORECASE)


class NameReporter:
    """Warns of each feature once in which a name of a file was seen; not of those that are left out or anonymized."""

    def __init__(self, roles: FeatureRoles) -> None:
        self._roles = roles
        self._told: set[str] = set()

    def look(self, example: Example, path: str) -> None:
        """Looks for the name of a record's file, with its ending or without, and for any image file's.

        Args:
            example: of the record; its features can be parsed.
            path: of the file that the record comes from.
        """
        own = re.escape(bare_name(path).lower())
        own_name = re.compile(rb"(?<![^\W_])" + own + rb"(?![^\W_])") if len(own) >= _SHORTEST else None
        for name in example.names():
            if name in self._told or name in self._roles.images or self._roles.is_left_out(name):
                continue
            for value in example.bytes_values(name) or ():
                if len(value) <= _LONGEST_VALUE and (
                    _IMAGE_NAME.search(value) or (own_name and own_name.search(value.lower()))
                ):
                    self._tell(name)
                    break

    def _tell(self, name: str) -> None:
        self._told.add(name)
        _LOGGER.warning(
            "feature %s holds names of files, which --hash_keys does not hide; --drop_features %s leaves it out",
            *(name, name),
        )
