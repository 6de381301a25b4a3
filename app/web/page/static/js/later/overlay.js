// A heat map and a box over a photo, and where they are in words.

import { make } from "../dom.js";

// From dark to bright at an even pace, so that it can be told without colours: shares of the largest value.
const COLOURS = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];
const SMOOTH = 128; // pixels of a side of the heat, at least

/** Lies over a picture that shows `frame`, a rectangle in pixels of the photo, as all rectangles here. */
export class Overlay {
	constructor(kind) {
		this.heat = make("canvas");
		this.box = make("div.seen");
		this.element = make(`div.${kind}`, { "aria-hidden": "true" }, this.heat, this.box);
	}

	/** Show `values`, 0 to 1 row by row, on `view`, and a box; not those that are null. */
	lay(frame, { values, columns, view, box }) {
		this.element.style.setProperty("--ratio", wide(frame) / high(frame));
		const fresh = make("div.seen"); // a box that jumps would count as a page that moves by itself
		put(fresh, box, frame);
		this.box.replaceWith(fresh);
		this.box = fresh;
		put(this.heat, values && view, frame);
		if (values) glow(this.heat, ...smooth(values, columns), true);
	}
}

/** The whole photo as a frame; null if the browser shows it lying where the server has it upright (WebP). */
export function whole({ width, height }, { naturalWidth, naturalHeight }) {
	const turned = (width > height) !== (naturalWidth > naturalHeight);
	return turned ? null : { xmin: 0, ymin: 0, xmax: width, ymax: height };
}

const wide = ({ xmin, xmax }) => xmax - xmin;
const high = ({ ymin, ymax }) => ymax - ymin;

function put(element, place, frame) {
	element.hidden = !place;
	if (!place) return;
	const share = (length, whole) => `${(100 * length) / whole}%`;
	Object.assign(element.style, {
		left: share(place.xmin - frame.xmin, wide(frame)), top: share(place.ymin - frame.ymin, high(frame)),
		width: share(wide(place), wide(frame)), height: share(high(place), high(frame)),
	});
}

/** Draw values as colours, a pixel each; `clear`: the lower, the more is seen through them. */
export function glow(canvas, values, columns, clear) {
	canvas.width = columns;
	canvas.height = values.length / columns;
	const picture = new ImageData(columns, canvas.height);
	values.forEach((value, index) => {
		const at = (clear ? 0.3 + 0.7 * value : value) * (COLOURS.length - 1);
		const low = Math.min(COLOURS.length - 2, Math.floor(at));
		const colour = COLOURS[low].map((part, channel) => part + (at - low) * (COLOURS[low + 1][channel] - part));
		picture.data.set([...colour, clear ? 255 * value : 255], 4 * index);
	});
	canvas.getContext("2d").putImageData(picture, 0, 0);
}

/** Enlarge values, bilinearly, as the server does before it draws a box. */
function smooth(values, columns) {
	const times = Math.ceil(SMOOTH / columns);
	const rows = values.length / columns;
	const places = (count) => Array.from({ length: count * times }, (_, at) => {
		const place = Math.max(0, Math.min(count - 1, (at + 0.5) / times - 0.5));
		const low = Math.min(Math.max(0, count - 2), Math.floor(place));
		return [low, Math.min(low + 1, count - 1), place - low];
	});
	const across = places(columns);
	return [places(rows).flatMap(([top, bottom, down]) => across.map(([left, right, along]) => {
		const mix = (row) => (1 - along) * values[row * columns + left] + along * values[row * columns + right];
		return (1 - down) * mix(top) + down * mix(bottom);
	})), columns * times];
}

/** "left half, from 3 to 52 % across and from 20 to 90 % down" */
export function inWords(box, size) {
	const range = (from, to, whole) => `from ${Math.round((100 * from) / whole)} to ${Math.round((100 * to) / whole)}\u202f%`;
	return `${area(box, size)}, ${range(box.xmin, box.xmax, size.width)} across and ${range(box.ymin, box.ymax, size.height)} down`;
}

export function area({ xmin, ymin, xmax, ymax }, { width, height }) {
	const words = `${part(ymin / height, ymax / height, "upper", "lower")} ${part(xmin / width, xmax / width, "left", "right")}`;
	return AREAS[words] ?? words;
}

function part(from, to, first, last) {
	if (to - from > 0.8) return "whole";
	if (Math.abs(from + to - 1) < 0.2) return "middle"; // its centre is near the photo's
	if (to <= 0.55) return first;
	return from >= 0.45 ? last : "middle";
}

const AREAS = {
	"whole whole": "nearly the whole photo", "middle middle": "the middle",
	"upper middle": "upper half", "lower middle": "lower half", "middle left": "left half", "middle right": "right half",
	"upper whole": "upper half", "lower whole": "lower half", "whole left": "left half", "whole right": "right half",
	"whole middle": "the middle, from top to bottom", "middle whole": "the middle, from side to side",
};
