// The photos of this tab, newest first, as a strip; gone when the tab is.

import { button, byId, make, refill } from "./dom.js";
import { names, percent } from "./format.js";
import { paint } from "./jpeg.js";

const KEPT = 24; // photos are in memory
const THUMB = 96; // pixels

export class Session {
	/** @type {any[]} newest first */
	photos = [];
	#thumbs = new WeakMap();

	/** @param {(photo: any) => void} onShow null after all were cleared */
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

	/** @param {any} current the photo that is shown @param {string} [model] whose answers are told */
	render(current, model) {
		const held = this.photos.findIndex((photo) => photo.button === document.activeElement);
		const items = this.photos.map((photo) => {
			photo.button = button(this.#thumb(photo), () => this.onShow(photo), "past");
			photo.button.append(make("span", ...said(photo.runs.get(model))), make("span.hidden", ` ${photo.name}`));
			if (photo === current) photo.button.ariaCurrent = "true";
			return make("li", photo.button);
		});
		refill(byId("session"), ...(items.length ? items : [make("li.hint", "Nothing yet.")]));
		this.photos[held]?.button.focus({ preventScroll: true });
	}

	#thumb({ image, shown }) {
		const known = this.#thumbs.get(image);
		if (known) return known;
		const canvas = make("canvas", { width: THUMB, height: THUMB, "aria-hidden": "true" });
		this.#thumbs.set(image, canvas);
		shown.then((can) => {
			const { naturalWidth: width, naturalHeight: height } = image;
			const side = Math.min(width, height);
			if (can) paint(canvas, image, [(width - side) / 2, (height - side) / 2, side, side], THUMB, THUMB);
		});
		return canvas;
	}
}

function said(run) {
	if (run?.state !== "done") return [{ failed: "no answer", cancelled: "cancelled", busy: "busy" }[run?.state] ?? "…"];
	const [{ label, probability }] = run.reply.answer.predictions;
	return [make("b", names(label)[0]), ` ${percent(probability)}`];
}
