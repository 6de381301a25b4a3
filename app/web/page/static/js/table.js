// All photos of this tab as a table, and as a file for a spreadsheet.

import { advise } from "./advice.js";
import { button, byId, make } from "./dom.js";
import { csv } from "./csv.js";
import { names, percent } from "./format.js";

const RANKS = 3; // that are shown

export class Table {
	// session: with its photos, the current one, and the model that is asked
	constructor(session, onAsk) {
		this.session = session;
		byId("csv").onclick = () => this.#save();
		byId("ask-all").onclick = () => onAsk(session.model.name);
		byId("rows").onkeydown = (event) => this.#move(event);
	}

	open() {
		byId("all").open = true;
	}

	lay() {
		const { photos } = this.session;
		byId("all").hidden = byId("csv").disabled = !photos.length;
		byId("all").firstElementChild.textContent = photos[1] ? `All ${photos.length} photos as a table` : "As a table";
		byId("rows").replaceChildren(...photos.map((photo) => (photo.row ??= this.#row(photo))));
	}

	#row(photo) {
		photo.link = button("", () => this.session.onShow(photo), "plain");
		return make("tr", make("th", { scope: "row" }, photo.link));
	}

	fill(photo) {
		const { link, row } = photo;
		const { current, photos, model } = this.session;
		link.textContent = link.title = photo.name;
		link.ariaCurrent = String(photo === current);
		link.tabIndex = photo === (current ?? photos[0]) ? 0 : -1; // the arrows reach the others
		const run = shownRun(photo, model);
		while (row.cells[1]) row.cells[1].remove(); // the first may have the focus
		row.append(...(run?.state === "done" ? guesses(run.reply.answer, model) : [make("td", { colspan: 2 * RANKS }, trouble(photo, run))]));
	}

	/** Count the answers; returns whether no other will come. */
	sum() {
		const { photos, model } = this.session;
		const count = (...states) => photos.filter(({ runs }) => states.includes(runs.get(model?.name)?.state)).length;
		const [done, missed] = [count("done"), count("failed", "cancelled")];
		const over = done + missed === photos.length;
		byId("kept").textContent = photos[1] ? `${done} of ${photos.length} answered${missed ? `, ${missed} without an answer` : ""}` : "";
		const ask = byId("ask-all");
		ask.hidden = !photos[1] || model?.state !== "ready" || photos.every(({ runs }) => runs.has(model.name));
		ask.textContent = `Ask ${model?.title} about all`;
		return over;
	}

	#move(event) {
		const { photos } = this.session;
		const at = photos.findIndex(({ link }) => link === event.target);
		const to = { Home: 0, End: -1, ArrowDown: at + 1, ArrowUp: at - 1 }[event.key];
		const next = at >= 0 && to >= -1 && photos.at(Math.min(to, photos.length - 1));
		if (!next || (event.key === "ArrowUp" && !at)) return;
		event.preventDefault();
		next.link.focus();
	}

	#save() {
		const rows = this.session.photos.map((photo) => cells(photo, shownRun(photo, this.session.model)));
		const href = URL.createObjectURL(new Blob([csv(rows)], { type: "text/csv" }));
		make("a", { href, download: "vgg-serve.csv" }).click();
		setTimeout(() => URL.revokeObjectURL(href), 60_000);
	}
}

function guesses({ predictions, model: { name, trained } }, asked) {
	return predictions.slice(0, RANKS).flatMap((guess, rank) => [
		make("td", names(guess)[0], rank || name === asked?.name ? "" : ` (${name})`),
		make("td", trained ? percent(guess.probability) : "untrained")]);
}

/** Why there is no answer. */
function trouble({ file }, run) {
	if (run?.state === "failed") return advise(run.problem, file).slice(0, 2).join(" ");
	return { cancelled: "Cancelled.", busy: "The server is busy.", waiting: "Classifying…" }[run?.state] ?? "Waiting…";
}

/** A row of csv. */
function cells(photo, run) {
	const { name: file, flaw } = photo;
	if (run?.state !== "done") return { file, model: run?.model, predictions: [], error: trouble(photo, run) };
	const { predictions, model: { name, trained } } = run.reply.answer;
	return { file, model: name, trained, predictions, error: flaw };
}

/** Of the model that is asked, or of another. */
const shownRun = ({ runs }, model) => runs.get(model?.name) ?? [...runs.values()].pop();
