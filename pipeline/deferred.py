"""Importing late what Apache Beam would import early: a third of a local job's start-up.

``import apache_beam`` brings along the clients of all cloud services that it has connectors for, and the job uses
storage alone. They stay importable, by Beam too: each is loaded when something of it is first used.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

_RARELY_USED = frozenset(
    [
        "boto3",
        "google.cloud.bigquery",
        "google.cloud.bigquery_storage_v1",
        "google.cloud.dataflow",
        "google.cloud.pubsub",
    ]
)
"""Modules whose names alone Beam needs as it is imported. None is first used by several threads at once, which a
LazyLoader bears from Python 3.12 on only: what imports a part of boto3 loads the whole of it then and there, and the
others are for the thread that launches a job."""


def defer_imports() -> None:
    """Makes the rarely used modules load when they are first used; to be called before Beam is imported.

    Based on ``importlib.util.LazyLoader``, https://docs.python.org/3/library/importlib.html#importlib.util.LazyLoader.
    """
    sys.meta_path.insert(0, _LateFinder())


class _LateFinder(MetaPathFinder):
    """Finds the rarely used modules as the import system does, and postpones their loading."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in _RARELY_USED else None
        if spec and spec.loader:
            spec.loader = LazyLoader(spec.loader)
        return spec
