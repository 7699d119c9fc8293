// Compiled, never run: a uni-app in TypeScript, and a page of the web.
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
