// Starts the page.
import { startPhone } from "./phone.js";
import { language, translate } from "./text.js";
import { startWechat } from "./wechat.js";
import { Weixin } from "./weixin.js";
import { showWire, Wire } from "./wire.js";

document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
translate(document);

const about = await (await fetch("/page/about.json")).json();
document.getElementById("version").textContent = about.version;
for (const element of document.querySelectorAll(about.simulated ? "[data-real]" : "[data-simulated]")) {
  element.hidden = true;
}

const wire = new Wire();
showWire(wire);
const wx = new Weixin(wire);
startPhone(wx, { resume: about.simulated });
if (about.simulated) {
  startWechat(wire, wx);
}
