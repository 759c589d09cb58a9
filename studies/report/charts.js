"use strict";
/* The charts. Names reach Plotly through `plain`, everything else on the page through text nodes. */

const DATA = JSON.parse(document.getElementById("data").textContent);
const COUNT = DATA.ids.length;
const COLOURS = { attained: "#00875a", missed: "#d98a00", unguided: "#4a6fa5", failed: "#b3261e" };
const MANY = 1500;  // beyond, points are drawn by WebGL

function numbers(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}
DATA.columns.forEach((column) => { column.values = numbers(column.values); });
DATA.asked.forEach((asked) => { asked.low = numbers(asked.low); asked.high = numbers(asked.high); });

/** Plotly reads tags in titles and names. */
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const title = (column) => plain(column.label + (column.unit ? ` (${column.unit})` : ""));
const shortNumber = (value) => (Number.isFinite(value) ? String(Number(value.toPrecision(4))) : "–");

const HAS_WEBGL = (() => { try { return Boolean(document.createElement("canvas").getContext("webgl")); } catch { return false; } })();
const pointType = (count) => (HAS_WEBGL && count > MANY ? "scattergl" : "scatter");

const CONFIG = { displaylogo: false, responsive: true, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]], toImageButtonOptions: { scale: 3, filename: "mesoforge" } };
function layout(extra) {
  const axis = { gridcolor: "#e9edf1", zeroline: false, linecolor: "#9aa7b3", ticks: "outside", ticklen: 4, tickcolor: "#9aa7b3", automargin: true };
  const merged = { font: { family: "system-ui, sans-serif", size: 13, color: "#1c2733" }, paper_bgcolor: "white", plot_bgcolor: "white", margin: { l: 62, r: 18, t: 26, b: 54 }, hovermode: "closest", hoverdistance: 12, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, ...extra };
  for (const name of Object.keys(merged).filter((key) => /^[xy]axis/.test(key))) merged[name] = { ...axis, ...merged[name] };
  return merged;
}

/** Which structures meet every constraint of the study. */
function feasible(row) {
  if (DATA.statuses[DATA.status[row]] === "failed") return false;
  return DATA.constraints.every(({ column, low, high }) => {
    const value = column === null ? NaN : DATA.columns[column].values[row];
    return (low === null || value >= low) && (high === null || value <= high) && !Number.isNaN(value);
  });
}

/** Rows that no feasible row beats in x or y without losing in the other, by x. */
function front(x, y, moreX, moreY) {
  const rows = [];
  for (let row = 0; row < COUNT; row++) if (!Number.isNaN(x[row]) && !Number.isNaN(y[row]) && feasible(row)) rows.push(row);
  const gain = (values, more) => (row) => (more ? values[row] : -values[row]);
  const [gx, gy] = [gain(x, moreX), gain(y, moreY)];
  rows.sort((a, b) => gx(b) - gx(a) || gy(b) - gy(a));
  let best = -Infinity;
  return rows.filter((row) => gy(row) > best && ((best = gy(row)), true)).sort((a, b) => x[a] - x[b]);
}

/** Clicks and hovers of a chart whose points carry their row in customdata. */
function wire(chart) {
  const tip = document.getElementById("tip");
  chart.on("plotly_hover", (event) => {
    const row = event.points[0].customdata;
    if (typeof row !== "number") return;
    tip.replaceChildren();
    if (DATA.pictures[row]) { const image = document.createElement("img"); image.src = DATA.pictures[row]; image.alt = ""; tip.append(image); }
    const box = document.createElement("div"); tip.append(box);
    const line = (text, kind) => { const part = document.createElement("div"); part.textContent = text; if (kind) part.className = kind; box.append(part); };
    line(DATA.ids[row], "id");
    const wanted = [...new Set([STATE.y, STATE.x, ...DATA.axes.matrix])].slice(0, 4);
    for (const place of wanted) line(`${DATA.columns[place].label} ${shortNumber(DATA.columns[place].values[row])} ${DATA.columns[place].unit}`);
    line(DATA.statuses[DATA.status[row]] + (DATA.trial[row] >= 0 ? `, trial ${DATA.trial[row]}` : "") + (DATA.volumes[row] ? ", opens in 3D" : ""), "id");
    tip.hidden = false;
    const { clientX: x, clientY: y } = event.event;
    tip.style.left = `${Math.min(x + 16, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(y + 16, innerHeight - tip.offsetHeight - 8)}px`;
  });
  chart.on("plotly_unhover", () => { tip.hidden = true; });
  chart.on("plotly_click", (event) => { const row = event.points[0].customdata; if (typeof row === "number") { tip.hidden = true; openStructure(row); } });
}

