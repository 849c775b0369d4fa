"use strict";
(() => {
  const root = document.documentElement;
  const make = (name, properties, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };

  // -- theme
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const theme = make("button", { type: "button", className: "button" });
  const nameTheme = () => { theme.textContent = isDark() ? "Light theme" : "Dark theme"; };
  theme.onclick = () => { root.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); redraw(); };
  dark.addEventListener("change", () => { nameTheme(); redraw(); });
  nameTheme();
  document.querySelector(".tool").append(theme);

  // -- documents: one at a time
  const runs = [...document.querySelectorAll(".run")];
  const documents = document.getElementById("documents");
  let show = () => {};
  if (documents) {
    const choose = make("select", { id: "choose" });
    documents.querySelectorAll("a").forEach((link, at) => {
      choose.append(make("option", { value: String(at), textContent: link.closest("li").textContent.trim().replace(/\s+/g, " ") }));
    });
    choose.append(make("option", { value: "all", textContent: "all, one after the other" }));
    show = (value) => {
      choose.value = value;
      runs.forEach((run, at) => { run.hidden = value !== "all" && value !== String(at); });
    };
    choose.onchange = () => show(choose.value);
    documents.prepend(make("label", { className: "choose" }, "Document: ", choose));
    show("0");
    documents.addEventListener("click", (event) => {
      const link = event.target.closest("a");
      if (link) show(String(runs.findIndex((run) => "#" + run.id === link.hash)));
    });
  }
  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const at = target ? runs.findIndex((run) => run.contains(target)) : -1;
    if (at < 0) return;
    if (runs[at].hidden) { show(String(at)); target.scrollIntoView(); }
  };
  addEventListener("hashchange", reveal);
  reveal();

  // -- the table of all tests
  const STEP = 100;
  const SPANS = { ms: 0.001, s: 1, min: 60 };
  const number = (text) => { const found = parseFloat(text); return Number.isNaN(found) ? -Infinity : found; };
  const spent = (text) => { const [value, unit] = text.split(" "); return number(value) * (SPANS[unit] || 1); };
  const KEYS = [
    (cells) => cells[0].textContent, (cells) => number(cells[1].textContent), (cells) => cells[2].textContent,
    (cells) => number(cells[3].dataset.v), (cells) => number(cells[4].textContent), (cells) => spent(cells[5].textContent),
    (cells) => cells[6].textContent,
  ];
  const NUMERIC = new Set([1, 3, 4, 5]);

  document.querySelectorAll(".tests").forEach((home) => {
    const table = home.querySelector("table"), body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, text: row.textContent.toLowerCase(), level: row.cells[0].textContent, keys: [] }));
    let order = rows, found = rows, shown = STEP;
    const search = make("input", { type: "search", autocomplete: "off", spellcheck: false });
    const level = make("select", {}, make("option", { value: "", textContent: "all" }));
    for (const name of new Set(rows.map((one) => one.level))) level.append(make("option", { value: name, textContent: name }));
    const count = make("output", { className: "quiet" });
    const more = make("button", { type: "button", className: "button more" });
    const all = make("button", { type: "button", className: "button more", textContent: "Show all" });
    const draw = () => {
      body.replaceChildren(...found.slice(0, shown).map((one) => one.row));
      const visible = Math.min(shown, found.length);
      count.textContent = found.length === rows.length && visible === found.length ? home.dataset.total : `${visible} shown of ${found.length} found, ${rows.length} in all`;
      more.textContent = `Show ${Math.min(STEP, found.length - visible)} more`;
      more.hidden = all.hidden = visible === found.length;
    };
    let asked = null;
    const filter = () => {
      const text = search.value.toLowerCase(), words = text.split(/\s+/).filter(Boolean);
      // One more letter can only leave out more: what was left out before need not be looked at again.
      const narrower = asked && asked.order === order && asked.level === level.value && text.startsWith(asked.text);
      asked = { order, level: level.value, text };
      found = (narrower ? found : order).filter((one) => (!level.value || one.level === level.value) && words.every((word) => one.text.includes(word)));
      shown = STEP;
      draw();
    };
    const sort = (column, descending) => {
      const key = KEYS[column], sign = descending ? -1 : 1;
      const of = (one) => (column in one.keys ? one.keys[column] : (one.keys[column] = key(one.row.cells)));
      order = [...rows].sort((a, b) => { const x = of(a), y = of(b); return x < y ? -sign : x > y ? sign : 0; });
      filter();
    };
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button", textContent: head.textContent.trim() });
      button.onclick = () => {
        const was = head.getAttribute("aria-sort");
        const descending = was ? was === "ascending" : NUMERIC.has(column);
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        sort(column, descending);
      };
      head.replaceChildren(button);
    });
    search.oninput = filter;
    level.onchange = filter;
    more.onclick = () => { shown += STEP; draw(); };
    all.onclick = () => { shown = rows.length; draw(); };
    count.setAttribute("aria-live", "polite");
    home.prepend(make("div", { className: "tools" }, make("label", {}, "Search", search), make("label", {}, "Verdict", level), count));
    home.append(make("p", {}, more, " ", all));
    addEventListener("beforeprint", () => { shown = rows.length; draw(); });
    draw();
  });

  // -- charts: the same numbers as in the drawing, to be read point by point
  const plots = new Set();
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const HEIGHT = 250;

  const options = (numbers, chart, width) => {
    const grid = { stroke: () => colour("--line"), width: 1 };
    const axis = { stroke: () => colour("--mut"), grid, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const line = (name, dash, extra) => ({ label: name.slice(2), stroke: () => colour(name), width: 2, dash, points: { show: false }, ...extra });
    const hidden = { stroke: "transparent", points: { show: false } };
    const shade = (plot) => {
      const { ctx, bbox } = plot;
      ctx.save();
      ctx.font = `${Math.round(11 * devicePixelRatio)}px system-ui, sans-serif`;
      ctx.textAlign = "center";
      numbers.rungs.forEach(([name, first, last], at) => {
        const left = plot.valToPos(first, "x", true), right = plot.valToPos(last, "x", true);
        if (at % 2 === 0) { ctx.fillStyle = colour("--rung"); ctx.fillRect(left, bbox.top, right - left, bbox.height); }
        if (ctx.measureText(name).width < right - left) { ctx.fillStyle = colour("--mut"); ctx.fillText(name, (left + right) / 2, bbox.top - 5 * devicePixelRatio); }
      });
      ctx.restore();
    };
    return {
      width, height: HEIGHT, padding: [18, 10, 0, 0], legend: { show: false }, cursor: { y: false, drag: { x: false, y: false } },
      scales: { x: { time: false, range: (plot, low, high) => [chart.left, high || 1] }, y: { range: () => [chart.bottom, chart.top || 1] } },
      axes: [
        { ...axis, splits: () => chart.xticks.map((tick) => tick[0]), values: () => chart.xticks.map((tick) => tick[1]), size: 34, label: chart.axis, labelSize: 16, labelFont: "11px system-ui, sans-serif", labelGap: 0 },
        { ...axis, splits: () => chart.yticks.map((tick) => tick[0]), values: () => chart.yticks.map((tick) => tick[1]), size: 76 },
      ],
      series: [
        {}, { ...line("--read"), spanGaps: true, points: { show: chart.axis === "runs" || numbers.x.length < 120, size: chart.axis === "runs" ? 5 : 3, fill: () => colour("--read") } }, { ...hidden }, { ...hidden },
        line("--fit", [7, 4]), line("--allowed", [2, 3]), line("--before", [10, 3, 2, 3], { spanGaps: true }),
      ],
      bands: [{ series: [2, 3], fill: () => colour("--band") }],
      hooks: { drawClear: [shade] },
    };
  };

  const columns = (numbers, chart) => {
    const inside = (x) => chart.line && x >= chart.line[0] && x <= chart.line[1];
    const at = (x, slope) => chart.line[3] + slope * (x - chart.line[2]);
    const along = (of) => numbers.x.map((x) => (inside(x) ? of(x) : null));
    const both = (pick) => along((x) => pick(at(x, chart.line[5]), at(x, chart.line[6])));
    return [
      numbers.x, chart.y, both(Math.max), both(Math.min), along((x) => at(x, chart.line[4])),
      numbers.x.map((x) => (chart.allowed ? chart.allowed * x : chart.limit)), numbers.x.map((x) => between(chart.before, x)),
    ];
  };
  // The baseline was read at other runs: its height at x, on the line between its points.
  const between = (points, x) => {
    const after = points.findIndex((point) => point[0] >= x);
    if (after < 0) return null;
    const [x2, y2] = points[after], [x1, y1] = points[Math.max(0, after - 1)];
    return x2 === x1 ? y2 : y1 + ((y2 - y1) * (x - x1)) / (x2 - x1);
  };

  const draw = (figure) => {
    const article = figure.closest("article");
    const numbers = JSON.parse(article.querySelector(".plotted").textContent);
    const chart = numbers.charts[Number(figure.dataset.n)];
    const column = Number(figure.dataset.column) + 1;
    const rows = [...article.querySelectorAll(".readings tr")].filter((row) => row.cells.length > 1 && row.cells[0].tagName === "TD");
    const home = make("div", { className: "plot", tabIndex: 0 });
    home.setAttribute("role", "group");
    home.setAttribute("aria-label", figure.querySelector("svg title").textContent + ": arrow keys read the values");
    const says = make("output", {});
    figure.prepend(home);
    const plot = new uPlot(options(numbers, chart, Math.max(280, figure.clientWidth)), columns(numbers, chart), home);
    home.append(says);
    figure.classList.add("drawn");
    let place = -1;
    const read = (index) => {
      const row = rows[index];
      says.textContent = row && row.cells[column] && row.cells[column].textContent ? `${chart.axis === "runs" ? "run" : "at"} ${row.cells[0].textContent}: ${row.cells[column].textContent} ${chart.noun}` : "";
    };
    plot.over.addEventListener("mousemove", () => { if (plot.cursor.idx != null) { place = plot.cursor.idx; read(place); } });
    home.onkeydown = (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
      if (!step) return;
      event.preventDefault();
      place = Math.max(0, Math.min(numbers.x.length - 1, place + step));
      plot.setCursor({ left: plot.valToPos(numbers.x[place], "x"), top: 0 });
      read(place);
    };
    plots.add([plot, figure]);
  };
  const redraw = () => plots.forEach(([plot]) => plot.redraw(false, true));
  const figures = [...document.querySelectorAll("figure.chart")];
  const near = new IntersectionObserver((seen) => {
    for (const { isIntersecting, target } of seen) if (isIntersecting) { near.unobserve(target); draw(target); }
  }, { rootMargin: "300px" });
  figures.forEach((figure) => near.observe(figure));
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => plots.forEach(([plot, figure]) => plot.setSize({ width: Math.max(280, figure.clientWidth), height: HEIGHT })), 100);
  });
})();
