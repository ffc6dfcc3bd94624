
"use strict";
// Rows that are made at once; more come when they are scrolled to.
const STEP = 100;
// Bars of the timeline; the filter finds the others.
const MAX_BARS = 100;
// How long to wait after the server has refused to tell news.
const REFUSED_MS = 10_000;

const byId = id => document.getElementById(id);
const part = byId("part"), state = byId("state"), detail = byId("detail"), bars = byId("bars");
const matrix = document.querySelector(".matrix"), head = matrix.querySelector("thead");
const body = matrix.querySelector("tbody"), more = byId("more");

let report = JSON.parse(byId("answer").textContent);
// The rows that there are: key of the workload to its row, and of what that was made.
let rows = new Map();
let limit = STEP;
// The cell whose evidence is shown: key of the workload and control.
let open = null;
// What was last made of it, so that nothing is made anew for nothing: a selection in it stays.
let made = {};

const key = workload => JSON.stringify([workload.namespace, workload.kind, workload.name]);
const id = workload => [workload.namespace, workload.kind, workload.name].filter(Boolean).join("/");
const number = n => n.toLocaleString("en");
const times = n => n === 1 ? "once" : `${number(n)} times`;

function add(parent, tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  parent.append(element);
  return element;
}

// Whoever listens to the page is told only what is new.
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Whether `what` is not what was last made of this name.
function isNew(of, what) {
  const text = JSON.stringify(what);
  const isNew = made[of] !== text;
  made[of] = text;
  return isNew;
}

function fits(workload) {
  return id(workload).toLowerCase().includes(part.value.trim().toLowerCase())
    && (!state.value || workload.state === state.value);
}

