"""Errors that end the job, as opposed to those that cost one record (see quarantine.py)."""


class AccessError(Exception):
    """An input, the output or another place in storage cannot be reached, read or written."""


class ModelError(Exception):
    """A model cannot be built, loaded or run."""


class OutputError(Exception):
    """The output holds another job's data, or another job is writing it now."""


class AccountingError(Exception):
    """The totals do not balance: an input was lost or counted twice."""


class OwnOutputError(AccessError):
    """The job's own output lies, or would lie, where it looks for inputs."""
