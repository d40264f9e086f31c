"""The batch-wise loss on a CPU, from embeddings to its slopes: what stands before and after the plan.

Notation as in :mod:`bwot.losses`. The gradients at the embeddings follow from the slopes ``S_ij = dL / d(d_ij^2)`` by two matrix
products: ``dL / da_i = 2 sum_j S_ij (a_i - b_j)``. Each function goes through the matrix once, row by row; a row takes a few loops
while it is in the cache, each of them simple enough to be vectorised.
"""

import math
from typing import no_type_check

import numpy as np

from bwot.cpu.exponential import called, compiled, exp, inlined, lent

TINY = 1e-12  # as in :mod:`bwot.losses`: squared distance below which the form "shapes" takes no derivative
PLAIN, SHAPES = 0, 1
ALL, POSITIVE, NEGATIVE = 0, 1, 2


@compiled
@no_type_check
def centred(a, b, centre, out_a, out_b, squares_a, squares_b):
    """Both batches about the mean of ``a``, and their squared lengths: distances do not change, and little is lost to rounding.

    Args:
        a: (n, d).
        b: (m, d), or (0, d) for none.
        centre: (d,) filled.
        out_a: (n, d) filled.
        out_b: (m, d) filled.
        squares_a: (n,) filled.
        squares_b: (m,) filled.
    """
    a, b, out_a, out_b = lent((a, b, out_a, out_b))
    n, d = a.shape
    for k in range(d):
        centre[k] = 0
    for i in range(n):
        row = a[i]
        for k in range(d):
            centre[k] += row[k]
    for k in range(d):
        centre[k] /= n
    for rows, out, squares in ((a, out_a, squares_a), (b, out_b, squares_b)):
        for i in range(rows.shape[0]):
            row, moved, total = rows[i], out[i], a.dtype.type(0)
            for k in range(d):
                value = row[k] - centre[k]
                moved[k] = value
                total += value * value
            squares[i] = total


@called
@no_type_check
def errors_of(squared, label, others, form, margin, inner, errors, slopes):
    """Errors ``G`` of one row of pairs, and their derivatives in the squared distance."""
    zero, one, tiny = squared.dtype.type(0), squared.dtype.type(1), squared.dtype.type(TINY)
    if form == SHAPES:
        for j in range(len(others)):
            same, distance = label == others[j], math.sqrt(max(squared[j], tiny))
            over = max((distance - inner) if same else (margin - distance), zero)
            slope = over / distance if squared[j] >= tiny else zero
            errors[j], slopes[j] = over * over, slope if same else -slope
    else:
        for j in range(len(others)):
            same, distance = label == others[j], max(squared[j], zero)
            over = max(margin - distance, zero)
            slope = one if same else (-one if over > 0 else zero)
            errors[j] = distance if same else over
            slopes[j] = slope if squared[j] >= 0 else zero


@inlined
@no_type_check
def _costs_of_row(i, pairs, fresh, squared, part, form, settings, rows, out):
    """Costs ``exp(-gamma G)`` of row ``i`` in ``out``, plus infinity for pairs that take no part; NaN where a distance is not finite."""
    squares_a, squares_b, labels, others, single, allowed = pairs
    errors, slopes = rows[0], rows[1]
    kind = squared.dtype.type
    infinite, zero, two, check = kind(np.inf), kind(0), kind(2), kind(0)
    if fresh:
        square = squares_a[i]
        for j in range(len(others)):
            squared[j] = (square + squares_b[j]) - two * squared[j]
            check += zero * squared[j]
    errors_of(squared, labels[i], others, form, settings[0], settings[1], errors, slopes)
    for j in range(len(others)):
        out[j] = exp(-settings[2] * errors[j])
    if part != ALL:
        for j in range(len(others)):
            out[j] = out[j] if (labels[i] == others[j]) == (part == POSITIVE) else infinite
    if single:
        out[i] = infinite
    if allowed.shape[0]:
        for j in range(len(others)):
            out[j] = out[j] if allowed[i, j] else infinite
    return check


@compiled
@no_type_check
def costs(pairs, fresh, squared, part, form, settings, rows, out):
    """The costs of the pairs that take part, plus infinity for the others; are the distances finite, are there pairs?

    Args:
        pairs: squared lengths (n,) and (m,) of the centred batches, their classes (n,) and (m,), whether it is one batch against
            itself, without its diagonal, and the pairs (n, m) that take part, or (0, 0) for all.
        fresh: are these still the inner products of the centred batches? They become squared distances then.
        squared: (n, m) squared distances, below 0 by rounding at most.
        part: ``ALL`` pairs, ``POSITIVE`` or ``NEGATIVE`` ones.
        form: ``SHAPES`` or ``PLAIN``.
        settings: margin, positive margin, gamma, lam.
        rows: (2, m) working memory.
        out: (n, m) filled.
    """
    pairs, squared, rows, out = lent((pairs, squared, rows, out))
    check, some = squared.dtype.type(0), False
    for i in range(squared.shape[0]):
        check += _costs_of_row(i, pairs, fresh, squared[i], part, form, settings, rows, out[i])
        for j in range(squared.shape[1]):
            some |= out[i, j] < np.inf
    return check == 0, some


