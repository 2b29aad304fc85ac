// The page of a run. Everything shown comes from the JSON in #data and goes in as text.

const { run, explorer } = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const { style = {}, data = {}, ...rest } = properties;
  const made = Object.assign(document.createElement(tag), rest);
  Object.assign(made.style, style);
  Object.assign(made.dataset, data);
  made.append(...children);
  return made;
}

function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const percent = (value, digits = 1) => `${(100 * value).toFixed(digits)} %`;
const number = (value) => {
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-4 || size >= 1e7)) return value.toExponential(2).replace(/\.?0+e/, "e");
  return value.toLocaleString("en", { maximumSignificantDigits: size >= 1000 ? 21 : 4 });
};
const inUnit = (value, unit) => (unit === "percent" ? percent(value) : number(value));

// ---- theme ------------------------------------------------------------------------------------

function startTheme() {
  const button = byId("theme");
  const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  const isDark = () => chosen ?? systemIsDark.matches;
  const show = () => {
    document.documentElement.style.colorScheme = chosen === null ? "" : isDark() ? "dark" : "light";
    button.textContent = isDark() ? "Light theme" : "Dark theme";
  };
  button.addEventListener("click", () => {
    chosen = !isDark();
    show();
  });
  systemIsDark.addEventListener("change", show);
  show();
}

// ---- the run ----------------------------------------------------------------------------------

function showSummary() {
  document.title = `${run.name}: MV2MAE in JAX`;
  byId("title").textContent = `${run.task} · ${run.name}`;
  byId("figures").append(
    ...run.headlines.map(([name, value, unit]) =>
      element("p", {}, element("strong", { textContent: inUnit(value, unit) }), name)),
  );
  byId("figures").hidden = !run.headlines.length;
  byId("facts").append(...run.facts.map(([name, text]) => definition(name, text)));
  byId("config").tBodies[0].append(
    ...run.config.map(([name, value]) => element("tr", {},
      element("th", { scope: "row", textContent: name }), element("td", { textContent: value }))),
  );
}

function definition(name, text, more = "") {
  const shown = element("dd", { textContent: text });
  if (more) shown.append(element("small", { textContent: more }));
  return element("div", {}, element("dt", { textContent: name }), shown);
}

function showResults() {
  const section = byId("results");
  if (run.probe) {
    const caption = `Linear probes and shortcuts, ${run.probe.videos}`;
    section.append(bars(caption, run.probe.rows.map(([name, value]) => ({ name, value }))));
  }
  if (run.results) {
    const rows = run.results.rows.map(([name, value, low, high, count]) =>
      ({ name, value, low, high, more: `${percent(low)} to ${percent(high)} (95 %), of ${count}` }));
    section.append(bars(`Accuracy on the ${run.results.split} split`, rows));
    const classes = [...run.results.perClass].sort((a, b) => b[1] - a[1]);
    section.append(bars("By class, single view",
      classes.map(([name, value, count]) => ({ name, value, more: `of ${count}` }))));
  }
  if (run.confusion) section.append(confusionMatrix(run.confusion));
  section.hidden = section.children.length === 1;
}

function bars(caption, rows) {
  const body = element("tbody", {}, ...rows.map(({ name, value, low, high, more = "" }) => {
    const track = element("div", {}, element("i", { style: { width: `${100 * value}%` } }));
    if (low !== undefined) {
      track.append(element("u", { style: { left: `${100 * low}%`, width: `${100 * (high - low)}%` } }));
    }
    return element("tr", {},
      element("th", { scope: "row", textContent: name }),
      element("td", { className: "track" }, track),
      element("td", { className: "value", textContent: percent(value) }),
      element("td", { className: "more", textContent: more }));
  }));
  return element("table", { className: "bars" }, element("caption", { textContent: caption }), body);
}

