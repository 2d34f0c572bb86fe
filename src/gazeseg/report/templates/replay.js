"use strict";
const reading = JSON.parse(document.getElementById("reading").textContent);
const fixations = reading.fixations, [H, W] = reading.size, end = reading.end_ms - reading.start_ms;
const at = id => document.getElementById(id);
const on = id => !at(id) || at(id).checked;
const stage = at("stage"), axis = at("axis"), slider = at("time");
const picture = new Image();
let now = 0, playing = false, last = 0, scale = 1;
slider.max = end;

const hex = c => [1, 3, 5].map(k => parseInt(c.slice(k, k + 2), 16));
function ramp(colours, t, alpha) {
  const place = Math.min(Math.max(t, 0), 1) * (colours.length - 1), k = Math.min(Math.floor(place), colours.length - 2);
  const [a, b] = [hex(colours[k]), hex(colours[k + 1])];
  return `rgba(${a.map((v, i) => Math.round(v + (b[i] - v) * (place - k))).join(",")},${alpha})`;
}
const begin = f => f.onset_ms - reading.start_ms;
const colour = (f, alpha) => ramp(reading.colours.time, begin(f) / end, alpha);
const seen = (f, t) => Math.min(Math.max(t - begin(f), 0), f.duration_ms);  // ms of the fixation that have passed
const current = t => fixations.reduce((found, f, k) => begin(f) <= t ? k : found, -1);

// Dwell density: the sum over fixations of ms times a Gaussian, as gazeseg.report.reading.dwell_density
const cell = Math.max(H, W) / Math.min(Math.max(H, W), 150), gh = Math.max(1, Math.round(H / cell)), gw = Math.max(1, Math.round(W / cell));
const bell = (n, extent, centre, sigma) => Float32Array.from({length: n}, (_, i) =>
  Math.exp(-0.5 * (((i + 0.5) * extent / n - 0.5 - centre) / sigma) ** 2));
const onImage = f => f.x_px >= -0.5 && f.x_px < W - 0.5 && f.y_px >= -0.5 && f.y_px < H - 0.5;
const bells = fixations.map(f => onImage(f) && [bell(gh, H, f.y_px, reading.sigma_px[1]), bell(gw, W, f.x_px, reading.sigma_px[0])]);
function add(map, k, ms) {
  if (!bells[k] || ms <= 0) return;
  const [rows, columns] = bells[k];
  for (let i = 0, p = 0; i < gh; i++) { const r = rows[i] * ms; for (let j = 0; j < gw; j++) map[p++] += r * columns[j]; }
}
let whole = new Float32Array(gh * gw), done = 0;
function density(t) {
  let k = 0;
  while (k < fixations.length && seen(fixations[k], t) >= fixations[k].duration_ms) k++;
  if (k < done) { whole.fill(0); done = 0; }
  while (done < k) { add(whole, done, fixations[done].duration_ms); done++; }
  const map = Float32Array.from(whole);
  for (let n = k; n < fixations.length; n++) add(map, n, seen(fixations[n], t));
  return map;
}
const top_ = density(end).reduce((a, b) => Math.max(a, b), 1e-9);
const heat = document.createElement("canvas");
heat.width = gw; heat.height = gh;
function drawHeat(pen, t) {
  const ink = heat.getContext("2d"), pixels = ink.createImageData(gw, gh), map = density(t), ladder = reading.colours.heat;
  for (let p = 0; p < map.length; p++) {
    const v = Math.min(map[p] / top_, 1), c = ladder[Math.round(v * (ladder.length - 1))];
    pixels.data.set([c[0], c[1], c[2], 204 * Math.sqrt(v)], 4 * p);
  }
  ink.putImageData(pixels, 0, 0);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(heat, 0, 0, W * scale, H * scale);
}

