"""Anonymizes real photographs, as files and as TFRecords, and draws before/after pictures."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import skimage
from PIL import Image, ImageDraw

from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.tfrecord import frame, read_records

OUTPUT = Path("demo-output")
PHOTOS = Path(skimage.__file__).parent / "data"
# NASA's portrait of Eileen Collins, a photographer, a launch pad, a cat and a cup: free photos of scikit-image.
NAMES = ("astronaut.png", "camera.png", "rocket.jpg", "chelsea.png", "coffee.png")


def main() -> int:
    """Runs the demonstration and returns the job's exit status."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    _write_inputs()
    command = [
        *(sys.executable, "-m", "faceveil", "run"),
        *("--input", f"files={OUTPUT}/input/**/*.*g", f"records={OUTPUT}/input/*.tfrecord"),
        *("--output", f"{OUTPUT}/anonymized"),
    ]
    print("$ faceveil", " ".join(repr(part) if "*" in part else part for part in command[3:]), flush=True)
    status = subprocess.run(command, check=False).returncode  # noqa: S603  our own command
    if status:
        return status
    manifest = json.loads((OUTPUT / "anonymized" / "manifest.json").read_text())
    named = [pair for shard in manifest["shards"] for pair in _before_and_after(OUTPUT / "anonymized" / shard["file"])]
    # Shards have an order of their own. The portraits in records have no name, and come last.
    pairs = [pair for _, pair in sorted(named, key=lambda each: (*NAMES, "").index(each[0]))]
    _draw(pairs[:1]).save(OUTPUT / "before-after.png", optimize=True)
    _draw(pairs).save(OUTPUT / "all.png")
    print(
        f"Before and after, side by side: {OUTPUT}/before-after.png, and all photos in {OUTPUT}/all.png\n"
        f"The manifest: {OUTPUT}/anonymized/manifest.json"
    )
    return 0


def _write_inputs() -> None:
    photos = OUTPUT / "input" / "photos"
    photos.mkdir(parents=True)
    for name in NAMES:
        shutil.copy(PHOTOS / name, photos / name)
    portrait = Image.open(PHOTOS / "astronaut.png").crop((40, 0, 440, 400))
    records = []
    for turned, quality in ((0, 90), (8, 75)):
        encoded = io.BytesIO()
        portrait.rotate(turned).save(encoded, "jpeg", quality=quality)
        features = {"image/encoded": encoded.getvalue(), "image/class/text": b"astronaut", "label": [turned]}
        records.append(frame(Example.empty().with_features(features)))
    (OUTPUT / "input" / "portraits.tfrecord").write_bytes(b"".join(records))


def _before_and_after(shard: Path) -> Iterator[tuple[str, tuple[Image.Image, Image.Image]]]:
    """By the photo's name."""
    with shard.open("rb") as file:
        for number, record in enumerate(read_records(file)):
            example = Example.parse(record)
            [after] = example.bytes_values("image/encoded") or [b""]
            name = (example.bytes_values("image/filename") or [b""])[0].decode()
            yield Path(name).name, (_before(name, number), Image.open(io.BytesIO(after)))


def _before(name: str, number: int) -> Image.Image:
    if name:
        return Image.open(OUTPUT / "input" / name.removeprefix("files/"))
    with (OUTPUT / "input" / "portraits.tfrecord").open("rb") as file:
        record = list(read_records(file))[number]
    [before] = Example.parse(record).bytes_values("image/encoded") or [b""]
    return Image.open(io.BytesIO(before))


def _draw(pairs: list[tuple[Image.Image, Image.Image]], height: int = 320) -> Image.Image:
    rows = []
    for pair in pairs:
        scaled = [side.convert("RGB").resize((side.width * height // side.height, height)) for side in pair]
        row = Image.new("RGB", (scaled[0].width * 2 + 4, height), "white")
        row.paste(scaled[0], (0, 0))
        row.paste(scaled[1], (scaled[0].width + 4, 0))
        ImageDraw.Draw(row).text((6, height - 14), "before", fill="white", stroke_width=1, stroke_fill="black")
        ImageDraw.Draw(row).text(
            (scaled[0].width + 10, height - 14), "after", fill="white", stroke_width=1, stroke_fill="black"
        )
        rows.append(row)
    picture = Image.new("RGB", (max(row.width for row in rows), (height + 8) * len(rows)), "white")
    for number, row in enumerate(rows):
        picture.paste(row, (0, number * (height + 8)))
    return picture


if __name__ == "__main__":
    sys.exit(main())
