"use strict";
/* The photographs of a report: filtered, sorted, in pages; two pictures compared; samples chosen.
   Whatever text comes from outside goes into text nodes and attributes, never through an HTML parser. */

const report = JSON.parse(document.getElementById("data").textContent);
report.photos.forEach((photo, index) => { photo.index = index; });
const columns = new Map(report.columns.map((column) => [column.id, column]));
const measures = new Map(report.measures.map((measure) => [measure.id, measure]));

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/* Characters that could not be seen, or that would turn the text around, as escapes. */
function shown(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu,
    (c) => (c === "\u200d" ? c : `\\u${c.codePointAt(0).toString(16).padStart(4, "0")}`));
}

function valueOf(photo, column, measure) {
  return photo.values?.[column]?.[measure] ?? null;
}

function formatted(value, measure, sign = false) {
  if (value === null) return "–";
  const text = value.toFixed(measure.decimals).replace("-", "−");
  return `${sign && value > 0 ? "+" : ""}${text}${measure.unit ? `\u00a0${measure.unit}` : ""}`;
}

/* Read anew each time: what is not looked at stays text. */
function picturesOf(photo) {
  const block = document.getElementById(`pictures-${photo.index}`);
  return block ? JSON.parse(block.textContent) : {};
}

function option(value, label, selected = false) {
  return make("option", { value, selected }, label);
}

function select(label, options, value, onchange, spoken = label) {
  const list = make("select", { "aria-label": spoken, onchange: () => onchange(list.value) },
    ...options.map(([key, text]) => option(key, text, key === value)));
  return make("label", {}, label, list);
}

/* Choices among samples, kept by the browser until they are saved as a file. */
const choices = {
  picked: new Map(),
  changed() {},
  load() {
    try {
      const kept = JSON.parse(localStorage.getItem(`colorcli ${report.choice.id}`) ?? "{}");
      for (const photo of report.photos) {
        const sample = kept[photo.key];
        if (photo.samples?.includes(sample)) this.picked.set(photo.key, sample);
      }
    } catch { /* a browser that keeps nothing */ }
  },
  set(photo, sample) {
    if (sample === null) this.picked.delete(photo.key);
    else this.picked.set(photo.key, sample);
    try {
      localStorage.setItem(`colorcli ${report.choice.id}`, JSON.stringify(Object.fromEntries(this.picked)));
    } catch { /* nothing to be done */ }
    this.changed();
  },
  of(photo) {
    return this.picked.get(photo.key) ?? null;
  },
  file() {
    const picks = report.photos.filter((photo) => this.picked.has(photo.key)).map((photo) => {
      const sample = this.picked.get(photo.key);
      return { ...photo.identity, ...photo.made_by[photo.samples.indexOf(sample)], sample };
    });
    const lines = picks.map((pick) => `\n  ${JSON.stringify(pick)}`);
    return `${report.choice.header.replace(/\s*\}$/, "")},\n "picks": [${lines.join(",")}\n ]\n}\n`;
  },
};
if (report.choice) choices.load();
const choosable = (photo) => Boolean(report.choice && photo.samples?.length);
const sampleOf = (column) => columns.get(column)?.sample ?? null;

