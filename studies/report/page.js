"use strict";
/* What the reader can do: choose axes, open a structure, turn it, cut it, switch phases off. */

const byId = (id) => document.getElementById(id);
function element(tag, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
}

function fillControls() {
  for (const axis of ["x", "y"]) DATA.columns.forEach((column, place) => byId(axis).append(element("option", { value: place, textContent: column.label, selected: STATE[axis] === place })));
  byId("colour").append(element("option", { value: "status", textContent: "outcome" }));
  if (DATA.trial.some((number) => number >= 0)) byId("colour").append(element("option", { value: "trial", textContent: "trial" }));
  DATA.columns.forEach((column, place) => byId("colour").append(element("option", { value: place, textContent: column.label })));
  byId("more-x").value = STATE.moreX ? "more" : "less"; byId("more-y").value = STATE.moreY ? "more" : "less";
  const changed = () => {
    Object.assign(STATE, { x: Number(byId("x").value), y: Number(byId("y").value), moreX: byId("more-x").value === "more", moreY: byId("more-y").value === "more", colour: byId("colour").value });
    drawMap();
    if (byId("density").data) drawDensity();
  };
  for (const id of ["x", "y", "more-x", "more-y", "colour"]) byId(id).addEventListener("change", changed);
}

/* The dialog of one structure. */
let view = null, current = null;

