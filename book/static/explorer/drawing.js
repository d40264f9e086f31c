// What every picture of the explorer shares: nodes of SVG, marks, colours and the form of numbers.
"use strict";

bwot.drawing = (() => {
  const HALF = [1.75, 1.1]; // half width and half height of the drawing, in its units
  const HEAT = ["#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884", "#44bf70", "#7ad151", "#bddf26", "#fde725"];
  const TRIANGLE = "M0,-1.35 L1.35,0.9 L-1.35,0.9 Z";

  function set(element, attributes) {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  }

  const node = (parent, name, attributes = {}) =>
    parent.appendChild(set(document.createElementNS("http://www.w3.org/2000/svg", name), attributes));

  // The mark of a class about the origin: 0 is a circle, 1 a triangle.
  function mark(parent, label, size) {
    const attributes = { class: `ex-mark class${label}` };
    if (label === 0) return node(parent, "circle", { ...attributes, r: size });
    return node(parent, "path", { ...attributes, d: TRIANGLE, transform: `scale(${size})` });
  }

  // Room for the drawing at a width in pixels: what leads from its units to the screen, and back.
  function frame(svg, width) {
    const unit = width / (2 * HALF[0]);
    set(svg, { viewBox: `0 0 ${width} ${2 * HALF[1] * unit}` });
    return {
      unit,
      place: ([x, y]) => [(x + HALF[0]) * unit, (HALF[1] - y) * unit],
      point: ([left, top]) => [left / unit - HALF[0], HALF[1] - top / unit],
    };
  }

  const within = (point, reach) => point.map((x, k) => Math.min(reach[k], Math.max(-reach[k], x)));

  // Colour of a weight as a share of all that a point has; by its square root, so that small weights are told apart.
  function heat(share) {
    const t = Math.sqrt(Math.min(1, Math.max(0, share))) * (HEAT.length - 1);
    const [low, mix] = [Math.min(Math.floor(t), HEAT.length - 2), t - Math.min(Math.floor(t), HEAT.length - 2)];
    const channel = (k) => [HEAT[low], HEAT[low + 1]].map((hex) => parseInt(hex.slice(k, k + 2), 16));
    return `rgb(${[1, 3, 5].map((k) => { const [a, b] = channel(k); return Math.round(a + mix * (b - a)); }).join(",")})`;
  }

  const digits = (x, count = 3) => String(Number(x.toPrecision(count)));
  const percent = (x) => `${(100 * x).toFixed(1)}%`;

  return { HALF, set, node, mark, frame, within, heat, digits, percent };
})();
