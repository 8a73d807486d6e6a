"""Errors that end the job, as opposed to those that cost one record (see quarantine.py)."""


class Error(Exception):
    """What faceveil raises about options, inputs and surroundings; other errors are bugs, or wrong arguments."""


class AccessError(Error):
    """An input, the output or another place in storage cannot be reached, read or written."""


class ModelError(Error):
    """A model cannot be built, loaded or run."""


class OutputError(Error):
    """The output holds another job's data, or another job is writing it now."""


class AccountingError(Error):
    """The totals do not balance: an input was lost or counted twice."""


class OwnOutputError(AccessError):
    """The job's own output lies, or would lie, where it looks for inputs."""


class OutOfMemoryError(Error):
    """Memory ran out, which is no record's fault."""


class MemoryPressureError(OutOfMemoryError):
    """Memory ran out while several records were worked on: a new process, which knows of it, may go on."""


class WorkerDiedError(Error):
    """A process of this job's has died; another run is careful where it died."""
