// The batch: points to drag or to move by keys, lines as thick as the weight of a pair, arrows for what a point feels.
"use strict";

bwot.batch = (() => {
  const { node, set, mark, frame, within } = bwot.drawing;
  const [SIZE, TOUCH] = [9, 23]; // radius of a mark, and of what a finger finds, in pixels
  const [STEP, FINE] = [0.05, 0.01]; // of an arrow key, in units of the drawing
  const ARROW = 0.15; // root mean square of the arrows under the all-pairs mean, in the same units

  function lines(layer, view, state, reading) {
    layer.replaceChildren();
    const { n, weight, same } = reading;
    const total = weight.reduce((sum, w) => sum + w, 0) || 1;
    for (let i = 0; i < n; i++)
      for (let j = i + 1; j < n; j++) {
        const relative = ((weight[i * n + j] + weight[j * n + i]) / total) * ((n * (n - 1)) / 2);
        const lit = state.lit && state.lit.includes(i) && state.lit.includes(j);
        if (relative < 0.25 && !lit) continue;
        const width = Math.min(10, Math.max(0.6, 0.8 * relative));
        const [[x1, y1], [x2, y2]] = [view.place(state.points[i]), view.place(state.points[j])];
        const kind = same[i * n + j] ? "positive" : "negative";
        const line = node(layer, "line", { class: `ex-line ${kind}${lit ? " lit" : ""}`, x1, y1, x2, y2, "stroke-width": width });
        if (kind === "negative") set(line, { "stroke-dasharray": `${5 + width} ${3 + width / 2}` });
      }
  }

  function arrow(layer, kind, [x, y], [dx, dy]) {
    const length = Math.hypot(dx, dy);
    if (length < 4) return;
    const [ux, uy, head] = [dx / length, dy / length, 6];
    const [ex, ey] = [x + dx, y + dy];
    node(layer, "path", { class: `ex-arrow ${kind}`, d: `M${x},${y} L${ex},${ey}` });
    const wing = (side) => `${ex - head * ux + side * 3.5 * uy},${ey - head * uy - side * 3.5 * ux}`;
    node(layer, "path", { class: `ex-head ${kind}`, d: `M${wing(1)} L${ex + 2 * ux},${ey + 2 * uy} L${wing(-1)} Z` });
  }

  function arrows(layer, view, state, reading) {
    layer.replaceChildren();
    if (!state.forces) return;
    const scale = bwot.math.rateFor(state.points, state.labels, state.settings, ARROW) / state.settings.scale;
    for (const kind of ["pull", "push"])
      reading[kind].forEach((force, i) => {
        const length = scale * Math.hypot(...force);
        const shown = (scale * view.unit * Math.min(length, 0.9)) / (length || 1);
        arrow(layer, kind === "pull" ? "positive" : "negative", view.place(state.points[i]), [shown * force[0], -shown * force[1]]);
      });
  }

  function rings(layer, view, { points, selected, settings }) {
    layer.replaceChildren();
    const [cx, cy] = view.place(points[selected]);
    const shapes = settings.form === "shapes";
    const radii = [shapes ? settings.margin : Math.sqrt(settings.margin)];
    if (shapes) radii.push(bwot.math.positiveMargin(settings));
    radii.forEach((r, k) => node(layer, "circle", { class: `ex-ring${k ? " inner" : ""}`, cx, cy, r: (view.unit * r) / settings.scale }));
  }

  const NEXT = { PageDown: 1, n: 1, N: 1, PageUp: -1, p: -1, P: -1 };
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

  // `moved(i, point)` and `chose(i)` are called with what the reader does; order is the one in which keys go through the points.
  return function batchPlot(svg, state, order, { moved, chose }) {
    const layers = ["rings", "lines", "arrows", "points"].map((name) => node(svg, "g", { class: `ex-${name}` }));
    let view = frame(svg, 600);

    const marks = order.map((i) => {
      const group = node(layers[3], "g", { class: "ex-point", role: "button", "aria-roledescription": "movable point", "data-point": i });
      node(group, "circle", { class: "ex-touch", r: TOUCH });
      node(group, "circle", { class: "ex-focus", r: SIZE + 5 });
      mark(group, state.labels[i], SIZE);
      node(group, "text", { class: "ex-number", "aria-hidden": "true", dy: state.labels[i] ? "0.5em" : "0.35em" }).textContent = state.names[i].split(" ")[1];
      return group;
    });
    const markOf = (i) => marks[order.indexOf(i)];

    function nearest(event) {
      const box = svg.getBoundingClientRect();
      const at = [event.clientX - box.left, event.clientY - box.top];
      const far = state.points.map((point) => { const [x, y] = view.place(point); return Math.hypot(x - at[0], y - at[1]); });
      const shown = Number(event.target.closest(".ex-point")?.dataset.point ?? -1); // of several on one spot, the one on top
      const least = Math.min(...far);
      return { i: far[shown] <= least + 0.5 ? shown : far.indexOf(least), at };
    }

    let dragged = null;
    svg.addEventListener("pointerdown", (event) => {
      if (!event.target.closest(".ex-point") || event.button > 0 || dragged) return;
      const { i, at } = nearest(event);
      const [x, y] = view.place(state.points[i]);
      dragged = { i, id: event.pointerId, off: [x - at[0], y - at[1]] };
      svg.setPointerCapture(event.pointerId);
      markOf(i).focus({ preventScroll: true });
      chose(i);
      event.preventDefault();
    });
    // Chromium takes no notice of touch-action inside an SVG: without this the page would scroll and end the drag.
    svg.addEventListener("touchstart", (event) => { if (event.target.closest(".ex-point")) event.preventDefault(); }, { passive: false });
    svg.addEventListener("pointermove", (event) => {
      if (dragged?.id !== event.pointerId) return;
      const { at } = nearest(event);
      moved(dragged.i, within(view.point([at[0] + dragged.off[0], at[1] + dragged.off[1]]), state.start.reach));
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) svg.addEventListener(end, (event) => { if (dragged?.id === event.pointerId) dragged = null; });

    // Heard from outside: a browser gives an SVG element that listens to focus a stop of the Tab key.
    svg.parentElement.addEventListener("focusin", (event) => {
      const group = event.target.closest(".ex-point");
      if (group) chose(Number(group.dataset.point));
    });
    svg.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const i = state.selected;
      const place = order.indexOf(i);
      if (ARROWS[event.key]) {
        const by = event.shiftKey ? FINE : STEP;
        moved(i, within(state.points[i].map((x, k) => x + by * ARROWS[event.key][k]), state.start.reach));
      } else if (event.key in NEXT) marks[(place + NEXT[event.key] + order.length) % order.length].focus();
      else if (event.key === "Home" || event.key === "End") marks.at(event.key === "Home" ? 0 : -1).focus();
      else if (event.key === "Escape") moved(i, [...state.start.points[i]]);
      else return;
      event.preventDefault();
    });

    return function render(reading) {
      view = frame(svg, svg.clientWidth || 600);
      rings(layers[0], view, state);
      lines(layers[1], view, state, reading);
      arrows(layers[2], view, state, reading);
      order.forEach((i, k) => {
        const [x, y] = view.place(state.points[i]);
        set(marks[k], {
          transform: `translate(${x},${y})`,
          tabindex: i === state.selected ? 0 : -1,
          "aria-label": `${state.names[i]}, x ${state.points[i][0].toFixed(2)}, y ${state.points[i][1].toFixed(2)}`,
        });
        marks[k].classList.toggle("chosen", i === state.selected);
      });
    };
  };
})();
