"""Training a face detector of one's own: annotated images in, a SavedModel for ``--model`` out."""
