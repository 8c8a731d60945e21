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
  // Why a part does not refresh.
  const REFUSED = {
    400: "This no longer refreshes: load the page again.",
    403: "This no longer refreshes: your role does not include it any more.",
    404: "This no longer refreshes: it is gone, or its search is forgotten. Search again.",
    429: "Too many requests; it goes on by itself.",
    500: "Something failed here; it is tried again. If it fails again, tell an administrator.",
  };
  const FAULT = "Something failed here and nothing was changed. Try again; if it fails again, tell an administrator.";
  const SIGNED_OUT =
    "Nothing was changed: your session has ended. Sign in again in another tab, then send this once more; what you typed stays here.";
  const ENDED = "Your session has ended: what you see no longer refreshes. Sign in again in another tab, or load this page.";
  const LINE = "Not sent: there is no connection. Try again when the line is back.";

  const toSignIn = (raw) => raw.redirected && new URL(raw.url).pathname === document.body.dataset.login;
  const polled = (ctx) => ["every", "refresh"].includes(ctx?.sourceEvent?.type);
  const say = (message) => document.dispatchEvent(new CustomEvent("toast", { detail: { message, colour: "bad" } }));
  const time = () => new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const refresh = () => {
    for (const element of document.querySelectorAll("[hx-trigger*=refresh]")) htmx.trigger(element, "refresh", {}, false);
  };
  let fresh = time(), ended = false, typed = false;

  // One part that fails makes the page old, whatever the others bring, for as long as it is there.
  const failing = new Set();
  const found = (part) => {
    failing.delete(part);
    if ([...failing].some((each) => each.isConnected)) return;
    fresh = time();
    document.getElementById("lost").hidden = true;
    for (const element of document.querySelectorAll("[data-live]")) element.textContent = `Live, as of ${fresh}`;
  };
  const lost = (part, why) => {
    failing.add(part);
    document.querySelector("[data-lost-why]").textContent = why;
    document.querySelector("[data-lost-since]").textContent = fresh;
    document.getElementById("lost").hidden = false;
  };

  // Who reads on in another tab is still at this case: presence alone is told from a hidden one too, more rarely.
  const MINUTE = 55_000; // ms; a browser wakes hidden tabs once a minute
  let told = Date.now();
  const stillHere = (element) => {
    if (element.id !== "presence" || Date.now() < told + MINUTE) return false;
    told = Date.now();
    return true;
  };

  document.addEventListener("htmx:config:request", (event) => {
    const { ctx } = event.detail;
    if (ctx.sourceEvent?.type === "every" && document.hidden && !stillHere(ctx.sourceElement)) event.preventDefault();
    const etag = ctx.sourceElement.dataset?.etag;
    if (etag && polled(ctx)) ctx.request.headers["If-None-Match"] = etag;
    // Who signed in again in another tab has a new token; the one in this page is of before.
    const token = document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1];
    if (token) {
      ctx.request.headers["X-CSRFToken"] = token;
      ctx.request.body?.delete("csrfmiddlewaretoken");
    }
  });

  // After a write whose answer leads to another page nothing more is sent while that page is awaited. Not for ever: who
  // stops it stays here, which no event tells.
  const AWAITED = 10_000; // ms
  let leaving = 0;
  addEventListener("pageshow", () => { leaving = 0; });
  document.addEventListener("htmx:before:request", (event) => { if (Date.now() < leaving) event.preventDefault(); });

  document.addEventListener("htmx:before:response", (event) => {
    // A session that ended answers every request with the sign-in page, which must not land in a fragment.
    const { ctx } = event.detail, { raw } = ctx.response;
    if (!toSignIn(raw)) {
      if (polled(ctx)) ended = false;
      return;
    }
    event.preventDefault();
    // A poll must not take the page away from somebody who is typing.
    if (polled(ctx) && typed) {
      if (!ended) say(ENDED);
      ended = true;
    } else if (ctx.request.method !== "GET") say(SIGNED_OUT);
    else location.assign(`${document.body.dataset.login}?${new URLSearchParams({ next: location.pathname + location.search })}`);
  });

  document.addEventListener("htmx:after:request", (event) => {
    const { ctx } = event.detail;
    const { status, raw } = ctx.response;
    if (ctx.hx.redirect) leaving = Date.now() + AWAITED;
    if (!polled(ctx) || toSignIn(raw)) return;
    if ((status >= 200 && status < 300) || status === 304) found(ctx.sourceElement);
    else lost(ctx.sourceElement, REFUSED[status] ?? (status >= 500 ? REFUSED[500] : REFUSED[400]));
  });

  document.addEventListener("htmx:response:error", (event) => {
    const { ctx } = event.detail;
    // 409 and 422 bring their form back with the words in it.
    if (!polled(ctx) && ![409, 422].includes(ctx.response.status)) say(WORDS[ctx.response.status] ?? FAULT);
  });

  document.addEventListener("htmx:error", (event) => {
    const { ctx, error } = event.detail;
    if (!ctx || ctx.response || error?.name === "AbortError") return;
    if (polled(ctx)) lost(ctx.sourceElement, "Connection lost; it goes on by itself.");
    else say(LINE);
  });

  document.addEventListener("input", (event) => { typed ||= Boolean(event.target.closest("#main, #dialog")); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  document.addEventListener("changed", refresh);
  found();
}
