// Where the network looked for each of its answers: a box and heat over the photo.

import "./style.js";
import { announce, button, byId, make } from "../dom.js";
import { names, percent } from "../format.js";
import { classify } from "../server.js";
import { inWords, Overlay, whole } from "./overlay.js";

const WANTED = "&explain=box,heat,evidence";

export class Part {
	#picked = {}; // the run and the place of its answer that are shown
	#latest = 0; // counts drawings, so that a slow answer does not replace a newer one

	constructor(toggle) {
		this.toggle = toggle;
		this.overlay = new Overlay("over");
		byId("refused").before(this.overlay.element);
		this.words = make("p");
		this.method = make("p.hint");
		this.heat = make("input", { type: "range", value: 70, oninput: () => this.#dim() });
		this.against = make("select", { id: "against", onchange: () => this.#draw(true) });
		this.panel = make("div.where", this.words, make("div.row", make("label", "Heat ", this.heat), make("label", { for: "against" }, "Why not"), this.against), this.method);
		byId("only-crop").addEventListener("change", () => this.#draw());
		this.#dim();
	}

	show(photo, models) {
		const on = this.toggle.checked;
		const fresh = on && !this.on;
		const runs = models.map(({ name }) => photo?.runs.get(name)).filter((run) => run?.state === "done");
		Object.assign(this, { photo, on, models, runs: on ? runs : [] });
		if (!runs[0] || !on) this.panel.remove();
		else if (models[1]) document.querySelector(".columns").before(this.panel);
		else runs[0].rows[0].parentElement.after(this.panel);
		for (const run of runs) this.#furnish(run);
		if (!this.runs.includes(this.#picked.run)) this.#pick(this.runs[0], 0, fresh);
		else this.#draw();
	}

	/** Make buttons of the answers' names, or names again. */
	#furnish(run) {
		run.rows.forEach((row, place) => {
			const [name] = row.querySelector(".name").children;
			if (!this.toggle.checked) return name.replaceChildren(name.textContent);
			if (name.querySelector("button")) return;
			const pick = (heard) => () => this.#pick(run, place, heard);
			// Not before it moves: a row may come to lie under a pointer that rests.
			row.onpointerenter = () => row.addEventListener("pointermove", pick(false), { once: true });
			name.replaceChildren(button(name.textContent, pick(true), "where"));
			name.firstChild.onfocus = pick(true);
		});
	}

	#pick(run, place, heard) {
		if (run && !this.runs.includes(run)) return;
		const before = this.#picked;
		if (run && run === before.run && place === before.place && !this.overlay.element.hidden) return;
		this.#picked = { run, place };
		if (run) {
			const other = run === before.run ? this.against.value : "";
			const option = ([value, label]) => make("option", { value }, label);
			this.against.replaceChildren(...[["", "(nothing else)"], ...run.reply.answer.predictions.map((guess, index) => [index, names(guess)[0]])].map(option));
			this.against.options[place + 1].disabled = true;
			this.against.value = other === String(place) ? before.place : other; // the two change places
		}
		this.#draw(heard);
	}

	async #draw(heard) {
		const mine = ++this.#latest;
		const { run, place } = this.#picked;
		for (const one of this.runs) one.rows.forEach((row, index) => {
			const name = row.querySelector("button");
			if (name) name.ariaPressed = String(one === run && index === place);
		});
		if (!run) return this.#lay("", "One moment…");
		const other = this.against.value;
		const model = this.models.find(({ name }) => name === run.model);
		const found = model.explanation ? await explained(run, place, other) : { trouble: unable(model) };
		const visible = await this.photo.shown;
		if (mine !== this.#latest) return;
		if (found.trouble) {
			this.#lay(found, found.trouble);
			return heard && announce(found.trouble);
		}
		const { guess, answer: { view, image, explanation } } = found;
		const [name, rival] = [place, other].map((at) => at !== "" && names(run.reply.answer.predictions[at])[0]);
		const { box, heat, evidence_in_box: share } = guess;
		const said = [make("b", rival ? `Why ${name} and not ${rival}` : name), ": ", box ? `${inWords(box, image)}.` : "nothing in this photo speaks for it.",
			typeof share === "number" ? ` ${percent(share)} of ${rival ? "what tells them apart" : "the evidence"} lies in the box.` : ""];
		const all = visible && whole(image, this.photo.image);
		this.#lay({ frame: all && byId("only-crop").checked ? view : all, values: box && heat.values, columns: heat.columns, view, box }, ...said);
		this.method.textContent = `It looked here, which need not be all of the thing (${explanation.method} at ${explanation.layer}).`;
		if (!heard) return;
		announce(this.words.textContent);
		byId("stage").scrollIntoView({ block: "nearest" });
	}

	#lay(shown, ...words) {
		this.words.replaceChildren(...words);
		this.method.textContent = "";
		this.overlay.element.hidden = !shown.frame;
		if (shown.frame) this.overlay.lay(shown.frame, shown);
	}

	#dim() {
		this.overlay.heat.style.opacity = this.heat.value / 100;
	}
}

const unable = ({ title, layers }) => `${title} cannot say where it looked${layers.length ? "" : ": only a VGG can"}.`;

/** What the server says of one answer, alone or against another; it is asked once about all of them. */
async function explained(run, place, other) {
	const against = other && `&against=${run.reply.answer.predictions[other].class_index}`;
	run.explained ??= {};
	try {
		const { answer } = await (run.explained[against] ??= classify(run.file, run.model, { more: WANTED + against }));
		// By class: two that are nearly as probable may have changed their places.
		const { class_index: wanted } = run.reply.answer.predictions[place];
		const guess = answer.predictions.find(({ class_index }) => class_index === wanted);
		const trouble = answer.explanation.withheld ?? (guess ? null : "The server answers otherwise by now. Send the photo again.");
		return trouble ? { trouble } : { answer, guess };
	} catch (problem) {
		delete run.explained[against];
		return { trouble: `${problem.detail || "The server did not answer."}${problem.retryable ? " Choose an answer to ask again." : ""}` };
	}
}
