"""Figures, movies and a one-page report of what was found; no plotting library is needed."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_atomlens.errors import FormatError, ImageError, ParameterError
from napari_atomlens.files import write_whole

#: Colours of species, told apart also by colour-blind readers.
COLOURS = ("#4cc9f0", "#ff9f1c", "#3ddc97", "#cc79a7", "#f0e442", "#7b9ff2")
#: A scale bar takes at most this part of the width.
BAR_SHARE = 0.25


def scale_bar(width_px: int, pixel_nm: float) -> tuple[float, str]:
    """Length in pixels and label of a scale bar: 1, 2 or 5 times a power of ten."""
    longest = BAR_SHARE * width_px * pixel_nm
    power = 10.0 ** np.floor(np.log10(longest))
    nm = next(k * power for k in (5, 2, 1) if k * power <= longest * (1 + 1e-9))
    label = f"{nm:g} nm" if nm >= 0.1 else f"{1000 * nm:g} pm"
    return nm / pixel_nm, label


def as_grey(image: np.ndarray) -> np.ndarray:
    """Stretch an image to 8 bits between its 0.5th and 99.5th percentile."""
    pixels = np.asarray(image, float)
    if pixels.ndim != 2 or not pixels.size:
        raise ImageError("A figure shows one image of two axes.")
    finite = pixels[np.isfinite(pixels)]
    low, high = np.percentile(finite, [0.5, 99.5]) if finite.size else (0.0, 1.0)
    grey = (np.nan_to_num(pixels, nan=low) - low) / max(high - low, 1e-30)
    return (255 * np.clip(grey, 0, 1)).astype(np.uint8)


def _groups(atoms: pd.DataFrame | None) -> list[tuple[str, str, np.ndarray]]:
    """Species, colour and positions (x, y) of the atoms."""
    if atoms is None or not len(atoms):
        return []
    names = atoms["species"].astype(str) if "species" in atoms else pd.Series("", atoms.index)
    out = []
    for k, name in enumerate(sorted(names.unique())):
        here = atoms.loc[names == name, ["x_px", "y_px"]].to_numpy(float)
        out.append((name, COLOURS[k % len(COLOURS)], here))
    return out


def svg_figure(
    image: np.ndarray,
    atoms: pd.DataFrame | None = None,
    pixel_size_nm: tuple[float, float] | None = None,
    *,
    radius_px: float = 2.5,
) -> str:
    """Return an image with its atoms and a scale bar as SVG; the atoms stay circles.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    atoms : pandas.DataFrame, optional
        Of this frame.
    pixel_size_nm : tuple of float, optional
        (y, x); without it there is no scale bar.
    radius_px : float
        Radius of the circles.
    """
    from imageio.v3 import imwrite

    grey = as_grey(image)
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
    pixel_size_nm: tuple[float, float] | None = None,
    *,
    radius_px: float = 2.5,
    zoom: int = 1,
) -> np.ndarray:
    """Return an image with its atoms and a scale bar as pixels, uint8 of shape (H, W, 3)."""
    from PIL import Image, ImageDraw

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


def save_figure(path: str | Path, image: np.ndarray, *args: Any, **options: Any) -> Path:
    """Write a figure as ``.svg`` or ``.png``; see :func:`svg_figure` and :func:`draw_figure`.

    Raises
    ------
    FormatError
        If the extension is another, or the file cannot be written.
    """
    from imageio.v3 import imwrite

    target = Path(path)
    kind = target.suffix.lower()
    if kind not in (".svg", ".png"):
        raise FormatError(f"Figures are .svg or .png, not {kind or 'without extension'}.")
    try:
        if kind == ".svg":
            write_whole(target, svg_figure(image, *args, **options))
        else:
            file = io.BytesIO()
            imwrite(file, draw_figure(image, *args, **options), extension=".png")
            write_whole(target, file.getvalue())
    except OSError as error:
        raise FormatError(f"{target.name} could not be written: {error.strerror}.") from error
    return target


def save_movie(
    path: str | Path,
    frames: Iterable[np.ndarray],
    atoms: pd.DataFrame | None = None,
    pixel_size_nm: tuple[float, float] | None = None,
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
    pixel_size_nm : tuple of float, optional
    per_second : float
        Frames per second.
    zoom : int
        Picture pixels per image pixel.

    Raises
    ------
    FormatError
        If the extension is another, or MP4 is asked for and cannot be written here.
    """
    import imageio

    if not 0 < per_second <= 1000:
        raise ParameterError(f"per_second is {per_second:g}, but must lie between 0 and 1000.")
    target = Path(path)
    kind = target.suffix.lower()
    if kind == ".gif":
        options: dict[str, Any] = {"duration": 1000 / per_second, "loop": 0}
    elif kind == ".mp4":
        try:
            import_module("imageio_ffmpeg")
        except ImportError as error:
            raise FormatError(
                "MP4 needs ffmpeg; install it with `pip install imageio-ffmpeg`, or write a .gif."
            ) from error
        options = {"format": "FFMPEG", "fps": per_second, "macro_block_size": 2}
    else:
        raise FormatError(f"Movies are .gif or .mp4, not {kind or 'without extension'}.")
    try:
        writer = imageio.get_writer(target, **options)
    except OSError as error:
        raise FormatError(f"{target.name} could not be written: {error.strerror}.") from error
    with writer:
        for f, frame in enumerate(frames):
            here = None if atoms is None else atoms[atoms["frame"] == f]
            writer.append_data(draw_figure(frame, here, pixel_size_nm, zoom=zoom))
    return target


