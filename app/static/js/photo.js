// The photo: its preview, the square that the model looks at, and that square alone.

import { byId, make } from "./dom.js";
import { size } from "./format.js";
import { paint, toJpeg } from "./jpeg.js";

/** One photo of this session. */
export class Photo {
	/** @type {Map<string, any>} runs by the name of the model */
	runs = new Map();
	note = "";

	/** @param {Blob} file @param {string} name */
	constructor(file, name) {
		this.name = name;
		this.#take(file);
	}

	#take(file) {
		this.file = file;
		this.image = new Image();
		this.image.draggable = false;
		this.image.id = "photo";
		this.image.alt = `Your picture: ${this.name}`;
		this.image.src = URL.createObjectURL(file);
		/** @type {Promise<boolean>} whether the browser can show it */
		this.shown = this.image.decode().then(() => this.image.naturalWidth > 0, () => false);
	}

	/** Put a smaller JPEG in the place of the file. */
	async replaceByJpeg() {
		const { image, file } = this;
		const copy = await toJpeg(image, image.naturalWidth, image.naturalHeight);
		this.note = `sent as a copy of ${size(copy.size)}, made here from ${size(file.size)}`;
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

/** Shows one photo at a time. */
export class Preview {
	#shown = false;
	#only = byId("only-crop");

	constructor() {
		this.#only.addEventListener("change", () => this.#lay());
	}

	/** @param {Photo|null} photo @param {any} model of GET /models/{name}, for what it crops */
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
		const { image } = this.photo ?? {};
		view.hidden = !(this.#shown && this.model && this.#only.checked);
		frame.hidden = !this.#shown || !view.hidden;
		byId("no-preview").hidden = !this.photo || this.#shown;
		if (frame.hidden && view.hidden) return;
		const { naturalWidth: width, naturalHeight: height } = image;
		const fresh = make("div.frame", { id: "frame", hidden: frame.hidden }, image); // a frame that changed its shape would move
		fresh.style.setProperty("--ratio", width / height);
		frame.replaceWith(fresh);
		if (!this.model) return;
		// The shorter side becomes `resize` pixels, and the middle `crop` of them are taken.
		const { crop, resize } = this.model.preprocess;
		const side = (crop / resize) * Math.min(width, height);
		const [left, top] = [(width - side) / 2, (height - side) / 2];
		const square = make("span.crop");
		for (const [edge, length] of [["left", left / width], ["top", top / height], ["width", side / width], ["height", side / height]])
			square.style[edge] = `${100 * length}%`;
		fresh.append(square);
		paint(view, image, [left, top, side, side], crop, crop);
	}
}
