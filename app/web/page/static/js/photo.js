// Photos, and their preview with the square that the model sees.

import { byId, make } from "./dom.js";
import { size } from "./format.js";

const [THUMB, LONGEST] = [96, 1600]; // pixels

export class Photo {
	runs = new Map(); // by model
	note = "";
	tries = 2; // see Run
	flaw = ""; // what a copy lacks
	#holders = 0; // of the opened picture

	constructor(file, name) {
		Object.assign(this, { file, name });
	}

	/** Have a picture until as many `close`; resolves to whether the browser can show it. */
	open() {
		if (!this.#holders++) this.#load();
		return this.shown;
	}

	close() {
		if (!--this.#holders) this.#unload();
	}

	#load() {
		this.image = make("img", { id: "photo", draggable: "false", alt: `Your picture: ${this.name}`, src: URL.createObjectURL(this.file) });
		this.shown = this.image.decode().then(() => true, () => false);
	}

	#unload() {
		const { image, shown } = this;
		shown.then(() => URL.revokeObjectURL(image.src));
	}

	async paintThumb(canvas) {
		if (await this.open()) paint(canvas, this.image, middle(this.image, 1), THUMB, THUMB);
		this.close();
	}

	/** Replace it by a smaller copy. */
	async replaceByJpeg() {
		await this.open();
		try {
			const { flawOf } = await import("./later/whole.js"); // rarely needed
			const { file, image, name } = this;
			const canvas = reduced(image, image.naturalWidth, image.naturalHeight);
			this.flaw = await flawOf(file, canvas);
			const copy = await toJpeg(canvas);
			this.forget();
			this.#unload();
			Object.assign(this, { file: copy, name: `${name.replace(/\.\w+$/, "")}-copy.jpg`, note: `copy of ${size(copy.size)} (was ${size(file.size)})` });
			this.#load();
		} finally {
			this.close();
		}
	}

	forget() {
		const runs = [...this.runs.values()];
		this.runs.clear();
		for (const run of runs) run.cancel();
	}
}

/** The square in the middle. */
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
		const facts = [shown && `${photo.image.naturalWidth} × ${photo.image.naturalHeight}`, photo?.note].filter(Boolean);
		byId("caption").replaceChildren(make("span.others", photo?.name ?? "No photo"), " ", facts.join(" · "));
		this.#lay();
	}

	#lay() {
		const [frame, view, instead] = ["frame", "view", "no-preview"].map(byId);
		view.hidden = !(this.shown && this.model && byId("only-crop").checked);
		frame.hidden = !this.shown || !view.hidden;
		instead.hidden = !this.photo || this.shown;
		instead.textContent = "This browser cannot show the file.";
		if (!this.shown) return;
		const { image } = this.photo;
		const { crop, resize } = this.model?.preprocess ?? {};
		const fresh = make("div", { id: "frame", hidden: frame.hidden }, image, make("span.crop", { hidden: !crop }));
		fresh.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
		fresh.style.setProperty("--part", crop / resize);
		frame.replaceWith(fresh);
		if (!crop) return;
		paint(view, image, middle(image, crop / resize), crop, crop);
		whiten(view);
	}
}

/** Draw a part [left, top, width, height]. */
function paint(canvas, picture, part, width, height) {
	canvas.width = Math.max(1, Math.round(width));
	canvas.height = Math.max(1, Math.round(height));
	const context = canvas.getContext("2d");
	context.imageSmoothingQuality = "high";
	context.drawImage(picture, ...part, 0, 0, canvas.width, canvas.height);
}

/** Put white behind a picture, as the server does. */
function whiten(canvas) {
	const context = canvas.getContext("2d");
	context.globalCompositeOperation = "destination-over";
	context.fillStyle = "#fff";
	context.fillRect(0, 0, canvas.width, canvas.height);
}

export function reduced(picture, width, height) {
	const scale = Math.min(1, LONGEST / Math.max(width, height));
	const canvas = document.createElement("canvas");
	paint(canvas, picture, [0, 0, width, height], width * scale, height * scale);
	return canvas;
}

export function toJpeg(canvas) {
	whiten(canvas);
	return new Promise((resolve, reject) =>
		canvas.toBlob((blob) => (blob ? resolve(blob) : reject()), "image/jpeg", 0.92));
}