function confusionMatrix({ classes, counts }) {
  const head = element("tr", {}, element("th", { textContent: "true \\ predicted" }),
    ...classes.map((name) => element("th", { scope: "col" }, element("span", { textContent: name }))));
  const rows = counts.map((row, number) => {
    const total = row.reduce((sum, count) => sum + count, 0);
    return element("tr", {}, element("th", { scope: "row", textContent: classes[number] }),
      ...row.map((count) => element("td", {
        textContent: count || "",
        style: count ? { background: `color-mix(in srgb, var(--accent) ${70 * count / total}%, var(--card))` } : {},
      })));
  });
  const table = element("table", { className: "matrix" }, element("thead", {}, head), element("tbody", {}, ...rows));
  const caption = "Which class is taken for which: counts of test videos";
  return element("figure", {},
    element("figcaption", { className: "caption", textContent: caption }),
    element("div", { className: "scroll", tabIndex: 0, ariaLabel: caption, role: "region" }, table));
}

// ---- curves -----------------------------------------------------------------------------------

const MARGIN = { left: 52, right: 10, top: 8, bottom: 24 };

function showCurves() {
  byId("no-curves").hidden = run.panels.length > 0;
  for (const panel of run.panels) byId("curves").append(chart(panel));
}

/** A figure of one panel: drawn again when its width changes; values of a step on hover or by key. */
function chart(panel) {
  const plot = svg("svg", { role: "img", tabindex: 0, "aria-label": description(panel) });
  const legend = element("figcaption", { className: "legend", ariaLive: "polite" });
  const steps = [...new Set(panel.series.flatMap((one) => one.points.map(([step]) => step)))];
  steps.sort((a, b) => a - b);
  let at = null; // index in steps
  let scales = null;
  const draw = () => {
    scales = scalesOf(panel, steps, plot.clientWidth, plot.clientHeight);
    plot.replaceChildren(...axes(panel, scales), ...panel.series.map((one, number) =>
      svg("path", { d: path(one.points, scales), style: `stroke: var(--series-${number})` })));
    point();
  };
  const point = () => {
    plot.querySelectorAll(".cursor, circle").forEach((mark) => mark.remove());
    const step = steps[at ?? steps.length - 1];
    const values = panel.series.map((one) => nearest(one.points, step));
    if (at !== null) {
      const x = scales.x(step);
      plot.append(svg("line", { class: "cursor", x1: x, x2: x, y1: MARGIN.top, y2: scales.bottom }));
      values.forEach((value, number) => plot.append(svg("circle", {
        cx: scales.x(value[0]), cy: scales.y(value[1]), r: 3.5, style: `fill: var(--series-${number})` })));
    }
    legend.replaceChildren(
      element("span", { className: "at", textContent: `step ${number(step)}` }),
      ...panel.series.map((one, index) => element("span", {},
        element("i", { style: { background: `var(--series-${index})` } }), one.name,
        element("b", { textContent: inUnit(values[index][1], panel.unit) }))));
  };
  plot.addEventListener("pointermove", (event) => {
    const step = scales.stepAt(event.clientX - plot.getBoundingClientRect().left);
    at = steps.indexOf(nearest(steps.map((one) => [one]), step)[0]);
    point();
  });
  plot.addEventListener("pointerleave", () => { at = null; point(); });
  plot.addEventListener("blur", () => { at = null; point(); });
  plot.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    at = clamp((at ?? steps.length - 1) + by, 0, steps.length - 1);
    point();
  });
  new ResizeObserver(draw).observe(plot);
  return element("figure", {}, element("h3", { textContent: panel.title }), plot, legend);
}

function description({ title, unit, series }) {
  const parts = series.map(({ name, points }) =>
    `${name} from ${inUnit(points[0][1], unit)} to ${inUnit(points.at(-1)[1], unit)}`);
  return `${title}: ${parts.join("; ")}`;
}

