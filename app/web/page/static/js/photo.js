// Photos, and their preview with the square that the model sees.

import { byId, make } from "./dom.js";
import { size } from "./format.js";

const [THUMB, LONGEST] = [96, 1600]; // pixels

export class Photo {
	runs = new Map(); // by model
	note = "";

	constructor(file, name) {
		this.name = name;
		this.#take(file);
	}

	#take(file) {
		const image = make("img", { id: "photo", draggable: "false", alt: `Your picture: ${this.name}`, src: URL.createObjectURL(file) });
		const thumb = make("canvas", { "aria-hidden": "true" });
		Object.assign(this, { file, image, thumb });
		this.shown = image.decode().then(() => {
			paint(thumb, image, middle(image, 1), THUMB, THUMB);
			return true;
		}, () => false); // whether the browser can show it
	}

	/** Replace it by a smaller copy. */
	async replaceByJpeg() {
		const copy = await toJpeg(this.image, this.image.naturalWidth, this.image.naturalHeight);
		this.note = `sent as a copy of ${size(copy.size)} (was ${size(this.file.size)})`;
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
		const fresh = make("div", { id: "frame", hidden: frame.hidden }, image, make("span.crop", { hidden: !crop }));
		fresh.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
		fresh.style.setProperty("--part", crop / resize);
		frame.replaceWith(fresh);
		if (crop) paint(view, image, middle(image, crop / resize), crop, crop);
	}
}

/** Draw a part [left, top, width, height] on white. */
function paint(canvas, picture, part, width, height) {
	canvas.width = Math.max(1, Math.round(width));
	canvas.height = Math.max(1, Math.round(height));
	const context = canvas.getContext("2d");
	context.fillStyle = "#fff"; // as the server does
	context.fillRect(0, 0, canvas.width, canvas.height);
	context.imageSmoothingQuality = "high";
	context.drawImage(picture, ...part, 0, 0, canvas.width, canvas.height);
}

export function toJpeg(picture, width, height) {
	const scale = Math.min(1, LONGEST / Math.max(width, height));
	const canvas = document.createElement("canvas");
	paint(canvas, picture, [0, 0, width, height], width * scale, height * scale);
	return new Promise((resolve, reject) =>
		canvas.toBlob((blob) => (blob ? resolve(blob) : reject()), "image/jpeg", 0.92));
}
