from faceveil.transforms.generators.embedded import embedded_digest


def test_the_embedded_generator_is_changed_on_purpose_only() -> None:
    """With another generator no finished output of `--method synthesize` can be resumed."""
    assert embedded_digest() == "95f83cae97c438906a8a0453d254caeea7e0c1219d7faabd7f168489849ce1d7"
