// Tabs as in the ARIA Authoring Practices.

export function tabs(list) {
	const all = [...list.children];
	const select = (chosen) => {
		for (const tab of all) {
			tab.ariaSelected = tab === chosen;
			tab.tabIndex = tab === chosen ? 0 : -1;
			document.getElementById(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
		}
	};
	list.onclick = ({ target }) => target !== list && select(target);
	list.onkeydown = (event) => {
		const at = all.indexOf(event.target);
		const to = { Home: 0, End: -1, ArrowRight: (at + 1) % all.length, ArrowLeft: at - 1 }[event.key];
		if (to === undefined) return;
		event.preventDefault();
		select(all.at(to));
		all.at(to).focus();
	};
}
