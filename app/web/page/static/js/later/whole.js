// Whether a file ends before its picture does. Browsers say nothing: they leave what is missing blank.

import { problem } from "../server.js";

const ascii = (bytes, from, to) => String.fromCharCode(...bytes.subarray(from, to));

/** What is missing in a picture that a canvas shows: a sentence, or "". */
export async function flawOf(file, canvas) {
	const bytes = new Uint8Array(await file.arrayBuffer());
	const look = KINDS.find(([starts]) => starts(bytes))?.[1];
	const end = look?.(bytes, new DataView(bytes.buffer)) ?? WHOLE;
	if (end === WHOLE) return "";
	const share = blank(canvas);
	if (share === 1) throw problem("cut-off");
	if (share) return `About ${Math.max(1, Math.round(100 * share))}\u202f% of this picture is missing: its file is cut off.`;
	return end === LINES ? "" : "Parts of this picture may be missing: its file is cut off.";
}

// The end of the file is there; or lines are missing; or details, which no blank line shows.
const [WHOLE, LINES, DETAILS] = [0, 1, 2];

const KINDS = [
	[(bytes) => bytes[0] === 0xff && bytes[1] === 0xd8, jpeg],
	[(bytes) => ascii(bytes, 1, 4) === "PNG", png],
	[(bytes) => ascii(bytes, 4, 8) === "ftyp", boxes],
	[(bytes) => ascii(bytes, 0, 4) === "RIFF", (bytes, view) => (view.getUint32(4, true) + 8 > bytes.length ? LINES : WHOLE)],
	[(bytes) => ascii(bytes, 0, 2) === "BM", (bytes, view) => (view.getUint32(2, true) > bytes.length ? LINES : WHOLE)],
	[(bytes) => ascii(bytes, 0, 3) === "GIF", (bytes) => (bytes[bytes.findLastIndex((byte) => byte)] === 0x3b ? WHOLE : DETAILS)],
];

function png(bytes, view) {
	for (let at = 8; at + 12 <= bytes.length; at += 12 + view.getUint32(at)) if (ascii(bytes, at + 4, at + 8) === "IEND") return WHOLE;
	return bytes[28] ? DETAILS : LINES; // interlaced or not
}

/** Of AVIF and HEIC. */
function boxes(bytes, view) {
	let at = 0;
	while (at + 8 <= bytes.length && view.getUint32(at) >= 8) at += view.getUint32(at); // 0: the last
	return at > bytes.length ? LINES : WHOLE;
}

/** Look for the marker of the end outside of segments, such as the one with a thumbnail. */
function jpeg(bytes) {
	let [at, scans, progressive] = [2, 0, false];
	while (at + 1 < bytes.length) {
		at = bytes.indexOf(0xff, at);
		const marker = bytes[at + 1];
		if (at < 0 || marker === undefined) break;
		if (marker === 0xd9) return WHOLE;
		progressive ||= marker === 0xc2;
		scans += marker === 0xda;
		if (marker === 0xff) at += 1;
		else if (marker < 2 || (marker >= 0xd0 && marker < 0xd9)) at += 2; // no segment
		else at += 2 + (bytes[at + 2] << 8 | bytes[at + 3]);
	}
	return progressive || scans > 1 ? DETAILS : LINES;
}

/** The share of pixels that no browser decoded: transparent or grey up to an edge. */
function blank(canvas) {
	const { width, height } = canvas;
	const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
	const empty = (x, y) => {
		const at = 4 * (y * width + x);
		return !data[at + 3] || [0, 1, 2].every((channel) => Math.abs(data[at + channel] - 128) < 3);
	};
	const [columns, rows] = [width, height].map((count) => [...Array(count).keys()]);
	const edges = [0, height - 1].some((y) => columns.every((x) => empty(x, y))) || [0, width - 1].some((x) => rows.every((y) => empty(x, y)));
	return edges ? rows.reduce((sum, y) => sum + columns.filter((x) => empty(x, y)).length, 0) / (width * height) : 0;
}
