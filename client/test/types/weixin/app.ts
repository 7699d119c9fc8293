// A mini program in TypeScript with WeChat's own typings. It is only compiled, never run.
import { codes, forWeixin, sceneOf, SharesError, type GetUserInfoResp } from "shares-client";

const shares = forWeixin(wx, { baseURL: "https://shares.example.com", language: "zh" });

App({
  onShow(options) {
    console.log(sceneOf(options));
  },
});

Page({
  data: { me: {} as GetUserInfoResp },
  async onChooseAvatar(event: WechatMiniprogram.CustomEvent<{ avatarUrl: string }>) {
    const { url } = await shares.uploadAvatar(event.detail.avatarUrl);
    this.setData({ "me.avatarURL": url });
  },
  async onLoad(options) {
    console.log(sceneOf(options));
    try {
      await shares.updateUserInfo({ nickName: "小明", city: null });
      await shares.upsetUserInfo({ key: "rg", value: "true" });
      // @ts-expect-error: no such setting
      await shares.upsetUserInfo({ key: "colour", value: "true" });
      const { url } = await shares.getQrcode({ page: "pages/index/index", scene: "a=1" });
      wx.previewImage({ urls: [url] });
      this.setData({ me: await shares.getUserInfo() });
    } catch (error) {
      if (error instanceof SharesError && error.code === codes.invalid) {
        wx.showToast({ title: error.msg, icon: "none" });
      }
    }
  },
});

// @ts-expect-error a field with a wrong type
void shares.updateUserInfo({ nickName: 1 });
// @ts-expect-error no such field
void shares.updateUserInfo({ nickname: "" });
// @ts-expect-error an invalid transport
forWeixin({}, { baseURL: "" });
