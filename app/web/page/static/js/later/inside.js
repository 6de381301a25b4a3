// What the layers make of the photo: the strongest maps of each group, and the filters of the first layer.

import "./style.js";
import { button, make } from "../dom.js";
import { figures } from "../layers.js";
import { reduced } from "../photo.js";
import { ask } from "../server.js";
import { glow, inWords, Overlay, whole } from "./overlay.js";

export class Part {
	constructor(details) {
		this.details = details;
		this.overlay = new Overlay("lies");
		this.stage = make("div.photo");
		this.words = make("p", { role: "status" });
		this.heat = make("input", { type: "range", value: 70, oninput: () => this.#dim() });
		this.groups = make("div.groups");
		this.filters = make("div");
		details.append(make("div.inside", make("div.beside", this.stage, this.words, make("label", "Heat ", this.heat)), this.groups, this.filters));
		this.#dim();
	}

	show(photo, [model]) {
		if (!this.details.open) return;
		const key = model && `${model.name} ${model.state} ${model.weights_sha256}`;
		if (photo?.file === this.file && key === this.key) return; // a copy of a photo is another file
		Object.assign(this, { photo, file: photo?.file, model, key });
		this.#load();
	}

	async #load() {
		this.waiting?.abort();
		const { photo, model, waiting: { signal } } = Object.assign(this, { waiting: new AbortController() });
		const say = (...words) => this.groups.replaceChildren(make("p", ...words));
		this.#choose(null);
		this.filters.replaceChildren();
		this.stage.replaceChildren();
		if (!photo || !model) return say("No photo yet.");
		if (!model.layers.length) return say(`${model.title} is not a VGG: only a VGG can be looked into.`);
		if (model.state !== "ready") return say(`Loading ${model.title}…`);
		say("Looking inside…");
		try {
			const said = await ask(`inspect?model=${encodeURIComponent(model.name)}`, "json", photo.file, signal);
			const sheets = await Promise.all(said.layers.map((layer) => this.#sheet(layer)));
			const filters = await ask(`models/${encodeURIComponent(model.name)}/filters`, "blob", null, signal).catch(() => null);
			if (signal.aborted) return;
			this.#paint(photo.image, await photo.shown, said);
			this.groups.replaceChildren(...(model.trained ? [] : [make("p", make("b", "Untrained: "), "these maps come from random filters.")]), ...sheets);
			if (filters) this.filters.replaceChildren(...first(filters, model));
			sheets[0].querySelector(".maps button").click();
		} catch (problem) {
			if (!signal.aborted) say(problem.detail || "The server did not answer.", " ", button("Try again", () => this.#load()));
		}
	}

	#paint(picture, shown, { image, view }) {
		this.frame = shown && whole(image, picture);
		Object.assign(this, { image, view });
		const { naturalWidth: width, naturalHeight: height } = picture;
		this.stage.style.setProperty("--ratio", width / height || "");
		this.stage.replaceChildren(...(shown ? [reduced(picture, width, height)] : []), ...(this.frame ? [this.overlay.element] : []));
	}

	/** The maps of one layer, and a list to choose another of its group. */
	async #sheet(first) {
		const group = groupOf(first.layer);
		const names = this.model.layers.filter(({ kind, name }) => kind === "convolution" && groupOf(name) === group).map(({ name }) => name);
		const list = make("select", { "aria-label": `Layer of group ${group}` }, ...[...new Set([...names, first.layer])].map((name) => make("option", { value: name }, name)));
		const place = make("section.sheet", make("div.titled", make("h3", `Group ${group}`), list));
		let shown;
		const fill = async (layer) => {
			const parts = await this.#maps(layer);
			if (list.value !== layer.layer) return; // another was chosen meanwhile
			while (place.children[1]) place.children[1].remove(); // the list keeps the focus
			place.append(...parts);
			shown = layer.layer;
		};
		list.onchange = async () => {
			const { signal } = this.waiting;
			const { value } = list;
			try {
				await fill(await ask(`inspect?model=${encodeURIComponent(this.model.name)}&layer=${value}`, "json", this.photo.file, signal));
			} catch (problem) {
				if (signal.aborted || list.value !== value) return;
				this.words.textContent = problem.detail || "The server did not answer.";
				list.value = shown;
			}
		};
		list.value = first.layer;
		await fill(first);
		return place;
	}

	async #maps({ layer, tile, ...sheet }) {
		const { output_shape: [channels, side], receptive_field: sees } = this.model.layers.find(({ name }) => name === layer);
		const maps = await cut({ tile, ...sheet });
		const buttons = maps.map(({ canvas, values, ...map }, index) => make("button", {
			"aria-pressed": "false", tabindex: index ? -1 : 0, "aria-label": `Channel ${map.channel}`,
			onclick: () => this.#choose({ ...map, values, layer, columns: tile, button: buttons[index] }),
		}, canvas));
		const list = make("ul.maps", { "aria-label": `Maps of ${layer}` }, ...buttons.map((map) => make("li", map)));
		list.onkeydown = (event) => move(event, buttons);
		return [make("p.hint", `The strongest ${maps.length} of ${channels} maps, each of ${side} × ${side} values. A value sees ${sees} × ${sees} of the network’s pixels.`), list];
	}

	/** Show a map and what its strongest value sees, over the photo. */
	#choose(map) {
		for (const pressed of this.groups.querySelectorAll("[aria-pressed=true]")) pressed.ariaPressed = "false";
		if (!map) return this.words.replaceChildren();
		map.button.ariaPressed = "true";
		const { receptive_field: box, values, columns } = map;
		this.words.replaceChildren(make("b", `${map.layer}, channel ${map.channel}`), `: strongest ${figures(map.maximum)}, ${inWords(box, this.image)}.`);
		if (this.frame) this.overlay.lay(this.frame, { values, columns, view: this.view, box });
	}

	#dim() {
		this.overlay.heat.style.opacity = this.heat.value / 100;
	}
}

