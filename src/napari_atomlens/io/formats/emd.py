"""EMD of Berkeley (0.2) and of emdfile and py4DSTEM (1.0): groups with ``data`` and ``dim...``.

Of both the axes of ``data`` are told by datasets beside it, which Berkeley counts from 1 and
emdfile from 0; those of evenly spaced axes may hold the first two places alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from napari_atomlens.errors import FormatError
from napari_atomlens.image import Image, is_lazy, make_image, pixel_size, text_of, to_seconds
from napari_atomlens.image import to_nm as nm_of
from napari_atomlens.io.formats.facts import about, heights_in_nm, refuse_spectra
from napari_atomlens.io.formats.nodes import Dataset, Group, Load, dataset_in, is_dataset

#: Of arrays: a number in Berkeley's files, a word in the newer ones.
_ARRAYS = ("1", "array")
#: Classes of py4DSTEM whose two axes are those of diffraction.
_DIFFRACTION = (
    "DiffractionSlice", "VirtualDiffraction", "BraggVectorMap", "Probe", "DataCube",
)  # fmt: skip
#: What the name of the axis of a stack is that has texts for places.
_LABELS = "_labels_"
#: What HyperSpy alone says of an array in this layout.
_HYPERSPY = "signal_type"
#: Group of py4DSTEM before its version 0.13.
_OLD_PY4DSTEM = "4DSTEM_experiment"


def refuse_old_py4dstem(name: str, root: Group) -> None:
    """Refuse the layout of py4DSTEM up to 0.12, whose arrays do not say what their axes are.

    Raises
    ------
    FormatError
    """
    if _OLD_PY4DSTEM in root:
        raise FormatError(
            f"{name} is of py4DSTEM 0.12 or older, whose layout is not read; open it in py4DSTEM "
            "and save the image that you need as TIFF or with version 0.13 or newer."
        )


def emd_parts(
    groups: Iterable[tuple[str, Group]], load: Load
) -> list[tuple[str, Callable[[str], Image]]]:
    """Return the images of a file, each with its place and what reads it."""
    parts: list[tuple[str, Callable[[str], Image]]] = []
    for where, group in groups:
        kind = text_of(group.attrs.get("emd_group_type")).lower()
        if kind not in _ARRAYS or "data" not in group or not is_dataset(group["data"]):
            continue
        labels = _labels(group)
        if not labels:
            parts.append((where, partial(_image, group=group, load=load)))
        for k, label in enumerate(labels):
            read = partial(_slice, group=group, load=load, number=k)
            parts.append((f"{where}/{label}", read))
    return parts


def _labels(group: Group) -> list[str]:
    """Names of the images of a stack that are no frames; none where it has no names."""
    shape = dataset_in(group, "data").shape
    key = f"dim{len(shape) - 1}"
    if key not in group or not is_dataset(dim := group[key]):
        return []
    if text_of(dim.attrs.get("name")) != _LABELS or len(shape) < 2:
        return []
    return [text_of(v) for v in np.ravel(np.asarray(dim[()]))[: shape[0]]]


def _image(name: str, group: Group, load: Load) -> Image:
    dataset = dataset_in(group, "data")
    n = len(dataset.shape)
    if n not in (2, 3):
        raise FormatError(f"{name} has {n} axes; an image has two and a movie three.")
    steps, data = _steps(name, group, n), load(dataset)
    if _HYPERSPY in group.attrs:  # it turns the axes round when it saves
        steps, data = steps[::-1], data.T
        data = data.rechunk((1, -1, -1)) if is_lazy(data) and n == 3 else data
    time = to_seconds(*steps[0]) if n == 3 else None
    return _made(name, data, steps[-2:], time, group, dataset)


def _slice(name: str, group: Group, load: Load, number: int) -> Image:
    """One of the images of a stack that have names."""
    dataset = dataset_in(group, "data")
    if len(dataset.shape) != 3:
        raise FormatError(f"{name} has {len(dataset.shape) - 1} axes; an image has two.")
    steps = _steps(name, group, 2)
    return _made(name, load(dataset)[number], steps, None, group, dataset)


def _made(
    name: str, data: object, steps: list[tuple[float | None, str]], time: float | None,
    group: Group, dataset: Dataset,
) -> Image:  # fmt: skip
    size = pixel_size(*(nm_of(v, u) for v, u in steps))
    unit = text_of(dataset.attrs.get("units"))
    if isinstance(data, np.ndarray):
        data = np.ascontiguousarray(data)
        data, unit = heights_in_nm(data, unit)
    metadata = about(unit=unit, title=text_of(group.attrs.get("name")))
    return make_image(name, data, size, time, metadata, colour=False)  # type: ignore[arg-type]


def _steps(name: str, group: Group, n: int) -> list[tuple[float | None, str]]:
    first = 0 if "dim0" in group else 1
    steps = [_dim(group, k + first) for k in range(n)]
    refuse_spectra(name, (u for _, u in steps))
    kind = text_of(group.attrs.get("python_class"))
    if kind in _DIFFRACTION:
        raise FormatError(f"{name} holds diffraction ({kind} of py4DSTEM), not an image.")
    return steps


def _dim(group: Group, number: int) -> tuple[float | None, str]:
    """Step and unit of an axis."""
    if f"dim{number}" not in group:
        return None, ""
    dim = dataset_in(group, f"dim{number}")
    values = np.ravel(np.asarray(dim[()]))
    unit = text_of(dim.attrs.get("units")).strip("[]")
    if len(values) < 2 or values.dtype.kind not in "iuf":
        return None, unit
    return abs(float(values[-1] - values[0])) / (len(values) - 1), unit
