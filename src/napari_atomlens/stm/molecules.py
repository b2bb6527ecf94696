"""Films of bowl-shaped molecules: positions, up or down, rotation, order, flips.

What the image says of each molecule is compared with rotated templates; a Markov random
field on the graph of neighbours adds what the neighbours say. Its couplings come from the
film itself, and belief propagation gives probabilities for every molecule.

References
----------
J. S. Yedidia et al., IEEE Trans. Inf. Theory 51, 2282 (2005): belief propagation.
J. Besag, The Statistician 24, 179 (1975): pseudo-likelihood, by which couplings are fitted.
B. I. Halperin, D. R. Nelson, Phys. Rev. Lett. 41, 121 (1978): psi_6.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy

from napari_atomlens import arrays, points
from napari_atomlens.cards import Card
from napari_atomlens.errors import ImageError, ParameterError
from napari_atomlens.image import Pixels, as_stack
from napari_atomlens.params import Params, of_kind, param
from napari_atomlens.points import connected
from napari_atomlens.progress import ProgressLike, as_progress
from napari_atomlens.stm.background import bridged, finite_image
from napari_atomlens.stm.levelling import LevelParams, level
from napari_atomlens.tracking.register import image_drift

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


DOWN, UP = 0, 1


@dataclass(frozen=True)
class MoleculeParams(Params):
    """How a film of molecules is read.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> al.MoleculeParams(rotations=1, symmetry=6).rotations
    1
    """

    spacing_px: float = param(
        0.0, "distance of neighbouring molecules; 0 finds it in the image", unit="px", ge=0, le=500
    )
    rotations: int = param(4, "states of rotation of a molecule", ge=1, le=12)
    symmetry: int = param(3, "turns under which a molecule looks the same", ge=1, le=12)
    direction_rad: float = param(
        0.0, "direction of a molecule in its first state of rotation", unit="rad", ge=-7, le=7
    )
    field: bool = param(True, "let the neighbours have a say (Markov random field)")
    adapt: int = param(1, "rounds in which the templates follow the image", ge=0, le=20)
    min_height: float = param(0.02, "least height of a molecule over the usual one", ge=0, le=1)


@dataclass(frozen=True, repr=False, eq=False)
class Film(Card):
    """A film of molecules.

    Attributes
    ----------
    molecules : pandas.DataFrame
        ``frame``, ``molecule_id``, ``y_px``, ``x_px``, ``up`` (bool), ``up_p``, ``rotation``,
        ``rotation_p``, ``angle_rad``, ``bare_up_p``, ``bare_rotation`` (of the image alone),
        ``psi6``, ``psi6_angle_rad``, ``n_neighbours``, ``domain``.
    pairs : ndarray of int, shape (m, 2)
        Neighbours, as rows of `molecules`.
    pair_p : ndarray, shape (m, 2, 2)
        Probability of (down, up) of the first and of the second of each pair.
    evidence : ndarray, shape (n, 2, rotations)
        Log-likelihood of each state by the image.
    templates : ndarray, shape (2, s, s)
        What a molecule down and up looks like, in its first rotation.
    couplings : dict of str to float
        ``updown`` (positive: neighbours like to be equal), ``rotation``, ``field``.
    spacing_px : float

    Examples
    --------
    >>> import napari_atomlens as al
    >>> from napari_atomlens.simulation.molecules import simulate_film
    >>> image, truth = simulate_film(60, seed=1)
    >>> al.read_film(image)
    Film of ... molecules
      up: ...
      spacing: ... px
      domains: ...
      couplings: ...
    """

    molecules: pd.DataFrame
    pairs: np.ndarray
    pair_p: np.ndarray
    evidence: np.ndarray
    templates: np.ndarray
    couplings: dict[str, float]
    spacing_px: float

    def _title(self) -> str:
        return f"Film of {len(self.molecules):,} molecules"

    def _facts(self) -> dict[str, object]:
        table = self.molecules
        return {
            "up": f"{int(table['up'].sum()):,} of {len(table):,}",
            "spacing": f"{self.spacing_px:.2f} px",
            "domains": table["domain"].nunique(),
            "couplings": ", ".join(f"{name} {k:.2f}" for name, k in self.couplings.items()),
        }

    def _picture(self) -> np.ndarray:
        return np.concatenate(list(self.templates), axis=1)


def bowl(state: int, y: np.ndarray, x: np.ndarray, angle: float, spacing: float) -> np.ndarray:
    """Height of a bowl-shaped molecule of threefold symmetry, its rim up or down.

    An assumption, not a calculation: up, three bright lobes of the rim; down, a bump with
    three flanks that lie between the lobes and are weaker.
    """
    u, v = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
    turns = np.array([0, 2, 4]) * np.pi / 3
    if state == UP:
        r, s, height, centre = 0.24, 0.12, 0.8, 0.35
    else:
        r, s, height, centre = 0.22, 0.13, 0.28, 0.5
    out = centre * np.exp(-0.5 * (u**2 + v**2) / (0.17 * spacing) ** 2)
    for t in turns:
        d2 = (u - r * spacing * np.cos(t)) ** 2 + (v - r * spacing * np.sin(t)) ** 2
        out = out + height * np.exp(-0.5 * d2 / (s * spacing) ** 2)
    return np.asarray(out)


def _grid(spacing: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r = int(np.ceil(0.5 * spacing))
    y, x = np.mgrid[-r : r + 1, -r : r + 1].astype(float)
    return y, x, np.hypot(y, x) <= 0.5 * spacing


def default_templates(spacing: float) -> np.ndarray:
    """Templates (2, s, s) of bowls, down and up."""
    y, x, _ = _grid(spacing)
    return np.stack([bowl(k, y, x, 0.0, spacing) for k in (DOWN, UP)])


def find_molecules(
    image: ArrayLike, spacing_px: float = 0.0, min_height: float = 0.02
) -> tuple[np.ndarray, float]:
    """Centres of molecules (n, 2) and their distance, by local maxima at the scale of one.

    Raises
    ------
    ImageError
        If there are fewer than three.
    """
    z = bridged(finite_image(image, 16))
    spacing = spacing_px or film_spacing(z)
    s = scipy.ndimage.gaussian_filter(z, 0.24 * spacing) - scipy.ndimage.gaussian_filter(
        z, 0.8 * spacing
    )
    size = max(3, int(0.6 * spacing) | 1)
    top = (s == scipy.ndimage.maximum_filter(s, size, mode="nearest")) & (s > 0)
    y, x = np.nonzero(top)
    if not len(y):
        raise ImageError("No molecule was found.")
    h = s[y, x]
    keep = h > min_height * np.median(h[h >= np.median(h)])
    y, x = y[keep], x[keep]
    if len(y) < 3:
        raise ImageError("Fewer than three molecules were found.")
    out = []
    padded = np.pad(s, 1, mode="edge")
    for axis in (0, 1):
        up = padded[y + (0 if axis == 0 else 1), x + (1 if axis == 0 else 0)]
        down = padded[y + (2 if axis == 0 else 1), x + (1 if axis == 0 else 2)]
        curve = up + down - 2 * s[y, x]
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = np.where(curve < 0, 0.5 * (up - down) / curve, 0.0)
        out.append(np.clip(shift, -0.5, 0.5))
    return np.c_[y + out[0], x + out[1]], float(spacing)


def film_spacing(z: np.ndarray) -> float:
    """Distance of neighbours from the first ring of the autocorrelation.

    Raises
    ------
    ImageError
        If there is none.
    """
    z = z - scipy.ndimage.gaussian_filter(z, min(z.shape) / 8)
    n = [2 * s for s in z.shape]
    ac = np.fft.fftshift(np.fft.irfft2(np.abs(np.fft.rfft2(z, n)) ** 2, n))
    cy, cx = n[0] // 2, n[1] // 2
    if ac[cy, cx] <= 0:
        raise ImageError("The image is constant; there is no film to read.")
    ac /= ac[cy, cx]
    top = ac == scipy.ndimage.maximum_filter(ac, 5)
    y, x = np.nonzero(top & (ac > 0.08))
    r = np.hypot(y - cy, x - cx)
    far = (r > 5) & (r < min(z.shape) / 3)
    if not far.any():
        raise ImageError("The film shows no distance that repeats; give the spacing.")
    heights = ac[y, x]
    first = r[far & (heights > 0.5 * heights[far].max())].min()
    near = far & (np.abs(r / first - 1) < 0.2)
    return float(np.median(r[near]))


def film_neighbours(places: np.ndarray, spacing: float, reach: float = 1.45) -> np.ndarray:
    """Pairs (m, 2) of neighbours: edges of the Delaunay triangulation below `reach` spacings."""
    n = len(places)
    if n < 3:
        return np.zeros((0, 2), int)
    try:
        simplices = scipy.spatial.Delaunay(places).simplices
    except Exception as error:  # scipy raises its own class for points on a line
        if type(error).__name__ != "QhullError":
            raise
        return np.array(
            sorted(scipy.spatial.cKDTree(places).query_pairs(reach * spacing)), int
        ).reshape(-1, 2)
    pairs = np.concatenate([simplices[:, [0, 1]], simplices[:, [1, 2]], simplices[:, [0, 2]]])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    length = np.hypot(*(places[pairs[:, 0]] - places[pairs[:, 1]]).T)
    return np.asarray(pairs[length < reach * spacing], int)


def _turned(
    image: np.ndarray, places: np.ndarray, spacing: float, angles: np.ndarray
) -> np.ndarray:
    """Patches (n, rotations, pixels) of the image, turned back by each angle."""
    y, x, disc = _grid(spacing)
    y, x = y[disc], x[disc]
    smooth = scipy.ndimage.spline_filter(image, 3)
    out = np.empty((len(places), len(angles), len(y)))
    for k, a in enumerate(angles):
        # a point (u, v) of the molecule lies at x = u cos a + v sin a, y = -u sin a + v cos a
        dx, dy = x * np.cos(a) + y * np.sin(a), -x * np.sin(a) + y * np.cos(a)
        at = [places[:, :1] + dy[None], places[:, 1:] + dx[None]]
        out[:, k] = scipy.ndimage.map_coordinates(
            smooth, at, order=3, prefilter=False, mode="nearest"
        )
    return out


def _patches_of(
    image: np.ndarray, places: np.ndarray, spacing: float, params: MoleculeParams
) -> np.ndarray:
    """Patches (n, rotations, pixels) of mean zero: slow noise moves the level of whole patches."""
    step = 2 * np.pi / params.symmetry / params.rotations
    angles = params.direction_rad + step * np.arange(params.rotations)
    patches = _turned(image, places, spacing, angles)
    return np.asarray(patches - patches.mean(2, keepdims=True))


def _first_templates(patches: np.ndarray, spacing: float) -> np.ndarray:
    """Templates (2, pixels) of bowls at the height that the film has."""
    _, _, disc = _grid(spacing)
    templates = default_templates(spacing)[:, disc]
    templates = templates - templates.mean(1, keepdims=True)
    mean = patches.mean(0)
    gain = float(np.einsum("rp,up->ur", mean, templates).mean() / (templates**2).sum(1).mean())
    return np.asarray(templates * max(gain, 1e-300))


def image_evidence(patches: np.ndarray, templates: np.ndarray, spacing: float) -> np.ndarray:
    """Log-likelihood (n, 2, rotations) of the states of molecules by their image.

    A patch is a template plus noise, which is that of the residuals, for as many independent
    pixels as its correlation leaves.
    """
    _, _, disc = _grid(spacing)
    n = len(patches)
    square = np.empty((n, 2, patches.shape[1]))
    for k in (DOWN, UP):
        square[:, k] = ((patches - templates[k]) ** 2).mean(-1)
    best = square.reshape(n, -1).argmin(1)
    state, turn = np.unravel_index(best, square.shape[1:])
    rest = patches[np.arange(n), turn] - templates[state]
    variance = float(np.median(square.min((1, 2)))) + 1e-300
    return np.asarray(-0.5 * _independent(rest, disc) * square / variance)


def _independent(rest: np.ndarray, disc: np.ndarray) -> float:
    """Number of independent pixels in a patch, from how far residuals are correlated."""
    grid = np.zeros((len(rest), *disc.shape))
    grid[:, disc] = rest - rest.mean()
    var = (grid**2).sum() / max(disc.sum() * len(rest), 1)
    total = 1.0
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (0, 3), (3, 0)):
        a = grid[:, dy:, max(0, -dx) : grid.shape[2] - max(0, dx)]
        a = grid[:, : grid.shape[1] - dy or None, max(0, -dx) : grid.shape[2] - max(0, dx)]
        b = grid[:, dy:, max(0, dx) : grid.shape[2] + min(0, dx) or None]
        overlap = (
            disc[: disc.shape[0] - dy or None, max(0, -dx) : disc.shape[1] - max(0, dx)]
            & disc[dy:, max(0, dx) : disc.shape[1] + min(0, dx) or None]
        )
        rho = float((a * b)[:, overlap].mean() / max(var, 1e-300))
        total += 2 * max(rho, 0.0)
    return float(disc.sum() / total)


def belief(
    evidence: np.ndarray, pairs: np.ndarray, potential: np.ndarray, rounds: int = 40
) -> tuple[np.ndarray, np.ndarray]:
    """Loopy belief propagation.

    Parameters
    ----------
    evidence : ndarray, shape (n, s)
        Log-likelihood of the states.
    pairs : ndarray of int, shape (m, 2)
    potential : ndarray, shape (s, s)
        Log of the pair potential, symmetric.

    Returns
    -------
    single : ndarray, shape (n, s)
        Probability of each state.
    joint : ndarray, shape (m, s, s)
        Probability of the states of each pair.
    """
    n, s = evidence.shape
    m = len(pairs)
    if not m:
        single = np.exp(evidence - evidence.max(1, keepdims=True))
        return single / single.sum(1, keepdims=True), np.zeros((0, s, s))
    source = np.r_[pairs[:, 0], pairs[:, 1]]
    target = np.r_[pairs[:, 1], pairs[:, 0]]
    reverse = np.r_[np.arange(m, 2 * m), np.arange(m)]
    message = np.zeros((2 * m, s))
    psi = np.exp(potential - potential.max())
    local = evidence - evidence.max(1, keepdims=True)
    to = scipy.sparse.coo_matrix(
        (np.ones(2 * m), (target, np.arange(2 * m))), shape=(n, 2 * m)
    ).tocsr()
    for _ in range(rounds):
        total = local + to @ message
        outgoing = total[source] - message[reverse]
        outgoing -= outgoing.max(1, keepdims=True)
        fresh = np.log(np.exp(outgoing) @ psi + 1e-300)
        fresh -= fresh.max(1, keepdims=True)
        change = np.abs(fresh - message).max()
        message = 0.5 * message + 0.5 * fresh  # damped: the graph has loops
        if change < 1e-4:
            break
    total = local + to @ message
    single = np.exp(total - total.max(1, keepdims=True))
    single /= single.sum(1, keepdims=True)
    a = total[pairs[:, 0]] - message[m:]
    b = total[pairs[:, 1]] - message[:m]
    joint = (
        np.exp(a - a.max(1, keepdims=True))[:, :, None]
        * np.exp(b - b.max(1, keepdims=True))[:, None]
        * psi
    )
    return single, joint / joint.sum((1, 2), keepdims=True)


def _couplings(up: np.ndarray, rotation: np.ndarray, pairs: np.ndarray, n_rot: int) -> np.ndarray:
    """Couplings (updown, rotation) and field by maximum pseudo-likelihood of the states."""
    n = len(up)
    both = np.r_[pairs, pairs[:, ::-1]]
    spin = 2.0 * up - 1
    count_up = np.bincount(both[:, 0], spin[both[:, 1]], minlength=n)
    same = np.zeros((n, n_rot))
    np.add.at(same, (both[:, 0], rotation[both[:, 1]]), 1.0)

    def loss(p: np.ndarray) -> float:
        j, k, h = p
        a = np.logaddexp(0, -2 * spin * (j * count_up + h)).sum()
        score = k * same
        b = (np.logaddexp.reduce(score, axis=1) - score[np.arange(n), rotation]).sum()
        return float(a + b + 0.5 * n * 1e-3 * (p**2).sum())

    found = scipy.optimize.minimize(
        loss, np.zeros(3), method="L-BFGS-B", bounds=[(-1, 1), (0, 3), (-4, 4)]
    )
    return np.asarray(found.x)


def solve_film(
    evidence: np.ndarray, pairs: np.ndarray, params: MoleculeParams = MoleculeParams()
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """States by evidence and neighbours.

    Returns
    -------
    single : ndarray, shape (n, 2, rotations)
        Probability of every state.
    pair_p : ndarray, shape (m, 2, 2)
        Probability of (down, up) of the two of each pair.
    couplings : dict of str to float
    """
    n, _, r = evidence.shape
    flat = evidence.reshape(n, -1)
    single, joint = belief(flat, pairs, np.zeros((2 * r, 2 * r)))
    found = {"updown": 0.0, "rotation": 0.0, "field": 0.0}
    if params.field and len(pairs):
        for _ in range(3):
            p = single.reshape(n, 2, r)
            up = p[:, UP].sum(1) > 0.5
            rotation = p.sum(1).argmax(1)
            j, k, h = _couplings(up, rotation, pairs, r)
            found = {"updown": float(j), "rotation": float(k), "field": float(h)}
            state = np.repeat([-1.0, 1.0], r)
            turn = np.tile(np.arange(r), 2)
            potential = j * state[:, None] * state[None] + k * (turn[:, None] == turn[None])
            single, joint = belief(flat + h * state, pairs, potential)
    pair = joint.reshape(-1, 2, r, 2, r).sum((2, 4))
    return single.reshape(n, 2, r), pair, found


def psi6(places: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Bond-orientational order: mean of exp(6 i angle) over the neighbours of each, complex."""
    both = np.r_[pairs, pairs[:, ::-1]]
    d = places[both[:, 1]] - places[both[:, 0]]
    wave = np.exp(6j * np.arctan2(-d[:, 0], d[:, 1]))
    n = len(places)
    count = np.bincount(both[:, 0], minlength=n)
    total = np.bincount(both[:, 0], wave.real, n) + 1j * np.bincount(both[:, 0], wave.imag, n)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def pair_distribution(
    places: np.ndarray, shape: tuple[int, int], *, r_max: float, bins: int = 100
) -> tuple[np.ndarray, np.ndarray]:
    """Pair distribution g(r) in a rectangular image, with the exact correction of its border.

    The isotropic set covariance of a rectangle h x w is
    ``w h - 2 r (w + h) / pi + r^2 / pi`` for r below the shorter side.

    Returns
    -------
    r : ndarray, shape (bins,)
    g : ndarray, shape (bins,)
    """
    h, w = shape
    if not 0 < r_max <= min(h, w):
        raise ParameterError("r_max must lie between 0 and the shorter side of the image.")
    edges = np.linspace(0, r_max, bins + 1)
    tree = scipy.spatial.cKDTree(places)
    counts = np.diff(tree.count_neighbors(tree, edges)).astype(float)
    counts[0] = max(counts[0], 0)
    r = 0.5 * (edges[1:] + edges[:-1])
    overlap = w * h - 2 * r * (w + h) / np.pi + r**2 / np.pi
    density = len(places) / (w * h)
    ring = np.pi * np.diff(edges**2)
    return r, counts / (density**2 * ring * overlap)


