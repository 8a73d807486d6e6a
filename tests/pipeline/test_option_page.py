import pytest

from faceveil.pipeline.option_page import with_tables
from faceveil.pipeline.options import FIELDS
from tests.conftest import ROOT


def test_the_page_of_options_says_what_is_declared() -> None:
    page = (ROOT / "docs" / "options.md").read_text()
    assert with_tables(page) == page, "run `make docs`"
    for name in FIELDS:
        assert page.count(f"| `--{name}` |") == 1


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no"):
        with_tables("# Options\n")
