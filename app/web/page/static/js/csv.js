// A table for spreadsheets and programs: RFC 4180, with the columns of `vgg-serve predict --csv`.

const RANKS = [1, 2, 3, 4, 5];
const HEAD = ["file", ...RANKS.flatMap((rank) => ["label", "probability", "wnid", "class_index"].map((name) => `${name}_${rank}`)), "error"];

/** Write rows of [file, predictions, error], after a mark that tells Excel that this is UTF-8. */
export function csv(rows) {
	const lines = rows.map(([file, predictions, error]) => [file, ...RANKS.flatMap((rank) => {
		const { label = "", probability = "", wnid = "", class_index = "" } = predictions[rank - 1] ?? {};
		return [label, probability, wnid, class_index];
	}), error]);
	return `\ufeff${[HEAD, ...lines].map((line) => line.map(cell).join(",")).join("\r\n")}\r\n`;
}

/** A file may be named like a formula, which a spreadsheet would run: an apostrophe makes it text. */
function cell(value) {
	const text = String(value).replace(/^(?=\s*[=+\-@＝＋－＠]|[\t\r\n])/, "'");
	return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