function scalesOf(panel, steps, width, height) {
  const values = panel.series.flatMap((one) => one.points.map(([, value]) => value));
  const scaled = panel.log ? Math.log : (value) => value;
  let [low, high] = [Math.min(...range(values)), Math.max(...range(values))];
  if (!panel.log) low = Math.min(0, low);
  if (low === high) [low, high] = panel.log ? [low / 2, high * 2] : [low, high + 1];
  const [first, last] = [Math.min(0, steps[0]), steps.at(-1) || 1];
  const bottom = height - MARGIN.bottom;
  const wide = width - MARGIN.left - MARGIN.right;
  const share = (value) => (scaled(value) - scaled(low)) / (scaled(high) - scaled(low));
  return {
    low, high, first, last, bottom, right: width - MARGIN.right,
    x: (step) => MARGIN.left + wide * (step - first) / (last - first),
    y: (value) => bottom - (bottom - MARGIN.top) * share(value),
    stepAt: (x) => first + (last - first) * (x - MARGIN.left) / wide,
  };
}

/** Smallest and largest: spreading all values into a call has a limit. */
function range(values) {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [values[0], values[0]]);
}

function axes(panel, scales) {
  const ticks = (panel.log ? logTicks : linearTicks)(scales.low, scales.high);
  const digits = ticks.some((value) => Math.abs(100 * value - Math.round(100 * value)) > 1e-9) ? 1 : 0;
  const across = ticks.flatMap((value) => {
    const y = scales.y(value);
    return [
      svg("line", { class: "gridline", x1: MARGIN.left, x2: scales.right, y1: y, y2: y }),
      svg("text", { x: MARGIN.left - 8, y: y + 4, "text-anchor": "end" },
        panel.unit === "percent" ? percent(value, digits) : number(value)),
    ];
  });
  const along = linearTicks(scales.first, scales.last).map((step) =>
    svg("text", { x: scales.x(step), y: scales.bottom + 18, "text-anchor": step === scales.last ? "end" : "middle" }, number(step)));
  return [...across, ...along];
}

function linearTicks(low, high) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const count = Math.floor(high / step + 1e-9) - Math.ceil(low / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, n) => Number(((Math.ceil(low / step - 1e-9) + n) * step).toPrecision(12)));
}

function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const factor of high / low > 100 ? [1] : [1, 2, 5]) ticks.push(factor * 10 ** power);
  }
  const inside = ticks.filter((value) => value >= low && value <= high);
  return inside.length > 1 ? inside : linearTicks(low, high).filter((value) => value >= low);
}

function path(points, { x, y }) {
  if (points.length === 1) points = [points[0], points[0]];
  return "M" + points.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join("L");
}

function nearest(points, step) {
  return points.reduce((best, one) => (Math.abs(one[0] - step) < Math.abs(best[0] - step) ? one : best));
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// ---- the explorer -----------------------------------------------------------------------------

const FRAMES_PER_SECOND = 6;
const CANVAS = 448; // pixels of a view, about
const MODES = [
  { name: "Input", paint: (shown) => paintSheet(shown, shown.clips[0]) },
  { name: "Masked", paint: (shown) => { paintSheet(shown, shown.clips[0]); hide(shown, 0, "#808080"); } },
  { name: "Self-view", paint: (shown) => paintSheet(shown, shown.selfView.frames) },
  { name: "Cross-view", paint: (shown) => paintSheet(shown, shown.crossView.frames) },
  { name: "Self-view error", scale: errorScale, paint: (shown) => paintError(shown, shown.selfView.error) },
  { name: "Cross-view error", scale: errorScale, paint: (shown) => paintError(shown, shown.crossView.error) },
  { name: "Motion weights", scale: motionScale, paint: paintMotion },
];
const MEAN = "mean";

function startExplorer() {
  byId("reason").hidden = Boolean(explorer.samples);
  byId("reason").textContent = explorer.reason ?? "";
  byId("viewer").hidden = byId("guide").hidden = !explorer.samples;
  if (explorer.samples) new Explorer();
}

/** Base64 to a typed array; little-endian, as all browsers' machines are. */
function unpack(text, Type) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Type(bytes.buffer);
}

async function loadSheet(source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  return image;
}

