// Where the time of one request went, as a stacked bar.

import { make } from "./dom.js";
import { milliseconds } from "./format.js";

/** @param {any} reply of server.classify */
export function timing({ stages, total }) {
	const inside = ["decode", "queue", "run", "rank"].map((name) => [name, stages[name] ?? 0]);
	const transfer = total - inside.reduce((sum, [, ms]) => sum + ms, 0);
	const parts = [["transfer", Math.max(0, transfer)], ...inside];
	const piece = ([name, ms]) => {
		const span = make(`span.${name}`);
		span.style.flexGrow = ms;
		return span;
	};
	return make("div.timing", make("span.stack", { "aria-hidden": "true" }, ...parts.map(piece)),
		make("p", make("b", milliseconds(total)), ...parts.map(([name, ms]) => make(`span.key.${name}`, `${name} ${milliseconds(ms)}`))));
}
