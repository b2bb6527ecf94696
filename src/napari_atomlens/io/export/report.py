"""A report of one page of what was found, as HTML or PDF; no plotting library is needed."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd

from napari_atomlens.errors import FormatError
from napari_atomlens.files import user_file, write_whole
from napari_atomlens.image import PixelSize, check_pixel_size
from napari_atomlens.io.export.figures import as_grey, draw_figure, svg_figure
from napari_atomlens.params import number_between

if TYPE_CHECKING:
    from PIL.Image import Image

_STYLE = (
    "body{font:15px sans-serif;max-width:60em;margin:2em auto;color:#222}"
    "svg{max-width:100%;height:auto}table{border-collapse:collapse;margin:1em 0}"
    "td,th{border-bottom:1px solid #ccc;padding:.2em .7em;text-align:right}"
    "th:first-child,td:first-child{text-align:left}pre{background:#f4f4f4;padding:1em;"
    "white-space:pre-wrap}"
)


#: What a report draws histograms of, and what is written below them.
_PLOTS = (
    ("amplitude", "amplitude"), ("sigma_px", "width (px)"), ("y_err_px", "error along y (px)"),
    ("probability", "probability"),
)  # fmt: skip


class Reported(Protocol):
    """What a report tells of a result."""

    @property
    def atoms(self) -> pd.DataFrame:
        """One row per atom."""

    @property
    def frames(self) -> Sequence[int]:
        """Frames that were analysed."""

    @property
    def spacing_px(self) -> float:
        """Distance of nearest columns, NaN where it is not known."""

    @property
    def messages(self) -> Sequence[str]:
        """Sentences for the user."""

    @property
    def provenance(self) -> Mapping[str, object]:
        """How it was made."""


def histogram_svg(values: np.ndarray, title: str, bins: int = 40) -> str:
    """Return a histogram as SVG, empty text where there is nothing to show."""
    finite = np.asarray(values, float)
    finite = finite[np.isfinite(finite)]
    if len(finite) < 2 or finite.min() == finite.max():
        return ""
    counts, edges = _histogram(finite, bins)
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


def _histogram(finite: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts and edges, without the tails."""
    low, high = np.percentile(finite, [0.5, 99.5])
    return np.histogram(finite, bins, (low, high if high > low else low + 1))


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(str(k))}</th>" for k in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_text(v))}</td>" for v in row.values()) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _facts(
    result: Reported, pixel_size_nm: float | PixelSize | None
) -> tuple[tuple[float, float] | None, list[dict[str, object]], list[dict[str, object]]]:
    """Pixel size, what is to say of a result, and of each of its species."""
    atoms = result.atoms
    known = check_pixel_size(pixel_size_nm) or result.provenance.get("pixel_size_nm")
    y, x = np.broadcast_to(np.asarray(known, float), (2,))
    size = None if known is None else (float(y), float(x))
    species: list[dict[str, object]] = [
        {
            "species": name or "atoms", "number": len(rows),
            "amplitude, mean": float(rows["amplitude"].mean()),
            "standard error, median (px)": float(
                pd.Series(np.hypot(rows["y_err_px"], rows["x_err_px"])).median()
            ),
            "probability, mean": float(rows["probability"].mean()),
        }
        for name, rows in atoms.groupby(atoms["species"].astype(str))
    ]  # fmt: skip
    pixels = "not known" if size is None else f"{size[0]:.6g} x {size[1]:.6g}"
    facts: list[dict[str, object]] = [
        {"": "frames", "value": len(result.frames)},
        {"": "atoms", "value": len(atoms)},
        {"": "distance of nearest columns (px)", "value": float(result.spacing_px)},
        {"": "pixel size (nm)", "value": pixels},
    ]  # fmt: skip
    return size, facts, species


def _radius(result: Reported) -> float:
    """Radius of circles that go round a column and leave its neighbours alone, in pixels."""
    return max(2.5, 0.28 * float(result.spacing_px)) if np.isfinite(result.spacing_px) else 2.5


