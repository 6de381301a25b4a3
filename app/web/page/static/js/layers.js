// The layers of a VGG, drawn and as a table.

import { draw, make } from "./dom.js";

// Lying: width of a column, left edge of the first, middle of the shapes. Upright: height of a row, middle.
const [STEP, LEFT, MIDDLE, ROW, CENTRE] = [40, 100, 112, 26, 98];
const UNITS = [[1e9, "billions"], [1e6, "millions"], [1e3, "thousands"], [1, ""]];
const BARS = ["parameters", "multiply_adds"];
const KINDS = { convolution: "conv", "max-pooling": "pool", "fully connected": "fc", normalisation: "lrn" };
export const figures = (count, how) => count.toLocaleString("en", { maximumSignificantDigits: 3, ...how });
const square = (side) => (side ? `${side}\u00a0×\u00a0${side}` : "–");
const column = (index) => LEFT + (index + 0.5) * STEP;
export const text = (x, y, words) => draw("text", { x, y }, words);
export const box = (x, y, width, height, kind) => draw(`rect.${kind}`, { x, y, width, height });
/** A box around a point. */
const around = (x, y, width, height, kind) => box(x - width / 2, y - height / 2, width, height, kind);

/** Draw the models that answer or, if none is a VGG, the others. */
export function drawNetworks(place, { chosen, all }) {
	const [asked, there] = [chosen, all].map((models) => models.filter(({ layers }) => layers.length));
	const titles = chosen.map(({ title }) => title).join(" and ");
	const hint = `Not a VGG: ${titles}. ${there.length ? "This server also has:" : ""}`;
	const key = titles + there.length;
	if (!all.length || place.drawn === key) return; // keep its scroll position and its open table
	place.drawn = key;
	place.replaceChildren(...(asked.length ? asked.map(architecture) : [make("p.hint", hint), ...there.map(architecture)]));
}

function architecture(model) {
	const { title, layers } = model;
	const scroll = (kind, ...children) => make("div.scroll", { tabindex: "0", role: "region", "aria-label": `${kind} of ${title}` }, ...children);
	return make("article", make("h3", title), make("p", summary(model)), legend(layers),
		scroll("Drawing", lying(model), upright(model)),
		make("details", make("summary", `The ${layers.length} layers as a table`), scroll("Layers", table(layers))));
}

export const legend = (layers) => make("p.row.hint", ...Object.entries(KINDS).filter(([kind]) => layers.some((layer) => layer.kind === kind))
	.map(([kind, name]) => make(`span.key.${name}`, kind)), " Length: pixels per side. Thickness: channels.");

const LONG = { notation: "compact", compactDisplay: "long" };

function summary({ layers, parameters, multiply_adds: work }) {
	const [convolutions, pools, connected] = ["convolution", "max-pooling", "fully connected"].map((kind) => layers.filter((layer) => layer.kind === kind));
	const share = (some, key, whole) => `${Math.round((100 * some.reduce((sum, layer) => sum + layer[key], 0)) / whole)}\u00a0%`;
	return `${convolutions.length} convolutions of ${square(convolutions[0].kernel)} and ${connected.length} fully connected layers. `
		+ `Stacked, small kernels see far: ${square(pools.at(-1).receptive_field)} pixels after the last pooling. `
		+ `${share(connected, "parameters", parameters)} of the ${figures(parameters, LONG)} parameters are fully connected, `
		+ `${share(convolutions, "multiply_adds", work)} of the ${figures(work, LONG)} multiply-adds are in the convolutions.`;
}

