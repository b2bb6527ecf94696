"""Figures and movies of what was found; no plotting library is needed."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from napari_atomlens.errors import FormatError, ImageError
from napari_atomlens.files import UNFINISHED, new_file_beside, user_file, write_whole
from napari_atomlens.image import PixelSize, as_pixels, check_pixel_size
from napari_atomlens.params import number_between
from napari_atomlens.tables import check_table
from napari_atomlens.untrusted import path_of

#: Colours of species, told apart also by colour-blind readers.
COLOURS = ("#4cc9f0", "#ff9f1c", "#3ddc97", "#cc79a7", "#f0e442", "#7b9ff2")
#: A scale bar takes at most this part of the width.
BAR_SHARE = 0.25


def scale_bar(width_px: int, pixel_size_nm: float) -> tuple[float, str]:
    """Length in pixels and label of a scale bar: 1, 2 or 5 times a power of ten."""
    longest = BAR_SHARE * width_px * pixel_size_nm
    power = 10.0 ** np.floor(np.log10(longest))
    nm = next(k * power for k in (5, 2, 1) if k * power <= longest * (1 + 1e-9))
    label = f"{nm:g} nm" if nm >= 0.1 else f"{1000 * nm:g} pm"
    return nm / pixel_size_nm, label


def as_grey(image: np.ndarray) -> np.ndarray:
    """Stretch an image to 8 bits between its 0.5th and 99.5th percentile."""
    pixels = as_pixels(image).astype(float)
    if pixels.ndim != 2 or not pixels.size:
        raise ImageError("A figure shows one image of two axes.")
    finite = pixels[np.isfinite(pixels)]
    low, high = np.percentile(finite, [0.5, 99.5]) if finite.size else (0.0, 1.0)
    grey = (np.nan_to_num(pixels, nan=low) - low) / max(high - low, 1e-30)
    return (255 * np.clip(grey, 0, 1)).astype(np.uint8)


def _groups(atoms: pd.DataFrame | None) -> list[tuple[str, str, np.ndarray]]:
    """Species, colour and positions (x, y) of the atoms."""
    if atoms is None:
        return []
    atoms = check_table(atoms)
    names = atoms["species"].astype(str) if "species" in atoms else pd.Series("", atoms.index)
    out = []
    for k, name in enumerate(sorted(names.unique())):
        here = atoms.loc[names == name, ["x_px", "y_px"]].to_numpy(float)
        out.append((name, COLOURS[k % len(COLOURS)], here))
    return out


def svg_figure(
    image: np.ndarray,
    atoms: pd.DataFrame | None = None,
    pixel_size_nm: float | PixelSize | None = None,
    *,
    radius_px: float = 2.5,
) -> str:
    """Return an image with its atoms and a scale bar as SVG; the atoms stay circles.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    atoms : pandas.DataFrame, optional
        Of this frame.
    pixel_size_nm : float or tuple of float, optional
        (y, x); without it there is no scale bar.
    radius_px : float
        Radius of the circles.
    """
    from imageio.v3 import imwrite

    grey, pixel_size_nm = as_grey(image), check_pixel_size(pixel_size_nm)
    radius_px = number_between("radius_px", radius_px, 0, 1e4)
    height, width = grey.shape
    file = io.BytesIO()
    imwrite(file, grey, extension=".png")
    picture = base64.b64encode(file.getvalue()).decode()
    # pixels may not be square: the picture is drawn in units of their width
    tall = 1.0 if pixel_size_nm is None else pixel_size_nm[0] / pixel_size_nm[1]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height * tall:g}" '
        f'width="{width}" height="{height * tall:g}">',
        f'<image href="data:image/png;base64,{picture}" width="{width}" '
        f'height="{height * tall:g}" preserveAspectRatio="none"/>',
    ]
    for name, colour, places in _groups(atoms):
        circles = "".join(
            f'<circle cx="{x + 0.5:.3f}" cy="{(y + 0.5) * tall:.3f}" r="{radius_px:g}"/>'
            for x, y in places
        )
        lines.append(
            f'<g fill="none" stroke="{colour}" stroke-width="0.8">'
            f"<title>{html.escape(name or 'atoms')}</title>{circles}</g>"
        )
    if pixel_size_nm is not None:
        length, label = scale_bar(width, pixel_size_nm[1])
        unit = max(width, height) / 100
        left, bottom = 3 * unit, height * tall - 3 * unit
        lines.append(
            f'<rect x="{left:g}" y="{bottom - unit:g}" width="{length:g}" height="{unit:g}" '
            f'fill="white" stroke="black" stroke-width="{unit / 8:g}"/>'
            f'<text x="{left:g}" y="{bottom - 1.8 * unit:g}" font-family="sans-serif" '
            f'font-size="{4 * unit:g}" fill="white" stroke="black" '
            f'stroke-width="{unit / 8:g}">{label}</text>'
        )
    return "\n".join([*lines, "</svg>"])


def draw_figure(
    image: np.ndarray,
    atoms: pd.DataFrame | None = None,
    pixel_size_nm: float | PixelSize | None = None,
    *,
    radius_px: float = 2.5,
    zoom: int = 1,
) -> np.ndarray:
    """Return an image with its atoms and a scale bar as pixels, uint8 of shape (H, W, 3)."""
    from PIL import Image, ImageDraw

    pixel_size_nm = check_pixel_size(pixel_size_nm)
    radius_px = number_between("radius_px", radius_px, 0, 1e4)
    zoom = int(number_between("zoom", zoom, 1, 100, whole=True))
    grey = Image.fromarray(as_grey(image)).convert("RGB")
    tall = 1.0 if pixel_size_nm is None else pixel_size_nm[0] / pixel_size_nm[1]
    width, height = zoom * grey.width, max(1, round(zoom * grey.height * tall))
    picture = grey.resize((width, height))
    draw = ImageDraw.Draw(picture)
    for _, colour, places in _groups(atoms):
        for x, y in (places + 0.5) * [zoom, zoom * tall] - 0.5:
            r = radius_px * zoom
            draw.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=max(1, zoom // 2))
    if pixel_size_nm is not None:
        length, label = scale_bar(width, pixel_size_nm[1] / zoom)
        unit = max(2, max(width, height) // 100)
        left, bottom = 3 * unit, height - 3 * unit
        draw.rectangle((left, bottom - unit, left + round(length) - 1, bottom - 1), fill="white")
        draw.text(
            (left, bottom - 6 * unit), label, fill="white", stroke_fill="black", stroke_width=1,
            font_size=4 * unit,
        )  # fmt: skip
    return np.asarray(picture)


def _target(path: str | Path, what: str, *known: str) -> tuple[Path, str]:
    """Where to write and as what, by the extension, which must be one of these."""
    target = path_of(path)
    kind = target.suffix.lower()
    if kind not in known:
        raise FormatError(f"{what} are {' or '.join(known)}, not {kind or 'without extension'}.")
    return target, kind


def save_figure(
    path: str | Path,
    image: np.ndarray,
    atoms: pd.DataFrame | None = None,
    pixel_size_nm: float | PixelSize | None = None,
    *,
    radius_px: float = 2.5,
    zoom: int = 1,
) -> Path:
    """Write a figure as ``.svg`` or ``.png``; see :func:`svg_figure` and :func:`draw_figure`.

    Parameters
    ----------
    path : path
    image : ndarray, shape (H, W)
    atoms : pandas.DataFrame, optional
        Of this frame.
    pixel_size_nm : float or tuple of float, optional
        (y, x); without it there is no scale bar.
    radius_px : float
        Radius of the circles.
    zoom : int
        Picture pixels per image pixel of a ``.png``.

    Returns
    -------
    pathlib.Path
        Where it was written.

    Raises
    ------
    FormatError
        If the extension is another, or the file cannot be written.
    """
    from imageio.v3 import imwrite

    target, kind = _target(path, "Figures", ".svg", ".png")
    with user_file(target):
        if kind == ".svg":
            return write_whole(target, svg_figure(image, atoms, pixel_size_nm, radius_px=radius_px))
        picture = draw_figure(image, atoms, pixel_size_nm, radius_px=radius_px, zoom=zoom)
        return write_whole(target, lambda file: imwrite(file, picture, extension=".png"))


def _each(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield frames; a sentence where there are none."""
    try:
        found = iter(frames)
    except TypeError:
        raise ImageError("A movie is a sequence of frames.") from None
    first = next(found, None)
    if first is None:
        raise ImageError("The movie has no frame.")
    yield first
    yield from found


