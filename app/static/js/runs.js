// One run: one photo and one model.

import { Problem, classify } from "./server.js";

const line = [];
let free = 4; // runs at a time: enough for a batch, and others get their turn

async function enter() {
	free -= 1;
	if (free < 0) await new Promise((resolve) => line.push(resolve));
}

function leave() {
	free += 1;
	line.shift()?.();
}

/** Fires `change` with its state. */
export class Run extends EventTarget {
	#controller = new AbortController();

	/** @type {"waiting"|"busy"|"done"|"failed"|"cancelled"} */
	state = "waiting";
	sent = 0; // share of the file that has left
	reply = null; // of server.classify, once it is done
	problem = null; // why it is busy, failed or cancelled
	retryAt = 0; // while it is busy; clock of performance.now
	hurry = () => {}; // ends the pause of a busy one

	constructor(file, model) {
		super();
		Object.assign(this, { file, model });
	}

	/** Send it, and once more if the server was busy. */
	async start() {
		await enter();
		for (const last of [false, true]) if (await this.#attempt(last)) break;
		leave();
	}

	/** Give it up, unless it is over. */
	cancel() {
		if (this.state !== "waiting" && this.state !== "busy") return;
		this.#controller.abort();
		this.problem = new Problem("cancelled");
		this.#become("cancelled");
		this.hurry();
	}

	/** @returns {Promise<boolean>} whether that was all */
	async #attempt(last) {
		const { signal } = this.#controller;
		if (signal.aborted) return true;
		try {
			this.reply = await classify(this.file, this.model, { signal, onSent: (share) => (this.sent = share) });
			this.#become("done");
		} catch (problem) {
			this.problem = problem;
			if (signal.aborted) return true;
			if (problem.retryable && !last) return this.#pause(problem.retryAfter);
			this.#become("failed");
		}
		return true;
	}

	async #pause(seconds) {
		const ms = 1000 * (seconds + Math.random() / 2); // not all clients at once
		this.retryAt = performance.now() + ms;
		const over = new Promise((resolve) => {
			this.hurry = resolve;
			setTimeout(resolve, ms);
		});
		this.#become("busy");
		await over;
		this.sent = 0;
		this.#become("waiting");
		return false;
	}

	#become(state) {
		if (this.state === "cancelled") return;
		this.state = state;
		this.dispatchEvent(new Event("change"));
	}
}