export const picture = (kind, width, height, title, parts) =>
	draw(`svg.${kind}`, { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}; the table has the numbers` }, ...parts);

/** Layers from left to right. */
export const across = (layers, middle) => layers.flatMap((layer, index) => {
	const { long, thick, before } = extent(layer, layers[index - 1]);
	const x = column(index);
	return [before ? trapezoid((along, across) => [x + along, middle + across], before, long) : around(x, middle, thick, long, KINDS[layer.kind]),
		text(x, middle - (before ?? long) / 2 - 8, label(layer)), text(x, middle + 106, short(layer))];
});

/** Layers from top to bottom. */
export const down = (layers, centre) => layers.flatMap((layer, index) => {
	const { long, thick, before } = extent(layer, layers[index - 1]);
	const y = top(index);
	return [before ? trapezoid((along, across) => [centre + across / 2, y + along], before, long) : around(centre, y, long / 2, 0.8 * thick, KINDS[layer.kind]),
		text(centre + 66, y + 4, label(layer))];
});
export const top = (index) => 36 + (index + 0.5) * ROW;

/** From left to right. */
function lying({ title, layers }) {
	const foot = (index) => 288 + 76 * index;
	const bars = BARS.flatMap((key, row) => {
		const { unit, of, word } = scale(layers, key);
		return [text(0, foot(row) - 14, named(key)), text(0, foot(row) - 1, unit), box(LEFT, foot(row), layers.length * STEP, 1, "line"),
			...layers.flatMap((layer, index) => {
				const height = 48 * of(layer);
				return [box(column(index) - 11, foot(row) - height, 22, height, KINDS[layer.kind]), text(column(index), foot(row) - height - 5, word(layer))];
			})];
	});
	return picture("lying", column(layers.length), 372, title, [text(0, MIDDLE, "output"), ...across(layers, MIDDLE), ...bars]);
}

/** From top to bottom, for a phone. */
function upright({ title, layers }) {
	const left = (bar) => 186 + 78 * bar;
	const bars = BARS.flatMap((key, bar) => {
		const { unit, of, word } = scale(layers, key);
		return [text(left(bar) + 36, 10, named(key)), text(left(bar) + 36, 24, unit),
			...layers.flatMap((layer, index) => [
				box(left(bar), top(index) - 6, 26 * of(layer), 12, KINDS[layer.kind]), text(left(bar) + 26 * of(layer) + 20, top(index) + 4, word(layer))])];
	});
	return picture("upright", 350, top(layers.length), title, [text(CENTRE, 10, "output"), ...down(layers, CENTRE), ...layers.map(({ name }, index) => text(0, top(index) + 4, name)), ...bars]);
}

const named = (key) => key.replace("_", "-");
const short = ({ kind, name }) => (kind === "max-pooling" ? "" : name.replace("conv", "").replace("_", "."));

/** Channels, or the side after a pooling. */
const label = ({ kind, output_shape: [channels, side] }) => (kind === "max-pooling" ? `${side}²` : String(channels));

/** Sides grow with the square root, channels with the logarithm; `before` a pooling. */
function extent({ kind, output_shape: [channels, side] }, previous) {
	const tall = (pixels) => 11.4 * Math.sqrt(pixels);
	if (!side) return { long: 12 * Math.log2(channels), thick: 8 };
	return { long: tall(side), thick: 3 * Math.log2(channels) - 6, before: kind === "max-pooling" ? tall(previous.output_shape[1]) : undefined };
}

function trapezoid(at, from, to) {
	const points = [at(-9, -from / 2), at(9, -to / 2), at(9, to / 2), at(-9, from / 2)].join(" ");
	return draw("polygon.pool", { points });
}

/** A linear scale: the unit, the share of the longest bar, and the number at a bar that is not short. */
function scale(layers, key) {
	const most = Math.max(...layers.map((layer) => layer[key]));
	const [size, unit] = UNITS.find(([size]) => most >= size);
	return { unit, of: (layer) => layer[key] / most, word: (layer) => (layer[key] < most / 5 ? "" : figures(layer[key] / size)) };
}

function table(layers) {
	const row = (name, ...texts) => make("tr", make("th", { scope: "row" }, name), ...texts.map((words) => make("td", words)));
	const exact = (count) => count.toLocaleString("en");
	return make("table",
		make("thead", make("tr", ...["Layer", "Kind", "Kernel", "Output", "Parameters", "Multiply-adds", "Sees"].map((words) => make("th", { scope: "col" }, words)))),
		make("tbody", ...layers.map((layer) => row(layer.name, layer.kind, square(layer.kernel), layer.output_shape.join(" × "),
			exact(layer.parameters), exact(layer.multiply_adds), square(layer.receptive_field)))));
}
