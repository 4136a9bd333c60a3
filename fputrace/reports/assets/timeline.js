// One timeline: zoom, pan, jumps, filters, what is under the pointer, and the address that says it.

const CLOSEST = 50; // ns that fill the whole width at most
const ROWS = 200; // of the table of spans

const collate = new Intl.Collator("en", { numeric: true }).compare;

class Timeline {
  constructor(root, model, onChange) {
    this.root = root;
    this.model = model;
    this.onChange = onChange;
    this.lanes = d3.range(model.cpus.length);
    this.cpus = "";
    this.task = -1;
    this.proof = null;
    this.chosen = 0;
    this.cursor = null;
    this.part = (name) => root.querySelector(`.tl-${name}`);
    this.scroll = this.part("scroll");
    this.canvas = this.part("lanes");
    this.drawing = new Drawing(this.canvas, model, {});
    this.fillTasks();
    this.bind();
    this.colors();
    new ResizeObserver(() => this.resize()).observe(this.scroll);
    this.resize();
  }

  // ----- what is shown

  get window() {
    return this.x.domain();
  }

  show(start, end) {
    const { model } = this;
    const length = Math.min(Math.max(end - start, CLOSEST), model.end - model.start);
    const from = Math.min(Math.max((start + end - length) / 2, model.start), model.end - length);
    this.move(from, from + length);
  }

  move(start, end) {
    const scale = (this.model.end - this.model.start) / (end - start);
    const shift = GUTTER - scale * this.whole(start);
    const to = d3.zoomIdentity.translate(shift, 0).scale(scale);
    d3.select(this.canvas).call(this.zoom.transform, to);
  }

  pan(part) {
    const [start, end] = this.window;
    this.show(start + part * (end - start), end + part * (end - start));
  }

  centre(at) {
    const [start, end] = this.window;
    this.show(at - (end - start) / 2, at + (end - start) / 2);
  }

  magnify(times) {
    const [start, end] = this.window;
    const inView = this.cursor !== null && this.cursor >= start && this.cursor <= end;
    const at = inView ? this.cursor : (start + end) / 2;
    this.show(at - (at - start) / times, at + (end - at) / times);
  }

  setCpus(words) {
    const wanted = words.trim() === "" ? null : cpuSet(words);
    const input = this.part("cpus");
    const lanes = d3.range(this.model.cpus.length);
    const chosen = wanted ? lanes.filter((lane) => wanted.has(this.model.cpus[lane])) : lanes;
    input.setAttribute("aria-invalid", String(chosen.length === 0));
    if (input.value !== words) input.value = words;
    if (chosen.length === 0) {
      this.say(`There is no such CPU; there are ${d3.extent(this.model.cpus).join(" to ")}.`);
      return;
    }
    this.lanes = chosen;
    this.cpus = words.trim();
    this.chosen = 0;
    this.resize();
    this.onChange();
  }

  setTask(pid) {
    this.task = this.model.tasks.findIndex((task) => task[0] === pid && pid > 0);
    this.part("task").value = this.task < 0 ? "" : String(pid);
    this.redraw();
    this.onChange();
  }

  // Shows a proof; false where there is none of that name.
  setProof(id) {
    this.proof = this.model.proofs.find((proof) => proof.id === id) ?? null;
    this.backLink();
    if (!this.proof) return false;
    const { cpu, events, title } = this.proof;
    if (events.some((event) => !this.lanes.includes(this.model.cpus.indexOf(event[2]))))
      this.setCpus("");
    const [first, last] = d3.extent(events, (event) => event[1]);
    const room = Math.max((last - first) * 0.25, 500);
    this.cursor = null;
    this.choose(this.lanes.indexOf(this.model.cpus.indexOf(cpu)));
    this.show(first - room, last + room);
    this.say(
      `${title}: ${events.length} events of the proof on CPU ${cpu}, numbered as in its table.`,
    );
    return true;
  }

