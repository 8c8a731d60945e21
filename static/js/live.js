// Live pages: small polls that end in a hidden tab, carry the ETag of what is shown, and tell when the line is lost.
{
  const WORDS = {
    400: "Not understood, and nothing was changed. Load the page again.",
    403: "Your role does not include this. Nothing was changed.",
    404: "That is gone, or it belongs to a site that you do not see.",
    405: "That cannot be done here. Nothing was changed.",
    413: "That is too large. Nothing was changed.",
    429: "Too many requests. Wait a moment and try again.",
  };
  const FAULT = "Something failed here and nothing was changed. Try again; if it fails again, tell an administrator.";
  const LINE = "Not sent: there is no connection. Try again when the line is back.";

  const polled = (ctx) => ["every", "refresh"].includes(ctx?.sourceEvent?.type);
  const say = (message) => document.dispatchEvent(new CustomEvent("toast", { detail: { message, colour: "bad" } }));
  const time = () => new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const refresh = () => {
    for (const element of document.querySelectorAll("[hx-trigger*=refresh]")) htmx.trigger(element, "refresh", {}, false);
  };
  let fresh = time();

  const found = () => {
    fresh = time();
    document.getElementById("lost").hidden = true;
    for (const element of document.querySelectorAll("[data-live]")) element.textContent = `Live, as of ${fresh}`;
  };
  const lost = () => {
    document.querySelector("[data-lost-since]").textContent = fresh;
    document.getElementById("lost").hidden = false;
  };

  document.addEventListener("htmx:config:request", (event) => {
    const { ctx } = event.detail;
    if (ctx.sourceEvent?.type === "every" && document.hidden) event.preventDefault();
    const etag = ctx.sourceElement.dataset?.etag;
    if (etag && polled(ctx)) ctx.request.headers["If-None-Match"] = etag;
  });

  document.addEventListener("htmx:before:response", (event) => {
    // A session that ended answers every request with the sign-in page, which must not land in a fragment.
    const { raw } = event.detail.ctx.response;
    const login = document.body.dataset.login;
    if (raw.redirected && new URL(raw.url).pathname === login) {
      event.preventDefault();
      location.assign(`${login}?${new URLSearchParams({ next: location.pathname + location.search })}`);
    }
  });

  document.addEventListener("htmx:after:request", (event) => {
    const { ctx } = event.detail;
    if (ctx.response.status < 500) { if (polled(ctx)) found(); } else if (polled(ctx)) lost();
  });

  document.addEventListener("htmx:response:error", (event) => {
    const { ctx } = event.detail;
    // 409 and 422 bring their form back with the words in it.
    if (!polled(ctx) && ![409, 422].includes(ctx.response.status)) say(WORDS[ctx.response.status] ?? FAULT);
  });

  document.addEventListener("htmx:error", (event) => {
    const { ctx, error } = event.detail;
    if (!ctx || ctx.response || error?.name === "AbortError") return;
    if (polled(ctx)) lost();
    else say(LINE);
  });

  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  document.addEventListener("changed", refresh);
  found();
}