const gallery = (() => {
  const results = report.columns.filter((column) => column.role === "result");
  const inputs = report.columns.filter((column) => column.role !== "result");
  const state = {
    filter: "", sort: report.sort ?? "", of: (results[0] ?? report.columns[0])?.id, against: "", order: "first",
    page: 0, size: report.columns.length > 4 ? 12 : 24, hidden: new Set(), chosen: "all", current: null, advance: false,
  };
  const place = document.getElementById("gallery");
  const list = make("div", { class: "photos" });
  const found = make("p", { class: "small quiet", "aria-live": "polite" });
  const pagers = [make("nav", { class: "pager", "aria-label": "Pages" }), make("nav", { class: "pager", "aria-label": "Pages, again" })];
  let sorted = [];

  /* The one whose values stand below the pictures. */
  const measure = () => measures.get(state.sort) ?? measures.get(report.shown) ?? null;

  function key(photo) {
    const value = valueOf(photo, state.of, state.sort);
    if (value === null || !state.against) return value;
    const other = valueOf(photo, state.against, state.sort);
    return other === null ? null : value - other;
  }

  function compare(a, b) {
    const turn = state.order === "first" ? 1 : -1;
    if (!state.sort) return turn * (a.index - b.index);
    const [x, y] = [key(a), key(b)];
    if (x === null || y === null) return (x === null) - (y === null) || a.index - b.index;
    const rising = measure().better === "lower" ? 1 : -1;
    return turn * rising * (x - y) || a.index - b.index;
  }

  function orders() {
    if (!state.sort) return [["first", "First to last"], ["last", "Last to first"]];
    return measure().better === "none" ? [["first", "Highest first"], ["last", "Lowest first"]]
      : [["first", "Best first"], ["last", "Worst first"]];
  }

  function controls() {
    const bar = make("div", { class: "controls", role: "search", "aria-label": "Photographs" });
    const change = (name) => (value) => { state[name] = value; state.page = 0; renew(); };
    const search = make("input", { type: "search", placeholder: "name contains …", value: state.filter, id: "filter",
      oninput: () => { state.filter = search.value; state.page = 0; draw(); } });
    bar.append(make("label", {}, "Filter", search));
    bar.append(select("Sort by", [["", "Name"], ...report.measures.map((m) => [m.id, m.label])], state.sort, change("sort")));
    if (state.sort && report.columns.length > 1) {
      const having = report.columns.filter((c) => report.photos.some((p) => valueOf(p, c.id, state.sort) !== null));
      if (!having.some((c) => c.id === state.of) && having.length) state.of = having[0].id;
      if (having.length > 1) {
        bar.append(select("of", having.map((c) => [c.id, shown(c.label)]), state.of, change("of"), "Sort by the values of"));
        const others = having.filter((c) => c.id !== state.of).map((c) => [c.id, shown(c.label)]);
        if (!others.some(([id]) => id === state.against)) state.against = "";
        bar.append(select("minus", [["", "nothing"], ...others], state.against, change("against"), "Less the values of"));
      }
    }
    bar.append(select("Order", orders(), state.order, change("order")));
    if (report.choice) {
      bar.append(select("Show", [["all", "All"], ["open", "Not yet chosen"], ["done", "Chosen"]], state.chosen, change("chosen")));
    }
    bar.append(select("On a page", [6, 12, 24, 48, 96].map((n) => [String(n), String(n)]), String(state.size),
      (value) => { state.size = Number(value); state.page = 0; draw(); }));
    return bar;
  }

  function chips() {
    if (results.length < 2 || report.columns.length < 4) return null;
    const field = make("fieldset", { class: "chips" }, make("legend", {}, "Pictures"));
    for (const column of report.columns) {
      const box = make("input", { type: "checkbox", checked: !state.hidden.has(column.id), onchange: () => {
        if (box.checked) state.hidden.delete(column.id); else state.hidden.add(column.id);
        draw();
      } });
      field.append(make("label", {}, box, " ", shown(column.label)));
    }
    return field;
  }

  function visible() {
    return report.columns.filter((column) => !state.hidden.has(column.id));
  }

  function figure(photo, column, pictures) {
    const url = pictures[column.id];
    const figure = make("figure", { "data-column": column.id });
    const about = `${shown(photo.name)}, ${shown(column.label)}`;
    if (url) {
      const label = `Compare ${shown(column.label)}: ${shown(photo.name)}`;
      figure.append(make("button", { class: "picture", type: "button", "aria-label": label, onclick: () => viewer.open(photo, column.id) },
        make("img", { src: url, alt: about, loading: "lazy", decoding: "async" })));
    } else {
      figure.append(make("div", { class: "picture none", role: "img", "aria-label": `${about}: ${photo.missing ?? "no picture"}` }, photo.missing ?? "no picture"));
    }
    const caption = make("figcaption");
    if (choosable(photo) && photo.samples.includes(column.sample)) {
      const radio = make("input", { type: "radio", name: `pick-${photo.index}`, value: column.sample,
        checked: choices.of(photo) === column.sample, onchange: () => pick(photo, column.sample) });
      caption.append(make("label", {}, radio, shown(column.label)));
    } else {
      caption.append(make("span", {}, shown(column.label)));
    }
    const m = measure();
    if (m && valueOf(photo, column.id, m.id) !== null) {
      caption.append(make("span", { class: "quiet", title: m.label }, formatted(valueOf(photo, column.id, m.id), m)));
    }
    figure.append(caption);
    figure.classList.toggle("chosen", choosable(photo) && column.sample !== undefined && choices.of(photo) === column.sample);
    return figure;
  }

  function card(photo) {
    const pictures = picturesOf(photo);
    const row = make("div", { class: "row" });
    for (const column of visible()) {
      if (pictures[column.id] || column.role !== "result" || photo.values?.[column.id]) row.append(figure(photo, column, pictures));
    }
    const head = make("header", {}, make("h3", { title: shown(photo.name), dir: "auto" }, shown(photo.name)));
    const m = measure();
    const facts = [photo.size];
    if (state.sort && state.against) facts.push(`${m.label} ${formatted(key(photo), m, true)}`);
    head.append(make("span", { class: "small quiet" }, facts.filter(Boolean).join(" · ")));
    const article = make("article", { class: "photo", tabindex: "-1", "data-index": photo.index, "aria-label": shown(photo.name) }, head, row);
    if (photo.notes?.length) article.append(make("p", { class: "notes" }, photo.notes.map(shown).join("; ")));
    article.addEventListener("focusin", () => mark(photo));
    article.classList.toggle("current", state.current === photo);
    return article;
  }

  function mark(photo) {
    state.current = photo;
    for (const article of list.children) article.classList.toggle("current", Number(article.dataset.index) === photo.index);
  }

  function pick(photo, sample) {
    choices.set(photo, sample);
    for (const article of list.children) {
      if (Number(article.dataset.index) !== photo.index) continue;
      for (const figure of article.querySelectorAll("figure")) {
        const own = sampleOf(figure.dataset.column);
        figure.classList.toggle("chosen", own !== null && own === sample);
        const radio = figure.querySelector("input[type=radio]");
        if (radio) radio.checked = own === sample;
      }
    }
  }

  function pager(nav) {
    const pages = Math.max(1, Math.ceil(sorted.length / state.size));
    const go = (page) => { state.page = page; draw(); list.firstElementChild?.focus({ preventScroll: true }); place.scrollIntoView(); };
    const from = state.page * state.size;
    nav.replaceChildren(
      make("button", { class: "button", type: "button", disabled: state.page === 0, onclick: () => go(state.page - 1) }, "Previous"),
      make("span", {}, sorted.length ? `${from + 1}–${Math.min(sorted.length, from + state.size)} of ${sorted.length}` : "none"),
      make("button", { class: "button", type: "button", disabled: state.page >= pages - 1, onclick: () => go(state.page + 1) }, "Next"));
    nav.hidden = pages === 1;
  }

  function arrange() {
    const wanted = state.filter.toLocaleLowerCase();
    sorted = report.photos.filter((photo) => photo.name.toLocaleLowerCase().includes(wanted)
      && (state.chosen === "all" || !report.choice || (choices.of(photo) !== null) === (state.chosen === "done")));
    sorted.sort(compare);
  }

  function draw() {
    arrange();
    state.page = Math.min(state.page, Math.max(0, Math.ceil(sorted.length / state.size) - 1));
    const count = visible().length;
    place.style.setProperty("--card", count <= 2 ? "20rem" : count <= 3 ? "30rem" : count === 4 ? "38rem" : "100%");
    place.style.setProperty("--picture", count <= 2 ? "8rem" : count <= 4 ? "8.5rem" : "12rem");
    list.replaceChildren(...sorted.slice(state.page * state.size, (state.page + 1) * state.size).map(card));
    const all = report.photos.length;
    const m = measure();
    found.textContent = `${sorted.length === all ? all : `${sorted.length} of ${all}`} photographs`
      + (m ? `; below each picture: ${m.label}${m.unit ? `, ${m.unit}` : ""}` : "");
    pagers.forEach(pager);
  }

  const head = make("div");
  function renew() {
    const id = document.activeElement?.closest(".controls label")?.firstChild?.textContent;
    const bar = controls();
    head.replaceChildren(bar);
    if (id) [...bar.querySelectorAll("label")].find((label) => label.firstChild.textContent === id)?.querySelector("select, input")?.focus();
    draw();
  }

  /* Makes a photograph the current one and shows its page. */
  function show(photo, { focus = true } = {}) {
    const at = sorted.indexOf(photo);
    if (at < 0) return;
    const page = Math.floor(at / state.size);
    if (page !== state.page) { state.page = page; draw(); }
    mark(photo);
    if (focus) list.querySelector(`[data-index="${photo.index}"]`)?.focus();
  }

  function neighbour(photo, step) {
    const at = sorted.indexOf(photo);
    return sorted[at < 0 ? 0 : at + step] ?? null;
  }

  function step(by) {
    const next = state.current ? neighbour(state.current, by) : sorted[state.page * state.size];
    if (next) show(next);
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || viewer.isOpen()) return;
    const radio = event.target.matches("input[type=radio]");
    if (event.target.closest("input, select, textarea, summary, .wide") && !radio) return;
    if (radio && (event.key === "ArrowUp" || event.key === "ArrowDown")) return; // moves within the group, as everywhere
    const inside = event.target.closest(".photo") || (report.choice && event.target === document.body);
    if (!inside) return;
    const digit = /^[0-9]$/.test(event.key) ? Number(event.key) : null;
    if (event.key === "ArrowRight" || event.key === "ArrowDown") step(1);
    else if (event.key === "ArrowLeft" || event.key === "ArrowUp") step(-1);
    else if (event.key === "Enter" && event.target.matches(".photo")) viewer.open(state.current, null);
    else if (digit !== null && state.current && byDigit(state.current, digit)) { if (state.advance) step(1); }
    else if ((event.key === "Backspace" || event.key === "Delete") && state.current && choosable(state.current)) pick(state.current, null);
    else return;
    event.preventDefault();
  });

  /* A digit is a sample's number, which its file has as well. Whether there is such a sample. */
  function byDigit(photo, digit) {
    if (!choosable(photo) || !photo.samples.includes(digit)) return false;
    pick(photo, digit);
    return true;
  }

  place.append(head, ...[chips()].filter(Boolean), found, pagers[0], list, pagers[1]);
  renew();
  return { state, results, inputs, pick, show, neighbour, byDigit, draw, position: (photo) => [sorted.indexOf(photo) + 1, sorted.length] };
})();

