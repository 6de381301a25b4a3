// What went wrong, and what to do next.

import { size } from "./format.js";

/** Each returns a headline, a text and the names of the next steps (see result.js). */
const ADVICE = {
	"body-too-large": ({ limit }, file) => [
		`This file has ${size(file.size)}; the limit is ${limit ? size(limit.bytes) : "lower"}.`,
		"The network looks at a few hundred pixels: a smaller copy does as well.", "shrink", "choose"],
	"upload-cut": (_, file) => ["The connection was closed while the file was sent.",
		`It has ${size(file.size)}; that may be more than is taken here.`, "shrink", "retry"],
	"unsupported-format": ({ detail }) => [unsupported(detail), detail, "convert", "choose"],
	"image-corrupt": ({ detail }) => ["The file is damaged.", detail, "convert", "choose"],
	"image-too-large": ({ detail }) => ["The photo has too many pixels.", detail, "shrink", "choose"],
	"image-too-small": ({ detail }) => ["The photo has too few pixels.", detail, "choose"],
	"unknown-model": ({ detail }) => ["This model is not served any more.", `${detail} Reload the page.`, "choose"],
	"deadline-exceeded": () => ["It took too long.", "Twice the server did not come to this photo in time.", "retry"],
	"model-failed": ({ detail }) => ["This model is not available.", detail, "retry"],
	network: () => navigator.onLine
		? ["No connection to the server.", "It may be restarting. Your photo is still here.", "retry"]
		: ["You are offline.", "Your photo is sent when the connection is back.", "retry"],
	elsewhere: () => ["Only the address of that picture came along.",
		"This page asks no other site for anything. Copy the picture itself and paste it here.", "choose"],
	unreadable: ({ detail }) => ["There is no photo in that.", detail, "choose"],
	cancelled: () => ["Cancelled.", "Nothing more happens with this photo.", "retry"],
};

/** @returns {{headline: string, text: string, steps: string[]}} */
export function advise(problem, file) {
	const [headline, text, ...steps] = (ADVICE[problem.slug] ?? other)(problem, file);
	return { headline, text, steps };
}

function other({ retryable, detail, requestId }) {
	if (retryable) return ["The server is still busy.", `It was asked twice. ${detail}`, "retry"];
	return ["The server could not do it.", `${detail}${requestId ? ` The request was ${requestId}.` : ""}`, "retry", "choose"];
}

function unsupported(detail) {
	if (detail.includes("HEIC")) return "HEIC photos are not read here.";
	if (detail.includes("SVG")) return "This is a drawing, not a photo.";
	if (/PDF|PostScript|HTML/.test(detail)) return "This is a document, not a photo.";
	return "This format is not read here.";
}