const STATE = { x: DATA.axes.x, y: DATA.axes.y, moreX: DATA.axes.more_x, moreY: DATA.axes.more_y, colour: "status" };

function drawMap() {
  const [cx, cy] = [DATA.columns[STATE.x], DATA.columns[STATE.y]], [x, y] = [cx.values, cy.values];
  const size = COUNT > 3000 ? 5 : COUNT > 300 ? 6 : 9, traces = [];
  const points = (rows, name, marker) => ({
    type: pointType(COUNT), mode: "markers", name, x: rows.map((row) => x[row]), y: rows.map((row) => y[row]), customdata: rows,
    hoverinfo: "none", marker: { size, opacity: COUNT > 3000 ? 0.55 : 0.85, line: { width: COUNT > MANY ? 0 : 0.6, color: "white" }, ...marker },
  });
  const all = [...Array(COUNT).keys()].filter((row) => !Number.isNaN(x[row]) && !Number.isNaN(y[row]));
  if (STATE.colour === "status") {
    DATA.statuses.forEach((status, code) => {
      const rows = all.filter((row) => DATA.status[row] === code);
      if (rows.length) traces.push(points(rows, status, { color: COLOURS[status] }));
    });
  } else {
    const values = STATE.colour === "trial" ? DATA.trial : DATA.columns[Number(STATE.colour)].values;
    const name = STATE.colour === "trial" ? "trial" : title(DATA.columns[Number(STATE.colour)]);
    traces.push({ ...points(all, name, { color: all.map((row) => values[row]), colorscale: "Viridis", colorbar: { title: { text: name, side: "right" }, thickness: 12 } }), showlegend: false });
  }
  const best = front(x, y, STATE.moreX, STATE.moreY);
  traces.push({ type: "scatter", mode: "lines+markers", name: "best compromises", x: best.map((row) => x[row]), y: best.map((row) => y[row]), customdata: best, hoverinfo: "none", line: { color: "#1c2733", width: 1.6, shape: "linear" }, marker: { size: size + 3, color: "rgba(0,0,0,0)", line: { color: "#1c2733", width: 1.4 } } });
  const shapes = [];
  for (const { column, low, high } of DATA.constraints) for (const [place, ref] of [[STATE.x, "x"], [STATE.y, "y"]]) {
    if (column !== place) continue;
    const values = DATA.columns[column].values.filter((value) => !Number.isNaN(value));
    let [least, most] = [Infinity, -Infinity];
    for (const value of values) { least = Math.min(least, value); most = Math.max(most, value); }
    const far = (most - least || 1) * 5;
    const band = (from, to) => shapes.push(ref === "x" ? { type: "rect", xref: "x", yref: "paper", x0: from, x1: to, y0: 0, y1: 1 } : { type: "rect", xref: "paper", yref: "y", y0: from, y1: to, x0: 0, x1: 1 });
    if (high !== null) band(high, most + far);
    if (low !== null) band(least - far, low);
  }
  shapes.forEach((shape) => Object.assign(shape, { fillcolor: "rgba(120,130,140,.13)", line: { width: 0 }, layer: "below" }));
  const range = (values) => { let [a, b] = [Infinity, -Infinity]; for (const row of all) { a = Math.min(a, values[row]); b = Math.max(b, values[row]); } const pad = (b - a || Math.abs(a) || 1) * 0.06; return [a - pad, b + pad]; };
  const chart = document.getElementById("map");
  const first = !chart.data;
  Plotly.react(chart, traces, layout({ xaxis: { title: { text: title(cx) }, range: range(x) }, yaxis: { title: { text: title(cy) }, range: range(y) }, shapes, margin: { l: 70, r: 18, t: 40, b: 54 } }), CONFIG);
  if (first) wire(chart);
}

/** Ranks of some rows by a column, ties averaged; of all rows they are kept, as every pair of columns needs them. */
const RANKS = new WeakMap();
function ranks(values, rows) {
  if (rows.length === COUNT && RANKS.has(values)) return RANKS.get(values);
  const order = Int32Array.from(rows).sort((i, j) => values[i] - values[j]), rank = new Float64Array(COUNT);
  for (let i = 0; i < order.length; ) { let j = i; while (j < order.length && values[order[j]] === values[order[i]]) j++; for (let k = i; k < j; k++) rank[order[k]] = (i + j - 1) / 2; i = j; }
  if (rows.length === COUNT) RANKS.set(values, rank);
  return rank;
}

