"""A job that goes on without the command that has submitted it."""

from __future__ import annotations

from dataclasses import dataclass

from faceveil.transforms.errors import Error


@dataclass(frozen=True)
class RemoteJob:
    """A job that was submitted.

    Attributes:
        project: its Google Cloud project.
        region: where it runs.
        name: unique among the jobs that run.
        id: what the service calls it; None for one that a Flex Template's launcher has prepared and not started yet.
    """

    project: str
    region: str
    name: str
    id: str | None

    @property
    def console(self) -> str:
        """The address at which a browser shows it."""
        where = f"/{self.region}/{self.id}" if self.id else ""
        return f"https://console.cloud.google.com/dataflow/jobs{where}?project={self.project}"

    @property
    def cancel_command(self) -> str:
        """What ends it before its time."""
        return f"gcloud dataflow jobs cancel {self.id} --project {self.project} --region {self.region}"


class LeftRunning(Error):
    """This command ends, and the job that it has submitted goes on.

    Attributes:
        job: the job.
        interrupted: whether the command was interrupted while it waited for the job.
    """

    def __init__(self, job: RemoteJob, interrupted: bool) -> None:
        super().__init__(job)
        self.job = job
        self.interrupted = interrupted
