// All classes of one answer, with a search.

import { announce, make } from "./dom.js";
import { percent } from "./format.js";
import { classify } from "./server.js";

export function everyClass(run, classes) {
	const hint = make("p.hint", "Sending the photo once more…");
	const details = make("details.every", make("summary", `All ${classes} classes`), hint);
	details.ontoggle = async () => {
		if (!details.open || !hint.isConnected) return;
		try {
			const { answer } = await classify(run.file, run.model, { more: `&top_k=${classes}` });
			hint.replaceWith(...searchable(answer.predictions));
		} catch {
			details.open = false;
			announce("That did not work. Open it again.");
		}
	};
	return details;
}

function searchable(predictions) {
	const rows = predictions.map(({ label, probability }) =>
		make("li", make("span.name", label), make("span.share", percent(probability))));
	const texts = predictions.map(({ label, wnid }) => `${label} ${wnid ?? ""}`.toLowerCase());
	const count = make("span.hint", { role: "status" });
	const filter = () => {
		const wanted = search.value.trim().toLowerCase();
		rows.forEach((row, index) => (row.hidden = !texts[index].includes(wanted)));
		count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
	};
	const search = make("input", { type: "search", autocomplete: "off", oninput: filter });
	filter();
	return [
		make("div.row", make("label", "Search by name or WordNet id ", search), count),
		make("ol", { tabindex: "0", role: "list", "aria-label": "All classes" }, ...rows),
	];
}
