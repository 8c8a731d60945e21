// Dialogs: `data-open-dialog="id"` opens one; a fragment that htmx puts into #dialog opens it.
{
  const dialog = document.getElementById("dialog");

  document.addEventListener("click", (event) => {
    const opener = event.target.closest?.("[data-open-dialog]");
    if (opener) document.getElementById(opener.dataset.openDialog).showModal();
    const closer = event.target.closest?.("[data-dialog-close]");
    if (closer?.closest("dialog")) {
      event.preventDefault();
      closer.closest("dialog").close();
    }
  });

  document.addEventListener("htmx:after:swap", (event) => {
    if (event.detail.ctx.target !== dialog || !dialog.childElementCount) return;
    dialog.setAttribute("aria-label", dialog.querySelector("h2")?.textContent ?? "Dialog");
    if (!dialog.open) dialog.showModal();
    dialog.querySelector("[aria-invalid], [autofocus]")?.focus();
  });

  dialog.addEventListener("close", () => dialog.replaceChildren());
}
