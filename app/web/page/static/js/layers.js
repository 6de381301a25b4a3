// The layers of a VGG, drawn and as a table.

import { draw, make } from "./dom.js";

// Width of a column, left edge of the first, middle of the shapes, longest bar.
const [STEP, LEFT, MIDDLE, ROW] = [40, 92, 112, 48];
const rough = (count, compactDisplay) => count.toLocaleString("en", { notation: "compact", compactDisplay, maximumSignificantDigits: 3 });
const square = (side) => (side ? `${side}\u00a0×\u00a0${side}` : "–");
const column = (index) => LEFT + (index + 0.5) * STEP;
const text = (x, y, words) => draw("text", { x, y }, words);
const box = (x, y, width, height, kind) => draw(`rect.${kind}`, { x, y, width, height });

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
	const scroll = (kind, child) => make("div.scroll", { tabindex: "0", role: "region", "aria-label": `${kind} of ${title}` }, child);
	return make("article", make("h3", title), make("p", summary(model)), scroll("Drawing", drawing(model)),
		make("details", make("summary", `The ${layers.length} layers as a table`), scroll("Layers", table(layers))));
}

function summary({ layers, parameters, multiply_adds: work }) {
	const [convolutions, pools, connected] = ["convolution", "max-pooling", "fully connected"].map((kind) => layers.filter((layer) => layer.kind === kind));
	const share = (some, key, whole) => `${Math.round((100 * some.reduce((sum, layer) => sum + layer[key], 0)) / whole)}\u00a0%`;
	return `${convolutions.length} convolutions of ${square(convolutions[0].kernel)} and ${connected.length} fully connected layers. `
		+ `Stacked, small kernels see far: ${square(pools.at(-1).receptive_field)} pixels after the last pooling. `
		+ `${share(connected, "parameters", parameters)} of the ${rough(parameters, "long")} parameters are fully connected, `
		+ `${share(convolutions, "multiply_adds", work)} of the ${rough(work, "long")} multiply-adds are in the convolutions.`;
}

function drawing({ title, layers }) {
	return draw("svg", { viewBox: `0 0 ${column(layers.length)} 372`, role: "img", "aria-label": `${title}; the table has the numbers` }, text(0, MIDDLE, "output"),
		...layers.map((layer, index) => shape(layer, layers[index - 1], column(index))), ...bars(layers, "parameters", 288), ...bars(layers, "multiply_adds", 364));
}

/** Height: side of the output (square root); width: channels (logarithm). */
function shape(layer, previous, x) {
	const [channels, side] = layer.output_shape;
	const tall = (pixels) => 11.4 * Math.sqrt(pixels);
	if (layer.kind === "max-pooling") {
		const [from, to] = [tall(previous.output_shape[1]) / 2, tall(side) / 2];
		const points = `${x - 9},${MIDDLE - from} ${x + 9},${MIDDLE - to} ${x + 9},${MIDDLE + to} ${x - 9},${MIDDLE + from}`;
		return draw("g", draw("polygon.pool", { points }), text(x, MIDDLE - from - 8, `${side}²`));
	}
	const height = side ? tall(side) : 12 * Math.log2(channels);
	const width = side ? 3 * Math.log2(channels) - 6 : 8;
	return draw("g", box(x - width / 2, MIDDLE - height / 2, width, height, side ? "conv" : "fc"),
		text(x, MIDDLE - height / 2 - 8, String(channels)), text(x, MIDDLE + 106, layer.name.replace("conv", "").replace("_", ".")));
}

/** On a linear scale. */
function bars(layers, key, foot) {
	const most = Math.max(...layers.map((layer) => layer[key]));
	return [text(0, foot - 2, key.replace("_", "-")), box(LEFT, foot, layers.length * STEP, 1, "line"),
		...layers.flatMap(({ [key]: amount }, index) => {
			const height = (ROW * amount) / most;
			return [box(column(index) - 11, foot - height, 22, height, "amount"), text(column(index), foot - height - 5, amount < most / 5 ? "" : rough(amount))];
		})];
}

function table(layers) {
	const row = (name, ...texts) => make("tr", make("th", { scope: "row" }, name), ...texts.map((words) => make("td", words)));
	const exact = (count) => count.toLocaleString("en");
	return make("table",
		make("thead", make("tr", ...["Layer", "Kind", "Kernel", "Output", "Parameters", "Multiply-adds", "Sees"].map((words) => make("th", words)))),
		make("tbody", ...layers.map((layer) => row(layer.name, layer.kind, square(layer.kernel), layer.output_shape.join(" × "),
			exact(layer.parameters), exact(layer.multiply_adds), square(layer.receptive_field)))));
}
