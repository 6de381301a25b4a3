// Numbers and names for people.

const THIN = "\u202f"; // space between a number and its unit

/** As `percent` in app/records.py. */
export function percent(share) {
	const tenths = Math.floor(1000 * share + 0.5);
	if (share > 0 && share < 0.001) return `<${THIN}0.1${THIN}%`;
	if (share < 1 && tenths === 1000) return `>${THIN}99.9${THIN}%`;
	return `${(tenths / 10).toFixed(1)}${THIN}%`;
}

export const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)}${THIN}kB` : `${Number((bytes / 1e6).toFixed(1))}${THIN}MB`);

export const milliseconds = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)}${THIN}ms`;

/** The name of a class, and WordNet's others of it; a label of one's own may have a comma. */
export function names({ label, wnid }) {
	const [first, ...others] = wnid ? label.split(", ") : [label];
	return [first, others.join(", ")];
}
