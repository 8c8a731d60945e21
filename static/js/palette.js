// The command palette: a combobox over what the server finds. htmx asks, a little after the last key, and drops answers
// to what was typed before; here are the keys.
{
  const palette = document.getElementById("palette");
  const box = palette.querySelector("[role=combobox]");
  const options = () => [...palette.querySelectorAll("[role=option]:not([aria-disabled])")];
  const chosen = () => palette.querySelector("[role=option][aria-selected=true]");

  const choose = (option) => {
    chosen()?.setAttribute("aria-selected", "false");
    option?.setAttribute("aria-selected", "true");
    option?.scrollIntoView({ block: "nearest" });
    if (option) box.setAttribute("aria-activedescendant", option.id);
    else box.removeAttribute("aria-activedescendant");
  };

  const run = (option) => {
    const { press } = option.dataset;
    if (!press) return;
    palette.close();
    document.querySelector(press)?.click();
  };

  box.addEventListener("keydown", (event) => {
    const all = options(), at = all.indexOf(chosen());
    const to = { ArrowDown: at + 1, ArrowUp: at < 0 ? -1 : at - 1, PageDown: Math.min(at + 8, all.length - 1), PageUp: Math.max(at - 8, 0) }[event.key];
    if (to !== undefined && all.length) {
      event.preventDefault();
      choose(all.at(to % all.length));
    } else if (event.key === "Enter" && !event.isComposing && chosen()) {
      event.preventDefault();
      // With Ctrl or Cmd in a tab of its own, as a link does.
      if (event.ctrlKey || event.metaKey) chosen().dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, ctrlKey: event.ctrlKey, metaKey: event.metaKey }));
      else chosen().click();
    }
  });
  // What was found for other letters than those that stand there is not shown, however late it comes.
  document.addEventListener("htmx:before:response", (event) => {
    const { ctx } = event.detail;
    if (ctx.sourceElement === box && new URLSearchParams(ctx.request.body).get("q") !== box.value) event.preventDefault();
  });
  // Enter before the answer came must not open what was found for fewer letters: it searches.
  box.addEventListener("input", () => choose(null));
  palette.addEventListener("click", (event) => {
    const option = event.target.closest("[data-press]");
    if (option) run(option);
  });
  // The answer to what is in the box, that is, not any part of the page that refreshes behind the palette.
  document.addEventListener("htmx:after:swap", (event) => {
    if (palette.open && event.detail.ctx.sourceElement === box && !chosen()) choose(options()[0]);
  });
  palette.addEventListener("toggle", () => { if (palette.open) htmx.trigger(box, "palette-open", {}, false); });
  palette.addEventListener("close", () => {
    palette.querySelector("form").reset();
    document.getElementById("palette-found").replaceChildren();
    choose(null);
  });
}
