"""Masks, and the ways to fill them. Knows no Beam."""

METHOD_NAMES = ("blur", "pixelate", "bar", "solid")
"""What `methods.METHODS` holds; here, so that options are checked without loading it."""

WITH_STRENGTH = ("blur", "pixelate")
"""Those of them that `Style.strength` means something to."""

SYNTHESIZE = "synthesize"
"""The method that draws new faces (`transforms/generators`): no entry of `METHODS`, since it holds a model."""
