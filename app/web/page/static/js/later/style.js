// The style of what is not in the first view; whoever imports this waits for it.

import { make } from "../dom.js";

await new Promise((done) => document.head.append(make("link", {
	rel: "stylesheet", href: new URL("../../later.css", import.meta.url), onload: done, onerror: done, // plain, but there
})));