const viewer = (() => {
  const dialog = make("dialog", { "aria-labelledby": "viewer-name" });
  const title = make("h2", { id: "viewer-name", dir: "auto" });
  const position = make("span", { class: "small quiet" });
  /* A word where there is room, a sign on a phone. */
  const button = (word, sign, onclick) => make("button", { class: "button", type: "button", "aria-label": word, title: word, onclick },
    make("span", { class: "word" }, word), make("span", { class: "sign", "aria-hidden": "true" }, sign));
  const previous = button("Previous", "‹", () => move(-1));
  const next = button("Next", "›", () => move(1));
  const close = button("Close", "✕", () => dialog.close());
  const images = { left: make("img", { class: "left", alt: "", draggable: "false" }), right: make("img", { alt: "", draggable: "false" }) };
  const tags = { left: make("span", { class: "tag left" }), right: make("span", { class: "tag right" }) };
  const slider = make("input", { type: "range", id: "divide", min: "0", max: "100", step: "1", value: "50", oninput: () => divide(Number(slider.value)) });
  const knob = make("span", { class: "knob", "aria-hidden": "true" }, "↔");
  const frame = make("div", { class: "frame" }, images.right, images.left, slider, knob);
  const stage = make("div", { class: "stage" }, frame, tags.left, tags.right);
  const under = make("div", { class: "under" });
  dialog.append(make("div", { class: "bar" }, title, position, previous, next, close), stage, under);
  document.body.append(dialog);
  const sides = { left: null, right: null };
  let photo = null;

  function divide(percent) {
    slider.value = String(percent);
    slider.setAttribute("aria-valuetext", `${Math.round(percent)} % ${tags.left.textContent}, the rest ${tags.right.textContent}`);
    frame.style.setProperty("--split", `${percent}%`);
  }

  function drag(event) {
    const box = frame.getBoundingClientRect();
    divide(Math.min(100, Math.max(0, ((event.clientX - box.left) / box.width) * 100)));
  }

  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    drag(event);
    slider.focus({ focusVisible: false });
    event.preventDefault();
  });
  stage.addEventListener("pointermove", (event) => { if (stage.hasPointerCapture(event.pointerId)) drag(event); });

  function table(available) {
    const rows = report.measures.filter((m) => available.some((column) => valueOf(photo, column.id, m.id) !== null));
    const having = available.filter((column) => rows.some((m) => valueOf(photo, column.id, m.id) !== null));
    if (!rows.length) return null;
    return make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Values of this photograph" }, make("table", { class: "small" },
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, ""), ...having.map((c) => make("th", { scope: "col" }, make("bdi", { title: shown(c.label) }, shown(c.label)))))),
      make("tbody", {}, ...rows.map((m) => make("tr", {}, make("th", { scope: "row" }, m.label),
        ...having.map((c) => make("td", {}, formatted(valueOf(photo, c.id, m.id), m))))))));
  }

  function links(available) {
    const parts = available.filter((column) => photo.links?.[column.id])
      .map((column) => make("a", { href: photo.links[column.id] }, shown(column.label)));
    if (!parts.length) return null;
    const line = make("p", { class: "small" }, "Open the files: ");
    parts.forEach((part, index) => line.append(index ? ", " : "", part));
    return line;
  }

  function render() {
    const pictures = picturesOf(photo);
    const available = report.columns.filter((column) => pictures[column.id]);
    const pickable = (id) => available.some((column) => column.id === id);
    if (!pickable(sides.left)) sides.left = available[0]?.id;
    if (!pickable(sides.right)) sides.right = (available.find((c) => c.role === "result") ?? available.at(-1))?.id;
    title.textContent = shown(photo.name);
    const [at, all] = gallery.position(photo);
    position.textContent = at ? `${at} of ${all}` : "";
    previous.disabled = !gallery.neighbour(photo, -1);
    next.disabled = !gallery.neighbour(photo, 1);
    for (const side of ["left", "right"]) {
      images[side].src = pictures[sides[side]] ?? "data:,";
      images[side].alt = `${shown(photo.name)}, ${shown(columns.get(sides[side])?.label ?? "")}`;
      tags[side].textContent = shown(columns.get(sides[side])?.label ?? "");
    }
    slider.setAttribute("aria-label", `Divide between ${tags.left.textContent} on the left and ${tags.right.textContent} on the right`);
    divide(Number(slider.value));
    images.right.decode().then(() => frame.style.setProperty("--ratio", String(images.right.naturalWidth / images.right.naturalHeight)), () => {});
    const choose = (side) => (id) => { sides[side] = id; render(); under.querySelector(`[data-side=${side}] select`)?.focus(); };
    const options = available.map((column) => [column.id, shown(column.label)]);
    const bar = make("div", { class: "controls" });
    for (const side of ["left", "right"]) {
      const label = select(side === "left" ? "Left" : "Right", options, sides[side], choose(side));
      label.dataset.side = side;
      bar.append(label);
    }
    const sample = sampleOf(sides.right);
    if (choosable(photo) && photo.samples.includes(sample)) {
      const taken = choices.of(photo) === sample;
      bar.append(make("button", { class: taken ? "button" : "button main", type: "button", id: "take", onclick: () => {
        gallery.pick(photo, taken ? null : sample); render(); under.querySelector("#take")?.focus();
      } }, taken ? "Chosen ✓" : `Choose ${shown(columns.get(sides.right).label)}`));
    }
    under.replaceChildren(bar, ...[table(available), links(available)].filter(Boolean));
    if (photo.notes?.length) under.append(make("p", { class: "notes" }, photo.notes.map(shown).join("; ")));
    under.append(make("p", { class: "notes keys" }, make("kbd", {}, "←"), " ", make("kbd", {}, "→"), " move the divide, ",
      make("kbd", {}, "↑"), " ", make("kbd", {}, "↓"), " go through the photographs, ", make("kbd", {}, report.choice ? "0" : "1"), " … ", make("kbd", {}, "9"),
      report.choice ? " show and choose the sample of that number" : " show that picture on the right"));
  }

  /* The column of the sample that has been chosen of the photograph, if its picture is here. */
  function chosenColumn() {
    const sample = choosable(photo) ? choices.of(photo) : null;
    const column = sample === null ? null : gallery.results.find((result) => result.sample === sample);
    return column && picturesOf(photo)[column.id] ? column.id : null;
  }

  function move(by) {
    const other = gallery.neighbour(photo, by);
    if (!other) return;
    photo = other;
    sides.right = chosenColumn() ?? sides.right;
    gallery.show(photo, { focus: false });
    render();
  }

  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select")) return;
    const digit = /^[0-9]$/.test(event.key) ? Number(event.key) : null;
    const result = digit === null ? null : gallery.results.find((column, index) => (report.choice ? column.sample : index + 1) === digit);
    if (event.key === "ArrowDown") move(1);
    else if (event.key === "ArrowUp") move(-1);
    else if ((event.key === "ArrowLeft" || event.key === "ArrowRight") && event.target !== slider) {
      divide(Math.min(100, Math.max(0, Number(slider.value) + (event.key === "ArrowRight" ? 1 : -1))));
    } else if (result) {
      if (picturesOf(photo)[result.id]) sides.right = result.id;
      if (report.choice) gallery.byDigit(photo, digit);
      render();
    } else if ((event.key === "Backspace" || event.key === "Delete") && choosable(photo)) {
      gallery.pick(photo, null);
      render();
    } else return;
    event.preventDefault();
  });
  dialog.addEventListener("close", () => gallery.show(photo));

  return {
    isOpen: () => dialog.open,
    open(wanted, column) {
      const pictures = picturesOf(wanted);
      if (!Object.keys(pictures).length) return;
      photo = wanted;
      const role = columns.get(column)?.role;
      const result = (id) => pictures[id] !== undefined;
      const truth = gallery.inputs.find((c) => c.role === "truth" && result(c.id));
      sides.left = gallery.inputs.find((c) => c.role === "input" && result(c.id))?.id ?? null;
      if (role === "result") sides.right = column;
      else if (role === "truth") { sides.left = column; sides.right = gallery.results.find((c) => result(c.id))?.id ?? null; }
      else sides.right = chosenColumn() ?? (gallery.results.find((c) => result(c.id)) ?? truth)?.id ?? null;
      render();
      dialog.showModal();
      slider.focus();
    },
  };
})();

