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
		this.forget();
		this.#take(copy);
	}

	forget() {
		const runs = [...this.runs.values()];
		this.runs.clear();
		for (const run of runs) run.cancel();
		URL.revokeObjectURL(this.image.src);
	}
}

/** The square in the middle, `part` of the shorter side: left, top, width, height. */
function middle({ naturalWidth: width, naturalHeight: height }, part) {
	const side = part * Math.min(width, height);
	return [(width - side) / 2, (height - side) / 2, side, side];
}

export class Preview {
	#shown = false;
	#only = byId("only-crop");

	constructor() {
		this.#only.addEventListener("change", () => this.#lay());
	}

	async show(photo, model) {
		Object.assign(this, { photo, model });
		const shown = Boolean(await photo?.shown);
		if (photo !== this.photo) return;
		this.#shown = shown;
		const { naturalWidth: width, naturalHeight: height } = photo?.image ?? {};
		const facts = photo ? [photo.name, shown && `${width} × ${height}`, photo.note] : ["No photo"];
		byId("caption").textContent = facts.filter(Boolean).join(" · ");
		this.#lay();
	}

	#lay() {
		const [frame, view] = ["frame", "view"].map(byId);
		view.hidden = !(this.#shown && this.model && this.#only.checked);
		frame.hidden = !this.#shown || !view.hidden;
		byId("no-preview").hidden = !this.photo || this.#shown;
		if (frame.hidden && view.hidden) return;
		const { image } = this.photo;
		const { naturalWidth: width, naturalHeight: height } = image;
		const fresh = make("div.frame", { id: "frame", hidden: frame.hidden }, image);
		fresh.style.setProperty("--ratio", width / height);
		frame.replaceWith(fresh);
		if (!this.model) return;
		const { crop, resize } = this.model.preprocess;
		const part = middle(image, crop / resize);
		const square = make("span.crop");
		["left", "top", "width", "height"].forEach((edge, index) => (square.style[edge] = `${(100 * part[index]) / (index % 2 ? height : width)}%`));
		fresh.append(square);
		paint(view, image, part, crop, crop);
	}
}
