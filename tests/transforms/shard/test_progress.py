from pathlib import Path

from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import Row, Status
from faceveil.transforms.inputs.match import InputFile
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.shard.progress import Progress, ProgressFile, read_progress


def plan(*sizes: int) -> ShardPlan:
    """A shard of files of these sizes."""
    files = tuple(InputFile("data", str(size), str(size), size, "0.0", "image") for size in sizes)
    return ShardPlan("data", 0, 1, "image", files)


def test_adds_up_all_workers_also_those_that_are_gone(tmp_path: Path) -> None:
    for _ in range(3):
        worker = ProgressFile(str(tmp_path))
        worker.count(Row("a", Status.NO_FACES, None, 1, 1, Faces.none()))
        worker.count(Row("b", Status.QUARANTINED, "empty", None, None, Faces.none()))
        worker.finished(plan(10))
        worker.resumed(records=5, faces=7, quarantined=1, nbytes=50)
        del worker
    progress = read_progress(str(tmp_path))
    assert progress == Progress(records=21, faces=21, quarantined=6, resumed=15, bytes=180, resumed_bytes=150)
    assert progress.made == 6


def test_without_a_directory_nothing_is_written(tmp_path: Path) -> None:
    ProgressFile(None).resumed(records=5, faces=0, quarantined=0)
    assert read_progress(str(tmp_path)) == Progress()
