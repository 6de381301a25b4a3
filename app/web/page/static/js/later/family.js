// AlexNet, VGG-16 and VGG-19 beside each other, and the arguments of VGG's paper as pictures.
//
// Sources: Krizhevsky, Sutskever and Hinton 2012 (layers of AlexNet; its sums are counted from them, with the two groups
// of its second, fourth and fifth convolutions); Simonyan and Zisserman, arXiv 1409.1556 (tables 1, 3, 5 and 7, section 2.3).

import "./style.js";
import { draw, make } from "../dom.js";
import { across, box, down, legend, picture, text, top } from "../layers.js";

const layer = (kind) => (name, ...output_shape) => ({ kind, name, output_shape });
const [conv, pool, fc, lrn] = ["convolution", "max-pooling", "fully connected", "normalisation"].map(layer);
const END = [fc("fc6", 4096), fc("fc7", 4096), fc("fc8", 1000)];

const ALEXNET = [
	conv("conv1", 96, 55, 55), lrn("lrn1", 96, 55, 55), pool("pool1", 96, 27, 27),
	conv("conv2", 256, 27, 27), lrn("lrn2", 256, 27, 27), pool("pool2", 256, 13, 13),
	conv("conv3", 384, 13, 13), conv("conv4", 384, 13, 13), conv("conv5", 256, 13, 13), pool("pool5", 256, 6, 6), ...END,
];

/** A VGG from the number of convolutions in each group. */
const vgg = (counts) => [...counts.flatMap((count, group) => {
	const [channels, side] = [Math.min(64 << group, 512), 224 >> group];
	return [...Array.from({ length: count }, (_, index) => conv(`conv${group + 1}_${index + 1}`, channels, side, side)),
		pool(`pool${group + 1}`, channels, side / 2, side / 2)];
}), ...END];

const NETWORKS = [["AlexNet", ALEXNET], ["VGG-16", vgg([2, 2, 3, 3, 3])], ["VGG-19", vgg([2, 2, 4, 4, 4])]];

const FACTS = [
	["", "AlexNet, 2012", "VGG-16, 2014", "VGG-19, 2014"],
	["First kernel", "11 × 11, every 4th pixel", "3 × 3, every pixel", "3 × 3, every pixel"],
	["Convolutions", "5: 11 × 11, 5 × 5, three 3 × 3", "13, all 3 × 3", "16, all 3 × 3"],
	["Normalisation (LRN)", "after two of them", "none", "none"],
	["Parameters", "61 million", "138 million", "144 million"],
	["Multiply-adds", "0.7 billion", "15.5 billion", "19.6 billion"],
	["Top-1 error of one network", "40.7 %", "24.4 %", "24.4 %"],
	["Top-5 error of one network", "18.2 %", "7.2 %", "7.1 %"],
];

// Configuration, layers with weights, errors at S = Q = 256 in per cent (table 3), and the kernels of its groups (table 1).
const CONFIGURATIONS = [
	["A", 11, 29.6, 10.4, ["3", "3", "33", "33", "33"]],
	["A-LRN", 11, 29.7, 10.5, ["3n", "3", "33", "33", "33"]],
	["B", 13, 28.7, 9.9, ["33", "33", "33", "33", "33"]],
	["C", 16, 28.1, 9.4, ["33", "33", "331", "331", "331"]],
	["D", 16, 27.0, 8.8, ["33", "33", "333", "333", "333"]],
	["E", 19, 27.3, 9.0, ["33", "33", "3333", "3333", "3333"]],
];
const CHANNELS = [64, 128, 256, 512, 512];
const [SLOTS, SLOT, GROUP] = [[2, 2, 4, 4, 4], 12, 8]; // rows of a group in the picture, the height of a row, a gap

export class Part {
	constructor(details) {
		const list = (...items) => make("ul.points", ...items.map((item) => make("li", item)));
		details.append(make("div.family",
			make("article", make("h3", "Two years apart"), facts(), legend(ALEXNET), beside(), beneath()),
			make("article", make("h3", "The first kernel, pixel by pixel"), kernels(),
				make("p", "AlexNet’s first kernel covers 11 × 11 pixels at once, and moves on by 4: 55 × 55 places. VGG’s covers 3 × 3 and moves on by 1: 224 × 224 places, and none is skipped."),
				make("h3", "Three small kernels instead of a large one"), stacks(),
				make("p", "Three 3 × 3 convolutions, one after the other, see 7 × 7 pixels, as one 7 × 7 convolution does. With C channels they have 3 · 3²C² = 27 C² weights; the large one has 7²C² = 49 C², which is 81 % more. And there are three ReLUs where there was one.")),
			make("article", make("h3", "Six networks, and what each showed"), errors(),
				list("A and A-LRN: normalisation as in AlexNet gained nothing (29.6 and 29.7 %). VGG has none.",
					"B and C: three convolutions of 1 × 1, which see nothing new but bend more, gained a little (28.7, then 28.1 %).",
					"C and D: with 3 × 3 in their place the network also sees neighbours, and gains more (27.0 %). D is VGG-16.",
					"D and E: at this one size of photos, three more layers gained nothing. Trained on photos of many sizes, D and E reach 25.6 and 25.5 %. E is VGG-19."))));
	}

	show() {}
}

function facts() {
	const cells = (row) => row.slice(1).map((words) => make("td", words));
	return make("div.scroll", { tabindex: "0", role: "region", "aria-label": "The three networks in numbers" }, make("table.facts",
		make("caption.hint", "Errors on ImageNet’s photos for validation, tested on several crops of a photo; tables 5 and 7 of VGG’s paper."),
		make("thead", make("tr", ...FACTS[0].map((words) => (words ? make("th", { scope: "col" }, words) : make("td"))))),
		make("tbody", ...FACTS.slice(1).map((row) => make("tr", make("th", { scope: "row" }, row[0]), ...cells(row))))));
}

