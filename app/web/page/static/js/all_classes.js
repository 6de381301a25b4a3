// All classes of one answer, with a search.

import { announce, make } from "./dom.js";
import { percent } from "./format.js";
import { classify } from "./server.js";

const MOST = 1000; // rows: a browser stands still over a hundred thousand

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
	const row = ({ label, probability }) => make("li", make("span.name", label), make("span.share", percent(probability)));
	const texts = predictions.map(({ label, wnid }) => `${label} ${wnid ?? ""}`.toLowerCase());
	const count = make("span.hint", { role: "status" });
	const list = make("ol", { tabindex: "0", role: "list", "aria-label": "All classes" });
	const filter = () => {
		const wanted = search.value.trim().toLowerCase();
		const found = predictions.filter((_, index) => texts[index].includes(wanted));
		list.replaceChildren(...found.slice(0, MOST).map(row));
		count.textContent = `${found.length} of ${predictions.length}${found.length > MOST ? `, the first ${MOST} are shown` : ""}`;
	};
	const search = make("input", { type: "search", autocomplete: "off", oninput: filter });
	filter();
	return [make("div.row", make("label", "Search by name or WordNet id ", search), count), list];
}
