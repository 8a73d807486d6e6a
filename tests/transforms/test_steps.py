from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.codecs import ImageInfo
from faceveil.transforms.detectors.views import View, Window
from faceveil.transforms.faces import Faces
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.read import Loaded
from faceveil.transforms.records import Status
from faceveil.transforms.steps import (
    Decoded,
    DecodedImage,
    Failed,
    batch_like_shaped,
    detect_batch,
    finish,
    guarded,
    in_order,
)


def decoded(key: str, width: int = 32, image_width: int = 32) -> Decoded:
    info = ImageInfo("jpeg", image_width, 32, 1, "RGB")
    window = Window(0, 0, image_width, 32, width, 32)
    view = View(np.zeros((32, width, 3), np.uint8), window, image_width, 32)
    return Decoded(Loaded(key, (b"",), None), (DecodedImage(info, ((view,),), None),))


class FlakyDetector:
    """Fails as real engines do: the whole batch, for one of its images."""

    def detect(self, images: Sequence[Sequence[View]]) -> list[Faces]:
        if any(view.image_width == 666 for views in images for view in views):
            raise RuntimeError("a batch of its own")
        return [Faces.none() for _ in images]

    def unite(self, shown: Sequence[Faces]) -> Faces:
        return shown[0]


@given(st.lists(st.sampled_from([32, 64, 96, None]), max_size=40), st.integers(1, 5))
def test_batches_are_like_shaped_and_the_order_comes_back(widths: list[int | None], size: int) -> None:
    failure = Quarantine(Reason.EMPTY)
    items = [decoded(str(n), w) if w else Failed(str(n), failure) for n, w in enumerate(widths)]
    batches = list(batch_like_shaped(iter(items), size))
    for batch in batches:
        assert len(batch.items) <= size
        shapes = {
            item.images[0].renderings[0][0].pixels.shape if isinstance(item, Decoded) else 0 for item in batch.items
        }
        assert len(shapes) <= 1
    detected = [detect_batch(batch, FlakyDetector()) for batch in batches]  # type: ignore[arg-type]
    keys = [item.key if isinstance(item, Failed) else item.record.key for item in in_order(detected)]
    assert keys == [str(n) for n in range(len(items))]


def test_of_a_batch_that_fails_only_the_culprit_is_held_back() -> None:
    [batch] = batch_like_shaped([decoded("a"), decoded("b", image_width=666), decoded("c")], 3)
    items = detect_batch(batch, FlakyDetector()).items  # type: ignore[arg-type]
    assert [isinstance(item, Failed) for item in items] == [False, True, False]
    assert isinstance(items[1], Failed)
    assert str(items[1].error) == "detection_failed: RuntimeError: a batch of its own"


def test_whatever_a_step_raises_becomes_a_failure() -> None:
    def step(item: str) -> str:
        if item == "quarantine":
            raise Quarantine(Reason.TRUNCATED, "short")
        return item + str(1 // len(item))

    safe = guarded(step, str, Reason.CORRUPT_IMAGE)
    assert safe("a") == "a1"
    failures = [safe("quarantine"), safe("")]
    assert [str(f.error) for f in failures if isinstance(f, Failed)] == [
        "truncated: short",
        "corrupt_image: ZeroDivisionError: integer division or modulo by zero",
    ]
    assert safe(failures[0]) is failures[0]


def test_a_failure_is_written_by_name_and_reason_alone() -> None:
    finished = finish(Failed("a.jpg", Quarantine(Reason.EMPTY)))
    assert finished.serialized is None
    assert (finished.row.key, finished.row.status, finished.row.reason) == (
        "a.jpg",
        Status.QUARANTINED,
        "empty",
    )
