// The photos of this tab, newest first.

import { button, byId, make, refill } from "./dom.js";
import { names, percent } from "./format.js";

const KEPT = 24; // photos are in memory

export class Session {
	photos = [];

	constructor(onShow) {
		this.onShow = onShow;
		byId("clear").onclick = () => {
			for (const photo of this.photos.splice(0)) photo.forget();
			onShow(null);
		};
	}

	add(photos) {
		this.photos.unshift(...photos);
		const left = this.photos.splice(KEPT);
		for (const old of left) old.forget();
		if (left.length) byId("kept").textContent = `Only the newest ${KEPT} are kept.`;
	}

	render(current, model) {
		const held = this.photos.findIndex((photo) => photo.button === document.activeElement);
		const items = this.photos.map((photo) => {
			photo.button = button(photo.thumb, () => this.onShow(photo), "past");
			photo.button.append(make("span", ...said(photo.runs, model)), make("span.hidden", ` ${photo.name}`));
			photo.button.ariaCurrent = String(photo === current);
			return make("li", photo.button);
		});
		refill(byId("session"), ...(items.length ? items : [make("li.hint", "Nothing yet.")]));
		this.photos[held]?.button.focus({ preventScroll: true });
	}
}

/** The answer of this model, or of another. */
function said(runs, asked) {
	const run = runs.get(asked) ?? [...runs.values()].pop();
	if (run?.state !== "done") return [{ failed: "no answer", cancelled: "cancelled", busy: "busy", queued: "waiting" }[run?.state] ?? "…"];
	const { predictions: [{ label, probability }], model: { name, trained } } = run.reply.answer;
	return [make("b", names(label)[0]), ` ${trained ? percent(probability) : "untrained"}${name === asked ? "" : ` (${name})`}`];
}
