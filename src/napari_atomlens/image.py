"""An image or movie: as a reader hands it on, as a stack of frames, its pixel size, its grey.

No file is known here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from types import EllipsisType
from typing import TYPE_CHECKING, Protocol, TypeGuard, overload, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from napari_atomlens.cards import Card, by_size
from napari_atomlens.errors import CalibrationError, FormatError, ImageError
from napari_atomlens.files import digest

if TYPE_CHECKING:
    import dask.array as da

#: (y, x) in nm.
PixelSize = tuple[float, float]
_Index = int | slice | EllipsisType | None
#: What an array is asked for.
Index = _Index | tuple[_Index, ...]


@runtime_checkable
class Pixels(Protocol):
    """An array of any library (numpy, dask, zarr, h5py ...), in memory or not.

    What it is asked for may still be lazy: ``np.asarray`` makes pixels of it.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of its axes."""

    @property
    def ndim(self) -> int:
        """Number of its axes."""

    @property
    def dtype(self) -> np.dtype:
        """Type of its numbers."""

    def __getitem__(self, key: Index, /) -> object:
        """Part of it."""


#: Larger arrays than this are read frame by frame, when they are needed.
LAZY_BYTES = 64 * 1024 * 1024

_NM = {
    "fm": 1e-6, "pm": 1e-3, "picometer": 1e-3, "picometre": 1e-3,
    "a": 0.1, "å": 0.1, "ang": 0.1, "ångström": 0.1, "ångstrom": 0.1,
    "angstrom": 0.1, "angstroms": 0.1, "angstroem": 0.1,
    "nm": 1.0, "n_m": 1.0, "nanometer": 1.0, "nanometre": 1.0, "nanometers": 1.0,
    "um": 1e3, "µm": 1e3, "u_m": 1e3, "micron": 1e3, "microns": 1e3, "micrometer": 1e3,
    "micrometre": 1e3, "p_m": 1e-3, "mm": 1e6, "m_m": 1e6, "cm": 1e7,
    "m": 1e9, "meter": 1e9, "metre": 1e9, "meters": 1e9, "metres": 1e9,
}  # fmt: skip
_SECONDS = {
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3,
    "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0,
}  # fmt: skip


@dataclass(frozen=True, repr=False, eq=False)
class Image(Card):
    """An image or movie with its calibration.

    Attributes
    ----------
    name : str
        What to call it, unique within its file.
    data : numpy.ndarray or dask.array.Array
        Real numbers in native byte order, (y, x) or (t, y, x); movies that are large
        are lazy.
    axes : str
        ``"yx"`` or ``"tyx"``.
    pixel_size_nm : tuple of float or None
        (y, x), None where the file does not say.
    time_step_s : float or None
        Time between frames, None where the file does not say.
    metadata : dict
        What else the file says.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> import numpy as np
    >>> al.Image("scan", np.zeros((64, 96), np.float32), "yx", pixel_size_nm=(0.02, 0.02))
    Image 'scan', 64 x 96 px
      axes: yx
      pixels: float32
      pixel size: 0.02 x 0.02 nm
    """

    name: str
    data: Pixels
    axes: str
    pixel_size_nm: PixelSize | None = None
    time_step_s: float | None = None
    metadata: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.data, Pixels):
            object.__setattr__(self, "data", _array_of(self.data))
        named = isinstance(self.name, str) and isinstance(self.axes, str)
        if not named or not isinstance(self.metadata, Mapping):
            raise ImageError("The name and axes of an image are texts, its metadata a dictionary.")
        size, step = self.pixel_size_nm, self.time_step_s
        if isinstance(size, Real):  # square pixels
            object.__setattr__(self, "pixel_size_nm", check_pixel_size(size))
        elif size is not None and not (
            isinstance(size, Sequence) and len(size) == 2 and all(isinstance(v, Real) for v in size)
        ):
            raise CalibrationError("The pixel size must be a number, or two: (y, x).")
        if step is not None and not isinstance(step, Real):
            raise CalibrationError("The time step must be a number of seconds.")

    def _title(self) -> str:
        return f"Image {self.name!r}, {by_size(self.data.shape)}"

    def _facts(self) -> dict[str, object]:
        size, step, unit = self.pixel_size_nm, self.time_step_s, self.metadata.get("unit")
        return {
            "axes": self.axes,
            "pixels": f"{self.data.dtype}, in {unit}" if unit else str(self.data.dtype),
            "pixel size": "not known" if size is None else f"{size[0]:.4g} x {size[1]:.4g} nm",
            "time step": None if step is None else f"{step:.4g} s",
        }

    def _picture(self) -> ArrayLike:
        return np.asarray(self.data[0] if self.axes == "tyx" else self.data)


def text_of(value: object) -> str:
    """Return a text that a file may hold as bytes or as an array of one element."""
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return "" if value is None else str(value)


def number_of(value: object) -> float | None:
    """Return a finite number, also from text or an array of one element, else None."""
    if isinstance(value, (bytes, np.ndarray, np.generic)) and not isinstance(value, np.number):
        value = text_of(value)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _unit(unit: object) -> str:
    text = text_of(unit).strip().strip("[]()").strip()
    text = text.replace("\\u00B5", "µ").replace("\\u00b5", "µ")
    return text.replace("\u03bc", "µ").replace("\u212b", "Å").replace("Â", "")


def to_nm(value: object, unit: object) -> float | None:
    """Convert a length to nanometres.

    Parameters
    ----------
    value : float
    unit : str
        As files write it: pm, A, Å, angstrom, nm, n_m, um, µm, m ...

    Returns
    -------
    float or None
        None where the unit is not one of length, or the value is not a number.
    """
    number = number_of(value)
    key = _unit(unit)
    factor = _NM.get(key.lower())
    if number is None or factor is None or key in ("Fm", "Pm", "PM", "MM", "Mm"):
        return None
    return number * factor


def to_seconds(value: object, unit: object) -> float | None:
    """Convert a time to seconds, None where it is not one."""
    number = number_of(value)
    factor = _SECONDS.get(_unit(unit).lower())
    return None if number is None or factor is None else number * factor


def pixel_size(y: float | None, x: float | None) -> PixelSize | None:
    """Return (y, x) in nm where both are positive and finite, else None."""
    if y is None or x is None or not all(math.isfinite(v) and v > 0 for v in (y, x)):
        return None
    return float(y), float(x)


def lazy_frames(
    frame: Callable[[int], np.ndarray], shape: Sequence[int], dtype: DTypeLike
) -> da.Array:
    """Return a dask array (t, y, x) of which every frame is read when it is needed."""
    import dask.array as da

    n, *rest = (int(s) for s in shape)
    empty = np.empty((0,) * (1 + len(rest)), dtype)
    # much cheaper to set up than a stack of delayed frames
    source = _Frames(frame, (n, *rest), np.dtype(dtype))
    return da.from_array(source, chunks=(1, *rest), name=False, asarray=True, meta=empty)


class _Frames:
    """What dask takes for an array whose frames a function reads."""

    def __init__(
        self, frame: Callable[[int], np.ndarray], shape: tuple[int, ...], dtype: np.dtype
    ) -> None:
        self.frame, self.shape, self.dtype, self.ndim = frame, shape, dtype, len(shape)

    def __getitem__(self, key: int | slice | tuple[int | slice, ...]) -> np.ndarray:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(first, (int, np.integer)):
            return np.asarray(self.frame(int(first)), self.dtype)[tuple(rest)]
        picked = [self[(int(i), *rest)] for i in np.arange(self.shape[0])[first]]
        return np.stack(picked) if picked else np.empty((0, *self.shape[1:]), self.dtype)


def is_lazy(data: object) -> TypeGuard[da.Array]:
    """Whether an array is of dask, which is not imported for it."""
    return hasattr(data, "dask")


#: Rec. 709, of linear channels.
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


@overload
def grey(data: np.ndarray) -> np.ndarray:  # noqa: D418
    """In memory."""


@overload
def grey(data: da.Array) -> da.Array:  # noqa: D418
    """Lazily."""


def grey(data: np.ndarray | da.Array) -> np.ndarray | da.Array:
    """Return the luminance of colours (Rec. 709, linear), whatever their type of number.

    Parameters
    ----------
    data : numpy.ndarray or dask.array.Array, shape (..., 3 or 4)
        Red, green, blue; the opacity that may follow is not looked at.

    Returns
    -------
    numpy.ndarray or dask.array.Array, shape (...)
        Pixels whose channels are equal have exactly their value. Where all are, an array in
        memory keeps its type; else it is float32, or float64 where numbers need it.
    """
    wide = (data.dtype.kind in "iuf" and data.dtype.itemsize > 4) or (
        data.dtype.kind in "iu" and (data.dtype.itemsize > 2)
    )
    kind = np.dtype(np.float64 if wide else np.float32)
    if is_lazy(data):
        whole = data.rechunk({-1: -1})
        return whole.map_blocks(lambda part: grey(part).astype(kind), dtype=kind, drop_axis=-1)
    red, green, blue = data[..., 0], data[..., 1], data[..., 2]
    same = (red == green) & (red == blue)
    if same.all():
        return np.ascontiguousarray(red)
    return np.where(same, red, data[..., :3].astype(np.float64) @ _LUMINANCE).astype(kind)


def make_image(
    name: str,
    data: ArrayLike | da.Array,
    pixel_size_nm: tuple[float | None, float | None] | None = None,
    time_step_s: float | None = None,
    metadata: Mapping[str, object] | None = None,
    *,
    colour: bool | None = None,
) -> Image:
    """Clean what a file holds: axes, colours, byte order, type of number.

    Parameters
    ----------
    name : str
    data : array-like
        Axes of length one are dropped where there are more than two.
    pixel_size_nm : tuple of float, optional
        (y, x); dropped where it is not positive.
    time_step_s : float, optional
    metadata : dict, optional
    colour : bool, optional
        Whether the last axis is the colour; found from the shape by default.

    Returns
    -------
    Image

    Raises
    ------
    FormatError
        If it is not an image or a movie of real numbers.
    """
    array = data if is_lazy(data) else unmasked(_computed(data))
    if array.dtype.names and {"R", "G", "B"} <= set(array.dtype.names):
        array, colour = np.stack([np.asarray(array[c]) for c in "RGB"], axis=-1), True
    array = _native(_two_or_three_axes(name, array, colour))
    if array.ndim == 2 or time_step_s is None or not time_step_s > 0:
        time_step_s = None
    return Image(
        name, array, "yx" if array.ndim == 2 else "tyx",
        None if pixel_size_nm is None else pixel_size(*pixel_size_nm), time_step_s,
        dict(metadata or {}),
    )  # fmt: skip


def _two_or_three_axes(
    name: str, data: np.ndarray | da.Array, colour: bool | None
) -> np.ndarray | da.Array:
    """Make colours grey and drop axes of length one; a FormatError where it is no image."""
    if data.dtype.kind not in "buif":
        what = "complex numbers" if data.dtype.kind == "c" else "no numbers"
        raise FormatError(f"{name} holds {what}, not an image.")
    if 0 in data.shape:
        raise FormatError(f"{name} is empty.")
    if colour is None:
        colour = (
            data.ndim >= 3 and data.shape[-1] in (3, 4)
            and data.dtype.kind == "u" and min(data.shape[-3:-1]) >= 16
        )  # fmt: skip
    if colour:
        data = grey(data)
    while data.ndim > 2 and 1 in data.shape:
        axis = data.shape.index(1)
        data = data[(slice(None),) * axis + (0,)]
    if data.ndim < 2 or min(data.shape[-2:]) < 2:
        raise FormatError(f"{name} holds a spectrum or a line, not an image.")
    if data.ndim > 3:
        raise FormatError(
            f"{name} has {data.ndim} axes, as spectrum images and 4D-STEM data have; "
            "an image has two and a movie three."
        )
    return data


def _native(data: np.ndarray | da.Array) -> np.ndarray | da.Array:
    """Numbers in native byte order, of a type that everything takes."""
    dtype = data.dtype.newbyteorder("=")
    if dtype.kind == "b":
        dtype = np.dtype(np.uint8)
    elif dtype == np.float16:
        dtype = np.dtype(np.float32)
    elif dtype.kind == "f" and dtype.itemsize > 8:
        dtype = np.dtype(np.float64)
    if dtype == data.dtype:
        return data
    if isinstance(data, np.memmap) and data.ndim == 3 and data.nbytes > LAZY_BYTES:
        import dask.array as da

        data = da.from_array(data, chunks=(1, *data.shape[1:]))
    return data.astype(dtype)


def image_hash(image: ArrayLike) -> str:
    """SHA-256 of the pixels and their shape and type, for provenance."""
    return digest(np.asarray(image))


CHANNEL_NAMES = ("c", "ch", "channel", "channels")
#: Smaller pictures than this in both directions are not taken for colours by their shape.
_COLOUR_PX = 16


def unmasked(array: np.ndarray) -> np.ndarray:
    """Return an array with not-a-number where it was masked: nobody knows what is there.

    Examples
    --------
    >>> import numpy as np
    >>> unmasked(np.ma.masked_array([1, 2], [False, True]))
    array([ 1., nan], dtype=float32)
    """
    if not isinstance(array, np.ma.MaskedArray):
        return array
    if not np.ma.is_masked(array):
        return np.asarray(array)
    return np.asarray(np.ma.filled(array.astype(np.result_type(array.dtype, np.float32)), np.nan))


def _array_of(data: object) -> Pixels:
    """Return whatever was given as an array of real numbers whose size is known.

    Raises
    ------
    ImageError
        With one sentence, if it is none.
    """
    array: Pixels | None = data if isinstance(data, Pixels) else None
    # numpy itself would drop the masks of frames in a list, and keeps a matrix as one
    if isinstance(data, (list, tuple)) and any(isinstance(one, Image) for one in data):
        raise ImageError("Several images were given; take one of them, as in read(path)[0].")
    if isinstance(data, (list, tuple)) and any(isinstance(one, Pixels) for one in data):
        data = [unmasked(_computed(one)) for one in data]
        array = None
    if (
        array is None
        or isinstance(array, np.matrix)
        or not isinstance(array.dtype, np.dtype)  # of other libraries
    ):
        try:
            array = np.asarray(data)
        except (TypeError, ValueError, RuntimeError):
            raise ImageError(
                "This is no image: its rows are not equally long, or it is no array at all."
            ) from None
    if any(s != s for s in array.shape):  # of dask: not a number
        raise ImageError(
            "The size of this image is not known before it is computed; call "
            "compute_chunk_sizes() of the dask array first."
        )
    if array.dtype.kind == "c":
        raise ImageError("The image is complex; take its absolute value, phase or real part first.")
    if array.dtype.kind not in "buif":
        raise ImageError("The image does not hold numbers.")
    return array


def as_pixels(image: object) -> np.ndarray:
    """Return an image in memory: real numbers, not-a-number where it is masked.

    Parameters
    ----------
    image : array-like or Image
        Of any library and with any number of axes.

    Raises
    ------
    ImageError
        With one sentence, if it is none.
    """
    array = _array_of(image.data if isinstance(image, Image) else image)
    return unmasked(_computed(array))


def _computed(data: object) -> np.ndarray:
    """What is lazy as it is computed: numpy itself would drop its mask."""
    found = data.compute() if is_lazy(data) else data
    return (
        found if isinstance(found, np.ndarray) else np.asarray(found)
    )  # a map of a file stays one


class Stack:
    """An image or movie as a stack of grey frames (t, y, x), each read when it is asked for.

    Use :func:`as_stack` for arrays and :func:`source_stack` for the data of layers.

    Parameters
    ----------
    data : array, shape (H, W) or (T, H, W), with a last axis of colours if `colour`
    colour : bool
        Each frame becomes its luminance when it is read.
    """

    ndim = 3

    def __init__(self, data: Pixels, colour: bool = False) -> None:
        self._data, self._colour = data, colour
        self._movie = data.ndim - colour == 3
        *frames, height, width = (int(s) for s in data.shape[: data.ndim - colour])
        self.shape = (frames[0] if frames else 1, height, width)
        self.dtype = np.dtype(np.float32) if colour else data.dtype
        if isinstance(data, np.ma.MaskedArray) and np.ma.is_masked(data):
            self.dtype = np.result_type(self.dtype, np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    @overload
    def __getitem__(self, key: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, key: Index) -> np.ndarray: ...

    def __getitem__(self, key: Index) -> np.ndarray:
        """Read a frame, shape (H, W), or frames; a tuple goes on inside them."""
        first, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(first, (int, np.integer)):
            return self._frame(range(len(self))[first])[tuple(rest)]
        if not isinstance(first, slice):
            return np.asarray(self)[key]
        frames = [self._frame(k)[tuple(rest)] for k in range(len(self))[first]]
        return np.stack(frames) if frames else np.empty((0, *self.shape[1:]), self.dtype)

    def _frame(self, number: int) -> np.ndarray:
        image = unmasked(_computed(self._data[number] if self._movie else self._data))
        return grey(image).astype(self.dtype) if self._colour else image

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


def _largest(data: Pixels | Sequence[Pixels]) -> Pixels | Sequence[Pixels]:
    """Level 0 of a pyramid; everything else as it is."""
    if isinstance(data, Sequence) and len(data) and isinstance(data[0], Pixels):
        shapes = [tuple(level.shape) for level in data]
        if data[0].ndim > 1 and (len(data) == 1 or shapes[0] != shapes[1]):
            return data[0]
    return data


def as_stack(data: Pixels | Sequence[Pixels] | ArrayLike | Stack | Image) -> Stack:
    """Return an image or movie of any kind of array as a stack (t, y, x), lazily.

    Parameters
    ----------
    data : array-like, shape (H, W), (T, H, W), or either with a last axis of 3 or 4 colours
        numpy, dask, zarr ..., or the levels of a pyramid, of which the first is taken.

    Raises
    ------
    ImageError
        If it holds no real numbers, or has the wrong number of axes.
    """
    if isinstance(data, Stack):
        return data
    array = _array_of(data.data if isinstance(data, Image) else _largest(data))  # type: ignore[arg-type]
    if 0 in array.shape:
        raise ImageError("The image is empty.")
    sides = tuple(array.shape)[-3:-1]
    colour = array.shape[-1:] in ((3,), (4,)) and min(sides, default=0) >= _COLOUR_PX
    colour = colour and array.ndim in (3, 4)
    if array.ndim - colour not in (2, 3):
        raise ImageError(
            f"An image has two axes (y, x) and a movie three (t, y, x), but this has {array.ndim}."
        )
    return Stack(array, colour)


def source_stack(
    data: Pixels | Sequence[Pixels], rgb: bool = False, axis_labels: Sequence[str] = ()
) -> Stack:
    """Return the data of an image layer as a stack (t, y, x), lazily where it is lazy.

    Parameters
    ----------
    data : array-like
        numpy, dask, zarr ..., shape (H, W) or (T, H, W), with a last axis of colours if `rgb`;
        of a pyramid the first level is taken.
    rgb : bool
        Whether the last axis holds colours.
    axis_labels : sequence of str
        Names of the axes, as far as they are known.

    Raises
    ------
    ImageError
        With one sentence, if it is neither an image nor a movie.
    """
    array = _array_of(_largest(data))
    ndim = array.ndim - bool(rgb)
    names = [str(a).lower() for a in axis_labels]
    if ndim < 2:
        raise ImageError(f"An image needs two axes, but this layer has {ndim}.")
    if ndim > 3:
        raise ImageError(
            f"This layer has {ndim} axes; split it (right-click the layer, Split Stack) "
            "and choose one image or movie (t, y, x)."
        )
    if 0 in array.shape:
        raise ImageError("The image is empty.")
    if ndim == 3 and names and names[0] in CHANNEL_NAMES:
        raise ImageError(
            "The first axis of this layer holds channels; split them (right-click the layer, "
            "Split Stack) and choose one."
        )
    return Stack(array, bool(rgb))


def check_pixel_size(size: object) -> PixelSize | None:
    """Return a pixel size as (y, x) in nm, None where it is unknown.

    Raises
    ------
    CalibrationError
        If it is not positive and finite.
    """
    if size is None:
        return None
    try:
        values = tuple(float(v) for v in np.broadcast_to(np.asarray(size, float), (2,)))
    except (TypeError, ValueError, OverflowError):
        raise CalibrationError("The pixel size must be one number or (y, x), in nm.") from None
    if not all(np.isfinite(v) and v > 0 for v in values):
        raise CalibrationError(f"The pixel size must be positive, but it is {size!r} nm.")
    return values  # type: ignore[return-value]


def is_height(frame: np.ndarray) -> bool:
    """Heights and currents are real numbers, of both signs or tiny; counts are not."""
    if frame.ndim != 2 or frame.dtype.kind != "f" or not np.isfinite(frame).any():
        return False
    return bool(np.nanmin(frame) < 0 or np.nanmax(frame) < 1e-3)


#: Lines beside a border band that are looked at to tell whether it goes on with a vacuum.
_BESIDE = 2
#: A vacuum is at least this part of a line long, without a break.
_VACUUM = 0.25


def recorded(frame: ArrayLike) -> np.ndarray:
    """Which pixels of a frame were recorded.

    Not recorded are masked pixels, what is no finite number, and whole lines or columns of one
    constant value at the border, as instruments fill up a scan that was stopped and registration
    fills a frame that it moved. Where the value goes on in the lines beside them it is what was
    measured: the empty surroundings of a particle, counted as zero, or a detector at its limit.

    Parameters
    ----------
    frame : array-like, shape (H, W)

    Returns
    -------
    ndarray of bool, shape (H, W)
        All true for a frame of one constant value.

    Examples
    --------
    >>> import numpy as np
    >>> scan = np.random.default_rng(0).normal(size=(32, 32))
    >>> scan[20:] = 0
    >>> recorded(scan).sum(axis=0)[:4]
    array([20, 20, 20, 20])
    """
    pixels = unmasked(_computed(_array_of(frame)))
    there = np.isfinite(pixels) if pixels.dtype.kind == "f" else np.ones(pixels.shape, bool)
    if pixels.ndim != 2 or not there.any():
        return there
    box = [slice(0, s) for s in pixels.shape]
    step = max(1, pixels.size // 100_000)
    few = pixels.ravel()[::step][there.ravel()[::step]].astype(float)
    same = 1e-3 * float(np.subtract(*np.quantile(few, [0.99, 0.01]))) if few.size else 0.0
    for _ in range(2):  # an L of rows and columns: the other axis once more
        for axis in (0, 1):
            for end in (1, -1):
                part = np.moveaxis(pixels[tuple(box)], axis, 0)[::end]
                valid = np.moveaxis(there[tuple(box)], axis, 0)[::end]
                n = _empty_band(part, valid, same)
                first, last = box[axis].start, box[axis].stop
                box[axis] = slice(first + n, last) if end > 0 else slice(first, last - n)
    if any(b != slice(0, s) for b, s in zip(box, pixels.shape, strict=True)):
        inside = np.zeros_like(there)
        inside[tuple(box)] = True
        there &= inside
    return there


def _empty_band(lines: np.ndarray, valid: np.ndarray, same: float) -> int:
    """Number of lines that were not recorded, from the first on."""
    n, value = 0, None
    while n < len(lines):
        here = lines[n][valid[n]]
        if here.size and (here != here[0]).any():
            break
        value = here[0] if here.size else value
        n += 1
    if n == len(lines) or value is None:  # all of one value each, or no number: nothing to tell
        return 0
    for line, good in zip(lines[n : n + _BESIDE], valid[n : n + _BESIDE], strict=True):
        alike = np.abs(line.astype(float) - float(value)) <= same
        if _longest_run(alike & good) >= _VACUUM * len(line):
            return 0
    return n


def _longest_run(flags: np.ndarray) -> int:
    """Length of the longest run of true values."""
    steps = np.flatnonzero(np.diff(np.r_[False, flags, False].astype(np.int8)))
    return int((steps[1::2] - steps[::2]).max(initial=0))
