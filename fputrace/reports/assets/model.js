// What a timeline knows of a trace.  Times are offsets from `base`, a round time, in the unit of
// the trace's clock (ns, or ticks where the clock counts none).

class Model {
  static async of(data) {
    const model = new Model();
    Object.assign(model, data);
    model.spans = await unpackSpans(data.spans, data.cpus);
    model.levels = await Promise.all(data.levels.map(unpackLevel));
    model.base = BigInt(data.base);
    model.marks.sort((a, b) => a[1] - b[1]);
    const marks = d3.group(model.marks, (mark) => mark[0]);
    model.laneMarks = data.cpus.map((cpu) => marks.get(cpu) ?? []);
    return model;
  }

  // Whether all spans between two times are known one by one.
  isExact(start, end) {
    return this.exact.some(([a, b]) => a <= start && end <= b);
  }

  // Rows of exact spans of a lane that touch a window: [first, behind the last].
  spanRows(lane, start, end) {
    const spans = this.spans[lane];
    if (!spans) return [0, 0];
    let first = d3.bisectRight(spans.start, start);
    if (first > 0 && spans.start[first - 1] + spans.length[first - 1] > start) first--;
    return [first, d3.bisectLeft(spans.start, end)];
  }

  // The finest level whose cells are at least so long, else the coarsest.
  level(least) {
    const whole = this.end - this.start;
    return this.levels.find((level) => whole / level.width >= least) ?? this.levels.at(-1);
  }

  // Time as people read it: seconds with so many decimals, or ticks.
  time(offset, decimals = 9) {
    const at = this.base + BigInt(Math.round(offset));
    if (!this.inNs) return `${at}`;
    const sign = at < 0n ? "-" : "";
    const digits = `${at < 0n ? -at : at}`.padStart(10, "0");
    const fraction = decimals ? `.${digits.slice(-9).slice(0, decimals)}` : "";
    return `${sign}${digits.slice(0, -9)}${fraction}`;
  }

  // The offset of a time that `time` wrote; NaN of anything else.
  offset(words) {
    const found = /^(-?)(\d{1,18})(?:\.(\d{1,9}))?$/.exec(words);
    if (!found || (found[3] && !this.inNs)) return NaN;
    const whole = this.inNs ? found[2] + (found[3] ?? "").padEnd(9, "0") : found[2];
    return Number(BigInt(found[1] + whole) - this.base);
  }

  duration(length) {
    if (!this.inNs) return `${Math.round(length)} ticks`;
    if (length < 1e6) return `${(length / 1e3).toFixed(3)} \u00b5s`;
    return length < 1e9 ? `${(length / 1e6).toFixed(3)} ms` : `${(length / 1e9).toFixed(6)} s`;
  }

  taskName(index) {
    const [pid, name, vcpu] = this.tasks[index];
    if (pid <= 0) return name;
    return `${name}-${pid}${vcpu ? ` (${vcpu})` : ""}`;
  }

  // An exact span in words.
  spanWords(lane, row) {
    const spans = this.spans[lane];
    const state = STATES_SAID[this.states[stateOf(this, spans, row)]];
    const owner = this.tasks[spans.owner[row]][0] > 0 ? `, ${this.taskName(spans.owner[row])}` : "";
    const sure = [", not certain", ", inferred", ""][spans.certainty[row]];
    const from = this.time(spans.start[row]);
    return `CPU ${this.cpus[lane]}: ${state}${owner}${sure}; from ${from}, ${this.duration(spans.length[row])}`;
  }

  // What is at a time of a lane: an exact span, or the shares of a cell of the level drawn there.
  at(lane, time, level) {
    const [row, behind] = this.spanRows(lane, time, time + 1);
    if (row < behind && this.isExact(time, time)) return this.spanWords(lane, row);
    const pieces = level.lanes[lane];
    const length = (this.end - this.start) / level.width;
    const cell = Math.floor((time - this.start) / length);
    const said = [];
    for (let i = d3.bisectLeft(pieces.cell, cell); pieces.cell[i] === cell; i++) {
      const named = this.tasks[pieces.owner[i]];
      const who = named[0] > 0 ? ` of ${this.taskName(pieces.owner[i])}` : "";
      const state = STATES_SAID[this.states[pieces.state[i]]];
      said.push([pieces.share[i], `${Math.round(pieces.share[i] / 2.55)} % ${state}${who}`]);
    }
    said.sort((a, b) => b[0] - a[0]);
    const words = said.map((one) => one[1]).join("; ") || "not known";
    const from = this.time(this.start + cell * length);
    return `CPU ${this.cpus[lane]}: ${words}; ${this.duration(length)} from ${from}`;
  }
}

const STATES_SAID = {
  unknown: "not known",
  user: "user image",
  guest: "guest image",
  kernel: "kernel's own use",
  init: "initial state",
  nobody: "nobody's",
};

// Number of the state of a span: its image, or nobody's where nobody owns the registers.
function stateOf(model, spans, row) {
  const nobody = model.tasks[spans.owner[row]][0] === 0 && spans.image[row] === 0;
  return nobody ? model.states.length - 1 : spans.image[row];
}