const SAID = "The layers of AlexNet, VGG-16 and VGG-19, drawn to one scale";

/** From left to right, one above the other. */
function beside() {
	return picture("lying", 1060, 3 * 236, SAID, NETWORKS.flatMap(([name, layers], row) => {
		const title = text(0, 236 * row + 122, name);
		title.classList.add("strong");
		return [title, ...across(layers, 236 * row + 118)];
	}));
}

/** From top to bottom, one beside the other. */
function beneath() {
	return picture("upright", 400, top(24), SAID, NETWORKS.flatMap(([name, layers], column) => {
		const title = text(133 * column + 52, 16, name);
		title.classList.add("strong");
		return [title, ...down(layers, 133 * column + 52)];
	}));
}

/** A picture that says in words what it shows. */
function figure(width, height, words, parts) {
	return draw("svg.figure", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words }, ...parts);
}

/** Where the first kernel lies, and where it lies next. */
function kernels() {
	const [pixel, side] = [9, 17];
	const grid = (left, kernel, stride, name) => {
		const frame = (at, kind) => draw(`rect.${kind}`, { x: left + at * pixel, y: 22, width: kernel * pixel, height: kernel * pixel });
		const cells = [...Array(side * side).keys()].map((index) => box(left + (index % side) * pixel, 22 + Math.floor(index / side) * pixel, pixel - 1, pixel - 1, "line"));
		return [text(left + (side * pixel) / 2, 14, name), ...cells, frame(stride, "next"), frame(0, "first")];
	};
	return figure(350, 22 + side * pixel, "On a grid of pixels: AlexNet’s kernel of 11 by 11 and its next place, 4 pixels on; VGG’s of 3 by 3 and its next place, 1 pixel on", [
		...grid(4, 11, 4, "AlexNet"), ...grid(193, 3, 1, "VGG")]);
}

/** What each layer of a stack sees, from one value at the top down to the pixels; and the weights. */
function stacks() {
	const [cell, gap] = [20, 44];
	const stack = (left, widths, title, weights) => {
		const row = (width, index) => {
			const start = left + (cell * (7 - width)) / 2;
			const [y, wider] = [26 + index * gap * (3 / (widths.length - 1)), widths[index + 1]];
			const below = wider && left + (cell * (7 - wider)) / 2;
			const fan = wider ? [draw("polygon.fan", { points: [[start, y + 14], [start + cell * width, y + 14], [below + cell * wider, 26 + (index + 1) * gap * (3 / (widths.length - 1))], [below, 26 + (index + 1) * gap * (3 / (widths.length - 1))]].join(" ") })] : [];
			return [...fan, ...Array.from({ length: width }, (_, at) => box(start + cell * at + 1, y, cell - 2, 14, wider ? "conv" : "edge"))];
		};
		return [text(left + 3.5 * cell, 14, title), ...widths.flatMap(row), text(left + 3.5 * cell, 190, "7 pixels"),
			box(left, 204, (140 * weights) / 49, 14, "fc"), text(left + 70, 234, `${weights} C² weights`)];
	};
	return figure(350, 240, "A pyramid of three 3 by 3 convolutions over 7 pixels, with 27 C squared weights, beside one 7 by 7 convolution, with 49 C squared", [
		...stack(10, [1, 3, 5, 7], "three of 3 × 3", 27), ...stack(200, [1, 7], "one of 7 × 7", 49)]);
}

/** Errors as bars from 0, and below each its layers. */
function errors() {
	const [left, step, foot] = [34, 53, 150];
	const starts = SLOTS.map((_, group) => foot + 52 + SLOTS.slice(0, group).reduce((sum, count) => sum + count * SLOT + GROUP, 0));
	const end = starts[4] + 4 * SLOT;
	const columns = CONFIGURATIONS.flatMap(([name, depth, first, five, groups], column) => {
		const x = left + step * column;
		const bar = (value, at, kind) => [box(x + at, foot - 4 * value, 22, 4 * value, kind), text(x + at + 11, foot - 4 * value - 4, value.toFixed(1))];
		const title = text(x + 24, foot + 16, name);
		title.classList.add("strong");
		return [...bar(first, 1, "conv"), ...bar(five, 25, "pool"), title, text(x + 24, foot + 32, `${depth} layers`),
			...groups.flatMap((kernels, group) => [...kernels].map((kernel, row) =>
				box(x + 4, starts[group] + row * SLOT, 40, kernel === "n" ? 3 : SLOT - 2, { 3: "conv", 1: "fc", n: "lrn" }[kernel])))];
	});
	const key = (x, kind, words) => [box(x, end + 14, 10, 10, kind), Object.assign(text(x + 14, end + 23, words), { style: "text-anchor: start" })];
	const words = CONFIGURATIONS.map(([name, depth, first, five]) => `${name}, ${depth} layers: ${first.toFixed(1)} and ${five.toFixed(1)}`).join("; ");
	return make("div", figure(left + 6 * step, end + 30, `Top-1 and top-5 error in per cent. ${words}`, [
		box(left, foot, 6 * step, 1, "line"), ...columns, ...CHANNELS.map((channels, group) => text(0, starts[group] + 9, String(channels))),
		...key(left, "conv", "3 × 3"), ...key(left + 62, "fc", "1 × 1"), ...key(left + 124, "lrn", "normalisation"),
	]), make("p.row.hint", make("span.key.conv", "top-1 error"), make("span.key.pool", "top-5 error"), " Per cent, photos of one size (S = Q = 256), table 3 of the paper. Below: the convolutions of each group."));
}
