"""What options have to be together."""

from __future__ import annotations

from collections import Counter

from faceveil.pipeline.option_values import OptionError
from faceveil.transforms.formats.features import FeatureRoles


def check_feature_roles(roles: FeatureRoles) -> None:
    """Refuses features that are named twice, and an Example without an image.

    Raises:
        OptionError: naming the option and the feature.
    """
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
