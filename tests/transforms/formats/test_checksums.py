import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.formats.checksums import renewed_checksums
from faceveil.transforms.formats.example import Example

OLD, NEW = b"the original", b"the anonymized one"


def example(**features: list[bytes] | list[int]) -> Example:
    return Example.parse(Example.empty().with_features(features))


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
def test_each_form_stays_what_it_is(algorithm: str) -> None:
    old, new = (hashlib.new(algorithm, data) for data in (OLD, NEW))
    found = renewed_checksums(
        example(
            raw=[old.digest()],
            lower=[old.hexdigest().encode()],
            several=[b"x", old.hexdigest().upper().encode(), b"y"],
        ),
        (),
        [(OLD, NEW)],
    )
    assert found == {
        "raw": [new.digest()],
        "lower": [new.hexdigest().encode()],
        "several": [b"x", new.hexdigest().upper().encode(), b"y"],
    }


def test_of_several_images_each_has_its_own() -> None:
    sums = example(a=[hashlib.sha256(b"left").digest()], b=[hashlib.sha256(b"right").digest()])
    found = renewed_checksums(sums, (), [(b"left", b"left"), (b"right", b"new")])
    assert found == {"b": [hashlib.sha256(b"new").digest()]}


def test_what_is_not_to_be_touched_is_not() -> None:
    sums = example(a=[hashlib.sha256(OLD).digest()])
    assert renewed_checksums(sums, {"a"}, [(OLD, NEW)]) == {}
    assert renewed_checksums(sums, (), [(OLD, OLD)]) == {}


@given(st.lists(st.one_of(st.binary(min_size=16, max_size=16), st.binary(max_size=64)), min_size=1, max_size=4))
def test_other_values_are_left_alone(values: list[bytes]) -> None:
    assert renewed_checksums(example(a=values, b=[1]), (), [(OLD, NEW)]) == {}