function quoted(text) { return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replace(/'/g, `'\\''`)}'`; }

async function openStructure(row) {
  current = row;
  const status = DATA.statuses[DATA.status[row]];
  byId("viewer-id").textContent = DATA.ids[row];
  Object.assign(byId("viewer-status"), { textContent: status, className: `badge ${status}` });
  const body = byId("values").tBodies[0]; body.replaceChildren();
  const askedOf = new Map(DATA.asked.map((asked) => [asked.column, asked]));
  const order = [...new Set([...DATA.asked.map((asked) => asked.column).filter((place) => place !== null), STATE.y, STATE.x, ...DATA.columns.keys()])];
  for (const place of order) {
    const column = DATA.columns[place], value = column.values[row], asked = askedOf.get(place);
    if (Number.isNaN(value) && !asked) continue;
    let text = "", kind = "";
    if (asked && !Number.isNaN(asked.low[row])) {
      const [low, high] = [asked.low[row], asked.high[row]];
      text = low < -1e37 ? `at most ${shortNumber(high)}` : high > 1e37 ? `at least ${shortNumber(low)}` : `${shortNumber(low)} to ${shortNumber(high)}`;
      kind = value >= low && value <= high ? "held" : "lost";
    }
    body.append(element("tr", { title: column.meaning }, element("td", { textContent: column.label }), element("td", { className: "number", textContent: `${shortNumber(value)} ${column.unit}`.trim() }), element("td", { className: kind, textContent: text })));
  }
  const facts = [DATA.trial[row] >= 0 ? `trial ${DATA.trial[row]}` : "", DATA.seed[row] ? `seed ${DATA.seed[row]}` : ""].filter(Boolean).join(", ");
  byId("commands").replaceChildren(
    element("p", { className: "note", textContent: facts }),
    element("code", { textContent: `mesoforge export ${quoted(DATA.folder)} ${DATA.ids[row]} --format stl` }),
    element("code", { textContent: `mesoforge regenerate ${quoted(DATA.folder)} ${DATA.ids[row]}` }),
  );
  for (const id of ["phases", "cuts", "slices"]) byId(id).replaceChildren();
  const dialog = byId("viewer");
  if (!dialog.open) dialog.showModal();
  const stored = DATA.volumes[row];
  if (!view) view = new VolumeView(byId("volume"), byId("frame"));
  const visible = Boolean(stored) && view.works;
  byId("volume").hidden = byId("frame").hidden = !visible;
  byId("stage-note").textContent = stored ? (view.works ? "" : "This browser has no WebGL 2: slices only.") : status === "failed" ? "This structure failed: there is no volume." : "The voxels of this structure are not in this page. The command beside writes them to a file; mesoforge report --volumes N takes more structures in.";
  if (!stored) return;
  const voxels = await unpackVoxels(stored);
  if (current !== row) return;  // another was opened meanwhile
  showVolume(voxels, stored.shape);
}

function showVolume(voxels, shape) {
  const counts = new Map();
  for (const phase of voxels) counts.set(phase, (counts.get(phase) || 0) + 1);
  const present = [...counts.keys()].sort((a, b) => a - b);
  const colourOf = (phase) => DATA.phases[phase]?.colour || ["#7f8c8d", "#f2a7b5", "#b5b35c", "#8c6bb1"][phase % 4];
  const most = present.reduce((a, b) => (counts.get(a) >= counts.get(b) ? a : b));
  let shown = present.reduce((bits, phase) => (phase === most && present.length > 1 ? bits : bits | (1 << phase)), 0);
  const cut = [...shape];
  const redraw = () => { if (view.works) { view.shown = shown >>> 0; view.cut = [...cut]; view.draw(); } drawSlices(voxels, shape, cut, colourOf); };
  if (view.works) view.load(voxels, shape, Array.from({ length: 16 }, (_, phase) => colourOf(phase)));
  for (const phase of present) {
    const box = element("input", { type: "checkbox", checked: Boolean((shown >> phase) & 1) });
    box.addEventListener("change", () => { shown = box.checked ? shown | (1 << phase) : shown & ~(1 << phase); redraw(); });
    const mark = element("i"); mark.style.background = colourOf(phase);
    byId("phases").append(element("label", {}, box, mark, `${DATA.phases[phase]?.name ?? `label ${phase}`} (${((100 * counts.get(phase)) / voxels.length).toFixed(1)} %)`));
  }
  ["z", "y", "x"].forEach((name, axis) => {
    const range = element("input", { type: "range", min: 1, max: shape[axis], value: shape[axis], ariaLabel: `cut along ${name}` });
    const text = element("output");
    const say = () => { text.textContent = DATA.voxel_size_um ? `${shortNumber(cut[axis] * DATA.voxel_size_um)} µm` : `${cut[axis]} of ${shape[axis]}`; };
    range.addEventListener("input", () => { cut[axis] = Number(range.value); say(); redraw(); });
    say();
    byId("cuts").append(element("label", {}, element("span", { textContent: name }), range, text));
  });
  redraw();
}

/** The three faces of the cut, all phases. */
function drawSlices(voxels, shape, cut, colourOf) {
  const [sz, sy, sx] = shape, host = byId("slices");
  if (!host.children.length) for (const name of ["z", "y", "x"]) host.append(element("figure", {}, element("canvas"), element("figcaption", { textContent: `across ${name}` })));
  const faces = [[sy, sx, (i, j) => ((cut[0] - 1) * sy + i) * sx + j], [sz, sx, (i, j) => (i * sy + cut[1] - 1) * sx + j], [sz, sy, (i, j) => (i * sy + j) * sx + cut[2] - 1]];
  faces.forEach(([height, width, at], axis) => {
    const canvas = host.children[axis].firstChild;
    Object.assign(canvas, { width, height });
    const paper = canvas.getContext("2d"), image = paper.createImageData(width, height);
    for (let i = 0; i < height; i++) for (let j = 0; j < width; j++) {
      const colour = parseInt(colourOf(voxels[at(i, j)]).slice(1), 16), k = 4 * (i * width + j);
      image.data.set([colour >> 16, (colour >> 8) & 255, colour & 255, 255], k);
    }
    paper.putImageData(image, 0, 0);
  });
}

function wireStage() {
  const stage = byId("stage");
  stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); });
  stage.addEventListener("pointermove", (event) => {
    if (!view?.shape || !stage.hasPointerCapture(event.pointerId)) return;
    view.turn -= event.movementX * 0.01;
    view.tilt = Math.min(1.5, Math.max(-1.5, view.tilt + event.movementY * 0.01));
    view.draw();
  });
  stage.addEventListener("wheel", (event) => { if (!view?.shape) return; event.preventDefault(); view.zoom = Math.min(8, Math.max(0.5, view.zoom * Math.exp(-event.deltaY * 0.0012))); view.draw(); }, { passive: false });
}

/** Charts are drawn when they come near the window: the page opens at once, however many there are. */
function drawWhenSeen() {
  const jobs = new Map([[byId("map"), drawMap], [byId("matrix"), drawMatrix], [byId("density"), drawDensity]]);
  if (byId("attained")) jobs.set(byId("attained"), drawAttained);
  if (byId("progress")) jobs.set(byId("progress"), drawProgress);
  for (const entry of DATA.curves) { const host = element("div"); byId("curve-panels").append(host); jobs.set(host, () => drawCurve(host, entry)); }
  const run = (host) => { const job = jobs.get(host); if (job) { jobs.delete(host); job(); } };
  const watcher = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => { watcher.unobserve(entry.target); run(entry.target); }), { rootMargin: "300px" });
  for (const host of jobs.keys()) watcher.observe(host);
  addEventListener("beforeprint", () => [...jobs.keys()].forEach(run));
}

fillControls();
wireStage();
drawWhenSeen();
document.addEventListener("click", (event) => { const opener = event.target.closest?.("[data-row]"); if (opener) openStructure(Number(opener.dataset.row)); });
byId("viewer").addEventListener("click", (event) => { if (event.target === byId("viewer")) byId("viewer").close(); });
