// Keeps a page up to date and makes it handier. Every page works without it.
"use strict";
(() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
  const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "always", style: "short" });

  // Times: in the viewer's zone, and ages as how long ago.
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

  // Lines to copy get a button.
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

  function dress(root) { times(root); copies(root); }
  dress(document);
  const note = document.getElementById("zone");
  if (note) note.textContent = "times in " + zone;
  setInterval(() => times(document), 5000);
  for (const form of document.querySelectorAll("form[data-auto]")) {
    form.addEventListener("change", () => form.requestSubmit());
  }

  // Live: the server sends fragments by the id of the element they fill. One
  // that the viewer is selecting text in waits; focus stays on the same link.
  if (!("live" in document.body.dataset) || !window.EventSource) return;
  const badge = document.getElementById("live");
  const waiting = new Map();
  function busy(el) {
    const s = document.getSelection();
    return el.querySelector("details.deed[open], input:checked") || el.contains(document.activeElement) && document.activeElement.matches("input, textarea, select") ||
      s && !s.isCollapsed && (el.contains(s.anchorNode) || el.contains(s.focusNode));
  }
  function fill(el, html) {
    if (busy(el)) { waiting.set(el, html); return; }
    waiting.delete(el);
    const focus = el.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const t = document.createElement("template");
    t.innerHTML = html;
    dress(t.content);
    el.replaceChildren(t.content);
    if (focus) {
      for (const a of el.querySelectorAll("a")) {
        if (a.getAttribute("href") === focus) { a.focus({ preventScroll: true }); break; }
      }
    }
  }
  for (const type of ["toggle", "change"]) {
    document.addEventListener(type, () => { for (const [el, html] of waiting) fill(el, html); }, true);
  }
  document.addEventListener("selectionchange", () => { for (const [el, html] of waiting) fill(el, html); });
  function say(text, ok) {
    badge.hidden = false;
    if (badge.textContent !== text) badge.textContent = text;
    badge.classList.toggle("off", !ok);
  }
  function listen() {
    const source = new EventSource(location.href);
    source.onopen = () => say("live", true);
    source.onerror = () => {
      say("not live, trying again", false);
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 10000);
    };
    for (const el of document.querySelectorAll("main [id]")) {
      source.addEventListener(el.id, (e) => fill(el, e.data));
    }
    window.addEventListener("pagehide", () => source.close());
    window.addEventListener("pageshow", (e) => { if (e.persisted) location.reload(); });
  }
  listen();
})();
