import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from benchmarks.synthetic_identities import write_identities


def test_each_person_has_photos_that_differ(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "faces.tar", "w") as archive:
        for name in ("1.jpg", "0.jpg", "2.jpg"):
            file = io.BytesIO()
            portrait = Image.fromarray(data.astronaut()).crop((160, 40, 288, 168)).rotate(90 * int(name[0]))
            portrait.save(file, "JPEG", quality=95)
            entry = tarfile.TarInfo(name)
            entry.size = file.tell()
            file.seek(0)
            archive.addfile(entry, file)
    for output in ("one", "again"):
        write_identities(tmp_path / "faces.tar", tmp_path / output, identities=2, photos=3, seed=0)
    photos = sorted((tmp_path / "one").rglob("*.jpg"))
    assert [str(photo.relative_to(tmp_path / "one")) for photo in photos] == [
        f"0000{person}/{number}.jpg" for person in range(2) for number in range(3)
    ]
    assert [photo.read_bytes() for photo in photos] == [
        photo.read_bytes() for photo in sorted((tmp_path / "again").rglob("*.jpg"))
    ]
    images = [np.asarray(Image.open(photo)).astype(int) for photo in photos]
    assert len({image.shape for image in images}) == 1
    assert all(np.abs(images[0] - image).mean() > 3 for image in images[1:])
