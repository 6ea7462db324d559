// What pages do beyond reading: everything here is a help, no page needs it.

const root = document.documentElement;
const main = document.getElementById("main");

// Theme: as the system has it, then light, then dark; the choice is remembered.
const themes = ["", "light", "dark"];
for (const button of document.querySelectorAll("[data-theme-switch]")) {
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme ?? "") + 1) % themes.length];
    root.dataset.theme = next;
    try { localStorage.theme = next; } catch { /* a private window remembers nothing */ }
  });
}

// Copy buttons: <button data-copy="ID-OF-ELEMENT" data-done="Copied">Copy</button>
async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.innerText.trim());
  } catch { // no permission, or a page without TLS: select it, so that Ctrl-C does it
    getSelection().selectAllChildren(source);
    return;
  }
  const said = button.textContent;
  button.textContent = button.dataset.done;
  setTimeout(() => { button.textContent = said; }, 1500);
}

// From this browser to an entrance: the median of three round trips on an open connection.
async function test(button) {
  const told = button.parentElement.querySelector("output");
  button.disabled = true;
  told.textContent = "…";
  const took = [];
  try {
    for (let turn = 0; turn < 4; turn += 1) {
      const began = performance.now();
      const signal = AbortSignal.timeout(8000);
      const answer = await fetch(button.dataset.test, { cache: "no-store", credentials: "omit", signal });
      if (!answer.ok) throw new Error(String(answer.status));
      if (turn) took.push(performance.now() - began); // the first one opens the connection
    }
    took.sort((a, b) => a - b);
    told.textContent = told.dataset.took.replace("{ms}", Math.max(1, Math.round(took[1])));
  } catch {
    told.textContent = told.dataset.failed;
  }
  button.disabled = false;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.copy) copy(button);
  if (button?.dataset.test) test(button);
  if (button && "pause" in button.dataset) pause(button);
});

// Numbers under the pointer: days of a node, points of a curve.
let tip;
function show(text, event) {
  tip ??= document.body.appendChild(Object.assign(document.createElement("div"), { className: "tip" }));
  tip.textContent = text;
  tip.hidden = !text;
  const left = Math.min(event.pageX + 14, document.body.clientWidth - tip.offsetWidth - 8);
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${event.pageY + 18}px`;
}

function day(svg, share) {
  const [last, told] = svg.dataset.days.split("|");
  const days = told.split(";");
  const place = Math.min(days.length - 1, Math.floor(share * days.length));
  const date = new Date(`${last}T00:00:00Z`);
  date.setUTCDate(date.getUTCDate() - (days.length - 1 - place));
  const label = date.toISOString().slice(0, 10);
  const [percent, down, unknown] = days[place] ? days[place].split(",") : ["100", "0", "0"];
  const lines = [`${label}  ${percent ? `${percent} %` : "—"}`];
  const words = svg.closest("[data-down]").dataset;
  if (Number(down)) lines.push(words.down.replace("{minutes}", down));
  if (Number(unknown)) lines.push(words.unknown.replace("{minutes}", unknown));
  if (lines.length === 1) lines.push(words.well);
  return lines.join("\n");
}

function point(figure, share) {
  const points = figure.dataset.points.split(";");
  const place = Math.min(points.length - 1, Math.max(0, Math.floor(share * points.length)));
  const start = Number(figure.dataset.start) + place * Number(figure.dataset.step);
  const x = (place + 0.5) * 720 / points.length;
  figure.querySelector(".cursor").setAttribute("d", `M${x} 0V180`);
  const when = new Date(start * 1000).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
  if (!points[place]) return `${when}\n—`;
  const names = document.querySelectorAll(".legend span");
  const phases = points[place].split(",").map(Number);
  const lines = phases.map((ms, number) => `${names[number]?.textContent ?? ""} ${ms} ms`);
  return [`${when}  ${phases.reduce((a, b) => a + b)} ms`, ...lines].join("\n");
}

document.addEventListener("pointermove", (event) => {
  const over = event.target.closest?.(".days, .curve > svg");
  if (!over) {
    if (tip && !tip.hidden) tip.hidden = true;
    return;
  }
  const box = over.getBoundingClientRect();
  const share = (event.clientX - box.left) / box.width;
  const figure = over.closest(".curve");
  show(figure ? point(figure, share) : day(over, share), event);
});

// A table of contents shows where its reader is.
const marks = [...document.querySelectorAll(".contents a")];
function mark() {
  const read = marks.filter((link) => document.querySelector(link.hash)?.getBoundingClientRect().top < innerHeight / 3);
  for (const link of marks) link.removeAttribute("aria-current");
  const ended = scrollY > 0 && scrollY + innerHeight > root.scrollHeight - 4;
  (ended ? marks : read.concat(read.length ? [] : marks[0])).at(-1).setAttribute("aria-current", "true");
}
if (marks.length) {
  document.addEventListener("scroll", mark, { passive: true });
  mark();
}

// Many nodes: filter and sort.
const ranks = { down: 0, degraded: 1, unknown: 2, maintenance: 3, up: 4 };
const orders = {
  state: (node) => ranks[node.dataset.state],
  uptime: (node) => Number(node.dataset.uptime.replace("<", "") || 200),
  latency: (node) => Number(node.dataset.firstByte || 1e9),
};
let given;
function arrange() {
  const table = document.querySelector(".nodes");
  if (!table) return;
  const wanted = document.querySelector("[data-filter]")?.value.trim().toLowerCase() ?? "";
  const order = orders[document.querySelector("[data-sort]")?.value];
  given ??= [...table.tBodies];
  const rows = given.map((body) => document.getElementById(body.id) ?? body);
  const nodes = rows.filter((body) => body.classList.contains("node"));
  for (const node of nodes) node.hidden = !node.dataset.name.toLowerCase().includes(wanted);
  const none = document.querySelector("[data-none]");
  if (none) none.hidden = nodes.some((node) => !node.hidden);
  for (const body of rows) if (!body.id) body.hidden = Boolean(order || wanted);
  table.append(...(order ? nodes.toSorted((a, b) => order(a) - order(b)) : rows));
}
document.addEventListener("input", (event) => {
  if (event.target.matches("[data-filter], [data-sort]")) arrange();
});

// Staying up to date: events while the page is seen, asking again where they do not come.
const POLL = 30000;
let source, timer, paused = false;

function replace(id, html) {
  const old = document.getElementById(id);
  if (!old) return;
  const holder = document.createElement(old.localName === "tbody" ? "table" : "div");
  holder.innerHTML = html; // made by our own templates, which escape all that others have written
  const fresh = holder.querySelector(`#${CSS.escape(id)}`);
  if (!fresh) return;
  const was = old.querySelector("details");
  if (was?.open) fresh.querySelector("details")?.setAttribute("open", "");
  old.replaceWith(fresh);
}

