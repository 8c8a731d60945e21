// Small helps on every page: copy buttons, selects that submit, the count of picked rows, the palette's filter.
{
  const copied = (button, text) => {
    const use = button.querySelector("use");
    const before = use.getAttribute("href");
    use.setAttribute("href", before.replace(/#.*/, "#check"));
    setTimeout(() => use.setAttribute("href", before), 1500);
    document.getElementById("said").textContent = `Copied ${text}`;
  };

  // Without HTTPS browsers have no clipboard interface; the older way copies what is selected.
  const copySelected = (text) => {
    const area = Object.assign(document.createElement("textarea"), { value: text, className: "sr" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (!button) return;
    const text = button.dataset.copy;
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else copySelected(text);
    copied(button, text);
    button.focus();
  });

  const count = (form) => {
    const number = form?.querySelector("[data-picked]");
    if (!number) return;
    const picked = form.querySelectorAll("[data-pick]:checked").length;
    const all = form.querySelector("[data-pick-all]");
    number.textContent = all?.checked ? "All" : picked;
    if (!picked && all) all.checked = false;
  };
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
    if (event.target.matches("[data-pick], [data-pick-all]")) count(event.target.form);
  });
  document.addEventListener("reset", (event) => setTimeout(() => count(event.target)));
  document.addEventListener("htmx:after:swap", () => document.querySelectorAll("form:has([data-picked])").forEach(count));

  const palette = document.getElementById("palette");
  palette.addEventListener("input", (event) => {
    const typed = event.target.value.trim().toLowerCase();
    for (const link of palette.querySelectorAll("a.opt")) link.hidden = !link.textContent.toLowerCase().includes(typed);
  });
  palette.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const stops = [palette.querySelector("[type=search]"), ...palette.querySelectorAll("a.opt:not([hidden])")];
    stops.at((stops.indexOf(document.activeElement) + step) % stops.length).focus();
  });
  palette.addEventListener("close", () => {
    palette.querySelector("form").reset();
    for (const link of palette.querySelectorAll("a.opt")) link.hidden = false;
  });
}
