// Six losses from one start: gradient steps on the points themselves, side by side.
"use strict";

bwot.steps = (() => {
  const { node, set, mark, frame, digits } = bwot.drawing;
  const math = bwot.math;
  const [SIZE, LAST, PAUSE, TRAIL] = [4.5, 300, 90, 60]; // mark in pixels, last step, milliseconds a step, steps in a trail
  const STRIDES = [0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5];
  const FAIR = {
    rate: "At an equal rate a loss with a longer gradient moves its points farther. Where that is transport, it is flattered.",
    length: "Every gradient is first brought to the length that the all-pairs mean has there; what differs is its direction.",
  };
  const STILL = "Here the gradient of the all-pairs mean is zero, and with it the rate: no point moves.";
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

  function panel(list, title) {
    const item = document.createElement("li");
    item.innerHTML = '<p class="ex-panel-title"></p><svg class="ex-panel" role="img"></svg><svg class="ex-spark" aria-hidden="true"></svg><p class="ex-score"></p>';
    const [name, picture, spark, score] = item.children;
    name.textContent = title;
    list.append(item);
    return { name, title, picture, spark, score, layer: node(picture, "g"), curve: node(spark, "g") };
  }

  function drawPoints({ layer, picture }, view, run, labels) {
    layer.replaceChildren();
    run.trails.forEach((trail, i) => {
      const path = trail.map((point) => view.place(point).map((x) => x.toFixed(1)).join(",")).join(" ");
      if (trail.length > 1) node(layer, "polyline", { class: `ex-trail class${labels[i]}`, points: path });
    });
    run.points.forEach((point, i) => {
      const [x, y] = view.place(point);
      mark(node(layer, "g", { transform: `translate(${x},${y})` }), labels[i], SIZE);
    });
  }

  function drawCurve({ curve, spark }, run) {
    const [width, height] = [spark.clientWidth || 200, 26];
    set(spark, { viewBox: `0 0 ${width} ${height}` });
    curve.replaceChildren();
    node(curve, "path", { class: "ex-zero", d: `M0,${height - 1}H${width}` });
    const span = Math.max(50, run.wrong.length - 1);
    const path = run.wrong.map((share, k) => `${((k / span) * width).toFixed(1)},${(height - 2 - share * 2 * (height - 4)).toFixed(1)}`);
    node(curve, "polyline", { class: "ex-curve", points: path.join(" ") });
  }

  return function mount(root, state) {
    const by = (name) => root.querySelector(`#ex-${name}`);
    const { panels: losses, titles } = state.start;
    const panels = losses.map((loss) => panel(by("panels"), titles[loss]));
    let [runs, count, rate, timer] = [[], 0, 0, null];
    let stride = 1;

    function restart() {
      stop();
      count = 0;
      rate = math.rateFor(state.points, state.labels, state.settings, STRIDES[stride]);
      runs = losses.map((weights) => ({
        settings: { ...state.settings, weights },
        points: state.points.map((point) => [...point]),
        trails: state.points.map((point) => [[...point]]),
        wrong: [math.scores(state.points, state.labels).wrongOrder],
        lost: false,
      }));
      draw();
    }

    function advance(steps = 1) {
      const sameLength = by("panels").dataset.fair === "length";
      for (let k = 0; k < steps && count < LAST; k++, count++)
        for (const run of runs.filter((each) => !each.lost)) {
          const points = math.step(run.points, state.labels, run.settings, rate, sameLength);
          run.lost = points.flat().some((x) => !(Math.abs(x) < 1e3));
          if (run.lost) continue;
          run.points = points;
          run.trails.forEach((trail, i) => { trail.push(points[i]); if (trail.length > TRAIL) trail.shift(); });
          run.wrong.push(math.scores(points, state.labels).wrongOrder);
        }
      draw();
    }

    function score(run) {
      if (run.lost) return "diverged: the step is too long";
      const { neighbours, wrongOrder } = math.scores(run.points, state.labels);
      return `${neighbours} of ${run.points.length} next to their class, ${digits(100 * wrongOrder, 2)}% in wrong order`;
    }

    function draw() {
      panels.forEach((each, k) => {
        drawPoints(each, frame(each.picture, each.picture.clientWidth || 230), runs[k], state.labels);
        drawCurve(each, runs[k]);
        each.score.textContent = score(runs[k]);
        set(each.picture, { "aria-label": `${each.title}, the points after ${count} steps: ${score(runs[k])}.` });
      });
      by("count").textContent = `Step ${count}.${rate > 0 ? "" : ` ${STILL}`}`;
    }

    function say() {
      by("steps-live").textContent = `After ${count} steps. ${rate > 0 ? "" : `${STILL} `}${panels.map((each, k) => `${each.title}: ${score(runs[k])}`).join(". ")}.`;
    }

    function stop() {
      clearInterval(timer);
      timer = null;
      by("play").textContent = "Play";
    }

    function play() {
      if (calm.matches) { advance(); say(); return; } // who asks for less motion gets a step a press
      if (timer !== null) { stop(); say(); return; }
      if (count >= LAST) restart();
      by("play").textContent = "Pause";
      timer = setInterval(() => { advance(); if (count >= LAST) { stop(); say(); } }, PAUSE);
    }

    function fairness(value) {
      by("panels").dataset.fair = value;
      by("fairness").textContent = FAIR[value];
      restart();
    }

    const slider = by("stride");
    set(slider, { min: 0, max: STRIDES.length - 1, step: 1 });
    function showStride() {
      slider.value = stride;
      set(slider, { "aria-valuetext": String(STRIDES[stride]) });
      root.querySelector('output[for="ex-stride"]').textContent = STRIDES[stride];
    }
    slider.addEventListener("input", () => { stride = Number(slider.value); showStride(); restart(); });
    by("play").addEventListener("click", play);
    by("step").addEventListener("click", () => { stop(); advance(); say(); });
    by("ten-steps").addEventListener("click", () => { stop(); advance(10); say(); });
    by("restart").addEventListener("click", () => { restart(); say(); });
    for (const radio of root.querySelectorAll('[name="ex-fair"]'))
      radio.addEventListener("change", () => fairness(radio.value));
    calm.addEventListener("change", stop);
    showStride();
    root.hidden = false;
    root.querySelector('[value="rate"]').checked = true; // browsers remember the state of a page that is loaded again
    by("panels").dataset.fair = "rate";
    by("fairness").textContent = FAIR.rate;
    new ResizeObserver(() => runs.length && draw()).observe(by("panels"));
    return { restart, current: () => ({ count, rate, playing: timer !== null, runs: runs.map(({ settings, points, lost }) => ({ weights: settings.weights, points, lost })) }) };
  };
})();
