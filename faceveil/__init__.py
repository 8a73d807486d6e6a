"""Anonymizes the faces in image data sets, as one Apache Beam job.

Example usage::

    import faceveil

    manifest = faceveil.run(input="photos/**", output="anonymized")
    anonymized = faceveil.Anonymizer(method="pixelate").anonymize(Path("photo.jpg").read_bytes())

``docs/python.md`` tells more. What takes a second to load (Beam, NumPy, OpenVINO) is loaded when it is first needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "AccessError",
    "AnonymizeDataset",
    "AnonymizeExamples",
    "AnonymizeImages",
    "Anonymizer",
    "Error",
    "Faces",
    "JobOptions",
    "ModelError",
    "OptionError",
    "OutputError",
    "Quarantine",
    "TooManyQuarantinedError",
    "__version__",
    "run",
]

if TYPE_CHECKING:
    from faceveil.pipeline.anonymizer import Anonymizer
    from faceveil.pipeline.caller import TooManyQuarantinedError
    from faceveil.pipeline.graph import AnonymizeDataset, AnonymizeExamples, AnonymizeImages
    from faceveil.pipeline.option_values import OptionError
    from faceveil.pipeline.options import JobOptions
    from faceveil.pipeline.run import run
    from faceveil.transforms.errors import AccessError, Error, ModelError, OutputError
    from faceveil.transforms.faces import Faces
    from faceveil.transforms.quarantine import Quarantine
else:
    # Not for type checkers, to which any name would then be one.
    _HOMES = {
        "faceveil.pipeline.anonymizer": ["Anonymizer"],
        "faceveil.pipeline.caller": ["TooManyQuarantinedError"],
        "faceveil.pipeline.graph": ["AnonymizeDataset", "AnonymizeExamples", "AnonymizeImages"],
        "faceveil.pipeline.option_values": ["OptionError"],
        "faceveil.pipeline.options": ["JobOptions"],
        "faceveil.pipeline.run": ["run"],
        "faceveil.transforms.errors": ["AccessError", "Error", "ModelError", "OutputError"],
        "faceveil.transforms.faces": ["Faces"],
        "faceveil.transforms.quarantine": ["Quarantine"],
    }

    def __getattr__(name: str) -> Any:
        """Loads what the package offers when it is first asked for (https://peps.python.org/pep-0562/)."""
        for home, names in _HOMES.items():
            if name in names:
                value = globals()[name] = getattr(importlib.import_module(home), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return __all__
