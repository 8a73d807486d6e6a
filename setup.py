"""What Dataflow workers install with ``--setup_file``; the metadata is in pyproject.toml."""

from setuptools import setup

setup()
