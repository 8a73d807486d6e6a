"""How good a detector is: annotations in, average precision, coverage and false positives out. Knows no Beam."""

from typing import Literal

AnnotationFormat = Literal["auto", "jsonl", "coco", "voc", "wider"]
"""Of a file of annotated images; ``auto`` tells by its content."""
