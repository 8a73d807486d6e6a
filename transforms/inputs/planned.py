"""Shards that were planned before the graph was built, and travel in it."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.typehints import with_output_types

from faceveil.transforms.inputs.plan import ShardPlan


def pack_plans(plans: Iterable[ShardPlan]) -> list[bytes]:
    """Each plan compressed: some 30 bytes for each of its files."""
    return [zlib.compress(pickle.dumps(plan), 1) for plan in plans]


def _unpack(packed: bytes) -> Iterator[ShardPlan]:
    plan: ShardPlan = pickle.loads(zlib.decompress(packed))  # noqa: S301  our own
    yield plan


@with_output_types(ShardPlan)
@dataclass(eq=False)
class PlannedShards(beam.PTransform):  # type: ignore[misc]
    """Yields shards that were planned already, as ``PlanShards`` does those that it plans; takes a pipeline's start."""

    packed: Sequence[bytes]

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[ShardPlan]:
        """Builds the graph."""
        unpack = beam.FlatMap(_unpack).with_output_types(ShardPlan)
        return begin | "Packed" >> beam.Create(self.packed, reshuffle=False) | "Unpack" >> unpack
