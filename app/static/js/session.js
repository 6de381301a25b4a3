// The photos of this tab, newest first, as a strip; gone when the tab is.

import { button, byId, make, refill } from "./dom.js";
import { names, percent } from "./format.js";

const KEPT = 24; // photos are in memory

export class Session {
	/** @type {any[]} newest first */
	photos = [];

	// onShow: with null after all were cleared
	constructor(onShow) {
		this.onShow = onShow;
		byId("clear").addEventListener("click", () => {
			for (const photo of this.photos.splice(0)) photo.forget();
			onShow(null);
		});
	}

	add(photos) {
		this.photos.unshift(...photos);
		for (const old of this.photos.splice(KEPT)) old.forget();
	}

	render(current, model) {
		const held = this.photos.findIndex((photo) => photo.button === document.activeElement);
		const items = this.photos.map((photo) => {
			photo.button = button(photo.thumb, () => this.onShow(photo), "past");
			photo.button.append(make("span", ...said(photo.runs.get(model))), make("span.hidden", ` ${photo.name}`));
			photo.button.ariaCurrent = String(photo === current);
			return make("li", photo.button);
		});
		refill(byId("session"), ...(items.length ? items : [make("li.hint", "Nothing yet.")]));
		this.photos[held]?.button.focus({ preventScroll: true });
	}
}

function said(run) {
	if (run?.state !== "done") return [{ failed: "no answer", cancelled: "cancelled", busy: "busy" }[run?.state] ?? "…"];
	const [{ label, probability }] = run.reply.answer.predictions;
	return [make("b", names(label)[0]), ` ${percent(probability)}`];
}
