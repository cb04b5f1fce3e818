// Draws a page's charts with uPlot in place of their SVG, from the data that
// stands beside it, in the colours of the style sheet.
"use strict";
(() => {
  const plots = new Map();
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
  const full = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZoneName: "short" });
  const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
  const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

  function draw(box) {
    const c = JSON.parse(box.dataset.chart);
    const css = getComputedStyle(box);
    const colour = (name) => css.getPropertyValue("--" + name).trim();
    const colours = { ok: colour("accent"), good: colour("good"), warn: colour("chart-warn"), bad: colour("bad"), other: colour("chart-other"), plain: colour("muted") };
    const n = c.series[0].values.length;
    const data = [Array.from({ length: n }, (_, i) => c.from + i * c.step)];
    const series = [{ label: "from", value: (u, t) => t == null ? "" : full.format(t * 1000) }];
    for (const s of c.series) {
      const col = colours[s.kind] || colours.ok;
      data.push(s.values);
      series.push(Object.assign({ label: s.name, stroke: col, width: s.line ? 1.5 : 0, points: { show: false }, value: (u, v) => v == null ? "" : whole.format(v) },
        s.line ? {} : { fill: col, paths: uPlot.paths.bars({ size: [0.8, 60], align: 1 }) }));
    }
    const bands = [];
    if (c.band) {
      for (const [name, v] of [["usual, up to", c.band.high], ["usual, from", c.band.low]]) {
        data.push(Array(n).fill(v));
        series.push({ label: name, stroke: colours.good, width: 1, dash: [4, 4], points: { show: false }, value: () => whole.format(v) });
      }
      bands.push({ series: [series.length - 2, series.length - 1], fill: colour("chart-band") });
    }
    const axis = { stroke: colour("muted"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1, size: 4 }, font: "12px " + css.fontFamily };
    const top = Math.max(1, ...data.slice(1).flat());
    box.replaceChildren();
    const u = new uPlot({
      width: Math.max(box.clientWidth, 200), height: 190, bands, series,
      scales: { x: { time: true, range: [c.from, c.from + n * c.step] }, y: { range: [0, top * 1.08] } },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      axes: [
        Object.assign({}, axis, { size: 30, space: 70, values: (u, at, i, space, incr) => at.map((t) => {
          const d = new Date(t * 1000);
          return incr >= 86400 || d.getHours() + d.getMinutes() === 0 ? day.format(d) : clock.format(d);
        }) }),
        Object.assign({}, axis, { size: 50, space: 36, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 1e8, 1e9], values: (u, at) => at.map((v) => short.format(v)) }),
      ],
    }, data, box);
    u.root.setAttribute("aria-hidden", "true"); // the words of the figure say it
    plots.set(box, u);
  }
  function drawAll(root) {
    for (const [box, u] of plots) if (!box.isConnected) { u.destroy(); sizes.unobserve(box); plots.delete(box); }
    for (const box of root.querySelectorAll("[data-chart]")) {
      if (!plots.has(box)) { draw(box); sizes.observe(box); }
    }
  }
  const sizes = new ResizeObserver((all) => {
    for (const { target } of all) {
      const u = plots.get(target);
      if (u && target.clientWidth > 0 && Math.abs(u.width - target.clientWidth) > 1) u.setSize({ width: target.clientWidth, height: u.height });
    }
  });
  htmx.onLoad((root) => drawAll(root.parentNode || root));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const [box, u] of plots) { u.destroy(); draw(box); }
  });
})();
