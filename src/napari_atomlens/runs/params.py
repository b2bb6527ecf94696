"""What a run may be told: the parameters of the analysis, of a batch, of a watch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from napari_atomlens.atoms.ways import Refine, Width
from napari_atomlens.params import Params, param
from napari_atomlens.segmentation.ways import Contrast


@dataclass(frozen=True)
class AnalysisParams(Params):
    """How to analyse an image or a movie. Zero means "find it in the image".

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.AnalysisParams(model="universal", refine="elliptic", spacing_px=12).spacing_px
    12.0
    >>> al.AnalysisParams(refine="best")
    Traceback (most recent call last):
    ...
    napari_atomlens.errors.ParameterError: refine is 'best', but must be one of fit, elliptic, ...
    """

    model: str = param("auto", "name of the model; auto chooses for you")
    spacing_px: float = param(
        0.0, "distance between nearest columns; 0 finds it in the image", unit="px", ge=0, le=2000
    )
    contrast: Contrast = param(
        "auto", "columns are bright or dark against what lies between them; auto tells it by what "
        "explains the image",
    )  # fmt: skip
    min_probability: float = param(0.5, "atoms below this probability are left out", ge=0, le=1)
    faint: bool = param(
        False, "keep weak maxima between columns that are much stronger: often tails, no columns"
    )
    refine: Refine = param(
        "fit",
        "refine positions on the original pixels: joint fit of round or elliptic columns, or "
        "centre of mass",
    )
    column_width: Width = param(
        "auto", "widths in the fit: one per kind of column, free, or what the image asks for"
    )
    contours: bool = param(True, "draw the outline of every atom")
    window: int = param(
        1, "frames of a movie that are summed to find atoms at low dose, 0 for as many as the dose "
        "asks for; positions are still measured in each frame", unit="frames", ge=0, le=1001,
    )  # fmt: skip


@dataclass(frozen=True)
class BatchParams(AnalysisParams):
    """How to analyse many files; every parameter of the analysis, and these.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> params = al.BatchParams(model="universal", maps=True)
    >>> params.analysis()
    AnalysisParams(model='universal', ...)
    """

    image: str = param(
        "", "image of files that hold several: its name, a pattern or a part of it; empty: the "
        "first",
    )  # fmt: skip
    names: str = param(
        "", "patterns of names such as *HAADF*.tif, several with commas; empty: all files of a "
        "folder",
    )  # fmt: skip
    chunk_frames: int = param(
        8, "frames that are written together, the most that a killed worker costs", ge=1, le=10_000
    )  # fmt: skip
    maps: bool = param(False, "also write the probability maps, as zarr")
    limit_s: float = param(
        300.0, "a file that takes longer to be opened is given up; the others go on", unit="s",
        ge=0.1, le=86400,
    )  # fmt: skip
    retry: bool = param(False, "try files and frames again that failed in an earlier run")

    def analysis(self) -> AnalysisParams:
        """Return the part that a single analysis takes."""
        return AnalysisParams(**{f.name: getattr(self, f.name) for f in fields(AnalysisParams)})


@dataclass(frozen=True)
class WatchParams(Params):
    """How a folder is watched.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.WatchParams(analysis="atoms", poll_s=1.0).analysis
    'atoms'
    """

    analysis: Literal["auto", "silicon", "atoms", "none"] = param(
        "auto",
        "silicon: H-Si(100); atoms: any lattice, with the model that fits it; auto: the first "
        "where it fits",
    )
    pixel_size_nm: float | None = param(
        None, "pixel size; by default that in the file", unit="nm", ge=1e-4, le=100
    )
    image: str = param(
        "", "image of files that hold several: its name, a pattern or a part of it; empty: the "
        "first",
    )  # fmt: skip
    names: str = param(
        "", "patterns of names such as *HAADF*.tif, several with commas; empty: every file",
    )  # fmt: skip
    out: str = param("", "folder of the results; empty: atomlens_results in the watched folder")
    poll_s: float = param(0.1, "pause between two looks", unit="s", ge=0.01, le=3600)
    settle_s: float = param(
        0.25, "a file is complete when it rests for so long", unit="s", ge=0, le=3600
    )
    tries: int = param(
        5, "times that a file that fails is tried before it must change", ge=1, le=100
    )
    limit_s: float = param(
        300.0, "a file that takes longer is given up; the next one is taken", unit="s",
        ge=0.1, le=86400,
    )  # fmt: skip
    workers: int | None = param(
        None, "files side by side, each in a process of its own; by default as many as cores, at "
        "most 4", ge=1, le=1000,
    )  # fmt: skip
    newest_first: bool = param(False, "where files wait the newest is taken first")
    subfolders: bool = param(False, "also watch the folders in the folder")
    min_score: float = param(0.0, "scans with a lower score are not analysed", ge=0, le=1)
    hook: str = param(
        "", "module:function that is called with every event, or the name of a hook of an "
        "installed package; several with commas",
    )  # fmt: skip
    hook_limit_s: float = param(
        30.0, "a hook that takes longer is ended", unit="s", ge=0.1, le=86400
    )
    library: str = param("", "defect library to which the defects of H-Si(100) are added")