/** A sample at one mask ratio: its pictures decoded, its arrays unpacked. */
async function load(sample, ratio) {
  const packed = sample.ratios[ratio];
  const decoder = async ({ frames, error, rms }) => {
    const [picture, difference] = await Promise.all([loadSheet(frames), loadSheet(error)]);
    return { frames: picture, error: difference, rms: unpack(rms, Float32Array) };
  };
  const [clips, selfView, crossView] = await Promise.all([
    Promise.all(sample.clips.map(loadSheet)), decoder(packed.selfView), decoder(packed.crossView)]);
  const visible = packed.visible.map((text) => unpack(text, Uint16Array));
  return {
    clips, selfView, crossView, visible,
    isVisible: visible.map((tokens) => new Set(tokens)),
    weights: unpack(packed.weights, Float32Array),
    attention: unpack(packed.attention, Uint8Array),
    largest: unpack(packed.largest, Float32Array),
  };
}

const [STEPS, ROWS, COLUMNS] = explorer.grid ?? [];
const TOKENS = STEPS * ROWS * COLUMNS;
const place = (token) => ({
  time: Math.floor(token / (ROWS * COLUMNS)),
  row: Math.floor(token / COLUMNS) % ROWS,
  column: token % COLUMNS,
});
const tokenAt = ({ time, row, column }) => (time * ROWS + row) * COLUMNS + column;
const timeOf = (frame) => Math.floor(frame / explorer.patch[0]);

/**
 * Where a tubelet of the target looks: for each source view a weight for every one of its tubelets,
 * NaN where it is masked. A byte of the map is weight / (largest weight of the query) * 255.
 */
function attentionOf(loaded, token, block, head) {
  const { blocks, heads } = explorer;
  const chosen = (one, count) => (one === MEAN ? [...Array(count).keys()] : [one]);
  const maps = chosen(block, blocks).flatMap((b) => chosen(head, heads).map((h) => b * heads + h));
  const keys = loaded.attention.length / (blocks * heads * TOKENS);
  const sources = loaded.visible.slice(1);
  const views = sources.map(() => new Float32Array(TOKENS).fill(NaN));
  sources.forEach((tokens, view) => tokens.forEach((seen, k) => {
    const at = view * tokens.length + k;
    views[view][seen] = maps.reduce((sum, map) => {
      const query = map * TOKENS + token;
      return sum + loaded.attention[query * keys + at] / 255 * loaded.largest[query];
    }, 0) / maps.length;
  }));
  return views;
}

// Painting: `shown` is what is loaded, with a context, the frame and the size of the canvas.

function paintSheet({ context, frame, side }, sheet) {
  const { size, columns } = explorer;
  const [x, y] = [frame % columns, Math.floor(frame / columns)].map((n) => n * size);
  context.imageSmoothingEnabled = false;
  context.drawImage(sheet, x, y, size, size, 0, 0, side, side);
}

const scratch = element("canvas");

function paintError({ context, frame, side }, sheet) {
  const { size } = explorer;
  scratch.width = scratch.height = size;
  const small = scratch.getContext("2d", { willReadFrequently: true });
  paintSheet({ context: small, frame, side: size }, sheet);
  const pixels = small.getImageData(0, 0, size, size);
  for (let i = 0; i < pixels.data.length; i += 4) {
    const colour = 3 * pixels.data[i];
    for (let c = 0; c < 3; c++) pixels.data[i + c] = palette[colour + c];
  }
  small.putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(scratch, 0, 0, side, side);
}

function paintMotion(shown) {
  paintSheet(shown, shown.clips[0]);
  paintHeat(shown, shown.weights, largestOf(shown.weights));
}

/** Tubelets of the frame's time step in the colour of their value, from 0 to `most`; NaN: veiled. */
function paintHeat(shown, values, most) {
  eachTubelet(shown, (token, x, y, width, height) => {
    const value = values[token];
    const share = most ? value / most : 0;
    shown.context.fillStyle = Number.isNaN(value) ? "rgb(24 26 30 / 0.82)" : colourOf(share, 0.15 + 0.6 * share);
    shown.context.fillRect(x, y, width, height);
  });
}

function hide(shown, view, colour) {
  shown.context.fillStyle = colour;
  eachTubelet(shown, (token, ...box) => {
    if (!shown.isVisible[view].has(token)) shown.context.fillRect(...box);
  });
}

