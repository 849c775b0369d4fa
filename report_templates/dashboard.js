"use strict";
(() => {
  const root = document.documentElement;
  const at = (id) => document.getElementById(id);
  const make = (name, properties, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  // What did not change is not written: a selection, the focus and whoever reads aloud stay where they are.
  const say = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  const dress = (element, name) => { if (element.className !== name) element.className = name; };

  // -- numbers, as core/units.py writes them
  const BINARY = ["B", "KiB", "MiB", "GiB", "TiB"];
  const one = (value) => {
    if (!Number.isInteger(value * 4) || (value * 4) % 2 === 0) return value.toFixed(1);
    const below = Math.floor(value * 10);
    return ((below % 2 === 0 ? below : below + 1) / 10).toFixed(1);
  };
  const digits = (value, most) => {
    const rounded = Number(value.toPrecision(most)), size = Math.abs(rounded);
    const plain = size === 0 || (size >= 1e-4 && size < 10 ** most);
    return plain ? String(rounded) : rounded.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
  };
  const count = (value) => {
    if (Number.isInteger(value)) return String(value);
    return Math.abs(value) < 1 ? digits(value, 2) : one(value);
  };
  const bytes = (value) => {
    let size = Math.abs(value), step = 0;
    while (Number(one(size)) >= 1024 && step < BINARY.length - 1) { size /= 1024; step += 1; }
    return `${value < 0 ? "-" : ""}${step ? one(size) : count(size)} ${BINARY[step]}`;
  };
  const duration = (seconds) => {
    if (seconds === 0) return "0 s";
    if (Math.abs(seconds) < 0.9995) return `${digits(seconds * 1000, 3)} ms`;
    return Math.abs(seconds) < 120 ? `${one(seconds)} s` : `${one(seconds / 60)} min`;
  };
  const signed = (value, write) => (value > 0 ? "+" : "") + write(value);
  const percent = (share) => `${one(100 * share)} %`;
  const whole = (text) => text.replace(".0 ", " ");

  // -- theme
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const theme = make("button", { type: "button", className: "button" });
  const nameTheme = () => { theme.textContent = isDark() ? "Light theme" : "Dark theme"; };
  theme.onclick = () => { root.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); redraw(); };
  dark.addEventListener("change", () => { nameTheme(); redraw(); });
  nameTheme();
  document.querySelector(".tool").append(theme);

  // -- what was done
  const MOST_LINES = 12;
  const tell = (text, wrong = false) => {
    const log = at("log"), now = new Date();
    if (!log.querySelector("time")) log.replaceChildren();
    const time = make("time", { textContent: now.toTimeString().slice(0, 8), dateTime: now.toISOString() });
    log.prepend(make("li", { className: wrong ? "wrong" : "" }, time, text));
    while (log.children.length > MOST_LINES) log.lastChild.remove();
    dress(at("said"), wrong ? "said wrong" : "said");
    say(at("said"), text);
  };
  const ask = async (method, path, body) => {
    const sent = body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
    const response = await fetch(path, { method, ...sent });
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error(answer.error || `${response.status} ${response.statusText}`);
    return answer;
  };
  // One press, one request: a button that is pressed again meanwhile does nothing.
  const act = (button, name, work) => {
    button.addEventListener("click", async () => {
      if (button.ariaBusy === "true") return;
      button.ariaBusy = "true";
      try { tell(await work()); } catch (error) { tell(`${name} did not work: ${error.message}`, true); }
      button.ariaBusy = "false";
    });
  };
  const things = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

  act(at("cleanup"), "Clean up", async () => {
    const { released, bytes: allocated, collected } = await ask("POST", "/api/cleanup");
    const also = allocated ? `, ${bytes(allocated)} of allocations` : "";
    return `Cleaned up: ${things(released, "leaked thing")} let go${also}, ${things(collected, "object")} collected. The verdict begins anew.`;
  });
  act(at("collect"), "Collect", async () => {
    const { freedBytes, durationSeconds, error } = await ask("POST", "/api/memory/gc");
    if (error) throw new Error(error);
    return `Collected: ${bytes(freedBytes)} freed in ${duration(durationSeconds)}.`;
  });
  act(at("allocate"), "Allocate", async () => {
    const { bytes: size, hold, held } = await ask("POST", "/api/allocate", { bytes: 2 ** 25, hold: 10 });
    return `Allocated ${bytes(size)} for ${duration(hold)}; ${bytes(held)} are held. This is load, and no leak.`;
  });
  act(at("snapshot"), "Snapshot", async () => {
    say(at("said"), "Taking a heap snapshot.");
    const { name, bytes: size } = await ask("POST", "/api/snapshot", {});
    return `Snapshot ${name} written, ${bytes(size)}. Compare two of them with: memguard diff`;
  });

  // -- load: this page itself visits the shop
  const WORKERS = 4, ITEMS = 10; // the browser keeps six connections, and the feed and the buttons need theirs
  const sessions = [];
  const visit = (number) => {
    const item = `/api/items/${1 + (number % ITEMS)}`, kind = number % 6;
    if (kind === 1) return ["GET", "/api/items?limit=5"];
    if (kind === 2) return ["GET", "/api/users"];
    if (kind === 3) return ["POST", "/api/sessions", { user: 1 + (number % 3) }];
    if (kind === 4) return ["GET", `/api/users/${1 + (number % 3)}`];
    if (kind === 5 && sessions.length) return ["DELETE", `/api/sessions/${sessions.pop()}`];
    return ["GET", item];
  };
  const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  let running = null;
  const load = async (total, rate) => {
    const run = { total, sent: 0, answered: 0, turnedAway: 0, failed: 0, stopped: false };
    const began = performance.now();
    const work = async () => {
      while (run.sent < total && !run.stopped) {
        const number = run.sent++;
        await sleep(Math.max(0, began + (number * 1000) / rate - performance.now()));
        if (run.stopped) return;
        const [method, path, body] = visit(number);
        const sent = body ? { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } } : {};
        try {
          const response = await fetch(path, { method, ...sent });
          const answer = await response.json();
          if (response.status === 503) run.turnedAway += 1;
          else if (!response.ok) run.failed += 1;
          else if (method === "POST") sessions.push(answer.id);
        } catch { run.failed += 1; }
        run.answered += 1;
        progress(run);
      }
    };
    running = run;
    progress(run);
    await Promise.all(Array.from({ length: WORKERS }, work));
    running = null;
    return { ...run, seconds: (performance.now() - began) / 1000 };
  };
  const outcome = (run) => {
    const parts = [];
    if (run.turnedAway) parts.push(`${run.turnedAway} turned away (503)`);
    if (run.failed) parts.push(`${run.failed} failed`);
    return parts.length ? `, ${parts.join(", ")}` : "";
  };
  const progress = (run) => {
    at("progress").max = run.total;
    at("progress").value = run.answered;
    say(at("sent"), `${run.answered} of ${run.total}${outcome(run)}`);
  };
  at("load").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) { running.stopped = true; return; }
    const total = at("count").valueAsNumber, rate = at("rate").valueAsNumber;
    at("go").textContent = "Stop";
    at("sending").hidden = false;
    const run = await load(total, rate);
    at("go").textContent = "Load it";
    at("sending").hidden = true;
    tell(`Loaded: ${things(run.answered, "request")} in ${duration(run.seconds)}${outcome(run)}.`, run.failed > 0);
  });
  for (const id of ["count", "rate"]) at(id).addEventListener("input", () => { at(id).dataset.chosen = "yes"; });
  // As many requests as it takes until enough readings were taken under load.
  const READINGS = 18;
  const suggest = (interval) => {
    if (at("count").dataset.chosen || at("rate").dataset.chosen || running) return;
    at("count").value = Math.max(300, Math.ceil(READINGS * interval * at("rate").valueAsNumber));
  };

  // -- the sentence
  const VERDICTS = {
    none: ["ok", "No leak"],
    leak_python: ["leak", "Leak, in Python"],
    leak_native: ["leak", "Leak, in native memory"],
    fragmentation: ["growing", "Fragmented memory"],
    cache_filling: ["growing", "A cache is filling"],
    load: ["ok", "Load, and no leak"],
    restart: ["", "Just started"],
    needs_data: ["", "Not known yet"],
  };
  const UNWATCHED = ["", "Not watched"];
  const SHEDDING = " Requests are turned away.";
  const sentence = ({ verdict, pressure, limit, guarded }) => {
    const [kind, word] = guarded ? VERDICTS[verdict.verdict] : UNWATCHED;
    const after = `, ${percent(pressure.usage)} of ${bytes(limit.bytes)}.${pressure.shedding ? SHEDDING : ""}`;
    const heading = at("sentence");
    if (heading.textContent !== `${word}. Memory: ${pressure.level}${after}`) {
      const level = make("b", { className: pressure.level, textContent: pressure.level });
      heading.replaceChildren(make("strong", { className: kind, textContent: `${word}.` }), " Memory: ", level, after);
    }
    const worse = pressure.level === "healthy" ? kind : pressure.level === "warning" ? kind || "growing" : "leak";
    dress(at("verdict"), `verdict ${worse}`);
    dress(at("pill"), `pill ${worse}`);
    say(at("pill"), `${word} · ${pressure.level} ${percent(pressure.usage)}`);
    say(at("told"), `${word}. Memory: ${pressure.level}.${pressure.shedding ? SHEDDING : ""}`); // read aloud when a word of it changes, not with each number
    document.title = `${word} · ${pressure.level} · memguard demo`;
    const why = guarded ? because(verdict) : "The service was started with --unguarded: nothing is read, judged or turned away.";
    say(at("reason"), why);
    advise(guarded ? verdict.recommendations : []);
  };
  const because = (verdict) => {
    const reason = verdict.reason[0].toUpperCase() + verdict.reason.slice(1);
    const left = verdict.timeToLimitSeconds;
    if (!VERDICTS[verdict.verdict][0].match(/leak|growing/)) return `${reason}.`;
    return `${reason}. ${whole(percent(verdict.confidence))} sure.${left === null ? "" : ` The limit is reached in ${duration(left)} at this rate.`}`;
  };
  const advise = (texts) => {
    const home = at("advice"), key = texts.join("\n");
    if (home.dataset.key === key) return;
    home.dataset.key = key;
    home.replaceChildren(...texts.map((text) => make("li", {}, ...rich(text, "`"))));
    home.parentElement.hidden = texts.length === 0;
  };
  const rich = (text, mark) => // what stands between two marks is code
    text.replace(/\s+/g, " ").split(mark).map((part, index) => (index % 2 ? make("code", { textContent: part }) : part));
  at("advice").parentElement.open = innerWidth > 640;

  // -- numbers of now
  const gauge = ({ pressure, limit, verdict, health }) => {
    const meter = at("meter"), share = Math.min(1, pressure.usage);
    dress(meter, `meter ${pressure.level}`);
    meter.ariaValueNow = one(100 * share);
    meter.ariaValueText = `${percent(pressure.usage)}, ${pressure.level}`;
    meter.firstElementChild.style.width = `${100 * share}%`;
    if (meter.children.length === 1) {
      for (const [at, name] of limit.thresholds.map((value, rank) => [value, LEVELS[rank]])) {
        const tick = make("span", { title: `${name} from ${whole(percent(at))}` });
        tick.style.left = `${100 * at}%`;
        meter.append(tick);
      }
    }
    const bounds = limit.thresholds.map((value, rank) => `${LEVELS[rank]} ${whole(percent(value))}`).join(", ");
    say(at("usage-text"), `${bytes(health.currentUsage.heapUsed)} of ${bytes(limit.bytes)} (limit: ${limit.source}). Levels: ${bounds}.`);
  };
  const LEVELS = ["warning", "critical", "emergency"];
  const figures = (state) => {
    const { readings, requests, health, shed } = state;
    const last = (name) => readings[name].at(-1);
    const rates = perSecond(readings.requests, readings.time);
    const shown = [
      ["resident", bytes(last("rss"))],
      ["native heap", last("heap") === null ? "not told" : bytes(last("heap"))],
      ["growth a minute", signed(Math.round(60 * health.trend.growthRate), bytes)],
      ["descriptors", count(last("fds"))],
      ["threads", count(last("threads"))],
      ["requests a second", count(Number(one(rates.at(-1) || 0)))],
      ["requests", count(requests.total)],
      ["turned away", count(shed)],
    ];
    keyed(at("figures"), shown, ([name]) => name,
      ([name]) => make("div", {}, make("dt", { textContent: name }), make("dd", {})),
      (element, [, text]) => say(element.lastChild, text));
  };
  const perSecond = (values, times) =>
    values.map((value, index) => {
      const span = times[index] - times[index - 1];
      return index && span > 0 ? Math.max(0, value - values[index - 1]) / span : null;
    });
  // The children of *home*, one an item, kept as long as their key is there.
  const keyed = (home, items, key, create, update) => {
    const old = new Map([...home.children].map((element) => [element.dataset.key, element]));
    items.forEach((item, index) => {
      const name = key(item);
      let element = old.get(name);
      if (!element) { element = create(item); element.dataset.key = name; }
      old.delete(name);
      if (home.children[index] !== element) home.insertBefore(element, home.children[index] || null);
      update(element, item);
    });
    old.forEach((element) => element.remove());
  };

  // -- charts
  const HEIGHT = 190, FONT = "11px system-ui, sans-serif";
  const POWERS = Array.from({ length: 50 }, (_, power) => 2 ** power);
  const SECONDS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600];
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const ago = (seconds) => {
    if (seconds === 0) return "now";
    return seconds > -120 ? `${digits(seconds, 4)} s` : `${digits(seconds / 60, 4)} min`;
  };
  const charts = [];
  let shown = null; // the latest state

  const chart = (id, { title, noun, write, incrs, series, range, marks = () => [] }) => {
    const figure = at(id);
    const latest = make("output", {});
    const home = make("div", { className: "plot", tabIndex: 0 });
    home.setAttribute("role", "group");
    home.setAttribute("aria-label", `${title}: arrow keys read the values`);
    const keys = series.map(({ name, key }) => make("span", { className: "key" }, make("i", { className: key }), name));
    const says = make("output", {});
    const legend = make("span", {}, ...keys);
    figure.append(make("h3", {}, title, latest), home, make("figcaption", {}, legend, says));

    const before = (plot) => { // what came before the verdict's beginning is shaded, and lines stand where something begins
      const { ctx, bbox } = plot, began = shown.judgedSince;
      ctx.save();
      const zero = shown.readings.time.at(-1);
      if (began !== null && began > shown.readings.time[0]) {
        const right = Math.min(bbox.left + bbox.width, plot.valToPos(began - zero, "x", true));
        ctx.fillStyle = colour("--past");
        ctx.fillRect(bbox.left, bbox.top, right - bbox.left, bbox.height);
      }
      ctx.font = `${Math.round(11 * devicePixelRatio)}px system-ui, sans-serif`;
      ctx.textAlign = "left";
      ctx.textBaseline = "bottom";
      ctx.lineWidth = devicePixelRatio;
      let free = Infinity; // labels must not lie on each other
      for (const [value, name, tint] of marks(shown)) {
        const y = Math.round(plot.valToPos(value, "y", true));
        if (y < bbox.top || y > bbox.top + bbox.height) continue;
        ctx.strokeStyle = colour(tint);
        ctx.setLineDash(name === "limit" ? [] : [6 * devicePixelRatio, 4 * devicePixelRatio]);
        ctx.beginPath();
        ctx.moveTo(bbox.left, y);
        ctx.lineTo(bbox.left + bbox.width, y);
        ctx.stroke();
        if (Math.abs(free - y) < 12 * devicePixelRatio) continue;
        const left = bbox.left + 6 * devicePixelRatio, height = 12 * devicePixelRatio;
        ctx.globalAlpha = 0.85;
        ctx.fillStyle = colour("--card");
        ctx.fillRect(left - 3, y - height - devicePixelRatio, ctx.measureText(name).width + 6, height);
        ctx.globalAlpha = 1;
        ctx.fillStyle = colour(tint);
        ctx.fillText(name, left, y - devicePixelRatio);
        free = y;
      }
      ctx.restore();
    };
    const grid = { stroke: () => colour("--line"), width: 1 };
    const axis = { stroke: () => colour("--mut"), grid, ticks: { show: false }, font: FONT };
    const lines = series.map(({ line, dash, fill }) => ({
      stroke: () => colour(line), width: 2, dash, points: { show: false }, fill: fill && (() => colour(fill)),
    }));
    const plot = new uPlot({
      width: Math.max(240, home.clientWidth), height: HEIGHT, padding: [10, 12, 0, 0], legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false } },
      scales: { x: { time: false, range: (_, low) => [Math.min(low, -1e-3), 0] }, y: { range: (_, low, high) => range(low, high, shown) } },
      axes: [
        { ...axis, size: 26, incrs: SECONDS, space: 70, values: (_, splits) => splits.map(ago) },
        { ...axis, ...(incrs && { incrs }), size: 68, space: 32, values: (_, splits) => splits.map((value) => whole(write(value))) },
      ],
      series: [{}, ...lines],
      hooks: { drawClear: [before] },
    }, [[0], ...series.map(() => [null])], home);

    let place = -1;
    const read = () => {
      const [times, ...values] = plot.data;
      const named = series.map(({ name }, index) => [name, values[index][place]]).filter(([, value]) => value != null);
      const text = named.map(([name, value]) => `${series.length > 1 ? `${name} ` : ""}${write(value)}`).join(", ");
      say(says, named.length ? `${ago(times[place])}: ${text} ${noun}`.trim() : "");
      legend.hidden = named.length > 0;
    };
    plot.over.addEventListener("mousemove", () => { if (plot.cursor.idx != null) { place = plot.cursor.idx; read(); } });
    plot.over.addEventListener("mouseleave", () => { place = -1; read(); });
    home.addEventListener("blur", () => { place = -1; plot.setCursor({ left: -10, top: -10 }); read(); });
    home.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
      if (!step) return;
      event.preventDefault();
      const last = plot.data[0].length - 1;
      place = Math.max(0, Math.min(last, (place < 0 ? last + 1 : place) + step));
      plot.setCursor({ left: plot.valToPos(plot.data[0][place], "x"), top: 0 });
      read();
    });
    charts.push({
      plot, home,
      draw: (state) => {
        const { time } = state.readings, zero = time.at(-1);
        plot.setData([time.map((value) => value - zero), ...series.map(({ of }) => of(state.readings))]);
        const value = plot.data[1].at(-1);
        say(latest, value == null ? "" : write(value));
        if (place >= 0) read();
      },
    });
  };
  const redraw = () => charts.forEach(({ plot }) => plot.redraw(false, true));
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => charts.forEach(({ plot, home }) => plot.setSize({ width: Math.max(240, home.clientWidth), height: HEIGHT })), 100);
  });

  const NEAR = 0.3; // below this share of the limit, a scale up to the limit would show a flat line
  const TINTS = ["--warn", "--bad", "--bad"];
  const drawCharts = () => {
    chart("chart-memory", {
      title: "Memory", noun: "", write: bytes, incrs: POWERS,
      series: [
        { name: "resident", line: "--read", key: "read", fill: "--area", of: ({ rss }) => rss },
        { name: "native heap", line: "--heap", key: "heap", dash: [6, 4], fill: "--heaparea", of: ({ heap }) => heap },
      ],
      range: (low, high, { pressure, limit }) => [0, 1.1 * (pressure.usage > NEAR ? Math.max(limit.bytes, high) : high || 1)],
      marks: ({ limit }) => [[limit.bytes, "limit", "--fg"], ...limit.thresholds.map((value, rank) => [value * limit.bytes, LEVELS[rank], TINTS[rank]]).reverse()],
    });
    chart("chart-blocks", {
      title: "Memory blocks", noun: "blocks", write: count,
      series: [{ name: "of the interpreter; the scale does not begin at zero", line: "--read", key: "read", fill: "--area", of: ({ blocks }) => blocks }],
      range: around,
    });
    chart("chart-requests", {
      title: "Requests", noun: "a second", write: count,
      series: [{ name: "requests a second", line: "--read", key: "read", fill: "--area", of: ({ requests, time }) => perSecond(requests, time).map((rate) => rate && Number(one(rate))) }],
      range: (low, high) => [0, Math.max(1, 1.1 * high)],
    });
    chart("chart-gc", {
      title: "Garbage collection", noun: "of each second", write: duration,
      series: [{ name: "pauses, of each second", line: "--read", key: "read", fill: "--area", of: ({ gc, time }) => perSecond(gc, time) }],
      range: (low, high) => [0, Math.max(0.001, 1.1 * high)],
    });
  };
  // What is judged fills the chart; room for a thousand blocks at least, so that noise does not look like growth.
  const around = (first, last, { readings, judgedSince }) => {
    const judged = readings.blocks.filter((_, index) => judgedSince === null || readings.time[index] > judgedSince);
    const [low, high] = judged.length > 2 ? [Math.min(...judged), Math.max(...judged)] : [first, last];
    const spread = Math.max(high - low, 1000), middle = (low + high) / 2;
    return [middle - 0.6 * spread, middle + 0.6 * spread];
  };
  const captions = ({ readings, intervalSeconds, judgedSince, gc, health }) => {
    const span = readings.time.at(-1) - readings.time[0];
    const since = judgedSince === null || judgedSince <= readings.time[0] ? "" : " What is shaded came before the latest switch or clean-up: the verdict does not look at it.";
    say(at("window"), `A reading each ${duration(intervalSeconds)}; ${duration(span)} are shown.${since}`);
    const [young, middle, old] = gc.collections;
    say(at("gc"), `Collections: ${young} young, ${middle} middle, ${old} full; ${duration(gc.seconds)} in all, ${duration(health.gcStats.averageDuration)} each; ${count(gc.freed)} of ${count(gc.visited)} objects looked at were freed (${percent(health.gcStats.efficiency)}).`);
  };

  // -- switches
  const MODES = ["off", "leaky", "fixed"];
  const turning = new Set(); // those that were turned here, and whose answer is not there yet
  const turn = async (name, mode) => {
    turning.add(name);
    try {
      await ask("PUT", `/api/leaks/${encodeURIComponent(name)}`, { mode });
      return `${name} is ${mode}.`;
    } finally { turning.delete(name); }
  };
  const card = ({ name, why, page, grows }) => {
    const [first, ...rest] = why.split("\n\n");
    const label = `leak-${name}`;
    const modes = make("div", { className: "modes" });
    modes.setAttribute("role", "radiogroup");
    modes.setAttribute("aria-labelledby", label);
    modes.setAttribute("aria-describedby", `${label}-why`);
    for (const mode of MODES) {
      const radio = make("input", { type: "radio", name: label, value: mode });
      radio.addEventListener("change", async () => {
        dress(modes.closest("li"), mode);
        try { tell(await turn(name, mode)); } catch (error) { tell(`${name} could not be turned: ${error.message}`, true); }
      });
      modes.append(make("label", {}, radio, make("span", { textContent: mode })));
    }
    return make("li", {},
      make("div", { className: "head" }, make("h3", { id: label }, make("code", { textContent: name })), modes),
      make("p", { id: `${label}-why` }, ...rich(first, "``")),
      make("p", { className: "held quiet" }, make("span", {}), `, seen in ${grows}`),
      make("details", {},
        make("summary", {}, "Why, and the repair", make("span", { className: "unseen", textContent: ` of ${name}` })),
        ...rest.map((text) => make("p", {}, ...rich(text, "``"))),
        make("p", {}, "Repair: ", make("code", { textContent: page }))));
  };
  const switches = (items) => {
    keyed(at("switches"), items, ({ name }) => name, card, (element, { name, mode, held, runs }) => {
      if (!turning.has(name)) {
        dress(element, mode);
        const radio = element.querySelector(`input[value=${mode}]`);
        if (!radio.checked) radio.checked = true;
      }
      const home = element.querySelector(".held span");
      const text = `holds ${held} after ${things(runs, "visit")}`;
      if (home.textContent === text) return;
      home.replaceChildren("holds ", held ? make("b", { textContent: String(held) }) : "0", ` after ${things(runs, "visit")}`);
    });
  };
  for (const mode of ["off", "fixed"]) {
    act(at(`all-${mode}`), `Turning all ${mode}`, async () => {
      const names = shown.switches.filter((one) => one.mode !== mode).map((one) => one.name);
      for (const name of names) await turn(name, mode);
      return `${things(names.length, "leak")} turned: all are ${mode}.`;
    });
  }

  // -- tables
  const MOST_ROUTES = 20;
  const row = (...cells) => make("tr", {}, ...cells);
  const cell = (className, ...children) => make("td", { className }, ...children);
  const costs = ({ routes, bounds }) => {
    at("no-costs").hidden = routes.length > 0;
    const size = (index) => (index === 0 ? "nothing" : index < bounds.length ? `up to ${whole(bytes(bounds[index]))}` : `above ${whole(bytes(bounds.at(-1)))}`);
    keyed(at("costs"), routes.slice(0, MOST_ROUTES), ({ route }) => route,
      ({ route, counts }) => {
        const bins = make("div", { className: "bins" }, ...counts.map((_, index) => make("i", { title: size(index) })));
        bins.setAttribute("role", "img");
        return row(cell("", make("code", { textContent: route })), cell("n"), cell("n"), cell("n"), cell("", bins));
      },
      (element, { measured, meanBytes, totalBytes, counts }) => {
        const most = Math.max(...counts), bins = element.querySelector(".bins");
        say(element.cells[1], count(measured));
        say(element.cells[2], bytes(Math.round(meanBytes)));
        say(element.cells[3], bytes(totalBytes));
        bins.ariaLabel = counts.map((number, index) => [number, index]).filter(([number]) => number).map(([number, index]) => `${number} ${size(index)}`).join(", ");
        [...bins.children].forEach((bin, index) => {
          dress(bin, counts[index] ? "some" : "");
          bin.style.height = `${(100 * counts[index]) / most}%`;
        });
      });
  };
  const caches = (items) => {
    keyed(at("stores"), items, ({ name }) => name,
      ({ name }) => {
        const clear = make("button", { type: "button", className: "button", textContent: "Clear" });
        clear.setAttribute("aria-label", `Clear the cache ${name}`);
        act(clear, `Clearing ${name}`, async () => {
          const { cleared } = await ask("DELETE", `/health/cache/${encodeURIComponent(name)}`);
          return `Cache ${name} cleared: ${cleared === 1 ? "1 entry" : `${cleared} entries`}.`;
        });
        return row(cell("", make("code", { textContent: name })), cell("n"), cell("n"), cell("n"), cell("n", clear));
      },
      (element, { entries, size, hitRate, bytes: held }) => {
        say(element.cells[1], `${entries} of ${size}`);
        say(element.cells[2], percent(hitRate));
        say(element.cells[3], bytes(held));
      });
  };

  // -- the feed: a browser opens six connections to a service, so a page that nobody looks at gives its own back
  const SILENCE = 6000, PAUSE = 1000;
  let feed = null, heard = 0, again = 0;
  const state = (text, name) => { dress(at("state"), `state ${name}`); say(at("state"), text); };
  const render = (message) => {
    shown = message;
    if (!charts.length) drawCharts();
    sentence(message);
    gauge(message);
    figures(message);
    captions(message);
    charts.forEach(({ draw }) => draw(message));
    switches(message.switches);
    costs(message);
    caches(message.caches);
    suggest(message.intervalSeconds);
    state("live", "live");
  };
  const hangUp = () => {
    clearTimeout(again);
    feed?.close();
    feed = null;
  };
  const lost = () => {
    hangUp();
    state("no answer, trying again", "lost");
    again = setTimeout(listen, PAUSE);
  };
  const listen = () => {
    hangUp();
    heard = performance.now();
    feed = new EventSource("/api/events");
    feed.onmessage = ({ data }) => { heard = performance.now(); render(JSON.parse(data)); };
    feed.onerror = lost;
  };
  setInterval(() => { if (feed && performance.now() - heard > SILENCE) lost(); }, 1000);
  document.addEventListener("visibilitychange", () => { if (document.hidden) hangUp(); else listen(); });
  listen();
  window.memguard = { bytes, count, duration, render }; // for whoever drives the page
})();