/* The bar with what has been chosen. */
if (report.choice) {
  const count = make("p", { id: "chosen-count", "aria-live": "polite" });
  const advance = make("input", { type: "checkbox", onchange: () => { gallery.state.advance = advance.checked; } });
  const save = make("button", { class: "button main", type: "button", id: "save-picks", onclick: () => {
    const url = URL.createObjectURL(new Blob([choices.file()], { type: "application/json" }));
    make("a", { href: url, download: report.choice.filename }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  } }, `Save ${report.choice.filename}`);
  const clear = make("button", { class: "button", type: "button", onclick: () => {
    if (!confirm("Take all choices back?")) return;
    for (const photo of report.photos) if (choices.of(photo) !== null) gallery.pick(photo, null);
  } }, "Clear");
  const total = report.photos.filter(choosable).length;
  choices.changed = () => {
    count.textContent = `${choices.picked.size} of ${total} chosen`;
    save.disabled = clear.disabled = choices.picked.size === 0;
  };
  choices.changed();
  document.getElementById("gallery").append(make("div", { class: "choices", role: "region", "aria-label": "Choices" },
    count, make("label", { class: "small keys" }, advance, " go on to the next after a digit"), clear, save));
}

/* Tables that can be sorted by their columns. */
for (const table of document.querySelectorAll("table[data-sortable]")) {
  table.querySelectorAll("thead th").forEach((head, index) => {
    const button = make("button", { type: "button" }, ...head.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") === "descending" || (index === 0 && !head.hasAttribute("aria-sort"));
      for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const body = table.tBodies[0];
      const keyed = [...body.rows].map((row) => [row.cells[index].dataset.value ?? row.cells[index].textContent, row]);
      const number = (text) => (text === "" || Number.isNaN(Number(text)) ? null : Number(text));
      keyed.sort(([a], [b]) => {
        const [x, y] = [number(a), number(b)];
        if (x === null && y === null) return (rising ? 1 : -1) * a.localeCompare(b);
        if (x === null || y === null) return (x === null) - (y === null);
        return (rising ? 1 : -1) * (x - y);
      });
      body.append(...keyed.map(([, row]) => row));
    });
  });
}
