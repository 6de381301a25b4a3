// What a VGG is: its layers, drawn and as a table.

import { draw, make } from "./dom.js";
import { rough } from "./format.js";

// A layer's column, left of the first, middle of the shapes, longest bar.
const [STEP, LEFT, MIDDLE, ROW] = [40, 92, 112, 48];
const column = (index) => LEFT + (index + 0.5) * STEP;
const text = (x, y, words) => draw("text", { x, y }, words);
const box = (x, y, width, height, kind) => draw(`rect.${kind}`, { x, y, width, height, rx: 2 });

export function architecture(model) {
	const { title, layers } = model;
	const scroll = (label, child) => make("div.scroll", { tabindex: "0", role: "region", "aria-label": label }, child);
	return make("article", make("h3", title), make("p", summary(model)), scroll(`Drawing of ${title}`, drawing(model)),
		make("details", make("summary", `The ${layers.length} layers as a table`), scroll(`Layers of ${title}`, table(model))));
}

function summary({ layers, parameters, multiply_adds: work }) {
	const [convolutions, pools, connected] = ["convolution", "max-pooling", "fully connected"].map((kind) => layers.filter((layer) => layer.kind === kind));
	const share = (some, key, whole) => `${Math.round((100 * some.reduce((sum, layer) => sum + layer[key], 0)) / whole)} %`;
	const kernels = [...new Set(convolutions.map(({ kernel }) => `${kernel} × ${kernel}`))].join(" or ");
	const sees = pools.at(-1).receptive_field;
	const said = `${convolutions.length + connected.length} layers have weights: ${convolutions.length} convolutions of ${kernels} and ${connected.length} fully connected layers. `
		+ `Small kernels see far when stacked: each pooling halves the picture, and a value after the last has seen ${sees} × ${sees} pixels. `
		+ `${share(connected, "parameters", parameters)} of the ${rough(parameters)} parameters are in the fully connected layers, `
		+ `${share(convolutions, "multiply_adds", work)} of the ${rough(work)} multiply-adds for a photo in the convolutions.`;
	return said.replaceAll(" × ", "\u00a0×\u00a0");
}

function drawing({ title, layers }) {
	const label = `The layers of ${title}, with their parameters and multiply-adds: the numbers of the table.`;
	return draw("svg", { viewBox: `0 0 ${column(layers.length)} 372`, role: "img", "aria-label": label }, text(0, MIDDLE, "output"),
		...layers.map((layer, index) => shape(layer, layers[index - 1], column(index))), ...bars(layers, "parameters", 288), ...bars(layers, "multiply_adds", 364));
}

/** As high as its output (square root), as thick as it has channels (logarithm). */
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

/** How much each layer has, on a linear scale. */
function bars(layers, key, foot) {
	const most = Math.max(...layers.map((layer) => layer[key]));
	return [text(0, foot - 2, key.replace("_", "-")), box(LEFT, foot, layers.length * STEP, 1, "line"),
		...layers.flatMap(({ [key]: amount }, index) => {
			const height = (ROW * amount) / most;
			const label = amount < most / 5 ? "" : amount < 1e9 ? `${Math.round(amount / 1e6)} M` : `${(amount / 1e9).toFixed(1)} G`;
			return [box(column(index) - 11, foot - height, 22, height, "amount"), text(column(index), foot - height - 5, label)];
		})];
}

function table({ title, layers }) {
	const cells = (tag, texts) => texts.map((words) => make(tag, words));
	const exact = (count) => count.toLocaleString("en");
	const square = (pixels) => (pixels ? `${pixels} × ${pixels}` : "–");
	return make("table", make("caption.hidden", `Layers of ${title}`),
		make("thead", make("tr", ...cells("th", ["Layer", "Kind", "Kernel", "Output", "Parameters", "Multiply-adds", "Sees"]))),
		make("tbody", ...layers.map((layer) => make("tr", make("th", { scope: "row" }, layer.name), ...cells("td", [
			layer.kind, square(layer.kernel), layer.output_shape.join(" × "), exact(layer.parameters), exact(layer.multiply_adds), square(layer.receptive_field)])))));
}
