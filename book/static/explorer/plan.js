// The plan: a heat map with the sums of its rows and columns, its colour scale, and the ten heaviest pairs as a table.
"use strict";

bwot.plan = (() => {
  const { node, set, heat, digits, percent } = bwot.drawing;
  const [LABEL, BAR] = [20, 34]; // room for the numbers of the points, and length of a bar whose sum is right, in pixels

  // Both directions of a pair of points together, as shares of the mass; heaviest first.
  function heaviest({ n, weight, same, error, strength }) {
    const total = weight.reduce((sum, w) => sum + w, 0) || 1;
    const pairs = [];
    for (let i = 0; i < n; i++)
      for (let j = i + 1; j < n; j++) {
        const [there, back] = [i * n + j, j * n + i];
        pairs.push({ i, j, same: Boolean(same[there]), error: error[there], share: (weight[there] + weight[back]) / total,
          strength: strength[there] + strength[back] });
      }
    return pairs.sort((a, b) => b.share - a.share);
  }

  function does({ strength }) {
    if (Math.abs(strength) < 1e-9) return "nothing";
    return `${strength > 0 ? "pulls together" : "pushes apart"}, ${digits(Math.abs(strength), 2)}`;
  }

  function table(body, pairs, names) {
    body.replaceChildren(...pairs.slice(0, 10).map((pair) => {
      const row = document.createElement("tr");
      const cells = [`${names[pair.i]}, ${names[pair.j]}`, pair.same ? "positive" : "negative", digits(pair.error), percent(pair.share), does(pair)];
      cells.forEach((text, k) => {
        const cell = document.createElement(k ? "td" : "th");
        if (!k) cell.scope = "row";
        cell.textContent = text;
        row.append(cell);
      });
      return row;
    }));
  }

  function bars(layer, totals, order, n, cell, across) {
    order.forEach((i, k) => {
      const length = Math.min(1.6, n * totals[i]) * BAR;
      const [along, thick] = [LABEL + k * cell + 0.2 * cell, 0.6 * cell];
      node(layer, "rect", across
        ? { class: "ex-sum", x: along, y: 1.6 * BAR - length, width: thick, height: length }
        : { class: "ex-sum", x: LABEL + n * cell + 3, y: along - LABEL + 1.6 * BAR + 3, width: length, height: thick });
    });
    const [low, high] = [LABEL, LABEL + n * cell];
    const end = across ? 0.6 * BAR : high + 3 + BAR;
    node(layer, "path", { class: "ex-target", d: across ? `M${low},${end}H${high}` : `M${end},${1.6 * BAR + 3}v${n * cell}` });
  }

  const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

  // Where a key leads in a grid of n by n whose diagonal is skipped; null for other keys.
  function next([row, column], key, all, n) {
    if (key === "Home" || key === "End") {
      const [from, by] = key === "Home" ? [0, 1] : [n - 1, -1];
      const line = all ? from : row;
      return [line, line === from ? from + by : from];
    }
    if (!(key in STEPS)) return null;
    const [down, right] = STEPS[key];
    const at = [row + down, column + right];
    if (at[0] === at[1]) { at[0] += down; at[1] += right; }
    return at.every((place) => place >= 0 && place < n) ? at : [row, column];
  }

  // order: the points class by class, as the rows and columns are drawn. `lit(pair or null, kept)` is called with the pair pointed
  // at; kept: it was chosen by a click or by keys, and stays until it is let go.
  function view(svg, state, order, lit) {
    const n = order.length;
    const grid = node(svg, "g");
    const layer = node(svg, "g", { "aria-hidden": "true" });
    let [kept, last, top] = [null, null, null]; // places: what is kept, what was kept last, the heaviest pair
    set(svg, { "aria-rowcount": n, "aria-colcount": n });

    const rects = order.map((i, row) => {
      const line = node(grid, "g", { role: "row" });
      return order.map((j, column) => node(line, "rect", i === j
        ? { role: "gridcell", class: "ex-self", "aria-label": `${state.names[i]} with itself, no pair` }
        : { role: "gridcell", id: `ex-cell-${row}-${column}`, "data-cell": `${row},${column}`, "aria-label": `${state.names[i]} with ${state.names[j]}` }));
    });
    const pairOf = (place) => place && place.map((k) => order[k]);

    function keep(place) {
      if (kept) rects[kept[0]][kept[1]].removeAttribute("aria-selected");
      kept = place;
      last = place ?? last;
      if (place) {
        set(rects[place[0]][place[1]], { "aria-selected": "true" });
        set(svg, { "aria-activedescendant": `ex-cell-${place.join("-")}` });
      } else svg.removeAttribute("aria-activedescendant");
      lit(pairOf(place), true);
    }

    const cellAt = (event) => event.target.closest("[data-cell]")?.dataset.cell.split(",").map(Number) ?? null;
    svg.addEventListener("pointerover", (event) => lit(pairOf(cellAt(event) ?? kept)));
    svg.addEventListener("pointerleave", (event) => event.pointerType === "touch" || lit(pairOf(kept)));
    svg.addEventListener("click", (event) => { const place = cellAt(event); keep(String(place) === String(kept) ? null : place); });
    svg.addEventListener("keydown", (event) => {
      if (event.altKey || event.metaKey) return;
      if (event.key === "Escape" && kept) keep(null);
      else if (event.key === " " || event.key === "Enter") keep(kept ? null : last ?? top);
      else if (!kept && event.key in STEPS) keep(last ?? top);
      else {
        const place = next(kept ?? last ?? top, event.key, event.ctrlKey, n);
        if (!place) return;
        keep(place);
      }
      event.preventDefault();
    });

    function cells(reading, cell, top) {
      order.forEach((i, row) => order.forEach((j, column) => {
        const fill = i === j ? {} : { fill: heat(n * reading.weight[i * n + j]) };
        set(rects[row][column], { x: LABEL + column * cell, y: top + row * cell, width: cell + 0.3, height: cell + 0.3, ...fill });
      }));
    }

    function labels(cell, top) {
      order.forEach((i, k) => {
        const [middle, number] = [(k + 0.5) * cell, state.names[i].split(" ")[1]];
        const attributes = { class: `ex-tick${i === state.selected ? " chosen" : ""}` };
        node(layer, "text", { ...attributes, x: LABEL - 5, y: top + middle, dy: "0.35em", "text-anchor": "end" }).textContent = number;
        node(layer, "text", { ...attributes, x: LABEL + middle, y: top + n * cell + 13, "text-anchor": "middle" }).textContent = number;
      });
    }

    function blocks(cell, top) {
      for (const label of new Set(state.labels)) {
        const places = order.map((i, k) => (state.labels[i] === label ? k : -1)).filter((k) => k >= 0);
        const [first, side] = [places[0] * cell, places.length * cell];
        for (const kind of ["outer", "inner"])
          node(layer, "rect", { class: `ex-block ${kind}`, x: LABEL + first, y: top + first, width: side, height: side });
      }
      const k = order.indexOf(state.selected);
      node(layer, "rect", { class: "ex-row", x: LABEL, y: top + k * cell, width: n * cell, height: cell });
      node(layer, "rect", { class: "ex-row", x: LABEL + k * cell, y: top, width: cell, height: n * cell });
      if (!kept) return;
      for (const kind of ["outer", "inner"])
        node(layer, "rect", { class: `ex-kept ${kind}`, x: LABEL + kept[1] * cell, y: top + kept[0] * cell, width: cell, height: cell });
    }

    function draw(reading) {
      const width = svg.clientWidth || 360;
      const cell = (width - LABEL - 1.6 * BAR - 3) / n;
      const top = 1.6 * BAR + 3;
      set(svg, { viewBox: `0 0 ${width} ${top + n * cell + 18}` });
      cells(reading, cell, top);
      layer.replaceChildren();
      blocks(cell, top);
      labels(cell, top);
      const { rowSums, columnSums } = bwot.math.sums(reading.weight, n, n);
      bars(layer, columnSums, order, n, cell, true);
      bars(layer, rowSums, order, n, cell, false);
    }

    function render(reading, pairs) {
      const [first] = pairs;
      top = [first.i, first.j].map((i) => order.indexOf(i));
      draw(reading);
      const said = first.share > 0
        ? `Heaviest pair: ${state.names[first.i]} and ${state.names[first.j]}, ${percent(first.share)} of the mass; a pair has ${percent(2 / (n * (n - 1)))} where all count alike.`
        : "No pair has any weight.";
      set(svg, { "aria-label": `Heat map of the weights, ${n} by ${n} points, with the sums of its rows and columns. ${said} The table below has the ten heaviest.` });
    }
    return { render, release: () => { last = null; if (kept) keep(null); } };
  }

  return { view, heaviest, table };
})();
