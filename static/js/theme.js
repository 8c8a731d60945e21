// Theme, density and navigation, kept in this browser only. Loaded blocking, so that they stand before the first paint.
{
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  const read = (key) => {
    try { return localStorage.getItem(`fiducial.${key}`); } catch { return null; }
  };
  const write = (key, value) => {
    try { localStorage.setItem(`fiducial.${key}`, value); } catch { /* a browser without storage keeps the default */ }
    show();
  };

  const show = () => {
    const theme = read("theme") || "system";
    root.dataset.bsTheme = theme === "system" ? (system.matches ? "dark" : "light") : theme;
    root.dataset.density = read("density") || "dense";
    if (read("nav") === "slim") root.dataset.nav = "slim";
    else delete root.dataset.nav;
    for (const button of document.querySelectorAll("button[data-set-theme]")) button.ariaPressed = button.dataset.setTheme === theme;
    for (const button of document.querySelectorAll("button[data-set-density]")) button.ariaPressed = button.dataset.setDensity === root.dataset.density;
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button");
    if (!button) return;
    if (button.dataset.setTheme) write("theme", button.dataset.setTheme);
    else if (button.dataset.setDensity) write("density", button.dataset.setDensity);
    else if ("themeSwitch" in button.dataset) write("theme", root.dataset.bsTheme === "dark" ? "light" : "dark");
    else if ("navSwitch" in button.dataset) write("nav", root.dataset.nav === "slim" ? "wide" : "slim");
  });

  show();
  system.addEventListener("change", show);
  addEventListener("storage", show);
  document.addEventListener("DOMContentLoaded", show);
}
