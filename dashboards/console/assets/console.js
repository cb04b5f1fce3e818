// What htmx does not do for these pages: times in the viewer's zone, buttons
// that copy, holding a live update back while somebody selects text, writes or
// has ticked something in it, and letting go of the stream of a page that nobody
// sees. Requests, swaps and the stream are htmx's.
// Every page works without any of this.
"use strict";
(() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
  const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "always", style: "short" });

  function age(t) {
    const s = Math.round((t - Date.now()) / 1000);
    for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
      if (Math.abs(s) >= size) return relative.format(Math.trunc(s / size), unit);
    }
    return relative.format(s, "second");
  }
  function times(root) {
    for (const el of root.querySelectorAll("time")) {
      const t = new Date(el.dateTime);
      if (isNaN(t)) continue;
      const today = t.toDateString() === new Date().toDateString();
      const text = "age" in el.dataset ? age(t) : (today ? "" : day.format(t) + " ") + clock.format(t);
      if (el.textContent !== text) el.textContent = text;
      el.title = full.format(t) + "\n" + el.dateTime;
    }
  }
  function copies(root) {
    if (!navigator.clipboard) return;
    for (const el of root.querySelectorAll(".copy:not(.has-button)")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "quiet";
      button.textContent = "Copy";
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(el.querySelector("pre").textContent);
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
      el.classList.add("has-button");
      el.append(button);
    }
  }
  htmx.onLoad((root) => { times(root.parentNode || root); copies(root.parentNode || root); });
  const note = document.getElementById("zone");
  if (note) {
    note.textContent = new Intl.DateTimeFormat(undefined, { timeZoneName: "short" }).formatToParts().find((p) => p.type === "timeZoneName").value;
    note.title = "times are in " + zone;
  }
  setInterval(() => times(document), 5000);
  const here = document.querySelector("nav [aria-current]"); // on small screens the list is wider than the screen
  if (here && here.parentNode.scrollWidth > here.parentNode.clientWidth) here.parentNode.scrollLeft = here.offsetLeft - here.parentNode.offsetLeft - 40;

  // Live updates.
  const waiting = new Map();
  function busy(el) {
    const s = document.getSelection();
    return el.querySelector("details.deed[open], input:checked") || el.contains(document.activeElement) && document.activeElement.matches("input, textarea, select") ||
      s && !s.isCollapsed && (el.contains(s.anchorNode) || el.contains(s.focusNode));
  }
  function late() {
    for (const [el, html] of waiting) {
      if (!el.isConnected) waiting.delete(el);
      else if (!busy(el)) { waiting.delete(el); htmx.swap(el, html, { swapStyle: "innerHTML" }); }
    }
  }
  for (const type of ["toggle", "change", "focusout"]) document.addEventListener(type, () => setTimeout(late), true);
  document.addEventListener("selectionchange", late);
  let focus = null; // address of the link that has the focus while its table is renewed
  htmx.on("htmx:sseBeforeMessage", (e) => {
    const el = e.target;
    if (busy(el)) { waiting.set(el, e.detail.data); e.preventDefault(); return; }
    waiting.delete(el);
    focus = el.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  });
  htmx.on("htmx:sseMessage", (e) => {
    if (!focus) return;
    for (const a of e.target.querySelectorAll("a")) {
      if (a.getAttribute("href") === focus) { a.focus({ preventScroll: true }); break; }
    }
    focus = null;
  });
  const badge = document.getElementById("live");
  function say(text, ok) {
    badge.hidden = text === "";
    if (badge.textContent !== text) badge.textContent = text;
    badge.classList.toggle("off", !ok);
  }
  htmx.on("htmx:sseOpen", () => say("live", true));
  htmx.on("htmx:sseError", () => say("not live, trying again", false));
  htmx.on("htmx:sseClose", () => say("", true));

  // A browser has six connections to a server: a page that nobody sees gives its
  // own back, and takes it up again when it is seen.
  let source = null, hiding;
  htmx.createEventSource = (url) => (source = new EventSource(url));
  function rest() { if (source) { source.close(); say("", true); } }
  window.addEventListener("pagehide", rest);
  window.addEventListener("pageshow", (e) => { if (e.persisted) location.reload(); });
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiding);
    if (document.hidden) { hiding = setTimeout(rest, 10000); return; }
    const main = document.querySelector("main[sse-connect]");
    if (!main || !source || source.readyState !== EventSource.CLOSED) return;
    for (const el of [main, ...main.querySelectorAll("[sse-swap]")]) htmx.trigger(el, "htmx:afterProcessNode");
  });

  // A page that a form led to begins at its beginning, for readers, too.
  htmx.on("htmx:afterSettle", (e) => {
    if (e.target.id === "main" && e.detail.requestConfig && e.detail.requestConfig.verb === "post") {
      window.scrollTo(0, 0);
      document.getElementById("main").focus({ preventScroll: true });
    }
  });
})();
