// The widget manager typesets text through the queue of MathJax 2; this book has MathJax 3, which has none.
// Deferred scripts have run at DOMContentLoaded, and widgets are drawn at load: so the queue is there in time.
document.addEventListener("DOMContentLoaded", () => {
  if (!window.MathJax?.startup || MathJax.Hub) return;
  MathJax.Hub = {
    Queue: ([, , element]) => MathJax.startup.promise.then(() => MathJax.typesetPromise([element])),
  };
});

// A slider's handle has no name for those who hear the page, and the value of a logarithmic one is its exponent.
// The label and the number beside it say both, so the handle takes them over whenever they change.
document.addEventListener("DOMContentLoaded", () => {
  const set = (element, name, value) => element.getAttribute(name) === value || element.setAttribute(name, value);
  new MutationObserver(() => {
    for (const slider of document.querySelectorAll(".widget-slider")) {
      const [handle, label, number] = [".noUi-handle", ".widget-label", ".widget-readout"].map((part) => slider.querySelector(part));
      if (!handle || !label || !number) continue;
      set(handle, "aria-label", label.textContent);
      set(handle, "aria-valuetext", number.textContent);
      set(number, "role", "textbox");
      set(number, "aria-label", `${label.textContent}: value`);
    }
  }).observe(document.body, { subtree: true, childList: true, characterData: true, attributeFilter: ["aria-valuetext"] });
});

// What scrolls sideways in its own box can be scrolled by keys: it is a stop of the tab key while it is wider than its box.
window.addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  const boxes = document.querySelectorAll(
    ".bd-article :is(table.table, div.math, pre, .cell_output, .pst-scrollable-table-container)",
  );
  const follow = () => boxes.forEach((box) => {
    const scrolls = box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX === "auto";
    if (scrolls) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  });
  new ResizeObserver(follow).observe(document.body);
  follow();
});

// The theme's sidebar is no landmark, and its folds have no name.
document.addEventListener("DOMContentLoaded", () => {
  for (const logo of document.querySelectorAll(".sidebar-primary-items__start > .sidebar-primary-item:first-child"))
    logo.setAttribute("role", "navigation"), logo.setAttribute("aria-label", "First page");
  for (const fold of document.querySelectorAll("nav summary"))
    fold.setAttribute("aria-label", `Pages below ${fold.closest("li")?.querySelector("a")?.textContent.trim() ?? "this one"}`);
});
