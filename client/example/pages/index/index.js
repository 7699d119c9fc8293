const { sceneOf } = require("shares-client");

const { shares } = getApp();

Page({
  data: {
    me: null, // the answer of get_user_info
    qrcode: "",
    scene: "", // of the QR code that opened the page
    contract: "", // name of the privacy agreement
    asking: false, // whether the user has yet to agree to it
  },

  // Nothing is sent to the service before the user has agreed.
  async onLoad(options) {
    this.setData({ scene: sceneOf(options) });
    // WeChat asks when a component needs personal data, and waits for the answer.
    wx.onNeedPrivacyAuthorization((resolve) => {
      this.answers.push(resolve);
      this.setData({ asking: true });
    });
    const setting = await new Promise((resolve, reject) => wx.getPrivacySetting({ success: resolve, fail: reject }));
    this.setData({ contract: setting.privacyContractName, asking: setting.needAuthorization });
    if (!setting.needAuthorization) {
      await this.refresh();
    }
  },

  answers: [],

  onContract() {
    wx.openPrivacyContract();
  },

  onAgree() {
    this.answer({ event: "agree", buttonId: "agree" });
    return this.refresh();
  },

  onDisagree() {
    this.answer({ event: "disagree" });
  },

  answer(result) {
    this.answers.splice(0).forEach((resolve) => resolve(result));
    this.setData({ asking: false });
  },

  async onPullDownRefresh() {
    await this.refresh();
    wx.stopPullDownRefresh();
  },

  // No login code is needed: a call without a valid session logs in first. After
  // a logout it is rejected until login is called.
  refresh() {
    return this.run(async () => this.setData({ me: await shares.getUserInfo() }));
  },

  onLogInAgain() {
    shares.forget();
    this.setData({ me: null });
    return this.run(async () => {
      await shares.login();
      this.setData({ me: await shares.getUserInfo() });
    });
  },

  onLogout() {
    return this.run(async () => {
      await shares.logout();
      this.setData({ me: null, qrcode: "" });
    });
  },

  onDeleteAccount() {
    return this.run(async () => {
      const content = "删除资料、头像和所有会话，不能恢复。";
      const { confirm } = await new Promise((success, fail) => wx.showModal({ title: "注销账号", content, success, fail }));
      if (confirm) {
        await shares.deleteUserInfo();
        this.setData({ me: null, qrcode: "" });
      }
    });
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
