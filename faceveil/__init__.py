"""Anonymizes the faces in image data sets, as one Apache Beam job."""
