// Which models there are, which is asked, and which it is compared with.

import { byId, make } from "./dom.js";
import { get } from "./server.js";

const PAUSE = 1000; // milliseconds between two looks at a model that is loading
const describe = async (name) => (await get(`/models/${name}`)).json();
const loading = ({ state }) => state === "waiting" || state === "loading";

export class Models {
	all = []; // of GET /models/{name}, the default first
	#names = [];

	// onChange: after another choice, or when a model got further
	constructor(onChange) {
		this.onChange = onChange;
	}

	/** Ask, and go on while one is loading. */
	async load() {
		const { models } = await (await get("/models")).json();
		this.all = await Promise.all(models.map(({ name }) => describe(name)));
		this.#names = [this.all[0].name, ""];
		const choice = this.all[1] ? [this.#select(0, "Model", ""), this.#select(1, "Compare with", "against ")] : [this.all[0].title];
		byId("choice").replaceChildren(...choice);
		this.#watch();
	}

	/** @returns {any[]} the one that is asked, and the one that it is compared with, if any */
	get chosen() {
		return [...new Set(this.#names)].flatMap((name) => this.all.filter((model) => model.name === name));
	}

	#watch() {
		if (!this.all.some(loading)) return;
		setTimeout(async () => {
			const before = JSON.stringify(this.all);
			if (!document.hidden) try {
				this.all = await Promise.all(this.all.map((model) => (loading(model) ? describe(model.name) : model)));
				if (JSON.stringify(this.all) !== before) this.onChange();
			} catch {
				// The strip says so.
			}
			this.#watch();
		}, PAUSE);
	}

	#select(index, label, before) {
		const onchange = ({ target }) => {
			this.#names[index] = target.value;
			this.onChange();
		};
		return make("select", { "aria-label": label, onchange }, ...(index ? [make("option", { value: "" }, "no comparison")] : []),
			...this.all.map(({ name, title }) => make("option", { value: name }, before + title)));
	}
}
