// Draws the plots of a page; the tables beside them say the same without it.
(() => {
  "use strict";
  const colours = ["#2563a8", "#b3372f", "#1b7a46", "#8a5a00", "#6b4bb3", "#3f6f7a"];
  const text = () => getComputedStyle(document.body).color;
  for (const place of document.querySelectorAll("[data-plot]")) {
    const drawn = JSON.parse(place.dataset.plot);
    const bars = drawn.shape === "bars";
    if (drawn.x.length < (bars ? 1 : 2)) { place.closest("figure").hidden = true; continue; }
    const paths = bars ? { paths: uPlot.paths.bars({ size: [0.6, 40] }), points: { show: false } } : { width: 2, spanGaps: true };
    const axis = { stroke: text, grid: { stroke: "rgba(128,128,128,.25)" }, ticks: { stroke: "rgba(128,128,128,.25)" } };
    const width = () => Math.max(260, place.clientWidth);
    const plot = new uPlot({
      width: width(),
      height: 240,
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "UTC"),
      scales: { x: { time: drawn.is_time } },
      axes: [axis, { ...axis, size: 80 }],
      series: [
        { label: drawn.is_time ? "Day" : "Age in days" },
        ...drawn.names.map((label, at) => ({
          label,
          stroke: colours[at % colours.length],
          ...(bars ? { fill: `${colours[at % colours.length]}99` } : {}),
          ...paths,
        })),
      ],
    }, [drawn.x, ...drawn.series], place);
    addEventListener("resize", () => plot.setSize({ width: width(), height: 240 }));
  }
})();
