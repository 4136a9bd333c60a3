// Reads what fputrace/reports/html_data.py packs: columns of numbers in planes of bytes, the lowest
// plane first, all of them deflated and in base64.

async function unpack(part) {
  const packed = Uint8Array.from(atob(part.data), (char) => char.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const raw = new Uint8Array(await new Response(stream).arrayBuffer());
  const columns = {};
  let at = 0;
  for (const [name, planes] of part.columns) {
    const values = planes > 4 ? new Float64Array(part.size) : new Uint32Array(part.size);
    for (let plane = 0; plane < planes; plane++) {
      const worth = 2 ** (8 * plane);
      for (let row = 0; row < part.size; row++) values[row] += raw[at + row] * worth;
      at += part.size;
    }
    columns[name] = values;
  }
  return columns;
}

// Exact spans: a list of columns for each CPU, with the start of every span.
async function unpackSpans(part, cpus) {
  const { cpu, step, length, pid, owner, image, certainty } = await unpack(part);
  const lanes = cpus.map(() => null);
  let from = 0;
  while (from < part.size) {
    let to = from;
    while (to < part.size && cpu[to] === cpu[from]) to++;
    const start = new Float64Array(to - from);
    let time = part.first[cpu[from]];
    for (let row = from; row < to; row++) {
      time += step[row];
      start[row - from] = time;
    }
    const cut = (column) => column.subarray(from, to);
    lanes[cpu[from]] = {
      start,
      length: cut(length),
      pid: cut(pid),
      owner: cut(owner),
      image: cut(image),
      certainty: cut(certainty),
    };
    from = to;
  }
  return lanes;
}

// One zoom: for each CPU its pieces, the number of their cell first.
async function unpackLevel(part) {
  const { step, state, owner, share } = await unpack(part);
  let from = 0;
  const lanes = part.counts.map((count) => {
    const cell = new Uint32Array(count);
    let at = 0;
    for (let row = 0; row < count; row++) {
      at += step[from + row];
      cell[row] = at;
    }
    const cut = (column) => column.subarray(from, from + count);
    const lane = { cell, state: cut(state), owner: cut(owner), share: cut(share) };
    from += count;
    return lane;
  });
  return { width: part.width, lanes };
}