/** Spearman's rank correlation. */
function rankCorrelation(a, b) {
  const rows = [];
  for (let row = 0; row < COUNT; row++) if (!Number.isNaN(a[row]) && !Number.isNaN(b[row])) rows.push(row);
  if (rows.length < 3) return NaN;
  const [p, q] = [ranks(a, rows), ranks(b, rows)], mean = (rows.length - 1) / 2;
  let [pq, pp, qq] = [0, 0, 0];
  for (const row of rows) { pq += (p[row] - mean) * (q[row] - mean); pp += (p[row] - mean) ** 2; qq += (q[row] - mean) ** 2; }
  return pq / Math.sqrt(pp * qq);
}

function drawMatrix() {
  const chart = document.getElementById("matrix"), places = DATA.axes.matrix, used = places.map((place) => DATA.columns[place]);
  if (!HAS_WEBGL || used.length < 2) { chart.textContent = HAS_WEBGL ? "Fewer than two numbers vary." : "This chart needs WebGL, which this browser does not offer."; chart.style.height = "auto"; return; }
  const n = used.length, rows = [...Array(COUNT).keys()], extra = {}, annotations = [];
  const gap = 0.012, cell = 1 / (n - 1), domain = (i) => [i * cell + gap, (i + 1) * cell - gap];
  const label = (column) => plain(column.label) + (column.unit ? `<br>${plain(column.unit)}` : "");
  for (let i = 0; i < n; i++) {
    const mark = i ? i + 1 : "", small = { size: 11 };
    if (i < n - 1) extra[`xaxis${mark}`] = { domain: domain(i), title: { text: label(used[i]), font: small, standoff: 6 }, tickfont: { size: 9 }, nticks: 4, automargin: false };
    if (i > 0) extra[`yaxis${mark}`] = { domain: domain(n - 1 - i), title: { text: label(used[i]), font: small, standoff: 4 }, tickfont: { size: 9 }, nticks: 4, automargin: false };
    for (let j = 0; j < i; j++) {
      const rho = rankCorrelation(used[j].values, used[i].values);
      annotations.push({ xref: "paper", yref: "paper", x: domain(j)[0] + 0.006, y: domain(n - 1 - i)[1], xanchor: "left", yanchor: "top", showarrow: false, text: `ρ ${Number.isNaN(rho) ? "–" : rho.toFixed(2)}`, font: { size: 11, color: "#33475b" }, bgcolor: "rgba(255,255,255,.75)" });
    }
  }
  const trace = { type: "splom", dimensions: used.map((column) => ({ label: plain(column.label), values: column.values })), diagonal: { visible: false }, showupperhalf: false, customdata: rows, hoverinfo: "none", marker: { size: COUNT > 3000 ? 3 : 5, opacity: COUNT > 3000 ? 0.45 : 0.8, color: rows.map((row) => COLOURS[DATA.statuses[DATA.status[row]]]), line: { width: 0 } } };
  Plotly.newPlot(chart, [trace], layout({ ...extra, annotations, margin: { l: 84, r: 12, t: 12, b: 64 }, dragmode: "zoom" }), CONFIG);
  wire(chart);
}

