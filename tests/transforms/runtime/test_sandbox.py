import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from faceveil.transforms.errors import AccessError, OutOfMemoryError
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.runtime.sandbox import Sandbox
from faceveil.transforms.shard.read import Source
from faceveil.transforms.shard.record import Outcome
from faceveil.transforms.shard.worker import RecordSandbox, record_sandbox
from tests.transforms.runtime.sandboxed import fail, prepare
from tests.transforms.test_anonymize_shards import config


def outcome(sandbox: Sandbox[str, str], item: str) -> str | Reason:
    try:
        return (sandbox.run(item, item) or "nothing").rpartition(" ")[2]
    except Quarantine as error:
        return error.reason


def test_only_what_crashes_or_hangs_is_blamed_of_all_that_is_worked_on_at_once() -> None:
    items = [*(f"wait-{n}" for n in range(8)), "crash", "hang", *(f"wait-{n}" for n in range(8, 16)), "leave", "a", "b"]
    with Sandbox(prepare, 4, 2.0) as sandbox, ThreadPoolExecutor(4) as pool:
        made = dict(zip(items, pool.map(lambda item: outcome(sandbox, item), items), strict=True))
    blamed = {"crash": Reason.CRASHED, "leave": Reason.CRASHED, "hang": Reason.TIMED_OUT}
    assert made == {item: blamed.get(item, item) for item in items}


def test_several_are_worked_on_at_once() -> None:
    with Sandbox(prepare, 4, 30.0) as sandbox, ThreadPoolExecutor(4) as pool:
        spans = [str(made).split()[:2] for made in pool.map(lambda item: sandbox.run(item, item), ["wait"] * 8)]
    begins, ends = sorted(float(span[0]) for span in spans), sorted(float(span[1]) for span in spans)
    assert begins[1] < ends[0]


def test_a_death_is_not_blamed_on_an_item_that_came_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox(prepare, 2, 30.0) as sandbox:
        assert outcome(sandbox, "crash") is Reason.CRASHED
        dead = sandbox._child
        assert dead
        # As when the process dies between the look at it and the asking.
        looks = iter([False])
        monkeypatch.setattr(type(dead), "has_died", property(lambda child: next(looks, child is dead)))
        assert outcome(sandbox, "a") == "a"


def test_a_kill_from_outside_is_no_item_s_fault() -> None:
    with Sandbox(prepare, 2, 30.0) as sandbox:
        for number in range(20):
            process, _, item = str(sandbox.run(str(number), "x")).partition(" ")
            assert item == str(number)
            os.kill(int(process), signal.SIGKILL)


def test_what_kills_its_process_whenever_it_is_tried_may_want_memory() -> None:
    with Sandbox(prepare, 2, 30.0) as sandbox:
        with pytest.raises(OutOfMemoryError, match="killed: the process that tried it was ended by SIGKILL"):
            sandbox.run("killed", "killed")
        assert outcome(sandbox, "a") == "a"


def test_a_bug_is_left_to_the_caller() -> None:
    with Sandbox(prepare, 2, 30.0) as sandbox:
        assert sandbox.run("bug", "bug") is None
        assert outcome(sandbox, "a") == "a"


def test_a_sandbox_that_cannot_be_prepared_is_no_item_s_fault() -> None:
    with (
        Sandbox(fail, 2, 30.0) as sandbox,
        pytest.raises(AccessError, match="was ended by exit status 3 as it started"),
    ):
        sandbox.run("a", "a")


def run(sandbox: RecordSandbox, source: Source) -> Outcome | Source | None:
    return sandbox.run(source, source.key)


def test_records_good_and_bad_come_out_of_a_sandbox(photos: Path, centerface: str) -> None:
    with record_sandbox(config(centerface), 2) as sandbox:
        good = run(sandbox, Source("a.jpg", str(photos / "people" / "portrait.jpeg"), None, 0))
        gone = run(sandbox, Source("gone.jpg", str(photos / "gone.jpg"), None, 0))
    assert isinstance(good, Outcome)
    assert isinstance(gone, Outcome)
    assert (good.row.status, gone.row.reason) == ("anonymized", "unreadable_file")


def test_a_file_that_was_changed_is_left_to_the_caller_for_it_ends_the_job(photos: Path, centerface: str) -> None:
    path = photos / "people" / "portrait.jpeg"
    with record_sandbox(config(centerface), 2) as sandbox:
        assert run(sandbox, Source(path.name, str(path), None, 0, version="1.0", size=1)) is None


def test_a_model_that_is_gone_is_no_record_s_fault(centerface: str, tmp_path: Path) -> None:
    broken = config(centerface)
    broken = replace(broken, detector=replace(broken.detector, model_dirs=(str(tmp_path / "gone"),)))
    with record_sandbox(broken, 2) as sandbox, pytest.raises(AccessError, match="exit status 1 as it started"):
        run(sandbox, Source("a.jpg", "a.jpg", None, 0))


def test_a_decoder_that_the_kernel_kills_is_no_record_s_fault(centerface: str, tmp_path: Path) -> None:
    # As where memory runs out. The other process finds a decoder that kills it.
    killer = (
        "import os, signal, simplejpeg; simplejpeg.decode_jpeg = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)"
    )
    (tmp_path / "sitecustomize.py").write_text(killer)
    photo = tmp_path / "a.jpg"
    Image.new("RGB", (64, 64)).save(photo)
    with pytest.MonkeyPatch.context() as patched, record_sandbox(config(centerface), 2) as sandbox:
        patched.syspath_prepend(str(tmp_path))
        with pytest.raises(OutOfMemoryError, match=r"a\.jpg: the process that tried it was ended by SIGKILL"):
            run(sandbox, Source("a.jpg", str(photo), None, 0))
