"""How our layers are known: by an entry in their metadata that says what each is, and of what.

The entry is a dictionary below :data:`KEY`: ``role`` (what the layer shows), ``source_id`` and
``source_name`` (the layer that it was made from) and what whoever drew it noted besides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.layers import Layer

#: Key of our entry in the metadata of a layer.
KEY = "napari-atomlens"
#: Key of what is known of a list of positions that the user opened: where they lie, how told.
POSITIONS = "positions"
#: Ends the name of a layer that no longer follows from the atoms that there are.
STALE = " (stale)"

# of an image
PROBABILITY, UNFAMILIAR, CONTOURS, ATOMS = "probability", "unfamiliar", "contours", "atoms"
# of a measured lattice
ARROWS, MAP, VACANCIES = "displacements", "lattice map", "vacancies"
CORES, BURGERS = "dislocations", "Burgers vectors"
# of a bond graph
BONDS, RINGS, DEFECTS = "bonds", "rings", "defects"
# of a crystal that was matched
CRYSTAL, CRYSTAL_DEFECTS = "crystal", "defects of the crystal"
# of a movie
FRAME_ATOMS, DUMBBELLS, CHANGE_MAP, SHIFTS = "frame atoms", "dumbbells", "change map", "shifts"
TRACKS, MOVING, DEFECT_TRACKS = "tracks", "moving defects", "defect tracks"
# of a surface
PREPARED, PREVIEW, FLAT, MEAN = (
    "prepared scan",
    "preview",
    "terraces levelled",
    "mean of the traces",
)
SQUARE, UNDRIFTED = "square pixels", "without drift"
DIMERS, MASK, TERRACES, EDGES = "dimers", "defect mask", "terraces", "step edges"
SURFACE_DEFECTS, GALLERY = "surface defects", "classes of defects"
ROWS, MOLECULES, ROTATION = "dimer rows", "molecules", "rotation of molecules"
DISAGREE, FLIPS, IN_TIME = "the traces differ", "flips", "molecules in time"
#: Layers of ours that are scans themselves.
SCANS = (PREPARED, SQUARE, UNDRIFTED)
# of whatever there are atoms of
ANOMALIES, EXCLUDED = "anomalies", "excluded"

#: From below to above, directly on the image; what is not named here lies on top.
ORDER = (
    PREPARED, SQUARE, UNDRIFTED, FLAT, MEAN, PREVIEW, PROBABILITY, UNFAMILIAR, TERRACES, MASK,
    DISAGREE, MAP, CHANGE_MAP, RINGS, ROWS, EDGES, CONTOURS, TRACKS, DEFECT_TRACKS, BONDS,
    DUMBBELLS, DIMERS, MOLECULES, IN_TIME, ATOMS, FRAME_ATOMS, CRYSTAL, ROTATION, ARROWS, SHIFTS,
    VACANCIES, BURGERS, CORES, ANOMALIES, DEFECTS, CRYSTAL_DEFECTS, SURFACE_DEFECTS, MOVING, FLIPS,
    EXCLUDED, GALLERY,
)  # fmt: skip
#: Table of the session that a layer shows; a layer is stale when its table is.
TABLE_OF = {
    ATOMS: "atoms", CONTOURS: "contours", MAP: "lattices", ARROWS: "lattices",
    CORES: "dislocations", BURGERS: "dislocations",
    VACANCIES: "vacancies", BONDS: "bonds", RINGS: "rings", DEFECTS: "defects",
    TRACKS: "tracks", DUMBBELLS: "dumbbells", CHANGE_MAP: "dumbbells", SHIFTS: "dumbbells",
    MOVING: "defect tracks", DEFECT_TRACKS: "defect tracks", ANOMALIES: "anomalies",
    TERRACES: "terraces", EDGES: "step edges", DIMERS: "dimers",
    SURFACE_DEFECTS: "surface defects", GALLERY: "classes of defects", MOLECULES: "molecules",
    CRYSTAL: "crystal model", CRYSTAL_DEFECTS: "crystal defects",
    ROTATION: "molecules", IN_TIME: "molecule tracks", FLIPS: "flips",
}  # fmt: skip


def entry(layer: Layer) -> dict[str, Any]:
    """Our entry in the metadata of a layer, empty where the layer is not ours."""
    found = layer.metadata.get(KEY)
    return found if isinstance(found, dict) else {}


def opened_positions(layer: Layer) -> dict[str, Any]:
    """What is known of positions of the user's own that our reader opened, else empty.

    ``source_id`` and ``source_name`` are of the image that they lie in, ``spacing_px`` the distance
    between nearest ones.
    """
    found = layer.metadata.get(POSITIONS)
    return found if isinstance(found, dict) else {}


def is_given(layer: Layer) -> bool:
    """Whether a layer was not made by us: an image to look for atoms in."""
    return not entry(layer)


def is_atoms(layer: Layer) -> bool:
    """Whether a layer of points holds atoms: ours, or those of somebody else."""
    return bool(entry(layer).get("role", ATOMS) == ATOMS)


def are_our_atoms(layer: Layer) -> bool:
    """Whether a layer holds atoms that we found: what one wants, most likely."""
    return bool(entry(layer).get("role") == ATOMS)


def rank(layer: Layer) -> int:
    """How high a layer of ours lies above its image."""
    role = entry(layer).get("role")
    return ORDER.index(role) if role in ORDER else len(ORDER)


def plain_name(layer: Layer) -> str:
    """Name of a layer without the mark of what is stale."""
    return str(layer.name).removesuffix(STALE)


def kind_of(layer: Layer) -> str:
    """Kind of a layer ("Points", "Shapes" ...), also of what a proxy stands for."""
    return str(layer.__class__.__name__)
