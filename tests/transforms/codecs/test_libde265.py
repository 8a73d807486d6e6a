"""libde265 tells whether coded data lie one behind the other, and where it is missing, nothing passes."""

import ctypes.util
import importlib.metadata
from collections.abc import Callable, Iterator

import pytest

from faceveil.transforms.codecs import hevc, libde265
from faceveil.transforms.codecs.accounting import Unaccounted
from tests.transforms.codecs.hidden import cleaned, cover
from tests.transforms.codecs.test_hidden_streams_isobmff import heic, parts

pytest.importorskip("pillow_heif")


@pytest.fixture
def _no_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(importlib.metadata, "files", lambda _: None)
    monkeypatch.setattr(ctypes.util, "find_library", lambda _: None)
    libde265._library.cache_clear()
    yield
    libde265._library.cache_clear()


def units() -> list[bytes]:
    """A picture of three rows of blocks, with its parameter sets."""
    boxes, _, data = parts(cleaned(heic(cover())))
    return hevc.in_parts(data, next(box[8:] for box in boxes if box[4:8] == b"hvcC"))


def test_a_picture_that_an_encoder_wrote_is_contiguous() -> None:
    assert libde265.is_contiguous(units())


@pytest.mark.parametrize(
    "change",
    [lambda unit: unit[:-8], lambda unit: unit[: len(unit) // 2] + unit[len(unit) // 2 + 1 :], lambda unit: unit[:3]],
    ids=["its end is missing", "a byte is missing", "all is missing"],
)
def test_a_picture_that_lacks_bytes_is_not(change: Callable[[bytes], bytes]) -> None:
    *parameters, picture = units()
    assert not libde265.is_contiguous([*parameters, change(picture)])


def test_two_pictures_are_not_one() -> None:
    *parameters, picture = units()
    assert not libde265.is_contiguous([*parameters, picture, picture])


def test_units_without_a_picture_are_none() -> None:
    assert not libde265.is_contiguous(units()[:-1])
    assert not libde265.is_contiguous([])


@pytest.mark.usefixtures("_no_library")
def test_without_the_library_nothing_is_known() -> None:
    with pytest.raises(Unaccounted, match="libde265"):
        libde265.is_contiguous([])
    assert cleaned(heic(cover())) == b""
