// The API key, where the server asks for one: there key.html is in the page.

import { byId } from "./dom.js";
import { authorize, key } from "./server.js";

/** Returns the state; `trouble` says why no photo can be sent. onChange: after a key was entered or refused. */
export function askForKey(onChange) {
	const [form, field, state] = ["access", "key", "key-state"].map(byId);
	const access = { wanted: Boolean(form), trouble: form ? "key missing" : "", refuse };
	const become = (trouble, sentence) => {
		access.trouble = trouble;
		field.ariaInvalid = trouble === "key wrong";
		state.textContent = sentence;
		onChange();
	};
	/** Take the server's 401 to a request with the key `used`. */
	function refuse({ detail, used }) {
		used === key ? become("key wrong", detail) : onChange();
	}
	if (form) form.onsubmit = (event) => {
		event.preventDefault();
		authorize(field.value);
		field.value = "";
		become("", "The page has a key. Enter another to replace it.");
	};
	return access;
}
