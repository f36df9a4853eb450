(() => {
  "use strict";
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = read("data");
  const packed = new Map(Object.entries(read("cards")));
  const byId = (id) => document.getElementById(id);

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key in made) made[key] = value;
      else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  // Charts take their text colour from the page, so that light, dark and print need no redraw.
  const INK = "currentColor";
  const CONFIG = {
    axis: { labelColor: INK, titleColor: INK, tickColor: INK, domainColor: INK, gridColor: INK },
    header: { labelColor: INK, titleColor: INK },
    legend: { labelColor: INK, titleColor: INK },
    text: { color: INK },
  };
  const OPTIONS = {
    renderer: "svg",
    ast: true, // interpret expressions: the page's policy forbids eval
    actions: false,
    defaultStyle: false,
    config: CONFIG,
    tooltip: { theme: "npm", disableDefaultStyle: true },
  };
  const draw = (container, spec) => vegaEmbed(container, spec, OPTIONS).then((made) => made.view);

  // ---- numbers, tables, downloads

  function shown(value, digits) {
    if (value === null || value === undefined || value === "") return "–";
    return typeof value === "number" ? value.toFixed(digits).replace("-", "−") : String(value);
  }

  // Counts have no decimals, depths of alignments one, shares and losses three.
  function digits(values) {
    const numbers = values.filter((value) => typeof value === "number");
    if (numbers.every(Number.isInteger)) return 0;
    return Math.max(...numbers) > 20 ? 1 : 3;
  }

  function table(columns, rows) {
    const kind = columns.map((name) => rows.some((row) => typeof row[name] === "number"));
    const cell = (tag, text, number) =>
      element(tag, { className: number ? "number" : "" }, text);
    const head = element("tr", {}, ...columns.map((name, k) => cell("th", name, kind[k])));
    const places = columns.map((name) => digits(rows.map((row) => row[name])));
    const lines = rows.map((row) =>
      element("tr", {}, ...columns.map((name, k) => cell("td", shown(row[name], places[k]), kind[k]))));
    return element("table", {}, element("thead", {}, head), element("tbody", {}, ...lines));
  }

  function csv(columns, rows) {
    const field = (value) => {
      const text = value === null || value === undefined ? "" : String(value);
      return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const lines = [columns, ...rows.map((row) => columns.map((name) => row[name]))];
    return lines.map((line) => line.map(field).join(",")).join("\r\n") + "\r\n";
  }

  const bytes = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

  function save(name, type, content) {
    const link = element("a", { href: URL.createObjectURL(new Blob([content], { type })) });
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // ---- figures

  const records = (columns, rows) =>
    rows.map((row) => Object.fromEntries(columns.map((name, k) => [name, row[k]])));

  async function figure(container) {
    const { id, spec, columns, rows, opens, parquet } = data.figures.find((made) => made.id === container.dataset.figure);
    const values = records(columns, rows);
    const view = await draw(container.querySelector(".chart"),
      { ...spec, datasets: { ...spec.datasets, table: values } });
    if (opens) {
      view.addEventListener("click", (_, item) => {
        if (item && item.datum && packed.has(item.datum.id)) open(item.datum.id, item.datum.condition);
      });
    }
    const fold = container.querySelector("details");
    fold.addEventListener("toggle", () => {
      const place = fold.querySelector(".scroll");
      if (fold.open && !place.firstChild) place.append(table(columns, values));
    });
    container.querySelector("[data-save=csv]").addEventListener("click", () =>
      save(`${id}.csv`, "text/csv", csv(columns, values)));
    container.querySelector("[data-save=parquet]").addEventListener("click", () =>
      save(`${id}.parquet`, "application/vnd.apache.parquet", bytes(parquet)));
    container.querySelector("[data-save=svg]").addEventListener("click", async () =>
      save(`${id}.svg`, "image/svg+xml", await view.toSVG()));
  }

  // ---- contact maps

  async function unpack(id) {
    const stream = new Blob([bytes(packed.get(id))]).stream().pipeThrough(new DecompressionStream("deflate"));
    const card = JSON.parse(await new Response(stream).text());
    const summed = (steps) => { let pair = 0; return steps.map((step) => (pair += step)); };
    card.contacts = summed(card.contacts);
    for (const models of Object.values(card.maps))
      for (const ranges of Object.values(models))
        for (const range of Object.keys(ranges)) ranges[range] = summed(ranges[range]);
    card.truth = new Set(card.contacts);
    return card;
  }

  const DIVISORS = { L: 1, "L/2": 2, "L/5": 5 };
  const name = (model) => data.models[model].name;

  function ranked(card, { condition, model, range, cutoff }) {
    const maps = (card.maps[condition] || {})[model];
    const count = Math.max(1, Math.floor(card.length / DIVISORS[cutoff]));
    return maps ? maps[range].slice(0, count) : [];
  }

  function mapData(card, choice) {
    const { length } = card;
    const split = (pair) => [Math.floor(pair / length) + 1, (pair % length) + 1];
    const truth = card.contacts.flatMap((pair) => {
      const [i, j] = split(pair);
      return [{ x: i, y: j }, { x: j, y: i }];
    });
    const predicted = (model, lower) => ranked(card, { ...choice, model }).map((pair) => {
      const [i, j] = split(pair);
      const hit = card.truth.has(pair);
      return { x: lower ? i : j, y: lower ? j : i, i, j, model: name(model), hit,
        outcome: hit ? "contact" : "no contact" };
    });
    return {
      truth,
      predictions: [...predicted(choice.upper, false), ...predicted(choice.lower, true)],
      unresolved: card.unresolved.map(([from, to]) => ({ start: from - 0.5, end: to + 0.5 })),
      band: [0.5, length + 0.5].map((x) => ({
        x, low: Math.max(0.5, x - 5.5), high: Math.min(length + 0.5, x + 5.5) })),
    };
  }

  function drawMap(container, card, choice) {
    const spec = structuredClone(data.map);
    spec.datasets = mapData(card, choice);
    for (const parameter of spec.params) {
      if (parameter.name === "length") parameter.value = card.length;
      if (parameter.name === "cell") parameter.value = spec.width / card.length;
    }
    return draw(container, spec);
  }

  function key(container, lower, upper) {
    const icon = (shape) => {
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("viewBox", "0 0 12 12");
      svg.setAttribute("aria-hidden", "true");
      for (const [tag, attributes] of shape) {
        const part = document.createElementNS("http://www.w3.org/2000/svg", tag);
        for (const [k, v] of Object.entries(attributes)) part.setAttribute(k, v);
        svg.append(part);
      }
      return svg;
    };
    const dot = (color) => [["circle", { cx: 6, cy: 6, r: 4.5, fill: color }]];
    const cross = (color) => [["path", { d: "M2 2L10 10M10 2L2 10", stroke: color, "stroke-width": 2.6 }]];
    const square = (opacity) => [["rect", { width: 12, height: 12, fill: "currentColor", opacity }]];
    const [below, above] = [lower, upper].map((model) => data.models[model]);
    container.replaceChildren();
    for (const [shape, text] of [
      [dot(below.color), `lower triangle, ${below.name}: hit`], [cross(below.color), "miss"],
      [dot(above.color), `upper triangle, ${above.name}: hit`], [cross(above.color), "miss"],
      [square(1), "contact in the structure"], [square(0.35), "unresolved residue"],
      [square(0.18), "|i − j| < 6, not scored"],
    ]) container.append(element("li", {}, icon(shape), text));
  }

  // ---- cards

  const FILES = { alignment: "table with its alignment", structure: "table with its structure" };
  const dialog = byId("card");
  let current = null;

  function radios(place, group, options, chosen, label = (value) => value) {
    place.querySelectorAll("label").forEach((old) => old.remove());
    for (const value of options) {
      const input = element("input", { type: "radio", name: group, value, checked: value === chosen });
      place.append(element("label", {}, input, ` ${label(value)}`));
    }
  }

  async function open(id, condition) {
    const card = await unpack(id);
    const conditions = Object.keys(card.maps);
    if (!conditions.includes(condition)) condition = conditions[0];
    const models = Object.keys(data.models).filter((model) =>
      conditions.some((c) => model in card.maps[c]));
    const pick = (wanted, other) => (models.includes(wanted) ? wanted : models[other] || models[0]);
    current = { id, card, choice: { condition, ...data.metric,
      lower: pick("npm", 0), upper: pick("potts", 1) } };
    if (!(current.choice.cutoff in DIVISORS)) current.choice.cutoff = "L";
    byId("card-title").textContent = id;
    const several = conditions.length > 1;
    byId("card-conditions").hidden = !several;
    radios(byId("card-conditions"), "condition", several ? conditions : [], condition);
    radios(byId("card-ranges"), "range", ["short", "medium", "long"], current.choice.range);
    radios(byId("card-cutoffs"), "cutoff", Object.keys(DIVISORS), current.choice.cutoff,
      (value) => `top ${value}`);
    for (const triangle of ["lower", "upper"]) {
      byId(`card-${triangle}`).replaceChildren(...models.map((model) =>
        element("option", { value: model, selected: model === current.choice[triangle] }, name(model))));
    }
    await showCard();
    if (!dialog.open) dialog.showModal();
    history.replaceState(null, "", `#target=${encodeURIComponent(id)}`);
  }

  async function showCard() {
    const { id, card, choice } = current;
    const facts = records(columns.map((column) => column.key), rows).find((row) =>
      row.id === id && (row.condition === undefined || row.condition === choice.condition));
    byId("card-facts").textContent =
      `${facts.split} · structure ${card.source} · ${card.length} residues` +
      ` · MSA depth ${shown(facts.depth, 0)} · Meff ${shown(facts.meff, 1)}`;
    const found = (card.precision[choice.condition] || {});
    const lines = Object.keys(data.models)
      .filter((model) => model in found && choice.range in found[model])
      .map((model) => ({ model: name(model), ...found[model][choice.range] }));
    const place = byId("card-precision");
    if (lines.length) place.replaceChildren(table(["model", "L", "L/2", "L/5", "AUC"], lines));
    else place.replaceChildren(element("p", {}, `No pair of the ${choice.range} range can be scored.`));
    const file = (kind) => FILES[kind] || `scores of ${name(kind)}`;
    const links = Object.entries(card.links[choice.condition] || {}).map(([kind, href]) =>
      element("li", {}, element("a", { href }, file(kind))));
    byId("card-links").replaceChildren(...links);
    key(byId("card-key"), choice.lower, choice.upper);
    const map = byId("card-map");
    map.setAttribute("aria-label", `Contact map of ${id}, ${choice.range} range, top ${choice.cutoff}: ` +
      `${name(choice.lower)} below, ${name(choice.upper)} above the diagonal`);
    await drawMap(map, card, choice);
    map.dataset.drawn = `${choice.range} ${choice.cutoff} ${choice.lower} ${choice.upper}`;
  }

  dialog.addEventListener("change", (event) => {
    const { name: group, value, id } = event.target;
    if (group) current.choice[group] = value;
    else current.choice[id.replace("card-", "")] = value;
    showCard();
  });
  byId("card-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => history.replaceState(null, "", location.pathname + location.search));

  // ---- table of targets

  const PAGE = 50;
  const { columns, rows } = data.targets;
  const places = columns.map((_, k) => digits(rows.map((row) => row[k])));
  let order = { column: null, down: false };
  let visible = PAGE;

  function selected() {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = rows.filter((row) => {
      const text = row.filter((value) => typeof value === "string").join(" ").toLowerCase();
      return words.every((word) => text.includes(word));
    });
    if (order.column === null) return found;
    const k = order.column;
    const sign = order.down ? -1 : 1;
    return found.sort((a, b) => {
      if (a[k] === null || b[k] === null) return (a[k] === null) - (b[k] === null);
      return sign * (typeof a[k] === "number" ? a[k] - b[k] : String(a[k]).localeCompare(b[k]));
    });
  }

  function showTargets() {
    const found = selected();
    const condition = columns.findIndex((column) => column.key === "condition");
    const head = columns.map(({ label, number }, k) => {
      const button = element("button", { type: "button" }, label);
      button.addEventListener("click", () => {
        order = { column: k, down: order.column === k ? !order.down : number };
        showTargets();
        byId("targets-table").querySelectorAll("th button")[k].focus();
      });
      const sort = order.column !== k ? "none" : order.down ? "descending" : "ascending";
      return element("th", { className: number ? "number" : "", scope: "col", "aria-sort": sort }, button);
    });
    const lines = found.slice(0, visible).map((row) => element("tr", {}, ...columns.map(({ number }, k) => {
      const cell = element("td", { className: number ? "number" : "" });
      if (k === 0 && packed.has(row[0])) {
        const button = element("button", { type: "button", className: "aslink" }, row[0]);
        button.addEventListener("click", () => open(row[0], row[condition]));
        cell.append(button);
      } else cell.append(shown(row[k], places[k]));
      return cell;
    })));
    byId("targets-table").replaceChildren(
      element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...lines));
    byId("found").textContent = `${found.length} of ${rows.length}`;
    byId("more").hidden = found.length <= visible;
  }

  byId("search").addEventListener("input", () => { visible = PAGE; showTargets(); });
  byId("more").addEventListener("click", () => { visible += 4 * PAGE; showTargets(); });
  byId("targets-csv").addEventListener("click", () => save("targets.csv", "text/csv",
    csv(columns.map(({ key: k }) => k), records(columns.map(({ key: k }) => k), selected()))));

  // ---- page

  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  document.querySelectorAll("[data-key]").forEach((place) => key(place, "npm", "potts"));
  document.querySelectorAll("[data-open]").forEach((button) =>
    button.addEventListener("click", () => open(button.dataset.open, button.dataset.condition)));
  showTargets();
  const asked = /^#target=(.+)$/.exec(location.hash);
  (async () => {
    if (asked && packed.has(decodeURIComponent(asked[1]))) await open(decodeURIComponent(asked[1]));
    for (const container of document.querySelectorAll("[data-figure]")) await figure(container);
    for (const container of document.querySelectorAll("[data-map]")) {
      const card = await unpack(container.dataset.map);
      const { condition } = container.dataset;
      await drawMap(container, card, { condition, ...data.metric, lower: "npm", upper: "potts" });
    }
    document.documentElement.dataset.ready = "true";
  })();
})();
