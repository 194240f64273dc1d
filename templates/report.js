// Theme, copy, filter, sort, tooltips, keyboard and deep links. Every page is complete without this file.
(() => {
  "use strict";
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  // Not every page has every button.
  const press = (selector, action) => {
    const button = one(selector);
    if (button) button.onclick = action;
  };
  const page = document.documentElement;
  for (const element of all(".needs-script")) element.hidden = false;

  // Theme: the reader's choice outlives the page where the browser lets it.
  const remember = (value) => {
    try {
      if (value) localStorage.setItem("gradaudit-theme", value);
      return localStorage.getItem("gradaudit-theme");
    } catch {
      return null;
    }
  };
  const saved = remember();
  if (saved === "light" || saved === "dark") page.dataset.theme = saved;
  const isDark = () => (page.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const switchTheme = () => {
    page.dataset.theme = isDark() ? "light" : "dark";
    remember(page.dataset.theme);
  };

  // Copy, with a fallback for frames that may not use the clipboard.
  const toast = one(".toast");
  let timer;
  const say = (words) => {
    toast.textContent = words;
    toast.classList.add("shown");
    clearTimeout(timer);
    timer = setTimeout(() => toast.classList.remove("shown"), 1600);
  };
  const copy = async (text, what) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      if (!done) what = "Nothing";
    }
    say(`${what} copied`);
  };

  // Markdown is read off the page, so that it says what the page says.
  const words = (element) => (element ? element.textContent.trim().replace(/\s+/g, " ") : "");
  const plain = (text) => text.replace(/[\\`*_{}[\]<>|#@~]/g, "\\$&");
  const fenced = (text) => {
    const longest = Math.max(2, ...(text.match(/`+/g) || []).map((ticks) => ticks.length));
    return `${"`".repeat(longest + 1)}\n${text}\n${"`".repeat(longest + 1)}`;
  };
  const own = (card, selector) => all(selector, card).filter((element) => element.closest(".card") === card);
  const findingMarkdown = (card) => {
    const lines = [`### ${plain(words(one("h3", card)))}`, "", `**${plain(words(one(".headline", card)))}**`, ""];
    lines.push(`${words(one(".severity", card))}, ${plain(card.id)}. ${words(one(".confidence", card))}.`, "");
    lines.push(plain(words(one(".explanation", card))), "");
    const laboratory = own(card, ".laboratory")[0];
    if (laboratory) lines.push(plain(words(laboratory)), "");
    for (const [index, item] of own(card, "ol.next > li").entries()) {
      const code = one("pre", item);
      const text = words(item.firstChild);
      lines.push(`${index + 1}. ${plain(text)}`);
      if (code) lines.push("", fenced(code.textContent), "");
    }
    for (const row of own(card, ".measures tbody tr")) {
      lines.push(`- ${plain(words(row.cells[0]))}: ${plain(words(row.cells[1]))} (threshold ${plain(words(row.cells[2]))})`);
    }
    return lines.join("\n");
  };
  const cards = all(".card");
  const summaryMarkdown = () => {
    const lines = [`## gradaudit: ${plain(words(one("h1")))}`, "", plain(words(one(".verdict strong"))), ""];
    lines.push("| severity | finding | check |", "| --- | --- | --- |");
    for (const card of cards) {
      lines.push(`| ${words(one(".severity", card))} | ${plain(words(one("h3", card)))} | ${plain(card.id)} |`);
    }
    lines.push("", all(".counts li").map(words).join(", "));
    return lines.join("\n");
  };

  // Details: all at once, for printing, and around the target of a link.
  const details = () => all("main details");
  let opened = false;
  const openAll = () => {
    opened = !opened;
    for (const element of details()) element.open = opened;
    const button = one("#open-all");
    if (button) button.textContent = opened ? "Close all details" : "Open all details";
  };
  let before = [];
  addEventListener("beforeprint", () => {
    before = details().map((element) => [element, element.open]);
    // The pictures are on the paper; their numbers and the long table would only thicken it.
    for (const element of details()) element.open = element.id !== "parameter-table" && !element.closest("figure");
  });
  addEventListener("afterprint", () => {
    for (const [element, open] of before) element.open = open;
  });
  const target = () => {
    try {
      return document.getElementById(decodeURIComponent(location.hash.slice(1)));
    } catch {
      return null;
    }
  };
  const reveal = () => {
    const wanted = location.hash.length > 1 ? target() : null;
    if (!wanted) return;
    for (let element = wanted; element; element = element.parentElement) {
      if (element.tagName === "DETAILS") element.open = true;
    }
    if (wanted.id === "all-parameters") one("#parameter-table").open = true;
    wanted.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  // Keyboard.
  let current = cards.indexOf(target());
  const go = (index) => {
    if (!cards.length) return;
    current = Math.max(0, Math.min(cards.length - 1, index));
    const heading = one("h3", cards[current]);
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
    cards[current].scrollIntoView();
    try {
      history.replaceState(null, "", `#${cards[current].id}`);
    } catch {
      // A sandboxed frame may not touch its address.
    }
  };
  const shortcuts = one("#shortcuts");
  const help = () => shortcuts && (shortcuts.open ? shortcuts.close() : shortcuts.showModal());
  const filter = one("#filter");
  const search = () => {
    if (!filter) return;
    const folded = filter.closest("details");
    if (folded) folded.open = true;
    filter.focus();
  };
  const summary = () => one("#copy-summary") && copy(summaryMarkdown(), "Summary");
  const actions = { j: () => go(current + 1), k: () => go(current - 1), e: openAll, t: switchTheme, m: summary, "/": search, "?": help };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    if (!Object.hasOwn(actions, event.key)) return;
    event.preventDefault();
    actions[event.key]();
  });

  // Buttons.
  press("#theme", switchTheme);
  press("#open-all", openAll);
  press("#keys", help);
  press("#close-shortcuts", help);
  press("#copy-summary", summary);
  for (const button of all("[data-copy]")) {
    const card = button.closest(".card");
    const link = () => `${location.href.split("#")[0]}#${card.id}`;
    button.onclick = () => (button.dataset.copy === "link" ? copy(link(), "Link") : copy(findingMarkdown(card), "Finding"));
  }

  // Filter and sort of a table: parameters by name, runs by any of their words.
  const rows = all("[data-filtered] tbody tr");
  const narrow = () => {
    const wanted = filter.value.toLowerCase();
    const searched = (row) => (row.closest("[data-filtered=row]") ? row : row.cells[0]).textContent.toLowerCase();
    for (const row of rows) row.hidden = !searched(row).includes(wanted);
    one("#filter-count").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
  };
  if (filter) {
    filter.oninput = narrow;
    narrow();
  }
  for (const head of all("th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.onclick = () => {
      const down = head.ariaSort === "ascending";
      for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
      head.ariaSort = down ? "descending" : "ascending";
      const value = (row) => row.cells[head.cellIndex].dataset.value ?? words(row.cells[head.cellIndex]);
      const order = (a, b) => {
        const [x, y] = [value(a), value(b)];
        // What has no value stays last.
        if (!x || !y) return !x - !y;
        return (down ? -1 : 1) * (head.dataset.sort === "number" ? x - y : x.localeCompare(y));
      };
      const body = one("tbody", head.closest("table"));
      body.append(...[...body.rows].sort(order));
    };
  }

  // Tooltips: what the charts say under the pointer.
  const note = document.createElement("div");
  const rule = document.createElement("div");
  note.className = "tooltip";
  rule.className = "tooltip-rule";
  note.hidden = rule.hidden = true;
  document.body.append(note, rule);
  const shown = (value) => {
    if (value == null) return "–";
    const size = Math.abs(value);
    return size && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : value.toLocaleString("en", { maximumSignificantDigits: 4 });
  };
  const nearest = (values, wanted) => {
    let best = 0;
    for (let i = 1; i < values.length; i++) if (Math.abs(values[i] - wanted) < Math.abs(values[best] - wanted)) best = i;
    return best;
  };
  const lineWords = (plot, x) => {
    const lines = plot.series;
    const at = lines.map((series) => nearest(series.x, x));
    const main = nearest(lines.map((series, i) => series.x[at[i]]), x);
    const head = `${plot.label} ${shown(lines[main].x[at[main]])}`;
    // A series that has no point here (evaluations are rare) names its own.
    const place = (series, i) => (series.x[at[i]] === lines[main].x[at[main]] ? "" : ` (${plot.label} ${shown(series.x[at[i]])})`);
    return [head, ...lines.map((series, i) => `${series.name}: ${shown(series.y[at[i]])}${place(series, i)}`)];
  };
  const cellWords = (plot, cell) => {
    if (cell < plot.words.length) return plot.words[cell];
    const [from, to] = plot.range;
    const place = (cell - plot.words.length) / (plot.shades - 1);
    return `${plot.unit}: about ${(10 ** (from + place * (to - from))).toExponential(1)}`;
  };
  // The pixels of our PNG, each a number: deflated, behind its palette and before a checksum and the last chunk.
  const unpack = async (plot, images) => {
    plot.cells = [];
    plot.cells = await Promise.all(images.map((image) => {
      const file = atob(image.href.baseVal.split(",")[1]);
      const packed = Uint8Array.from(file.slice(file.indexOf("IDAT") + 4, -16), (letter) => letter.charCodeAt(0));
      const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
      return new Response(stream).arrayBuffer().then((data) => new Uint8Array(data));
    }));
  };
  const heatWords = (plot, svg, panels, x, down) => {
    const index = panels.findIndex((panel) => down >= panel[0] && down < panel[0] + panel[1] * panel[2]);
    if (!plot.cells) unpack(plot, all("image", svg));
    const cells = plot.cells[index];
    if (!cells) return null;
    // The first byte of a line is no pixel.
    const line = cells.length / plot.rows[index].length;
    const row = Math.floor((down - panels[index][0]) / panels[index][1]);
    const [first, last] = plot.x;
    const column = Math.min(line - 2, Math.floor(((x - first) / (last - first)) * (line - 1)));
    return [plot.rows[index][row], `${plot.label} ${shown(Math.round(x))}`, cellWords(plot, cells[row * line + 1 + column])];
  };
  // Dots and bars tell their value, a ridge how much of it lies in the bin under the pointer.
  const spotWords = (plot, across, down) => {
    const [width, height] = plot.near;
    const away = ([x, y]) => Math.hypot((x - across) * width, (y - down) * height);
    const [, , name, value] = plot.spots.reduce((a, b) => (away(b) < away(a) ? b : a));
    if (!value.map) return [name, `${plot.label}: ${value}`];
    const at = Math.min(value.length - 1, Math.floor(across * value.length));
    const edge = (i) => shown(2 ** (plot.first + i * plot.width));
    return [name, `${edge(at)} to ${edge(at + 1)}: ${shown(value[at] / 10)} %`];
  };
  const hide = () => (note.hidden = rule.hidden = true);
  addEventListener("scroll", hide);
  for (const figure of all("figure[data-plot]")) {
    let plot;
    for (const svg of all("svg.chart", figure)) {
      const size = svg.closest(".narrow") ? "narrow" : "wide";
      svg.onpointerleave = hide;
      svg.onpointermove = svg.onpointerdown = (event) => {
        plot ??= JSON.parse(figure.dataset.plot);
        const [left, top, width, height] = plot[size].frame;
        const box = svg.getBoundingClientRect();
        const scale = box.width / svg.viewBox.baseVal.width;
        const across = ((event.clientX - box.left) / scale - left) / width;
        const down = (event.clientY - box.top) / scale - top;
        if (across < 0 || across > 1 || down < 0 || down > height) return hide();
        const x = plot.x[0] + across * (plot.x[1] - plot.x[0]);
        const said = plot.spots ? spotWords(plot, across, down / height) : plot.series ? lineWords(plot, x) : heatWords(plot, svg, plot[size].panels, x, down);
        if (!said) return hide();
        note.textContent = said.join("\n");
        note.hidden = rule.hidden = false;
        const right = event.clientX + 16 + note.offsetWidth > innerWidth;
        note.style.left = `${Math.max(4, event.clientX + (right ? -16 - note.offsetWidth : 16))}px`;
        note.style.top = `${event.clientY + 16}px`;
        rule.style.left = `${event.clientX}px`;
        rule.style.top = `${box.top + top * scale}px`;
        rule.style.height = `${height * scale}px`;
      };
    }
  }

  // The section that is being read, in the list at the side.
  const links = new Map(all("nav.side .links a").map((link) => [link.getAttribute("href").slice(1), link]));
  const watcher = new IntersectionObserver(
    (seen) => {
      for (const entry of seen) {
        if (!entry.isIntersecting || !links.has(entry.target.id)) continue;
        for (const link of links.values()) link.removeAttribute("aria-current");
        links.get(entry.target.id).setAttribute("aria-current", "true");
      }
    },
    { rootMargin: "-10% 0px -75% 0px" },
  );
  for (const id of links.keys()) {
    const section = document.getElementById(id);
    if (section) watcher.observe(section);
  }
})();