# Report ---------------------------------------------------------------------------------------

_STYLE = (
    "body{font:15px sans-serif;max-width:60em;margin:2em auto;color:#222}"
    "svg{max-width:100%;height:auto}table{border-collapse:collapse;margin:1em 0}"
    "td,th{border-bottom:1px solid #ccc;padding:.2em .7em;text-align:right}"
    "th:first-child,td:first-child{text-align:left}pre{background:#f4f4f4;padding:1em;"
    "white-space:pre-wrap}"
)


def histogram_svg(values: np.ndarray, title: str, bins: int = 40) -> str:
    """Return a histogram as SVG, empty text where there is nothing to show."""
    finite = np.asarray(values, float)
    finite = finite[np.isfinite(finite)]
    if len(finite) < 2 or finite.min() == finite.max():
        return ""
    low, high = np.percentile(finite, [0.5, 99.5])
    counts, edges = np.histogram(finite, bins, (low, high if high > low else low + 1))
    bars = "".join(
        f'<rect x="{10 + 7 * k}" y="{110 - 100 * n / max(counts.max(), 1):.1f}" width="6" '
        f'height="{100 * n / max(counts.max(), 1):.1f}" fill="#4c78a8"/>'
        for k, n in enumerate(counts)
    )
    texts = "".join(
        f'<text x="{x}" y="124" font-size="10" text-anchor="{anchor}">{value:.4g}</text>'
        for x, anchor, value in ((10, "start", edges[0]), (10 + 7 * bins, "end", edges[-1]))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {20 + 7 * bins} 140" '
        f'width="{20 + 7 * bins}" height="140">{bars}{texts}'
        f'<text x="{10 + 3.5 * bins}" y="136" font-size="11" text-anchor="middle">'
        f"{html.escape(title)}</text></svg>"
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(str(k))}</th>" for k in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_text(v))}</td>" for v in row.values()) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _facts(
    result: Any, pixel_size_nm: tuple[float, float] | None
) -> tuple[tuple[float, float] | None, list[dict[str, Any]], list[dict[str, Any]]]:
    """Pixel size, what is to say of a result, and of each of its species."""
    atoms = result.atoms
    size = pixel_size_nm or result.provenance.get("pixel_size_nm")
    size = None if size is None else (float(size[0]), float(size[1]))
    species = [
        {
            "species": name or "atoms", "number": len(rows),
            "amplitude, mean": float(rows["amplitude"].mean()),
            "standard error, median (px)": float(
                np.hypot(rows["y_err_px"], rows["x_err_px"]).median()
            ),
            "probability, mean": float(rows["probability"].mean()),
        }
        for name, rows in atoms.groupby(atoms["species"].astype(str))
    ]  # fmt: skip
    pixels = "not known" if size is None else f"{size[0]:.6g} x {size[1]:.6g}"
    facts: list[dict[str, Any]] = [
        {"": "frames", "value": len(result.frames)},
        {"": "atoms", "value": len(atoms)},
        {"": "distance of nearest columns (px)", "value": float(result.spacing_px)},
        {"": "pixel size (nm)", "value": pixels},
    ]  # fmt: skip
    return size, facts, species


def _radius(result: Any) -> float:
    """Radius of circles that go round a column and leave its neighbours alone, in pixels."""
    return max(2.5, 0.28 * float(result.spacing_px)) if np.isfinite(result.spacing_px) else 2.5


def html_report(
    image: np.ndarray,
    result: Any,
    *,
    title: str = "AtomLens",
    pixel_size_nm: tuple[float, float] | None = None,
    frame: int = 0,
) -> str:
    """Return one page: the image with its atoms, tables, histograms and provenance.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        The frame that is shown.
    result : napari_atomlens.Result
        What ``analyze`` gave.
    title : str
    pixel_size_nm : tuple of float, optional
        By default that of the provenance of the result.
    frame : int
        Which frame `image` is.

    Returns
    -------
    str
        HTML that needs no other file.
    """
    size, facts, species = _facts(result, pixel_size_nm)
    atoms = result.atoms
    plots = [
        histogram_svg(atoms[column].to_numpy(float), text)
        for column, text in (
            ("amplitude", "amplitude"), ("sigma_px", "width (px)"),
            ("y_err_px", "error along y (px)"),            ("probability", "probability"),
        )
        if column in atoms
    ]  # fmt: skip
    said = "".join(f"<p>{html.escape(m)}</p>" for m in result.messages)
    origin = html.escape(json.dumps(result.provenance, indent=1, default=str))
    shown = atoms[atoms["frame"] == frame]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}'
        f"</title><style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>{said}"
        f"{svg_figure(image, shown, size, radius_px=_radius(result))}"
        f"{_table(facts)}{_table(species)}"
        f"<div>{''.join(plots)}</div><h2>Provenance</h2><pre>{origin}</pre></body></html>\n"
    )


