// Shows one slide at a time. Without scripts, all are shown below each other.
const slides = [...document.querySelectorAll("article")];
let slide = Math.min(Math.max(Number(location.hash.slice(1)) - 1 || 0, 0), slides.length - 1);
let step = 0;
const fragments = (number) => [...(slides[number]?.querySelectorAll(".fragment") ?? [])];
function show() {
  slides.forEach((one, number) => one.classList.toggle("shown", number === slide));
  fragments(slide).forEach((one, number) => one.classList.toggle("shown", number < step));
  document.getElementById("place").value = `${slide + 1} / ${slides.length}`;
  try { history.replaceState(null, "", `#${slide + 1}`); } catch { /* in a frame without an origin */ }
}
function on() {
  if (step < fragments(slide).length) step += 1;
  else if (slide < slides.length - 1) { slide += 1; step = 0; scrollTo(0, 0); }
  show();
}
function back() {
  if (step > 0) step -= 1;
  else if (slide > 0) { slide -= 1; step = fragments(slide).length; scrollTo(0, 0); }
  show();
}
const keys = {
  ArrowRight: on, ArrowDown: on, PageDown: on, " ": on, Enter: on, ArrowLeft: back, ArrowUp: back, PageUp: back, Backspace: back,
  Home() { slide = 0; step = 0; show(); },
  End() { slide = slides.length - 1; step = fragments(slide).length; show(); },
  n() { document.documentElement.classList.toggle("with-notes"); },
  f() { if (document.fullscreenElement) document.exitFullscreen(); else document.documentElement.requestFullscreen?.(); },
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("input, select, textarea, button, a")) return;
  const act = keys[event.key];
  if (act === undefined) return;
  event.preventDefault();
  act();
});
document.getElementById("on").onclick = on;
document.getElementById("back").onclick = back;
document.documentElement.classList.add("js");
show();
