// A word after each write. Comes as an event `toast` {message, colour, undo_url} (HX-Trigger), or rendered with the page.
{
  const SHORT = 8000, WITH_UNDO = 20000; // ms; what went wrong stays until it is closed
  const ICONS = { good: "done", move: "done", wait: "warn", bad: "fail", note: "advisory" };

  const leave = (toast) => {
    const undo = toast.querySelector("form");
    let timer;
    const start = () => { timer = setTimeout(() => toast.remove(), undo ? WITH_UNDO : SHORT); };
    const stop = () => clearTimeout(timer);
    for (const pause of ["pointerenter", "focusin"]) toast.addEventListener(pause, stop);
    for (const resume of ["pointerleave", "focusout"]) toast.addEventListener(resume, start);
    start();
  };

  // A modal dialog lets nobody see or reach what is outside of it: the words stand in it while it is open.
  const toasts = document.getElementById("toasts");
  const put = (where) => { if (toasts.parentElement !== where) where.append(toasts); };
  const place = () => put(document.querySelector("dialog[open]") ?? document.body);
  for (const change of ["toggle", "close"]) document.addEventListener(change, place, true);
  document.addEventListener("htmx:before:swap", (event) => { if (event.detail.ctx.target?.contains?.(toasts)) put(document.body); });
  document.addEventListener("htmx:after:swap", place);

  // Undo posts only to ourselves, whatever the event says.
  const ours = (url) => url && new URL(url, location.href).origin === location.origin;

  const show = ({ message, colour = "good", undo_url = "" }) => {
    const toast = document.getElementById("toast-template").content.cloneNode(true).firstElementChild;
    const tone = colour in ICONS ? colour : "good";
    toast.className = `toast is-${tone}`;
    toast.querySelector("[data-toast-text]").textContent = message;
    const use = toast.querySelector("use");
    use.setAttribute("href", use.getAttribute("href").replace(/#.*/, `#${ICONS[tone]}`));
    const undo = toast.querySelector("form");
    if (ours(undo_url)) {
      undo.action = undo_url;
      undo.setAttribute("hx-post", undo_url);
    } else {
      undo.remove();
    }
    place();
    toasts.append(toast);
    htmx.process(toast);
    if (tone === "good" || tone === "move") leave(toast);
  };

  document.addEventListener("toast", (event) => show(event.detail));
  document.addEventListener("click", (event) => {
    event.target.closest?.("[data-toast-close]")?.closest("[data-toast]").remove();
  });
  document.addEventListener("submit", (event) => {
    // An undo is asked for once.
    const toast = event.target.closest?.("[data-toast]");
    if (toast) setTimeout(() => toast.remove());
  });
  for (const toast of document.querySelectorAll("#toasts > :is(.is-good, .is-move)")) leave(toast);
}