  // From the lanes to the table of the proof.
  backLink() {
    const back = this.part("back");
    back.hidden = !this.proof;
    if (this.proof) back.href = `#proof-${this.root.dataset.trace}-${this.proof.id}`;
  }

  // The next place after the middle of the view, or the last before it: of findings or of holes.
  jump(places, forward, what) {
    const [start, end] = this.window;
    const at = this.cursor ?? (start + end) / 2;
    const cpus = new Set(this.lanes.map((lane) => this.model.cpus[lane]));
    const near = (end - start) / 1e6;
    const wanted = places.filter((place) => {
      const middle = (place.from + place.to) / 2;
      const there = place.cpu === null || cpus.has(place.cpu);
      return there && (forward ? middle > at + near : middle < at - near);
    });
    const order = (place) => (forward ? 1 : -1) * (place.from + place.to);
    const found = d3.least(wanted, order);
    if (!found) {
      this.say(`No ${what} ${forward ? "after" : "before"} this.`);
      return;
    }
    const middle = (found.from + found.to) / 2;
    // As close as one sees something: exact spans where there are some.
    const length = Math.min(end - start, Math.max(3 * (found.to - found.from), 200_000));
    this.cursor = middle;
    if (found.cpu !== null) this.choose(this.lanes.indexOf(this.model.cpus.indexOf(found.cpu)));
    this.show(middle - length / 2, middle + length / 2);
    this.say(`${found.words}, about ${this.model.time(middle)}`);
  }

  findings(forward) {
    const places = this.model.marks.map(([cpu, from, to, kind, code]) => ({
      cpu,
      from,
      to,
      words: `${code} (${kind === 0 ? "error" : "performance"}) on CPU ${cpu}`,
    }));
    this.jump(places, forward, "finding");
  }

  losses(forward) {
    const places = this.model.holes.map(([cpu, from, to, words]) => ({ cpu, from, to, words }));
    this.jump(places, forward, "loss");
  }

  // Where single spans are kept, one by one.
  exactParts(forward) {
    const words = "Single spans are kept here";
    const places = this.model.exact.map(([from, to]) => ({ cpu: null, from, to, words }));
    this.jump(places, forward, "part with single spans");
  }

  // The next span of the chosen lane, or the one before.
  span(forward) {
    const lane = this.lanes[this.chosen];
    const spans = this.model.spans[lane];
    const at = this.cursor ?? d3.mean(this.window);
    if (!spans || !this.model.isExact(at, at)) {
      this.say("Single spans are not kept here; e leads to where they are.");
      return;
    }
    let row = d3.bisectRight(spans.start, at) - 1 + (forward ? 1 : -1);
    row = Math.min(Math.max(row, 0), spans.start.length - 1);
    this.cursor = spans.start[row] + spans.length[row] / 2;
    const [start, end] = this.window;
    if (this.cursor < start || this.cursor > end) this.centre(this.cursor);
    this.redraw();
    this.say(this.model.spanWords(lane, row));
  }

  choose(row) {
    this.chosen = Math.min(Math.max(row, 0), this.lanes.length - 1);
    const top = this.chosen * LANE;
    const { scrollTop, clientHeight } = this.scroll;
    if (top < scrollTop) this.scroll.scrollTop = top;
    if (top + LANE > scrollTop + clientHeight) this.scroll.scrollTop = top + LANE - clientHeight;
  }

  say(words) {
    this.part("said").textContent = words;
  }

  // ----- drawing

  colors() {
    const colors = {};
    for (const swatch of this.root.querySelectorAll("[data-color]"))
      colors[swatch.dataset.color] = getComputedStyle(swatch).backgroundColor;
    colors.text = getComputedStyle(this.root).color;
    colors.page = getComputedStyle(this.part("page")).backgroundColor;
    this.drawing.colors = colors;
    this.redraw();
  }

