// The texts of the page, in Chinese and English.

/** Each text as [zh, en]. {} is replaced by a value. */
export const texts = {
  tagline: ["小程序后端的开发页面：查看运行过程、收发内容和故障时的表现", "development page: run the mini program, read its requests, simulate failures"],
  skipToWire: ["跳到网络请求", "Skip to network requests"],
  skipToWechat: ["跳到微信模拟器", "Skip to the simulated WeChat"],

  phone: ["手机", "Phone"],
  tabs: ["小程序页面", "Pages of the mini program"],
  whoOpens: ["由哪位用户打开小程序？", "Choose a user"],
  whoOpensHint: ["微信是模拟的：任选一位用户，wx.login 就会返回其登录凭证。", "WeChat is simulated: choose any user, and wx.login returns a login code for them."],
  notSimulated: [
    "此进程没有运行微信模拟器（已设置 WECHAT_APPID，或 api 单独运行）。浏览器无法获取登录凭证，因此不能在此登录：请在微信开发者工具或手机上打开小程序。",
    "This process has no simulated WeChat: WECHAT_APPID is set, or api runs alone. A browser cannot get a login code, so open the mini program in WeChat DevTools or on a phone instead.",
  ],
  newUser: ["新用户", "A new user"],
  market: ["行情", "Market"],
  sampleShare: ["示例股份", "Sample Inc."],
  chartAlt: ["示例走势图：上涨为{}，下跌为{}，均线 {}", "Sample chart: rising days {}, falling days {}, averages {}"],
  red: ["红", "red"],
  green: ["绿", "green"],
  rg: ["红涨绿跌", "Red up, green down"],
  only20: ["只看 20 日线", "20-day average only"],
  switchesHint: ["开关保存在服务端，换手机登录后依然有效。", "The service stores both switches, so they stay set when the user changes phones."],
  switched: ["{}：{}", "{}: {}"],
  on: ["开", "on"],
  off: ["关", "off"],
  share: ["分享", "Share"],
  qrPage: ["页面", "Page"],
  qrScene: ["scene 参数", "Scene"],
  makeCode: ["生成小程序码", "Get the QR code"],
  codeAlt: ["小程序码：页面 {}，scene {}", "QR code of page {} with scene {}"],
  codeReady: ["小程序码已生成", "The QR code is ready"],
  pictureLost: ["图片加载失败", "The picture did not load"],
  openPicture: ["打开图片", "Open the picture"],
  me: ["我的", "Me"],
  chooseAvatar: ["选择头像", "Choose a picture"],
  avatarStored: ["头像已更新", "The picture is stored"],
  nickName: ["昵称", "Nickname"],
  noName: ["微信用户", "No name yet"],
  gender: ["性别", "Gender"],
  genderUnset: ["未填写", "not given"],
  genderUnknown: ["未知", "unknown"],
  genderMan: ["男", "male"],
  genderWoman: ["女", "female"],
  country: ["国家", "Country"],
  province: ["省份", "Province"],
  city: ["城市", "City"],
  avatarURL: ["头像地址", "Avatar URL"],
  empty: ["未填写", "empty"],
  save: ["保存", "Save"],
  saved: ["已保存", "Saved"],
  unchanged: ["没有改动", "No changes"],
  phoneNumber: ["手机号", "Phone"],
  askPhone: ["微信授权", "Get from WeChat"],
  phoneStored: ["手机号已由微信验证", "The phone number is stored, verified by WeChat"],
  capacity: ["可用容量", "Capacity"],
  sessionUntil: ["会话有效期至", "Session until"],
  showApp: ["回到前台", "Bring to front"],
  shown: ["已回到前台：会话每半分钟最多续期一次", "Brought to front: the session is renewed at most every 30 seconds"],
  logOut: ["退出登录", "Log out"],
  deleteAccount: ["注销账号", "Delete account"],
  deleteSure: ["删除资料、头像和所有会话？不能恢复。", "Delete the profile, the picture and all sessions? This cannot be undone."],
  accountDeleted: ["账号已注销", "The account is deleted"],
  loggedIn: ["已登录", "Logged in"],
  loggedOut: ["已退出登录", "Logged out"],
  requestId: ["请求 ID {}", "request {}"],

  wire: ["网络请求", "Network requests"],
  wireHint: ["每个请求的内容、状态与耗时；最新的在最上面", "each request with its body, status and duration, newest first"],
  wireEmpty: ["还没有请求。在手机上登录试试。", "No requests yet: log in on the phone."],
  clear: ["清空", "Clear"],
  request: ["请求", "Request"],
  answer: ["响应", "Answer"],
  copyCurl: ["复制为 curl", "Copy as curl"],
  copied: ["已复制", "Copied"],
  notCopied: ["浏览器不允许复制", "The browser does not allow copying"],
  running: ["进行中", "running"],
  noAnswer: ["无响应", "no answer"],
  byWeixin: ["由手机上的微信发出，不是小程序发出的", "Sent by WeChat on the phone, not by the mini program"],

  wechat: ["微信模拟器", "The simulated WeChat"],
  wechatHint: [
    "打开一个故障开关，再操作手机：登录和生成新的小程序码会在超时时间内报错，其他功能不受影响。",
    "Switch a fault on and use the phone: logins and new QR codes fail within their deadline; everything else works.",
  ],
  calls: ["服务端对微信的调用", "Calls from the service to WeChat"],
  call: ["接口", "Call"],
  count: ["次数", "Count"],
  fault: ["故障", "Fault"],
  none: ["无", "none"],
  allCalls: ["全部接口", "All calls"],
  rotate: ["使 access_token 失效", "Invalidate the access token"],
  rotated: ["access_token 已失效：服务端会自动重新获取", "The access token is invalid: the service gets a new one automatically"],
  pushes: ["微信推送手机上用户的事件：", "WeChat pushes an event about the phone's user:"],
  pushProfile: ["撤回昵称和头像授权", "Withdraw nickname and avatar"],
  pushPhone: ["撤回手机号授权", "Withdraw phone"],
  pushAccount: ["注销账号", "Close account"],
  pushed: ["{}：服务端返回 {}，重新打开小程序可见变化", "{}: the service answered {}; open the mini program again to see the change"],
  faults: ["故障开关", "Faults"],
  target: ["作用于", "Applies to"],
  errcode: ["errcode", "errcode"],
  delay: ["延迟（毫秒）", "delay in ms"],
  once: ["仅下一次", "next call only"],
  allOff: ["全部关闭", "All off"],
  faultOn: ["故障已打开：{}", "Fault on: {}"],
  faultOff: ["故障已关闭：{}", "Fault off: {}"],
  faultsOff: ["故障已全部关闭", "All faults are off"],
  timesLeft: ["{}（还剩 {} 次）", "{} ({} left)"],
  wechatUnavailable: ["微信模拟器没有响应：服务是否已停止？", "The simulated WeChat does not answer: check whether the service is running"],

  "/sns/jscode2session": ["用登录凭证换 openid", "login code to openid"],
  "/cgi-bin/stable_token": ["获取 access_token", "access token"],
  "/cgi-bin/token": ["旧版 access_token 接口，不应调用", "old access token, not to be used"],
  "/wxa/getwxacodeunlimit": ["生成小程序码", "QR code"],
  "/wxa/business/getuserphonenumber": ["验证手机号", "phone number"],
  "/wxa/msg_sec_check": ["文本内容安全检测", "content check"],
  "/cgi-bin/message/subscribe/send": ["发送订阅消息", "subscription message"],

  delay_kind: ["延迟后正常响应", "delayed answer"],
  errcode_kind: ["返回错误码", "errcode as JSON"],
  text_json_kind: ["返回 text/plain 格式的错误码", "errcode as text/plain"],
  server_error_kind: ["502 错误页", "502 with an HTML page"],
  html_kind: ["200，内容却是 HTML", "200 with an HTML page"],
  empty_json_kind: ["空 JSON", "empty JSON"],
  truncated_kind: ["响应只有一半", "truncated answer"],
  empty_kind: ["响应为空", "empty answer"],
  slow_body_kind: ["响应中途停顿", "stalled answer"],
  cut_body_kind: ["响应中途断开", "connection closed midway"],
  huge_kind: ["8 MiB 的响应", "8 MiB answer"],
  reset_kind: ["连接被重置", "connection reset"],
};

/** The language of the page: the first of the browser's languages that it supports. */
export const language =
  navigator.languages.map((tag) => tag.toLowerCase().split("-")[0]).find((tag) => tag === "zh" || tag === "en") || "en";

/** Returns the text of a key, with values in place of {}. It returns the key if there is no text. */
export function t(key, ...values) {
  const both = texts[key];
  let text = both ? both[language === "zh" ? 0 : 1] : key;
  for (const value of values) {
    text = text.replace("{}", () => value);
  }
  return text;
}

/** Sets the texts of all elements inside root. */
export function translate(root) {
  for (const element of root.querySelectorAll("[data-t]")) {
    element.textContent = t(element.dataset.t);
  }
  for (const element of root.querySelectorAll("[data-t-label]")) {
    element.setAttribute("aria-label", t(element.dataset.tLabel));
  }
  for (const element of root.querySelectorAll("[data-t-placeholder]")) {
    element.placeholder = t(element.dataset.tPlaceholder);
  }
}
