// A uni-app in TypeScript, and a web page. They are only compiled, never run.
import { Client, fetchTransport, forUni } from "shares-client";

const shares = forUni(uni, { baseURL: "https://shares.example.com" });

export default {
  onShow: () => shares.onShow(),
  nickName: async (): Promise<string> => (await shares.getUserInfo()).nickName,
};

export const avatar = (input: HTMLInputElement) => web.uploadAvatar(input.files![0]!);

export const web = new Client({
  baseURL: "https://shares.example.com",
  transport: fetchTransport(fetch),
  login: () => Promise.resolve("a code"),
  storage: {
    get: (key) => localStorage.getItem(key),
    set: (key, value) => localStorage.setItem(key, value),
    remove: (key) => localStorage.removeItem(key),
  },
});
