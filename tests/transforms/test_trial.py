from dataclasses import replace
from pathlib import Path

import pytest

from faceveil.transforms.errors import AccessError
from faceveil.transforms.read import Source
from faceveil.transforms.trial import Trial, attempt
from tests.transforms.test_anonymize_shard import config, output


def test_only_who_dies_leaves_a_mark(tmp_path: Path) -> None:
    with attempt(output(tmp_path), "data-00000-of-00001") as died:
        assert not died
        [marker] = (tmp_path / "records").iterdir()
    with pytest.raises(KeyError), attempt(output(tmp_path), "data-00000-of-00001"):
        raise KeyError
    assert not marker.exists()
    marker.touch()
    with attempt(output(tmp_path), "data-00000-of-00001") as died:
        assert died
    assert not marker.exists()


def test_records_good_and_bad_pass_a_trial(photos: Path, centerface: str) -> None:
    with Trial(config(centerface)) as trial:
        for path in (photos / "people" / "portrait.jpeg", photos / "gone.jpg"):
            trial.run(Source(path.name, str(path), None, 0))


def test_a_file_that_was_changed_passes_a_trial_for_it_ends_the_job(photos: Path, centerface: str) -> None:
    path = photos / "people" / "portrait.jpeg"
    with Trial(config(centerface)) as trial:
        trial.run(Source(path.name, str(path), None, 0, version="1.0", size=1))
        trial.run(Source(path.name, str(path), None, 0))


def test_a_trial_that_cannot_be_held_is_no_record_s_fault(centerface: str, tmp_path: Path) -> None:
    broken = config(centerface)
    broken = replace(broken, detector=replace(broken.detector, model_dirs=(str(tmp_path / "gone"),)))
    with Trial(broken) as trial, pytest.raises(AccessError, match="was ended by exit status 1 as it started"):
        trial.run(Source("a.jpg", "a.jpg", None, 0))
