import numpy as np
import onnx
import skimage.data

from faceveil.training.shipped.calibrate import calibrate
from faceveil.transforms.detectors.centerface import read_weights
from faceveil.transforms.detectors.models import KNOWN_MODELS
from faceveil.transforms.detectors.quantise import read_ranges


def test_calibration_measures_what_the_package_ships() -> None:
    graph = onnx.load(str(KNOWN_MODELS["centerface"].weights)).graph
    photo = skimage.data.astronaut()
    measured = calibrate(graph, read_weights(graph), [photo, photo[:256]])
    shipped_file = KNOWN_MODELS["centerface-int8"].ranges
    assert shipped_file
    shipped = read_ranges(shipped_file)
    assert list(measured) == list(shipped)
    for name, (low, high) in measured.items():
        assert low <= 0 < np.min(high)
        assert np.shape(high) == np.shape(shipped[name][1])
        # One photo's range is like that of many, wherever there is one for the whole tensor.
        assert np.ndim(high) or 0.4 < high / shipped[name][1] < 2.5
