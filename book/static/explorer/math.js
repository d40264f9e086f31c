// The arithmetic of the explorer, without a page: the same definitions as bwot.losses, bwot.sinkhorn and bwot.controls, for
// one batch against itself without self-pairs. Matrices of pairs are flat, row by row. tests/test_explorer_page.py compares.
"use strict";
window.bwot = window.bwot ?? {};

bwot.math = (() => {
  const TINY = 1e-12; // inside the square root of a distance, as in bwot.losses

  function squaredDistances(points) {
    const n = points.length;
    const squared = new Float64Array(n * n);
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++)
        squared[i * n + j] = points[i].reduce((sum, x, k) => sum + (x - points[j][k]) ** 2, 0);
    return squared;
  }

  const sameClass = (labels) => Uint8Array.from(labels.flatMap((a) => labels.map((b) => Number(a === b))));
  const positiveMargin = (settings) => Math.min(settings.positive_margin, 0.99 * settings.margin);

  // Error of a pair and its derivative by the squared distance.
  function errorAndSlope(squared, same, settings) {
    if (settings.form !== "shapes") {
      if (same) return [squared, 1];
      return squared < settings.margin ? [settings.margin - squared, -1] : [0, 0];
    }
    const distance = Math.sqrt(Math.max(squared, TINY));
    const gap = Math.max(0, same ? distance - positiveMargin(settings) : settings.margin - distance);
    return [gap ** 2, squared < TINY ? 0 : ((same ? 1 : -1) * gap) / distance];
  }

  // logsumexp of `count` entries from `first` in steps of `stride`, each with the scaling of its other side added.
  function logSum(kernel, scaling, first, stride, count) {
    let top = -Infinity;
    for (let k = 0; k < count; k++) top = Math.max(top, kernel[first + k * stride] + scaling[k]);
    if (top === -Infinity) return top;
    let sum = 0;
    for (let k = 0; k < count; k++) sum += Math.exp(kernel[first + k * stride] + scaling[k] - top);
    return top + Math.log(sum);
  }

  // Plan of an n by m cost with uniform marginals over the rows and columns that the mask leaves any pair. In logarithms
  // throughout, which is right at every lam; at 24 points and 50 iterations that takes about a millisecond.
  function sinkhorn(cost, n, m, lam, iterations, mask) {
    const kernel = Float64Array.from(cost, (c, k) => (!mask || mask[k] ? -lam * c : -Infinity));
    const logMarginal = (lines, across, step, stride) => {
      const open = Array.from({ length: lines }, (_, i) =>
        Array.from({ length: across }, (_, k) => kernel[i * step + k * stride]).some((x) => x > -Infinity));
      const count = open.filter(Boolean).length;
      return Float64Array.from(open, (is) => (is ? -Math.log(count) : -Infinity));
    };
    const rows = logMarginal(n, m, m, 1);
    const columns = logMarginal(m, n, 1, m);
    const f = Float64Array.from(rows, (p) => (p > -Infinity ? 0 : -Infinity));
    const g = new Float64Array(m);
    for (let iteration = 0; iteration < iterations; iteration++) {
      for (let j = 0; j < m; j++) g[j] = columns[j] > -Infinity ? columns[j] - logSum(kernel, f, j, m, n) : -Infinity;
      for (let i = 0; i < n; i++) f[i] = rows[i] > -Infinity ? rows[i] - logSum(kernel, g, i * m, 1, m) : -Infinity;
    }
    const plan = kernel.map((k, at) => (k > -Infinity ? Math.exp(f[Math.floor(at / m)] + k + g[at % m]) : 0));
    return { plan, marginalError: marginalError(plan, n, m, rows.map(Math.exp), columns.map(Math.exp)) };
  }

  function marginalError(plan, n, m, rows, columns) {
    const { rowSums, columnSums } = sums(plan, n, m);
    const off = (found, wanted) => found.reduce((total, sum, k) => total + Math.abs(sum - wanted[k]), 0);
    return Math.max(off(rowSums, rows), off(columnSums, columns));
  }

  function sums(plan, n, m) {
    const rowSums = new Float64Array(n);
    const columnSums = new Float64Array(m);
    plan.forEach((mass, k) => {
      rowSums[Math.floor(k / m)] += mass;
      columnSums[k % m] += mass;
    });
    return { rowSums, columnSums };
  }

  // softmax of exponents over the pairs of a mask, in groups of `size` entries; normalised to one in all
  function softmax(exponents, mask, size) {
    const weights = new Float64Array(exponents.length);
    let total = 0;
    for (let first = 0; first < exponents.length; first += size) {
      const places = Array.from({ length: size }, (_, k) => first + k).filter((k) => mask[k]);
      const top = Math.max(...places.map((k) => exponents[k]));
      const sum = places.reduce((all, k) => all + Math.exp(exponents[k] - top), 0);
      for (const k of places) weights[k] = Math.exp(exponents[k] - top) / sum;
      total += places.length ? 1 : 0;
    }
    return weights.map((weight) => weight / Math.max(total, 1));
  }

  function balanced(cost, n, settings, same, allowed) {
    const groups = [1, 0].map((kind) => allowed.map((is, k) => Number(is && same[k] === kind)));
    const plans = groups.filter((group) => group.includes(1))
      .map((group) => sinkhorn(cost, n, n, settings.lam, settings.iterations, group));
    return {
      weight: cost.map((_, k) => plans.reduce((sum, { plan }) => sum + plan[k], 0) / Math.max(plans.length, 1)),
      marginalError: Math.max(0, ...plans.map((each) => each.marginalError)),
    };
  }

  function active(error, same, allowed) {
    const counts = [0, 0];
    error.forEach((g, k) => { if (g > 0 && allowed[k]) counts[same[k]]++; });
    return error.map((g, k) => (g > 0 && allowed[k] ? 0.5 / counts[same[k]] : 0));
  }

  function aligned(n) {
    const half = Math.floor(n / 2);
    const weights = new Float64Array(n * n);
    for (let i = 0; i < half; i++) weights[i * n + half + i] = 1 / half;
    return weights;
  }

  // The weights W of all pairs, and how far a plan is from its marginals: the farther of two, null where there are none to meet.
  function weigh(error, same, n, settings) {
    const allowed = Uint8Array.from(error, (_, k) => Number(k % (n + 1) !== 0));
    const cost = error.map((g) => Math.exp(-settings.gamma * g));
    const exponents = cost.map((c) => -settings.lam * c);
    switch (settings.weights) {
      case "pairwise": return { weight: aligned(n), marginalError: null };
      case "allpairs": return { weight: Float64Array.from(allowed, (is) => is / (n * (n - 1))), marginalError: null };
      case "active": return { weight: active(error, same, allowed), marginalError: null };
      case "softmax": return { weight: softmax(exponents, allowed, n * n), marginalError: null };
      case "rowsoftmax": return { weight: softmax(exponents, allowed, n), marginalError: null };
      case "bwot-balanced": return balanced(cost, n, settings, same, allowed);
      case "bwot": {
        const { plan, marginalError } = sinkhorn(cost, n, n, settings.lam, settings.iterations, allowed);
        return { weight: plan, marginalError };
      }
      default: throw new Error(`weights must be one that bwot.play names, not ${settings.weights}.`);
    }
  }

  // All that is shown of a batch. `strength` is how hard a pair pulls (above 0) or pushes (below 0) on either of its ends; the
  // force on a point is minus the gradient, the weights held constant, in embedding units.
  function evaluate(points, labels, settings) {
    const n = points.length;
    const embeddings = points.map((point) => point.map((x) => settings.scale * x));
    const squared = squaredDistances(embeddings);
    const same = sameClass(labels);
    const pairs = Array.from(squared, (d, k) => errorAndSlope(d, same[k], settings));
    const error = Float64Array.from(pairs, (pair) => pair[0]);
    const { weight, marginalError } = weigh(error, same, n, settings);
    const squaredAgain = settings.form === "images";
    const loss = error.reduce((sum, g, k) => sum + (weight[k] ? weight[k] * (squaredAgain ? g * g : g) : 0), 0);
    const pull = embeddings.map((x) => x.map(() => 0));
    const push = embeddings.map((x) => x.map(() => 0));
    const strength = new Float64Array(n * n);
    for (let k = 0; k < n * n; k++) {
      const [g, slope] = pairs[k];
      const [i, j] = [Math.floor(k / n), k % n];
      const along = weight[k] * slope * (squaredAgain ? 2 * g : 1) * 2;
      strength[k] = along * Math.sqrt(squared[k]);
      if (!along) continue;
      const force = same[k] ? pull : push;
      embeddings[i].forEach((x, c) => {
        const step = along * (x - embeddings[j][c]);
        force[i][c] -= step;
        force[j][c] += step;
      });
    }
    const gradient = pull.map((row, i) => row.map((x, c) => -x - push[i][c]));
    return { n, squared, same, error, weight, marginalError, loss, pull, push, gradient, strength };
  }

  const lengthOf = (vectors) => Math.sqrt(vectors.flat().reduce((sum, x) => sum + x * x, 0));

  // One step of gradient descent on the points themselves. With `sameLength` the gradient is first brought to the length that
  // the all-pairs mean's has at these points, as Schedule.normalise_gradient does in training.
  function step(points, labels, settings, rate, sameLength) {
    const { gradient } = evaluate(points, labels, settings);
    let factor = rate / settings.scale;
    if (sameLength) {
      const wanted = lengthOf(evaluate(points, labels, { ...settings, weights: "allpairs" }).gradient);
      const length = lengthOf(gradient);
      factor *= length > 1e-9 ? wanted / length : 0; // what is left of a loss that is satisfied has no direction
    }
    return points.map((point, i) => point.map((x, c) => x - factor * gradient[i][c]));
  }

  // The rate at which one step under the all-pairs mean moves the points by `stride` (root mean square, in units of the drawing).
  function rateFor(points, labels, settings, stride) {
    const length = lengthOf(evaluate(points, labels, { ...settings, weights: "allpairs" }).gradient);
    return length > 0 ? (stride * settings.scale * Math.sqrt(points.length)) / length : 0;
  }

  // Points that have one of their class nearer than any stranger, and the share of triples (a point, one of its class, one of
  // the other) in which the stranger is the nearer of the two; equally near counts half, so that points on one spot score badly.
  function scores(points, labels) {
    const squared = squaredDistances(points);
    const n = points.length;
    let right = 0;
    let wrong = 0;
    let triples = 0;
    for (let i = 0; i < n; i++) {
      const others = labels.map((_, j) => j).filter((j) => j !== i);
      const [mates, strangers] = [true, false].map((kind) =>
        others.filter((j) => (labels[j] === labels[i]) === kind).map((j) => squared[i * n + j]));
      right += Number(Math.min(...mates) < Math.min(...strangers));
      for (const mate of mates)
        for (const stranger of strangers) {
          triples++;
          wrong += stranger < mate ? 1 : 0.5 * Number(stranger === mate);
        }
    }
    return { neighbours: right, wrongOrder: triples ? wrong / triples : 0 };
  }

  return { squaredDistances, sinkhorn, sums, weigh, evaluate, step, rateFor, scores, positiveMargin, lengthOf };
})();
