"""How long listing takes before a job: of many globs on disk, and of a bucket whose answers take their time.

    python -m benchmarks.listing globs 250 500 1000 5000
    python -m benchmarks.listing files 200000
    python -m benchmarks.listing bucket --folders 200 --objects 20 --page 10 --milliseconds 50

The first two list small files on disk, each glob in a folder of its own or all files in one. The last lists an emulator
of a store. To measure the code of another working tree: `PYTHONPATH=../another-commit python benchmarks/listing.py …`.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from faceveil.transforms import storage
from faceveil.transforms.inputs.match import Input
from faceveil.transforms.inputs.summary import summarize_inputs
from tests.faulty_proxy import FaultyProxy
from tests.object_stores import STORES


def main() -> None:
    """Measures, and prints a line for each number."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind in ("globs", "files"):
        kinds.add_parser(kind).add_argument("numbers", type=int, nargs="+")
    bucket = kinds.add_parser("bucket")
    bucket.add_argument("--store", choices=sorted(STORES), default="s3")
    bucket.add_argument("--folders", type=int, default=200)
    bucket.add_argument("--objects", type=int, default=20)
    bucket.add_argument("--page", type=int, default=10)
    bucket.add_argument("--milliseconds", type=int, default=50)
    given = parser.parse_args()
    if given.kind == "bucket":
        list_bucket(given)
        return
    for number in given.numbers:
        with tempfile.TemporaryDirectory(prefix="faceveil-listing-") as name:
            inputs = write_globs(Path(name), number) if given.kind == "globs" else write_files(Path(name), number)
            print(f"{number} {given.kind}: {in_seconds(inputs)}", flush=True)


def write_globs(folder: Path, number: int) -> list[Input]:
    """So many folders with a file, and a glob for each."""
    for place in range(number):
        write_files(folder / f"{place:05}", 1)
    return [Input("data", f"{folder}/{place:05}/*.jpg") for place in range(number)]


def write_files(folder: Path, number: int) -> list[Input]:
    """So many files, and one glob for all."""
    folder.mkdir(exist_ok=True)
    for place in range(number):
        (folder / f"{place:06}.jpg").write_bytes(b"x")
    return [Input("data", f"{folder}/*.jpg")]


def in_seconds(inputs: Sequence[Input]) -> str:
    """How long it takes to list them, as a launcher does."""
    began, cpu = time.perf_counter(), time.process_time()
    summarize_inputs(inputs, "elsewhere")
    return f"{time.perf_counter() - began:.2f} s, of CPU {time.process_time() - cpu:.2f} s"


def list_bucket(given: argparse.Namespace) -> None:
    """Lists folders of a bucket through a proxy that counts requests and delays them."""
    logging.disable(logging.WARNING)
    with (
        STORES[given.store]() as server,
        FaultyProxy(server.address, page_size=given.page, delay=given.milliseconds / 1000) as proxy,
    ):
        server.make_bucket("bench")
        for folder in range(given.folders):
            for number in range(given.objects):
                server.put("bench", f"in/{folder:04}/{number:04}.jpg", b"x")
        os.environ.update(server.environment(proxy.address))
        storage.stat(f"{given.store}://bench/in")  # connects
        for pattern in ("**", "*/00*.jpg"):
            before = proxy.requests
            took = in_seconds([Input("data", f"{given.store}://bench/in/{pattern}")])
            print(f"{pattern}: {proxy.requests - before} requests, {took}", flush=True)


if __name__ == "__main__":
    main()