function drawAttained() {
  const chart = document.getElementById("attained"), traces = [], extra = {}, shown = DATA.asked.filter((asked) => asked.column !== null).slice(0, 6);
  if (!shown.length) { chart.remove(); return; }
  const columns = Math.min(shown.length, 2), lines = Math.ceil(shown.length / columns);
  chart.style.height = `${lines * 380}px`;
  const names = new Set();
  shown.forEach((asked, index) => {
    const mark = index ? index + 1 : "", column = DATA.columns[asked.column], open = (limit) => Math.abs(limit) > 1e37;
    const goals = Float32Array.from(asked.low, (low, row) => (open(low) ? asked.high[row] : open(asked.high[row]) ? low : (low + asked.high[row]) / 2));
    const rows = [...Array(COUNT).keys()].filter((row) => !Number.isNaN(goals[row]) && !Number.isNaN(column.values[row]));
    const varied = new Set(rows.map((row) => goals[row])).size > 1, across = varied ? (row) => goals[row] : (row) => row;
    for (const [name, held, colour] of [["within its target", true, COLOURS.attained], ["outside", false, COLOURS.missed]]) {
      const part = rows.filter((row) => (column.values[row] >= asked.low[row] && column.values[row] <= asked.high[row]) === held);
      traces.push({ type: pointType(COUNT), mode: "markers", name, legendgroup: name, showlegend: part.length > 0 && !names.has(name), x: part.map(across), y: part.map((row) => column.values[row]), customdata: part, hoverinfo: "none", xaxis: `x${mark}`, yaxis: `y${mark}`, marker: { size: COUNT > 3000 ? 4 : 7, opacity: 0.75, color: colour } });
      if (part.length) names.add(name);
    }
    if (rows.length) {
      let [a, b] = [Infinity, -Infinity];
      for (const row of rows) { a = Math.min(a, across(row)); b = Math.max(b, across(row)); }
      const line = varied ? [[a, b], [a, b]] : [[a, b], [goals[rows[0]], goals[rows[0]]]];
      traces.push({ type: "scatter", mode: "lines", name: "as asked", legendgroup: "asked", showlegend: index === 0, x: line[0], y: line[1], xaxis: `x${mark}`, yaxis: `y${mark}`, hoverinfo: "skip", line: { color: "#1c2733", width: 1.2, dash: "dot" } });
    }
    const [c, r] = [index % columns, Math.floor(index / columns)], wide = 1 / columns, high = 1 / lines;
    extra[`xaxis${mark}`] = { domain: [c * wide + (c ? 0.05 : 0), (c + 1) * wide - (c < columns - 1 ? 0.03 : 0)], anchor: `y${mark}`, title: { text: varied ? `${title(column)}, asked` : "structure" } };
    extra[`yaxis${mark}`] = { domain: [1 - (r + 1) * high + (lines > 1 ? 0.09 : 0), 1 - r * high - (lines > 1 ? 0.02 : 0)], anchor: `x${mark}`, title: { text: `${title(column)}, achieved` } };
  });
  Plotly.newPlot(chart, traces, layout({ ...extra, margin: { l: 66, r: 16, t: 36, b: 54 } }), CONFIG);
  wire(chart);
}

function drawCurve(host, entry) {
  const size = DATA.voxel_size_um, r = (values) => values.map((_, i) => i * (size || 1)), traces = [];
  const band = (set, name, line, fill) => {
    traces.push({ x: [...r(set.high), ...r(set.low).reverse()], y: [...set.high, ...[...set.low].reverse()], fill: "toself", fillcolor: fill, line: { width: 0 }, mode: "lines", type: "scatter", hoverinfo: "skip", showlegend: false });
    traces.push({ x: r(set.mean), y: set.mean, type: "scatter", mode: "lines", name, line, hovertemplate: "%{x:.3g}: %{y:.4g}<extra></extra>" });
  };
  if (entry.training) band(entry.training, "training", { color: "#5b6875", width: 2, dash: "dash" }, "rgba(91,104,117,.18)");
  band(entry, `${entry.count} structures`, { color: "#0072b2", width: 2 }, "rgba(0,114,178,.18)");
  entry.lines.forEach((line, i) => traces.push({ x: r(line.values), y: line.values, type: "scatter", mode: "lines", name: i ? undefined : "best", showlegend: i === 0, customdata: line.values.map(() => line.row), hoverinfo: "none", line: { color: "#d55e00", width: 1 } }));
  Plotly.newPlot(host, traces, layout({ title: { text: plain(entry.name), font: { size: 13 }, x: 0.02, y: 0.98 }, xaxis: { title: { text: size ? "distance (µm)" : "distance (voxels)" }, rangemode: "tozero" }, yaxis: { title: { text: plain(entry.quantity) }, rangemode: "tozero" }, margin: { l: 60, r: 12, t: 40, b: 46 }, legend: { x: 1, xanchor: "right", y: 0.98, yanchor: "top", bgcolor: "rgba(255,255,255,.7)" } }), { ...CONFIG, displayModeBar: false });
  wire(host);
}