function eachTubelet({ frame, side }, visit) {
  const [height, width] = [side / ROWS, side / COLUMNS];
  for (let row = 0; row < ROWS; row++) {
    for (let column = 0; column < COLUMNS; column++) {
      visit(tokenAt({ time: timeOf(frame), row, column }), column * width, row * height, width, height);
    }
  }
}

function outline({ context, frame, side }, token) {
  const { time, row, column } = place(token);
  const [height, width] = [side / ROWS, side / COLUMNS];
  for (const [colour, thick] of [["#000", 6], ["#fff", 3]]) {
    context.strokeStyle = colour;
    context.lineWidth = thick;
    context.setLineDash(time === timeOf(frame) ? [] : [7, 7]);
    context.strokeRect(column * width, row * height, width, height);
  }
}

const palette = explorer.palette ? unpack(explorer.palette, Uint8Array) : null;
const largestOf = (values) => values.reduce((most, value) => (value > most ? value : most), 0);

function colourOf(share, alpha = 1) {
  const at = 3 * Math.round(255 * share);
  return `rgb(${palette[at]} ${palette[at + 1]} ${palette[at + 2]} / ${alpha})`;
}

function colourBar(text) {
  const stops = [0, 0.25, 0.5, 0.75, 1].map((share) => colourOf(share)).join(",");
  return ["0", element("i", { style: { background: `linear-gradient(90deg, ${stops})` } }), text];
}

function errorScale() {
  return colourBar(`${Math.round(255 * explorer.errorRange)} grey levels of 255, or more`);
}