def save_movie(
    path: str | Path,
    frames: Iterable[np.ndarray],
    atoms: pd.DataFrame | None = None,
    pixel_size_nm: float | PixelSize | None = None,
    *,
    per_second: float = 10.0,
    zoom: int = 1,
) -> Path:
    """Write a movie with the atoms of every frame, frame by frame.

    Parameters
    ----------
    path : path
        ``.gif``, or ``.mp4`` where imageio-ffmpeg is installed.
    frames : iterable of ndarray, each (H, W)
    atoms : pandas.DataFrame, optional
    pixel_size_nm : float or tuple of float, optional
    per_second : float
        Frames per second.
    zoom : int
        Picture pixels per image pixel.

    Raises
    ------
    FormatError
        If the extension is another, or MP4 is asked for and cannot be written here.
    """
    from imageio.v2 import get_writer

    per_second = number_between("per_second", per_second, 1e-3, 1000)
    target, kind = _target(path, "Movies", ".gif", ".mp4")
    if kind == ".mp4":
        try:
            import imageio_ffmpeg  # noqa: F401
        except ImportError as error:
            raise FormatError(
                "MP4 needs ffmpeg; install it with `pip install imageio-ffmpeg`, or write a .gif."
            ) from error
    if atoms is not None:
        atoms = check_table(atoms, ("frame", "y_px", "x_px"))
    with user_file(target), new_file_beside(target, UNFINISHED + kind) as fresh:
        if kind == ".mp4":
            writer = get_writer(fresh, format="FFMPEG", fps=per_second, macro_block_size=2)
        else:
            writer = get_writer(fresh, duration=1000 / per_second, loop=0)
        with writer:
            for f, frame in enumerate(_each(frames)):
                here = None if atoms is None else atoms[atoms["frame"] == f]
                writer.append_data(draw_figure(frame, here, pixel_size_nm, zoom=zoom))
    return target
