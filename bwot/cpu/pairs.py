"""The batch-wise loss on a CPU, from squared distances to its slope in them: what stands before and after the plan.

Notation as in :mod:`bwot.losses`. The gradients at the embeddings follow from the slopes ``S_ij = dL / d(d_ij^2)`` by two matrix
products: ``dL / da_i = 2 sum_j S_ij (a_i - b_j)``.
"""

import math
from typing import no_type_check

import numpy as np

from bwot.cpu.exponential import compiled, exp, inlined

TINY = 1e-12  # squared distance below which the form "shapes" takes no derivative
PLAIN, SHAPES = 0, 1
ALL, POSITIVE, NEGATIVE = 0, 1, 2


@inlined
@no_type_check
def _error(squared, same, form, margin, inner):
    """Error ``G`` of a pair and its derivative in the squared distance."""
    zero, one = margin * 0, margin * 0 + 1
    if form == SHAPES:
        distance = math.sqrt(max(squared, margin * 0 + TINY))
        over = max((distance - inner) if same else (margin - distance), zero)
        slope = (over if same else -over) / distance
        return over * over, (slope if squared >= TINY else zero)
    if same:
        return max(squared, zero), (one if squared >= 0 else zero)
    over = max(margin - max(squared, zero), zero)
    return over, (-one if (over > 0 and squared >= 0) else zero)


@compiled
@no_type_check
def costs(squared, labels, others, single, allowed, part, form, margin, inner, gamma, cost):
    """Costs ``exp(-gamma G)`` of the pairs that take part, plus infinity for the others; are the distances finite, are there pairs?

    Args:
        squared: (n, m) squared distances, below 0 by rounding at most.
        labels: (n,) classes of the rows.
        others: (m,) classes of the columns.
        single: is it one batch against itself, without its diagonal?
        allowed: (n, m) pairs that take part, or (0, 0) for all.
        part: ``ALL`` pairs, ``POSITIVE`` or ``NEGATIVE`` ones.
        form: ``SHAPES`` or ``PLAIN``.
        margin: of the type of ``squared``, as the next two are.
        inner: the positive margin.
        gamma: steepness of the cost.
        cost: (n, m), filled.
    """
    n, m = squared.shape
    finite, pairs = True, 0
    infinite = squared.dtype.type(np.inf)
    for i in range(n):
        row, out, label = squared[i], cost[i], labels[i]
        for j in range(m):
            same = label == others[j]
            error, _ = _error(row[j], same, form, margin, inner)
            taken = part == ALL or same == (part == POSITIVE)
            out[j] = exp(-gamma * error) if taken else infinite
            finite &= abs(row[j]) < np.inf
        if single:
            out[i] = infinite
        if allowed.shape[0]:
            for j in range(m):
                out[j] = out[j] if allowed[i, j] else infinite
        for j in range(m):
            pairs += out[j] < np.inf
    return finite, pairs > 0


@compiled
@no_type_check
def slopes(
    squared, labels, others, form, square, margin, inner, steepness, gamma, weights, rows, columns
):
    """The loss; its slopes in the squared distances take the place of ``weights``, their sums fill ``rows`` and ``columns``.

    Args:
        labels: as in :func:`costs`, and so are ``others``, ``form``, ``margin``, ``inner`` and ``gamma``.
        others: see there.
        form: see there.
        margin: see there.
        inner: see there.
        gamma: see there.
        squared: (n, m) squared distances.
        square: does the loss pay the square of the error?
        steepness: ``lam gamma`` where the kernel is differentiated, 0 where the plan is constant.
        weights: (n, m) the plan.
        rows: (n,) filled.
        columns: (m,) filled.
    """
    n, m = squared.shape
    loss, zero = 0.0, squared.dtype.type(0)
    for j in range(m):
        columns[j] = 0
    for i in range(n):
        row, weight, label = squared[i], weights[i], labels[i]
        paid, total = zero, zero
        for j in range(m):
            error, slope = _error(row[j], label == others[j], form, margin, inner)
            charge = error * error if square else error
            rise = 2 * error if square else zero + 1
            if steepness > 0:  # T = u K v with u and v constant: dT / dG = lam gamma C T
                rise += steepness * exp(-gamma * error) * charge
            paid += weight[j] * charge
            value = weight[j] * rise * slope
            weight[j] = value
            total += value
            columns[j] += value
        rows[i] = total
        loss += paid
    return loss