const groupOf = (layer) => layer.match(/\d/)[0];

/** The maps of a sheet, each with its values from 0 to 1 and a canvas. */
async function cut({ png, tile, columns, maps }) {
	const blob = await (await fetch(`data:image/png;base64,${png}`)).blob();
	const sheet = make("canvas");
	const picture = await createImageBitmap(blob);
	Object.assign(sheet, { width: picture.width, height: picture.height });
	const context = sheet.getContext("2d", { willReadFrequently: true });
	context.drawImage(picture, 0, 0);
	return maps.map((map, index) => {
		const { data } = context.getImageData((index % columns) * tile, Math.floor(index / columns) * tile, tile, tile);
		const values = Array.from({ length: tile * tile }, (_, at) => data[4 * at] / 255);
		const canvas = make("canvas");
		glow(canvas, values, tile);
		return { ...map, canvas, values };
	});
}

/** One map of a sheet is in the order of Tab, the arrows reach the others. */
function move(event, buttons) {
	const at = buttons.indexOf(event.target);
	const to = { Home: 0, End: -1, ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1 }[event.key];
	const next = to !== undefined && buttons.at(to % buttons.length);
	if (!next) return;
	event.preventDefault();
	buttons[at].tabIndex = -1;
	next.tabIndex = 0;
	next.focus();
}

function first(blob, model) {
	const [{ name, output_shape: [count] }] = model.layers;
	const picture = make("img.filters", { alt: `The ${count} filters of ${name}, as small pictures`, src: URL.createObjectURL(blob) });
	picture.onload = () => URL.revokeObjectURL(picture.src);
	return [make("h3", `The ${count} filters of ${name}`), picture, make("p.hint", model.trained
		? "3 × 3 pixels in three colours each: edges, spots and colours. Training found them; each begins as noise."
		: "3 × 3 pixels in three colours each: noise, since nothing has been learnt.")];
}
