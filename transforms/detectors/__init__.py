"""Face detectors: the known models, the engines that run a SavedModel, and the detections they yield."""
