"""What a file is by its name, where that tells; else its first bytes do, see `containers`."""

from __future__ import annotations

import errno
import os
import re
from functools import lru_cache
from typing import Literal

from faceveil.transforms.errors import AccessError

Kind = Literal["image", "tfrecord", "parquet", "tar", "other"]
"""What a file holds: one image, or many records in some container; others are copied where the user wants that."""


def holds_records(kind: Kind) -> bool:
    """Whether files of this kind hold many records each, and so are planned one by one."""
    return kind not in ("image", "other")


def _endings(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


CONVERTED_ENDINGS = _endings(".dcm .dicom .exr .rgbe .jp2 .j2k .j2c .jpc .jpf .jpx")
"""Of images that are written in another format. What ends in .hdr may be another header, and is looked at."""
IMAGE_ENDINGS = CONVERTED_ENDINGS | _endings(
    ".jpg .jpeg .jpe .jfif .pjpeg .jpg_large .mpo .jps .insp .png .apng .webp .bmp .dib .tif .tiff .gif .avif .heic",
    ".heif .hif .ppm .pgm .pbm .pnm",
)
# As people name them: x.tfrecord, x.tfrecords.gz, x.tfrec, TFDS' x-train.tfrecord-00000-of-00001, and the bare
# train-00000-of-01024 of TensorFlow's ImageNet scripts. Of all other names the first bytes tell.
_TFRECORD_NAME = re.compile(r"(\.tfrec(ords?)?(-\d+-of-\d+)?|-\d{5}-of-\d{5})(\.gz|\.gzip)?$", re.IGNORECASE)

_DATA_ENDINGS = _endings(
    # Text, code and settings.
    ".json .jsonl .ndjson .geojson .txt .text .csv .tsv .xml .yaml .yml .toml .ini .cfg .conf .md .rst .log .html",
    ".htm .css .js .ts .py .pyc .ipynb .sh .bat .sql .pbtxt .prototxt .proto .names .labels .tex .bib .svg",
    # What lies beside photos: settings, positions, catalogues.
    ".xmp .aae .pp3 .dop .gpx .kml .lrcat .db",
    # Arrays, tables, models.
    ".npy .npz .mat .pkl .pickle .pt .pth .ckpt .safetensors .onnx .pb .tflite .h5 .hdf5 .arrow .feather",
    ".avro .orc .lmdb .mdb .sqlite .sqlite3 .xls .xlsx",
    # Sound, video, documents, archives.
    ".mp3 .wav .flac .m4a .aac .ogg .mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .wmv .mts .m2ts .3gp .pdf .doc .docx",
    ".ppt .pptx .odt .zip .7z .rar",
    # Checksums, signatures, links.
    ".crc .md5 .sha1 .sha256 .sha512 .asc .sig .torrent .url .lnk",
)
LABEL_ENDINGS = _endings(".json .jsonl .ndjson .geojson .txt .csv .tsv .xml .yaml .yml .names .labels")
"""Of texts that hold labels: COCO's, YOLO's, Pascal VOC's and others'."""
# Most begin as a TIFF does, whose picture would be a preview.
_RAW_ENDINGS = _endings(
    ".dng .cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .raf .orf .rw2 .rwl .pef .srw .x3f .3fr .fff .iiq .erf .mef .mos",
    ".gpr .kdc .dcr",
)
_UNFINISHED_ENDINGS = _endings(
    ".part .partial .crdownload .download .filepart .aria2 .opdownload .tmp .temp .swp .swo .lock"
)
_SYSTEM_NAMES = frozenset(
    (
        *(".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", ".localized", ".directory", "_success"),
        "_ignored.json",  # of our own audit trails
    )
)
_SYSTEM_FOLDERS = frozenset(
    (
        *("__macosx", ".appledouble", ".appledb", ".spotlight-v100", ".fseventsd", ".temporaryitems"),
        *(".documentrevisions-v100", ".trashes", ".trash", "$recycle.bin", "system volume information"),
        *("lost+found", "@eadir", ".@__thumb", "#recycle", ".dropbox.cache", ".ipynb_checkpoints", "_temporary"),
    )
)
_SYSTEM_NAME_START = re.compile(r"\._|\.#|\.trash-|_started_\d|_committed_\d|events\.out\.tfevents\.", re.IGNORECASE)
CONTAINER_ENDINGS: dict[str, Kind] = {".parquet": "parquet", ".tar": "tar", ".tgz": "tar"}
"""Of files that are looked into, and are still such ones where that fails."""
_SHORT_ENDING = re.compile(r"\.[\w~+-]{1,16}")

SYSTEM = "left behind by a system or program"
UNFINISHED = "unfinished or temporary by its ending"
HIDDEN = "hidden"
RAW = "a camera's raw file, which cannot be written back"
BY_ENDING = "no image or TFRecord by its ending"
BY_CONTENT = "no image or TFRecord by its first bytes"
EMPTY = "empty"
NO_FILE = "no regular file"

NO_ENDING = "no ending"

LOOKED_AT = 4096
"""Bytes of a file that are fetched to find out what it is: signatures lie within the first hundred, and of compressed
TFRecords so many give the first length."""


def kind_of(path: str) -> Kind | None:
    """What a file holds, judged by its name; None where that does not tell.

    Example usage::

        >>> kind_of("a/B.JPG"), kind_of("x.tfrecord-00000-of-00004"), kind_of("part-r-00000")
        ('image', 'tfrecord', None)
    """
    if _ending(path.rpartition("/")[2]) in IMAGE_ENDINGS:
        return "image"
    return "tfrecord" if _TFRECORD_NAME.search(path) else None


def judge_name(path: str) -> tuple[Kind | None, str]:
    """What a file holds, judged by its name, or why it is ignored; neither where its first bytes have to tell.

    Args:
        path: of the file below the fixed part of its glob.

    Example usage::

        >>> judge_name("a/.x.jpg"), judge_name("labels.json"), judge_name("part-r-00000")
        (('image', ''), (None, 'no image or TFRecord by its ending'), (None, ''))
        >>> [judge_name(path)[1] == SYSTEM for path in ("a/.DS_Store", "a/._x.jpg", "__MACOSX/a/x.jpg")]
        [True, True, True]
    """
    folders, _, name = path.rpartition("/")
    in_system, in_hidden = _judge_folders(folders)
    if in_system or is_of_system(name):
        return None, SYSTEM
    kind = kind_of(name)
    if kind:
        return kind, ""
    ending = _ending(name)
    if ending in _UNFINISHED_ENDINGS:
        return None, UNFINISHED
    if ending in _RAW_ENDINGS:
        return None, RAW
    if ending in _DATA_ENDINGS:
        return None, BY_ENDING
    return None, HIDDEN if in_hidden or name.startswith(".") else ""


def may_hold_labels(path: str) -> bool:
    """Whether a file is a text that may hold labels, judged by its name; none that is hidden or a system's.

    Args:
        path: of the file below the fixed part of its glob.

    Example usage::

        >>> [may_hold_labels(path) for path in ("a/x.XML", "a/.x.json", ".cache/x.json", "__MACOSX/x.txt", "x.pdf")]
        [True, False, False, False, False]
    """
    folders, _, name = path.rpartition("/")
    is_hidden = name.startswith(".") or any(_judge_folders(folders)) or is_of_system(name)
    return _ending(name) in LABEL_ENDINGS and not is_hidden


@lru_cache(maxsize=1024)
def _judge_folders(path: str) -> tuple[bool, bool]:
    """Whether one of some folders is a system's, and whether one is hidden."""
    folders = path.split("/")
    return any(map(is_of_system, folders)), any(folder.startswith(".") for folder in folders)


def _ending(name: str) -> str:
    """As by ``os.path.splitext``, in lower case; of a name without folders."""
    place = name.rfind(".")
    return name[place:].lower() if name[:place].strip(".") and place > 0 else ""


def is_of_system(name: str) -> bool:
    """Whether systems and programs leave files or folders of this name behind, which are nobody's data.

    AppleDouble files (``._x.jpg``), folders of thumbnails and trash, markers of Hadoop, TensorBoard's events, which are
    TFRecords but no Examples.
    """
    lower = name.lower()
    return lower in _SYSTEM_NAMES or lower in _SYSTEM_FOLDERS or _SYSTEM_NAME_START.match(name) is not None


def ending_of(path: str) -> str:
    """The ending under which a file is counted that is ignored; ``no ending`` where there is none.

    Example usage::

        >>> ending_of("a/b.JSON"), ending_of("a/.DS_Store"), ending_of("Letter to Dr. Weber")
        ('.json', 'no ending', 'no ending')
    """
    ending = _ending(path.rpartition("/")[2])
    return ending if _SHORT_ENDING.fullmatch(ending) and ending.isascii() else NO_ENDING


def is_known_ending(ending: str) -> bool:
    """Whether an ending is that of a kind of file, and no part of a name."""
    known = (IMAGE_ENDINGS, _DATA_ENDINGS, _RAW_ENDINGS, _UNFINISHED_ENDINGS, CONTAINER_ENDINGS)
    return any(ending in endings for endings in known)


def unreadable(path: str, error: OSError) -> AccessError:
    """The error of a job one of whose inputs cannot be read."""
    if error.errno == errno.ELOOP or (isinstance(error, FileNotFoundError) and os.path.islink(path)):
        return AccessError(
            f"{path}: is a link to nothing, so nobody can tell what it stood for; mend it, remove it, or leave it out "
            "with --exclude"
        )
    return AccessError(
        f"{path}: cannot be read: {error.strerror or error}; give access to it, or leave it out with --exclude"
    )


def bare_name(path: str) -> bytes:
    """The name of a file without its folders and the ending that says what it holds.

    Example usage::

        >>> bare_name("a/anna.jpg"), bare_name("gs://b/anna.tfrecord-00000-of-00004.gz"), bare_name("anna.record")
        (b'anna', b'anna', b'anna')
    """
    name = re.sub(r"\.gz(ip)?$", "", path.rpartition("/")[2], flags=re.IGNORECASE)
    short = _TFRECORD_NAME.sub("", name)
    if short == name:
        short = os.path.splitext(name)[0]
    return os.fsencode(short or name)
