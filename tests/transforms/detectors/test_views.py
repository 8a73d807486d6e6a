import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.detectors.candidates import Candidates
from faceveil.transforms.detectors.quality import QUALITIES, Quality
from faceveil.transforms.detectors.views import Window, faces_in_image, plan_windows, side_needed, take_view

sides = st.integers(1, 12_000)
qualities = st.sampled_from(
    [*QUALITIES.values(), Quality(320, (1.0, 2.0), reduce_at_most=1.5), Quality(320, turned=1.25)]
)


@given(sides, sides, st.integers(32, 2048))
def test_view_sides_are_the_nearest_multiples(width: int, height: int, detect_size: int) -> None:
    [window] = plan_windows(width, height, Quality(detect_size))
    assert window.width % 32 == window.height % 32 == 0
    scale = detect_size / max(width, height)
    for side, wanted in ((window.width, width * scale), (window.height, height * scale)):
        assert abs(side - wanted) <= 16 or (side == 32 and wanted < 16)


@given(sides, sides, qualities)
def test_the_whole_image_comes_first_and_windows_lie_within(width: int, height: int, quality: Quality) -> None:
    windows = list(plan_windows(width, height, quality))
    assert (windows[0].x0, windows[0].y0, windows[0].x1, windows[0].y1) == (0, 0, width, height)
    for window in windows:
        assert 0 <= window.x0 < window.x1 <= width
        assert 0 <= window.y0 < window.y1 <= height
    assert len(set(windows)) == len(windows)


@given(sides, sides, st.integers(64, 1024), st.floats(1, 4), st.data())
def test_tiles_reduce_by_no_more_and_show_every_small_face_whole(
    width: int, height: int, detect_size: int, factor: float, data: st.DataObject
) -> None:
    windows = list(plan_windows(width, height, Quality(detect_size, reduce_at_most=factor)))
    face = int(detect_size * factor * 0.2)
    x = data.draw(st.integers(0, max(0, width - face)))
    y = data.draw(st.integers(0, max(0, height - face)))
    assert any(
        window.x0 <= x
        and window.y0 <= y
        and window.x1 >= min(x + face, width)
        and window.y1 >= min(y + face, height)
        and (window.x1 - window.x0) / (window.width + 16) <= factor * 1.01
        and (window.y1 - window.y0) / (window.height + 16) <= factor * 1.01
        for window in windows
    )


@given(sides, sides, qualities)
def test_no_view_needs_more_than_the_side_that_is_asked_for(width: int, height: int, quality: Quality) -> None:
    needed = side_needed(width, height, quality)
    for window in plan_windows(width, height, quality):
        scale = max(window.width / (window.x1 - window.x0), window.height / (window.y1 - window.y0))
        if min(window.width, window.height) > 32:
            assert scale * max(width, height) <= needed + 32 * max(width, height) / min(
                window.x1 - window.x0, window.y1 - window.y0
            )


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_boxes_and_keypoints_come_back_to_where_they_were_seen(mirrored: bool, turns: int) -> None:
    # One bright spot, its eyes two single pixels, in a window of a larger image.
    image = np.zeros((400, 600, 3), np.uint8)
    image[100:140, 300:330] = 50
    image[110, 305], image[112, 320] = 150, 250
    view = take_view(image, Window(200, 80, 456, 272, 256, 192, mirrored, turns), 600, 400)
    assert view.pixels.shape == ((256, 192, 3) if turns % 2 else (192, 256, 3))
    height, width = view.pixels.shape[:2]
    rows, columns = np.nonzero(view.pixels[..., 0])
    box = [rows.min() / height, columns.min() / width, (rows.max() + 1) / height, (columns.max() + 1) / width]
    eyes = [np.argwhere(view.pixels[..., 0] == value)[0] for value in (150, 250)]
    if mirrored:
        eyes.reverse()  # a detector names them by the side they are on
    points = [[(y + 0.5) / height, (x + 0.5) / width] for y, x in eyes]
    candidates = Candidates(np.array([box], np.float32), np.ones(1, np.float32), None, np.array([points], np.float32))
    faces = faces_in_image(candidates, view)
    np.testing.assert_allclose(faces.boxes, [[300, 100, 330, 140]], atol=1e-3)
    assert faces.keypoints is not None
    np.testing.assert_allclose(faces.keypoints[0], [[305.5, 110.5], [320.5, 112.5]], atol=1e-3)


