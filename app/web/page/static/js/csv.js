// A table for spreadsheets and programs: RFC 4180, with the columns of `vgg-serve predict --csv`.

const RANKS = [1, 2, 3, 4, 5];
const HEAD = ["file", "model", "trained", ...RANKS.flatMap((rank) => ["label", "probability", "wnid", "class_index"].map((name) => `${name}_${rank}`)), "error"];

/** Write rows of { file, model, trained, predictions, error }, after a mark that tells Excel that this is UTF-8. */
export function csv(rows) {
	const lines = rows.map(({ file, model, trained, predictions, error }) => [FORMULA.test(file) ? `./${file}` : file, model, trained, ...RANKS.flatMap((rank) => {
		const { label, probability, wnid, class_index } = predictions[rank - 1] ?? {};
		return [label, probability, wnid, class_index];
	}), error]);
	return `\ufeff${[HEAD, ...lines].map((line) => line.map(cell).join(",")).join("\r\n")}\r\n`;
}

// What a spreadsheet may run. A file gets "./" before it then, which names the same file, other texts an apostrophe.
const FORMULA = /^(?=\s*[=+\-@＝＋－＠]|[\t\r\n])/;

function cell(value) {
	const text = String(value ?? "").replace(FORMULA, "'");
	return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
