// The photos of this tab, newest first, as a strip; gone when the tab is.

import { button, byId, make, refill } from "./dom.js";
import { names, percent } from "./format.js";

const KEPT = 24; // photos are in memory

export class Session {
	photos = []; // newest first
	left = 0;

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
		this.left += left.length;
		if (left.length) byId("kept").textContent = `This page keeps ${KEPT} photos; ${this.left} were left out.`;
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

/** What this model said, or else another that was asked before. */
function said(runs, asked) {
	const run = runs.get(asked) ?? [...runs.values()].pop();
	if (run?.state !== "done") return [{ failed: "no answer", cancelled: "cancelled", busy: "busy", queued: "in line" }[run?.state] ?? "…"];
	const { predictions: [{ label, probability }], model: { name, trained } } = run.reply.answer;
	return [make("b", names(label)[0]), ` ${trained ? percent(probability) : "untrained"}${name === asked ? "" : ` (${name})`}`];
}
