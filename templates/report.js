// Theme, copy, filter, keyboard and deep links. The page is complete without this file.
(() => {
  "use strict";
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
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
      if (!done) return say("This browser refuses to copy");
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
    const lines = [`### ${plain(words(one("h3", card)))}`, ""];
    lines.push(`${words(one(".severity", card))}, ${plain(card.id)}. ${words(one(".confidence", card))}.`, "");
    lines.push(plain(words(one(".seen", card))), "");
    for (const [index, item] of own(card, "ol.next > li").entries()) {
      const code = one("pre", item);
      const text = words(item.firstChild);
      lines.push(`${index + 1}. ${plain(text)}`);
      if (code) lines.push("", fenced(code.textContent), "");
    }
    for (const row of own(card, "details tbody tr").filter((row) => row.cells.length === 4 && !row.closest("figure"))) {
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
    one("#open-all").textContent = opened ? "Close all details" : "Open all details";
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
  const help = () => (shortcuts.open ? shortcuts.close() : shortcuts.showModal());
  const filter = one("#filter");
  const search = () => {
    one("#parameter-table").open = true;
    filter.focus();
  };
  const summary = () => copy(summaryMarkdown(), "Summary");
  const actions = { j: () => go(current + 1), k: () => go(current - 1), e: openAll, t: switchTheme, m: summary, "/": search, "?": help };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    if (!Object.hasOwn(actions, event.key)) return;
    event.preventDefault();
    actions[event.key]();
  });

  // Buttons.
  one("#theme").onclick = switchTheme;
  one("#open-all").onclick = openAll;
  one("#keys").onclick = help;
  one("#close-shortcuts").onclick = help;
  one("#copy-summary").onclick = summary;
  for (const button of all("[data-copy]")) {
    const card = button.closest(".card");
    const link = () => `${location.href.split("#")[0]}#${card.id}`;
    button.onclick = () => (button.dataset.copy === "link" ? copy(link(), "Link") : copy(findingMarkdown(card), "Finding"));
  }

  // Filter of the parameter table.
  const rows = all("#parameter-table tbody tr");
  const narrow = () => {
    const wanted = filter.value.toLowerCase();
    for (const row of rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
    one("#filter-count").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
  };
  filter.oninput = narrow;
  narrow();

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
