"""Planning an update: a file that is known stays in its shard, and new ones get shards of their own.

Which files a shard has is told by its stamp in the audit trail, and how many shards there are by the job's description.
Both are there at any time, so an update that was killed is planned again to the same shards, with nothing noted
between: files that no stamp knows belong to the shards that are still to be made.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace

from faceveil.transforms.errors import OutputError
from faceveil.transforms.formats.audit import Stamp, read_stamp
from faceveil.transforms.formats.kinds import Kind, holds_records
from faceveil.transforms.formats.layout import OutputLayout, mirrored_name
from faceveil.transforms.inputs.match import InputFile, add_digests
from faceveil.transforms.inputs.parts import PART_BYTES, count_parts, find_parts, max_parts, part_digest
from faceveil.transforms.inputs.plan import MAX_IMAGES, SHARD_BYTES, ShardPlan, shard_of, sorted_and_distinct
from faceveil.transforms.inputs.shard_layout import Addition, Layout, SplitLayout, series_name, shard_name
from faceveil.transforms.shard.changes import Changes, FileVersion, compare_files, shared_keys
from faceveil.transforms.shard.contents import digest_of_file
from faceveil.transforms.shard.image_shard import listed_files
from faceveil.transforms.shard.resume import is_finished
from faceveil.transforms.shard.shard_format import SHARD_FORMATS
from faceveil.transforms.storage.base import REQUESTS_AT_ONCE

_LOGGER = logging.getLogger(__name__)
# How much more than its usual share an unfinished shard takes of files that have come since.
_SLACK = 2

_Group = tuple[str, bool]
"""A split, and whether it is about files of records."""


@dataclass(frozen=True)
class Update:
    """The shards of an output that takes in what its inputs are now.

    Attributes:
        layout: all shards, those that are added included.
        plans: one for each.
        changes: what there is to take in.
    """

    layout: dict[str, SplitLayout]
    plans: tuple[ShardPlan, ...]
    changes: Changes


@dataclass(frozen=True)
class UpdateOptions:
    """How an update is planned.

    Attributes:
        complete: whether the output is, so that all its shards have to be there.
        same_inputs: whether the inputs are those that an unfinished job has begun with.
        retry_quarantined: whether shards with quarantined records are made again.
        shard_bytes: of images, or of a file of records, that fill a new shard; None for as many as are usual.
        content_key: of digests of files, see ``content_digest``.
        max_image_bytes: of larger image files nothing is written.
    """

    complete: bool
    same_inputs: bool = False
    retry_quarantined: bool = False
    shard_bytes: int | None = None
    content_key: bytes = b""
    max_image_bytes: int = 2**63


@dataclass
class _Shard:
    """A shard, what is known of it, and the files that it is to have; of a file of records one part of several."""

    split: str
    addition: int
    index: int
    count: int
    of_images: bool
    stamp: Stamp | None = None
    files: list[InputFile] = field(default_factory=list)
    nbytes: int = 0
    part: tuple[int, int] = (0, 1)
    listed: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return shard_name(series_name(self.split, self.addition), self.index, self.count)

    @property
    def key(self) -> str | None:
        """Of the file of records that it was made of."""
        return self.stamp.files[0].key if self.stamp and self.stamp.files else None

    def add(self, file: InputFile) -> None:
        self.files.append(file)
        self.nbytes += file.size


def plan_update(files: Iterable[InputFile], before: Layout, output: OutputLayout, options: UpdateOptions) -> Update:
    """Plans all shards of an output anew, by what its audit trail says and its inputs are now.

    Holds the names of all inputs at once. What has another time, but the same size, is read, to see whether it has the
    content that it had.

    Args:
        files: the inputs, as they were listed.
        before: the shards that there are, or were to be.
        output: where they lie.
        options: how.

    Raises:
        OutputError: the audit trail is not that of a complete output.
        AccessError: storage cannot be reached, or a file not be read.
    """
    return _Planner(before, output, options).plan(list(files))


class _Planner:
    """Plans one update."""

    def __init__(self, before: Layout, output: OutputLayout, options: UpdateOptions) -> None:
        self._before, self._output, self._options = before, output, options
        self._format = SHARD_FORMATS[output.format]
        self._shards = [shard for split, sizes in before.items() for shard in _shards_of(split, sizes)]
        self._digests: dict[str, str] = {}
        self._same: defaultdict[_Group, set[FileVersion]] = defaultdict(set)
        self._shared: dict[str, frozenset[str]] = {}

    def plan(self, files: list[InputFile]) -> Update:
        self._digests = {file.path: file.digest for file in files}
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            list(pool.map(self._read, self._shards))
        self._check_stamps()
        groups: defaultdict[_Group, list[InputFile]] = defaultdict(list)
        for file in files:
            groups[file.split, holds_records(file.kind)].append(file)
        layout = {}
        counts = Counter(asdict(Changes()))
        for split in dict.fromkeys((*self._before, *(file.split for file in files))):
            mine = [shard for shard in self._shards if shard.split == split]
            of_images = [shard for shard in mine if shard.of_images]
            of_records = [shard for shard in mine if not shard.of_images]
            left = {}
            for is_records, shards, place in (
                (False, of_images, self._place_images),
                (True, of_records, self._place_records),
            ):
                raw = groups[split, is_records]
                distinct = sorted_and_distinct(raw)
                told = [file for shard in shards if shard.stamp for file in shard.stamp.files]
                shared = shared_keys(raw, distinct, told)
                same, found = compare_files(distinct, told, shared, self._digest_of)
                counts.update(asdict(found))
                self._same[split, is_records] = same
                self._shared[split] = shared
                left[is_records] = place(distinct, shards)
            layout[split] = self._with_addition(split, left[False], left[True])
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            plans = list(pool.map(self._plan_of, self._shards))
        return Update(layout, tuple(self._with_parts(plans)), Changes(**counts))

    def _read(self, shard: _Shard) -> None:
        path = self._output.audit_path(shard.name)
        try:
            stamp = read_stamp(path)
        except ValueError as error:
            _LOGGER.warning("%s", error)
            stamp = None
        if stamp and stamp.settings_digest == self._output.settings_digest:
            shard.stamp = stamp
        elif self._format.has_files:
            shard.listed = frozenset(listed_files(self._output.journal_path(shard.name)))

    def _check_stamps(self) -> None:
        missing = [shard.name for shard in self._shards if shard.stamp is None]
        if self._options.complete and missing:
            raise OutputError(
                f"{self._output.directory}: is complete, but {self._output.audit_directory} lacks what the audit trail "
                f"says of {len(missing)} of its shards, such as {missing[0]}; bring it back, name its folder with "
                "--records_output, or use --overwrite"
            )
        for shard in self._shards:
            if shard.stamp and shard.stamp.files and holds_records(shard.stamp.kind) == shard.of_images:
                raise OutputError(f"{self._output.directory}: was made by an earlier version; use --overwrite")

    def _digest_of(self, file: InputFile) -> str:
        return digest_of_file(file, self._options.content_key, self._options.max_image_bytes)

    def _unchanged(self, shard: _Shard) -> frozenset[str]:
        """The keys of the files that a shard has and will have, and that hold what they held when it was made."""
        same = self._same[shard.split, not shard.of_images]
        told = shard.stamp.files if shard.stamp else ()
        before = {file.key for file in told if file[:3] in same}
        return frozenset(before & {file.key for file in shard.files})

    def _place_images(self, files: Iterable[InputFile], shards: Sequence[_Shard]) -> list[InputFile]:
        """Puts image files into their shards; those that are left are new."""
        homes: dict[str, _Shard] = {}
        # Files whose keys were others' are new: shards are known by sums, which could be equal. So are those of a key
        # that two shards have, as numbered ones may by chance.
        moved = set()
        for shard in shards:
            for told in shard.stamp.files if shard.stamp else ():
                other = homes.setdefault(told.key, shard) is not shard
                if other or (told.key in self._shared[shard.split] and told[:3] not in self._same[shard.split, False]):
                    moved.add(told.key)
        series = list(_by_addition(shards).values())
        left = []
        for file in files:
            home = None if file.key in moved else homes.get(file.key)
            home = home or self._unfinished(file, series)
            if home:
                home.add(file)
            else:
                left.append(file)
        return left

    def _unfinished(self, file: InputFile, series: Iterable[Sequence[_Shard]]) -> _Shard | None:
        """The shard, still to be made, that a file belongs to of which no stamp knows."""
        for shards in series:
            shard = shards[shard_of(file.place, len(shards))]
            # An attempt that was publishing has listed its files; no other may be taken for one of them.
            is_taken = not shard.listed or mirrored_name(file.key, file.path) in shard.listed
            if shard.stamp is None and is_taken and not self._is_full(shard):
                return shard
        return None

    def _is_full(self, shard: _Shard) -> bool:
        if self._options.same_inputs or shard.listed:
            return False
        most = _SLACK * (self._options.shard_bytes or SHARD_BYTES)
        return len(shard.files) >= _SLACK * MAX_IMAGES or shard.nbytes >= most

    def _place_records(self, files: Iterable[InputFile], shards: Sequence[_Shard]) -> list[InputFile]:
        """Puts files of records into their shards, as many as each had; those that are left are new."""
        homes: defaultdict[str, list[_Shard]] = defaultdict(list)
        for shard in shards:
            if shard.key is not None:
                homes[shard.key].append(shard)
        whole = {key: mine for key, mine in homes.items() if mine[0].stamp and len(mine) == mine[0].stamp.parts}
        free = {
            addition: [shard for shard in some if shard.stamp is None or (shard.key and shard.key not in whole)]
            for addition, some in _by_addition(shards).items()
        }
        left = []
        for file in files:
            mine = whole.get(file.key, [])
            if not (mine and self._may_stay(file, mine)):
                mine = self._free_shards(file, free)
            for number, shard in enumerate(mine):
                shard.files, shard.part = [file], (number, len(mine))
            if not mine:
                left.append(file)
        return left

    def _may_stay(self, file: InputFile, shards: Sequence[_Shard]) -> bool:
        """Whether a file of records can be made into the shards that it was."""
        stamp = shards[0].stamp
        is_same = all(self._same_as_before(file, shard) for shard in shards)
        if is_same or stamp is None:
            return is_same
        if stamp.kind != file.kind or file.key in self._shared[file.split]:
            return False
        return len(shards) == 1 or next(max_parts([file])) >= len(shards)

    def _same_as_before(self, file: InputFile, shard: _Shard) -> bool:
        told = shard.stamp.files if shard.stamp else ()
        return any(each[:3] in self._same[file.split, True] for each in told)

    def _free_shards(self, file: InputFile, free: Mapping[int, list[_Shard]]) -> list[_Shard]:
        for addition, shards in free.items():
            parts = self._parts_of(file, addition)
            if len(shards) >= parts:
                taken = shards[:parts]
                del shards[:parts]
                return taken
        return []

    def _parts_of(self, file: InputFile, addition: int) -> int:
        part_bytes = self._options.shard_bytes or PART_BYTES[0]
        if not addition:
            laid_out = self._before[file.split].part_bytes
            if laid_out is None:
                return 1
            part_bytes = laid_out
        return count_parts(file.size, part_bytes, next(max_parts([file]))) if file.size > part_bytes else 1

    def _with_addition(self, split: str, images: list[InputFile], records: list[InputFile]) -> SplitLayout:
        """The layout of a split, with new shards for new files."""
        part_bytes = next((sizes.part_bytes for sizes in self._before.values()), None)
        before = self._before.get(split, SplitLayout(0, 0, part_bytes))
        if not images and not records:
            return before
        filled = -(-sum(file.size for file in images) // (self._options.shard_bytes or SHARD_BYTES))
        image_shards = min(len(images), max(1, filled, -(-len(images) // MAX_IMAGES)))
        addition = len(before.added) + 1
        parts = [self._parts_of(file, addition) for file in records]
        sizes = Addition(image_shards, sum(parts))
        new = [_Shard(split, addition, n, sizes.shards, n < image_shards) for n in range(sizes.shards)]
        self._shards += new
        for file in images:
            new[shard_of(file.place, image_shards)].add(file)
        following = iter(new[image_shards:])
        for file, count in zip(records, parts, strict=True):
            for number in range(count):
                shard = next(following)
                shard.files, shard.part = [file], (number, count)
        return replace(before, added=(*before.added, sizes))

    def _plan_of(self, shard: _Shard) -> ShardPlan:
        files = tuple(sorted(shard.files, key=lambda file: file.key))
        digest = add_digests(self._digests[file.path] for file in files)
        kind: Kind = "image" if shard.of_images else files[0].kind if files else "tfrecord"
        number, count = shard.part
        if count > 1:
            digest = part_digest(digest, number, count)
        numbers = shard.split, shard.index, shard.count
        unchanged = self._unchanged(shard)
        plan = ShardPlan(*numbers, kind, files, digest, addition=shard.addition, unchanged=unchanged)
        again = self._options.retry_quarantined and shard.stamp and shard.stamp.result.quarantined
        if shard.stamp and not again and is_finished(shard.stamp, plan, self._output):
            return replace(plan, files=(), unchanged=None, finished=True)
        return plan

    def _with_parts(self, plans: Sequence[ShardPlan]) -> Iterator[ShardPlan]:
        """The same plans, each with the part of a large file that it is about."""
        divided: dict[str, tuple[InputFile, int]] = {}
        for plan, shard in zip(plans, self._shards, strict=True):
            if shard.part[1] > 1 and not plan.finished:
                divided[plan.files[0].path] = plan.files[0], shard.part[1]
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            found = dict(zip(divided, pool.map(lambda given: find_parts(*given), divided.values()), strict=True))
        for plan, shard in zip(plans, self._shards, strict=True):
            parts = found[plan.files[0].path] if shard.part[1] > 1 and not plan.finished else None
            yield replace(plan, part=parts[shard.part[0]]) if parts else plan


def _shards_of(split: str, sizes: SplitLayout) -> Iterator[_Shard]:
    for addition, some in enumerate((sizes, *sizes.added)):
        for index in range(some.shards):
            yield _Shard(split, addition, index, some.shards, index < some.image_shards)


def _by_addition(shards: Iterable[_Shard]) -> dict[int, list[_Shard]]:
    found: dict[int, list[_Shard]] = {}
    for shard in shards:
        found.setdefault(shard.addition, []).append(shard)
    return found
