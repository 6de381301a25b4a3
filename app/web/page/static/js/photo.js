// Photos, and the preview: whole, with the square that the model sees, or that square alone.

import { byId, make } from "./dom.js";
import { size } from "./format.js";
import { paint, toJpeg } from "./jpeg.js";

const THUMB = 96; // pixels

export class Photo {
	runs = new Map(); // by the name of the model
	note = "";

	constructor(file, name) {
		this.name = name;
		this.#take(file);
	}

	#take(file) {
		const image = make("img", { id: "photo", draggable: "false", alt: `Your picture: ${this.name}`, src: URL.createObjectURL(file) });
		const thumb = make("canvas", { "aria-hidden": "true" });
		Object.assign(this, { file, image, thumb });
		// Resolves to whether the browser can show it.
		this.shown = image.decode().then(() => {
			paint(thumb, image, middle(image, 1), THUMB, THUMB);
			return true;
		}, () => false);
	}

	/** Put a smaller copy in its place. */
	async replaceByJpeg() {
		const copy = await toJpeg(this.image, this.image.naturalWidth, this.image.naturalHeight);
		this.note = `sent as a copy of ${size(copy.size)}, made here from ${size(this.file.size)}`;
		this.name = `${this.name.replace(/\.\w+$/, "")}-copy.jpg`;
		this.forget();
		this.#take(copy);
	}

	forget() {
		const runs = [...this.runs.values()];
		this.runs.clear();
		for (const run of runs) run.cancel();
		const { image, shown } = this;
		shown.then(() => URL.revokeObjectURL(image.src));
	}
}

/** The square in the middle, `part` of the shorter side. */
function middle({ naturalWidth: width, naturalHeight: height }, part) {
	const side = part * Math.min(width, height);
	return [(width - side) / 2, (height - side) / 2, side, side];
}

export class Preview {
	constructor() {
		byId("only-crop").onchange = () => this.#lay();
	}

	async show(photo, model) {
		Object.assign(this, { photo, model });
		const shown = await photo?.shown;
		if (photo !== this.photo) return;
		this.shown = shown;
		const facts = photo ? [photo.name, shown && `${photo.image.naturalWidth} × ${photo.image.naturalHeight}`, photo.note] : ["No photo"];
		byId("caption").textContent = facts.filter(Boolean).join(" · ");
		this.#lay();
	}

	#lay() {
		const [frame, view] = ["frame", "view"].map(byId);
		view.hidden = !(this.shown && this.model && byId("only-crop").checked);
		frame.hidden = !this.shown || !view.hidden;
		byId("no-preview").hidden = !this.photo || this.shown;
		if (!this.shown) return;
		const { image } = this.photo;
		const { crop, resize } = this.model?.preprocess ?? {};
		const fresh = make("div.frame", { id: "frame", hidden: frame.hidden }, image, make("span.crop", { hidden: !crop }));
		fresh.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
		fresh.style.setProperty("--part", crop / resize);
		frame.replaceWith(fresh);
		if (crop) paint(view, image, middle(image, crop / resize), crop, crop);
	}
}
