// Numbers and names for people.

const THIN = "\u202f"; // narrow no-break space, between a number and its unit

/** `42.5 %`; never 0 for what is more, never 100 for what is less. */
export function percent(share) {
	if (share > 0 && share < 0.001) return `<${THIN}0.1${THIN}%`;
	if (share < 1 && share >= 0.9995) return `>${THIN}99.9${THIN}%`;
	return `${(100 * share).toFixed(1)}${THIN}%`;
}

export const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)}${THIN}kB` : `${Number((bytes / 1e6).toFixed(1))}${THIN}MB`);

export const rough = (count) => (count < 1e9 ? `${Math.round(count / 1e6)} million` : `${(count / 1e9).toFixed(1)} billion`);

export const milliseconds = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)}${THIN}ms`;

/** `tabby, tabby cat` -> `["tabby", "tabby cat"]` */
export function names(label) {
	const [first, ...others] = label.split(", ");
	return [first, others.join(", ")];
}