function fit() {
  const room = stage.parentElement.clientWidth, tall = Math.max(260, window.innerHeight - 390), dots = window.devicePixelRatio || 1;
  scale = Math.min(room / W, tall / H);
  for (const [canvas, w, h] of [[stage, W * scale, H * scale], [axis, axis.clientWidth, axis.clientHeight]]) {
    canvas.width = Math.round(w * dots); canvas.height = Math.round(h * dots);
    canvas.getContext("2d").setTransform(dots, 0, 0, dots, 0, 0);
  }
  stage.style.width = `${W * scale}px`; stage.style.height = `${H * scale}px`;
  draw();
}
const x = f => (f.x_px + 0.5) * scale, y = f => (f.y_px + 0.5) * scale;
const radius = ms => reading.radius_300_px * Math.sqrt(ms / 300) * scale;
function stroke(pen, style, width) {
  pen.lineWidth = width + 2; pen.strokeStyle = "rgba(16,20,24,.5)"; pen.stroke();
  pen.lineWidth = width; pen.strokeStyle = style; pen.stroke();
}
function drawPath(pen, t) {
  for (let k = 1; k < fixations.length; k++) {
    const a = fixations[k - 1], b = fixations[k], leave = begin(a) + a.duration_ms, flight = Math.max(begin(b) - leave, 1);
    const share = Math.min((t - leave) / flight, 1);  // a saccade grows while the eye moves
    if (share <= 0) continue;
    pen.beginPath(); pen.moveTo(x(a), y(a)); pen.lineTo(x(a) + (x(b) - x(a)) * share, y(a) + (y(b) - y(a)) * share);
    stroke(pen, colour(b, 1), 1.6);
  }
  const latest = current(t);
  fixations.forEach((f, k) => {
    const ms = seen(f, t);
    if (ms <= 0) return;
    pen.beginPath(); pen.arc(x(f), y(f), radius(ms), 0, 7);
    pen.fillStyle = colour(f, k === latest ? 0.85 : 0.55); pen.fill();
    pen.lineWidth = k === 0 || k === latest ? 2 : 1; pen.strokeStyle = k === 0 || k === latest ? "#fff" : "#101418"; pen.stroke();
  });
  if (!on("numbers")) return;
  pen.font = "600 11px ui-sans-serif, system-ui, sans-serif"; pen.textAlign = "center"; pen.textBaseline = "middle";
  const taken = [];
  for (let k = latest; k >= 0; k--) {  // the newest number wins where two would cover each other
    const f = fixations[k], box = [x(f), y(f), 4 + 6 * String(k + 1).length];
    if (taken.some(b => Math.abs(b[0] - box[0]) < (b[2] + box[2]) / 2 && Math.abs(b[1] - box[1]) < 11)) continue;
    taken.push(box);
    pen.lineWidth = 2.6; pen.strokeStyle = "#101418"; pen.lineJoin = "round"; pen.strokeText(k + 1, x(f), y(f));
    pen.fillStyle = "#fff"; pen.fillText(k + 1, x(f), y(f));
  }
}
function drawTruth(pen) {
  pen.beginPath();
  for (const line of reading.truth) line.forEach(([a, b], k) => pen[k ? "lineTo" : "moveTo"]((a + 0.5) * scale, (b + 0.5) * scale));
  pen.lineJoin = "round"; stroke(pen, reading.colours.truth, 1.6);
}
const place = t => 8 + t / end * (axis.clientWidth - 16);  // the thumb of the slider below travels the same way
function drawAxis(t) {
  const pen = axis.getContext("2d"), style = getComputedStyle(document.documentElement), soft = style.getPropertyValue("--soft");
  pen.clearRect(0, 0, axis.clientWidth, axis.clientHeight);
  pen.font = "11px ui-sans-serif, system-ui, sans-serif"; pen.textAlign = "center"; pen.fillStyle = soft;
  const step = [0.5, 1, 2, 5, 10, 20, 50, 100].find(s => end / 1000 / s <= 14) || 200;
  for (let s = 0; s <= end / 1000; s += step) pen.fillText(`${s} s`, Math.max(place(s * 1000), 9), 55);
  for (const f of fixations) {
    const left = place(begin(f)), w = Math.max(place(begin(f) + f.duration_ms) - left, 1), row = f.inside === false ? 23 : 2;
    pen.fillStyle = colour(f, begin(f) <= t ? 1 : 0.28); pen.fillRect(left, row, Math.max(w - 0.6, 0.8), 17);
  }
  pen.fillStyle = style.getPropertyValue("--ink"); pen.fillRect(place(t) - 0.75, 0, 1.5, 42);
}
function draw() {
  const pen = stage.getContext("2d");
  pen.filter = on("heat") ? "grayscale(.8) brightness(.8)" : "none";  // tissue is as red as the heatmap
  pen.drawImage(picture, 0, 0, W * scale, H * scale);
  pen.filter = "none";
  if (on("heat")) drawHeat(pen, now);
  if (reading.truth.length && on("truth")) drawTruth(pen);
  if (on("path")) drawPath(pen, now);
  drawAxis(now);
  slider.value = now;
  const k = current(now), f = fixations[k], fixating = f && now - begin(f) <= f.duration_ms;
  const what = !f ? "" : fixating ? `fixation ${k + 1} of ${fixations.length}` : `after fixation ${k + 1} of ${fixations.length}`;
  at("clock").textContent = `${(now / 1000).toFixed(2)} s of ${(end / 1000).toFixed(2)} s${what && " · "}${what}`;
  [...at("rows").children].forEach((row, n) => { row.classList.toggle("now", n === k); row.classList.toggle("later", n > k); });
}
function follow() {
  const row = at("rows").children[current(now)], list = row && row.closest(".list");
  if (row) list.scrollTop = row.offsetTop - list.offsetTop - list.clientHeight / 2;
}
function go(t) { now = Math.min(Math.max(t, 0), end); draw(); follow(); }
function play(start) {
  playing = start; at("play").innerHTML = playing ? "&#10074;&#10074;" : "&#9654;"; at("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  if (playing) { if (now >= end) now = 0; last = performance.now(); requestAnimationFrame(tick); }
}
function tick(time) {
  if (!playing) return;
  now = Math.min(now + Math.max(time - last, 0) * at("speed").value, end); last = time;
  draw(); follow();
  if (now >= end) play(false); else requestAnimationFrame(tick);
}
function step(by) {
  play(false);
  const k = Math.min(Math.max(current(now) + by, 0), fixations.length - 1);
  go(begin(fixations[k]) + fixations[k].duration_ms);
}
at("play").onclick = () => play(!playing);
at("back").onclick = () => step(-1);
at("next").onclick = () => step(1);
slider.oninput = () => { play(false); go(+slider.value); };
for (const id of ["heat", "path", "numbers", "truth"]) if (at(id)) at(id).onchange = draw;
axis.onpointerdown = axis.onpointermove = event => {
  if (event.buttons !== 1) return;
  play(false); go((event.offsetX - 8) / (axis.clientWidth - 16) * end);
};
[...at("rows").children].forEach((row, k) => {
  row.onclick = () => { play(false); go(begin(fixations[k]) + fixations[k].duration_ms); };
  row.onkeydown = event => { if (event.key === "Enter") row.onclick(); };
});
document.addEventListener("keydown", event => {
  if (event.target.tagName === "SELECT" || event.target.type === "checkbox") return;
  const action = {" ": () => play(!playing), ArrowLeft: () => step(-1), ArrowRight: () => step(1), Home: () => go(0), End: () => go(end)}[event.key];
  if (action) { event.preventDefault(); action(); }
});
window.addEventListener("resize", fit);
picture.onload = () => {
  const asked = /^#t=([\d.]+)/.exec(location.hash);  // replay.html#t=4.5 opens at 4.5 s
  now = asked ? Math.min(1000 * asked[1], end) : end;
  fit(); follow();
};
picture.src = reading.image;
