import hashlib
from pathlib import Path

import pytest

from faceveil.pipeline.models_command import run_models_command
from faceveil.transforms.detectors.models import KNOWN_MODELS, describe_models, known_model, resolve_model
from faceveil.transforms.errors import ModelError


@pytest.mark.parametrize("name", KNOWN_MODELS)
def test_what_a_known_model_is_made_of_comes_with_the_package(name: str) -> None:
    model = KNOWN_MODELS[name]
    assert hashlib.sha256(model.weights.read_bytes()).hexdigest() == model.sha256
    for file in filter(None, (model.ranges, model.trained_on)):
        assert file.is_file()
    card = model.card.read_text()
    assert "WIDER FACE" in card
    # The text of a licence itself, not only its name.
    assert ("MIT License" in card and "Permission is hereby granted" in card) or (
        "3-clause BSD License" in card and "Redistribution and use in source and binary forms" in card
    )


def test_a_model_is_described_before_and_after_it_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEVEIL_CACHE", str(tmp_path))
    assert [(info.model.name, info.path, info.size) for info in describe_models()] == [
        (name, None, None) for name in sorted(KNOWN_MODELS)
    ]
    built = resolve_model("centerface")
    assert built == known_model("centerface") == tmp_path / "centerface-09189dea" / "saved_model"
    info = describe_models()[0]
    assert info.path == built
    assert info.size is not None
    assert info.size > 7_000_000


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"neither a SavedModel .* nor a known model \(centerface, "):
        resolve_model(str(tmp_path))
    with pytest.raises(ModelError, match="no model is called retinaface"):
        known_model("retinaface")


def test_no_folder_is_named_that_is_gone_when_the_command_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from argparse import Namespace

    (tmp_path / "file").touch()
    monkeypatch.setenv("FACEVEIL_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(ModelError, match="centerface: the cache cannot be written; FACEVEIL_CACHE names another"):
        run_models_command(Namespace(action="path", name="centerface"))
