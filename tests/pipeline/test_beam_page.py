import json
import re
import shutil
from pathlib import Path

import pytest
import tensorflow as tf

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "beam.md"


@pytest.mark.usefixtures("default_detector")
def test_the_examples_of_the_page_run_as_they_stand(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name in ("people/portrait.jpeg", "things/rocket.jpg"):
        shutil.copy(photos / name, Path("photos", Path(name).stem + ".jpg"))
    Path("photos", "broken.JPG").write_bytes(Path("photos", "portrait.jpg").read_bytes()[:1000])
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 5
    names: dict[str, object] = {"__name__": "__main__"}
    whole, images, examples, inference, metrics = (_printed(block, names, capfd) for block in blocks)

    totals = json.loads(Path("anonymized", "manifest.json").read_text())["totals"]
    assert (totals["anonymized"], totals["no_faces"], totals["quarantined"]) == (1, 1, 1)
    assert whole == ""
    assert sorted(path.name for path in Path("pixelated").iterdir()) == ["portrait.jpg", "rocket.jpg"]
    assert images == ""
    assert examples == ""
    [shard] = Path("blackened").iterdir()
    records = [tf.train.Example.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(shard))]
    features = [record.features.feature for record in records]
    assert len(features) == 2
    assert not any("image/filename" in each for each in features)
    assert all(tf.io.decode_jpeg(each["image/encoded"].bytes_list.value[0]).shape[2] == 3 for each in features)
    assert re.search(r"^portrait.jpg \[\[.*\]\] \[0\.\d+\]$", inference, re.MULTILINE)
    assert re.search(r"^rocket.jpg \[\] \[\]$", inference, re.MULTILINE)
    assert "anonymized 1\n" in metrics
    assert {line.split()[0] for line in metrics.splitlines() if "Distribution" in line} == {
        *(f"{step}_milliseconds" for step in ("read", "decode", "detect", "anonymize")),
        "shard_seconds",
    }


def _printed(block: str, names: dict[str, object], capfd: pytest.CaptureFixture[str]) -> str:
    exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102  our own
    return capfd.readouterr().out
