const { forWeixin } = require("shares-client");
const { baseURL } = require("./config.js");

// One client for the whole app: its pages share one session.
App({
  shares: forWeixin(wx, { baseURL, language: "zh" }),
});
