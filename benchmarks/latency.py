"""What it costs when storage takes its time to answer: the rate of making shards with a latency, over the rate without.

    python -m benchmarks.latency [--photos FOLDER] [--count 800] [--shards 2] [--milliseconds 50 200] [--stores gs]

Every request to an emulator of Cloud Storage takes so much longer, and each time that a file on disk is opened. Photos
and one TFRecord file, divided, are read and shards written there. The start of a job and its listing are not counted.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from benchmarks.photos import find_photos
from faceveil.pipeline.detection import detector_config, resolve_models
from faceveil.pipeline.options import JobOptions
from faceveil.transforms import storage
from faceveil.transforms.anonymize_shards import AnonymizeShards
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.formats.tfrecord import frame
from faceveil.transforms.inputs.match import Input, list_inputs
from faceveil.transforms.inputs.plan import ShardKey, ShardPlan, lay_out, pack_files, plan_group, plan_parts
from faceveil.transforms.inputs.summary import summarize_inputs
from faceveil.transforms.shard.worker import Anonymization
from tests.faulty_proxy import FaultyProxy
from tests.object_stores import STORES, Server

_DELAYED = ("open_local", "read_local")


def main() -> None:
    """Prints the medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs (default: WIDER FACE's, else the demo's)")
    parser.add_argument("--count", type=int, default=800)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--milliseconds", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--stores", nargs="+", choices=["disk", "gs"], default=["disk", "gs"])
    given = parser.parse_args()
    seconds = functools.partial(_seconds, _default_config(), given.shards)
    with tempfile.TemporaryDirectory(prefix="faceveil-latency-") as name:
        folder = Path(name)
        write_inputs(given.photos or find_photos(), folder / "in", given.count)
        print("store | input | " + " | ".join(f"{delay} ms" for delay in given.milliseconds))
        for kind in ("photos", "records") if "disk" in given.stores else ():
            _tell("disk", kind, given, functools.partial(_on_disk, folder, kind, seconds))
        if "gs" not in given.stores:
            return
        with STORES["gs"]() as server:
            server.make_bucket("bench")
            server.put_folder(folder / "in", "bench", "in")
            for kind in ("photos", "records"):
                _tell("gs", kind, given, functools.partial(_in_bucket, server, kind, seconds))


def _default_config() -> Anonymization:
    options = JobOptions()
    models = [model.directory for model in resolve_models(options.detector.models)]
    detector = detector_config(options, models, options.score_threshold)
    return Anonymization(detector, options.method, Style(options.geometry), options.features)


def write_inputs(photos: Path, folder: Path, count: int) -> None:
    """So many photos, the same ones again where there are fewer, as files and in one TFRecord file."""
    originals = [path for path in sorted(photos.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg")]
    for kind in ("photos", "records"):
        (folder / kind).mkdir(parents=True)
    with open(folder / "records" / "all.tfrecord", "wb") as records:
        for number in range(count):
            data = originals[number % len(originals)].read_bytes()
            (folder / "photos" / f"{number:06}.jpg").write_bytes(data)
            records.write(frame(Example.empty().with_features({"image/encoded": data})))


def _tell(store: str, kind: str, given: argparse.Namespace, seconds: Callable[[float], float]) -> None:
    delays = [0, *given.milliseconds]
    seconds(0)  # to warm up
    rounds = [[seconds(delay / 1000) for delay in delays] for _ in range(given.repeat)]
    plain, *slowed = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratios = " | ".join(f"{plain / each:.3f}" for each in slowed)
    print(f"{store} | {kind} | {ratios} | without: {given.count / plain:.1f} images/s", flush=True)


def _seconds(config: Anonymization, shards: int, place: str, kind: str) -> float:
    inputs = [Input("data", f"{place}/in/{kind}")]
    plans = _plan(inputs, shards)
    output = OutputLayout(f"{place}/out/{time.monotonic_ns()}", f"{place}/out/{time.monotonic_ns()}/records", "")
    job = AnonymizeShards(config, output)
    job.load()
    began = time.monotonic()
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = pipeline | beam.Create(plans) | job
    return time.monotonic() - began


def _plan(inputs: Sequence[Input], shards: int) -> list[ShardPlan]:
    files = list(list_inputs(inputs, 0))
    shard_bytes = sum(file.size for file in files) // shards + 1
    layout = lay_out(summarize_inputs(inputs, "elsewhere", shard_bytes=shard_bytes), shard_bytes, shards)
    packs: defaultdict[ShardKey, list[bytes]] = defaultdict(list)
    for group, pack in pack_files(files, layout):
        packs[group].append(pack)
    plans: list[ShardPlan] = []
    for grouped in packs.items():
        for plan in plan_group(grouped, layout):
            plans += [plan] if isinstance(plan, ShardPlan) else plan_parts(plan.value)
    return plans


def _on_disk(folder: Path, kind: str, measure: Callable[[str, str], float], delay: float) -> float:
    with _slow_disk(delay):
        return measure(str(folder), kind)


@contextmanager
def _slow_disk(delay: float) -> Iterator[None]:
    plain = {name: getattr(storage, name) for name in _DELAYED}

    def slowed(name: str) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            time.sleep(delay)
            return plain[name](*given)

        return call

    for name in _DELAYED:
        setattr(storage, name, slowed(name))
    try:
        yield
    finally:
        for name, function in plain.items():
            setattr(storage, name, function)


def _in_bucket(server: Server, kind: str, measure: Callable[[str, str], float], delay: float) -> float:
    with FaultyProxy(server.address, delay=delay) as proxy:
        os.environ.update(server.environment(proxy.address))
        storage._connect.cache_clear()
        return measure("gs://bench", kind)


if __name__ == "__main__":
    main()
