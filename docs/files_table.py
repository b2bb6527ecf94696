"""Print a Markdown table of what is read of the published files in ``../shared/data``.

Usage: ``python docs/files_table.py [folder]``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from napari_atomlens.errors import FormatError
from napari_atomlens.io import read
from napari_atomlens.io.formats.kinds import named

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def length(nm: float) -> str:
    return f"{nm:.6g}"


def rows(file: Path, folder: Path) -> list[list[str]]:
    name = str(file.relative_to(folder))
    try:
        images = read(file)
    except FormatError as error:
        return [[name, str(error), "", "", ""]]
    out = []
    for image in images:
        size = image.pixel_size_nm
        pixel = "not stored" if size is None else " x ".join(length(s) for s in size)
        shape = " x ".join(str(n) for n in image.data.shape)
        title = image.name.removeprefix(file.name).lstrip(": ")
        out.append([name, title, f"{shape} {image.data.dtype}", image.axes, pixel])
    return out


def alike(table: list[list[str]], most: int = 3) -> list[list[str]]:
    """More than `most` files below one folder of folders with the same answer are one line."""
    groups: dict[tuple[str, ...], list[list[str]]] = {}
    for row in table:
        parts = Path(row[0]).parts
        key = (*parts[:2], *row[1:]) if len(parts) > 3 else tuple(row)
        groups.setdefault(key, []).append(row)
    out = []
    for key, same in groups.items():
        if len(same) > most and len(Path(same[0][0]).parts) > 3:
            same = [[f"{key[0]}/{key[1]}: {len(same)} files", *same[0][1:]]]
        out += same
    return out


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA
    if not folder.is_dir():
        sys.exit(f"{folder} does not exist.")
    print("| file | image, or why not | shape | axes | pixel size, nm (y x x) |")
    print("|---|---|---|---|---|")
    # sidecars (json, csv, md) are no images
    found = sorted(p for p in folder.rglob("*") if named(p))
    for row in alike([row for file in found for row in rows(file, folder)]):
        print("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |")


if __name__ == "__main__":
    main()
