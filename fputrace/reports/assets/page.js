// The page: its timelines, the address behind the #, dark or light, and printing.

const PAPER = 680; // px between the margins of A4 and of Letter

async function main() {
  const timelines = new Map();
  let following = false;
  let timer = 0;

  const remember = (name) => {
    if (following) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      const said = timelines.get(name).address();
      const hash = new URLSearchParams([["trace", name], ...said]).toString();
      // Names with "," stay readable.
      history.replaceState(null, "", `#${hash.replaceAll("%2C", ",")}`);
    }, 200);
  };

  const follow = () => {
    const said = new URLSearchParams(location.hash.slice(1));
    const timeline = timelines.get(said.get("trace"));
    if (!timeline) return;
    clearTimeout(timer);
    following = true;
    timeline.follow(said);
    following = false;
    timeline.root.scrollIntoView({ block: "start", behavior: "instant" });
    timeline.canvas.focus({ preventScroll: true });
  };

  for (const root of document.querySelectorAll(".timeline")) {
    const name = root.dataset.trace;
    const data = JSON.parse(document.getElementById(`data-${name}`).textContent);
    const model = await Model.of(data);
    root.hidden = false;
    following = true;
    timelines.set(name, new Timeline(root, model, () => remember(name)));
    following = false;
  }

  const all = () => {
    for (const timeline of timelines.values()) timeline.colors();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  const theme = document.getElementById("theme");
  theme.hidden = false;
  theme.addEventListener("change", () => {
    document.documentElement.dataset.theme = theme.querySelector(":checked").value;
    all();
  });

  // On paper everything is open, and as light as paper.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open]):not(.tl-table)")];
    for (const one of closed) one.open = true;
    document.documentElement.dataset.print = "";
    for (const timeline of timelines.values()) {
      timeline.colors();
      timeline.resize(PAPER);
      timeline.drawNow();
    }
  });
  addEventListener("afterprint", () => {
    for (const one of closed) one.open = false;
    delete document.documentElement.dataset.print;
    for (const timeline of timelines.values()) timeline.resize();
    all();
  });

  addEventListener("hashchange", follow);
  follow();
  document.documentElement.dataset.ready = "";
}

main().catch((error) => {
  const box = document.getElementById("trouble");
  box.hidden = false;
  box.append(` ${error.message}`);
  throw error;
});