function fold(element) {
  return element?.localName === "details" ? element : element?.querySelector("details");
}

function dress() {
  const banner = document.getElementById("banner");
  if (!banner) return;
  document.title = `${banner.dataset.title} · ${document.querySelector(".brand span").textContent}`;
  const icon = banner.dataset.icon;
  if (icon) document.querySelector('link[rel="icon"]').href = icon;
}

async function again() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const open = [...main.querySelectorAll("[id] details[open], details[id][open]")].map((fold) => fold.closest("[id]").id);
    const fields = [...main.querySelectorAll("input, select")].map((each) => [each.type, each.value, each.checked]);
    main.replaceChildren(...page.getElementById("main").childNodes);
    for (const id of open) fold(document.getElementById(id))?.setAttribute("open", "");
    main.querySelectorAll("input, select").forEach((each, number) => {
      const [type, value, checked] = fields[number] ?? [];
      if (type === each.type) Object.assign(each, { value, checked });
    });
    document.body.dataset.events = page.body.dataset.events ?? "";
    given = undefined;
    label();
    arrange();
    dress();
  } catch { /* the next turn tries again */ }
}

function poll() {
  clearInterval(timer);
  timer = setInterval(again, POLL);
}

function watch() {
  stop();
  if (paused || document.hidden) return;
  const address = document.body.dataset.events;
  if (!address || !window.EventSource) {
    if (address !== undefined || "poll" in document.body.dataset) poll();
    return;
  }
  source = new EventSource(address);
  source.addEventListener("open", () => { clearInterval(timer); root.dataset.liveState = "live"; });
  source.addEventListener("parts", (event) => {
    const told = JSON.parse(event.data);
    for (const [id, html] of Object.entries(told.parts)) replace(id, html);
    document.querySelector("[data-updated]").textContent = told.updated;
    arrange();
    dress();
  });
  source.addEventListener("reload", () => setTimeout(again, Math.random() * 2500));
  source.addEventListener("error", () => {
    delete root.dataset.liveState;
    poll();
  });
}

function stop() {
  source?.close();
  source = undefined;
  clearInterval(timer);
  delete root.dataset.liveState;
}

function label() {
  const button = document.querySelector("[data-pause]");
  if (!button) return;
  button.dataset.running ??= button.textContent;
  button.textContent = paused ? button.dataset.resume : button.dataset.running;
  root.toggleAttribute("data-paused", paused);
}

function pause() {
  paused = !paused;
  label();
  if (paused) {
    stop();
  } else {
    again();
    watch();
  }
}

if (document.body.dataset.events !== undefined || "poll" in document.body.dataset) {
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      stop();
    } else if (!paused) {
      again().then(watch);
    }
  });
  watch();
}
