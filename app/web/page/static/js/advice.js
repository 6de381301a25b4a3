// What went wrong and what to do.

import { size } from "./format.js";

// Where this page knows more: headline, text, next steps (see result.js).
const HERE = {
	"body-too-large": ({ limit }, file) => [
		`This file has ${size(file.size)}; the limit is ${limit ? size(limit.bytes) : "lower"}.`,
		"The network looks at a few hundred pixels, so a smaller copy is as good.", "copy", "choose"],
	"upload-cut": (_, file) => ["The connection was closed while the file was sent.",
		`It has ${size(file.size)}, which may be more than the server accepts.`, "copy", "retry"],
	"file-gone": () => ["The file can no longer be read.", "It was moved, changed or deleted.", "choose"],
	network: () => [navigator.onLine ? "No connection to the server." : "You are offline.", "Your photo is sent once you are connected.", "retry"],
	elsewhere: () => ["Only the picture’s address was dropped.",
		"Copy the picture itself and paste it here.", "choose", "close"],
	unreadable: ({ detail }) => ["That is not a photo.", detail, "choose", "close"],
	"no-copy": () => ["The browser cannot make a copy.", "The photo may be too large for it.", "choose", "close"],
	"cut-off": () => ["The file is cut off.", "The browser can show nothing of its picture.", "choose", "close"],
	cancelled: () => ["Cancelled.", "This photo was not classified.", "retry"],
};
const STEP = { "unsupported-format": "copy", "image-corrupt": "copy", "image-too-large": "copy", "unknown-model": "reload", unauthorized: "reload" };

export function advise(problem, file) {
	const { slug, title, detail, status, retryable, tries, request_id: id } = problem;
	if (slug in HERE) return HERE[slug](problem, file);
	const text = `${retryable ? `The page asked ${tries > 2 ? `${tries} times` : "twice"}. ` : ""}${detail}${status === 500 ? ` Request ID: ${id}.` : ""}`;
	const usual = retryable || status >= 500 ? ["retry"] : [];
	return [`${title}.`, text, ...(STEP[slug] ? [STEP[slug]] : usual), "choose"];
}
