"""Two sets that can be compared: blocks of one shape, phases of one numbering."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.micrographs.files import side_text
from engine.micrographs.read import find_files, read_label_file

MOST_LABELS = 32
"""More distinct values than this are grey levels."""
LEAST_SIDE = 8
"""Voxels on a side of a block; below, curves and slices say nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockSet:
    """Equal blocks of one material."""

    blocks: NDArray[np.uint8]
    """[N, side, side] images or [N, side, side, side] volumes; phase indices 0 .. K-1."""
    phases: tuple[str, ...]
    """K names."""
    files: int
    """Number of files that the blocks were cut from."""

    def __len__(self) -> int:
        return len(self.blocks)

    @property
    def dimensions(self) -> int:
        return self.blocks.ndim - 1

    @property
    def side(self) -> int:
        return int(self.blocks.shape[1])

    def slices(self) -> NDArray[np.uint8]:
        """[N', side, side]: images as they are; of a volume the middle slice across each axis (far enough apart to be
        nearly independent)."""
        return middle_slices(self.blocks)

    def owners(self) -> NDArray[np.int64]:
        """Number of the block of each of the `slices`."""
        return np.repeat(np.arange(len(self)), 1 if self.dimensions == 2 else 3)

    def dense_slices(self, most: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Images as they are; of volumes slices across all axes, every one if there are at most `most`, else at equal
        steps. And the number of the block of each."""
        if self.dimensions == 2:
            return self.blocks, self.owners()
        count = min(self.side, max(1, most // (3 * len(self))))
        at = ((np.arange(count) + 0.5) * self.side / count).astype(np.int64)
        planes = [np.moveaxis(np.take(self.blocks, at, axis), axis, 1) for axis in (1, 2, 3)]
        stacked = np.stack(planes, axis=1).reshape(-1, self.side, self.side)
        return stacked, np.repeat(np.arange(len(self)), 3 * len(at))


def read_sets(
    ours: Sequence[str | Path],
    truth: Sequence[str | Path],
    *,
    phases: Sequence[str] | None = None,
    block: int | None = None,
    training: Sequence[str | Path] | None = None,
) -> tuple[BlockSet, BlockSet, BlockSet | None]:
    """Read the set to judge, the set to judge it by and, if given, what it was trained on.

    Volumes are compared with images by their middle slices. Everything is cut into disjoint blocks of one size, the
    largest that every file holds unless told; what does not fill a block is left out.

    Args:
        ours, truth, training: files, folders or patterns of labelled images or volumes.
        phases: names of the labels in ascending order; default: the labels themselves.
        block: side of the blocks.

    Raises:
        InputError: files that cannot be used, labels in `ours` or `training` that `truth` has not, a block that some
            file does not hold, or fewer than two blocks in `ours` or in `truth`.
    """
    named = {"the set": list(ours), "--against": list(truth)} | ({"--train": list(training)} if training else {})
    read = {name: _read(paths) for name, paths in named.items()}
    flat = any(array.ndim == 2 for arrays in read.values() for _, array in arrays)
    sides = {name: [(path, min(array.shape)) for path, array in arrays] for name, arrays in read.items()}
    least_path, least = min((each for found in sides.values() for each in found), key=lambda pair: pair[1])
    side = least if block is None else block
    if side < LEAST_SIDE or side > least:
        raise InputError(
            f"block of {side}: must lie within {LEAST_SIDE} .. {least}, the shortest side of all files ({least_path})"
        )
    labels = np.unique(np.concatenate([np.unique(array) for _, array in read["--against"]]))
    names = tuple(str(label) for label in labels) if phases is None else tuple(name.strip() for name in phases)
    if len(names) != len(labels) or len(set(names)) != len(names):
        listed = ", ".join(map(str, labels))
        raise InputError(
            f"--against: {len(labels)} labels ({listed}) but {len(names)} phases named: {', '.join(names)}"
        )
    sets = [_blocks(arrays, labels, names, side, flat) for arrays in read.values()]
    for name, found in zip(named, sets, strict=True):
        if len(found) < 2 and name != "--train":
            files = ", ".join(map(str, named[name]))
            raise InputError(
                f"{name} ({files}): holds {len(found)} block of {side} voxels a side; a spread needs at least 2: give "
                "more or larger files, or a smaller --block"
            )
    return sets[0], sets[1], sets[2] if training else None


def cut_blocks(array: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Disjoint squares or cubes [N, side, ...] of an image or volume, from its first corner on, x fastest."""
    counts = [n // side for n in array.shape]
    kept = array[tuple(slice(count * side) for count in counts)]
    split = kept.reshape([n for count in counts for n in (count, side)])
    first = [*range(0, 2 * array.ndim, 2), *range(1, 2 * array.ndim, 2)]
    return split.transpose(first).reshape(-1, *(side,) * array.ndim)


def middle_slices(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[N, side, side, side] -> [3 N, side, side], the axes z, y, x of each block in turn; images pass as they are."""
    if blocks.ndim == 3:
        return blocks
    middle = blocks.shape[1] // 2
    planes = [np.take(blocks, middle, axis) for axis in (1, 2, 3)]
    return np.stack(planes, axis=1).reshape(-1, *blocks.shape[2:])


def _read(paths: Sequence[str | Path]) -> list[tuple[Path, NDArray[np.uint8]]]:
    return [(path, read_label_file(path, most=MOST_LABELS)[0]) for path in find_files(paths)]


def _blocks(
    arrays: list[tuple[Path, NDArray[np.uint8]]],
    labels: NDArray[np.uint8],
    names: tuple[str, ...],
    side: int,
    flat: bool,
) -> BlockSet:
    index = np.full(256, 255, dtype=np.uint8)
    index[labels] = np.arange(len(labels))
    cut = []
    for path, array in arrays:
        numbered = index[array]
        if (numbered == 255).any():
            strange = ", ".join(map(str, np.unique(array[numbered == 255])))
            raise InputError(
                f"{path} ({side_text(array.shape)}): label {strange} is not in --against, which has "
                f"{', '.join(map(str, labels))}; renumber the labels"
            )
        blocks = cut_blocks(numbered, side)
        cut.append(middle_slices(blocks) if flat else blocks)
    return BlockSet(blocks=np.concatenate(cut), phases=names, files=len(arrays))
