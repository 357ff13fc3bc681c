"use strict";
(() => {
  const by = (id) => document.getElementById(id);
  const explained = JSON.parse(by("explained").textContent);
  const tiles = [...document.querySelectorAll(".tile")];
  const body = document.querySelector("#processes tbody");
  const rows = [...body.rows].map((row) => ({
    row, pid: row.dataset.pid, step: +row.dataset.step, ram: +row.dataset.ram,
    back: +row.dataset.back, swap: +row.dataset.swap, button: row.querySelector("button"),
    text: row.textContent.toLowerCase(),
  }));
  const steps = new Map(rows.map((one) => [one.pid, one.step]));
  const said = by("said");
  // What has nothing to say yet takes little room, and none on paper.
  const used = (one) => one.closest("section").classList.remove("idle");
  let chosen = null;

  // As terminal.memory() has it.
  const memory = (size) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let power = 0;
    while (size >= 1024 && power < 5) { size /= 1024; power += 1; }
    return `${size.toFixed(power === 0 || size >= 100 ? 0 : 1)} ${units[power]}`;
  };

  // Texts are set as text, never as HTML.
  const sayTile = (tile) => {
    used(said);
    const pids = tile.dataset.pids.split(" ").filter(Boolean);
    const about = tile.dataset.about ? `\n${tile.dataset.about}` : "";
    const label = tile.getAttribute("aria-label") + about;
    said.textContent = pids.length === 1 ? `${label}\n\n${explained[pids[0]]}` : label;
  };

  const choose = (element, say) => {
    if (chosen) {
      chosen.classList.remove("chosen");
      chosen.removeAttribute("aria-selected");
      if (chosen.matches(".tile")) chosen.setAttribute("aria-selected", "false");
    }
    chosen = element;
    element.classList.add("chosen");
    if (element.matches(".tile")) element.setAttribute("aria-selected", "true");
    say();
  };

  // One of a list is reached by Tab, the others by the arrow keys.
  const roving = (list, current, key) => {
    const visible = list.filter((one) => one.getClientRects().length);
    const at = visible.indexOf(current);
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1,
      PageDown: at + 20, PageUp: at - 20, Home: 0, End: visible.length - 1 }[key];
    if (to === undefined || at < 0) return false;
    const next = visible[Math.max(0, Math.min(visible.length - 1, to))];
    current.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
    return true;
  };

  // Not on the drawing itself: Chromium would take it for something that can have the focus.
  for (const map of document.querySelectorAll(".sheet")) {
    const own = [...map.querySelectorAll(".tile")];
    map.addEventListener("pointerover", (event) => {
      const tile = event.target.closest(".tile");
      if (tile && !chosen?.matches(".tile")) sayTile(tile);
    });
    map.addEventListener("click", (event) => {
      const tile = event.target.closest(".tile");
      if (!tile) return;
      for (const one of own) one.setAttribute("tabindex", one === tile ? "0" : "-1");
      tile.focus();
      choose(tile, () => sayTile(tile));
    });
    map.addEventListener("focusin", (event) => {
      const tile = event.target.closest(".tile");
      if (tile) choose(tile, () => sayTile(tile));
    });
    map.addEventListener("keydown", (event) => {
      const tile = event.target.closest(".tile");
      if (tile && roving(own, tile, event.key)) event.preventDefault();
    });
  }

  const sayRow = (row) => choose(row, () => { used(said); said.textContent = explained[row.dataset.pid]; });
  body.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) sayRow(button.closest("tr"));
  });
  body.addEventListener("focusin", (event) => sayRow(event.target.closest("tr")));
  body.addEventListener("keydown", (event) => {
    const buttons = [...body.rows].map((row) => row.querySelector("button"));
    if (roving(buttons, event.target, event.key)) event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && chosen) {
      chosen.classList.remove("chosen");
      chosen = null;
      said.textContent = "Choose an area, or a process in the table.";
    }
  });

  const show = (kills) => {
    used(by("gone"));
    const gone = rows.filter((one) => one.step && one.step <= kills);
    for (const one of rows) one.row.classList.toggle("gone", one.step > 0 && one.step <= kills);
    for (const tile of tiles) {
      const pids = tile.dataset.pids.split(" ").filter(Boolean);
      tile.classList.toggle("gone", pids.length > 0 && pids.every((pid) => {
        const step = steps.get(pid);
        return step > 0 && step <= kills;
      }));
    }
    const sum = (key) => gone.reduce((all, one) => all + one[key], 0);
    const swap = sum("swap") ? `, and ${memory(sum("swap"))} of swap` : "";
    const rest = sum("ram") > sum("back") ? "; the rest is shared, or stays as file cache and tmpfs" : "";
    by("gone").textContent = `After ${kills} of ${by("kills").max} kills: `
      + `${gone.length} process${gone.length === 1 ? "" : "es"} gone, which held `
      + `${memory(sum("ram"))}. ${memory(sum("back"))} of it comes back at once${swap}${rest}.`;
  };
  const set = (from, to) => {
    const kills = Math.max(0, Math.min(+from.max, Math.round(+from.value) || 0));
    to.value = kills;
    show(kills);
  };
  by("kills").addEventListener("input", () => set(by("kills"), by("number")));
  by("number").addEventListener("input", () => set(by("number"), by("kills")));

  // A browser may bring back what stood there before the page was loaded again.
  for (const id of ["kills", "number"]) by(id).value = 0;
  by("find").value = "";

  const headers = [...document.querySelectorAll("#processes thead th")];
  headers.forEach((header, column) => header.firstElementChild.addEventListener("click", () => {
    const number = header.firstElementChild.dataset.kind === "number";
    const before = header.getAttribute("aria-sort");
    const first = number && column > 1 ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = before === first ? other : first;
    for (const one of headers) one.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const value = (one) => (number ? +one.row.cells[column].dataset.v
      : one.row.cells[column].textContent.toLowerCase());
    const keyed = rows.map((one, index) => [value(one), index, one]);
    keyed.sort((a, b) => (a[0] < b[0] ? -sign : a[0] > b[0] ? sign : a[1] - b[1]));
    body.append(...keyed.map((one) => one[2].row));
  }));

  by("find").addEventListener("input", () => {
    const wanted = by("find").value.toLowerCase();
    let found = 0;
    for (const one of rows) {
      one.row.hidden = !one.text.includes(wanted);
      found += !one.row.hidden;
    }
    const stop = rows.find((one) => !one.row.hidden);
    for (const one of rows) one.button.tabIndex = one === stop ? 0 : -1;
    by("found").textContent = wanted ? `${found} of ${rows.length}` : "";
  });
})();
