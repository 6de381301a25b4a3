// One run: one photo and one model.

import { classify, problem } from "./server.js";

const CHANGED = ["network", "not-ready", "unknown-model", "model-failed"];
const line = []; // runs that wait
let free = 4; // runs at a time: other clients get their turn

export class Run {
	#controller = new AbortController();
	#enter;

	state = "queued"; // waiting, busy, done, failed, cancelled
	sent = 0; // share of the file
	retryAt; // when busy, by performance.now
	hurry; // ends the pause when busy

	// tries: how often it is sent while the server is busy; onChange: after each state
	constructor(file, model, tries, onChange) {
		Object.assign(this, { file, model, tries, onChange });
	}

	get over() {
		return ["done", "failed", "cancelled"].includes(this.state);
	}

	/** Whether the server or its models may have changed. */
	get doubtful() {
		return this.state !== "done" && CHANGED.includes(this.problem?.slug);
	}

	/** Send it in its turn. */
	async start() {
		if (free < 1) await new Promise((resolve) => {
			this.#enter = resolve;
			line.push(this);
		});
		free -= 1;
		await this.#send();
		free += 1;
		if (free > 0) line[0]?.hasten();
	}

	/** Send it before the others. */
	hasten() {
		const at = line.indexOf(this);
		if (at >= 0) line.splice(at, 1)[0].#enter();
	}

	cancel() {
		if (this.over) return;
		this.#controller.abort();
		this.problem = problem("cancelled");
		this.#become("cancelled");
		this.hurry?.();
	}

	/** Send it, and again if the server is busy. */
	async #send() {
		const { signal } = this.#controller;
		for (let left = this.tries; !signal.aborted; left--) {
			this.sent = 0;
			this.#become("waiting");
			try {
				this.reply = await classify(this.file, this.model, { signal, onSent: (share) => (this.sent = share) });
				return this.#become("done");
			} catch (trouble) {
				if (signal.aborted) return;
				this.problem = { ...trouble, tries: this.tries };
				if (left < 2 || !trouble.retryable) return this.#become("failed");
				await this.#pause(trouble.retryAfter);
			}
		}
	}

	#pause(seconds) {
		const ms = 1000 * (seconds + Math.random() / 2); // not all clients at once
		this.retryAt = performance.now() + ms;
		this.#become("busy");
		return new Promise((resolve) => {
			this.hurry = resolve;
			setTimeout(resolve, ms);
		});
	}

	#become(state) {
		if (this.state === "cancelled") return;
		this.state = state;
		this.onChange();
	}
}
