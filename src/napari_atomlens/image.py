"""One image or movie as a reader hands it on, and the cleaning that all readers share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napari_atomlens.cards import Card, by_size
from napari_atomlens.errors import CalibrationError, FormatError, ImageError
from napari_atomlens.files import digest

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
    """

    name: str
    data: Any
    axes: str
    pixel_size_nm: tuple[float, float] | None = None
    time_step_s: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def _title(self) -> str:
        return f"Image {self.name!r}, {by_size(self.data.shape)}"

    def _facts(self) -> dict[str, object]:
        size, step = self.pixel_size_nm, self.time_step_s
        return {
            "axes": self.axes,
            "pixels": str(self.data.dtype),
            "pixel size": "not known" if size is None else f"{size[0]:.4g} x {size[1]:.4g} nm",
            "time step": None if step is None else f"{step:.4g} s",
        }

    def _picture(self) -> ArrayLike:
        return np.asarray(self.data[0] if self.axes == "tyx" else self.data)


def text_of(value: Any) -> str:
    """Return a text that a file may hold as bytes or as an array of one element."""
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return "" if value is None else str(value)


def number_of(value: Any) -> float | None:
    """Return a finite number, also from text or an array of one element, else None."""
    if isinstance(value, (bytes, np.ndarray, np.generic)) and not isinstance(value, np.number):
        value = text_of(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _unit(unit: Any) -> str:
    text = text_of(unit).strip().strip("[]()").strip()
    text = text.replace("\\u00B5", "µ").replace("\\u00b5", "µ")
    return text.replace("\u03bc", "µ").replace("\u212b", "Å").replace("Â", "")


def to_nm(value: Any, unit: Any) -> float | None:
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


def to_seconds(value: Any, unit: Any) -> float | None:
    """Convert a time to seconds, None where it is not one."""
    number = number_of(value)
    factor = _SECONDS.get(_unit(unit).lower())
    return None if number is None or factor is None else number * factor


def pixel_size(y: Any, x: Any) -> tuple[float, float] | None:
    """Return (y, x) in nm where both are positive and finite, else None."""
    if y is None or x is None or not all(math.isfinite(v) and v > 0 for v in (y, x)):
        return None
    return float(y), float(x)


def lazy_frames(
    frame: Callable[[int], np.ndarray], shape: Sequence[int], dtype: np.dtype[Any]
) -> Any:
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
        self, frame: Callable[[int], np.ndarray], shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.frame, self.shape, self.dtype, self.ndim = frame, shape, dtype, len(shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(first, (int, np.integer)):
            return np.asarray(self.frame(int(first)), self.dtype)[tuple(rest)]
        picked = [self[(int(i), *rest)] for i in np.arange(self.shape[0])[first]]
        return np.stack(picked) if picked else np.empty((0, *self.shape[1:]), self.dtype)


def grey(data: Any) -> Any:
    """Return the luminance of a colour image (..., 3 or 4); equal channels are kept exactly."""
    red, green, blue = data[..., 0], data[..., 1], data[..., 2]
    if isinstance(data, np.ndarray) and np.array_equal(red, green) and np.array_equal(red, blue):
        return np.ascontiguousarray(red)
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue).astype(np.float32)


def make_image(
    name: str,
    data: Any,
    pixel_size_nm: tuple[float, float] | None = None,
    time_step_s: float | None = None,
    metadata: dict[str, Any] | None = None,
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
    lazy = hasattr(data, "dask")
    if not lazy and not isinstance(data, np.ndarray):
        data = np.asarray(data)
    if data.dtype.names and {"R", "G", "B"} <= set(data.dtype.names):
        data, colour = np.stack([np.asarray(data[c]) for c in "RGB"], axis=-1), True
        lazy = False
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
    dtype = data.dtype.newbyteorder("=")
    if dtype.kind == "b":
        dtype = np.dtype(np.uint8)
    elif dtype == np.float16:
        dtype = np.dtype(np.float32)
    elif dtype.kind == "f" and dtype.itemsize > 8:
        dtype = np.dtype(np.float64)
    if dtype != data.dtype:
        if isinstance(data, np.memmap) and data.ndim == 3 and data.nbytes > LAZY_BYTES:
            import dask.array as da

            data = da.from_array(data, chunks=(1, *data.shape[1:]))
        data = data.astype(dtype)
    if pixel_size_nm is not None:
        pixel_size_nm = pixel_size(*pixel_size_nm)
    if data.ndim == 2 or time_step_s is None or not time_step_s > 0:
        time_step_s = None
    return Image(
        name, data, "yx" if data.ndim == 2 else "tyx", pixel_size_nm, time_step_s,
        dict(metadata or {}),
    )  # fmt: skip


def image_hash(image: Any) -> str:
    """SHA-256 of the pixels and their shape and type, for provenance."""
    return digest(np.asarray(image))


def as_stack(stack: Any) -> Any:
    """Return an image or movie with three axes (t, y, x), lazily where it is lazy.

    Raises
    ------
    ImageError
        If it has the wrong number of axes.
    """
    if not hasattr(stack, "ndim") or not hasattr(stack, "shape"):
        stack = np.asarray(stack)
    if 0 in stack.shape:
        raise ImageError("The image is empty.")
    colour = stack.shape[-1:] in ((3,), (4,)) and min(stack.shape[-3:-1], default=0) >= 16
    if colour and stack.ndim in (3, 4):  # each frame is made grey when it is read
        return stack[None] if stack.ndim == 3 else stack
    if stack.ndim == 2:
        return stack[None]
    if stack.ndim != 3:
        raise ImageError(
            f"An image has two axes (y, x) and a movie three (t, y, x), but this has {stack.ndim}."
        )
    return stack


def check_pixel_size(size: Any) -> tuple[float, float] | None:
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
    except (TypeError, ValueError):
        raise CalibrationError("The pixel size must be one number or (y, x), in nm.") from None
    if not all(np.isfinite(v) and v > 0 for v in values):
        raise CalibrationError(f"The pixel size must be positive, but it is {size!r} nm.")
    return values  # type: ignore[return-value]


def is_height(frame: np.ndarray) -> bool:
    """Heights and currents are real numbers, of both signs or tiny; counts are not."""
    if frame.ndim != 2 or frame.dtype.kind != "f" or not np.isfinite(frame).any():
        return False
    return bool(np.nanmin(frame) < 0 or np.nanmax(frame) < 1e-3)


LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
CHANNEL_NAMES = ("c", "ch", "channel", "channels")


class Frames:
    """An image or movie of any kind of array as a stack (t, y, x) that is read frame by frame.

    Parameters
    ----------
    data : array-like, shape (H, W) or (T, H, W), with a last axis of colours if `rgb`
    rgb : bool
        Colours become their luminance.
    """

    ndim = 3

    def __init__(self, data: Any, rgb: bool = False) -> None:
        self._data, self._rgb = data, rgb
        self._movie = data.ndim - bool(rgb) == 3
        shape = tuple(int(s) for s in data.shape)
        self.shape: tuple[int, ...] = shape[:3] if self._movie else (1, *shape[:2])
        self.dtype = np.dtype(np.float32) if rgb else data.dtype

    def __getitem__(self, frame: int) -> np.ndarray:
        """Read one frame, shape (H, W)."""
        image = np.asarray(self._data[frame] if self._movie else self._data)
        return image[..., :3].astype(np.float32) @ LUMINANCE if self._rgb else image

    def __len__(self) -> int:
        return self.shape[0]


def source_stack(data: Any, rgb: bool = False, axis_labels: Sequence[str] = ()) -> Frames:
    """Return the data of an image layer as a stack (t, y, x), lazily where it is lazy.

    Parameters
    ----------
    data : array-like
        numpy, dask, zarr ..., shape (H, W) or (T, H, W), with a last axis of colours if `rgb`.
    rgb : bool
        Whether the last axis holds colours.
    axis_labels : sequence of str
        Names of the axes, as far as they are known.

    Raises
    ------
    ImageError
        With one sentence, if it is neither an image nor a movie.
    """
    ndim = data.ndim - bool(rgb)
    names = [str(a).lower() for a in axis_labels]
    if ndim < 2:
        raise ImageError(f"An image needs two axes, but this layer has {ndim}.")
    if ndim > 3:
        raise ImageError(
            f"This layer has {ndim} axes; split it (right-click the layer, Split Stack) "
            "and choose one image or movie (t, y, x)."
        )
    if 0 in data.shape:
        raise ImageError("The image is empty.")
    if ndim == 3 and names and names[0] in CHANNEL_NAMES:
        raise ImageError(
            "The first axis of this layer holds channels; split them (right-click the layer, "
            "Split Stack) and choose one."
        )
    return Frames(data, rgb)
