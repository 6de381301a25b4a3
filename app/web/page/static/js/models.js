// The server's models: which is asked, and which it is compared with.

import { byId, make } from "./dom.js";
import { get } from "./server.js";

export class Models {
	all = []; // of GET /models/{name}, the default first
	progress; // in the server's words
	#names = [];
	#picked = false; // by a person

	// onChange: after another choice or list
	constructor(onChange) {
		this.onChange = onChange;
		this.lists = ["model", "other"].map(byId);
		for (const list of this.lists) list.onchange = () => this.choose(...this.lists.map(({ value }) => value));
	}

	ready(name) {
		return this.all.some((model) => model.name === name && model.state === "ready");
	}

	get loading() {
		return this.all.some(({ state }) => state === "waiting" || state === "loading");
	}

	get chosen() {
		return this.#names.flatMap((name) => this.all.filter((model) => model.name === name));
	}

	/** Ask the server; `restarted`: it may have been replaced. */
	async load(restarted) {
		const { models } = await get("models", "json");
		const all = await Promise.all(models.map(({ name }) => get(`models/${encodeURIComponent(name)}`, "json")));
		if (!restarted && JSON.stringify(all) === JSON.stringify(this.all)) return;
		this.all = all;
		this.#ask(...(this.#picked ? this.#names : []));
	}

	/** Ask one model, and compare it with another or none, even when the default one becomes ready. */
	choose(asked, other) {
		this.#picked = true;
		this.#ask(asked, other);
	}

	#ask(asked, other) {
		const known = (name) => this.all.some((model) => model.name === name);
		if (other && asked === other) [other] = this.#names;
		const usual = this.all.find((model) => model.stands_in_for) ?? this.all[0];
		this.#names = [known(asked) ? asked : usual.name, known(other) ? other : ""];
		const option = (value, text, disabled = false) => make("option", { value, disabled }, text);
		const [model, compared] = this.lists;
		model.replaceChildren(...this.all.map(({ name, title }) => option(name, title)));
		compared.replaceChildren(option("", "no comparison"), ...this.all.map(({ name, title }) => option(name, `against ${title}`, name === this.#names[0])));
		compared.hidden = !this.all[1];
		[model.value, compared.value] = this.#names;
		this.onChange();
	}
}
