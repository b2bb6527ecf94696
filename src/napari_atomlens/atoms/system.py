"""The columns and the background of a frame, their Fisher matrix, and its solution."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import scipy

from napari_atomlens.atoms.background import Background, strips
from napari_atomlens.atoms.border import Scanned, beyond_border
from napari_atomlens.atoms.noise import Noise
from napari_atomlens.atoms.patches import POWER, TERMS, Crew, Field, blocks, factors, product
from napari_atomlens.atoms.steps import TIE, EdgeProfiles

#: Columns are drawn and fitted out to this many widths.
REACH = 3.5
#: Columns further apart than this many widths share no block of the Fisher matrix.
OVERLAP = 6.3
#: A column stays within this part of the distance to its neighbour of its first guess.
FAR = 0.4
#: Relative freedom (standard deviation of log sigma) of a width about its group, at most.
WIDTH_FREEDOM = 0.25
#: Standard deviation of e1 and e2 that is allowed for, and their limit (aspect 2.7).
SHAPE_FREEDOM, MOST_OBLONG = 0.3, 1.0
#: Rounds of conjugate gradients for one scoring step, at most.
MOST_ROUNDS = 30


class System:
    """Columns, background and their Fisher matrix; everything of order one."""

    def __init__(
        self, data: np.ndarray, start: np.ndarray, group: np.ndarray, spacing: float, step: float,
        valid: np.ndarray | None, crew: Crew, recorded: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self.data, self.start, self.group, self.crew = data, start, group, crew
        self.n = len(start)
        self.amplitude = np.ones(self.n)
        #: heights stay between these
        self.floor, self.ceiling = 1e-3, np.full(self.n, np.inf)
        self.held = np.zeros((self.n, 3))
        #: e1 and e2 of each column (see `reshape`), None while columns are round
        self.shape: np.ndarray | None = None
        self.shape_variance = np.zeros((self.n, 2))
        #: steps of the background, which the nodes cannot follow
        self.steps: EdgeProfiles | None = None
        #: what the last step needed (see `advance`)
        self.damping = 0.0
        #: where the model fits, found with the noise
        self.trusted = np.ones(data.shape, bool)
        #: parameters per pixel
        self.share = 0.0
        self.y, self.x = start[:, 0].copy(), start[:, 1].copy()
        nearest = np.full(self.n, spacing)
        if self.n > 1:
            nearest = scipy.spatial.cKDTree(start).query(start, k=2)[0][:, 1]
        self.reach = np.clip(nearest, 0.5 * spacing, 1.5 * spacing)
        self.typical = float(np.median(self.reach))
        self.nodes = Background(data.shape, max(step, 4.0))
        self.background: np.ndarray = np.zeros(self.nodes.n[0] * self.nodes.n[1])
        self.valid = valid
        # of large images every array counts: these are made once
        self.residual, self.weight = np.zeros_like(data), np.zeros_like(data)
        #: columns within reach of the rim: their neighbours beyond it are missing
        self.scanned = Scanned(data.shape, recorded)
        self.rim = self.scanned.outwards(start) > -1.2 * self.typical
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
        self.forget_fisher()
        self._forget("mean", "_padded")
        self._padded = np.zeros(self.field.padded, np.float32)
        within = min(OVERLAP * sigma, 2.2 * radius)
        if self.n > 1:
            pairs = scipy.spatial.cKDTree(np.c_[self.y, self.x]).query_pairs(
                within, output_type="ndarray"
            )
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

    def forget_fisher(self) -> None:
        """Give the memory of the Fisher matrix back; :meth:`fisher` makes it anew."""
        self._forget("atoms", "couple", "back")

    def _forget(self, *names: str) -> None:
        """Give memory back before what comes in its place is made."""
        for name in names:
            self.__dict__.pop(name, None)

    # -- model and residuals ------------------------------------------------------------

    def render(self) -> np.ndarray:
        """Model of the frame without the background, float32 (H, W); it is drawn over the last."""
        f = self.field
        self._padded[:] = 0
        total = self._padded.ravel()
        sigma = np.exp(self.log_sigma)
        offsets = (np.arange(f.size)[:, None] * f.padded[1] + np.arange(f.size)).ravel()

        def draw(c: slice) -> tuple[int | np.ndarray, np.ndarray]:
            y0, x0 = f.first(self.y[c]), f.first(self.x[c])
            gy = f.axis(y0, self.y[c], sigma[c])[:, 0] * self.amplitude[c, None]
            gx = f.axis(x0, self.x[c], sigma[c])[:, 0]
            if self.shape is None:
                values = gy.astype(np.float32)[:, :, None] * gx[:, None, :]
            else:
                values = self._ellipses(c, y0, x0, sigma[c])
            # columns come sorted by row: a chunk touches a strip of the image only
            top = int(y0.min()) + f.pad
            corner = (y0 + f.pad - top) * f.padded[1] + x0 + f.pad
            index = (corner[:, None] + offsets).ravel()
            if corner.max() > 8 * index.size:  # those beyond the border are far from each other
                return index + top * f.padded[1], values.ravel()
            return top * f.padded[1], np.bincount(index, values.ravel())

        # summed in a fixed order, so that threads change nothing
        for at, strip in self.crew.pick(draw, self.n):
            if isinstance(at, np.ndarray):
                np.add.at(total, at, strip)
            else:
                total[at : at + len(strip)] += strip
        return self._padded[f.inner]

    def _ellipses(self, c: slice, y0: np.ndarray, x0: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        """Patches of elliptic columns of the same area as the round ones, (n, size, size)."""
        pixels = np.arange(self.field.size)
        u = (((y0 - self.y[c])[:, None] + pixels) / sigma[:, None])[:, :, None]
        v = (((x0 - self.x[c])[:, None] + pixels) / sigma[:, None])[:, None]
        e1, e2 = self.shape[c].T[:, :, None, None]  # type: ignore[index]
        size = np.hypot(e1, e2)
        even = np.cosh(size)
        odd = np.where(size > 1e-6, np.sinh(size) / np.maximum(size, 1e-6), 1.0)
        # the inverse of the matrix exponential of [[e1, e2], [e2, -e1]]
        form = (even - odd * e1) * u**2 + (even + odd * e1) * v**2 - 2 * odd * e2 * u * v
        patch = self.amplitude[c, None, None] * np.exp(-0.5 * form)
        return np.asarray(patch, np.float32)

    def quadrupole(self) -> tuple[np.ndarray, np.ndarray]:
        """What the residual has left of the shapes: their score and information, (n, 2) each.

        The variance of a column is sigma^2 exp(E) with E = [[e1, e2], [e2, -e1]], so that
        its derivatives at a round column are the two quadrupoles of its profile, which no
        other parameter of the column contains.
        """
        f, sigma = self.field, np.exp(self.log_sigma)
        wr, w = f.put(self.weight * self.residual), f.put(self.weight)
        information = np.empty((self.n, 2))
        score = np.empty((self.n, 2))

        def one(c: slice) -> None:
            y0, x0 = f.first(self.y[c]), f.first(self.x[c])
            fy, fx = f.axis(y0, self.y[c], sigma[c]), f.axis(x0, self.x[c], sigma[c])
            m = product(fy, f.patches(wr, y0, x0), fx.transpose(0, 2, 1))
            gy, gx = (
                np.stack([g[:, 0] ** 2, g[:, 1] ** 2, g[:, 2] ** 2], axis=1) for g in (fy, fx)
            )
            s = product(gy, f.patches(w, y0, x0), gx.transpose(0, 2, 1))
            a = self.amplitude[c]
            score[c] = a[:, None] * np.stack([(m[:, 2, 0] - m[:, 0, 2]) / 2, m[:, 1, 1]], axis=1)
            first = (s[:, 2, 0] + s[:, 0, 2] - 2 * s[:, 1, 1]) / 4
            information[c] = a[:, None] ** 2 * np.stack([first, s[:, 1, 1]], axis=1)

        self.crew.each(one, self.n)
        return score, information

    def reshape(self, noise: Noise) -> None:
        """Take a step of the shapes, by the quadrupole that the residual has left."""
        if self.shape is None:
            self.shape = np.zeros((self.n, 2))
        score, information = self.quadrupole()
        score -= self.shape / SHAPE_FREEDOM**2
        information += 1 / SHAPE_FREEDOM**2
        self.shape = np.clip(
            self.shape + np.clip(0.7 * score / information, -0.2, 0.2), -MOST_OBLONG, MOST_OBLONG
        )
        self.shape_variance = 1 / information

    def _clear_border(self) -> None:
        """Columns at the rim were drawn past it; sums over patches want zeros there."""
        p, (h, w) = self.field.pad, self.data.shape
        self._padded[:p], self._padded[p + h :] = 0, 0
        self._padded[:, :p], self._padded[:, p + w :] = 0, 0

    def look(self) -> None:
        """Compare model and data."""
        self.mean = self.render()
        self._clear_border()
        self.nodes.add_to(self.mean, self.background)
        if self.steps is not None:
            self.steps.add_to(self.mean)
        np.subtract(self.data, self.mean, out=self.residual)

    def weigh(self, noise: Noise) -> None:
        """Weights of the residuals of the last look, and the gradient; `mean` is written over."""
        # of large images every array counts: the weighted residuals take the place of the model
        padded = self._padded
        wr = padded[self.field.inner]
        for part in strips(self.data.shape):
            self.weight[part] = noise.weight(self.mean[part], self.residual[part])
            if self.valid is not None:
                self.weight[part] *= self.valid[part]
            np.multiply(self.weight[part], self.residual[part], out=wr[part])
        grad = np.empty((self.n, 4))
        sigma = np.exp(self.log_sigma)
        f = self.field

        def one(c: slice) -> None:
            y0, x0 = f.first(self.y[c]), f.first(self.x[c])
            fy, fx = f.axis(y0, self.y[c], sigma[c]), f.axis(x0, self.x[c], sigma[c])
            m = product(fy, f.patches(padded, y0, x0), fx.transpose(0, 2, 1))
            factor = factors(self.amplitude[c], sigma[c])
            for p, terms in enumerate(TERMS):
                grad[c, p] = sum(m[:, a, b] for a, b in terms) * factor[:, p]

        self.crew.each(one, self.n)
        self.gradient, self.node_gradient = grad, self.nodes.collect(wr)
        if self.steps is not None:
            self.steps.gradient = self.steps.collect(wr)

    def fisher(self) -> None:
        """Fisher matrix for the weights of the last look."""
        f, m = self.field, self.hats
        self.forget_fisher()
        sigma = np.exp(self.log_sigma)
        padded = f.put(self.weight, self._padded)
        self.diagonal = np.empty((self.n, 4, 4))
        off = np.empty((len(self.pairs), 4, 4))
        couple = np.empty((self.n, 4, m * m))
        columns = np.empty((self.n, m * m), np.int32)
        ny, nx = self.nodes.n
        pixels = np.arange(f.size, dtype=np.float32)

        def hats(first: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
            n, step = self.nodes.n[axis], np.float32(self.nodes.step[axis])
            k0 = np.clip(np.floor(first / step).astype(np.int64), 0, n - m)
            t = (first.astype(np.float32)[:, None] + pixels) / step
            node = k0[:, None, None] + np.arange(m)[:, None]
            return k0, np.maximum(1 - np.abs(t[:, None] - node), 0)

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
            both = product(sides[0], w, sides[1].transpose(0, 2, 1)).astype(float)
            own = both[:, :5, :5][:, POWER[:, :, None, None], POWER[None, None]]
            factor = factors(self.amplitude[c], sigma[c])
            self.diagonal[c] = blocks(own, factor, factor)
            cross = both[:, 5:, 5:].reshape(n, 3, m, 3, m)
            for p, terms in enumerate(TERMS):
                part = sum(cross[:, a, :, b, :] for a, b in terms)
                couple[c, p] = (part * factor[:, p, None, None]).reshape(n, m * m)
            node = (ky[:, None] + np.arange(m))[:, :, None] * nx
            columns[c] = (node + (kx[:, None] + np.arange(m))[:, None]).reshape(n, m * m)
            own_pairs = slice(self.pair_ptr[c.start], self.pair_ptr[c.stop])
            i, j = self.pairs[own_pairs].T
            if not len(i):
                return
            mine = i - c.start
            ends = []
            for first, centre, g in ((y0, self.y, fy), (x0, self.x, fx)):
                other = f.axis(first[mine], centre[j], sigma[j])
                ends.append((g[mine][:, :, None] * other[:, None]).reshape(len(i), 9, size))
            shared = product(ends[0], w[mine], ends[1].transpose(0, 2, 1))
            off[own_pairs] = blocks(
                shared.astype(float).reshape(-1, 3, 3, 3, 3),
                factor[mine], factors(self.amplitude[j], sigma[j]),
            )  # fmt: skip

        self.crew.each(one, self.n)
        self.diagonal[:, 3, 3] += self.tie
        self.diagonal[:, [0, 1, 2], [0, 1, 2]] += self.hold
        every = np.empty((len(self.order), 4, 4))
        place = np.empty_like(self.order)
        place[self.order] = np.arange(len(place))
        k = len(off)
        every[place[:k]], every[place[2 * k :]] = off, self.diagonal
        every[place[k : 2 * k]] = off.transpose(0, 2, 1)
        self.upper = place[:k]
        self.atoms = scipy.sparse.bsr_array(
            (every, self.block_cols, self.block_ptr), shape=(4 * self.n, 4 * self.n)
        )
        width = m * m
        indices = np.repeat(columns[:, None], 4, axis=1).ravel()
        pointer = np.arange(4 * self.n + 1, dtype=np.int32) * width
        self.couple = scipy.sparse.csr_array(
            (couple.ravel(), indices, pointer), shape=(4 * self.n, ny * nx)
        )
        self.back = self.couple.T
        self.node_matrix = self.nodes.matrix(self.weight)
        if self.steps is not None:
            self.steps.fisher(self)

    # -- one scoring step ---------------------------------------------------------------

    def solve(self, damping: float, tied: np.ndarray | None, precision: float) -> np.ndarray:
        """Conjugate gradients: the change of every column, (n, 4), of the nodes, and of steps."""
        n4, steps = 4 * self.n, self.steps
        nb = n4 + len(self.background)
        gradient = self.gradient.copy()
        gradient[:, 3] += (self.prior - self.log_sigma) * self.tie
        gradient[:, :3] += (self.held - np.c_[self.y, self.x, self.amplitude]) * self.hold
        right = np.r_[gradient.ravel(), self.node_gradient]
        if steps is not None:
            right = np.r_[right, steps.gradient - TIE * steps.values]
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
        both = None if steps is None else steps.together(self.node_matrix, node_lift)
        votes = (~self.follows).astype(float)
        group = np.zeros(self.n, np.int64) if tied is None else tied
        counts = None if tied is None else np.maximum(np.bincount(group, votes), 1)

        def project(v: np.ndarray) -> np.ndarray:
            """Give the columns of a group the same change of width."""
            if counts is not None:
                s = v[3:n4:4]
                s[:] = (np.bincount(group, s * votes) / counts)[group] * votes
            return v

        def times(v: np.ndarray) -> np.ndarray:
            a, b, c = v[:n4], v[n4:nb], v[nb:]
            top = self.atoms @ a + lift.ravel() * a + self.couple @ b
            low = self.back @ a + self.node_matrix @ b + node_lift * b
            if steps is None:
                return project(np.r_[top, low])
            top, low = top + steps.with_columns @ c, low + steps.with_nodes @ c
            last = steps.with_columns.T @ a + steps.with_nodes.T @ b + steps.own @ c
            return project(np.r_[top, low, last])

        def precondition(v: np.ndarray) -> np.ndarray:
            a = np.einsum("nij,nj->ni", inverse, v[:n4].reshape(-1, 4)).ravel()
            return project(np.r_[a, node_inverse * v[n4:] if both is None else both.solve(v[n4:])])

        rounds = MOST_ROUNDS if steps is None else 3 * MOST_ROUNDS
        return _conjugate_gradients(times, precondition, project(right), precision, rounds)

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
        last = n4 + len(self.background)
        self.background = self.background + u[n4:last]
        if self.steps is not None:
            self.steps.values = self.steps.values + u[last:]
        return np.hypot(self.y - old_y, self.x - old_x)

    def cost(self) -> float:
        """Weighted squares of the residuals and of the distances from the priors."""
        held = np.c_[self.y, self.x, self.amplitude] - self.held
        return float(
            np.einsum("ij,ij,ij", self.weight, self.residual, self.residual, dtype=float)
            + np.sum(self.tie * (self.log_sigma - self.prior) ** 2)
            + np.sum(self.hold * held**2)
        )

    def advance(self, damping: float, tied: np.ndarray | None, precision: float) -> np.ndarray:
        """Take a step that does not make things worse, and look at what it gives.

        A step that does is taken back and tried again, shorter (Levenberg and Marquardt).

        Returns
        -------
        ndarray, shape (n,)
            How far each column moved in pixels.
        """
        names = ("y", "x", "amplitude", "log_sigma", "background")
        before = {name: getattr(self, name).copy() for name in names}
        high = None if self.steps is None else self.steps.values
        cost = self.cost()
        damping = max(damping, 0.1 * self.damping)
        for _ in range(4):
            moved = self.move(self.solve(damping, tied, precision))
            self.look()
            if self.cost() <= 1.0005 * cost:
                self.damping = damping
                return moved
            damping = max(10 * damping, 0.03)
            for name, value in before.items():
                setattr(self, name, value.copy())
            if self.steps is not None and high is not None:
                self.steps.values = high
        self.look()
        return np.zeros(self.n)

    def go_on(self) -> None:
        """Add the columns beyond the border, whose light falls into the frame."""
        sigma = float(np.exp(np.median(self.log_sigma)))
        new, source = beyond_border(
            np.c_[self.y, self.x], self.amplitude, self.scanned, self.typical, 3 * sigma
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
        self.prior = group_median(self.log_sigma, self.group)
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
        off = self.atoms.data[self.upper, :k, :k]
        i, j = self.pairs.T
        inverse = np.linalg.inv(diagonal)
        lost, second = np.zeros_like(diagonal), np.zeros_like(diagonal)
        # off-diagonal block of every directed edge: rows of the source, columns of the target
        for blocks_, source, target in _edges(off, i, j):
            # what the target takes from the source
            turned = blocks_.transpose(0, 2, 1)
            np.add.at(lost, source, blocks_ @ inverse[target] @ turned)
        for blocks_, source, target in _edges(off, i, j):
            turned = blocks_.transpose(0, 2, 1)
            # the target with its other neighbours eliminated
            alone = diagonal[target] - lost[target] + turned @ inverse[source] @ blocks_
            np.add.at(second, source, blocks_ @ np.linalg.solve(alone, turned))
        left = np.linalg.inv(diagonal - second)
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

    def background_at(self) -> np.ndarray:
        """Background under each column."""
        value = self.nodes.at(self.background, self.y, self.x)
        if self.steps is not None:
            value = value + self.steps.at(self.y, self.x)
        return np.asarray(value)

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
        padded = self._padded
        sigma = np.exp(self.log_sigma)

        def seen() -> np.ndarray:
            out = np.empty(self.n)

            def one(c: slice) -> None:
                y0, x0 = f.first(self.y[c]), f.first(self.x[c])
                gy, gx = (
                    np.ascontiguousarray(f.axis(first, centre[c], sigma[c])[:, :1])
                    for first, centre in ((y0, self.y), (x0, self.x))
                )
                patches = f.patches(padded, y0, x0)
                out[c] = product(gy, patches, gx.transpose(0, 2, 1))[:, 0, 0]

            self.crew.each(one, self.n)
            return out

        np.multiply(self.residual, self.residual, out=padded[f.inner])
        padded[f.inner] *= self.weight
        top = seen()
        np.greater(self.weight, 0, out=padded[f.inner], casting="unsafe")
        return top / np.maximum(seen(), 1e-12)


def _conjugate_gradients(
    times: Callable[[np.ndarray], np.ndarray],
    precondition: Callable[[np.ndarray], np.ndarray],
    r: np.ndarray,
    precision: float,
    rounds: int,
) -> np.ndarray:
    """Solve a symmetric system for the right side `r`, which is written over."""
    u = np.zeros_like(r)
    z = precondition(r)
    p = z.copy()
    rz = rz0 = float(np.einsum("i,i", r, z))
    for _ in range(rounds):
        if rz <= precision * rz0 or rz0 <= 0:
            break
        q = times(p)
        curvature = float(np.einsum("i,i", p, q))
        if curvature <= 0:  # columns so close that truncated blocks lost their sense
            break
        alpha = rz / curvature
        u += alpha * p
        r -= alpha * q
        z = precondition(r)
        rz, old = float(np.einsum("i,i", r, z)), rz
        p = z + rz / old * p
    return u


def _edges(
    off: np.ndarray, i: np.ndarray, j: np.ndarray, most: int = 1 << 17
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield blocks, sources and targets of the pairs in both directions, some at a time."""
    for blocks_, source, target in ((off, i, j), (off.transpose(0, 2, 1), j, i)):
        for k in range(0, len(i), most):
            part = slice(k, k + most)
            yield blocks_[part], source[part], target[part]


def group_median(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Median of the group of each value."""
    out = values.copy()
    for g in np.unique(group):
        out[group == g] = np.median(values[group == g])
    return out
