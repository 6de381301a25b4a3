// The photos of this tab, newest first: some as tiles, and all in a table.

import { button, byId, make } from "./dom.js";
import { names, percent } from "./format.js";
import { Table } from "./table.js";

const TILES = 24; // thumbnails are in memory

export class Session {
	photos = [];
	#painting = Promise.resolve(); // one thumbnail after another

	// onShow: of a photo, or null after a Clear; onAsk: to ask a model about all
	constructor(onShow, onAsk) {
		this.onShow = onShow;
		this.table = new Table(this, onAsk);
		byId("clear").onclick = () => {
			for (const photo of this.photos.splice(0)) photo.forget();
			this.#lay();
			onShow(null);
		};
	}

	add(photos) {
		this.photos.unshift(...photos);
		this.#lay();
		if (photos[1]) this.table.open();
	}

	#lay() {
		const focused = document.activeElement;
		const [shown, others] = [this.photos.slice(0, TILES), this.photos.slice(TILES)];
		for (const photo of others) photo.tile = undefined;
		const items = shown.map((photo) => make("li", (photo.tile ??= this.#tile(photo))));
		byId("session").replaceChildren(...(items.length ? items : [make("li.hint", "Nothing yet.")]));
		this.table.lay();
		if (focused.isConnected) focused.focus({ preventScroll: true });
	}

	#tile(photo) {
		const thumb = make("canvas", { "aria-hidden": "true" });
		this.#painting = this.#painting.then(() => thumb.isConnected && photo.paintThumb(thumb));
		return button(thumb, () => this.onShow(photo), "past");
	}

	/** After another choice of photo or model. */
	render(current, model) {
		Object.assign(this, { current, model });
		for (const photo of this.photos) this.#fill(photo);
		this.table.sum();
	}

	/** After a change of one photo. Returns a sentence about all once no other answer will come. */
	update(photo) {
		this.#fill(photo);
		const before = this.over;
		this.over = this.table.sum();
		return this.over && !before ? byId("kept").textContent : "";
	}

	#fill(photo) {
		this.table.fill(photo);
		const { tile, name } = photo;
		if (!tile) return;
		tile.replaceChildren(tile.firstChild, make("span", ...said(photo.runs, this.model?.name)), make("span.hidden", ` ${name}`));
		tile.ariaCurrent = String(photo === this.current);
	}
}

/** The answer of this model, or of another. */
function said(runs, asked) {
	const run = runs.get(asked) ?? [...runs.values()].pop();
	if (run?.state !== "done") return [{ failed: "no answer", cancelled: "cancelled", busy: "busy", queued: "waiting" }[run?.state] ?? "…"];
	const { predictions: [best], model: { name, trained } } = run.reply.answer;
	return [make("b", names(best)[0]), ` ${trained ? percent(best.probability) : "untrained"}${name === asked ? "" : ` (${name})`}`];
}
