// The widget manager typesets text through the queue of MathJax 2; this book has MathJax 3, which has none.
// Deferred scripts have run at DOMContentLoaded, and widgets are drawn at load: so the queue is there in time.
document.addEventListener("DOMContentLoaded", () => {
  if (!window.MathJax?.startup || MathJax.Hub) return;
  MathJax.Hub = {
    Queue: ([, , element]) => MathJax.startup.promise.then(() => MathJax.typesetPromise([element])),
  };
});
