"""Where a job's files lie."""

from __future__ import annotations

from dataclasses import dataclass

from faceveil.transforms import storage


@dataclass(frozen=True)
class OutputLayout:
    """Where a job writes.

    Attributes:
        directory: of the shards and the manifest.
        audit_directory: of the audit trail's files.
        settings_digest: identifies the job's settings, so that another one's shards are never taken for its own.
    """

    directory: str
    audit_directory: str
    settings_digest: str

    def shard_file(self, name: str) -> str:
        """The name of a shard's file in the output directory."""
        return f"{name}.tfrecord"

    def shard_path(self, name: str) -> str:
        """Where a shard is."""
        return storage.join(self.directory, self.shard_file(name))

    def attempt_path(self, name: str) -> str:
        """Where a file says that a shard is being made; hidden from readers of the audit trail."""
        return storage.join(self.audit_directory, f".{name}.attempt")

    def audit_path(self, name: str) -> str:
        """Where a shard's rows are."""
        return storage.join(self.audit_directory, f"{name}.parquet")
