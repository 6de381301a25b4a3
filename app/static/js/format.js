// Numbers and names for people.

const THIN = "\u202f"; // narrow no-break space, between a number and its unit

/** 0.4251 -> `42.5 %`; never 0 for what is more than 0, never 100 for what is less than 1. */
export function percent(share) {
	if (share > 0 && share < 0.001) return `<${THIN}0.1${THIN}%`;
	if (share < 1 && share >= 0.9995) return `>${THIN}99.9${THIN}%`;
	return `${(100 * share).toFixed(1)}${THIN}%`;
}

/** 18230000 -> `18.2 MB`. */
export function size(bytes) {
	if (bytes < 1e6) return `${Math.ceil(bytes / 1e3)}${THIN}kB`;
	return `${Number((bytes / 1e6).toFixed(1))}${THIN}MB`;
}

/** 138357544 -> `138 million`. */
export const rough = (count) =>
	count < 1e9 ? `${Number((count / 1e6).toPrecision(3))} million` : `${Number((count / 1e9).toPrecision(3))} billion`;

/** Milliseconds, with as many digits as mean something. */
export const milliseconds = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)}${THIN}ms`;

/** `tabby, tabby cat` -> `["tabby", "tabby cat"]`: the name, and the other names. */
export function names(label) {
	const [first, ...others] = label.split(", ");
	return [first, others.join(", ")];
}
