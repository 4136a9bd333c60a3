// Lanes on a canvas: cells where spans would be too small to see, exact spans where they are known.

const LANE = 34; // px from lane to lane
const BAR = 20; // px of them that show who holds the registers
const GUTTER = 64; // px for the names of the CPUs
const LEAST_CELL = 1.5; // px
const SPANS_A_PIXEL = 1.5; // more of them are drawn as cells

class Drawing {
  constructor(canvas, model, colors) {
    this.canvas = canvas;
    this.model = model;
    this.colors = colors; // by name of a state, and text, lane, error, performance, lost
  }

  resize(width, height) {
    const dense = window.devicePixelRatio || 1;
    this.width = width;
    this.height = height;
    this.canvas.width = Math.round(width * dense);
    this.canvas.height = Math.round(height * dense);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    this.pen = this.canvas.getContext("2d");
    this.pen.setTransform(dense, 0, 0, dense, 0, 0);
  }

  // `x`: d3 scale from time to px; `lanes`: numbers of those shown, the first at px -`top`;
  // `task`: number of the only task that is not faded, or -1; `proof`: events to number, or null.
  draw({ x, lanes, top, task, proof, chosen, cursor }) {
    const { pen, model, colors } = this;
    const [start, end] = x.domain();
    pen.clearRect(0, 0, this.width, this.height);
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    this.level = model.level(((end - start) / (this.width - GUTTER)) * LEAST_CELL);
    const first = Math.max(0, Math.floor(top / LANE));
    const last = Math.min(lanes.length, Math.ceil((top + this.height) / LANE));
    for (let row = first; row < last; row++) {
      const lane = lanes[row];
      const y = row * LANE - top + (LANE - BAR) - 2;
      pen.fillStyle = colors.lane;
      pen.fillRect(GUTTER, y, this.width - GUTTER, BAR);
      pen.save();
      pen.beginPath();
      pen.rect(GUTTER, y - 12, this.width - GUTTER, BAR + 14);
      pen.clip();
      this.lane(lane, y, x, task);
      this.holes(lane, y, x);
      this.marks(lane, y, x);
      if (proof) this.proof(proof, lane, y, x);
      pen.restore();
      pen.fillStyle = colors.text;
      pen.textAlign = "left";
      pen.fillText(`CPU ${model.cpus[lane]}`, row === chosen ? 12 : 4, y + BAR / 2, GUTTER - 14);
      if (row === chosen) pen.fillText("\u25b8", 2, y + BAR / 2);
    }
    if (cursor !== null && cursor >= start && cursor <= end) {
      pen.fillStyle = colors.text;
      pen.fillRect(x(cursor) - 0.5, 0, 1, this.height);
    }
  }

  lane(lane, y, x, task) {
    const [start, end] = x.domain();
    const [row, behind] = this.model.spanRows(lane, start, end);
    const few = behind - row < SPANS_A_PIXEL * (this.width - GUTTER);
    if (!few || !this.model.isExact(start, end)) this.cells(lane, y, x, task);
    if (few) this.exact(lane, row, behind, y, x, task);
  }

  cells(lane, y, x, task) {
    const { pen, model, colors } = this;
    const pieces = this.level.lanes[lane];
    const length = (model.end - model.start) / this.level.width;
    const [start, end] = x.domain();
    const first = Math.floor((start - model.start) / length);
    const last = Math.ceil((end - model.start) / length);
    let filled = 0; // of 255
    let before = -1;
    for (let i = d3.bisectLeft(pieces.cell, first); pieces.cell[i] < last; i++) {
      const cell = pieces.cell[i];
      if (cell !== before) filled = 0;
      before = cell;
      // Whole pixels: no seams between cells.
      const left = Math.round(x(model.start + cell * length));
      const right = Math.round(x(model.start + (cell + 1) * length));
      const low = Math.round((filled / 255) * BAR);
      filled += pieces.share[i];
      const high = Math.round((filled / 255) * BAR);
      if (pieces.state[i] === 0) continue;
      pen.globalAlpha = task < 0 || pieces.owner[i] === task ? 1 : 0.15;
      pen.fillStyle = colors[model.states[pieces.state[i]]];
      pen.fillRect(left, y + BAR - high, right - left, high - low);
    }
    pen.globalAlpha = 1;
  }