function drawDensity() {
  const [cx, cy] = [DATA.columns[STATE.x], DATA.columns[STATE.y]], rows = [];
  const cells = Math.min(24, Math.max(6, Math.round(Math.sqrt(COUNT))));
  for (let row = 0; row < COUNT; row++) if (!Number.isNaN(cx.values[row]) && !Number.isNaN(cy.values[row])) rows.push(row);
  const span = (values) => { let [a, b] = [Infinity, -Infinity]; for (const row of rows) { a = Math.min(a, values[row]); b = Math.max(b, values[row]); } return b > a ? [a, b] : [a - 0.5, a + 0.5]; };
  const [[x0, x1], [y0, y1]] = [span(cx.values), span(cy.values)];
  const z = Array.from({ length: cells }, () => new Array(cells).fill(0));
  const cell = (value, low, high) => Math.min(cells - 1, Math.floor(((value - low) / (high - low)) * cells));
  for (const row of rows) z[cell(cy.values[row], y0, y1)][cell(cx.values[row], x0, x1)]++;
  const covered = z.flat().filter(Boolean).length;
  const centre = (low, high) => Array.from({ length: cells }, (_, i) => low + ((i + 0.5) * (high - low)) / cells);
  const traces = [{ type: "heatmap", x: centre(x0, x1), y: centre(y0, y1), z: z.map((line) => line.map((count) => (count ? Math.log10(count) : null))), customdata: z, colorscale: "YlGnBu", hovertemplate: "%{customdata} structures<extra></extra>", showscale: true, colorbar: { title: { text: "structures", side: "right" }, thickness: 12, tickvals: [0, 1, 2, 3, 4], ticktext: ["1", "10", "100", "1,000", "10,000"] }, xgap: 1, ygap: 1 }];
  const goals = (place) => DATA.asked.find((asked) => asked.column === place);
  const [ax, ay] = [goals(STATE.x), goals(STATE.y)];
  if (ax && ay) {
    const middle = (asked, row) => { const [low, high] = [asked.low[row], asked.high[row]]; return Math.abs(low) > 1e37 ? high : Math.abs(high) > 1e37 ? low : (low + high) / 2; };
    const wanted = rows.filter((row) => !Number.isNaN(middle(ax, row)) && !Number.isNaN(middle(ay, row))).slice(0, 3000);
    traces.push({ type: pointType(wanted.length), mode: "markers", name: "asked for", x: wanted.map((row) => middle(ax, row)), y: wanted.map((row) => middle(ay, row)), hoverinfo: "skip", marker: { size: 6, symbol: "x-thin", line: { width: 1.2, color: "#b3261e" } }, showlegend: true });
  }
  Plotly.react("density", traces, layout({ xaxis: { title: { text: title(cx) }, showgrid: false }, yaxis: { title: { text: title(cy) }, showgrid: false } }), CONFIG);
  document.getElementById("covered").textContent = `${covered} of ${cells * cells} cells over the range of what was reached hold at least one structure. The axes are those chosen above; crosses are what was asked for.`;
}

function drawProgress() {
  const { trial, feasible: good, values, objectives } = DATA.trials, traces = [], extra = {};
  objectives.forEach((objective, index) => {
    const mark = index ? index + 1 : "", there = values[index].map((value, i) => i).filter((i) => values[index][i] !== null);
    for (const [name, wanted, colour] of [["meets every constraint", true, "#0072b2"], ["does not", false, "#b8c2cb"]]) {
      const part = there.filter((i) => Boolean(good[i]) === wanted);
      if (part.length) traces.push({ type: pointType(there.length), mode: "markers", name, showlegend: index === 0, x: part.map((i) => trial[i]), y: part.map((i) => values[index][i]), yaxis: `y${mark}`, marker: { size: there.length > MANY ? 4 : 7, color: colour }, hovertemplate: "trial %{x}: %{y:.4g}<extra></extra>" });
    }
    let best = null; const [bx, by] = [[], []];
    for (const i of there) if (good[i] && (best === null || (objective.more ? values[index][i] > best : values[index][i] < best))) { best = values[index][i]; bx.push(trial[i]); by.push(best); }
    if (best !== null) { bx.push(trial[trial.length - 1]); by.push(best); traces.push({ type: "scatter", mode: "lines", name: "best so far", showlegend: index === 0, x: bx, y: by, yaxis: `y${mark}`, line: { shape: "hv", color: "#1c2733", width: 2 }, hoverinfo: "skip" }); }
    const high = 1 / objectives.length;
    extra[`yaxis${mark}`] = { domain: [index * high + (index ? 0.04 : 0), (index + 1) * high], title: { text: plain(objective.label) } };
  });
  Plotly.newPlot("progress", traces, layout({ ...extra, xaxis: { title: { text: "trial" }, rangemode: "tozero" } }), CONFIG);
}
