"""The prototype: the kernels that the design was first measured with, on a thread for every core.

OpenCV decodes, CenterFace's SavedModel computes in bfloat16 with OpenVINO on a single view, OpenCV suppresses overlaps,
blurs faces and encodes the whole JPEG again. No Beam, no metadata, no quarantine, no audit trail.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.arrays import FloatArray
from faceveil.transforms.detectors.models import resolve_model
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import Row, Status
from faceveil.transforms.formats.tfrecord import frame
from faceveil.transforms.models.frameworks import load_openvino
from faceveil.transforms.runtime.pool import usable_cores
from faceveil.transforms.shard.progress import ProgressFile

_SCORE, _IOU, _JPEG_QUALITY = 0.21, 0.3, 90


def main(folder: str, output: str, detect_size: int) -> None:
    """Blurs the faces in the photos of a folder into one file of JPEGs.

    Args:
        folder: of the photos.
        output: the file.
        detect_size: long side in pixels at which the detector sees them.
    """
    cv2.setNumThreads(1)
    threads = usable_cores()
    requests = _requests(threads)
    progress = ProgressFile(tempfile.mkdtemp(prefix="faceveil-progress-"))
    paths: Iterator[Path] = iter(sorted(Path(folder).iterdir()))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                path = next(paths, None)
            if path is None:
                return
            image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
            assert image is not None
            boxes = _detect(requests, image, detect_size)
            for box in boxes:
                _blur(image, box)
            _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            framed = frame(encoded.tobytes())
            with lock:
                file.write(framed)
                progress.count(Row(path.name, Status.ANONYMIZED, None, image.shape[1], image.shape[0], Faces.none()))

    with open(output, "wb") as file, ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work) for _ in range(threads)]:
            done.result()


def _requests(threads: int) -> SimpleQueue[Any]:
    core = load_openvino().Core()
    model = core.read_model(str(resolve_model("centerface")))
    model.reshape([1, -1, -1, 3])
    has_bfloat16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if has_bfloat16 else "f32",
        "NUM_STREAMS": threads,
        "INFERENCE_NUM_THREADS": threads,
    }
    compiled = core.compile_model(model, "CPU", settings)
    requests: SimpleQueue[Any] = SimpleQueue()
    for _ in range(threads):
        requests.put(compiled.create_infer_request())
    # Two threads at once in the first call of a process can block each other for good (OpenVINO 2026.4's bindings).
    compiled.create_infer_request().infer([np.zeros((1, 32, 32, 3), np.uint8)])
    return requests


def _detect(requests: SimpleQueue[Any], image: NDArray[np.uint8], detect_size: int) -> FloatArray:
    """The boxes ``[N, 4]`` of the faces: y0, x0, y1, x1, 0 to 1."""
    scale = detect_size / max(image.shape[:2]) / 32
    height, width = (max(1, round(side * scale)) * 32 for side in image.shape[:2])
    shown = cv2.cvtColor(cv2.resize(image, (width, height)), cv2.COLOR_BGR2RGB)
    request = requests.get()
    try:
        results = request.infer([shown[np.newaxis]])
        found = {name: value for port, value in results.items() for name in port.names}
    finally:
        requests.put(request)
    boxes, scores = found["detection_boxes"][0], found["detection_scores"][0]
    good = scores >= _SCORE
    boxes, scores = boxes[good], scores[good]
    y0, x0, y1, x1 = boxes.T
    rectangles = np.stack([x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height], axis=1)
    kept = cv2.dnn.NMSBoxes(rectangles.tolist(), scores.tolist(), _SCORE, _IOU)
    chosen: FloatArray = boxes[np.asarray(kept, np.intp)]
    return chosen


def _blur(image: NDArray[np.uint8], box: FloatArray) -> None:
    height, width = image.shape[:2]
    y0, x0, y1, x1 = np.clip(box, 0, 1) * (height, width, height, width)
    top, left, bottom, right = int(y0), int(x0), int(np.ceil(y1)), int(np.ceil(x1))
    region = image[top:bottom, left:right]
    if not region.size:
        return
    kernel = max(3, max(region.shape[:2]) // 3 | 1)
    mask = np.zeros(region.shape[:2], np.uint8)
    centre = region.shape[1] // 2, region.shape[0] // 2
    axes = (region.shape[1] + 1) // 2, (region.shape[0] + 1) // 2
    cv2.ellipse(mask, centre, axes, 0, 0, 360, 255, -1)
    cv2.copyTo(cv2.GaussianBlur(region, (kernel, kernel), 0), mask, region)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
