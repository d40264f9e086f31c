// The explorer of hard samples: what its controls say, computed again and drawn whenever something moves.
"use strict";

bwot.explorer = (() => {
  const { set, heat, digits, percent } = bwot.drawing;
  const SLIDERS = ["lam", "gamma", "margin", "positive_margin", "iterations"];
  const [QUIET, BRIEF] = [700, 200]; // milliseconds without a change before the words are spoken: of the batch, of one pair

  // The values that a slider can take: 20 a decade, rounded to two digits, whole numbers for iterations.
  function valuesOf(name, [low, high]) {
    const count = Math.round(20 * Math.log10(high / low));
    const values = Array.from({ length: count + 1 }, (_, k) => low * (high / low) ** (k / count));
    return [...new Set(values.map((x) => (name === "iterations" ? Math.round(x) : Number(x.toPrecision(2)))))];
  }

  const nearestTo = (values, x) =>
    values.reduce((best, value, k) => (Math.abs(Math.log(value / x)) < Math.abs(Math.log(values[best] / x)) ? k : best), 0);

  // As bwot.play.words: the loss, and the hardest pair of each kind with its share of the mass.
  function words(reading, names) {
    const said = [`Loss ${digits(reading.loss)}.`];
    const pairs = bwot.plan.heaviest(reading).sort((a, b) => a.i - b.i || a.j - b.j);
    for (const kind of ["positive", "negative"]) {
      const hardest = pairs.filter((pair) => pair.same === (kind === "positive")).reduce((best, pair) => (pair.error > best.error ? pair : best), { error: 0 });
      said.push(hardest.error > 0
        ? `Hardest ${kind} pair: ${names[hardest.i]} and ${names[hardest.j]}, ${percent(hardest.share)} of the mass.`
        : `No ${kind} pair has an error.`);
    }
    return said.join(" ");
  }

  // Space scrolls a page: not from here, where it is pressed next to buttons; what uses it itself still does.
  function keepStill(event) {
    if (event.key === " " && !event.target.closest("button, select, summary, input:not([type=range])")) event.preventDefault();
  }

  function mount(root, steps) {
    const by = (name) => root.querySelector(`#ex-${name}`);
    const start = JSON.parse(document.getElementById("explorer-start").textContent);
    const [first] = Object.keys(start.presets);
    const order = start.labels.map((_, i) => i).sort((a, b) => start.labels[a] - start.labels[b] || a - b);
    const state = { start, labels: start.labels, names: start.names, selected: order[0], lit: null, forces: true, points: [], settings: {} };
    const values = Object.fromEntries(SLIDERS.map((name) => [name, valuesOf(name, start.ranges[name])]));
    let [reading, pairs, frame, spoken] = [null, [], 0, null];
    root.hidden = false;
    document.documentElement.classList.add("explorer-live");

    const plot = bwot.batch(by("plot"), state, order, {
      moved: (i, point) => { state.points[i] = point; changed(`${state.names[i]} at ${point.map((x) => x.toFixed(2)).join(", ")}. `); },
      chose: (i) => { if (state.selected !== i) { state.selected = i; draw(); } },
    });
    const plan = bwot.plan.view(by("heat"), state, order, (pair, kept) => {
      if (!kept && String(pair) === String(state.lit)) return;
      state.lit = pair;
      draw();
      tellPair();
      if (kept) say(pair ? by("pair").textContent : "No pair is chosen.", BRIEF);
    });

    function compute() {
      reading = bwot.math.evaluate(state.points, state.labels, state.settings);
      pairs = bwot.plan.heaviest(reading);
    }

    function draw() {
      plot(reading);
      plan.render(reading, pairs);
    }

    function say(text, after = QUIET) {
      clearTimeout(spoken);
      spoken = setTimeout(() => { by("live").textContent = text; }, after);
    }

    function changed(what = "") {
      compute();
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => { draw(); tell(); moving.restart(); });
      say(what + words(reading, state.names));
    }

    function tellPair() {
      if (!state.lit) { by("pair").textContent = "Dark: no weight. Diagonal: a point with itself, left out. Frames: pairs of one class. Bars: the mass of each point, right where they meet the line. "
        + "Point at a cell to read its pair, click to keep it."; return; }
      const [i, j] = state.lit;
      const k = i * reading.n + j;
      by("pair").textContent = `${state.names[i]} with ${state.names[j]}: ${reading.same[k] ? "positive" : "negative"}, error ${digits(reading.error[k])}, `
        + `weight ${digits(reading.n * (reading.n - 1) * reading.weight[k], 2)} times the uniform one.`;
    }

    function tell() {
      const total = reading.weight.reduce((sum, w) => sum + w, 0) || 1;
      by("loss").textContent = digits(reading.loss, 4);
      by("positive").textContent = percent(pairs.filter((pair) => pair.same).reduce((sum, pair) => sum + pair.share, 0));
      by("ten").textContent = percent(pairs.slice(0, 10).reduce((sum, pair) => sum + pair.share, 0));
      by("off").textContent = total && reading.marginalError !== null ? percent(reading.marginalError) : "no marginals to meet";
      bwot.plan.table(by("pairs"), pairs, state.names);
      tellPair();
    }

    function showControls() {
      for (const name of SLIDERS) {
        const value = state.settings[name];
        const slider = by(name);
        slider.value = nearestTo(values[name], Math.max(value, values[name][0]));
        set(slider, { "aria-valuetext": digits(value) });
        root.querySelector(`output[for="ex-${name}"]`).textContent = digits(value);
      }
      by("weights").value = state.settings.weights;
      by("form").value = state.settings.form;
      by("positive_margin").closest("p").hidden = state.settings.form !== "shapes";
      by("plan-title").textContent = `Weights of all pairs: ${start.titles[state.settings.weights]}`;
    }

    function showPreset(name) {
      for (const button of by("presets").children) set(button, { "aria-pressed": String(button.dataset.preset === name) });
      by("note").textContent = name ? start.presets[name].note : "Settings of your own.";
    }

    function choose(name) {
      state.settings = { ...start.presets[name].settings };
      showControls();
      showPreset(name);
      changed();
    }

    function reset() {
      state.points = start.points.map((point) => [...point]);
      state.selected = order[0];
      plan.release();
      choose(first);
    }

    function setting(name, value) {
      state.settings[name] = value;
      showControls();
      showPreset(null);
      changed();
    }

    for (const [name, preset] of Object.entries(start.presets)) {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: preset.title });
      button.dataset.preset = name;
      button.addEventListener("click", () => choose(name));
      by("presets").append(button);
    }
    for (const [name, title] of Object.entries(start.titles)) by("weights").append(new Option(title, name));
    for (const name of SLIDERS) {
      set(by(name), { min: 0, max: values[name].length - 1, step: 1 });
      by(name).addEventListener("input", () => setting(name, values[name][Number(by(name).value)]));
    }
    for (const name of ["weights", "form"]) by(name).addEventListener("change", () => setting(name, by(name).value));
    by("forces").addEventListener("change", () => { state.forces = by("forces").checked; plot(reading); });
    by("forces").checked = true; // browsers remember the state of a page that is loaded again
    by("reset").addEventListener("click", reset);

    const n = order.length;
    by("ticks").replaceChildren(...[[0, "0"], [1 / (n - 1), "uniform"], [1, "all of a point"]].map(([share, text]) => {
      const tick = document.createElement("span");
      tick.textContent = text;
      tick.style.left = `${100 * Math.sqrt(share)}%`;
      return tick;
    }));
    root.querySelector(".ex-ramp").style.background = `linear-gradient(90deg, ${Array.from({ length: 11 }, (_, k) => heat((k / 10) ** 2)).join(", ")})`;
    const moving = bwot.steps(steps, state);
    for (const part of [root, steps]) part.addEventListener("keydown", keepStill);
    reset();
    draw();
    new ResizeObserver(draw).observe(by("plot"));
    return {
      current: () => ({ points: state.points, settings: { ...state.settings }, loss: reading.loss, selected: state.selected, words: words(reading, state.names) }),
      steps: moving.current,
      set: (settings, points = state.points) => { state.points = points.map((point) => [...point]); Object.assign(state.settings, settings); showControls(); showPreset(null); changed(); },
    };
  }

  const root = document.getElementById("explorer");
  return root ? mount(root, document.getElementById("explorer-steps")) : null;
})();
