"""Anonymizes the faces in image data sets, as one Apache Beam job."""

__version__ = "0.1.0"
