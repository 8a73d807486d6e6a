from pathlib import Path

import pytest

from faceveil.evaluation.annotation_files import list_images, read_annotations
from faceveil.evaluation.annotations import AnnotationError
from faceveil.transforms.errors import AccessError
from tests.conftest import SKIMAGE_DATA


def voc(name: str) -> str:
    return f"<annotation><filename>{name}</filename></annotation>"


def test_a_folder_is_all_of_its_xml_files(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b.XML").write_text(voc("b.jpg"))
    (tmp_path / "a.xml").write_text(voc("a.jpg"))
    (tmp_path / "classes.txt").write_text("face")
    assert [image.file for image in read_annotations(str(tmp_path))] == ["a.jpg", "b.jpg"]
    (tmp_path / "c.xml").write_text(voc("a.jpg"))
    with pytest.raises(AnnotationError, match=r"names a\.jpg twice"):
        read_annotations(str(tmp_path))
    (tmp_path / "c.xml").write_text("<annotation")
    with pytest.raises(AnnotationError, match=r"c\.xml: is no XML"):
        read_annotations(str(tmp_path))


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match=r"gone\.jsonl: cannot be read"):
        read_annotations(str(tmp_path / "gone.jsonl"))
    with pytest.raises(AccessError, match="cannot be read"):
        read_annotations(str(tmp_path))


def test_images_are_listed_by_their_paths_below_the_folder() -> None:
    assert "astronaut.png" in list_images(str(SKIMAGE_DATA))
    with pytest.raises(AccessError, match=r"--images .*nothing.*: matches no image"):
        list_images(f"{SKIMAGE_DATA}/*nothing*")