def html_report(
    image: np.ndarray,
    result: Reported,
    *,
    title: str = "AtomLens",
    pixel_size_nm: float | PixelSize | None = None,
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
    pixel_size_nm : float or tuple of float, optional
        By default that of the provenance of the result.
    frame : int
        Which frame `image` is.

    Returns
    -------
    str
        HTML that needs no other file.
    """
    size, facts, species = _facts(result, pixel_size_nm)
    atoms, title = result.atoms, str(title)
    plots = [
        histogram_svg(atoms[column].to_numpy(float), text)
        for column, text in _PLOTS
        if column in atoms
    ]
    said = "".join(f"<p>{html.escape(m)}</p>" for m in result.messages)
    origin = html.escape(json.dumps(result.provenance, indent=1, default=str))
    shown = atoms[atoms["frame"] == number_between("frame", frame, 0, 2**62, whole=True)]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}'
        f"</title><style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>{said}"
        f"{svg_figure(image, shown, size, radius_px=_radius(result))}"
        f"{_table(facts)}{_table(species)}"
        f"<div>{''.join(plots)}</div><h2>Provenance</h2><pre>{origin}</pre></body></html>\n"
    )


#: A4 at 150 pixels to the inch, and the margin.
_PAGE, _MARGIN = (1240, 1754), 70


class _Page:
    """A sheet that is filled from the top."""

    def __init__(self) -> None:
        from PIL import Image, ImageDraw

        self.image = Image.new("RGB", _PAGE, "white")
        self.draw = ImageDraw.Draw(self.image)
        self.at = _MARGIN
        self.width = _PAGE[0] - 2 * _MARGIN

    def lines(self, text: str, px: int, wide: int) -> list[str]:
        """Break a text so that no line is wider than `wide`, if a word is not."""
        lines: list[str] = []
        for line in text.splitlines() or [""]:
            words, now = line.split(" "), ""
            for word in words:
                if now and self.draw.textlength(f"{now} {word}", font_size=px) > wide:
                    lines.append(now)
                    now = word
                else:
                    now = f"{now} {word}" if now else word
            lines.append(now)
        return lines

    def write(self, text: str, px: int = 20, gap: int = 0) -> None:
        """Write a paragraph."""
        self.row([text], px)
        self.at += gap

    def row(self, cells: Sequence[str], px: int) -> None:
        """Write paragraphs side by side."""
        step = self.width // len(cells)
        wide = step if len(cells) == 1 else step - 12
        high = 0
        for k, cell in enumerate(cells):
            lines = self.lines(cell, px, wide)
            place = (_MARGIN + k * step, self.at)
            self.draw.multiline_text(place, "\n".join(lines), fill="#222", font_size=px, spacing=4)
            high = max(high, len(lines) * (px + 7))
        self.at += high

    def paste(self, pixels: np.ndarray, most: tuple[int, int]) -> None:
        """Put a picture, no larger than `most`."""
        from PIL import Image

        picture = Image.fromarray(pixels)
        picture.thumbnail(most)
        self.image.paste(picture, (_MARGIN, self.at + 8))
        self.at += picture.height + 24

    def histogram(self, values: np.ndarray, title: str, left: int, bins: int = 40) -> bool:
        """Draw a histogram 110 px high with its range and title; False where there is nothing."""
        finite = values[np.isfinite(values)]
        if len(finite) < 2 or finite.min() == finite.max():
            return False
        counts, edges = _histogram(finite, bins)
        draw, y, width = self.draw, self.at, self.width // 4 - 20
        for k, n in enumerate(counts):
            x, top = left + k * width / bins, y + 110 - 105 * n / max(counts.max(), 1)
            draw.rectangle((x, top, x + width / bins - 2, y + 110), fill="#4c78a8")
        draw.text((left, y + 114), f"{edges[0]:.4g}", fill="#222", font_size=14)
        draw.text((left + width, y + 114), f"{edges[-1]:.4g}", fill="#222", font_size=14,
                  anchor="ra")  # fmt: skip
        draw.text((left + width / 2, y + 132), title, fill="#222", font_size=16, anchor="ma")
        return True


def draw_report(
    image: np.ndarray,
    result: Reported,
    *,
    title: str = "AtomLens",
    pixel_size_nm: float | PixelSize | None = None,
    frame: int = 0,
) -> Image:
    """Return the page of :func:`html_report` as a picture of an A4 sheet, for PDF.

    Returns
    -------
    PIL.Image.Image
        1240 x 1754 pixels.
    """
    size, facts, species = _facts(result, pixel_size_nm)
    page, pixels = _Page(), as_grey(image)
    page.write(str(title), 34, gap=6)
    for message in result.messages[:4]:
        page.write(message)
    number = number_between("frame", frame, 0, 2**62, whole=True)
    shown = result.atoms[result.atoms["frame"] == number]
    # drawn so large that the circles are round on paper too
    zoom = int(np.clip(1200 // max(pixels.shape), 1, 8))
    page.paste(
        draw_figure(image, shown, size, radius_px=_radius(result), zoom=zoom), (page.width, 820)
    )
    for fact in facts:
        page.write(f"{fact['']}: {_text(fact['value'])}", 18)
    page.at += 10
    if species:
        for cells in ([*species[0]], *([_text(v) for v in row.values()] for row in species[:8])):
            page.row(cells, 16)
    page.at += 14
    left = _MARGIN
    for column, text in _PLOTS:
        if column in result.atoms and page.histogram(
            result.atoms[column].to_numpy(float), text, left
        ):
            left += page.width // 4
    page.at += 170
    origin = json.dumps(
        {k: v for k, v in result.provenance.items() if k != "spacing_px"}, default=str
    )
    room = max(1, (_PAGE[1] - _MARGIN - page.at) // 22) * int(page.width / 7.2)
    page.write(origin if len(origin) <= room else f"{origin[:room]} ...", 15)
    return page.image


def save_report(
    path: str | Path,
    image: np.ndarray,
    result: Reported,
    *,
    title: str = "AtomLens",
    pixel_size_nm: float | PixelSize | None = None,
    frame: int = 0,
) -> Path:
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
    with user_file(target):
        if kind != ".pdf":
            page = html_report(image, result, title=title, pixel_size_nm=pixel_size_nm, frame=frame)
            return write_whole(target, page)
        sheet = draw_report(image, result, title=title, pixel_size_nm=pixel_size_nm, frame=frame)
        return write_whole(target, lambda file: sheet.save(file, "PDF", resolution=150.0))
