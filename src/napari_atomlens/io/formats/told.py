"""What is said of every layout of files: the table of formats of the documentation is made of it.

A kind (:mod:`napari_atomlens.io.formats.kinds`) may have several layouts, as HDF5 does.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Files of the program itself, in tests and measurements; and those that tests write.
MADE, OWN = "files of the program", "files written by its layout"


@dataclass(frozen=True)
class Layout:
    """What is read of a layout.

    Attributes
    ----------
    name : str
    kind : str
        Name of its kind.
    suffixes : str
    movies : str
        Where the frames of a movie come from, "" where there are none.
    pixel_size : str
        Where it comes from, "" where the file has none.
    time : str
        Where the time between frames, or the date, comes from.
    units : str
        Of the pixels.
    refused : str
        What is not read, and why.
    tested : str
        With what.
    """

    name: str
    kind: str
    suffixes: str
    movies: str = ""
    pixel_size: str = ""
    time: str = ""
    units: str = "counts or grey values, as the file has them"
    refused: str = ""
    tested: str = OWN


_SPECTRA = "spectra and diffraction, by the units of the axes (1/nm, mrad, eV)"
_HEIGHTS = "heights in nm, others as the file has them"

LAYOUTS = (
    Layout("TIFF", "tiff", ".tif .tiff", "pages; T or Z", "resolution; tags of DigitalMicrograph",
           "finterval", refused=_SPECTRA + "; packings that Pillow and tifffile cannot unpack",
           tested=f"{MADE}; {OWN}"),
    Layout("ImageJ TIFF", "tiff", ".tif .tiff", "T, Z, or channels without names; depths over "
           "time are movies of their own", "unit and resolution", "finterval",
           refused=_SPECTRA, tested=f"{MADE}; {OWN}"),
    Layout("OME-TIFF", "tiff", ".ome.tif", "T or Z", "PhysicalSize", "TimeIncrement",
           refused="series whose other files are missing, by name"),
    Layout("PNG", "png", ".png", tested=f"{MADE}; {OWN}"),
    Layout("JPEG", "jpeg", ".jpg .jpeg", tested=f"{MADE}; {OWN}"),
    Layout("NumPy array", "npy", ".npy", "first of three axes", "json beside it",
           refused="objects (pickle), complex numbers", tested=f"{MADE}; {OWN}"),
    Layout("NumPy archive", "npz", ".npz", "first of three axes; numbered arrays",
           "`pixel_size_nm`, `field_nm`", "`time_step_s`", refused="objects (pickle)",
           tested=f"{MADE}; {OWN}"),
    Layout("HyperSpy", "hdf5", ".hspy .zspy", "navigation axis", "axes", "axis; date and time",
           _HEIGHTS, f"{_SPECTRA}, and by the kind of signal", f"{MADE}; {OWN}"),
    Layout("EMD 0.2 (Berkeley, HyperSpy)", "hdf5", ".emd", "first of three axes", "`dim1` ...",
           "`dim1`", _HEIGHTS, _SPECTRA, f"{MADE}; {OWN}"),
    Layout("EMD 1.0 (emdfile, py4DSTEM)", "hdf5", ".emd .h5", "first of three axes; named slices "
           "are images of their own", "`dim0` ...", "`dim0`", _HEIGHTS,
           f"{_SPECTRA}; diffraction classes of py4DSTEM by name; 4D"),
    Layout("py4DSTEM 0.12 and older", "hdf5", ".h5", units="",
           refused="all: open it in py4DSTEM and save it as EMD 1.0 or TIFF"),
    Layout("Velox", "hdf5", ".emd", "frames", "axes", "axis; date and time",
           refused="spectra", tested=MADE),
    Layout("DigitalMicrograph 5", "hdf5", ".dm5", "first of three axes", "calibrations",
           "calibration; date and time", refused=f"{_SPECTRA}; thumbnails"),
    Layout("NeXus", "hdf5", ".nxs", "first of three axes", "axes", "axis", _HEIGHTS, _SPECTRA,
           f"{MADE}; {OWN}"),
    Layout("Nion Swift", "nion", ".ndata .ndata1 .h5", "first of three axes", "calibrations",
           "calibration", refused=_SPECTRA),
    Layout("AtomNet, LibraryNet", "hdf5", ".hdf5", "first of three axes", "scan size",
           tested=f"{MADE}; {OWN}"),
    Layout("other HDF5", "hdf5", ".h5 .hdf5", "first of three axes; numbered arrays",
           "attributes `pixel_size_nm`, `element_size_um`", "`time_step_s`",
           refused="more than three axes"),
    Layout("zarr, OME-Zarr", "zarr", ".zarr", "first of three axes", "scale", "scale",
           refused="arrays of objects; links out of the store"),
    Layout("MRC", "mrc", ".mrc .mrcs", "sections", "cell", tested=f"{MADE}; {OWN}"),
    Layout("DigitalMicrograph 3, 4", "dm4", ".dm3 .dm4", "first of three axes", "calibrations",
           "calibration; date and time", refused=_SPECTRA, tested=MADE),
    Layout("TIA", "ser", ".ser .emi", "frames", "calibrations", "calibration",
           refused=f"{_SPECTRA}; an emi file without its series", tested=MADE),
    Layout("Nanonis", "sxm", ".sxm", pixel_size="scan range", time="date and time; time of a frame",
           units=_HEIGHTS, refused="headers without pixels or channels, by what is missing",
           tested=f"{MADE}; {OWN}"),
    Layout("Createc", "createc", ".dat", pixel_size="length", time="time of a frame",
           units="heights in nm, currents in A by the factors of the converter, else counts",
           refused="scans without a recorded line", tested=f"{MADE}; {OWN}"),
    Layout("Gwyddion", "gwy", ".gwy", pixel_size="field", time="date, where it was kept",
           units=_HEIGHTS, refused="files of Gwyddion 1", tested=f"{MADE}; {OWN}"),
    Layout("Gwyddion Simple Field", "gsf", ".gsf", pixel_size="XReal, YReal", units=_HEIGHTS),
    Layout("Aarhus", "mul", ".mul", pixel_size="label", time="date and time; time of a frame",
           units="heights in nm by the factor of the Aarhus scanners, currents in A",
           refused="spectra between the images are left out",
           tested=f"{MADE}; {OWN}"),
    Layout("Igor", "ibw", ".ibw", pixel_size="axes", units=_HEIGHTS, refused="spectra",
           tested=MADE),
    Layout("RHK", "sm4", ".sm4", pixel_size="page", time="date and time", units=_HEIGHTS,
           refused="spectra and movies", tested=f"{MADE}; {OWN}"),
    Layout("Omicron MATRIX", "mtrx", "_mtrx", pixel_size="parameters", units=_HEIGHTS,
           refused="spectra; a scan without its parameters", tested="a stand-in for its library"),
    Layout("matrix in text", "text", ".txt .asc .csv .tsv",
           pixel_size="headers of Gwyddion, SPIP, WSxM", units=_HEIGHTS,
           refused="tables with names of columns, lists of positions, lines of unequal length",
           tested=f"{MADE}; {OWN}"),
    Layout("MATLAB, also 7.3", "mat", ".mat", "last of three axes", "`dx` of StatSTEM",
           refused="saved objects, by the name of their class", tested=f"{MADE}; {OWN}"),
)  # fmt: skip