  exact(lane, row, behind, y, x, task) {
    const { pen, model, colors } = this;
    const spans = model.spans[lane];
    pen.textAlign = "left";
    for (; row < behind; row++) {
      const left = Math.max(x(spans.start[row]), GUTTER - 1);
      const right = Math.min(x(spans.start[row] + spans.length[row]), this.width + 1);
      const state = model.states[stateOf(model, spans, row)];
      pen.globalAlpha = 1;
      pen.fillStyle = colors.lane;
      pen.fillRect(left, y, right - left, BAR);
      if (state === "unknown") continue;
      const owner = spans.owner[row];
      pen.globalAlpha = task < 0 || owner === task ? 1 : 0.15;
      pen.fillStyle = colors[state];
      pen.fillRect(left, y, Math.max(right - left - (right - left > 4 ? 1 : 0), 0.5), BAR);
      if (right - left > 34 && state !== "nobody") {
        pen.fillStyle = "#000";
        const room = right - left - 6;
        const said = `${state[0].toUpperCase()} ${model.taskName(owner)}`;
        pen.fillText(this.fitting(said, room), left + 3, y + BAR / 2 + 1);
      }
    }
    pen.globalAlpha = 1;
  }

  fitting(words, room) {
    const letters = Math.floor(room / 6.2); // px of a letter, about
    return words.length <= letters ? words : `${words.slice(0, Math.max(letters - 1, 1))}\u2026`;
  }

  holes(lane, y, x) {
    const { pen, model, colors } = this;
    for (const [cpu, from, to] of model.holes) {
      if (cpu !== null && cpu !== model.cpus[lane]) continue;
      const left = Math.max(x(from), GUTTER);
      const right = Math.min(Math.max(x(to), left + 2), this.width);
      if (right < GUTTER || left > this.width) continue;
      pen.fillStyle = colors.lost;
      pen.fillRect(left, y + BAR, right - left, 2);
      pen.globalAlpha = 0.35;
      for (let at = left; at < right; at += 6) pen.fillRect(at, y, Math.min(2, right - at), BAR);
      pen.globalAlpha = 1;
    }
  }

  marks(lane, y, x) {
    const { pen, model, colors } = this;
    const drawn = { error: -9, performance: -9 };
    const [start, end] = x.domain();
    for (const [, from, to, kind] of model.laneMarks[lane]) {
      if (from > end) break;
      if (to < start) continue;
      const name = kind === 0 ? "error" : "performance";
      const at = Math.round(x((from + to) / 2));
      if (at - drawn[name] < 2) continue; // px: as good as the same place
      drawn[name] = at;
      pen.fillStyle = colors[name];
      pen.beginPath();
      pen.moveTo(at, y - 1);
      pen.lineTo(at - 4, y - (name === "error" ? 9 : 6));
      pen.lineTo(at + 4, y - (name === "error" ? 9 : 6));
      pen.fill();
    }
  }

  proof(proof, lane, y, x) {
    const { pen, model, colors } = this;
    pen.textAlign = "center";
    const labels = []; // events closer than a label share one
    for (const [number, ns, cpu] of proof.events) {
      if (cpu !== model.cpus[lane]) continue;
      const at = x(ns);
      pen.fillStyle = colors.text;
      pen.fillRect(at - 0.5, y - 4, 1, BAR + 6);
      const label = labels.find((other) => Math.abs(at - other.at) < 20);
      if (label) label.numbers.push(number);
      else labels.push({ at, numbers: [number] });
    }
    for (const { at, numbers } of labels) {
      const said = numbers.length > 3 ? `${numbers[0]},${numbers[1]}\u2026` : numbers.join(",");
      const half = Math.max(7.5, pen.measureText(said).width / 2 + 4);
      pen.fillStyle = colors.text;
      pen.beginPath();
      pen.roundRect(at - half, y - 11.5, 2 * half, 15, 7.5);
      pen.fill();
      pen.fillStyle = colors.page;
      pen.fillText(said, at, y - 3.5);
    }
  }
}
