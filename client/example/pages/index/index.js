const { sceneOf } = require("shares-client");

const { shares } = getApp();

Page({
  data: {
    me: null, // what get_user_info answered
    qrcode: "",
    scene: "", // of the QR code that the page was opened with
  },

  onLoad(options) {
    this.setData({ scene: sceneOf(options) });
    return this.refresh();
  },

  async onPullDownRefresh() {
    await this.refresh();
    wx.stopPullDownRefresh();
  },

  // There is no login to write: the first call logs in, and so does any later
  // one whose session has gone.
  refresh() {
    return this.run(async () => this.setData({ me: await shares.getUserInfo() }));
  },

  onLogInAgain() {
    shares.forget();
    this.setData({ me: null });
    return this.refresh();
  },

  // WeChat gives a path that means something on this phone alone: the picture
  // itself goes to the service, which has an address for it.
  onChooseAvatar(event) {
    return this.run(async () => {
      const { url } = await shares.uploadAvatar(event.detail.avatarUrl);
      this.setData({ "me.avatarURL": url });
    });
  },

  onSaveProfile(event) {
    const { nickName } = event.detail.value;
    return this.run(async () => {
      await shares.updateUserInfo({ nickName });
      this.setData({ "me.nickName": nickName });
      wx.showToast({ title: "已保存" });
    });
  },

  async onSwitch(event) {
    const { key } = event.currentTarget.dataset;
    const on = event.detail.value;
    this.setData({ [`me.${key}`]: on });
    const saved = await this.run(() => shares.upsetUserInfo({ key, value: String(on) }));
    if (!saved) {
      this.setData({ [`me.${key}`]: !on });
    }
  },

  onQrcode() {
    return this.run(async () => {
      const { url } = await shares.getQrcode({ page: "pages/index/index", scene: "from=example" });
      this.setData({ qrcode: url });
    });
  },

  // Runs an action and shows the user what went wrong; tells whether it went well.
  async run(action) {
    try {
      await action();
      return true;
    } catch (error) {
      console.error(error.code, error.requestId, error.cause);
      wx.showToast({ title: error.msg, icon: "none" });
      return false;
    }
  },
});
