import pytest

from faceveil.transforms.formats.features import FeatureRoles


def roles_of(strict: bool) -> FeatureRoles:
    return FeatureRoles(images=("image", "left"), dropped=("thumb",), allowed=("depth",), strict=strict)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("name", "left_out", "left_out_if_strict", "keeps_checksums", "keeps_checksums_if_strict"),
    [
        ("image", False, False, True, True),
        ("left", False, False, True, True),
        ("thumb", True, True, True, True),
        ("depth", False, False, True, False),
        ("label", False, True, False, True),
    ],
)
def test_what_becomes_of_a_feature_follows_from_its_role(
    name: str,
    strict: bool,
    left_out: bool,
    left_out_if_strict: bool,
    keeps_checksums: bool,
    keeps_checksums_if_strict: bool,
) -> None:
    roles = roles_of(strict)
    assert roles.is_left_out(name) == (left_out_if_strict if strict else left_out)
    assert roles.keeps_checksums(name) == (keeps_checksums_if_strict if strict else keeps_checksums)


def test_face_features_go_by_the_names_of_their_images() -> None:
    roles = roles_of(strict=False)
    assert list(roles.prefixes()) == ["image", "left"]
    assert roles.written()[:3] == ["image", "left", "image/face/count"]
    assert "left/face/bbox/xmin" in roles.written()
    assert len(roles.written()) == 2 + 2 * 7
