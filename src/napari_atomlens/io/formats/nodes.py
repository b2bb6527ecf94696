"""Groups and datasets of HDF5 and of zarr, looked at in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeGuard

import numpy as np

from napari_atomlens.errors import FormatError
from napari_atomlens.image import Image, Pixels

if TYPE_CHECKING:
    import dask.array as da


class _Named(Protocol):
    """What groups and datasets of HDF5 and of zarr have in common."""

    @property
    def name(self) -> str | None:
        """Path in the file."""

    @property
    def attrs(self) -> Mapping[str, object]:
        """What is said of it."""


class Dataset(_Named, Pixels, Protocol):
    """An array of HDF5 or of zarr."""

    @property
    def nbytes(self) -> int:
        """Size in memory."""


class Group(_Named, Protocol):
    """A group of HDF5 or of zarr."""

    def keys(self) -> Iterable[str]:
        """Names of what is in it."""

    def __iter__(self) -> Iterator[str]: ...

    def __contains__(self, key: str, /) -> bool: ...

    def __getitem__(self, key: str, /) -> Node: ...


Node: TypeAlias = Group | Dataset
#: Reads a dataset, all at once or frame by frame.
Load: TypeAlias = "Callable[[Dataset], np.ndarray | da.Array]"


def is_group(node: Node) -> TypeGuard[Group]:
    """Whether it holds others."""
    return hasattr(node, "keys")


def is_dataset(node: Node) -> TypeGuard[Dataset]:
    """Whether it holds numbers or texts."""
    return not is_group(node)


def group_in(parent: Group, key: str) -> Group:
    """Return a group of a group; a FormatError where it is none."""
    node = parent[key]
    if not is_group(node):
        raise FormatError(f"{key} is an array, not a group.")
    return node


def dataset_in(parent: Group, key: str) -> Dataset:
    """Return an array of a group; a FormatError where it is none."""
    node = parent[key]
    if not is_dataset(node):
        raise FormatError(f"{key} is a group, not an array.")
    return node


def walk(group: Group, prefix: str = "", above: tuple[str, ...] = ()) -> Iterator[tuple[str, Node]]:
    """Yield (path, node) of a group and of all below it, depth first; links up are not taken."""
    own = address(group)
    if own in above:
        return
    above = (*above, own)
    yield prefix, group
    for key in sorted(group.keys()):
        try:
            node = group[key]
        except (KeyError, OSError):  # a link to a file that is not there
            continue
        where = f"{prefix}/{key}" if prefix else str(key)
        if is_group(node):
            yield from walk(node, where, above)
        else:
            yield where, node


def address(node: Node) -> str:
    """What is the same for all links to a group or dataset."""
    if handle := getattr(node, "id", None):  # HDF5: the name is the path taken, not the target's
        import h5py

        info = h5py.h5o.get_info(handle)
        return f"{info.fileno}:{info.addr}"
    return str(node.name)


def several(name: str, parts: Sequence[tuple[str, Callable[[str], Image]]]) -> list[Image]:
    """Read what of several datasets is an image; the error of the first where none is."""
    images, first = [], None
    for where, reader in parts:
        title = name if len(parts) == 1 else f"{name}: {where}"
        try:
            images.append(reader(title))
        except FormatError as error:
            first = first or error
    if not images and first is not None:
        raise first
    if len(parts) == 1 and images and parts[0][0]:  # its name in the file is not in its own
        images[0].metadata.setdefault("title", parts[0][0])
    return images
