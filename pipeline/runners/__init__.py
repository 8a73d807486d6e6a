"""Where a job runs: on this machine, on Dataflow, on clusters."""