  // As wide as there is room, or as told.
  resize(told = this.scroll.clientWidth) {
    const [start, end] = this.x ? this.window : [this.model.start, this.model.end];
    const width = Math.max(told, 200);
    const tall = this.lanes.length * LANE;
    this.part("room").style.height = `${tall}px`;
    const most = Math.max(240, window.innerHeight * 0.6);
    this.scroll.style.height = `${Math.min(tall, most)}px`;
    this.drawing.resize(width, Math.min(tall, most));
    this.whole = d3.scaleLinear([this.model.start, this.model.end], [GUTTER, width]);
    const scales = [1, Math.max((this.model.end - this.model.start) / CLOSEST, 1)];
    const edges = [
      [GUTTER, 0],
      [width, 1],
    ];
    this.zoom.scaleExtent(scales).translateExtent(edges).extent(edges);
    d3.select(this.part("axis")).attr("width", width).attr("height", 22);
    const strip = d3.select(this.part("strip")).attr("width", width).attr("height", 26);
    this.brush.extent([
      [GUTTER, 1],
      [width, 25],
    ]);
    strip.select(".tl-brush").call(this.brush);
    this.drawStrip();
    this.resizing = true;
    this.move(start, end);
    this.resizing = false;
  }

  moveBrush() {
    const brush = d3.select(this.part("strip")).select(".tl-brush");
    brush.call(this.brush.move, this.window.map(this.whole));
  }

  // Where findings and holes are in the whole trace, below the brush.
  drawStrip() {
    const [from, to] = this.whole.range();
    const seen = new Map();
    for (const [, a, b, kind] of this.model.marks) {
      const at = Math.round(this.whole((a + b) / 2));
      seen.set(at, Math.min(kind, seen.get(at) ?? kind));
    }
    const places = [...seen].map(([at, kind]) => [
      at,
      at + 1,
      kind === 0 ? "error" : "performance",
    ]);
    for (const [, a, b] of this.model.holes) {
      const left = Math.max(this.whole(a), from);
      places.push([left, Math.max(Math.min(this.whole(b), to), left + 1), "lost"]);
    }
    if (!this.model.isExact(this.model.start, this.model.end)) {
      for (const [a, b] of this.model.exact)
        places.push([this.whole(a), Math.max(this.whole(b), this.whole(a) + 1), "exact"]);
    }
    const top = { lost: 19, exact: 23 };
    const height = { lost: 4, exact: 2 };
    d3.select(this.part("strip"))
      .select(".tl-density")
      .selectAll("rect")
      .data(places)
      .join("rect")
      .attr("class", ([, , what]) => `tl-${what}`)
      .attr("x", ([left]) => left)
      .attr("width", ([left, right]) => right - left)
      .attr("y", ([, , what]) => top[what] ?? 3)
      .attr("height", ([, , what]) => height[what] ?? 16);
  }

