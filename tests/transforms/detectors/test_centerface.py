from pathlib import Path

import numpy as np
import onnx
import pytest

from faceveil.transforms.detectors.centerface import SIDE_MULTIPLE, STRIDE, build_detector
from faceveil.transforms.detectors.engine import load_detector
from faceveil.transforms.models.frameworks import load_openvino


@pytest.mark.parametrize(("height", "width"), [(512, 512), (SIDE_MULTIPLE, 160), (320, 96)])
def test_saved_model_equals_the_published_onnx_graph(
    centerface: str, centerface_onnx: Path, astronaut: np.ndarray, height: int, width: int
) -> None:
    image = astronaut[:height, :width]
    core = load_openvino().Core()
    reference = core.read_model(centerface_onnx)
    reference.reshape([1, 3, height, width])
    published = core.compile_model(reference, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    maps = published([image.transpose(2, 0, 1)[None].astype(np.float32)])
    heatmap, log_size, offset, landmarks = (maps[i][0].astype(np.float64) for i in range(4))

    (found,) = load_detector(centerface, "openvino", "float32").run(image[None])

    rows, columns = np.divmod(np.arange(heatmap.size), width // STRIDE)
    centre = (np.stack([rows, columns]) + 0.5 + offset.reshape(2, -1)) * STRIDE
    size = np.exp(log_size.reshape(2, -1)) * STRIDE
    extent = np.array([height, width])[:, None]
    boxes = np.concatenate([np.clip(centre - size / 2, 0, extent), np.clip(centre + size / 2, 0, extent)])
    points = landmarks.reshape(5, 2, -1) * size + centre - size / 2
    np.testing.assert_allclose(found.scores, heatmap.ravel(), atol=1e-5)
    np.testing.assert_allclose(found.boxes * np.tile(extent.ravel(), 2), boxes.T, atol=0.02)
    assert found.keypoints is not None
    likely = found.scores > 0.01  # elsewhere the landmarks mean nothing and grow large
    np.testing.assert_allclose((found.keypoints * extent.ravel())[likely], points.transpose(2, 0, 1)[likely], atol=0.02)


def test_only_centerface_is_built(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["x"])], "other", [value], [value])
    onnx.save(onnx.helper.make_model(graph), str(tmp_path / "other.onnx"))
    with pytest.raises(ValueError, match="not CenterFace's graph"):
        build_detector(tmp_path / "other.onnx", tmp_path / "model")
    assert not (tmp_path / "model").exists()
