"""Joint maximum-likelihood fit of all columns of a frame, with their standard errors.

The model of a frame is a smooth background (bilinear between nodes a few spacings apart)
plus one round Gaussian per column. All columns and the background are fitted together by
Fisher scoring of the likelihood of the counts: neighbours that overlap share a block of
the Fisher matrix, which is sparse and solved by conjugate gradients. Every derivative is
a product of a function of y and one of x, so that sums over the pixels of a column are
small matrix products, made for a thousand columns at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from napari_atomlens.params import param, validate

#: Columns per batch: small enough for the cache, large enough for numpy.
CHUNK = 512
WORKERS = 4
#: Columns are drawn and fitted out to this many widths.
REACH = 3.5
#: Columns further apart than this many widths share no block of the Fisher matrix.
OVERLAP = 6.3
#: A column stays within this part of the distance to its neighbour of its first guess.
FAR = 0.4
#: Relative freedom (standard deviation of log sigma) of a width about its group, at most.
WIDTH_FREEDOM = 0.25


@dataclass(frozen=True)
class FitParams:
    """How columns are fitted."""

    width: str = param(
        "auto", "widths: one per group of columns, free, or tied as far as the data allow",
        choices=("auto", "shared", "free"),
    )  # fmt: skip
    noise: str = param(
        "auto", "noise model: found in the image, counting statistics, or the same everywhere",
        choices=("auto", "poisson", "uniform"),
    )  # fmt: skip
    gain: float = param(
        0.0, "grey values per count, for noise 'poisson'; 0 finds it", ge=0, le=1e12
    )
    offset: float = param(0.0, "grey value of zero counts, for noise 'poisson' with a known gain")
    background_spacings: float = param(
        3.0, "distance between the nodes of the background", unit="spacings", ge=1, le=100
    )
    steps: int = param(12, "scoring steps at most", ge=1, le=200)


@dataclass
class Fit:
    """Columns after refinement, each attribute an array of shape (n,), in image pixels.

    ``chi2`` is the goodness of fit: mean squared residual over its expected variance, in
    the pixels of the column weighted by its profile; 1 where model and noise are right.
    """

    y: np.ndarray
    x: np.ndarray
    amplitude: np.ndarray
    sigma: np.ndarray
    background: np.ndarray
    y_err: np.ndarray
    x_err: np.ndarray
    amplitude_err: np.ndarray
    ok: np.ndarray
    sigma_err: np.ndarray | None = None
    chi2: np.ndarray | None = None


def each_chunk(work: Callable[[slice], None], n: int) -> None:
    """Run `work` on slices of n columns, in threads: numpy lets go of the interpreter."""
    slices = [slice(i, min(i + CHUNK, n)) for i in range(0, n, CHUNK)]
    if len(slices) <= 1:
        for s in slices:
            work(s)
        return
    with ThreadPoolExecutor(max_workers=min(len(slices), WORKERS)) as pool:
        list(pool.map(work, slices))


def beyond_border(
    positions: np.ndarray, amplitude: np.ndarray, shape: tuple[int, int], spacing: float,
    reach: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Where columns must lie just outside of a frame, as the lattice inside goes on.

    Translations of the lattice are the frequent differences between columns of about the
    same height; a column is carried outside by a translation that also leads from another
    column to it.

    Returns
    -------
    positions : ndarray, shape (m, 2)
        Within `reach` of the border, outside of the frame.
    source : ndarray of int, shape (m,)
        The column that each was carried from.
    """
    nothing = np.zeros((0, 2)), np.zeros(0, np.int64)
    if len(positions) < 12:
        return nothing
    tree = cKDTree(positions)
    some = np.arange(0, len(positions), max(1, len(positions) // 1500))
    near = tree.query_ball_point(positions[some], 2.6 * spacing)
    i = np.repeat(some, [len(v) for v in near])
    j = np.concatenate(near).astype(np.int64)
    alike = (i != j) & (np.abs(np.log(amplitude[i] / amplitude[j])) < 0.5)
    difference = (positions[j] - positions[i])[alike]
    if not len(difference):
        return nothing
    votes = cKDTree(difference).query_ball_point(difference, 0.12 * spacing, return_length=True)
    left, translations = votes >= 0.25 * len(some), []
    while left.any() and len(translations) < 24:
        best = int(np.argmax(np.where(left, votes, 0)))
        same = np.hypot(*(difference - difference[best]).T) < 0.2 * spacing
        translations.append(difference[same].mean(0))
        left &= ~same
    rim = np.flatnonzero(
        np.any((positions < 3 * spacing) | (positions > np.subtract(shape, 1) - 3 * spacing), axis=1)
    )
    new, source = [], []
    for t in translations:
        target = positions[rim] + t
        inner = 0.1 * spacing  # a column cut in half by the border is often not found
        outside = np.any((target < inner) | (target > np.subtract(shape, 1 + inner)), axis=1)
        close = np.all((target > -reach) & (target < np.subtract(shape, 1) + reach), axis=1)
        k = rim[outside & close]
        back, which = tree.query(positions[k] - t, distance_upper_bound=0.2 * spacing)
        leads = np.isfinite(back)
        k, which = k[leads], which[leads]
        k = k[np.abs(np.log(amplitude[k] / amplitude[which])) < 0.7]
        new.append(positions[k] + t)
        source.append(k)
    if not new or not sum(len(v) for v in new):
        return nothing
    places, carried = np.concatenate(new), np.concatenate(source)
    # several translations lead to the same place: their mean is the best guess
    groups = cKDTree(places).query_ball_point(places, 0.3 * spacing)
    centre = np.array([places[g].mean(0) for g in groups])
    first = np.array([min(g) == n for n, g in enumerate(groups)])
    far = tree.query(centre)[0] > 0.6 * spacing
    return centre[first & far], carried[first & far]


class Nodes:
    """Bilinear background: nodes `step` pixels apart, the first on the first pixel."""

    def __init__(self, shape: tuple[int, int], step: float) -> None:
        self.n = tuple(max(2, round((s - 1) / step) + 1) for s in shape)
        #: distance between nodes along each axis: the last lies on the last pixel
        self.step = tuple(max(s - 1, 1) / (n - 1) for s, n in zip(shape, self.n, strict=True))
        self.hat_y, self.hat_x = (self._hats(shape[k], k) for k in (0, 1))
        self.hat_yt, self.hat_xt = self.hat_y.T.tocsr(), self.hat_x.T.tocsr()

    def _hats(self, side: int, axis: int) -> sparse.csr_array:
        n = self.n[axis]
        t = np.arange(side) / self.step[axis]
        k = np.minimum(t.astype(int), n - 2)
        part = t - k
        rows = np.repeat(np.arange(side), 2)
        data = np.c_[1 - part, part].ravel().astype(np.float32)
        return sparse.csr_array((data, (rows, np.c_[k, k + 1].ravel())), shape=(side, n))

    def image(self, values: np.ndarray) -> np.ndarray:
        """Background of every pixel, float32 (H, W)."""
        rows = self.hat_x @ values.reshape(self.n).T.astype(np.float32)  # (W, ny)
        return self.hat_y @ np.ascontiguousarray(rows.T)

    def collect(self, image: np.ndarray) -> np.ndarray:
        """Sum of the image times the hat of each node, (ny * nx,)."""
        rows = self.hat_yt @ image
        return (self.hat_xt @ np.ascontiguousarray(rows.T)).T.ravel().astype(float)

    def at(self, values: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Values of the field at positions."""
        v = values.reshape(self.n)
        (ky, ty), (kx, tx) = self.cell(y, 0), self.cell(x, 1)
        low = v[ky, kx] * (1 - tx) + v[ky, kx + 1] * tx
        high = v[ky + 1, kx] * (1 - tx) + v[ky + 1, kx + 1] * tx
        return low * (1 - ty) + high * ty

    def cell(self, where: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """Node below each position along an axis, and how far the position is past it."""
        n = self.n[axis]
        t = np.clip(where / self.step[axis], 0, n - 1)
        k = np.minimum(t.astype(int), n - 2)
        return k, t - k

    def matrix(self, weight: np.ndarray) -> sparse.csr_array:
        """Fisher matrix of the nodes, (m, m)."""
        ny, nx = self.n
        rows, cols, data = [], [], []
        node = np.arange(ny * nx).reshape(ny, nx)
        # hat times hat of the same or of the next node, along each axis
        axis_y = [self.hat_yt.power(2), self.hat_yt[:-1].multiply(self.hat_yt[1:]).tocsr()]
        axis_x = [self.hat_xt.power(2), self.hat_xt[:-1].multiply(self.hat_xt[1:]).tocsr()]
        for dy in (0, 1):
            part = np.ascontiguousarray((axis_y[dy] @ weight).T)
            for dx in (0, 1):
                value = (axis_x[dx] @ part).T
                a = node[: ny - dy, : nx - dx], node[dy:, dx:]
                b = node[dy:, : nx - dx], node[: ny - dy, dx:]
                for one, two in (a, b) if dy and dx else (a,):
                    rows.append(one.ravel())
                    cols.append(two.ravel())
                    data.append(value.ravel())
                    if dy or dx:
                        rows.append(two.ravel())
                        cols.append(one.ravel())
                        data.append(value.ravel())
        return sparse.csr_array(
            (np.concatenate(data).astype(float), (np.concatenate(rows), np.concatenate(cols))),
            shape=(ny * nx, ny * nx),
        )


class Field:
    """The padded pixels of a frame, and where the patches of columns lie in them."""

    def __init__(self, shape: tuple[int, int], radius: int, pad: int) -> None:
        self.shape, self.radius, self.pad = shape, radius, pad
        self.size = 2 * radius + 1
        self.padded = (shape[0] + 2 * pad, shape[1] + 2 * pad)

    def put(self, image: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        out = np.zeros(self.padded, np.float32) if out is None else out
        out[self.inner] = image
        return out

    @property
    def inner(self) -> tuple[slice, slice]:
        p = self.pad
        return slice(p, p + self.shape[0]), slice(p, p + self.shape[1])

    def first(self, centre: np.ndarray) -> np.ndarray:
        """First pixel of each patch along one axis, in pixels of the image."""
        return np.rint(centre).astype(np.int64) - self.radius

    def patches(self, padded: np.ndarray, y0: np.ndarray, x0: np.ndarray) -> np.ndarray:
        view = np.lib.stride_tricks.sliding_window_view(padded, (self.size, self.size))
        return view[y0 + self.pad, x0 + self.pad]

    def axis(self, first: np.ndarray, centre: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        """g, g d and g d^2 along one axis, with d in widths; (n, 3, pixels)."""
        d = (first - centre)[:, None] + np.arange(self.size)
        d = (d / sigma[:, None]).astype(np.float32)
        out = np.empty((len(d), 3, self.size), np.float32)
        np.multiply(d, d, out=out[:, 2])
        np.exp(-0.5 * out[:, 2], out=out[:, 0])
        np.multiply(out[:, 0], d, out=out[:, 1])
        np.multiply(out[:, 1], d, out=out[:, 2])
        return out


#: The derivatives by y, x, amplitude and log sigma as sums of products of an axis
#: function of y and one of x (powers of the distance in widths).
_TERMS = (((1, 0),), ((0, 1),), ((0, 0),), ((2, 0), (0, 2)))


def _factors(amplitude: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """What multiplies the terms of each derivative, (n, 4)."""
    slope = amplitude / sigma
    return np.stack([slope, slope, np.ones_like(slope), amplitude], axis=1)


def _blocks(moments: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Blocks of the Fisher matrix from moments[n, a, b, c, d].

    a, b are the powers of y of the left and right column, c, d those of x.
    """
    out = np.empty((len(moments), 4, 4))
    for p, terms in enumerate(_TERMS):
        for q, others in enumerate(_TERMS):
            total = sum(moments[:, a, b, c, d] for a, c in terms for b, d in others)
            out[:, p, q] = total * left[:, p] * right[:, q]
    return out


#: Powers of the products of two axis functions of the same column: a + b.
_POWER = np.add.outer(np.arange(3), np.arange(3))


class System:
    """Columns, background and their Fisher matrix; everything of order one."""

    def __init__(
        self, data: np.ndarray, start: np.ndarray, group: np.ndarray, spacing: float, step: float,
        valid: np.ndarray | None,
    ) -> None:  # fmt: skip
        self.data, self.start, self.group = data, start, group
        self.n = len(start)
        self.y, self.x = start[:, 0].copy(), start[:, 1].copy()
        nearest = np.full(self.n, spacing)
        if self.n > 1:
            nearest = cKDTree(start).query(start, k=2)[0][:, 1]
        self.reach = np.clip(nearest, 0.5 * spacing, 1.5 * spacing)
        self.typical = float(np.median(self.reach))
        self.nodes = Nodes(data.shape, max(step, 4.0))
        self.valid = valid
        #: columns within reach of the rim: their neighbours beyond it are missing
        self.rim = np.minimum.reduce(
            [self.y, self.x, data.shape[0] - 1 - self.y, data.shape[1] - 1 - self.x]
        ) < 1.2 * self.typical
        self.largest = 0.6 * self.typical + 0.35
        sigma = self.first_width()
        self.prior = np.full(self.n, np.log(sigma))
        self.n_real = self.n
        self.follows = np.zeros(self.n, bool)
        #: how strongly position and height are tied to their first guess: only beyond the rim
        self.hold = np.zeros((self.n, 3))
        #: how strongly log sigma is tied to its prior: one over the squared freedom
        self.tie = np.full(self.n, 1 / WIDTH_FREEDOM**2)
        self.log_sigma = self.prior.copy()
        self.shape_field(sigma)

    def first_width(self) -> float:
        """Width of the mean of many columns: the best of a scan, height and level free."""
        radius = max(2, round(0.5 * self.typical))
        side = 2 * radius + 1
        rows, cols = (np.rint(v).astype(int) - radius for v in (self.y, self.x))
        h, w = self.data.shape
        whole = np.flatnonzero((rows >= 0) & (cols >= 0) & (rows + side <= h) & (cols + side <= w))
        if not len(whole):
            return 0.28 * self.typical
        whole = whole[:: max(1, len(whole) // 2000)]
        view = np.lib.stride_tricks.sliding_window_view(self.data, (side, side))
        mean = view[rows[whole], cols[whole]].mean(0, dtype=float)
        d = np.arange(-radius, radius + 1)
        r2 = d[:, None] ** 2 + d[None] ** 2
        near = r2 <= (radius + 0.5) ** 2
        best = (np.inf, 0.28 * self.typical)
        for width in self.typical * np.geomspace(0.1, 0.5, 24):
            # the guess is off by about a tenth of a spacing, and a pixel is a square
            g = np.exp(-0.5 * r2[near] / width**2)
            a = np.c_[g, np.ones_like(g)]
            solution, rest, *_ = np.linalg.lstsq(a, mean[near], rcond=None)
            if solution[0] > 0 and len(rest) and rest[0] < best[0]:
                best = (float(rest[0]), float(width))
        return float(np.clip(best[1], 0.5, 0.45 * self.typical + 0.35))

    def shape_field(self, sigma: float) -> None:
        """Choose the size of the patches, and which columns overlap, for a typical width."""
        radius = int(np.clip(np.ceil(REACH * sigma), 2, max(2, round(1.6 * self.typical))))
        pad = radius + int(np.ceil(3 * sigma + 0.5 * self.typical)) + 2
        self.field = Field(self.data.shape, radius, pad)
        within = min(OVERLAP * sigma, 2.2 * radius)
        if self.n > 1:
            pairs = cKDTree(np.c_[self.y, self.x]).query_pairs(within, output_type="ndarray")
        else:
            pairs = np.zeros((0, 2), np.int64)
        pairs.sort(axis=1)
        self.pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        i, j = self.pairs.T
        rows, cols = np.r_[i, j, np.arange(self.n)], np.r_[j, i, np.arange(self.n)]
        self.order = np.lexsort((cols, rows))
        self.block_cols = cols[self.order]
        self.block_ptr = np.r_[0, np.cumsum(np.bincount(rows, minlength=self.n))]
        self.pair_ptr = np.r_[0, np.cumsum(np.bincount(i, minlength=self.n))]
        self.hats = min(3, *self.nodes.n)

    # -- model and residuals ------------------------------------------------------------

    def render(self) -> np.ndarray:
        """Model of the frame without the background, float32 (H, W)."""
        f = self.field
        total = np.zeros(f.padded[0] * f.padded[1], np.float32)
        strips: dict[int, tuple[int, np.ndarray]] = {}
        sigma = np.exp(self.log_sigma)
        offsets = (np.arange(f.size)[:, None] * f.padded[1] + np.arange(f.size)).ravel()

        def draw(c: slice) -> None:
            y0, x0 = f.first(self.y[c]), f.first(self.x[c])
            gy = f.axis(y0, self.y[c], sigma[c])[:, 0] * self.amplitude[c, None]
            gx = f.axis(x0, self.x[c], sigma[c])[:, 0]
            values = gy.astype(np.float32)[:, :, None] * gx[:, None, :]
            # columns come sorted by row: a chunk touches a strip of the image only
            top = int(y0.min()) + f.pad
            corner = (y0 + f.pad - top) * f.padded[1] + x0 + f.pad
            index = corner[:, None] + offsets
            strips[c.start] = top * f.padded[1], np.bincount(index.ravel(), values.ravel())

        each_chunk(draw, self.n)
        # summed in a fixed order, so that threads change nothing
        for key in sorted(strips):
            at, strip = strips[key]
            total[at : at + len(strip)] += strip
        return total.reshape(f.padded)[f.inner]

    def look(self, noise: Noise) -> None:
        """Compare model and data: residuals, their weights, and the gradient."""
        self.mean = self.render() + self.nodes.image(self.background)
        residual = self.data - self.mean
        weight = noise.weight(self.mean, residual)
        if self.valid is not None:
            weight *= self.valid
        self.residual, self.weight = residual, weight
        wr = weight * residual
        padded = self.field.put(wr)
        grad = np.empty((self.n, 4))
        sigma = np.exp(self.log_sigma)
        f = self.field

        def one(c: slice) -> None:
            y0, x0 = f.first(self.y[c]), f.first(self.x[c])
            fy, fx = f.axis(y0, self.y[c], sigma[c]), f.axis(x0, self.x[c], sigma[c])
            m = fy @ f.patches(padded, y0, x0) @ fx.transpose(0, 2, 1)
            factor = _factors(self.amplitude[c], sigma[c])
            for p, terms in enumerate(_TERMS):
                grad[c, p] = sum(m[:, a, b] for a, b in terms) * factor[:, p]

        each_chunk(one, self.n)
        self.gradient, self.node_gradient = grad, self.nodes.collect(wr)

    def fisher(self) -> None:
        """Fisher matrix for the weights of the last look."""
        f, m = self.field, self.hats
        sigma = np.exp(self.log_sigma)
        padded = f.put(self.weight)
        self.diagonal = np.empty((self.n, 4, 4))
        self.off = np.empty((len(self.pairs), 4, 4))
        couple = np.empty((self.n, 4, m * m))
        columns = np.empty((self.n, m * m), np.int64)
        ny, nx = self.nodes.n
        pixels = np.arange(f.size, dtype=np.float32)

        def hats(first: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
            n, step = self.nodes.n[axis], np.float32(self.nodes.step[axis])
            k0 = np.clip(np.floor(first / step).astype(np.int64), 0, n - m)
            t = (first.astype(np.float32)[:, None] + pixels) / step
            return k0, np.maximum(1 - np.abs(t[:, None] - k0[:, None, None] - np.arange(m)[:, None]), 0)

        def one(c: slice) -> None:
            y0, x0 = f.first(self.y[c]), f.first(self.x[c])
            fy, fx = f.axis(y0, self.y[c], sigma[c]), f.axis(x0, self.x[c], sigma[c])
            w = f.patches(padded, y0, x0)
            ky, hy = hats(y0, 0)
            kx, hx = hats(x0, 1)
            n, size = len(w), f.size
            # powers 0 to 4 of the squared profile, and the profile times each hat
            sides = []
            for g, h in ((fy, hy), (fx, hx)):
                side = np.empty((n, 5 + 3 * m, size), np.float32)
                np.multiply(g, g[:, :1], out=side[:, :3])
                np.multiply(g[:, 1:], g[:, 2:], out=side[:, 3:5])
                np.multiply(g[:, :, None], h[:, None], out=side[:, 5:].reshape(n, 3, m, size))
                sides.append(side)
            both = (sides[0] @ w @ sides[1].transpose(0, 2, 1)).astype(float)
            own = both[:, :5, :5][:, _POWER[:, :, None, None], _POWER[None, None]]
            factor = _factors(self.amplitude[c], sigma[c])
            self.diagonal[c] = _blocks(own, factor, factor)
            cross = both[:, 5:, 5:].reshape(n, 3, m, 3, m)
            for p, terms in enumerate(_TERMS):
                part = sum(cross[:, a, :, b, :] for a, b in terms)
                couple[c, p] = (part * factor[:, p, None, None]).reshape(n, m * m)
            node = (ky[:, None] + np.arange(m))[:, :, None] * nx
            columns[c] = (node + (kx[:, None] + np.arange(m))[:, None]).reshape(n, m * m)
            p = slice(self.pair_ptr[c.start], self.pair_ptr[c.stop])
            i, j = self.pairs[p].T
            if not len(i):
                return
            mine = i - c.start
            ends = []
            for first, centre, g in ((y0, self.y, fy), (x0, self.x, fx)):
                other = f.axis(first[mine], centre[j], sigma[j])
                product = g[mine][:, :, None] * other[:, None]
                ends.append(product.reshape(len(i), 9, size))
            shared = ends[0] @ w[mine] @ ends[1].transpose(0, 2, 1)
            self.off[p] = _blocks(
                shared.astype(float).reshape(-1, 3, 3, 3, 3),
                factor[mine], _factors(self.amplitude[j], sigma[j]),
            )  # fmt: skip

        each_chunk(one, self.n)
        self.diagonal[:, 3, 3] += self.tie
        self.diagonal[:, [0, 1, 2], [0, 1, 2]] += self.hold
        blocks = np.concatenate([self.off, self.off.transpose(0, 2, 1), self.diagonal])[self.order]
        self.atoms = sparse.bsr_array(
            (blocks, self.block_cols, self.block_ptr), shape=(4 * self.n, 4 * self.n)
        )
        width = m * m
        indices = np.repeat(columns[:, None], 4, axis=1).ravel()
        pointer = np.arange(4 * self.n + 1) * width
        self.couple = sparse.csr_array(
            (couple.ravel(), indices, pointer), shape=(4 * self.n, ny * nx)
        )
        self.node_matrix = self.nodes.matrix(self.weight)

    # -- one scoring step ---------------------------------------------------------------

    def solve(self, damping: float, tied: np.ndarray | None, rounds: int = 30) -> np.ndarray:
        """Conjugate gradients: the change of every column, (n, 4), and of the nodes."""
        n4 = 4 * self.n
        gradient = self.gradient.copy()
        gradient[:, 3] += (self.prior - self.log_sigma) * self.tie
        gradient[:, :3] += (self.held - np.c_[self.y, self.x, self.amplitude]) * self.hold
        right = np.r_[gradient.ravel(), self.node_gradient]
        size = np.einsum("nii->ni", self.diagonal)
        # a step that information alone would make longer than this is held back; at the
        # optimum the gradient is zero, so that the answer does not depend on it
        limit = np.stack(
            [0.2 * self.reach, 0.2 * self.reach, np.full(self.n, 0.5), np.full(self.n, 0.3)], axis=1
        )
        lift = damping * size + 1 / limit**2
        node_size = self.node_matrix.diagonal()
        node_lift = damping * node_size + 1 / 0.5**2
        inverse = np.linalg.inv(self.diagonal + lift[:, :, None] * np.eye(4))
        node_inverse = 1 / (node_size + node_lift)
        back = self.couple.T.tocsr()
        votes = (~self.follows).astype(float)
        counts = None if tied is None else np.maximum(np.bincount(tied, votes), 1)

        def project(v: np.ndarray) -> np.ndarray:
            """Give the columns of a group the same change of width."""
            if counts is not None:
                s = v[3:n4:4]
                s[:] = (np.bincount(tied, s * votes) / counts)[tied] * votes
            return v

        def times(v: np.ndarray) -> np.ndarray:
            a, b = v[:n4], v[n4:]
            top = self.atoms @ a + lift.ravel() * a + self.couple @ b
            low = back @ a + self.node_matrix @ b + node_lift * b
            return project(np.r_[top, low])

        def precondition(v: np.ndarray) -> np.ndarray:
            a = (inverse @ v[:n4].reshape(-1, 4, 1)).ravel()
            return project(np.r_[a, node_inverse * v[n4:]])

        r = project(right)
        u = np.zeros_like(r)
        z = precondition(r)
        p = z.copy()
        rz = rz0 = float(r @ z)
        for _ in range(rounds):
            if rz <= 1e-5 * rz0 or rz0 <= 0:
                break
            q = times(p)
            curvature = float(p @ q)
            if curvature <= 0:  # columns so close that truncated blocks lost their sense
                break
            alpha = rz / curvature
            u += alpha * p
            r -= alpha * q
            z = precondition(r)
            rz, old = float(r @ z), rz
            p = z + rz / old * p
        return u

    def move(self, u: np.ndarray) -> np.ndarray:
        """Take a step within bounds; return how far each column moved in pixels."""
        n4 = 4 * self.n
        d = u[:n4].reshape(-1, 4)
        old_y, old_x = self.y.copy(), self.x.copy()
        limit, far = 0.15 * self.reach, FAR * self.reach
        for v, k in ((self.y, 0), (self.x, 1)):
            v += np.clip(d[:, k], -limit, limit)
            start = self.start[:, k]
            v[:] = np.clip(v, start - far, start + far)
            inside = slice(0, self.n_real)
            v[inside] = np.clip(v[inside], -0.5, self.data.shape[k] - 0.5)
        room = 0.5 * self.amplitude + 0.1
        amplitude = self.amplitude + np.clip(d[:, 2], -room, room)
        self.amplitude = np.clip(amplitude, self.floor, self.ceiling)
        self.log_sigma = np.clip(
            self.log_sigma + np.clip(d[:, 3], -0.25, 0.25), np.log(0.35), np.log(self.largest)
        )
        if np.any(self.follows):
            widths = np.zeros(int(self.group.max()) + 1)
            leads = ~self.follows
            widths[self.group[leads]] = self.log_sigma[leads]
            self.log_sigma[self.follows] = widths[self.group[self.follows]]
        self.background = self.background + u[n4:]
        return np.hypot(self.y - old_y, self.x - old_x)

    def go_on(self) -> None:
        """Add the columns beyond the border, whose light falls into the frame."""
        sigma = float(np.exp(np.median(self.log_sigma)))
        new, source = beyond_border(
            np.c_[self.y, self.x], self.amplitude, self.data.shape, self.typical, 3 * sigma
        )
        if not len(new):
            return
        self.start = np.r_[self.start, new]
        self.y, self.x = np.r_[self.y, new[:, 0]], np.r_[self.x, new[:, 1]]
        for name in ("amplitude", "log_sigma", "prior", "group", "ceiling", "reach", "tie"):
            old = getattr(self, name)
            setattr(self, name, np.r_[old, old[source]])
        self.rim = np.r_[self.rim, np.ones(len(new), bool)]
        self.follows = np.zeros(len(self.y), bool)
        self.n += len(new)
        freedom = np.c_[np.full((len(new), 2), 0.1 * self.typical), 0.15 * self.amplitude[source]]
        self.hold = np.r_[self.hold, 1 / freedom**2]
        self.held = np.c_[self.y, self.x, self.amplitude]

    def share_widths(self) -> np.ndarray:
        """Give every group one width; return which columns share.

        Columns at the rim, whose light is mixed with that of columns beyond it, follow
        the width of their group but have no vote.
        """
        self.prior = _group_median(self.log_sigma, self.group)
        self.log_sigma = self.prior.copy()
        self.tie = np.zeros(self.n)
        voters = np.bincount(self.group[~self.rim], minlength=int(self.group.max()) + 1)
        self.follows = self.rim & (voters[self.group] > 0)
        return self.group

    # -- errors -------------------------------------------------------------------------

    def covariance(self, tied: bool) -> np.ndarray:
        """Covariance of each column's parameters, neighbours and background free, (n, k, k).

        Neighbours are eliminated to second order (a neighbour's own other neighbours are
        at their best values given it), the background as a local constant.
        """
        k = 3 if tied else 4
        eye = 1e-12 * np.eye(k)
        diagonal = self.diagonal[:, :k, :k] + eye
        off = self.off[:, :k, :k]
        i, j = self.pairs.T
        inverse = np.linalg.inv(diagonal)
        source, target = np.r_[i, j], np.r_[j, i]
        # off-diagonal block of every directed edge: rows of the source, columns of the target
        edge = np.concatenate([off, off.transpose(0, 2, 1)])
        turned = edge.transpose(0, 2, 1)
        from_target = edge @ inverse[target] @ turned  # what the target takes from the source
        lost = np.zeros_like(diagonal)
        np.add.at(lost, source, from_target)
        # the target with its other neighbours eliminated
        target_alone = diagonal[target] - lost[target] + turned @ inverse[source] @ edge
        second = edge @ np.linalg.solve(target_alone, turned)
        lost = np.zeros_like(diagonal)
        np.add.at(lost, source, second)
        left = np.linalg.inv(diagonal - lost)
        bad = ~(np.einsum("nii->ni", left) > 0).all(1)
        left[bad] = inverse[bad]
        # the background near each column, known from all that lies round it
        local = np.asarray(self.couple.sum(axis=1)).reshape(-1, 4)[:, :k]
        turn = (left @ local[:, :, None])[:, :, 0]
        taken = np.einsum("nk,nk->n", turn, local)
        known = self.nodes.collect(self.weight)
        node = self._to_nodes(taken)
        share = self.nodes.at(np.maximum(known - node, 0.1 * known), self.y, self.x)
        return left + turn[:, :, None] * turn[:, None] / np.maximum(share, 1e-30)[:, None, None]

    def _to_nodes(self, values: np.ndarray) -> np.ndarray:
        (ky, ty), (kx, tx) = self.nodes.cell(self.y, 0), self.nodes.cell(self.x, 1)
        nx = self.nodes.n[1]
        out = np.zeros(self.nodes.n[0] * nx)
        for dy, wy in ((0, 1 - ty), (1, ty)):
            for dx, wx in ((0, 1 - tx), (1, tx)):
                out += np.bincount((ky + dy) * nx + kx + dx, values * wy * wx, minlength=len(out))
        return out

    def goodness(self) -> np.ndarray:
        """Mean squared residual over its variance, weighted by each column's profile."""
        f = self.field
        padded = f.put(self.residual**2 * self.weight)
        seen = f.put((self.weight > 0).astype(np.float32))
        sigma = np.exp(self.log_sigma)
        out = np.empty(self.n)

        def one(c: slice) -> None:
            y0, x0 = f.first(self.y[c]), f.first(self.x[c])
            gy, gx = f.axis(y0, self.y[c], sigma[c])[:, :1], f.axis(x0, self.x[c], sigma[c])[:, :1]
            across = gx.transpose(0, 2, 1)
            top = (gy @ f.patches(padded, y0, x0) @ across)[:, 0, 0]
            low = (gy @ f.patches(seen, y0, x0) @ across)[:, 0, 0]
            out[c] = top / np.maximum(low, 1e-12)

        each_chunk(one, self.n)
        return out


class Noise:
    """Variance of a pixel as a + b times its expected value, and weights from it."""

    def __init__(self, a: float, b: float, least: float) -> None:
        self.a, self.b, self.least = a, b, least

    def weight(self, mean: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """One over the variance; outliers beyond 4.5 standard deviations count less."""
        if self.b == 0:
            weight = np.full(mean.shape, np.float32(1 / self.a))
        else:
            variance = np.maximum(mean * np.float32(self.b) + np.float32(self.a), self.least)
            weight = np.float32(1) / variance
        far = np.flatnonzero((residual * residual * weight).ravel() > 20.0)
        if len(far):
            w, r = weight.ravel(), residual.ravel()[far].astype(float)
            deviance = r**2 * w[far]
            if self.b:
                # of counts: the deviance, which knows that counts are skew
                expected = 1 / (w[far] * self.b**2)
                seen = np.maximum(expected + r / self.b, 0)
                with np.errstate(divide="ignore", invalid="ignore"):
                    log = np.where(seen > 0, seen * np.log(seen / expected), 0)
                deviance = 2 * (log - (seen - expected))
            w[far] *= np.minimum(1, 4.5 / np.sqrt(np.maximum(deviance, 1e-12)))
        return weight


def _scatter(system: System) -> tuple[np.ndarray, ...]:
    """Mean value, variance and number of pixels in bins of the expected value.

    The rim is left out: there the columns beyond the border are missing in the model.
    """
    rim = round(0.8 * system.typical)
    h, w = system.data.shape
    inner = (slice(rim, h - rim), slice(rim, w - rim)) if min(h, w) > 4 * rim else (slice(None),) * 2
    m, r = system.mean[inner].ravel(), system.residual[inner].ravel()
    if system.valid is not None:
        keep = system.valid[inner].ravel() > 0
        m, r = m[keep], r[keep]
    stride = max(1, m.size // 300_000)
    m, r = m[::stride], r[::stride]
    edges = np.quantile(m, np.linspace(0, 1, 25)[1:-1])
    where = np.searchsorted(edges, m)
    # one wild pixel must not make a bin: clipped at six standard deviations of the bin
    count = np.bincount(where, minlength=24)
    variance = np.bincount(where, r**2, minlength=24) / np.maximum(count, 1)
    cut = np.minimum(r**2, 36 * variance[where])
    variance = np.bincount(where, cut, minlength=24) / np.maximum(count, 1)
    centre = np.bincount(where, m, minlength=24) / np.maximum(count, 1)
    use = (count > 30) & (variance > 0)
    return centre[use], variance[use], count[use]


def find_noise(system: System, parameters_per_pixel: float) -> Noise:
    """Estimate variance = a + b mean from the residuals."""
    centre, variance, count = _scatter(system)
    variance = variance / max(1 - parameters_per_pixel, 0.3)
    overall = float(np.average(variance, weights=count)) if len(variance) else 1.0
    if len(variance) < 4:
        return Noise(max(overall, 1e-12), 0.0, 1e-12)
    from scipy.optimize import nnls

    low = float(centre.min())
    model = variance.copy()
    a = b = 0.0
    for _ in range(4):
        weight = np.sqrt(count) / model
        (a, b), _ = nnls(np.c_[weight, weight * (centre - low)], weight * variance)
        model = np.maximum(a + b * (centre - low), 1e-3 * overall)
    if b * float(np.ptp(centre)) < 0.05 * overall:
        return Noise(max(overall, 1e-12), 0.0, 1e-12)
    # a is the variance at the lowest mean value; back to mean value zero
    return Noise(a - b * low, b, max(0.3 * float(variance.min()), 1e-3 * overall))


def bin_image(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean of factor x factor blocks; an incomplete last block is left out."""
    if factor == 1:
        return image
    h, w = (s // factor * factor for s in image.shape)
    return image[:h, :w].reshape(h // factor, factor, w // factor, factor).mean((1, 3))


def saturated(image: np.ndarray) -> np.ndarray | None:
    """Mask of the pixels at the ceiling of a clipped image, None where it is not clipped."""
    top = image.max()
    at_top = image >= top
    if at_top.sum() < max(8, 2e-4 * image.size):
        return None
    return at_top


def fit_columns(
    image: np.ndarray,
    positions: np.ndarray,
    spacing_px: float,
    params: FitParams = FitParams(),
    group: np.ndarray | None = None,
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

    Returns
    -------
    Fit
        Where a fit ran away or made no sense, ``ok`` is False and the first guess is
        returned.

    Notes
    -----
    Score of the quasi-likelihood: sum of (data - mean) / variance times the derivative of
    the mean, which is that of Poisson counts where the variance is proportional to the
    mean (McCullagh and Nelder, Generalized Linear Models, 2nd ed., chapter 9). Standard
    errors are those of the Fisher information with all other parameters free.
    """
    validate(params)
    n = len(positions)
    if n == 0:
        return Fit(*np.zeros((8, 0)), ok=np.zeros(0, bool))  # type: ignore[misc]
    # about 12 px between columns carry all the information; more only cost time
    factor = max(1, int(spacing_px // 12))
    image = np.asarray(image, np.float32)
    clipped = saturated(image)
    data = bin_image(image, factor)
    valid = None
    if clipped is not None:
        valid = (bin_image(clipped.astype(np.float32), factor) == 0).astype(np.float32)
    few = data.ravel()[:: max(1, data.size // 200_000)]
    level, high = (float(v) for v in np.quantile(few, [0.01, 0.99]))
    scale = high - level
    start = (np.asarray(positions, float) + 0.5) / factor - 0.5
    order = np.lexsort((start[:, 1], start[:, 0]))
    group = np.zeros(n, np.int64) if group is None else np.unique(group, return_inverse=True)[1]
    if not scale > 0:
        unknown = np.full((6, n), np.nan)
        return Fit(positions[:, 0].copy(), positions[:, 1].copy(), *unknown, ok=np.zeros(n, bool))  # type: ignore[misc]
    data = (data - np.float32(level)) / np.float32(scale)
    spacing = spacing_px / factor
    system = System(
        data, start[order], group[order], spacing, params.background_spacings * spacing, valid
    )
    fixed = None
    if params.noise == "poisson" and params.gain > 0:
        gain = params.gain / factor**2
        fixed = Noise((level - params.offset) * gain / scale**2, gain / scale, 1e-6)
    fit = _fit(system, params, fixed)
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
    fit.y = np.where(fit.ok, fit.y, positions[:, 0])
    fit.x = np.where(fit.ok, fit.x, positions[:, 1])
    return fit


def _begin(system: System) -> None:
    """First guess of background and amplitudes."""
    data, typical, nodes = system.data, system.typical, system.nodes
    b = max(1, round(0.3 * typical))
    small = bin_image(data, b) if min(data.shape) >= 2 * b else data
    b = b if min(data.shape) >= 2 * b else 1
    for axis in (0, 1):
        edges = ((np.arange(nodes.n[axis]) - 0.5) * nodes.step[axis] / b).astype(int)
        small = np.minimum.reduceat(small, np.clip(edges, 0, small.shape[axis] - 1), axis=axis)
    system.background = small.astype(float).ravel()
    rows = np.clip(np.rint(system.y).astype(int), 1, max(1, data.shape[0] - 2))
    cols = np.clip(np.rint(system.x).astype(int), 1, max(1, data.shape[1] - 2))
    here = np.zeros(system.n)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            here += data[np.clip(rows + dy, 0, data.shape[0] - 1), np.clip(cols + dx, 0, data.shape[1] - 1)]
    system.floor = 1e-3
    system.held = np.zeros((system.n, 3))
    above = here / 9 - nodes.at(system.background, system.y, system.x)
    system.amplitude = np.maximum(above, 0.02)
    system.ceiling = 2.5 * np.maximum(above, 0.4 * float(np.median(system.amplitude)))


def _fit(system: System, params: FitParams, fixed: Noise | None) -> Fit:
    _begin(system)
    data = system.data
    steps = np.diff(data[:: max(1, len(data) // 256)], axis=1) if data.shape[1] > 1 else data
    spread = float(np.median(np.abs(steps))) / 0.954
    noise = fixed or Noise(max(spread**2, 1e-6), 0.0, 1e-12)
    tied: np.ndarray | None = None
    share = (4 * system.n + len(system.background)) / data.size
    moved = np.zeros(system.n)
    # heights and background first: with the widths held they are a linear problem
    system.tie[:] = 1 / 0.05**2
    for step in range(params.steps):
        system.look(noise)
        if fixed is None and step in (2, 3, 5):
            noise = find_noise(system, share)
            if params.noise == "uniform":
                noise = Noise(float(np.mean(system.residual**2)), 0.0, 1e-12)
            system.look(noise)
        if step in (0, 1, 2, 3, 5, 8):
            system.fisher()
        moved = system.move(system.solve(1e-2 if step == 0 else 1e-4, tied))
        if step == 0:
            system.tie[:] = 1 / WIDTH_FREEDOM**2
        elif step == 1:
            system.prior = _group_median(system.log_sigma, system.group)
            system.go_on()
            system.shape_field(float(np.exp(np.median(system.log_sigma))))
        elif tied is None and params.width == "shared" and step >= 2:
            tied = system.share_widths()
        elif tied is None and params.width == "auto" and step in (2, 4):
            tied = _tie(system)
        if step >= 6 and np.quantile(moved, 0.98) < max(1e-3, 0.02 * _typical_error(system)):
            break
    if params.width == "free":
        system.tie[:] = 0
    system.look(noise)
    system.fisher()
    return _result(system, tied, moved)


def _typical_error(system: System) -> float:
    return float(np.median(1 / np.sqrt(np.maximum(system.diagonal[:, 0, 0], 1e-12))))


def _group_median(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    out = values.copy()
    for g in np.unique(group):
        out[group == g] = np.median(values[group == g])
    return out


def _tie(system: System) -> np.ndarray | None:
    """How far the widths of a group really differ, beyond their errors."""
    curvature = system.diagonal[:, 3, 3] - system.tie
    system.prior = _group_median(system.log_sigma, system.group)
    off = system.log_sigma - system.prior
    # width and amplitude share information: about half is left once neighbours are free
    expected = 2.0 / np.maximum(curvature, 1e-12)
    inner = ~system.rim if not system.rim.all() else system.rim
    seen = (1.4826 * np.median(np.abs(off[inner]))) ** 2
    real = seen - float(np.median(expected[inner]))
    if real < 0.02**2:
        return system.share_widths()
    system.tie[:] = 1 / min(np.sqrt(real), WIDTH_FREEDOM) ** 2
    return None


def inflation(system: System, lags: int = 4) -> float:
    """How much larger variances are because the noise of neighbouring pixels goes together.

    Images that were smoothed, resampled or recorded with a slow detector have correlated
    noise: the variance of a score is then the sum over lags of the autocorrelation of the
    noise times that of the derivative of a column, here averaged over both axes.
    """
    h, w = system.data.shape
    if min(h, w) < 8 * lags:
        return 1.0
    side = min(512, h, w)
    y, x = (h - side) // 2, (w - side) // 2
    part = slice(y, y + side), slice(x, x + side)
    white = system.residual[part] * np.sqrt(system.weight[part])
    white = np.clip(white - white.mean(), -5, 5)
    n = 1 << int(np.ceil(np.log2(side + lags)))
    power = np.abs(np.fft.rfft2(white, (n, n))) ** 2
    correlation = np.fft.irfft2(power, (n, n))
    lag = np.arange(-lags, lags + 1)
    correlation = correlation[lag[:, None], lag] / max(float(correlation[0, 0]), 1e-30)
    sigma2 = float(np.exp(2 * np.median(system.log_sigma)))
    r2 = lag[:, None] ** 2 + lag**2
    kernel = (1 - r2 / (4 * sigma2)) * np.exp(-r2 / (4 * sigma2))
    # what fitting itself takes out of the residuals makes small negative values
    correlation[np.abs(correlation) < 0.04] = 0
    return max(1.0, float((correlation * kernel).sum()))


def _result(system: System, tied: np.ndarray | None, moved: np.ndarray) -> Fit:
    covariance = system.covariance(tied is not None)
    errors = np.sqrt(np.maximum(np.einsum("nii->ni", covariance), 0) * inflation(system))
    shift = np.abs(np.c_[system.y, system.x] - system.start).max(axis=1)
    ok = (
        np.isfinite(errors).all(1) & (shift < 0.98 * FAR * system.reach)
        & (system.amplitude > 1.5 * system.floor)
        & (np.hypot(errors[:, 0], errors[:, 1]) < 0.25 * system.reach)
        & (moved < 0.05 * system.reach)
    )  # fmt: skip
    sigma = np.exp(system.log_sigma)
    real = slice(0, system.n_real)
    return Fit(
        system.y[real],
        system.x[real],
        system.amplitude[real],
        sigma[real],
        system.nodes.at(system.background, system.y, system.x)[real],
        errors[real, 0],
        errors[real, 1],
        errors[real, 2],
        ok[real],
        None if tied is not None else (errors[:, 3] * sigma)[real],
        system.goodness()[real],
    )
