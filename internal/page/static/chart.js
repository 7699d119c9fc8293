// A chart of sample prices that follows the user's two switches.
import { t } from "./text.js";

const days = 44;
const width = 320;
const height = 150;

/** Returns sample prices by day, always the same. */
function prices() {
  const all = [];
  let close = 21.4;
  for (let day = 0; day < days + 20; day++) {
    const open = close;
    close = open + Math.sin(day * 1.7) * 0.42 + Math.sin(day * 0.35) * 0.3 + 0.035;
    const reach = 0.16 + 0.12 * Math.abs(Math.cos(day * 2.3));
    all.push({ open, close, high: Math.max(open, close) + reach, low: Math.min(open, close) - reach });
  }
  return all;
}

function svg(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, String(value));
  }
  return element;
}

/** Draws the chart into place. Returns a function that applies a user's settings to it. */
export function drawChart(place, price, change) {
  const all = prices();
  const seen = all.slice(-days);
  const top = Math.max(...seen.map((day) => day.high));
  const bottom = Math.min(...seen.map((day) => day.low));
  const x = (day) => ((day + 0.5) * width) / days;
  const y = (value) => 4 + ((top - value) / (top - bottom)) * (height - 8);

  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "chart" });
  seen.forEach((day, i) => {
    const candle = svg("g", { class: day.close >= day.open ? "rise" : "fall" });
    candle.append(
      svg("line", { x1: x(i), x2: x(i), y1: y(day.high), y2: y(day.low) }),
      svg("rect", {
        x: x(i) - 2.4,
        width: 4.8,
        y: y(Math.max(day.open, day.close)),
        height: Math.max(1, Math.abs(y(day.open) - y(day.close))),
      }),
    );
    chart.append(candle);
  });
  for (const length of [5, 10, 20]) {
    const points = seen.map((_, i) => {
      const past = all.slice(i + 20 - length + 1, i + 21);
      return `${x(i).toFixed(1)},${y(past.reduce((sum, day) => sum + day.close, 0) / length).toFixed(1)}`;
    });
    chart.append(svg("polyline", { points: points.join(" "), class: `ma ma${length}` }));
  }
  place.append(chart);

  const last = seen[days - 1].close;
  const before = seen[days - 2].close;
  price.textContent = last.toFixed(2);
  change.textContent = `${last >= before ? "+" : "−"}${Math.abs((last / before - 1) * 100).toFixed(2)}%`;
  change.className = last >= before ? "rise" : "fall";

  return ({ rg, only20 }) => {
    const card = place.parentElement;
    card.classList.toggle("green-up", !rg);
    card.classList.toggle("only20", only20);
    const colours = rg ? [t("red"), t("green")] : [t("green"), t("red")];
    chart.setAttribute("aria-label", t("chartAlt", ...colours, only20 ? "20" : "5, 10, 20"));
  };
}
