"""Which model fits an image: told from the lattice in it, and only where it can be told.

A model that was made for one material knows what its lattice looks like: the distance of
nearest columns in nm, how many they are and at which angles, and how much columns next to each
other differ in brightness. The universal model looks at the image; where what it sees is the
lattice of one of the models, that model is taken, if it also explains the image as well and did
better than the universal one on held-out images of its material. In any doubt, the universal one
stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi
from scipy.spatial import cKDTree

from napari_atomlens import points
from napari_atomlens.arrays import peak_positions
from napari_atomlens.errors import CalibrationError, ModelError, ParameterError
from napari_atomlens.image import check_pixel_size, is_height
from napari_atomlens.params import check_choice
from napari_atomlens.progress import Progress, ProgressLike, as_progress
from napari_atomlens.segmentation import runtime
from napari_atomlens.segmentation.contrast import judge_contrast
from napari_atomlens.segmentation.lattice_or_not import judge_lattice, known_distance
from napari_atomlens.segmentation.loading import load_network
from napari_atomlens.segmentation.normalise import remove_hot_pixels
from napari_atomlens.segmentation.pixels import recorded_box
from napari_atomlens.segmentation.predict import predict_classes
from napari_atomlens.segmentation.probabilities import Probabilities
from napari_atomlens.segmentation.scale import _crops, find_spacing, response
from napari_atomlens.segmentation.spacing import check_spacing
from napari_atomlens.segmentation.ways import Contrast
from napari_atomlens.segmentation.zoo import BUNDLED, ModelInfo, find_model, list_models

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


#: Side of the part of the image that is looked at, in pixels of the network.
LOOK_PX = 512
#: Fewer columns than this, away from the border, tell no lattice.
FEWEST = 18
#: Distances may differ by this much: tilt, drift and calibration of the microscope.
SPACING_TOLERANCE = 0.12
#: ... and do so by this standard deviation.
SPACING_SIGMA = 0.05
#: Share of the columns that must have the neighbours of the lattice, and their least order.
CLEAR_SHARE, CLEAR_ORDER = 0.45, 0.6
#: Standard deviations by which the contrast of neighbours leaves the range of a model: of kinds
#: of columns of several materials, and of columns that are all of one kind.
CONTRAST_SIGMA, ALIKE_SIGMA = 0.1, 0.05
#: ... and by which the order of neighbours stays behind.
ORDER_SIGMA = 0.15
#: Least weight of the evidence, which is 1 where distance, neighbours and contrast are those of
#: the material.
LEAST_WEIGHT = 0.02
#: Contrast below which a sublattice may be too faint for the universal model.
FAINTEST = 0.2
NO_LATTICE = "Model single-atoms: no lattice was found, so atoms are looked for one by one."
#: A model may explain so much less of the image than the universal one.
EXPLAINS_LESS = 0.05


@dataclass(frozen=True)
class ImagePeriod:
    """What a lattice looks like, whatever its scale, place and direction.

    Attributes
    ----------
    spacing_nm : float
        Distance of nearest columns; NaN where the pixel size is unknown.
    neighbours : int
        Most frequent number of columns within 1.3 times that distance.
    share : float
        Share of the columns with so many.
    order : float
        Mean of ``|sum exp(i k angle)| / k`` over them, with k the number of neighbours: 1 where
        neighbours stand at equal angles, as in a honeycomb (3), square (4) or close-packed (6)
        lattice.
    contrast : float
        Typical brightness of the dimmer over the brighter of two neighbours, over the same of
        second neighbours, which takes the noise out: 1 for one kind of column.
    columns : int
        Columns that were counted.
    """

    spacing_nm: float
    neighbours: int
    share: float
    order: float
    contrast: float
    columns: int

    def in_words(self) -> str:
        """Return half a sentence for the user."""
        clear = self.order > CLEAR_ORDER and self.share > CLEAR_SHARE
        kind = {3: "honeycomb", 4: "square lattice", 6: "close-packed lattice"}.get(
            self.neighbours if clear else 0
        )
        alike = "of one kind of column"
        if self.contrast < 0.85:
            alike = f"of two kinds of columns (brightness 1 : {self.contrast:.2f})"
        text = f"{kind or 'lattice'} {alike}, {1e3 * self.spacing_nm:.0f} pm apart"
        if kind is None:
            plural = "" if self.neighbours == 1 else "s"
            text += f", most ({self.share:.0%}) with {self.neighbours} neighbour{plural}"
        return text


@dataclass(frozen=True)
class Choice:
    """A model, why it was chosen, and what was learned of the image on the way.

    Attributes
    ----------
    info : ModelInfo
    reason : str
        One sentence.
    spacing_px : float
        Distance of nearest columns that was found, 0 where none was looked for.
    """

    info: ModelInfo
    reason: str
    spacing_px: float = 0.0


def column_brightness(image: np.ndarray, places: np.ndarray, spacing_px: float) -> np.ndarray:
    """Brightness of columns above the darkest place round them, of a slightly smoothed image."""
    smooth = ndi.gaussian_filter(image, 0.12 * spacing_px)
    dark = ndi.minimum_filter(
        ndi.gaussian_filter(image, 0.2 * spacing_px), 2 * round(0.9 * spacing_px) + 1
    )
    at = places.T
    return np.asarray(
        ndi.map_coordinates(smooth, at, order=1, mode="nearest")
        - ndi.map_coordinates(dark, at, order=1, mode="nearest")
    )


def _pair_ratio(pairs: np.ndarray, brightness: np.ndarray) -> float:
    """Median over pairs of the dimmer over the brighter."""
    two = np.sort(np.maximum(brightness[pairs], 0), axis=1)
    two = two[two[:, 1] > 0]
    return float(np.median(two[:, 0] / two[:, 1])) if len(two) else float("nan")


def lattice_of(
    places: np.ndarray,
    brightness: np.ndarray,
    spacing: float,
    spacing_nm: float = float("nan"),
) -> ImagePeriod | None:
    """Describe the lattice of columns; None where they are too few.

    Parameters
    ----------
    places : ndarray, shape (n, 2)
    brightness : ndarray, shape (n,)
    spacing : float
        Distance of nearest columns, in the unit of `places`.
    spacing_nm : float
        The same in nm.
    """
    if len(places) < FEWEST:
        return None
    tree = cKDTree(places)
    near = tree.query_pairs(1.3 * spacing, output_type="ndarray")
    n = len(places)
    degree = np.bincount(near.ravel(), minlength=n)
    low, high = places.min(0) + 1.2 * spacing, places.max(0) - 1.2 * spacing
    inner = ((places > low) & (places < high)).all(axis=1)
    if inner.sum() < FEWEST or not len(near):
        return None
    counts = np.bincount(degree[inner])
    k = int(counts.argmax())
    if k == 0:
        return None
    step = places[near[:, 1]] - places[near[:, 0]]
    turn = np.exp(1j * k * np.arctan2(-step[:, 0], step[:, 1]))
    z = np.zeros(n, complex)
    np.add.at(z, near[:, 0], turn)
    np.add.at(z, near[:, 1], turn * (-1) ** k)  # the way back is turned by pi
    usual = inner & (degree == k)
    second = tree.query_pairs(1.9 * spacing, output_type="ndarray")
    far = np.linalg.norm(places[second[:, 1]] - places[second[:, 0]], axis=1) > 1.3 * spacing
    alike = _pair_ratio(second[far], brightness)
    contrast = _pair_ratio(near, brightness) / alike if alike > 0 else float("nan")
    return ImagePeriod(
        float(spacing_nm), k, float(counts[k] / inner.sum()), float(np.abs(z[usual]).mean() / k),
        float(min(contrast, 1.0)), int(inner.sum()),
    )  # fmt: skip


def look(
    image: np.ndarray,
    info: ModelInfo,
    spacing_px: float,
    pixel_size_nm: tuple[float, float],
    watch: Progress = Progress(),
) -> ImagePeriod | None:
    """Lattice in the middle of an image, as a model sees it; None where there is none."""
    side = round(LOOK_PX * spacing_px / info.preferred_spacing_px)
    h, w = (min(side, s) for s in image.shape)
    y, x = (image.shape[0] - h) // 2, (image.shape[1] - w) // 2
    part = np.ascontiguousarray(image[y : y + h, x : x + w])
    seen = predict_classes(part, info, spacing_px, progress=watch)
    places, _ = peak_positions(seen.centre, 0.4)
    if len(places) < FEWEST:
        return None
    zoom = np.asarray(seen.zoom)
    here = (places + 0.5) / zoom - 0.5
    bright = column_brightness(seen.frame, here, spacing_px)
    nm = here * np.asarray(pixel_size_nm)
    spacing_nm = points.spacing(nm)
    return lattice_of(nm, bright, spacing_nm, spacing_nm) if np.isfinite(spacing_nm) else None


def weight_of(lattice: ImagePeriod, wanted: dict[str, Any]) -> tuple[float, str]:
    """Weigh what speaks for a lattice to be that of a model, and name what speaks most against.

    No single measure decides: a contrast beyond the range of the model counts less where distance
    and angles are right to a per cent, and more where they are not.

    Parameters
    ----------
    wanted : dict
        ``spacing_nm`` (list of those of the material), ``neighbours``, ``contrast`` (range).

    Returns
    -------
    weight : float
        1 where everything is as it is in the material, 0 where it has other neighbours.
    against : str
    """
    if lattice.neighbours != wanted["neighbours"] or lattice.share < CLEAR_SHARE:
        return 0.0, "its columns have other neighbours"
    off = min(abs(lattice.spacing_nm / s - 1) for s in wanted["spacing_nm"])
    if off > SPACING_TOLERANCE:
        return 0.0, "its columns are further apart or nearer"
    late = max(wanted.get("order", 1.0) - 0.1 - lattice.order, 0.0)
    low, high = wanted["contrast"]
    beyond = max(low - lattice.contrast, lattice.contrast - high, 0.0)
    alike = CONTRAST_SIGMA if high > low else ALIKE_SIGMA
    costs = {
        "its columns are further apart or nearer": (off / SPACING_SIGMA) ** 2,
        "its columns stand at other angles": (late / ORDER_SIGMA) ** 2,
        "its columns differ in brightness in another way": (beyond / alike) ** 2,
    }
    return float(np.exp(-0.5 * sum(costs.values()))), max(costs, key=lambda k: costs[k])


def fits(lattice: ImagePeriod, wanted: dict[str, Any]) -> str:
    """Why a lattice is not that of a model; "" where the evidence is for it (see `weight_of`)."""
    weight, against = weight_of(lattice, wanted)
    return "" if weight >= LEAST_WEIGHT else against


def halved(lattice: ImagePeriod, wanted: dict[str, Any]) -> ImagePeriod | None:
    """Return the lattice as it is if every other column is too faint to be seen.

    In PbTiO3 the universal model may see the lead alone: a square lattice of one kind of column,
    whose distance is the diagonal of what the model of perovskites was made for.
    """
    if wanted["neighbours"] != 4 or lattice.neighbours != 4 or wanted["contrast"][0] > FAINTEST:
        return None
    if lattice.contrast < 1 - FAINTEST:
        return None
    return replace(
        lattice, spacing_nm=lattice.spacing_nm / np.sqrt(2), contrast=wanted["contrast"][0]
    )


def model_candidates() -> list[ModelInfo]:
    """Models that say what their lattice is, and were better there than the universal one."""
    found = []
    for m in list_models():
        before, after = (m.figures.get(k) for k in ("universal_f1", "f1"))
        if m.lattice and (before is None or after is None or after >= before):
            found.append(m)
    return found


def choose_model(
    image: ArrayLike,
    pixel_size_nm: tuple[float, float] | None = None,
    *,
    spacing_px: float = 0.0,
    guess_px: float = 0.0,
    technique: str = "",
    progress: ProgressLike = None,
) -> Choice:
    """Choose the model for an image, and say why.

    Parameters
    ----------
    image : array-like, shape (H, W)
    pixel_size_nm : tuple of float, optional
        (y, x). Without it no material can be told, and the universal model is taken.
    spacing_px : float
        Distance of nearest columns in pixels; 0 finds it, or that there is no lattice.
    guess_px : float
        Distance that another look at the image found; it may be none of a lattice.
    technique : str
        "STM" or "STEM" where the file says so.
    progress : Progress or callable, optional
        Asked while it works whether to stop.

    Returns
    -------
    Choice

    Raises
    ------
    ImageError
        If the image cannot be used.
    StoppedError
        If it is asked to stop.
    """
    if not isinstance(technique, str):
        raise ParameterError(f"technique is {technique!r}, but must be a text, such as STM.")
    universal, watch, given = find_model("universal"), as_progress(progress), spacing_px

    def stay(why: str, spacing: float = 0.0) -> Choice:
        return Choice(universal, f"Model universal: {why}.", spacing)

    if not given and technique != "STM" and not is_height(np.asarray(image)):
        seen = judge_lattice(image, guess_px, progress=watch)
        known = [s for m in model_candidates() for s in m.lattice["spacing_nm"]]
        if not (seen.found or known_distance(seen, pixel_size_nm, known)):
            return Choice(find_model("single-atoms"), NO_LATTICE)
        given = seen.looked_px
    models = [m for m in model_candidates() if not technique or technique in m.technique]
    if not models:
        return stay(f"no other model is for {technique or 'any one material'}", given)
    if pixel_size_nm is None:
        return stay("the pixel size is unknown, so that the material cannot be told", given)
    frame = remove_hot_pixels(recorded_box(image))
    runtime.prepare()
    try:
        spacing = check_spacing(given or guess_px, frame.shape) or find_spacing(
            frame, universal, progress=watch
        )
    except CalibrationError:
        return stay("no lattice was found")
    coarse = spacing * float(np.mean(pixel_size_nm))
    if not any(_may_be(coarse, m.lattice) for m in models):
        return stay(f"no other model is for columns {1e3 * coarse:.0f} pm apart", spacing)
    lattice = look(frame, universal, spacing, pixel_size_nm, watch)
    if lattice is None:
        return stay("too few columns were found to tell the lattice", spacing)
    right = [m for m in models if not fits(lattice, m.lattice)]
    if hidden := not right:
        right = [m for m in models if (h := halved(lattice, m.lattice)) and not fits(h, m.lattice)]
    if not right:
        nearest = min(
            models,
            key=lambda m: min(abs(lattice.spacing_nm / s - 1) for s in m.lattice["spacing_nm"]),
        )
        return stay(
            f"this is a {lattice.in_words()}; it is not that of {nearest.name}, since "
            f"{fits(lattice, nearest.lattice)}", spacing,
        )  # fmt: skip
    # the user's own models first, then the nearest in distance
    right.sort(
        key=lambda m: (
            m.path.parent == BUNDLED,
            min(abs(lattice.spacing_nm / s - 1) for s in m.lattice["spacing_nm"]),
        ),
    )
    best, damage = _first_sound(right)
    if best is None:
        return stay(damage.rstrip("."), spacing)
    # where every other column is faint, the model is asked for what it would see
    nearer = spacing / np.sqrt(2) if hidden else spacing
    score = {}
    for m, distance in ((universal, spacing), (best, nearer)):
        crops = _crops(frame, distance, m.preferred_spacing_px, 1)
        score[m.name], *_ = response(
            load_network(m), crops, distance, m.preferred_spacing_px, watch
        )
    if score[best.name] < score["universal"] - EXPLAINS_LESS:
        return stay(
            f"the lattice {'may be' if hidden else 'is'} that of {best.name}, but that model "
            f"explains less of this image ({score[best.name]:.2f} against "
            f"{score['universal']:.2f})", spacing,
        )  # fmt: skip
    why = f"Model {best.name}: this is a {lattice.in_words()}{_weighed(lattice, best, hidden)}."
    return Choice(best, f"{why} {damage}".strip(), float(nearer))


def _may_be(spacing_nm: float, wanted: dict[str, Any]) -> bool:
    """Whether a distance that is roughly known may be one of a model, or its diagonal."""
    hidden = wanted["neighbours"] == 4 and wanted["contrast"][0] <= FAINTEST
    return any(
        abs(spacing_nm / (s * times) - 1) < 2 * SPACING_TOLERANCE
        for s in wanted["spacing_nm"] for times in ((1, np.sqrt(2)) if hidden else (1,))
    )  # fmt: skip


def _weighed(lattice: ImagePeriod, model: ModelInfo, hidden: bool) -> str:
    """What speaks against a model that was taken all the same."""
    if hidden:
        return ", between which that model sees faint ones"
    weight, against = weight_of(lattice, model.lattice)
    low, high = model.lattice["contrast"]
    if low <= lattice.contrast <= high or weight > 0.6:
        return ""
    return f"; {against} ({low:.2f} to {high:.2f} in training), which the rest of it outweighs"


def _first_sound(models: list[ModelInfo]) -> tuple[ModelInfo | None, str]:
    """First model whose weights can be used, and sentences of those before it."""
    damage: list[str] = []
    for info in models:
        try:
            load_network(info)
        except ModelError as error:  # one bad file must not cost the others
            damage.append(str(error))
        else:
            return info, " ".join(damage)
    return None, " ".join(damage)


def as_wanted(lattices: list[ImagePeriod]) -> dict[str, object]:
    """Put what the lattices of a material look like into the facts of its model."""
    first = lattices[0]
    contrast = [one.contrast for one in lattices]
    return {
        "spacing_nm": sorted({round(one.spacing_nm, 4) for one in lattices}),
        "neighbours": first.neighbours,
        "order": round(min(one.order for one in lattices), 3),
        "contrast": [round(min(contrast), 3), round(max(contrast), 3)],
    }


def segment(
    image: Any,
    model: str | ModelInfo = "auto",
    spacing_px: float = 0.0,
    *,
    contrast: Contrast = "auto",
    pixel_size_nm: float | tuple[float, float] | None = None,
    technique: str = "",
    progress: ProgressLike = None,
) -> Probabilities:
    """Class probabilities of one frame.

    Parameters
    ----------
    image : array-like, shape (H, W)
        Any real number type; what was not recorded (NaN, masks, filled lines) is bridged.
    model : str or ModelInfo
        Name or path of a model; "auto" chooses one as :func:`napari_atomlens.analyze` does.
    spacing_px : float
        Distance between nearest columns in pixels; 0 finds it in the image.
    contrast : {"auto", "bright", "dark"}
        Columns against what lies between them; auto tells it by what explains the image.
    pixel_size_nm : float or tuple of float, optional
        (y, x); without it no material can be told, and "auto" is the universal model.
    technique : str
        "STM" or "STEM" where it is known; helps to choose the model.
    progress : Progress or callable, optional
        Asked while it works whether to stop.

    Returns
    -------
    Probabilities

    Raises
    ------
    ImageError, ModelError, CalibrationError
        If the image, the model or the pixel size cannot be used, or no spacing is found.
    StoppedError
        If it is asked to stop.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, _ = al.simulate("honeycomb", (96, 96), 10.0)
    >>> probabilities = al.segment(image, spacing_px=10.0)
    >>> probabilities.maps.shape, probabilities.classes
    ((4, 96, 96), ('background', 'column', 'bright column', 'contamination'))
    """
    check_choice("contrast", contrast, Contrast)
    named = model if isinstance(model, ModelInfo) else find_model(model)
    dark = contrast == "dark"
    if contrast == "auto" and named.knows_bright and not named.without_lattice:
        dark = judge_contrast(image, "universal", spacing_px, progress=progress).dark
    size = check_pixel_size(pixel_size_nm) if model == "auto" else None
    if model == "auto" and not dark:  # those of one material know how bright its columns are
        choice = choose_model(
            image, size, spacing_px=spacing_px, technique=technique, progress=progress
        )
        named, spacing_px = choice.info, spacing_px or choice.spacing_px
    return predict_classes(image, named, spacing_px, dark=dark, progress=progress)
