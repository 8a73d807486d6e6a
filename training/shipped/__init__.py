"""Making what the package ships: run by the developers, never by a job."""
