// Dark or light: the system's choice until the button says otherwise. ../theme.js applies it.

/** @param {HTMLButtonElement} button */
export function theme(button) {
	const { dataset } = document.documentElement;
	const system = matchMedia("(prefers-color-scheme: dark)");
	const dark = () => (dataset.theme ? dataset.theme === "dark" : system.matches);
	const say = () => (button.ariaPressed = String(dark()));
	button.addEventListener("click", () => {
		dataset.theme = dark() ? "light" : "dark";
		say();
		try {
			localStorage.setItem("theme", dataset.theme);
		} catch {
			// Storage is switched off: it lasts as long as the page.
		}
	});
	system.addEventListener("change", say);
	say();
}
