// Small helps on every page: copy buttons, selects that submit, the count of picked rows, printing.
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
    const button = event.target.closest?.("[data-copy], [data-copy-link]");
    if (!button) return;
    const text = button.dataset.copy ?? new URL(button.dataset.copyLink, location.href).href;
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else copySelected(text);
    copied(button, text);
    button.focus();
  });

  // On a phone the navigation is a strip: where one is must be seen.
  const here = document.querySelector(".nav [aria-current=page]"), strip = here?.closest(".nav > div");
  if (strip) strip.scrollLeft = here.offsetLeft - (strip.clientWidth - here.offsetWidth) / 2;

  document.addEventListener("click", (event) => { if (event.target.closest?.("[data-print]")) print(); });

  const count = (form) => {
    const number = form?.querySelector("[data-picked]");
    if (!number) return;
    const picked = form.querySelectorAll("[data-pick]:checked").length;
    const all = form.querySelector("[data-pick-all]");
    number.textContent = all?.checked ? all.dataset.pickAll || "All" : picked;
    if (!picked && all) all.checked = false;
  };
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
    // Who unticks one row does not mean all that match.
    if (!event.target.matches("[data-pick], [data-pick-all]")) return;
    const all = event.target.form.querySelector("[data-pick-all]");
    if (all && !event.target.checked) all.checked = false;
    count(event.target.form);
  });
  document.addEventListener("click", (event) => {
    const all = event.target.closest?.("[data-pick-page]");
    if (!all) return;
    for (const tick of all.form.querySelectorAll("[data-pick]")) tick.checked = true;
    count(all.form);
  });
  // What was done to the ticked rows is done: the next act means others, unless it is asked about already.
  document.addEventListener("changed", (event) => {
    if (!document.querySelector("dialog[open]")) event.target.closest?.("form:has([data-picked])")?.reset();
  });
  document.addEventListener("reset", (event) => setTimeout(() => count(event.target)));
  document.addEventListener("htmx:after:swap", () => document.querySelectorAll("form:has([data-picked])").forEach(count));
}
