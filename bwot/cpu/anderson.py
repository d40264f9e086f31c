"""Anderson's acceleration of Sinkhorn's algorithm, for those who iterate to a tolerance.

Where the plain iteration shrinks the error by a constant factor, the last few changes of the potential foretell where it goes.
"""

import math
from typing import no_type_check

import numpy as np

from bwot.cpu.exponential import inlined

DEPTH, WAIT, GROWTH, STEP = 5, 2, 1.5, 3.0
"""Changes that are remembered, plain iterations before the first step, growth of the error at which a step is taken back, and
the largest change of a potential that a step may add."""


@inlined
@no_type_check
def add_step(following, memory, count):
    """Add Anderson's step: the changes of the potential, so combined that the changes of the residual cancel the residual."""
    changes, residuals, residual = memory[:DEPTH], memory[DEPTH:], memory[2 * DEPTH + 1]
    system = np.zeros((count, count + 1))
    trace = 1e-300
    for a in range(count):
        for b in range(a, count):
            for j in range(len(following)):
                system[a, b] += residuals[a, j] * residuals[b, j]
            system[b, a] = system[a, b]
        for j in range(len(following)):
            system[a, count] += residuals[a, j] * residual[j]
        trace += system[a, a]
    for a in range(count):
        system[a, a] += 1e-10 * trace / count
        for b in range(a):  # Gauss: the system is symmetric and positive definite
            factor = system[a, b] / system[b, b]
            for c in range(b, count + 1):
                system[a, c] -= factor * system[b, c]
    low, high = np.inf, -np.inf
    for a in range(count - 1, -1, -1):
        for b in range(a + 1, count):
            system[a, count] -= system[a, b] * system[b, count]
        system[a, count] /= system[a, a]
    step = np.zeros(len(following))
    for j in range(len(following)):
        for a in range(count):
            step[j] -= system[a, count] * changes[a, j]
        low, high = min(low, step[j]), max(high, step[j])
    shrink = min(1.0, 2 * STEP / max(high - low, 1e-300))
    for j in range(len(following)):
        following[j] += shrink * step[j]


@inlined
@no_type_check
def accelerated(v, sums, q, error, memory, state):
    """``v = 1 / sums``, with Anderson's acceleration of ``log v``; a step after which the error grew is taken back.

    ``memory`` has the last DEPTH changes of the potential ``-log sums`` in its rows, those of its residual ``-log(v sums)``
    in the rows after, then the last potential, the last residual, and the next ``log v``. ``state``: how many changes there
    are, iterations since there were none, steps taken back lately, whether the last step was accelerated, the error before.
    """
    potential, residual, following = memory[2 * DEPTH], memory[2 * DEPTH + 1], memory[2 * DEPTH + 2]
    count, since, back = int(state[0]), int(state[1]), int(state[2])
    failed = state[3] > 0 and not error <= GROWTH * state[4]
    state[3], state[4] = 0, np.inf if failed else error
    if failed:
        state[0], state[1], state[2] = 0, 0, min(back + 1, 5)
    else:
        change, change_of_residual = memory[count % DEPTH], memory[DEPTH + count % DEPTH]
        for j in range(len(q)):
            new = -math.log(sums[j]) if q[j] > 0 else 0.0
            new_residual = new - math.log(v[j]) if q[j] > 0 else 0.0
            change[j], change_of_residual[j] = new - potential[j], new_residual - residual[j]
            potential[j] = following[j] = new
            residual[j] = new_residual
        state[0], state[1] = count + (since > 0), since + 1
        depth = min(int(state[0]), DEPTH, len(q) // 8)  # few columns leave nothing to fit
        if depth > 0 and since + 1 >= WAIT * 2**back and since % 2 == 1:
            add_step(following, memory, depth)
            state[3] = 1
    for j in range(len(q)):
        if q[j] > 0:
            v[j] = math.exp((potential if failed else following)[j])
