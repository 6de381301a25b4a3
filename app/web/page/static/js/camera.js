// A photo from the camera, only after a click.

import { byId } from "./dom.js";
import { reduced, toJpeg } from "./photo.js";

export function camera(onPicked) {
	byId("camera").hidden = !navigator.mediaDevices;
	const [open, dialog, video, trouble, shoot] = ["camera", "camera-dialog", "video", "camera-trouble", "shoot"].map(byId);
	let opened = 0; // counts: permission may come after the dialog is closed
	const stop = (stream) => stream?.getTracks().forEach((track) => track.stop());
	open.onclick = async () => {
		const mine = ++opened;
		trouble.textContent = "";
		shoot.disabled = true;
		dialog.showModal();
		try {
			const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
			if (mine !== opened) return stop(stream);
			video.srcObject = stream;
			await video.play();
			shoot.disabled = false;
		} catch {
			if (mine === opened) trouble.textContent = "No camera is available. You may have to allow it in the browser.";
		}
	};
	shoot.onclick = async () => {
		shoot.disabled = true;
		const file = await toJpeg(reduced(video, video.videoWidth, video.videoHeight));
		dialog.close();
		onPicked([{ file, name: "camera.jpg" }]);
	};
	byId("camera-close").onclick = () => dialog.close();
	dialog.onclose = () => {
		opened++;
		stop(video.srcObject);
		video.srcObject = null;
	};
}