// Of many elements one can be reached by Tab, and from there the others by arrow keys.
function reach(all, element) {
  for (const other of all.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
  if (element) element.tabIndex = 0;
}

function drawHead() {
  const title = `falco-psp: ${report.headline}`;
  if (document.title !== title) document.title = title;
  put(byId("headline"), report.headline);
  byId("headline").className = report.verdict;
  put(byId("basis"), `${report.basis}.`);
  if (!isNew("remarks", [report.weaknesses, report.notes])) return;
  const remarks = byId("remarks");
  remarks.replaceChildren();
  for (const weakness of report.weaknesses) {
    const item = add(remarks, "li", "");
    add(item, "strong", "Not all was seen:");
    item.append(` ${weakness}`);
  }
  for (const note of report.notes) add(remarks, "li", note);
}

function drawLists() {
  if (!isNew("lists", report.lists)) return;
  const section = byId("lists");
  section.replaceChildren();
  for (const [what, items] of report.lists) {
    const group = add(section, "details", "");
    add(group, "summary", `${what}: ${items.length}`);
    const list = add(group, "ul", "");
    for (const item of items) add(add(list, "li", ""), "code", item);
  }
}

function drawColumns() {
  if (!isNew("columns", report.controls)) return;
  rows = new Map();
  body.replaceChildren();
  head.replaceChildren();
  const row = add(head, "tr", "");
  for (const name of ["Workload", "State"]) add(row, "th", name).scope = "col";
  for (const control of report.controls) {
    const column = add(row, "th", "");
    column.scope = "col";
    column.className = "control";
    add(column, "span", control);
  }
}

function makeRow(workload) {
  const row = document.createElement("tr");
  row.dataset.key = key(workload);
  add(row, "th", id(workload)).scope = "row";
  add(row, "td", workload.state).className = workload.state;
  for (const cell of workload.cells) {
    const fine = cell.state === "fine";
    const made = add(row, "td", fine ? "·" : cell.state);
    made.className = `cell ${cell.state}`;
    made.tabIndex = -1;
    made.dataset.control = cell.control;
    if (fine) made.setAttribute("aria-label", "fine");
  }
  return row;
}

function cellAt(place) {
  const row = place && rows.get(place.key);
  return row && [...row.row.cells].find(cell => cell.dataset.control === place.control);
}

const placeOf = cell => ({ key: cell.parentElement.dataset.key, control: cell.dataset.control });

function drawRows() {
  const wanted = report.workloads.filter(fits);
  const focused = document.activeElement?.closest("td.cell");
  const stop = body.querySelector('[tabindex="0"]');
  const [focus, reached] = [focused, stop].map(cell => cell && placeOf(cell));
  const next = new Map();
  for (const workload of wanted.slice(0, limit)) {
    const of = key(workload), states = workload.cells.map(cell => cell.state).join();
    const known = rows.get(of);
    if (known?.states === states) next.set(of, known);
    else {
      const row = makeRow(workload);
      known?.row.replaceWith(row);
      next.set(of, { row, states });
    }
  }
  for (const [of, { row }] of rows) if (!next.has(of)) row.remove();
  // Only what is out of its place is moved: what is looked at stays where it is.
  let at = body.firstElementChild;
  for (const { row } of next.values()) {
    if (row === at) at = at.nextElementSibling;
    else body.insertBefore(row, at);
  }
  rows = next;
  reach(body, cellAt(reached) ?? body.querySelector("td.cell"));
  const lost = focus && cellAt(focus);
  if (lost && document.activeElement !== lost) lost.focus({ preventScroll: true });
  markOpen();
  put(byId("count"), `${wanted.length} of ${report.workloads.length} workloads`);
  const left = wanted.length - next.size;
  more.hidden = left <= 0;
  put(more.firstElementChild, `Show more of the ${number(left)} that are left`);
  // It tells only changes: what is still in sight would not be told again.
  nearEnd.unobserve(more);
  nearEnd.observe(more);
}

const nearEnd = new IntersectionObserver(entries => {
  if (entries.some(entry => entry.isIntersecting)) showMore();
}, { root: matrix, rootMargin: "600px" });

function showMore() {
  limit += STEP;
  drawRows();
}

function markOpen() {
  const cell = cellAt(open);
  for (const other of body.querySelectorAll("[aria-current]")) {
    if (other !== cell) other.removeAttribute("aria-current");
  }
  cell?.setAttribute("aria-current", "true");
}

function drawDetail() {
  if (!open) return;
  const workload = report.workloads.find(workload => key(workload) === open.key);
  const cell = workload?.cells.find(cell => cell.control === open.control);
  if (!isNew("detail", [open, cell])) return;
  detail.replaceChildren();
  if (!cell) {
    const name = JSON.parse(open.key).filter(Boolean).join("/");
    add(detail, "h2", `${name}, ${open.control}: no longer in the report`);
    return;
  }
  add(detail, "h2", `${id(workload)}, ${cell.control}: ${cell.state}`);
  const list = add(detail, "ul", "");
  if (cell.declared) {
    const item = add(list, "li", `declared: ${cell.declared.state}`);
    const texts = add(item, "ul", "");
    for (const text of cell.declared.messages) add(add(texts, "li", ""), "code", text);
  } else add(list, "li", "not declared, as far as was read");
  if (cell.observed) {
    const item = add(list, "li", `observed: ${cell.observed.state}`);
    const texts = add(item, "ul", "");
    for (const why of cell.observed.unknown) add(texts, "li", `unknown: ${why}`);
    for (const found of cell.observed.evidence) {
      const of = add(texts, "li", `${times(found.count)}, ${found.first} to ${found.last}: ${found.rule}`);
      const examples = add(of, "ul", "");
      for (const text of found.examples) add(add(examples, "li", ""), "code", text);
    }
  } else add(list, "li", "not watched");
  for (const proposal of cell.proposals ?? []) {
    const policy = proposal.of.policy;
    const of = policy === undefined ? "of the pod's spec" : `of policy ${policy}`;
    const item = add(list, "li", `a change ${of} would mend it: `);
    add(item, "code", proposal.change);
    if (proposal.because) item.append(` (${proposal.because})`);
  }
}

function show(place) {
  open = place;
  drawDetail();
  markOpen();
  detail.focus();
}

// What was seen of the broken cells: one bar each, in the order in which they began.
function seen() {
  const all = [];
  for (const workload of report.workloads.filter(fits)) {
    for (const cell of workload.cells) {
      if (cell.observed?.state !== "breaks") continue;
      const evidence = cell.observed.evidence;
      const ends = evidence.flatMap(found => [found.first, found.last]).sort();
      if (!ends.length) continue;
      all.push({
        place: { key: key(workload), control: cell.control },
        what: `${id(workload)}, ${cell.control}`,
        count: evidence.reduce((sum, found) => sum + found.count, 0),
        first: ends[0],
        last: ends[ends.length - 1],
      });
    }
  }
  // The times are of one form and zone, so they are ordered as texts.
  return all.sort((a, b) => a.first < b.first ? -1 : a.first > b.first ? 1 : 0);
}

function drawTimeline() {
  const all = seen();
  const section = byId("timeline");
  // While the filter hides all of them, the place stays.
  section.hidden = !all.length && !part.value && !state.value;
  const shown = all.slice(0, MAX_BARS);
  const { began, window_seconds } = report.seen;
  const ends = all.flatMap(bar => [Date.parse(bar.first), Date.parse(bar.last)]);
  if (began) ends.push(Date.parse(began), Date.parse(began) + (window_seconds ?? 0) * 1000);
  const [from, to] = ends.reduce(([from, to], end) => [Math.min(from, end), Math.max(to, end)],
    [Infinity, -Infinity]);
  if (!isNew("timeline", [shown, all.length, from, to])) return;
  const focused = document.activeElement?.closest("#bars button");
  const reached = bars.querySelector('[tabindex="0"]')?.dataset.place;
  bars.replaceChildren();
  const percent = time => to > from ? (time - from) / (to - from) * 100 : 0;
  for (const bar of shown) {
    const button = add(add(bars, "li", ""), "button", "");
    button.type = "button";
    button.tabIndex = -1;
    button.dataset.place = JSON.stringify(bar.place);
    button.title = `${bar.what}: ${times(bar.count)}, from ${bar.first} to ${bar.last}`;
    button.setAttribute("aria-label", button.title);
    add(button, "span", bar.what).className = "what";
    const track = add(button, "span", "");
    track.className = "track";
    const span = add(track, "span", "");
    span.className = "bar";
    const left = percent(Date.parse(bar.first));
    // What was seen at the very end is to be seen, too.
    span.style.left = `min(${left}%, 100% - 4px)`;
    span.style.width = `${percent(Date.parse(bar.last)) - left}%`;
    add(button, "span", `${number(bar.count)}×`).className = "often";
  }
  const same = [...bars.querySelectorAll("button")].find(button => button.dataset.place === reached);
  const stop = same ?? bars.querySelector("button");
  reach(bars, stop);
  if (focused) stop?.focus({ preventScroll: true });
  const left = all.length - shown.length;
  put(byId("timeline-note"), left
    ? `The first ${shown.length} of ${number(all.length)}; the filter shows the others.`
    : `What breaks of what was watched, from the first to the last time: ${number(all.length)}.`);
  const text = time => Number.isFinite(time) ? new Date(time).toISOString() : "";
  const [start, end] = byId("ends").children;
  put(start, text(from));
  put(end, text(to));
}

function draw() {
  drawHead();
  drawLists();
  drawColumns();
  drawRows();
  drawDetail();
  drawTimeline();
}

function filter() {
  limit = STEP;
  drawRows();
  drawTimeline();
}

// Where a key leads from a cell; `undefined` if it is no such key.
function neighbour(cell, event) {
  const row = cell.parentElement, at = cell.cellIndex, all = [...row.querySelectorAll("td.cell")];
  const whole = event.ctrlKey || event.metaKey;
  switch (event.key) {
    case "ArrowLeft": return cell.previousElementSibling;
    case "ArrowRight": return cell.nextElementSibling;
    case "ArrowUp": return row.previousElementSibling?.cells[at];
    case "ArrowDown": return row.nextElementSibling?.cells[at];
    case "Home": return whole ? body.firstElementChild.cells[at] : all[0];
    case "End": return whole ? body.lastElementChild.cells[at] : all[all.length - 1];
  }
}

body.addEventListener("click", event => {
  const cell = event.target.closest("td.cell");
  if (!cell) return;
  reach(body, cell);
  show(placeOf(cell));
});
body.addEventListener("keydown", event => {
  const cell = event.target.closest("td.cell");
  if (!cell) return;
  if (event.key === "Enter" || event.key === " ") cell.click();
  else {
    const to = neighbour(cell, event);
    if (to === undefined) return;
    if (to?.matches("td.cell")) {
      reach(body, to);
      to.focus();
    }
  }
  event.preventDefault();
});
bars.addEventListener("click", event => {
  const button = event.target.closest("button");
  if (!button) return;
  reach(bars, button);
  show(JSON.parse(button.dataset.place));
});
bars.addEventListener("keydown", event => {
  const item = event.target.closest("li");
  const to = { ArrowDown: item?.nextElementSibling, ArrowUp: item?.previousElementSibling,
    Home: bars.firstElementChild, End: bars.lastElementChild }[event.key];
  if (!to) return;
  event.preventDefault();
  reach(bars, to.firstElementChild);
  to.firstElementChild.focus();
});
// Back to where one came from.
detail.addEventListener("keydown", event => {
  if (event.key === "Escape") cellAt(open)?.focus();
});
part.addEventListener("input", filter);
state.addEventListener("change", filter);
document.querySelector("form").addEventListener("submit", event => event.preventDefault());
more.firstElementChild.addEventListener("click", showMore);
addEventListener("beforeprint", () => {
  limit = Infinity;
  drawRows();
});

// A page of a run that goes on is told what is new. A file has nobody to ask, and asks nobody.
function follow(url) {
  const link = byId("link"), [status, time] = link.children;
  let source = null, waiting = null;
  function tell(text, isLost) {
    link.hidden = false;
    link.classList.toggle("lost", isLost);
    put(status, text);
  }
  function connect() {
    clearTimeout(waiting);
    source = new EventSource(url);
    source.addEventListener("report", event => {
      report = JSON.parse(event.data);
      draw();
      tell("live", false);
      put(time, `last news at ${new Date().toLocaleTimeString()}`);
    });
    source.addEventListener("error", () => {
      // Else the browser tries again by itself.
      if (source.readyState === EventSource.CLOSED) {
        tell("not live: falco-psp has ended, or too many pages are open; it is tried again", true);
        waiting = setTimeout(connect, REFUSED_MS);
      } else tell("not live: the connection is lost; it is tried again", true);
    });
  }
  // What nobody looks at costs the node nothing.
  document.addEventListener("visibilitychange", () => {
    clearTimeout(waiting);
    source?.close();
    if (!document.hidden) connect();
  });
  if (!document.hidden) connect();
}

for (const element of [document.querySelector("form"), matrix, detail]) element.hidden = false;
draw();
if (document.body.dataset.events) follow(document.body.dataset.events);
