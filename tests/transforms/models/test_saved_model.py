import shutil
from pathlib import Path

import pytest

from faceveil.transforms.detectors.models import KNOWN_MODELS
from faceveil.transforms.errors import ModelError
from faceveil.transforms.models.saved_model import model_digest


def test_digest_of_a_changed_copy_is_another(centerface: str, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(centerface, tmp_path / "copy"))
    assert model_digest(copy) == model_digest(centerface) == KNOWN_MODELS["centerface"].sha256
    (copy / "saved_model.pb").write_bytes(b"something else")
    changed = model_digest(copy)
    assert changed != KNOWN_MODELS["centerface"].sha256
    (copy / "variables" / "more").write_bytes(b"")
    assert model_digest(copy) != changed


def test_a_folder_without_a_model_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no SavedModel"):
        model_digest(tmp_path)
