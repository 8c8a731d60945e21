// Keyboard first. `data-key="a"` on a button, link or field makes it the key's (`"m e"`: of both); inside a row it means
// the current row.
// j and k move over rows that have `data-open` (their main link); g and a letter go to the page with that `data-go`.
{
  const GO_WITHIN = 1200; // ms
  const FIELDS = "input:not([type=checkbox], [type=radio]), select, textarea, [contenteditable]";
  const ROWS = ":is(tr, li, details):has([data-open])";
  let goUntil = 0, last = null;

  const on = () => { try { return localStorage.getItem("fiducial.keys") !== "off"; } catch { return true; } };
  const visible = (element) => element.checkVisibility();
  const scope = () => document.querySelector("dialog[open]") ?? document;
  const rows = () => [...document.querySelectorAll(`[data-rows] ${ROWS}`)].filter(visible);
  const current = () => {
    const focused = document.activeElement.closest?.(`[data-rows] ${ROWS}`);
    return focused ?? (last && document.getElementById(last)) ?? null;
  };

  const move = (step) => {
    const all = rows();
    const row = all[Math.min(Math.max(all.indexOf(current()) + step, 0), all.length - 1)];
    if (!row) return;
    last = row.id;
    row.querySelector("[data-open]").focus({ focusVisible: true });
    row.scrollIntoView({ block: "nearest" });
  };

  const press = (key) => {
    const selector = `[data-key~="${CSS.escape(key)}"]`;
    // Behind an open dialog no row is the current one: a script's click reaches also what is inert.
    const inRow = scope() === document ? current()?.querySelector(selector) : null;
    const found = inRow ?? [...scope().querySelectorAll(selector)].filter(visible).at(-1);
    if (!found) return false;
    if (found.matches(FIELDS)) { found.focus(); found.select?.(); } else found.click();
    return true;
  };

  const help = () => {
    const here = document.getElementById("keys-here");
    here.replaceChildren();
    const seen = new Set(["/", "u"]);
    for (const element of document.querySelectorAll("[data-key]")) {
      const [key] = element.dataset.key.split(" ");
      if (seen.has(key)) continue;
      seen.add(key);
      const row = document.createElement("div"), name = document.createElement("dt"), what = document.createElement("dd");
      name.append(Object.assign(document.createElement("kbd"), { textContent: key }));
      what.textContent = (element.ariaLabel ?? element.textContent.replace(new RegExp(`\\s${key}\\s*$`), "")).trim();
      row.append(name, what);
      here.append(row);
    }
    document.getElementById("keys").showModal();
  };

  const ACTIONS = {
    j: () => move(1),
    k: () => move(-1),
    x: () => current()?.querySelector("[data-pick]")?.click(),
    g: () => { goUntil = Date.now() + GO_WITHIN; },
    "?": help,
  };

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey) return;
    if (event.ctrlKey || event.metaKey) {
      if (event.key.toLowerCase() !== "k" || scope() !== document) return;
      event.preventDefault();
      document.getElementById("palette").showModal();
      return;
    }
    if (!on() || event.target.closest?.(FIELDS)) return;
    if (Date.now() < goUntil) {
      goUntil = 0;
      const link = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    const inDialog = scope() !== document;
    if (press(event.key)) event.preventDefault();
    else if (!inDialog && event.key in ACTIONS) { event.preventDefault(); ACTIONS[event.key](); }
  });

  document.addEventListener("change", (event) => {
    if (!event.target.matches("[data-keys-switch]")) return;
    try { localStorage.setItem("fiducial.keys", event.target.checked ? "on" : "off"); } catch { /* stays on */ }
  });
  document.querySelector("[data-keys-switch]").checked = on();
}
