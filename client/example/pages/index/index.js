const { sceneOf } = require("shares-client");

const { shares } = getApp();

Page({
  data: {
    me: null, // the answer of get_user_info
    qrcode: "",
    scene: "", // of the QR code that opened the page
  },

  onLoad(options) {
    this.setData({ scene: sceneOf(options) });
    return this.refresh();
  },

  async onPullDownRefresh() {
    await this.refresh();
    wx.stopPullDownRefresh();
  },

  // No login code is needed: a call without a valid session logs in first.
  refresh() {
    return this.run(async () => this.setData({ me: await shares.getUserInfo() }));
  },

  onLogInAgain() {
    shares.forget();
    this.setData({ me: null });
    return this.refresh();
  },

  // WeChat returns a path that is valid only on this phone. So the page uploads
  // the picture, and the service returns its URL.
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

  // Runs an action and shows its error to the user; returns whether it succeeded.
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
