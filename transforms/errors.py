"""Errors that end the job, as opposed to those that cost one record (see quarantine.py)."""


class AccessError(Exception):
    """An input, the output or another place in storage cannot be reached, read or written."""


class ModelError(Exception):
    """A model cannot be built, loaded or run."""


class OutputError(Exception):
    """The output holds another job's data, or another job is writing it now."""


class AccountingError(Exception):
    """The totals do not balance: an input was lost or counted twice."""


class OutOfMemoryError(Exception):
    """Memory ran out, which is no record's fault."""


class MemoryPressureError(OutOfMemoryError):
    """Memory ran out while several records were worked on: a new process, which knows of it, may go on."""


class WorkerDiedError(Exception):
    """A process of this job's has died; another run is careful where it died."""
