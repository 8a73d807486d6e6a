"""Files beside images that are copied as they are: texts with labels, once it is sure that none holds a picture."""

from __future__ import annotations

from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import Row, Status
from faceveil.transforms.formats.embedded import examine
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.shard.read import HoldsRecords, Source, read_file
from faceveil.transforms.shard.record import Outcome


def copy_file(source: Source, max_bytes: int) -> Outcome:
    """What becomes of a file that is no image.

    Args:
        source: the file.
        max_bytes: of larger ones none is copied.

    Raises:
        Quarantine: it cannot be read, or may hold a picture, such as the photo that LabelMe puts into its JSON.
        AccessError: as ``load``.
    """
    try:
        data = read_file(source, max_bytes)
    except HoldsRecords:
        raise Quarantine(Reason.EMBEDDED_IMAGE, "it holds records, in spite of its name") from None
    if picture := examine([data]).picture:
        raise Quarantine(Reason.EMBEDDED_IMAGE, f"--copy_others copies no file that may hold a picture ({picture})")
    return Outcome(Row(source.key, Status.COPIED, None, None, None, Faces.none()), data)
