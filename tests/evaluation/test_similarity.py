import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from faceveil.evaluation.similarity import correlations, found_first, found_right, measures_of_likeness

ELEMENTS = st.sampled_from([0.0, 0.25, 0.5, 1.0])


def test_what_is_all_alike_is_found_by_chance() -> None:
    alike = np.zeros((500, 3))
    assert found_first(alike, alike) == pytest.approx(1 / 500)
    different = np.random.default_rng(0).random((500, 3))
    assert found_first(different, different) == 1


@given(st_numpy.arrays(np.float64, (5, 4), elements=ELEMENTS))
def test_over_all_columns_one_is_right(similarities: np.ndarray) -> None:
    total = sum(found_right(similarities, np.full(5, column)) for column in range(4))
    np.testing.assert_allclose(total, 1)
    own = found_right(similarities, similarities.argmax(axis=1))
    assert (own == 1 / (similarities == similarities.max(axis=1, keepdims=True)).sum(axis=1)).all()


def test_correlation_does_not_mind_brightness_and_contrast() -> None:
    random = np.random.default_rng(0)
    vectors = random.random((6, 20))
    np.testing.assert_allclose(np.diag(correlations(vectors, 3 * vectors + 7)), 1)
    np.testing.assert_allclose(correlations(vectors, vectors), np.corrcoef(vectors))


def test_every_measure_finds_what_is_there() -> None:
    random = np.random.default_rng(0)
    known = random.random((20, 30))
    seen = known + 0.05 * random.standard_normal(known.shape)
    for alike in measures_of_likeness(seen, known).values():
        assert (alike.argmax(axis=1) == np.arange(20)).all()