def test_a_single_keypoint_of_a_mirrored_view_stays_one() -> None:
    view = take_view(np.zeros((100, 100, 3), np.uint8), Window(0, 0, 100, 100, 96, 96, mirrored=True), 100, 100)
    nose = np.array([[[0.5, 0.25]]], np.float32)
    found = faces_in_image(
        Candidates(np.array([[0.4, 0.2, 0.6, 0.4]], np.float32), np.ones(1, np.float32), None, nose), view
    )
    np.testing.assert_allclose(found.boxes, [[60, 40, 80, 60]], atol=1e-3)
    assert found.keypoints is not None
    np.testing.assert_allclose(found.keypoints, [[[75, 50]]], atol=1e-3)


def test_boxes_that_a_tile_cuts_are_left_to_other_views() -> None:
    boxes = np.array([[0.2, 0.0, 0.4, 0.2], [0.2, 0.3, 0.4, 0.5], [0.8, 0.4, 1.0, 0.6]], np.float32)
    candidates = Candidates(boxes, np.ones(3, np.float32))
    image = np.zeros((640, 640, 3), np.uint8)
    inner = take_view(image, Window(320, 0, 640, 320, 320, 320), 640, 640)
    assert len(faces_in_image(candidates, inner)) == 1
    whole = take_view(image, Window(0, 0, 640, 640, 320, 320), 640, 640)
    assert len(faces_in_image(candidates, whole)) == 3


def test_a_reduced_decode_shows_the_same() -> None:
    image = np.repeat(np.repeat(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4, 80, 0), 80, 1)
    image = np.stack([image] * 3, axis=-1)
    window = Window(160, 80, 480, 400, 160, 160)
    whole, reduced = (take_view(part, window, 640, 640).pixels for part in (image, image[::2, ::2]))
    assert np.abs(whole.astype(int) - reduced).max() <= 8


def test_the_small_view_is_for_large_faces_only() -> None:
    whole, small = plan_windows(1000, 800, Quality(1024, smaller=(256,)))
    assert (whole.min_face, small.width) == (0, 256)
    boxes = np.array([[0.1, 0.1, 0.2, 0.2], [0.1, 0.1, 0.3, 0.2]], np.float32)
    candidates = Candidates(boxes, np.ones(2, np.float32))
    image = np.zeros((800, 1000, 3), np.uint8)
    assert len(faces_in_image(candidates, take_view(image, whole, 1000, 800))) == 2
    [box] = faces_in_image(candidates, take_view(image, small, 1000, 800)).boxes
    np.testing.assert_allclose(box, [100, 80, 200, 240], atol=0.1)


def test_a_larger_scale_is_for_faces_that_are_small_at_the_first() -> None:
    first, larger = plan_windows(1000, 800, Quality(1024, scales=(1.0, 1.75)))
    assert (first.width, larger.width) == (1024, 1792)
    boxes = np.array([[0.1, 0.1, 0.12, 0.13], [0.1, 0.1, 0.12, 0.14]], np.float32)  # 31 and 41 px wide in the first
    candidates = Candidates(boxes, np.ones(2, np.float32))
    image = np.zeros((800, 1000, 3), np.uint8)
    assert len(faces_in_image(candidates, take_view(image, first, 1000, 800))) == 2
    [box] = faces_in_image(candidates, take_view(image, larger, 1000, 800)).boxes
    np.testing.assert_allclose(box, [100, 80, 130, 96], atol=0.1)


def test_tiles_are_for_faces_of_any_size() -> None:
    windows = list(plan_windows(6000, 4000, QUALITIES["thorough"]))
    tiles = [window for window in windows if window.x1 - window.x0 < 6000]
    assert tiles
    assert all((tile.min_face, tile.max_face) == (0, np.inf) for tile in tiles)


def test_turned_views_are_as_large_as_their_share_of_the_detector_s_size() -> None:
    windows = list(plan_windows(4000, 2000, Quality(1024, turned=0.5)))
    assert [(w.turns, w.width, w.height) for w in windows] == [(0, 1024, 512), *((n, 512, 256) for n in (1, 2, 3))]