def domains(up: np.ndarray, rotation: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Domain of each molecule: connected neighbours of one rotation, the largest is 0.

    Up or down does not part a domain, since a down among ups is an order, not a border.
    """
    n = len(up)
    same = rotation[pairs[:, 0]] == rotation[pairs[:, 1]]
    label = connected(pairs[same], n)
    order = np.argsort(-np.bincount(label), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return np.asarray(rank[label])


def read_film(
    image: ArrayLike,
    params: MoleculeParams = MoleculeParams(),
    *,
    places: ArrayLike | None = None,
    frame: int = 0,
) -> Film:
    """Read a film of molecules.

    Parameters
    ----------
    image : array-like, shape (H, W)
    params : MoleculeParams
    places : array-like, shape (n, 2), optional
        Centres (row, column) where they are known; found otherwise.
    frame : int
        For the table.

    Returns
    -------
    Film

    Raises
    ------
    ImageError, ParameterError
        If the image shows no film or a parameter is out of bounds.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> from napari_atomlens.simulation.molecules import simulate_film
    >>> image, truth = simulate_film(60, seed=1)
    >>> film = al.read_film(image)
    >>> round(film.spacing_px)
    20
    """
    params = of_kind(MoleculeParams, params)
    z = level(image, LevelParams(surface="facet", lines="median", scars=False))
    z = bridged(z)
    if places is None:
        found, spacing = find_molecules(z, params.spacing_px, params.min_height)
        # of molecules that the border cuts nobody knows the state
        margin = 0.45 * spacing
        found = found[((found >= margin) & (found <= np.asarray(z.shape) - 1 - margin)).all(1)]
        if len(found) < 3:
            raise ImageError("Fewer than three whole molecules were found.")
    else:
        found = points.as_places(places)
        if len(found) < 3:
            raise ParameterError("A film needs at least three finite positions.")
        if not ((found > -0.5) & (found < np.asarray(z.shape) - 0.5)).all():
            raise ParameterError("Some places of the film lie outside of the image.")
        spacing = params.spacing_px or float(
            np.median(scipy.spatial.cKDTree(found).query(found, 2)[0][:, 1])
        )
    pairs = film_neighbours(found, spacing)
    patches = _patches_of(z, found, spacing, params)
    templates = _first_templates(patches, spacing)
    evidence = image_evidence(patches, templates, spacing)
    single, pair_p, couplings = solve_film(evidence, pairs, params)
    for _ in range(params.adapt):  # expectation maximisation, the neighbours included
        total = single.sum((0, 2))
        if total.min() < max(5.0, 0.01 * len(found)):  # all alike: nothing to learn from
            break
        fresh = np.einsum("nur,nrp->up", single, patches) / total[:, None]
        if fresh[UP].std() < fresh[DOWN].std():  # they must not take each other's place
            break
        templates = fresh
        evidence = image_evidence(patches, templates, spacing)
        single, pair_p, couplings = solve_film(evidence, pairs, params)
    bare, _, _ = solve_film(evidence, np.zeros((0, 2), int), params)
    _, _, disc = _grid(spacing)
    full = np.zeros((2, *disc.shape))
    full[:, disc] = templates
    order = psi6(found, pairs)
    up_p, turn = single[:, UP].sum(1), single.sum(1)
    rotation = turn.argmax(1)
    step = 2 * np.pi / params.symmetry / params.rotations
    n = len(found)
    table = pd.DataFrame(
        {
            "frame": frame, "molecule_id": np.arange(n), "y_px": found[:, 0], "x_px": found[:, 1],
            "up": up_p > 0.5, "up_p": up_p, "rotation": rotation,
            "rotation_p": turn[np.arange(n), rotation],
            "angle_rad": params.direction_rad + step * rotation,
            "bare_up_p": bare[:, UP].sum(1), "bare_rotation": bare.sum(1).argmax(1),
            "psi6": np.abs(order), "psi6_angle_rad": np.angle(order) / 6,
            "n_neighbours": np.bincount(pairs.ravel(), minlength=n),
            "domain": domains(up_p > 0.5, rotation, pairs),
        }
    )  # fmt: skip
    return Film(table, pairs, pair_p, evidence, full, couplings, spacing)


def ups_round_downs(film: Film, full: int = 6) -> float:
    """Mean number of ups among the six neighbours of a down, corrected for the probabilities.

    Over pairs, sum of P(down, up) over sum of P(down), of molecules with `full` neighbours:
    an uncertain molecule counts as far as it is sure. NaN where there is no down.
    """
    count = film.molecules["n_neighbours"].to_numpy() == full
    i, j = film.pairs.T
    p = film.pair_p
    down_up = (p[:, DOWN, UP] * count[i]).sum() + (p[:, UP, DOWN] * count[j]).sum()
    down = (p[:, DOWN].sum(1) * count[i]).sum() + (p[:, :, DOWN].sum(1) * count[j]).sum()
    return float(full * down_up / down) if down > 1e-9 else float("nan")


def follow_film(
    movie: ArrayLike | Pixels,
    places: ArrayLike,
    params: MoleculeParams = MoleculeParams(),
    *,
    drift_px: ArrayLike | None = None,
    progress: ProgressLike = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, pd.DataFrame]:
    """Follow the states of molecules through a movie.

    A molecule keeps its rotation, which all frames tell together; up or down is told by each
    frame with the chain of :func:`find_flips`.

    Parameters
    ----------
    movie : array-like, shape (frames, H, W)
    places : array-like, shape (n, 2)
        Centres, whole molecules only.
    params : MoleculeParams
    drift_px : array-like, shape (frames, 2), optional
        What is added to the centres in each frame; none without.
    progress : Progress or callable, optional
        Told (frames done, frames in all), and asked before each frame whether to stop; the
        frames before it are what is returned.

    Returns
    -------
    up, flips : ndarray of bool, shapes (frames, n) and (frames - 1, n)
    log_odds : ndarray, shape (frames, n)
        Of the image of each frame, up against down.
    events : pandas.DataFrame
        One row per flip: ``frame`` (the first after it), ``molecule``, ``to`` ("up", "down").
    """
    found = np.asarray(places, float).reshape(-1, 2)
    stack = as_stack(movie)
    n_frames = len(stack)
    drift = np.zeros((n_frames, 2)) if drift_px is None else np.asarray(drift_px, float)
    if len(found) < 3 or drift.shape != (n_frames, 2):
        raise ParameterError("Following needs three molecules and a drift (y, x) of every frame.")
    spacing = params.spacing_px or float(
        np.median(scipy.spatial.cKDTree(found).query(found, 2)[0][:, 1])
    )
    pairs = film_neighbours(found, spacing)
    plain = LevelParams(surface="facet", lines="median", scars=False)
    watch = as_progress(progress)
    evidence: list[np.ndarray] = []
    templates: np.ndarray | None = None
    for t in range(n_frames):
        if watch.stopped:
            break
        z = bridged(level(stack[t], plain))
        patches = _patches_of(z, found + drift[t], spacing, params)
        if templates is None:
            templates = _first_templates(patches, spacing)
            for _ in range(params.adapt):
                single, _, _ = solve_film(
                    image_evidence(patches, templates, spacing), pairs, params
                )
                total = single.sum((0, 2))
                fresh = np.einsum("nur,nrp->up", single, patches) / np.maximum(total, 1e-9)[:, None]
                if total.min() < 5 or fresh[UP].std() < fresh[DOWN].std():
                    break
                templates = fresh
        evidence.append(image_evidence(patches, templates, spacing))
        watch(t + 1, n_frames)
    if not evidence:
        raise ParameterError("There is no frame to follow molecules in.")
    n_frames = len(evidence)
    log = np.stack(evidence)
    turn = np.logaddexp.reduce(log, axis=2).sum(0)
    # neighbours of one domain agree, and overlap with them biases single molecules
    _, _, couplings = solve_film(log[0], pairs, params)
    turn = turn / np.sqrt(n_frames)  # noise averages out, bias by the surroundings does not
    turn = np.log(belief(turn, pairs, couplings["rotation"] * np.eye(params.rotations))[0] + 1e-9)
    odds = np.logaddexp.reduce(log[:, :, UP] + turn, axis=2)
    odds -= np.logaddexp.reduce(log[:, :, DOWN] + turn, axis=2)
    up, flips = find_flips(_without_bias(odds))
    when, which = np.nonzero(flips)
    to = np.where(up[when + 1, which], "up", "down").astype(object)
    events = pd.DataFrame({"frame": when + 1, "molecule": which, "to": to})
    return up, flips, odds, events


@dataclass(frozen=True)
class FilmMovie:
    """Molecules followed through a movie.

    Attributes
    ----------
    tracks : pandas.DataFrame
        ``frame``, ``track_id``, ``atom_id``, ``y_px``, ``x_px``, ``y_corr_px``, ``x_corr_px``
        (without drift), ``state`` ("up" or "down"), ``up_log_odds`` (of the image of that frame).
        The functions of :mod:`napari_atomlens.tracking` take it, `transition_matrix` with
        ``column="state"`` among them.
    events : pandas.DataFrame
        One row per flip: ``frame`` (the first after it), ``track_id``, ``y_px``, ``x_px``, ``to``.
    drift_px : ndarray, shape (frames, 2)
    film : Film
        Of the first frame.
    """

    tracks: pd.DataFrame
    events: pd.DataFrame
    drift_px: np.ndarray
    film: Film


def follow_movie(
    movie: ArrayLike | Pixels,
    params: MoleculeParams = MoleculeParams(),
    *,
    progress: ProgressLike = None,
) -> FilmMovie:
    """Find molecules in the first frame, measure the drift, and follow who flips.

    Molecules that the drift takes over the border are left out.

    Parameters
    ----------
    movie : array-like, shape (frames, H, W)
    params : MoleculeParams
    progress : Progress or callable, optional
        Told (frames done, frames in all), and asked before each frame whether to stop; the
        frames before it are what is returned.

    Raises
    ------
    ImageError, ParameterError
        If the movie shows no film, or has fewer than two frames.
    """
    stack = as_stack(movie)
    if len(stack) < 2:
        raise ParameterError("Flips need a movie of at least two frames.")
    film = read_film(stack[0], params)
    found = image_drift(stack)
    drift = found[["drift_y_px", "drift_x_px"]].to_numpy(float)
    place = film.molecules[["y_px", "x_px"]].to_numpy(float)
    at = place[None] + drift[:, None]
    margin = 0.45 * film.spacing_px
    inside = ((at >= margin) & (at <= np.asarray(stack.shape[1:]) - 1 - margin)).all((0, 2))
    if inside.sum() < 3:
        raise ImageError("The drift leaves fewer than three molecules in view of all frames.")
    place, at = place[inside], at[:, inside]
    fixed = replace(params, spacing_px=film.spacing_px)
    up, _, odds, flips = follow_film(movie, place, fixed, drift_px=drift, progress=progress)
    t, n = up.shape
    tracks = pd.DataFrame(
        {
            "frame": np.repeat(np.arange(t), n), "track_id": np.tile(np.arange(n), t),
            "atom_id": np.arange(t * n),
            "y_px": at[:t, :, 0].ravel(), "x_px": at[:t, :, 1].ravel(),
            "y_corr_px": np.tile(place[:, 0], t), "x_corr_px": np.tile(place[:, 1], t),
            "state": np.where(up.ravel(), "up", "down").astype(object), "up_log_odds": odds.ravel(),
        }
    )  # fmt: skip
    where = at[flips["frame"].to_numpy(int), flips["molecule"].to_numpy(int)]
    events = pd.DataFrame(
        {"frame": flips["frame"], "track_id": flips["molecule"], "y_px": where[:, 0],
         "x_px": where[:, 1], "to": flips["to"]}
    )  # fmt: skip
    return FilmMovie(tracks, events, drift[:t], film)


def _without_bias(odds: np.ndarray, rate: float = 0.02) -> np.ndarray:
    """Log-odds without what is constant for each molecule (its height, its surroundings).

    Log-odds of a molecule are normal about one of two levels, which all molecules share but
    for an offset of each. The offset is the one with the highest posterior over all paths of
    the two-state chain; molecules that never flip are pulled to the common levels.
    """
    up = odds > 0
    if odds.shape[0] < 4 or not up.any() or up.all():
        return odds
    high, low = np.median(odds[up]), np.median(odds[~up])
    jumps = np.diff(odds, axis=0)
    noise = arrays.spread(jumps, centre=0.0) / np.sqrt(2) + 1e-9
    nearest = np.where(up, high, low)
    spread = max(arrays.spread((odds - nearest).mean(0), centre=0.0), 0.25 * noise)
    gap = high - low
    # levels of a molecule: middle = common middle + offset, distance = share of the common one
    offset, share = (g.ravel() for g in np.meshgrid(
        np.linspace(-0.9, 0.9, 37) * gap, [0.22, 0.32, 0.45, 0.65, 0.85, 1.1], indexing="ij"
    ))  # fmt: skip
    middle = (high + low) / 2 + offset
    value = odds[:, :, None]
    emit = np.stack(
        [-0.5 * ((value - middle - s * share * gap / 2) / noise) ** 2 for s in (-1, 1)], -1
    )
    score = emit[0]
    stay, change = np.log(1 - rate), np.log(rate)
    for t in range(1, len(odds)):
        score = emit[t] + np.stack(
            [np.logaddexp(score[..., 0] + stay, score[..., 1] + change),
             np.logaddexp(score[..., 0] + change, score[..., 1] + stay)], -1,
        )  # fmt: skip
    total = np.logaddexp(score[..., 0], score[..., 1])
    total = total - 0.5 * (offset / (3 * spread)) ** 2 - 0.5 * (np.log(share) / 0.5) ** 2
    best = total.argmax(1)
    return np.asarray((odds - middle[best]) * share[best] * gap / noise**2)


def find_flips(up_log_odds: ArrayLike, *, rate: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Find flips of molecules through a movie, by the most likely path of a two-state chain.

    Parameters
    ----------
    up_log_odds : array-like, shape (frames, molecules)
        log P(image | up) - log P(image | down); NaN where a molecule was not seen.
    rate : float
        Chance of a flip per frame; 0 finds it (expectation maximisation).

    Returns
    -------
    up : ndarray of bool, shape (frames, molecules)
    flips : ndarray of bool, shape (frames - 1, molecules)
        Whether the molecule flipped between a frame and the next.

    References
    ----------
    L. R. Rabiner, Proc. IEEE 77, 257 (1989): Viterbi algorithm.
    """
    odds = np.asarray(up_log_odds, float)
    if odds.ndim != 2 or not odds.size:
        raise ParameterError("Flips need log-odds of shape (frames, molecules).")
    odds = np.nan_to_num(np.clip(odds, -200, 200))
    q = rate or 0.02
    for _ in range(1 if rate else 6):
        up = _viterbi(odds, q)
        fresh = (float((up[1:] != up[:-1]).sum()) + 0.5) / (max(up[1:].size, 1) + 1)
        if rate or abs(fresh - q) < 1e-4:
            break
        q = min(max(fresh, 1e-4), 0.5)
    return up, up[1:] != up[:-1]


def _viterbi(odds: np.ndarray, q: float) -> np.ndarray:
    emit = np.stack([np.zeros_like(odds), odds], -1)
    stay, change = np.log(1 - q), np.log(q)
    score = emit[0]
    back = np.zeros((*odds.shape, 2), bool)
    for t in range(1, len(odds)):
        to_down = np.stack([score[:, 0] + stay, score[:, 1] + change], -1)
        to_up = np.stack([score[:, 0] + change, score[:, 1] + stay], -1)
        back[t, :, 0], back[t, :, 1] = to_down.argmax(-1), to_up.argmax(-1)
        score = np.stack([to_down.max(-1), to_up.max(-1)], -1) + emit[t]
    out = np.zeros(odds.shape, bool)
    out[-1] = score.argmax(-1)
    each = np.arange(odds.shape[1])
    for t in range(len(odds) - 1, 0, -1):
        out[t - 1] = back[t, each, out[t].astype(int)]
    return out
