"""The adjoint of a converged plan on a CPU, for the exact gradient: what :mod:`bwot.implicit` does, one pass over the plan a step.

Notation as there. The plan is ``T_ij = u_i D_ij v_j``, ``W`` the charges of the pairs, of which the loss is ``sum T W``. All vectors are
float64, whatever the plan is: the system is singular, and sums that are off by a few roundings of float32 would let the steps run away.
"""

from typing import no_type_check

import numpy as np

from bwot.cpu.exponential import compiled, inlined
from bwot.cpu.pairs import errors_of


@inlined
@no_type_check
def _there_and_back(density, u, v, over_row, x, y, out):
    """``y = over_row T x`` and ``out = T^T y``, the row being in the cache for the second."""
    for j in range(len(v)):
        out[j] = 0
        x[j] *= v[j]
    for i in range(len(u)):
        row, total = density[i], 0.0
        for j in range(len(v)):
            total += row[j] * x[j]
        y[i] = over_row[i] * u[i] * total
        a = u[i] * y[i]
        for j in range(len(v)):
            out[j] += a * row[j]
    for j in range(len(v)):
        out[j] *= v[j]


@inlined
@no_type_check
def _dot(a, b):
    total = 0.0
    for j in range(len(a)):
        total += a[j] * b[j]
    return total


@inlined
@no_type_check
def _means(pairs, squared, form, settings, square, density, u, v, rows, r, c, across, down):
    """Sums of the plan's rows and columns, and means of the charges along them, weighted by the plan; the largest of the means."""
    errors, slopes, unit = rows[0], rows[1], 0.0
    for j in range(len(v)):
        c[j] = down[j] = 0
    for i in range(len(u)):
        row, mass, total = density[i], 0.0, 0.0
        errors_of(squared[i], pairs[2][i], pairs[3], form, settings[0], settings[1], errors, slopes)
        for j in range(len(v)):
            weight = np.float64(u[i]) * row[j] * v[j]
            charge = np.float64(errors[j]) * (errors[j] if square else 1)
            mass += weight
            total += weight * charge
            c[j] += weight
            down[j] += weight * charge
        r[i], across[i] = mass, total / mass if mass > 0 else 0.0
        unit = max(unit, across[i])
    for j in range(len(v)):
        down[j] = down[j] / c[j] if c[j] > 0 else 0.0
        unit = max(unit, down[j])
    return unit


@compiled
@no_type_check
def adjoint(pairs, squared, form, settings, square, density, u, v, limits, rows, alpha, beta):
    """``alpha`` (n,) and ``beta`` (m,), the additive fit to the charges; the residual that the steps have left, relative.

    Args:
        pairs: as in :func:`bwot.cpu.pairs.slopes`, and so are the others down to ``v``.
        squared: see there.
        form: see there.
        settings: see there.
        square: see there.
        density: see there.
        u: see there.
        v: see there.
        limits: how far the residual has to fall, a few steps of the type, steps at most.
        rows: (2, m) working memory.
        alpha: (n,) filled.
        beta: (m,) filled.
    """
    n, m = squared.shape
    r, across, over_row, y = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    c, down, root, over_root = np.empty(m), np.empty(m), np.empty(m), np.empty(m)
    work = np.empty((5, m))
    z, residual, direction, x, image = work[0], work[1], work[2], work[3], work[4]
    unit = _means(pairs, squared, form, settings, square, density, u, v, rows, r, c, across, down)
    unit, size_a, size_b = max(unit, limits[3]), 0.0, 0.0
    for i in range(n):
        over_row[i] = 1 / r[i] if r[i] > 0 else 0.0
        across[i] /= unit
        size_a += r[i] * across[i] * across[i]
    for j in range(m):
        root[j] = np.sqrt(c[j])
        over_root[j] = 1 / root[j] if c[j] > 0 else 0.0
        down[j] /= unit
        size_b += c[j] * down[j] * down[j]
        image[j] = 0
    for i in range(n):  # T^T across
        row, a = density[i], u[i] * across[i]
        for j in range(m):
            image[j] += a * row[j]
    for j in range(m):
        z[j] = 0
        residual[j] = root[j] * down[j] - over_root[j] * v[j] * image[j]
        direction[j] = residual[j]
    square_now = _dot(residual, residual)
    # what the means lost to rounding cannot be solved for, and is all there is where W is alpha + beta
    first, floor = np.sqrt(square_now), limits[1] * (np.sqrt(size_a) + np.sqrt(size_b))
    goal = max(limits[0] * first, floor)
    steps = 0
    while square_now > goal * goal and steps < limits[2]:
        for j in range(m):
            x[j] = over_root[j] * direction[j]
        _there_and_back(density, u, v, over_row, x, y, image)
        for j in range(m):
            image[j] = direction[j] - over_root[j] * image[j]
        curvature = _dot(direction, image)
        length = square_now / curvature if curvature > 0 else 0.0
        for j in range(m):
            z[j] += length * direction[j]
            residual[j] -= length * image[j]
        before, square_now = square_now, _dot(residual, residual)
        for j in range(m):
            direction[j] = residual[j] + square_now / before * direction[j]
        steps += 1
    for j in range(m):
        x[j] = over_root[j] * z[j]
        beta[j] = unit * x[j]
    _there_and_back(density, u, v, over_row, x, y, image)
    for i in range(n):
        alpha[i] = unit * (across[i] - y[i])
    return np.sqrt(square_now) / first if square_now > goal * goal else 0.0