#: A4 at 150 pixels to the inch, and the margin.
_PAGE, _MARGIN = (1240, 1754), 70


def draw_report(
    image: np.ndarray,
    result: Any,
    *,
    title: str = "AtomLens",
    pixel_size_nm: tuple[float, float] | None = None,
    frame: int = 0,
) -> Any:
    """Return the page of :func:`html_report` as a picture of an A4 sheet, for PDF.

    Returns
    -------
    PIL.Image.Image
        1240 x 1754 pixels.
    """
    from PIL import Image, ImageDraw

    size, facts, species = _facts(result, pixel_size_nm)
    width, height = _PAGE
    inner = width - 2 * _MARGIN
    page = Image.new("RGB", _PAGE, "white")
    draw = ImageDraw.Draw(page)
    at = _MARGIN

    def write(text: str, px: int = 20, x: int = _MARGIN, *, wide: int = inner) -> int:
        """Write a paragraph; return how high it is."""
        lines: list[str] = []
        for line in text.splitlines() or [""]:
            words, now = line.split(" "), ""
            for word in words:
                if now and draw.textlength(f"{now} {word}", font_size=px) > wide:
                    lines.append(now)
                    now = word
                else:
                    now = f"{now} {word}" if now else word
            lines.append(now)
        draw.multiline_text((x, at), "\n".join(lines), fill="#222", font_size=px, spacing=4)
        return len(lines) * (px + 7)

    at += write(title, 34) + 6
    for message in result.messages[:4]:
        at += write(message)
    shown = result.atoms[result.atoms["frame"] == frame]
    # drawn so large that the circles are round on paper too
    zoom = int(np.clip(1200 // max(image.shape), 1, 8))
    picture = Image.fromarray(draw_figure(image, shown, size, radius_px=_radius(result), zoom=zoom))
    picture.thumbnail((inner, 820))
    page.paste(picture, (_MARGIN, at + 8))
    at += picture.height + 24
    for row in facts:
        at += write(f"{row['']}: {_text(row['value'])}", 18)
    at += 10
    if species:
        columns = list(species[0])
        step = inner // len(columns)
        for cells in ([*columns], *([_text(v) for v in row.values()] for row in species[:8])):
            high = [write(c, 16, _MARGIN + k * step, wide=step - 12) for k, c in enumerate(cells)]
            at += max(high)
    at += 14
    plots = (("amplitude", "amplitude"), ("sigma_px", "width (px)"),
             ("y_err_px", "error along y (px)"), ("probability", "probability"))  # fmt: skip
    left, wide = _MARGIN, inner // 4 - 20
    for column, text in plots:
        if column in result.atoms and _draw_histogram(
            draw, result.atoms[column].to_numpy(float), text, (left, at), wide
        ):
            left += inner // 4
    at += 170
    origin = json.dumps(
        {k: v for k, v in result.provenance.items() if k != "spacing_px"}, default=str
    )
    room = max(1, (height - _MARGIN - at) // 22) * int(inner / 7.2)
    write(origin if len(origin) <= room else f"{origin[:room]} ...", 15)
    return page


def _draw_histogram(
    draw: Any, values: np.ndarray, title: str, corner: tuple[int, int], width: int, bins: int = 40
) -> bool:
    """Draw a histogram 110 px high with its range and title; False where there is nothing."""
    finite = values[np.isfinite(values)]
    if len(finite) < 2 or finite.min() == finite.max():
        return False
    low, high = np.percentile(finite, [0.5, 99.5])
    counts, edges = np.histogram(finite, bins, (low, high if high > low else low + 1))
    x, y = corner
    for k, n in enumerate(counts):
        left, top = x + k * width / bins, y + 110 - 105 * n / max(counts.max(), 1)
        draw.rectangle((left, top, left + width / bins - 2, y + 110), fill="#4c78a8")
    draw.text((x, y + 114), f"{edges[0]:.4g}", fill="#222", font_size=14)
    draw.text((x + width, y + 114), f"{edges[-1]:.4g}", fill="#222", font_size=14, anchor="ra")
    draw.text((x + width / 2, y + 132), title, fill="#222", font_size=16, anchor="ma")
    return True


def save_report(path: str | Path, image: np.ndarray, result: Any, **options: Any) -> Path:
    """Write a report of one page: ``.html`` (:func:`html_report`) or ``.pdf``.

    Raises
    ------
    FormatError
        If the extension is another, or the file cannot be written.
    """
    target = Path(path)
    kind = target.suffix.lower()
    if kind not in (".html", ".htm", ".pdf"):
        raise FormatError(f"Reports are .html or .pdf, not {kind or 'without extension'}.")
    try:
        if kind == ".pdf":
            file = io.BytesIO()
            draw_report(image, result, **options).save(file, "PDF", resolution=150.0)
            write_whole(target, file.getvalue())
        else:
            write_whole(target, html_report(image, result, **options))
    except OSError as error:
        raise FormatError(f"{target.name} could not be written: {error.strerror}.") from error
    return target
