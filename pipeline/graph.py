"""The job's graph: inputs are matched and planned into shards, each shard is anonymized, the manifest is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import apache_beam as beam

from faceveil.transforms.anonymize_shards import AnonymizeShards
from faceveil.transforms.inputs.match import Input, InputSummary
from faceveil.transforms.inputs.plan import Layout, PlanShards
from faceveil.transforms.manifest import JobDescription, WriteManifest


@dataclass
class AnonymizeDataset(beam.PTransform):  # type: ignore[misc]
    """The whole job, from globs to the manifest; yields the number of shards."""

    inputs: Sequence[Input]
    summary: InputSummary
    layout: Layout
    anonymize: AnonymizeShards
    description: JobDescription

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[int]:
        """Builds the graph."""
        return (
            begin
            | "PlanShards" >> PlanShards(self.inputs, self.layout)
            | "AnonymizeShards" >> self.anonymize
            | "WriteManifest"
            >> WriteManifest(self.anonymize.output.directory, self.description, self.layout, self.summary)
        )
