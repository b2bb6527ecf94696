"""Joint maximum-likelihood fit of all columns of a frame, with their standard errors.

The model of a frame is a smooth background (bilinear between nodes a few spacings apart)
plus one round Gaussian per column. All columns and the background are fitted together by
Fisher scoring of the likelihood of the counts: neighbours that overlap share a block of
the Fisher matrix, which is sparse and solved by conjugate gradients. Every derivative is
a product of a function of y and one of x, so that sums over the pixels of a column are
small matrix products, made for a thousand columns at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_atomlens import arrays
from napari_atomlens.atoms.fitted import Fit, faint, misfits, volume_variance
from napari_atomlens.atoms.noise import Noise, find_noise, inflation
from napari_atomlens.atoms.patches import Crew
from napari_atomlens.atoms.steps import BARE, KNOTS, EdgeProfiles, find_edges
from napari_atomlens.atoms.system import FAR, WIDTH_FREEDOM, System, group_median
from napari_atomlens.atoms.ways import NoiseKind, Width
from napari_atomlens.params import Params, param
from napari_atomlens.progress import Progress, ProgressLike, as_progress

#: Rounds of shape and everything else in turn, of elliptic columns.
SHAPE_STEPS = 8
#: How often edges of steps are looked for, each time with the columns as they are then.
STEP_ROUNDS = 2
#: Scoring steps after each time.
STEP_MOVES = 5
#: Steps must take so much of chi-square round them for each of their values.
WORTH = 2.0


@dataclass(frozen=True)
class FitParams(Params):
    """How columns are fitted.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> image, _ = al.simulate("honeycomb", (96, 96), 10.0)
    >>> probabilities = al.segment(image, spacing_px=10.0)
    >>> atoms = al.find_atoms(probabilities, fit=al.FitParams(noise="poisson", gain=1.0))
    """

    width: Width = param(
        "auto", "widths: one per group of columns, free, or tied as far as the data allow"
    )
    noise: NoiseKind = param(
        "auto", "noise model: found in the image, counting statistics, or the same everywhere"
    )
    gain: float = param(
        0.0, "grey values per count, for noise 'poisson'; 0 finds it", ge=0, le=1e12
    )
    offset: float = param(0.0, "grey value of zero counts, for noise 'poisson' with a known gain")
    background_spacings: float = param(
        3.0, "distance between the nodes of the background", unit="spacings", ge=1, le=100
    )
    elliptic: bool = param(False, "columns may be oblong, in any direction")
    steps: int = param(12, "scoring steps at most", ge=1, le=200)


def bin_image(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean of factor x factor blocks; an incomplete last block is left out."""
    if factor == 1:
        return image
    h, w = (s // factor * factor for s in image.shape)
    return image[:h, :w].reshape(h // factor, factor, w // factor, factor).mean((1, 3))


def binning(spacing_px: float) -> int:
    """Pixels that are averaged: about 12 px between columns carry all the information."""
    return max(1, int(spacing_px // 12))


def grey_levels(data: np.ndarray, recorded: np.ndarray | None = None) -> tuple[float, float]:
    """Level and scale that bring the recorded grey values of an image to order one."""
    data = data if recorded is None else data[recorded]
    few = data.ravel()[:: max(1, data.size // 200_000)]
    level, high = (float(v) for v in np.quantile(few, [0.01, 0.99]))
    return level, high - level


def saturated(image: np.ndarray) -> np.ndarray | None:
    """Mask of the pixels at the ceiling of a clipped image, None where it is not clipped."""
    top = image.max()
    at_top = image >= top
    if at_top.sum() < max(8, 2e-4 * image.size):
        return None
    return at_top


def _counts_at(image: np.ndarray) -> bool:
    """Whether the ceiling of minus an image is its count of zero, and no clipping of columns.

    Of clipped columns many more pixels stand at the ceiling than at the next value below it.
    """
    top = image.max()
    below = image[image < top]
    if top != 0 or not len(below):
        return False
    return bool((image == top).sum() < 3 * (image == below.max()).sum())


def fit_columns(
    image: np.ndarray,
    positions: np.ndarray,
    spacing_px: float,
    params: FitParams = FitParams(),
    group: np.ndarray | None = None,
    *,
    recorded: np.ndarray | None = None,
    dark: bool = False,
    copies: float = 1.0,
    progress: ProgressLike = None,
) -> Fit:
    """Fit all columns of a frame together on the original pixels.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    positions : ndarray, shape (n, 2)
        First guess (y, x) in pixels, within about a third of a spacing.
    spacing_px : float
        Distance between nearest columns in pixels.
    params : FitParams
    group : ndarray of int, shape (n,), optional
        Columns of one group share their width (see ``FitParams.width``); one group where
        it is not given.
    recorded : ndarray of bool, shape (H, W), optional
        Pixels that count; all by default.
    dark : bool
        The image holds minus the grey values of dark columns: the noise of counts grows
        towards its low values.
    copies : float
        How many pixels share the noise of one, of an image that was spread over finer ones.
    progress : Progress or callable, optional
        Asked before each step whether to stop.

    Returns
    -------
    Fit
        Where a fit ran away or made no sense, ``ok`` is False and the first guess is
        returned; where it does not explain the image, ``ok`` is False.

    Raises
    ------
    StoppedError
        If it is asked to stop.

    Notes
    -----
    Score of the quasi-likelihood: sum of (data - mean) / variance times the derivative of
    the mean, which is that of Poisson counts where the variance is proportional to the
    mean (McCullagh and Nelder, Generalized Linear Models, 2nd ed., chapter 9). Standard
    errors are those of the Fisher information with all other parameters free.
    """
    n = len(positions)
    if n == 0:
        return Fit(*np.zeros((8, 0)), ok=np.zeros(0, bool))  # type: ignore[misc]
    factor = binning(spacing_px)
    image = np.asarray(image, np.float32)
    clipped = saturated(image) if not (dark and _counts_at(image)) else None
    data = bin_image(image, factor)
    void = clipped if recorded is None else ~recorded if clipped is None else clipped | ~recorded
    valid = None
    if void is not None and void.any():
        valid = (bin_image(void.astype(np.float32), factor) == 0).astype(np.float32)
    there = None if recorded is None else bin_image(recorded.astype(np.float32), factor) > 0.5
    level, scale = grey_levels(data, there)
    start = (np.asarray(positions, float) + 0.5) / factor - 0.5
    order = np.lexsort((start[:, 1], start[:, 0]))
    given = np.zeros(n, np.int64) if group is None else group
    group = np.unique(given, return_inverse=True)[1]
    if not scale > 0:
        unknown = np.full((6, n), np.nan)
        return Fit(positions[:, 0].copy(), positions[:, 1].copy(), *unknown, ok=np.zeros(n, bool))  # type: ignore[misc]
    data = data - np.float32(level)
    data /= np.float32(scale)
    spacing = spacing_px / factor
    fixed = None
    if params.noise == "poisson" and params.gain > 0:
        gain = params.gain / factor**2
        up = -1 if dark else 1
        fixed = Noise((up * level - params.offset) * gain / scale**2, up * gain / scale, 1e-6)
    with Crew() as crew:
        system = System(
            data, start[order], group[order], spacing, params.background_spacings * spacing,
            valid, crew, there,
        )  # fmt: skip
        fit = _fit(system, params, fixed, as_progress(progress), dark=dark, copies=copies)
    undo = np.argsort(order)
    for name, value in vars(fit).items():
        if value is not None:
            setattr(fit, name, value[undo])
    fit.y, fit.x = (fit.y + 0.5) * factor - 0.5, (fit.x + 0.5) * factor - 0.5
    # a pixel is an average over its area: its width adds to that of the column
    with np.errstate(invalid="ignore"):
        sigma = np.sqrt(np.maximum(fit.sigma**2 - (factor**2 - 1) / 12 / factor**2, 0.01))
    fit.amplitude = fit.amplitude * np.where(sigma > 0.3, fit.sigma / sigma, 1) ** 2
    fit.sigma = sigma * factor
    for name in ("y_err", "x_err", "sigma_err"):
        if (value := getattr(fit, name)) is not None:
            setattr(fit, name, value * factor)
    fit.amplitude, fit.amplitude_err = fit.amplitude * scale, fit.amplitude_err * scale
    fit.background = fit.background * scale + level
    fit.y = np.where(fit.places(), fit.y, positions[:, 0])
    fit.x = np.where(fit.places(), fit.x, positions[:, 1])
    return fit


def _begin(system: System) -> None:
    """First guess of background and amplitudes."""
    data, typical, nodes = system.data, system.typical, system.nodes
    b = max(1, round(0.3 * typical))
    small = bin_image(data, b) if min(data.shape) >= 2 * b else data
    b = b if min(data.shape) >= 2 * b else 1
    for axis in (0, 1):
        edges = (np.arange(nodes.n[axis]) - 0.5) * nodes.step[axis]
        edges = (edges / b).astype(int)
        small = np.minimum.reduceat(small, np.clip(edges, 0, small.shape[axis] - 1), axis=axis)
    system.background = small.astype(float).ravel()
    rows = np.clip(np.rint(system.y).astype(int), 1, max(1, data.shape[0] - 2))
    cols = np.clip(np.rint(system.x).astype(int), 1, max(1, data.shape[1] - 2))
    here = np.zeros(system.n)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            near = (
                np.clip(rows + dy, 0, data.shape[0] - 1),
                np.clip(cols + dx, 0, data.shape[1] - 1),
            )
            here += data[near]
    above = here / 9 - nodes.at(system.background, system.y, system.x)
    system.amplitude = np.maximum(above, 0.02)
    system.ceiling = 2.5 * np.maximum(above, 0.4 * float(np.median(system.amplitude)))


def _fit(
    system: System,
    params: FitParams,
    fixed: Noise | None,
    watch: Progress,
    *,
    dark: bool,
    copies: float,
) -> Fit:
    _begin(system)
    data = system.data
    steps = np.diff(data[:: max(1, len(data) // 256)], axis=1) if data.shape[1] > 1 else data
    # in a vacuum most steps are none
    rough = float(np.sqrt(np.mean(np.square(steps), dtype=float) / 2))
    spread = max(float(np.median(np.abs(steps))) / 0.954, 0.1 * rough)
    noise = fixed or Noise(max(spread**2, 1e-6), 0.0, 1e-12)
    tied: np.ndarray | None = None
    system.share = (4 * system.n + len(system.background)) / data.size
    moved, heavy, latest = np.zeros(system.n), 1.0, 0
    # heights and background first: with the widths held they are a linear problem
    system.tie[:] = 1 / 0.05**2
    system.look()
    for step in range(params.steps):
        watch.check()
        if fixed is None and step in (2, 3, 5):
            system.forget_fisher()  # it is made anew below
            noise = _noise_of(system, dark=dark)
            if params.noise == "uniform":
                noise = Noise(float(np.mean(system.residual**2)), 0.0, 1e-12)
        system.weigh(noise)
        weight = float(system.weight.mean())
        if step in (0, 1, 2, 3, 5, 8) or not 0.9 < weight / heavy < 1.1:
            system.fisher()
            heavy, latest = weight, step
        # the first steps are rough anyway
        damping, precision = (1e-2, 1e-3) if step == 0 else (1e-4, 1e-3 if step < 3 else 1e-5)
        moved = system.advance(damping, tied, precision)
        if step == 0:
            system.tie[:] = 1 / WIDTH_FREEDOM**2
        elif step == 1:
            system.prior = group_median(system.log_sigma, system.group)
            system.go_on()
            system.shape_field(float(np.exp(np.median(system.log_sigma))))
            system.look()
        elif tied is None and params.width == "shared" and step >= 2:
            tied = system.share_widths()
            system.look()
        elif tied is None and params.width == "auto" and step in (2, 4):
            tied = _tie(system)
            if tied is not None:
                system.look()
        if step < 5:
            continue
        settled = moved[~system.rim] if not system.rim.all() else moved
        if np.quantile(settled, 0.98) < max(1e-3, 0.03 * _typical_error(system)):
            break
    if _with_steps(system, noise, tied, watch) and fixed is None and params.noise != "uniform":
        noise, system.trusted = find_noise(
            system.mean, system.residual, system.valid, system.typical, system.share
        )
    system.weigh(noise)
    if params.width == "free" or latest < 5:
        if params.width == "free":
            system.tie[:] = 0
        system.fisher()
    if params.elliptic:
        for _ in range(SHAPE_STEPS):
            watch.check()
            system.reshape(noise)
            system.look()
            system.weigh(noise)
            moved = system.advance(1e-4, tied, 1e-4)
            system.weigh(noise)
        if fixed is None:  # round columns had left more than noise
            system.look()
            noise = _noise_of(system, dark=dark)
            system.weigh(noise)
            system.fisher()
            system.reshape(noise)
            system.look()
            system.weigh(noise)
    return _result(system, tied, moved, copies)


def _noise_of(system: System, *, dark: bool) -> Noise:
    """Noise that the residuals show, and where the model is to be trusted."""
    noise, system.trusted = find_noise(
        system.mean, system.residual, system.valid, system.typical, system.share, dark=dark
    )
    return noise


def _with_steps(system: System, noise: Noise, tied: np.ndarray | None, watch: Progress) -> bool:
    """Let the background have steps where the image has any; return whether it does now."""
    names = ("y", "x", "amplitude", "log_sigma", "background")
    before = {name: getattr(system, name).copy() for name in names}
    for turn in range(STEP_ROUNDS):
        if not _found_steps(system, first=turn == 0) or system.steps is None:
            break
        if turn == 0:
            # as seen by a fit that knows of no step
            system.weigh(noise)
            beside = system.weight * np.isfinite(system.steps.away)
            misfit = float(np.vdot(beside, system.residual**2))
            _start_again(system)
        _level(system, noise, bare=turn == 0)
        for _ in range(STEP_MOVES):
            watch.check()
            system.look()
            system.weigh(noise)
            system.fisher()
            system.advance(1e-4, tied, 1e-6)
    system.look()
    if system.steps is not None:
        gain = misfit - float(np.vdot(beside, system.residual**2))
        if gain > WORTH * system.steps.n:
            return True
        system.steps = None
    for name, value in before.items():
        setattr(system, name, value)
    system.look()
    system.weigh(noise)
    system.fisher()
    system.look()
    return False


def _start_again(system: System) -> None:
    """Forget of the columns beside a step what a fit without it made of them."""
    if system.steps is None:
        return
    near = system.steps.distance(system.y, system.x) < KNOTS[-1]
    far = ~near if not near.all() else near
    for name in ("amplitude", "log_sigma"):
        value = getattr(system, name)
        usual = value.copy()
        for g in np.unique(system.group):
            mine = system.group == g
            usual[mine] = np.median(value[mine & far] if (mine & far).any() else value[mine])
        setattr(system, name, np.where(near, usual, value))
    system.y = np.where(near, system.start[:, 0], system.y)
    system.x = np.where(near, system.start[:, 1], system.x)


def _level(system: System, noise: Noise, *, bare: bool) -> None:
    """Give background and steps their level, with the columns as they are."""
    if system.steps is None:
        return
    height = float(np.median(system.amplitude[: system.n_real]))
    between = system.render() < BARE * height if bare else np.True_
    for _ in range(3):
        system.look()
        system.weigh(noise)
        nodes, steps = system.steps.level(system.residual, system.weight * between, system.nodes)
        system.background = system.background + nodes
        system.steps.values = system.steps.values + steps


def _found_steps(system: System, *, first: bool) -> bool:
    """Give the background the steps that the image has; return whether it has any."""
    names = ("y", "x", "amplitude", "log_sigma")
    before = {name: getattr(system, name) for name in names}
    if first:
        # beside a step that nobody knows of columns are too high, too wide and misplaced
        for name in names[2:]:
            value = before[name]
            setattr(system, name, np.minimum(value, group_median(value, system.group)))
        system.y, system.x = system.start.T.copy()
    light = system.render().copy()
    for name in names:
        setattr(system, name, before[name])
    height = float(np.median(system.amplitude[: system.n_real]))
    away = find_edges(system.data, light, system.typical, height, system.valid)
    system.steps = None if away is None else EdgeProfiles(away, system.typical)
    system.look()
    return away is not None


def _typical_error(system: System) -> float:
    return float(np.median(1 / np.sqrt(np.maximum(system.diagonal[:, 0, 0], 1e-12))))


def _tie(system: System) -> np.ndarray | None:
    """How far the widths of a group really differ, beyond their errors."""
    curvature = system.diagonal[:, 3, 3] - system.tie
    system.prior = group_median(system.log_sigma, system.group)
    off = system.log_sigma - system.prior
    # width and amplitude share information: about half is left once neighbours are free
    expected = 2.0 / np.maximum(curvature, 1e-12)
    inner = ~system.rim if not system.rim.all() else system.rim
    seen = arrays.spread(off[inner], centre=0.0) ** 2
    real = seen - float(np.median(expected[inner]))
    if real < 0.02**2:
        return system.share_widths()
    system.tie[:] = 1 / min(np.sqrt(real), WIDTH_FREEDOM) ** 2
    return None


def _result(system: System, tied: np.ndarray | None, moved: np.ndarray, copies: float) -> Fit:
    covariance = system.covariance(tied is not None)
    seen, of_noise = inflation(
        system.residual, system.weight, system.trusted, np.c_[system.y, system.x],
        float(np.exp(np.median(system.log_sigma))), system.share,
    )  # fmt: skip
    correlated = max(seen, copies)
    errors = np.sqrt(np.maximum(np.einsum("nii->ni", covariance), 0) * correlated)
    shift = np.abs(np.c_[system.y, system.x] - system.start).max(axis=1)
    placed = (
        np.isfinite(errors).all(1) & (shift < 0.98 * FAR * system.reach)
        & (system.amplitude > 1.5 * system.floor)
        & (np.hypot(errors[:, 0], errors[:, 1]) < 0.25 * system.reach)
        & (moved < 0.05 * system.reach)
    )  # fmt: skip
    sigma = np.exp(system.log_sigma)
    goodness = system.goodness()
    odd, times = misfits(goodness, sigma, placed)
    errors[:, :2] *= (faint(errors[:, 2] / system.amplitude) * np.sqrt(times))[:, None]
    real = slice(0, system.n_real)
    fit = Fit(
        system.y[real],
        system.x[real],
        system.amplitude[real],
        sigma[real],
        system.background_at()[real],
        errors[real, 0],
        errors[real, 1],
        errors[real, 2],
        (placed & ~odd)[real],
        None if tied is not None else (errors[:, 3] * sigma)[real],
        goodness[real],
        placed=placed[real],
        volume_part=np.sqrt(volume_variance(system, covariance) * correlated * times)[real],
    )
    if system.shape is None:
        score, information = system.quadrupole()
        information = np.maximum(information, 1e-12)
        fit.lean = (score / information)[real]
        fit.lean_err = np.sqrt(correlated / information.min(1))[real]
        # of layers over one another what the model misses is what is looked for
        fit.lean_noise = np.sqrt(max(of_noise, copies) / information.min(1))[real]
    else:
        e1, e2 = system.shape[real].T
        size = np.hypot(e1, e2)
        # error along the direction of the shape; of a round column, of either direction
        part = np.where(size > 1e-9, (e1 / np.maximum(size, 1e-9)) ** 2, 0.5)
        variance = system.shape_variance[real]
        error = np.sqrt((part * variance[:, 0] + (1 - part) * variance[:, 1]) * correlated)
        fit.aspect = np.exp(size)
        # along the longer axis a column is less well known than across it
        odd = np.where(size > 1e-6, np.sinh(size) / np.maximum(size, 1e-6), 1.0) * e1
        # and the fit places ellipses by the slopes of round columns, not quite as well as can be
        less = 0.5 * (1 + np.cosh(size))
        fit.y_err = fit.y_err * np.sqrt(np.cosh(size) + odd) * less
        fit.x_err = fit.x_err * np.sqrt(np.cosh(size) - odd) * less
        fit.aspect_err = fit.aspect * error
        turn = 0.5 * np.arctan2(e2, e1)  # of the longer axis, from +y (down) towards +x
        fit.axis_rad = np.arctan2(-np.cos(turn), np.sin(turn)) % np.pi
    return fit
