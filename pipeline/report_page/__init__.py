"""The page about a finished job that a person reads: figures, plots, samples."""