function motionScale({ weights }) {
  return colourBar(`${(largestOf(weights) / mean(weights)).toFixed(2)} × the mean weight`);
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** What is chosen, and the page's controls and canvases, which follow it. */
class Explorer {
  state = {
    sample: 0, ratio: explorer.trained, mode: 3, block: MEAN, head: MEAN, overlay: true,
    frame: 0, token: 0,
  };

  constructor() {
    this.side = explorer.size * Math.max(1, Math.round(CANVAS / explorer.size));
    this.makeControls();
    this.makeKeys();
    this.open();
    // For the browser's console: what is chosen, and the weights over the tubelets of each source.
    globalThis.explorer = { state: this.state, attention: () => this.views.map((view) => [...view]) };
  }

  // -- controls

  makeControls() {
    const { samples, ratios, trained } = explorer;
    byId("sample").append(...samples.map(({ action, id }, value) =>
      element("option", { value, textContent: `${action} · ${id}` })));
    this.on("sample", "change", (value) => this.change({ sample: Number(value), token: null }));
    byId("ratio").max = ratios.length - 1;
    byId("ratio-stops").append(...ratios.map((ratio, number) =>
      element("span", { textContent: percent(ratio, 0) + (number === trained ? " (trained)" : "") })));
    this.on("ratio", "input", (value) => this.change({ ratio: Number(value) }));
    byId("frame").max = explorer.frames - 1;
    this.on("frame", "input", (value) => this.change({ frame: Number(value) }));
    this.on("back", "click", () => this.step(-1));
    this.on("forward", "click", () => this.step(1));
    this.on("play", "click", () => this.playOrPause());
    this.on("peak", "click", () => this.goToPeak());
    byId("overlay").addEventListener("change", (event) => this.change({ overlay: event.target.checked }));
    const numbers = (count) => [MEAN, ...Array(count).keys()];
    const named = (one) => (one === MEAN ? "mean" : String(one + 1));
    segments("show", MODES.map((_, mode) => mode), (mode) => MODES[mode].name, (mode) => this.change({ mode }));
    segments("block", numbers(explorer.blocks), named, (block) => this.change({ block }));
    segments("head", numbers(explorer.heads), named, (head) => this.change({ head }));
    byId("blocks").hidden = explorer.blocks === 1;
    byId("heads").hidden = explorer.heads === 1;
    byId("statistics").textContent = explorer.targets === "pixels"
      ? "This model predicts pixels, which are shown as they are."
      : "This model predicts tubelets normalised to mean 0 and deviation 1. To show them as pixels, mean " +
        "and contrast of each are guessed from the visible tubelets around it, never taken from the hidden one.";
    this.makeCanvases();
    this.showPlaying();
  }

  makeCanvases() {
    const stage = byId("stage");
    const sources = explorer.samples[0].views.slice(1).map((_, number) => element("figure", {},
      element("figcaption", { id: `source-caption-${number}` }),
      element("canvas", { id: `source-${number}`, role: "img", ariaLabel: "Source view" }),
      element("div", { className: "scale", id: `source-scale-${number}` })));
    stage.append(...sources);
    this.canvases = [byId("target"), ...sources.map((figure) => figure.querySelector("canvas"))];
    for (const canvas of this.canvases) canvas.width = canvas.height = this.side;
    byId("target").addEventListener("click", (event) => {
      const box = event.target.getBoundingClientRect();
      const cell = (offset, length, count) => clamp(Math.floor(offset / length * count), 0, count - 1);
      this.select({
        row: cell(event.clientY - box.top, box.height, ROWS),
        column: cell(event.clientX - box.left, box.width, COLUMNS),
      });
    });
  }

  on(id, event, act) {
    byId(id).addEventListener(event, (happened) => act(happened.target.value));
  }

  // -- keys

  makeKeys() {
    const { ratios, samples, blocks, heads } = explorer;
    const cycle = (name, count) => {
      const next = this.state[name] === MEAN ? 0 : this.state[name] + 1;
      this.change({ [name]: next < count ? next : MEAN });
    };
    const bounded = (name, by, count) => this.change({ [name]: clamp(this.state[name] + by, 0, count - 1) });
    const help = [
      ["←/→", "previous, next frame"],
      ["Space", "play, pause"],
      ["Tab", "to the target view and all controls"],
      ["↑/↓/←/→", "in the target view: move the selected tubelet"],
      ["PageUp/PageDown", "in the target view: its time step"],
      [`1/…/${MODES.length}`, MODES.map(({ name }) => name.toLowerCase()).join(", ")],
      ["[/]", "smaller, larger mask ratio"],
      ["B/H", "next decoder block, next attention head"],
      ["A", "attention over the source on, off"],
      ["J", "jump to the frame that it looks at most"],
      ["P/N", "previous, next sample"],
    ];
    const keys = {
      " ": () => this.playOrPause(),
      ArrowLeft: () => this.step(-1),
      ArrowRight: () => this.step(1),
      "[": () => bounded("ratio", -1, ratios.length),
      "]": () => bounded("ratio", 1, ratios.length),
      b: () => cycle("block", blocks),
      h: () => cycle("head", heads),
      a: () => this.change({ overlay: !this.state.overlay }),
      j: () => this.goToPeak(),
      p: () => this.change({ sample: Math.max(0, this.state.sample - 1), token: null }),
      n: () => this.change({ sample: Math.min(samples.length - 1, this.state.sample + 1), token: null }),
    };
    MODES.forEach((_, mode) => { keys[mode + 1] = () => this.change({ mode }); });
    byId("key-list").append(...help.map(([names, text]) => element("div", {},
      element("dt", {}, ...names.split("/").flatMap((name) => [element("kbd", { textContent: name }), " "])),
      element("dd", { textContent: text }))));
    byId("target").addEventListener("keydown", (event) => handle(event, this.tubeletKeys()));
    document.addEventListener("keydown", (event) => {
      if (!ownsKey(event.target, event.key)) handle(event, keys);
    });
  }

  tubeletKeys() {
    const by = (change) => () => {
      const { row, column } = place(this.state.token);
      this.select({ row: clamp(row + (change.row ?? 0), 0, ROWS - 1), column: clamp(column + (change.column ?? 0), 0, COLUMNS - 1) });
    };
    const inTime = (steps) => () => {
      if (!this.loaded) return;
      const time = clamp(timeOf(this.state.frame) + steps, 0, STEPS - 1);
      const { row, column } = place(this.state.token);
      this.change({ frame: time * explorer.patch[0], token: tokenAt({ time, row, column }) });
    };
    return {
      ArrowUp: by({ row: -1 }), ArrowDown: by({ row: 1 }), ArrowLeft: by({ column: -1 }), ArrowRight: by({ column: 1 }),
      PageUp: inTime(-1), PageDown: inTime(1),
    };
  }

  // -- what is chosen

  change(changes) {
    const opens = ["sample", "ratio"].some((name) => name in changes && changes[name] !== this.state[name]);
    if (changes.token === null && !opens) return;
    Object.assign(this.state, changes);
    if (opens) this.open();
    else this.show();
  }

  select({ row, column }) {
    if (!this.loaded) return;
    this.change({ token: tokenAt({ time: timeOf(this.state.frame), row, column }) });
  }

  step(by) {
    this.change({ frame: (this.state.frame + by + explorer.frames) % explorer.frames });
  }

  playOrPause() {
    clearInterval(this.timer);
    this.timer = this.timer ? null : setInterval(() => this.step(1), 1000 / FRAMES_PER_SECOND);
    this.showPlaying();
  }

  goToPeak() {
    if (!this.loaded) return;
    this.change({ frame: place(this.peak().token).time * explorer.patch[0] });
  }

  /** Where the largest weight is, and what it is. */
  peak() {
    const weights = this.views.map(largestOf);
    const weight = Math.max(...weights);
    const view = weights.indexOf(weight);
    return { view, weight, token: this.views[view].indexOf(weight) };
  }

  showPlaying() {
    byId("play").textContent = this.timer ? "Pause" : "Play";
  }

  /** Loads the chosen sample and ratio; shows them unless another one was chosen meanwhile. */
  async open() {
    const { sample, ratio } = this.state;
    this.loaded = null; // until then nothing of the old one is shown under the new name
    const loaded = await load(explorer.samples[sample], ratio);
    if (sample !== this.state.sample || ratio !== this.state.ratio) return;
    this.loaded = loaded;
    if (this.state.token === null || !this.views) this.selectMoving();
    this.show();
  }

  /** The masked tubelet of the target that moves most, and a frame that has it. */
  selectMoving() {
    const { weights, isVisible } = this.loaded;
    const weight = (token) => (isVisible[0].has(token) ? -1 : weights[token]);
    const moving = weights.reduce((best, _, token) => (weight(token) > weight(best) ? token : best), 0);
    Object.assign(this.state, { token: moving, frame: place(moving).time * explorer.patch[0] });
  }

  // -- what is shown

  show() {
    if (!this.loaded) return;
    const { state, loaded } = this;
    this.views = attentionOf(loaded, state.token, state.block, state.head);
    this.showControls();
    this.showTarget();
    this.views.forEach((_, number) => this.showSource(number));
    byId("readout").replaceChildren(...this.readout());
  }

  showControls() {
    const { state } = this;
    const sample = explorer.samples[state.sample];
    byId("sample").value = state.sample;
    byId("ratio").value = state.ratio;
    byId("ratio-value").textContent = percent(explorer.ratios[state.ratio], 0);
    byId("frame").value = state.frame;
    byId("frame-value").textContent = `frame ${state.frame + 1} of ${explorer.frames} (stored ${sample.times[state.frame]})`;
    byId("overlay").checked = state.overlay;
    for (const [name, value] of [["show", state.mode], ["block", state.block], ["head", state.head]]) {
      document.querySelector(`input[name="${name}"][value="${value}"]`).checked = true;
    }
    sample.views.forEach((view, number) => {
      const caption = byId(number ? `source-caption-${number - 1}` : "target-caption");
      const shows = number ? (state.overlay ? "attention" : "input") : MODES[state.mode].name.toLowerCase();
      caption.replaceChildren(
        element("b", { textContent: number ? "Source view" : "Target view" }),
        element("span", { textContent: ` · ${view} · ${shows}` }));
    });
  }

  onCanvas(number) {
    return { ...this.loaded, context: this.canvases[number].getContext("2d"), frame: this.state.frame, side: this.side };
  }

  showTarget() {
    const shown = this.onCanvas(0);
    const { paint, scale } = MODES[this.state.mode];
    paint(shown);
    outline(shown, this.state.token);
    byId("target-scale").replaceChildren(...(scale ? scale(shown) : []));
  }

  showSource(number) {
    const shown = this.onCanvas(number + 1);
    const weights = this.views[number];
    const most = this.peak().weight;
    paintSheet(shown, shown.clips[number + 1]);
    if (this.state.overlay) paintHeat(shown, weights, most);
    const bar = this.state.overlay ? colourBar(percent(most)) : [];
    byId(`source-scale-${number}`).replaceChildren(...bar, this.overTime(weights));
  }

  /** Bars: how much of the attention goes to each time step. */
  overTime(weights) {
    const shares = new Array(STEPS).fill(0);
    weights.forEach((weight, token) => { shares[place(token).time] += weight || 0; });
    const most = Math.max(...shares);
    const bars = shares.map((share, time) => element("b", {
      className: time === timeOf(this.state.frame) ? "now" : "",
      title: `time step ${time + 1}: ${percent(share)}`,
      style: { height: `${26 * share / most}px` },
    }));
    const text = `Attention by time step: ${shares.map((share) => percent(share)).join(", ")}`;
    return element("span", { className: "times", role: "img", ariaLabel: text },
      element("span", { textContent: "by time step" }), ...bars);
  }

  readout() {
    const { loaded: { isVisible, weights, selfView, crossView }, state: { token } } = this;
    const { time, row, column } = place(token);
    const visible = isVisible[0].has(token);
    const levels = (rms) => (255 * rms[token]).toFixed(1);
    return [
      definition("Tubelet", `time ${time + 1}, row ${row + 1}, column ${column + 1}`, `of ${STEPS} × ${ROWS} × ${COLUMNS}`),
      visible
        ? definition("In the target", "visible", "given, not predicted; as a query of the cross-attention it looks at the source too")
        : definition("In the target", "masked", "predicted by both decoders"),
      definition("Motion weight", `${(weights[token] / mean(weights)).toFixed(2)} ×`, "the mean of the clip"),
      visible
        ? definition("Error", "none", "it is copied from the input")
        : definition("Error, self-view / cross-view", `${levels(selfView.rms)} / ${levels(crossView.rms)}`, "grey levels of 255, root mean square"),
      this.attentionReadout(),
    ];
  }

  attentionReadout() {
    const seen = this.views.flatMap((weights) => [...weights]).filter((weight) => !Number.isNaN(weight));
    const total = seen.reduce((sum, weight) => sum + weight, 0);
    const entropy = -seen.reduce((sum, weight) => sum + (weight ? weight / total * Math.log(weight / total) : 0), 0);
    const { view, token, weight } = this.peak();
    const { time, row, column } = place(token);
    const where = this.views.length > 1 ? `view ${explorer.samples[this.state.sample].views[view + 1]}, ` : "";
    return definition("Looks most at", `${percent(weight)} at ${where}time ${time + 1}, row ${row + 1}, column ${column + 1}`,
      `spread over ${Math.exp(entropy).toFixed(1)} of ${seen.length} visible tubelets; evenly: ${percent(1 / seen.length)} each`);
  }
}

/** A row of radio buttons. */
function segments(id, values, nameOf, choose) {
  byId(id).append(...values.map((value) => {
    const input = element("input", { type: "radio", name: id, value });
    input.addEventListener("change", () => choose(value));
    return element("label", {}, input, element("span", { textContent: nameOf(value) }));
  }));
}

/** Whether a control uses a key itself. */
function ownsKey(target, key) {
  if (target.matches("select")) return true;
  if (key.startsWith("Arrow")) return target.matches("input, .scroll");
  return key === " " && target.matches("button, input, summary, a");
}

function handle(event, keys) {
  const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  const types = event.getModifierState("AltGraph"); // as some keyboards need for [ and ]
  if (!act || event.metaKey || (!types && (event.ctrlKey || event.altKey))) return;
  event.preventDefault();
  event.stopPropagation();
  act();
}

startTheme();
showSummary();
showResults();
showCurves();
startExplorer();
