"use strict";
/* The plots of an evaluation, drawn as SVG from the same data as the photographs. */

(() => {
  const measured = report.measures.filter((m) => report.columns.some((c) => report.photos.some((p) => valueOf(p, c.id, m.id) !== null)));
  const place = document.getElementById("plots");
  if (!place || !measured.length) return;
  const results = report.columns.filter((column) => column.role === "result");
  const style = new Map(report.columns.map((column) => [column.id,
    column.role === "result" ? `s${results.indexOf(column) % 8}` : `s${column.role === "input" ? "gray" : "original"}`]));

  function svg(tag, attributes = {}, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children.filter((child) => child !== null));
    return element;
  }

  function drawing(width, height, label, ...children) {
    return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label }, ...children);
  }

  const label = (x, y, text, attributes = {}) => svg("text", { x, y, ...attributes }, text);

  /* A name in so many pixels, about; its end says as much as its beginning. */
  function cut(name, pixels) {
    const text = shown(name);
    const most = Math.max(8, Math.floor(pixels / 7.2));
    return text.length <= most ? text : `${text.slice(0, Math.ceil(most / 2))}…${text.slice(1 - Math.floor(most / 2))}`;
  }

  const scale = (low, high, from, to) => (value) => from + ((value - low) / (high - low || 1)) * (to - from);

  function ticks(low, high, wanted = 5) {
    const rough = (high - low || 1) / wanted;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
    const found = [];
    for (let i = Math.ceil(low / step); i * step <= high + step * 1e-9; i += 1) found.push(Number((i * step).toPrecision(12)));
    return found;
  }

  function range(values, margin = 0.04) {
    const low = values.reduce((a, b) => Math.min(a, b), Infinity);
    const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
    const room = (high - low || Math.abs(high) || 1) * margin;
    return [low - room, high + room];
  }

  const number = (value) => String(value).replace("-", "−");
  const named = (m) => (m.unit ? `${m.label}, ${m.unit}` : m.label);
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

  function quantile(rising, share) {
    const at = share * (rising.length - 1);
    const low = Math.floor(at);
    return rising[low] + (at - low) * ((rising[low + 1] ?? rising[low]) - rising[low]);
  }

  function valuesOf(column, m) {
    return report.photos.map((photo) => valueOf(photo, column, m.id)).filter((value) => value !== null);
  }

  /* Evenly spread ones where there are more than can be told apart. */
  function spread(items, most) {
    if (items.length <= most) return items;
    return Array.from({ length: most }, (_, i) => items[Math.floor((i * items.length) / most)]);
  }

  function panel(title, explanation) {
    const bar = make("div", { class: "controls" });
    const room = make("div");
    const note = make("p", { class: "small quiet" }, explanation);
    place.append(make("section", { class: "plot", "aria-label": title }, make("h3", {}, title), bar, room, note));
    return { bar, room, note, width: () => Math.max(260, room.clientWidth || 560) };
  }

  const redraws = [];

  const metrics = measured.map((m) => [m.id, m.label]);
  const having = (m) => report.columns.filter((column) => valuesOf(column.id, m).length);

  function distributions() {
    const { bar, room, width: breadth } = panel("Distribution over the photographs",
      "Shape: how many photographs lie there. Box: the middle half, with the median; dot: the mean.");
    let wanted = metrics[0][0];
    function draw() {
      const m = measures.get(wanted);
      const rows = having(m).map((column) => ({ column, values: valuesOf(column.id, m).sort((a, b) => a - b) }));
      const [low, high] = range(rows.flatMap((row) => [row.values[0], row.values.at(-1)]));
      const [width, left, rowHeight] = [breadth(), 4, Math.min(110, Math.max(62, 360 / rows.length))];
      const x = scale(low, high, left, width - 4);
      const height = rows.length * rowHeight + 40;
      const parts = ticks(low, high).flatMap((t) => [
        svg("path", { class: "axis", d: `M${x(t)} 4V${height - 34}` }), label(x(t), height - 20, number(t), { "text-anchor": "middle", class: "faint" })]);
      rows.forEach(({ column, values }, index) => {
        const base = (index + 1) * rowHeight;
        const bins = new Array(36).fill(0);
        for (const value of values) bins[Math.min(35, Math.floor(((value - low) / (high - low || 1)) * 36))] += 1;
        const top = Math.max(...bins);
        const smooth = bins.map((n, i) => ((bins[i - 1] ?? 0) + 2 * n + (bins[i + 1] ?? 0)) / 4);
        const outline = smooth.map((n, i) => `L${x(low + ((i + 0.5) / 36) * (high - low))} ${base - 12 - (n / top) * (rowHeight - 36)}`).join("");
        const [q1, q2, q3] = [0.25, 0.5, 0.75].map((share) => quantile(values, share));
        const kind = style.get(column.id);
        parts.push(
          svg("path", { class: kind, "fill-opacity": 0.3, "stroke-width": 1, d: `M${x(low)} ${base - 12}${outline}L${x(high)} ${base - 12}Z` }),
          svg("rect", { class: kind, x: x(q1), y: base - 10, width: Math.max(1, x(q3) - x(q1)), height: 7, "fill-opacity": 0.55, stroke: "none" }),
          svg("path", { d: `M${x(q2)} ${base - 12}v11`, class: "soriginal", "stroke-width": 2 }),
          svg("circle", { cx: x(mean(values)), cy: base - 6.5, r: 4, class: `${kind} mean` }),
          label(left, base - rowHeight + 17, cut(column.label, width - 110), { "font-weight": 600 }),
          label(width - 4, base - rowHeight + 17, `mean ${formatted(mean(values), m)}`, { "text-anchor": "end", class: "faint" }));
      });
      parts.push(label(width / 2, height - 4, named(m), { "text-anchor": "middle", class: "faint" }));
      const summary = rows.map(({ column, values }) => `${shown(column.label)} median ${formatted(quantile(values, 0.5), m)}`).join(", ");
      room.replaceChildren(drawing(width, height, `Distribution of ${m.label}: ${summary}`, ...parts));
    }
    bar.append(select("Metric", metrics, wanted, (id) => { wanted = id; draw(); }));
    redraws.push(draw);
  }

  function mark(shape, x, y, attributes) {
    const r = 7;
    const paths = [
      `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`, `M${x - 6} ${y - 6}h12v12h-12Z`, `M${x} ${y - 8}l7.5 13h-15Z`,
      `M${x} ${y - 8.5}l8.5 8.5l-8.5 8.5l-8.5 -8.5Z`, `M${x} ${y + 8}l7.5 -13h-15Z`, `M${x - 2.5} ${y - 8}h5v5.5h5.5v5h-5.5v5.5h-5v-5.5h-5.5v-5h5.5Z`];
    return svg("path", { d: paths[shape % paths.length], ...attributes });
  }

  function against() {
    const { bar, room, note, width: breadth } = panel("One metric against another", "");
    const first = metrics.find(([id]) => id === "psnr")?.[0] ?? metrics[0][0];
    const second = metrics.find(([id]) => /^colou?rfulness/.test(id))?.[0] ?? (metrics[1] ?? metrics[0])[0];
    const axes = { x: first, y: second };
    function draw() {
      const [mx, my] = [measures.get(axes.x), measures.get(axes.y)];
      const groups = report.columns.map((column) => {
        const points = report.photos.map((photo) => ({ photo, x: valueOf(photo, column.id, mx.id), y: valueOf(photo, column.id, my.id) }));
        const whole = points.filter((p) => p.x !== null && p.y !== null);
        const ys = points.map((p) => p.y).filter((y) => y !== null);
        const xs = points.map((p) => p.x).filter((x) => x !== null);
        return { column, points: whole, mx: xs.length ? mean(xs) : null, my: ys.length ? mean(ys) : null };
      });
      const [width, height, left, bottom] = [breadth(), 400, 44, 40];
      const drawn = groups.map((group) => ({ ...group, points: spread(group.points, 600) }));
      const [x0, x1] = range(drawn.flatMap((g) => [...g.points.map((p) => p.x), ...(g.mx === null ? [] : [g.mx])]), 0.06);
      const [y0, y1] = range(drawn.flatMap((g) => [...g.points.map((p) => p.y), ...(g.my === null ? [] : [g.my])]), 0.06);
      const [x, y] = [scale(x0, x1, left, width - 10), scale(y0, y1, height - bottom, 10)];
      const parts = [
        ...ticks(x0, x1).flatMap((t) => [svg("path", { class: "axis", d: `M${x(t)} 10V${height - bottom}` }),
          label(x(t), height - bottom + 16, number(t), { "text-anchor": "middle", class: "faint" })]),
        ...ticks(y0, y1).flatMap((t) => [svg("path", { class: "axis", d: `M${left} ${y(t)}H${width - 10}` }),
          label(left - 6, y(t) + 4, number(t), { "text-anchor": "end", class: "faint" })]),
        label((width + left) / 2, height - 4, named(mx), { "text-anchor": "middle", class: "faint" }),
        svg("text", { transform: `translate(12 ${(height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle", class: "faint" }, named(my)),
      ];
      for (const { column, points } of drawn) {
        for (const point of points) {
          const dot = svg("circle", { cx: x(point.x), cy: y(point.y), r: 2.6, class: `dot ${style.get(column.id)}`, stroke: "none" },
            svg("title", {}, `${shown(point.photo.name)}, ${shown(column.label)}`));
          dot.addEventListener("click", () => viewer.open(point.photo, column.id));
          parts.push(dot);
        }
      }
      const tops = [];
      const key = [];
      drawn.forEach(({ column, mx: meanX, my: meanY }, index) => {
        const kind = style.get(column.id);
        const name = cut(column.label, Math.min(220, width / 2));
        if (meanY !== null && meanX === null) {
          // of the original, PSNR is infinite: its place is a height, not a point
          parts.push(svg("path", { class: kind, d: `M${left} ${y(meanY)}H${width - 10}`, "stroke-dasharray": "6 4", "stroke-width": 1.5, fill: "none" }),
            label(left + 4, y(meanY) - 5, name, { "font-weight": 600 }));
          key.push(`${name}: ${my.label} ${formatted(meanY, my)}`);
        }
        if (meanX === null || meanY === null) return;
        const [px, py] = [x(meanX), y(meanY)];
        let at = py - 12;
        while (tops.some(([tx, ty]) => Math.abs(ty - at) < 14 && Math.abs(tx - px) < 150)) at -= 14;
        if (at < 14) { at = py + 22; while (tops.some(([tx, ty]) => Math.abs(ty - at) < 14 && Math.abs(tx - px) < 150)) at += 14; }
        tops.push([px, at]);
        const anchor = px > width - 110 ? "end" : px < left + 90 ? "start" : "middle";
        parts.push(mark(index, px, py, { class: `${kind} mean` }),
          label(px, at, name, { "text-anchor": anchor, "font-weight": 600, stroke: "var(--surface)", "stroke-width": 3, "paint-order": "stroke" }));
        key.push(`${name}: ${mx.label} ${formatted(meanX, mx)}, ${my.label} ${formatted(meanY, my)}`);
      });
      note.textContent = "Small: photographs (at most 600 of each); large: means.";
      room.replaceChildren(drawing(width, height, `Means. ${key.join("; ")}`, ...parts));
    }
    bar.append(select("Across", metrics, axes.x, (id) => { axes.x = id; draw(); }), select("Up", metrics, axes.y, (id) => { axes.y = id; draw(); }));
    redraws.push(draw);
  }

  function slopes() {
    if (report.columns.length < 2) return;
    const { bar, room, note, width: breadth } = panel("From one model to another, photograph by photograph", "");
    const pair = { metric: metrics[0][0] };
    function draw() {
      const m = measures.get(pair.metric);
      const able = having(m);
      if (!able.some((c) => c.id === pair.a)) pair.a = (able.find((c) => c.role === "input") ?? able[0]).id;
      if (!able.some((c) => c.id === pair.b)) pair.b = (able.find((c) => c.role === "result" && c.id !== pair.a) ?? able.at(-1)).id;
      const choice = (name, title) => select(title, able.map((c) => [c.id, shown(c.label)]), pair[name], (id) => { pair[name] = id; draw(); });
      const focused = [...bar.querySelectorAll("select")].indexOf(document.activeElement);
      bar.replaceChildren(select("Metric", metrics, pair.metric, (id) => { pair.metric = id; draw(); }), choice("a", "From"), choice("b", "To"));
      if (focused >= 0) bar.querySelectorAll("select")[focused].focus();
      const lines = report.photos.map((photo) => ({ photo, a: valueOf(photo, pair.a, m.id), b: valueOf(photo, pair.b, m.id) }))
        .filter((line) => line.a !== null && line.b !== null);
      const turn = m.better === "lower" ? -1 : 1;
      const ups = lines.filter((line) => turn * (line.b - line.a) > 0).length;
      const downs = lines.filter((line) => turn * (line.b - line.a) < 0).length;
      const [width, height] = [breadth(), 400];
      const [left, right] = [70, width - 66];
      if (!lines.length) { room.replaceChildren(); note.textContent = "No photograph has both values."; return; }
      const [low, high] = range(lines.flatMap((line) => [line.a, line.b]));
      const y = scale(low, high, height - 30, 14);
      const [ma, mb] = [mean(lines.map((line) => line.a)), mean(lines.map((line) => line.b))];
      // where the mean is written stands no tick's number
      const parts = ticks(low, high).flatMap((t) => [svg("path", { class: "axis", d: `M${left} ${y(t)}H${right}` }),
        Math.abs(y(t) - y(ma)) < 14 ? "" : label(left - 8, y(t) + 4, number(t), { "text-anchor": "end", class: "faint" })]);
      for (const line of spread(lines, 400)) {
        const change = turn * (line.b - line.a);
        const kind = m.better === "none" || change === 0 ? "level" : change > 0 ? "up" : "down";
        const title = svg("title", {}, `${shown(line.photo.name)}: ${formatted(line.a, m)} to ${formatted(line.b, m)}`);
        const hit = svg("path", { class: "hit", d: `M${left} ${y(line.a)}L${right} ${y(line.b)}` }, title);
        hit.addEventListener("click", () => viewer.open(line.photo, pair.b));
        parts.push(svg("path", { class: `line ${kind}`, d: `M${left} ${y(line.a)}L${right} ${y(line.b)}` }), hit);
      }
      const half = (width - 10) / 2;
      parts.push(svg("path", { class: "soriginal", d: `M${left} ${y(ma)}L${right} ${y(mb)}`, "stroke-width": 3, fill: "none" }),
        label(left - 8, y(ma) + 4, formatted(ma, m), { "font-weight": 600, "text-anchor": "end", stroke: "var(--surface)", "stroke-width": 4, "paint-order": "stroke" }),
        label(right + 8, y(mb) + 4, formatted(mb, m), { "font-weight": 600 }),
        label(0, height - 8, cut(columns.get(pair.a).label, half)),
        label(width, height - 8, cut(columns.get(pair.b).label, half), { "text-anchor": "end" }));
      const verdict = m.better === "none" ? `higher on ${ups}, lower on ${downs}` : `better on ${ups}, worse on ${downs}`;
      const few = lines.length > 400 ? `; 400 of ${lines.length} are drawn` : "";
      note.textContent = `${shown(columns.get(pair.b).label)} is ${verdict} of ${lines.length} photographs; the thick line joins the means${few}.`;
      const picture = drawing(width, height, `${m.label}: ${note.textContent}`, ...parts);
      picture.classList.toggle("many", lines.length > 100);
      room.replaceChildren(picture);
    }
    redraws.push(draw);
  }

  distributions();
  against();
  slopes();
  let breadth = 0;
  new ResizeObserver(() => {
    if (place.clientWidth === breadth) return;
    breadth = place.clientWidth;
    redraws.forEach((draw) => draw());
  }).observe(place);
})();