  redraw() {
    if (this.frame || !this.x) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.drawNow();
    });
  }

  drawNow() {
    const [start, end] = this.window;
    this.drawing.draw({
      x: this.x,
      lanes: this.lanes,
      top: this.scroll.scrollTop,
      task: this.task,
      proof: this.proof,
      chosen: this.chosen,
      cursor: this.cursor,
    });
    const count = Math.max(2, Math.floor((this.drawing.width - GUTTER) / 130));
    const ticks = this.x.ticks(count);
    const step = ticks.length > 1 ? ticks[1] - ticks[0] : end - start;
    const decimals = Math.min(Math.max(Math.ceil(9 - Math.log10(step) - 1e-9), 0), 9);
    const axis = d3
      .axisTop(this.x)
      .tickValues(ticks)
      .tickFormat((at) => this.model.time(at, decimals));
    d3.select(this.part("axis")).select("g").attr("transform", "translate(0,21)").call(axis);
    const unit = this.model.inNs ? " s" : " ticks";
    this.part("range").textContent =
      `${this.model.time(start)} to ${this.model.time(end)}${unit}, ${this.model.duration(end - start)}`;
    if (this.part("table").open) this.fillTable();
  }

  // ----- what is not drawn

  fillTasks() {
    const select = this.part("task");
    const groups = { "vCPU threads": [], "other tasks": [] };
    this.model.tasks.forEach(([pid, name, vcpu]) => {
      if (pid <= 0) return;
      const words = `${name}-${pid}${vcpu ? `, ${vcpu}` : ""}`;
      groups[vcpu ? "vCPU threads" : "other tasks"].push([pid, words]);
    });
    for (const [label, options] of Object.entries(groups)) {
      if (!options.length) continue;
      if (label === "vCPU threads") options.sort((a, b) => collate(a[1], b[1]));
      const group = document.createElement("optgroup");
      group.label = label;
      group.append(...options.map(([pid, words]) => new Option(words, String(pid))));
      select.append(group);
    }
  }

  fillTable() {
    const [start, end] = this.window;
    const rows = [];
    for (const lane of this.lanes) {
      const [first, behind] = this.model.spanRows(lane, start, end);
      const spans = this.model.spans[lane];
      for (let row = first; row < behind && rows.length < ROWS; row++) {
        const owner = this.model.tasks[spans.owner[row]];
        rows.push([
          this.model.cpus[lane],
          this.model.time(spans.start[row]),
          this.model.duration(spans.length[row]),
          STATES_SAID[this.model.states[stateOf(this.model, spans, row)]],
          owner[0] > 0 ? this.model.taskName(spans.owner[row]) : owner[1],
          ["not certain", "inferred", "known"][spans.certainty[row]],
        ]);
      }
    }
    const body = this.part("table").querySelector("tbody");
    d3.select(body)
      .selectAll("tr")
      .data(rows)
      .join("tr")
      .selectAll("td")
      .data((row) => row)
      .join("td")
      .text((cell) => cell);
    const exact = this.model.isExact(start, end)
      ? ""
      : " In parts of the view only cells are known; e leads to where single spans are kept.";
    const more = rows.length === ROWS ? ` The first ${ROWS}; zoom in for the others.` : "";
    this.part("count").textContent = `${rows.length} spans.${more}${exact}`;
  }

  // ----- input

  bind() {
    this.zoom = d3
      .zoom()
      // The wheel scrolls the page until the lanes have the focus.
      .filter(
        (event) =>
          event.type !== "wheel" || event.ctrlKey || document.activeElement === this.canvas,
      )
      .on("zoom", ({ transform }) => {
        this.x = transform.rescaleX(this.whole);
        if (!this.brushing) this.moveBrush();
        this.redraw();
        if (!this.resizing) this.onChange();
      });
    this.brush = d3.brushX().on("brush end", ({ type, selection, sourceEvent }) => {
      if (!sourceEvent) return; // moved by moveBrush
      this.brushing = type === "brush";
      if (selection) this.show(...selection.map(this.whole.invert));
      else this.centre(this.whole.invert(d3.pointer(sourceEvent, this.part("strip"))[0]));
    });
    d3.select(this.canvas).call(this.zoom).on("dblclick.zoom", null);
    const actions = {
      in: () => this.magnify(2),
      out: () => this.magnify(0.5),
      all: () => this.show(this.model.start, this.model.end),
      previous: () => this.findings(false),
      next: () => this.findings(true),
      loss: () => this.losses(true),
    };
    for (const [name, action] of Object.entries(actions))
      this.part(name).addEventListener("click", action);
    this.part("loss").hidden = this.model.holes.length === 0;
    this.part("cpus").addEventListener("change", (event) => this.setCpus(event.target.value));
    this.part("task").addEventListener("change", (event) =>
      this.setTask(Number(event.target.value)),
    );
    this.part("table").addEventListener("toggle", () => this.redraw());
    this.scroll.addEventListener("scroll", () => this.redraw());
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", () => {
      this.part("hover").hidden = true;
    });
    this.canvas.addEventListener("click", (event) => {
      const { lane, time } = this.under(event);
      this.cursor = time;
      this.choose(this.lanes.indexOf(lane));
      this.say(this.model.at(lane, time, this.drawing.level));
      this.redraw();
    });
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const keys = {
      ArrowLeft: () => this.pan(-0.2),
      ArrowRight: () => this.pan(0.2),
      PageUp: () => this.pan(-1),
      PageDown: () => this.pan(1),
      ArrowUp: () => this.lane(-1),
      ArrowDown: () => this.lane(1),
      "+": () => this.magnify(2),
      "=": () => this.magnify(2),
      "-": () => this.magnify(0.5),
      Home: () => this.show(this.model.start, this.model.end),
      n: () => this.findings(true),
      p: () => this.findings(false),
      l: () => this.losses(true),
      L: () => this.losses(false),
      ".": () => this.span(true),
      ",": () => this.span(false),
      Escape: () => this.clear(),
      e: () => this.exactParts(true),
      E: () => this.exactParts(false),
      "?": () => this.part("help").toggleAttribute("open"),
    };
    const action = keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  lane(step) {
    this.choose(this.chosen + step);
    const at = this.cursor ?? d3.mean(this.window);
    this.say(this.model.at(this.lanes[this.chosen], at, this.drawing.level));
    this.redraw();
  }

  clear() {
    this.proof = null;
    this.cursor = null;
    this.backLink();
    this.setTask(0);
    this.setCpus("");
    this.say("");
  }

  under(event) {
    const [px, py] = d3.pointer(event, this.canvas);
    const row = Math.floor((py + this.scroll.scrollTop) / LANE);
    return {
      lane: this.lanes[row] ?? this.lanes[0],
      time: this.x.invert(Math.max(px, GUTTER)),
      px,
      py,
    };
  }

  hover(event) {
    const box = this.part("hover");
    const { lane, time, px, py } = this.under(event);
    const near = this.near(lane, px);
    box.textContent = near || this.model.at(lane, time, this.drawing.level);
    box.hidden = event.pointerType === "touch";
    const right = px > this.drawing.width / 2;
    box.style.left = right ? "" : `${px + 14}px`;
    box.style.right = right ? `${this.drawing.width - px + 14}px` : "";
    box.style.top = `${py + 18}px`;
  }

  // The event of the proof or the hole under the pointer, in words.
  near(lane, px) {
    const cpu = this.model.cpus[lane];
    const event = this.proof?.events.find(
      (one) => one[2] === cpu && Math.abs(this.x(one[1]) - px) < 7,
    );
    if (event) return `${event[0]}. ${event[3]}, ${this.model.time(event[1])}`;
    const hole = this.model.holes.find(
      ([where, a, b]) =>
        (where === null || where === cpu) && this.x(a) - 2 <= px && px <= this.x(b) + 2,
    );
    return hole ? hole[3] : "";
  }

  // ----- the address

  address() {
    const [start, end] = this.window.map(Math.round);
    const said = [];
    if (start > this.model.start || end < this.model.end)
      said.push(["t", `${this.model.time(start)},${this.model.time(end)}`]);
    if (this.cpus) said.push(["cpu", this.cpus]);
    if (this.task >= 0) said.push(["task", String(this.model.tasks[this.task][0])]);
    if (this.proof) said.push(["proof", this.proof.id]);
    return said;
  }

  // Shows what an address says; what it does not say is shown whole.
  follow(said) {
    this.setCpus(said.get("cpu") ?? "");
    this.setTask(Number(said.get("task") ?? 0));
    this.proof = null;
    this.backLink();
    const [start, end] = (said.get("t") ?? "").split(",").map((words) => this.model.offset(words));
    const proved = said.has("proof") && this.setProof(said.get("proof"));
    if (end > start) this.show(start, end);
    else if (!proved) this.show(this.model.start, this.model.end);
  }
}

// "0-3,7" as a set of numbers; what is no number names no CPU.
function cpuSet(words) {
  const cpus = new Set();
  for (const part of words.split(",")) {
    const [, first, last] = /^\s*(\d{1,5})(?:\s*-\s*(\d{1,5}))?\s*$/.exec(part) ?? [];
    if (first === undefined) continue;
    for (let cpu = Number(first); cpu <= Number(last ?? first); cpu++) cpus.add(cpu);
  }
  return cpus;
}