@inlined
@no_type_check
def kernel_of_rows(first, last, pairs, fresh, squared, part, form, settings, rows, out, p, sums):
    """:func:`kernel` of the rows from ``first`` to ``last``: are the distances finite, and the sum of all entries."""
    check, whole = squared.dtype.type(0), squared.dtype.type(0)
    for j in range(len(sums)):
        sums[j] = 0
    for i in range(first, last):
        row, total = out[i], squared.dtype.type(0)
        check += _costs_of_row(i, pairs, fresh, squared[i], part, form, settings, rows, row)
        for j in range(len(sums)):
            value = exp(-settings[3] * row[j])
            row[j] = value
            total += value
            sums[j] += value
        p[i] = total
        whole += total
    return check == 0, whole


@compiled
@no_type_check
def kernel(pairs, fresh, squared, part, form, settings, rows, out, p, sums):
    """As :func:`costs`, but ``exp(-lam C)``, and 0 for the pairs that take no part.

    Args:
        pairs: as there, and so are the others down to ``out``.
        fresh: see there.
        squared: see there.
        part: see there.
        form: see there.
        settings: see there.
        rows: see there.
        out: see there.
        p: (n,) filled with the sums of the rows.
        sums: (m,) filled with those of the columns.
    """
    pairs, squared, rows, out, p, sums = lent((pairs, squared, rows, out, p, sums))
    finite, whole = kernel_of_rows(0, squared.shape[0], pairs, fresh, squared, part, form, settings, rows, out, p, sums)  # fmt: skip
    return finite, whole > 0


@inlined
@no_type_check
def slopes_of_rows(
    first, last, pairs, squared, form, settings, square, steepness, alpha, beta, adds, density, u, v, p, rows, down, across, out
):  # fmt: skip
    """:func:`slopes` of the rows from ``first`` to ``last``: the loss, and how far the sums of the rows are off."""
    labels, others = pairs[2], pairs[3]
    errors, slope, sums = rows[0], rows[1], rows[2]
    kind = squared.dtype.type
    loss, row_error = 0.0, 0.0
    for j in range(len(others)):
        sums[j] = 0
        across[j] = across[j] if adds else 0
    for i in range(first, last):
        row, target = density[i], out[i]
        errors_of(squared[i], labels[i], others, form, settings[0], settings[1], errors, slope)
        if steepness > 0:  # dT / dG = lam gamma C T with u and v constant
            for j in range(len(others)):
                charge = errors[j] * errors[j] if square else errors[j]
                rise = kind(2) * errors[j] if square else kind(1)
                steep = steepness * exp(-settings[2] * errors[j])
                slope[j] *= rise + steep * (charge - alpha[i] - beta[j])
                errors[j] = charge
        elif square:
            for j in range(len(others)):
                slope[j] *= kind(2) * errors[j]
                errors[j] *= errors[j]
        paid, mass, total, a = kind(0), kind(0), kind(0), u[i]
        for j in range(len(others)):
            weight = a * row[j] * v[j]
            mass += weight
            sums[j] += weight
            paid += weight * errors[j]
            slope[j] *= weight
            total += slope[j]
            across[j] += slope[j]
        for j in range(len(others)):
            target[j] = target[j] + slope[j] if adds else slope[j]
        down[i] = down[i] + total if adds else total
        row_error += abs(mass - p[i])
        loss += paid
    return loss, row_error


@compiled
@no_type_check
def slopes(
    pairs, squared, form, settings, square, steepness, alpha, beta, adds, density, u, v, p, q, rows, down, across, out
):  # fmt: skip
    """The loss and the marginal error; slopes of the loss in the squared distances, and their sums.

    Args:
        pairs: as in :func:`costs`, and so are ``form`` and ``settings``.
        squared: (n, m) squared distances.
        form: see there.
        settings: see there.
        square: does the loss pay the square of the error?
        steepness: ``lam gamma`` where the plan is differentiated, 0 where it is constant.
        alpha: (n,) zeros where ``u`` and ``v`` are constant, the adjoint of the rows for the exact gradient.
        beta: (m,) the same of the columns.
        adds: are the results added to what stands in ``out``, ``down`` and ``across``?
        density: (n, m); the plan is ``u_i density_ij v_j``.
        u: (n,).
        v: (m,).
        p: (n,) marginal of the rows.
        q: (m,) marginal of the columns.
        rows: (3, m) working memory.
        down: (n,) sums of the slopes of each row.
        across: (m,) of each column.
        out: (n, m) slopes; may be ``density``.
    """
    pairs, squared, alpha, beta, density, u, v = lent((pairs, squared, alpha, beta, density, u, v))
    p, q, rows, down, across, out = lent((p, q, rows, down, across, out))
    loss, row_error = slopes_of_rows(0, len(u), pairs, squared, form, settings, square, steepness, alpha, beta, adds, density,
                                     u, v, p, rows, down, across, out)  # fmt: skip
    column_error = 0.0
    for j in range(len(q)):
        column_error += abs(rows[2, j] - q[j])
    return loss, max(row_error, column_error)


@compiled
@no_type_check
def scaled(rows, sums, factor, out):
    """Each of the ``rows`` (n, d), times ``factor`` and its entry of ``sums`` (n,), in ``out`` (n, d)."""
    rows, out = lent((rows, out))
    for i in range(rows.shape[0]):
        row, target, by = rows[i], out[i], rows.dtype.type(factor) * sums[i]
        for k in range(rows.shape[1]):
            target[k] = by * row[k]
