// What went wrong, and what to do next.

import { size } from "./format.js";

// Headline, text and names of the next steps (see result.js), where the server's own words do not do.
const ADVICE = {
	"body-too-large": ({ limit }, file) => [
		`This file has ${size(file.size)}; the limit is ${limit ? size(limit.bytes) : "lower"}.`,
		"The network looks at a few hundred pixels: a smaller copy does as well.", "shrink", "choose"],
	"upload-cut": (_, file) => ["The connection was closed while the file was sent.",
		`It has ${size(file.size)}; that may be more than is taken here.`, "shrink", "retry"],
	"unsupported-format": ({ title, detail }) => [
		/SVG/.test(detail) ? "This is a drawing, not a photo." : /PDF|PostScript|HTML/.test(detail) ? "This is a document, not a photo." : `${title}.`,
		detail, "convert", "choose"],
	"file-gone": () => ["The file cannot be read any more.", "It was moved, changed or deleted after it was chosen.", "choose"],
	network: () => [navigator.onLine ? "No connection to the server." : "You are offline.", "Your photo is sent when it is back.", "retry"],
	elsewhere: () => ["Only the address of that picture came along.",
		"No other site is asked for anything. Copy the picture itself and paste it here.", "choose", "close"],
	unreadable: ({ detail }) => ["There is no photo in that.", detail, "choose", "close"],
	"no-copy": () => ["The browser cannot make a copy.", "The photo may be too large for it.", "choose", "close"],
	cancelled: () => ["Cancelled.", "Nothing more happens with this photo.", "retry"],
};
const STEPS = {
	"image-corrupt": ["convert", "choose"], "image-too-large": ["shrink", "choose"], "image-too-small": ["choose"], "unknown-model": ["reload"],
};

export const advise = (problem, file) => (ADVICE[problem.slug] ?? other)(problem, file);

function other({ slug, title, retryable, status, detail, request_id: id }) {
	const text = `${retryable ? "It was asked twice. " : ""}${detail}${status === 500 ? ` The request was ${id}.` : ""}`;
	return [`${title}.`, text, ...(STEPS[slug] ?? ["retry", "choose"])];
}
