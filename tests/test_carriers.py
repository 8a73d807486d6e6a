"""Whatever a parser skips, nothing that was hidden there gets out."""

from __future__ import annotations

import pytest
import tensorflow as tf

from faceveil.transforms.codecs import decode_for_detection, encode_pixels, probe, strip_metadata
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.limits import Limits
from faceveil.transforms.quarantine import Quarantine
from faceveil.transforms.shard.read import Source, load
from tests.carriers import EXAMPLE_CARRIERS, carriers, example_shows_payload, holds_marker
from tests.fuzz import sound_images

IMAGES = sound_images()[:16]


@pytest.mark.parametrize(("ending", "data"), IMAGES, ids=[f"{n}-{ending}" for n, (ending, _) in enumerate(IMAGES)])
def test_no_place_of_an_image_file_carries_a_payload(ending: str, data: bytes) -> None:
    laden = 0
    for name, place in carriers(ending).items():
        carrier = place(data)
        laden += holds_marker(carrier)
        try:
            info = probe(carrier)
            preview = decode_for_detection(carrier, info, 4096)
            written = [strip_metadata(carrier, info)]
            if preview.pixels:
                written.append(encode_pixels(preview.pixels, carrier, info))
        except Quarantine:
            continue
        for output in written:
            assert not holds_marker(output), name
    assert laden > 1


@pytest.mark.parametrize("name", EXAMPLE_CARRIERS)
def test_no_place_of_an_example_carries_a_payload(name: str) -> None:
    feature = {"image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[IMAGES[0][1]]))}
    record = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
    laden = EXAMPLE_CARRIERS[name](record)
    assert holds_marker(laden)
    assert not example_shows_payload(laden)
    example = load(Source("a#0", "a", laden, 0), FeatureRoles(), Limits().max_image_bytes)[1]
    assert example
    written = example.with_features({"label": [1]})
    assert not holds_marker(written)
    assert tf.train.Example.FromString(written).features.feature["label"].int64_list.value == [1]
